// What cannot be said in C: entering the mode of a case, and the handlers that end it. Linked at IMAGE.
#include "layout.h"

    .section .text.start, "ax"
    .code32
    .globl _start
_start:
    jmp 1f
    .balign 4
    .globl header
header: // filled in by generate.py
    .long 0 // address of the cases
    .long 0 // how many
    .long 0 // 1: name every case before it runs
1:  movl $exec_stack_bytes + 0x4000, %esp
    call executor_main
    hlt

    .text
// void enter_legacy(void): runs the case that ENTRY describes, in protected or virtual-8086 mode. Comes back when
// a handler has filled `captured`.
    .globl enter_legacy
enter_legacy:
    pushal
    movl %esp, exec_esp
    movw %cs:(ENTRY + E_DS), %ds
    movw %cs:(ENTRY + E_ES), %es
    movw %cs:(ENTRY + E_FS), %fs
    movw %cs:(ENTRY + E_GS), %gs
    movw %cs:(ENTRY + E_SS), %ss
    movl %cs:(ENTRY + E_ESP), %esp
    movl %cs:(ENTRY + E_GPR + 0), %eax
    movl %cs:(ENTRY + E_GPR + 8), %ecx
    movl %cs:(ENTRY + E_GPR + 16), %edx
    movl %cs:(ENTRY + E_GPR + 24), %ebx
    movl %cs:(ENTRY + E_GPR + 40), %ebp
    movl %cs:(ENTRY + E_GPR + 48), %esi
    movl %cs:(ENTRY + E_GPR + 56), %edi
    iretl

// void enter_long(void): the same from compatibility mode into 64-bit or compatibility mode.
    .globl enter_long
enter_long:
    pushal
    movl %esp, exec_esp
    ljmp $SEL_CODE64, $1f
    .code64
1:  movw ENTRY + E_DS, %ds
    movw ENTRY + E_ES, %es
    movq ENTRY + E_ESP, %rsp
    movq ENTRY + E_GPR + 0, %rax
    movq ENTRY + E_GPR + 8, %rcx
    movq ENTRY + E_GPR + 16, %rdx
    movq ENTRY + E_GPR + 24, %rbx
    movq ENTRY + E_GPR + 40, %rbp
    movq ENTRY + E_GPR + 48, %rsi
    movq ENTRY + E_GPR + 56, %rdi
    movq ENTRY + E_GPR + 64, %r8
    movq ENTRY + E_GPR + 72, %r9
    movq ENTRY + E_GPR + 80, %r10
    movq ENTRY + E_GPR + 88, %r11
    movq ENTRY + E_GPR + 96, %r12
    movq ENTRY + E_GPR + 104, %r13
    movq ENTRY + E_GPR + 112, %r14
    movq ENTRY + E_GPR + 120, %r15
    iretq
    .code32

// void enter_real(void)
    .globl enter_real
enter_real:
    pushal
    movl %esp, exec_esp
    movw $SEL_DATA16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    ljmp $SEL_CODE16, $leave_protected

// Handlers of protected mode: vector and error code (0 where there is none) on the stack, then this.
    .balign 16
    .globl stubs32
stubs32:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
    .else
    pushl $0
    .endif
    pushl $vector
    jmp common32
    .set vector, vector + 1
    .endr
common32:
    pushal
    pushl %ds
    pushl %es
    pushl %fs
    pushl %gs
    lgdtl %cs:exec_gdtr
    movl %esp, %esi
    movl %ss, %edx
    larl %edx, %eax
    testl $0x400000, %eax // a stack of 16 bits has no upper half
    jnz 1f
    movzwl %si, %esi
1:  movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %esi, captured_esp
    movl %edx, captured_ss
    movl $captured, %edi
    movl $26, %ecx
    cld
    rep movsl %ss:(%esi), %es:(%edi)
    movl $1, captured_kind
    jmp back_legacy

// The task of #DF: the state of the case is in its TSS.
    .globl stub_df
stub_df:
    movl $3, captured_kind
back_legacy:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl exec_esp, %esp
    movl %cr2, %eax
    movl %eax, captured_cr2
    movl $0, captured_cr2 + 4
back:
    movl %cr3, %eax
    movl %eax, captured_cr3
    movl %cr0, %eax
    movl %eax, captured_cr0
    andl $~0x80000000, %eax // PG
    movl %eax, %cr0
    jmp 1f
