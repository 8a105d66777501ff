// A firmware image of 64 KiB for the tests of monitor and debugger: it counts in real mode at 0x500 until the
// byte at 0x600 is 1, then in 32-bit protected mode at 0x504 until it is 2, then in 64-bit mode at 0x508.
// Linked at 0xf0000.
    .code16
    .globl start, real_loop, real_step, pm_loop, pm_step, lm_loop, lm_step
start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7000, %sp
    movw $0x1234, %bx
real_loop:
    call real_step
    cmpb $1, 0x600
    jne real_loop
    jmp enter_pm
real_step:
    incl 0x500
    ret

enter_pm:
    lgdtl %cs:(gdt_pointer - start)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $pm_start

    .code32
pm_start:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %ss
    movl $0x7000, %esp
    movl $0x12345678, %ebx
pm_loop:
    call pm_step
    cmpb $2, 0x600
    jne pm_loop
    jmp enter_lm
pm_step:
    incl 0x504
    ret

enter_lm: // pages of 2 MiB for the first GiB
    movl $0x11003, 0x10000
    movl $0, 0x10004
    movl $0x12003, 0x11000
    movl $0, 0x11004
    movl $0x83, %eax
    movl $0x12000, %edi
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    cmpl $0x13000, %edi
    jne 1b
    movl $0x10000, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x620, %eax // PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmpl $0x18, $lm_start

    .code64
lm_start:
    movabsq $0x123456789abcdef0, %rbx
    movq %rbx, %xmm3
    movq $0x7000, %rsp
lm_loop:
    call lm_step
    cmpb $3, 0x600
    jne lm_loop
1:  hlt
    jmp 1b
lm_step:
    incq 0x508
    ret

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff // 0x08: code 32
    .quad 0x00cf93000000ffff // 0x10: data
    .quad 0x00af9b000000ffff // 0x18: code 64
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .org 0xfff0
    .code16
    ljmpw $0xf000, $0
    .org 0x10000
