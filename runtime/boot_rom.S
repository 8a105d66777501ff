// The option ROM that starts the kernel of -kernel once the firmware is ready (see firmware_boot.h): a boot entry
// vector as the Plug and Play BIOS Specification 1.0a (3.2) describes it. It collects the firmware's memory map,
// has fw_cfg load the kernel, and goes where fw_cfg says. The first page belongs to it; the kernel may lie in any
// other one.

#define LIST 0x600              // the memory map, as INT 15h AX=E820h returns it; 20 bytes each
#define LIST_END (LIST + 64 * 20)
#define ENTRY LIST_END          // 32 bytes, see firmware_boot.cpp
#define LIST_STOP (ENTRY + 32)  // where the list ends
#define STACK 0xff0
#define KEY 0x8010

    .section .rodata
    .globl dragoman_boot_rom, dragoman_boot_rom_end
    .balign 16
    .code16
dragoman_boot_rom:
    .byte 0x55, 0xaa, (dragoman_boot_rom_end - dragoman_boot_rom) / 512
    lret                        // initialisation: nothing to do
    .org dragoman_boot_rom + 0x1a
    .word header - dragoman_boot_rom
    .balign 16
header:
    .ascii "$PnP"
    .byte 1, 2                  // revision, length in units of 16 bytes
    .word 0                     // no further header
    .byte 0, 0                  // reserved, checksum (filled in when the ROM is offered)
    .long 0                     // device
    .word 0, product - dragoman_boot_rom
    .byte 0, 0, 0, 0            // type, indicators
    .word 0, 0                  // no boot connection nor disconnection vector
    .word boot - dragoman_boot_rom
    .word 0, 0
product:
    .asciz "Kernel of -kernel"

boot:
    cld
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov $LIST, %di
    xor %ebx, %ebx
1:  mov $0xe820, %eax
    mov $0x534d4150, %edx
    mov $20, %ecx
    int $0x15
    jc 2f
    cmp $0x534d4150, %eax
    jne 2f
    add $20, %di
    cmp $LIST_END, %di
    jae 2f
    test %ebx, %ebx
    jnz 1b
2:  mov %di, LIST_STOP

    cli
    xor %ax, %ax
    mov %ax, %ss
    mov $STACK, %esp
    mov $0x510, %dx
    mov $KEY, %ax
    out %ax, %dx                // the kernel is loaded here
    inc %dx
    mov $ENTRY, %di
    mov $32, %cx
    rep insb
    cmpl $1, ENTRY
    je flat
    ja real
    int $0x18                   // the emulator has said why

real:
    mov ENTRY + 22, %ax
    pushw ENTRY + 6
    pushw ENTRY + 4
    popl %ebx                   // CS:IP
    mov %ax, %ss
    movzwl ENTRY + 20, %esp
    pushl %ebx
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    lret

flat:
    xor %eax, %eax
    mov %cs, %ax
    shl $4, %eax
    add $(flat32 - dragoman_boot_rom), %eax
    pushl $0x10
    pushl %eax
    lgdtl ENTRY + 24
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    lretl
    .code32
flat32:
    mov $0x18, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    mov ENTRY + 20, %esp
    mov ENTRY + 8, %eax
    mov ENTRY + 12, %ebx
    mov ENTRY + 16, %esi
    jmp *ENTRY + 4

    .balign 512
dragoman_boot_rom_end:
    .section .note.GNU-stack, "", @progbits