1:  ljmp $SEL_CODE, $1f
1:  movl $0x11, %eax // PE ET
    movl %eax, %cr0
    movl %cr4, %eax
    movl %eax, captured_cr4
    xorl %eax, %eax
    movl %eax, %cr4
    pushl %eax
    popfl
    popal
    ret

    .code64
    .balign 16
    .globl stubs64
stubs64:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
    .else
    pushq $0
    .endif
    pushq $vector
    jmp common64
    .set vector, vector + 1
    .endr
common64:
    pushq %r15
    pushq %r14
    pushq %r13
    pushq %r12
    pushq %r11
    pushq %r10
    pushq %r9
    pushq %r8
    pushq %rdi
    pushq %rsi
    pushq %rbp
    pushq %rsp
    pushq %rbx
    pushq %rdx
    pushq %rcx
    pushq %rax
    movl $exec_gdtr, %ebx // through a register: 32-bit objects have no other way
    lgdt (%rbx)
    movl %ds, %eax
    movl $captured_ds, %ebx
    movl %eax, (%rbx)
    movl %es, %eax
    movl %eax, 4(%rbx)
    movl %fs, %eax
    movl %eax, 8(%rbx)
    movl %gs, %eax
    movl %eax, 12(%rbx)
    movq %rsp, %rsi
    movl $captured_esp, %ebx
    movq %rsi, (%rbx)
    movl $captured, %edi
    movl $23, %ecx
    cld
    rep movsq
    movl $captured_kind, %ebx
    movl $2, (%rbx)
    movq %cr2, %rax
    movl $captured_cr2, %ebx
    movq %rax, (%rbx)
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $exec_esp, %ebx
    movl (%rbx), %esp
    movl $1f, %ebx
    pushq $SEL_CODE
    pushq %rbx
    lretq
    .code32
1:  jmp back

// ---- real mode: linked and copied to LOW16
    .section .low16, "ax"
    .code16
    .globl stubs16
stubs16:
    .set vector, 0
    .rept 256
    .balign 8
    pushw $vector
    jmp common16
    .set vector, vector + 1
    .endr
    .balign 8
common16:
    pushal
    pushw %ds
    pushw %es
    pushw %fs
    pushw %gs
    movw %sp, %cs:real_sp
    movw %ss, %cs:real_ss
    lgdtl %cs:real_gdtr
    movl %cr0, %eax
    movl %eax, %cs:real_cr0
    orl $1, %eax
    andl $~0xe, %eax
    movl %eax, %cr0
    ljmpl $SEL_CODE, $from_real

leave_protected:
    movl %cs:(ENTRY + E_CR0), %eax
    movl %eax, %cr0
    ljmpw $0, $1f
1:  movw %cs:(ENTRY + E_DS), %ds
    movw %cs:(ENTRY + E_ES), %es
    movw %cs:(ENTRY + E_FS), %fs
    movw %cs:(ENTRY + E_GS), %gs
    movw %cs:(ENTRY + E_SS), %ss
    movl %cs:(ENTRY + E_ESP), %esp
    movl %cs:(ENTRY + E_GPR + 0), %eax
    movl %cs:(ENTRY + E_GPR + 8), %ecx
    movl %cs:(ENTRY + E_GPR + 16), %edx
    movl %cs:(ENTRY + E_GPR + 24), %ebx
    movl %cs:(ENTRY + E_GPR + 40), %ebp
    movl %cs:(ENTRY + E_GPR + 48), %esi
    movl %cs:(ENTRY + E_GPR + 56), %edi
    iretl
    .balign 4
real_sp: .word 0
real_ss: .word 0
real_cr0: .long 0
    .globl real_gdtr
real_gdtr:
    .word GDT_LIMIT
    .long exec_gdt

    .text
    .code32
from_real:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl exec_esp, %esp
    movzwl real_ss, %esi
    movl %esi, captured_ss
    shll $4, %esi
    movzwl real_sp, %eax
    movl %eax, captured_esp
    addl %eax, %esi
    movl $captured, %edi
    movl $12, %ecx
    cld
    rep movsl
    movl $0, captured_kind
    movl %cr2, %eax
    movl %eax, captured_cr2
    movl real_cr0, %eax
    movl %eax, captured_cr0
    movl %cr4, %eax
    movl %eax, captured_cr4
    movl $0x11, %eax
    movl %eax, %cr0
    xorl %eax, %eax
    movl %eax, %cr4
    pushl %eax
    popfl
    popal
    ret
