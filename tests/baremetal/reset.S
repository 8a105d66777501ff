// The last 4 KiB of the ROM, at 0xff000: from reset to the executor's copy in RAM.
#include "layout.h"
    .code16
    .globl start
start:
    .long 0 // where the image is, filled in by generate.py
    .long 0 // its bytes
go:
    cli
    movb $2, %al // A20
    outb %al, $0x92
    lgdtl %cs:(gdt_pointer - start + 0xf000)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $SEL_CODE, $flat
    .code32
flat:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl start, %esi
    movl start + 4, %ecx
    movl $IMAGE, %edi
    shrl $2, %ecx
    cld
    rep movsl
    movl $IMAGE, %eax
    jmp *%eax

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .org 0xff0
    .code16
    ljmpw $0xf000, $0xf008
    .org 0x1000
