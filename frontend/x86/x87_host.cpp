// x87 instructions run as themselves on the host's FPU: the guest's FPU state is loaded, the one instruction
// is executed, the state is taken back. So results, flags, stack faults and the response to unmasked
// exceptions are the processor's own.
#include "frontend/x86/x87_host.h"

#include "base/assert.h"

#include <cstring>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

// Every register form D8 C0 to DF FF and every memory form with [RDI] as its operand, each followed by RET,
// in 4 bytes. The entry takes (RDI image, RSI stub, RDX operand, ECX flags: AH as for SAHF, AL = OF) and
// gives the flags in EAX.
#if defined(__x86_64__)
extern "C" {
dragoman::u32 dragoman_x87_run(void* image, const void* stub, void* operand, dragoman::u32 flags);
extern const dragoman::u8 dragoman_x87_register_forms[], dragoman_x87_memory_forms[];
}

asm(R"(
.text
.balign 16
dragoman_x87_run:
    sub $8, %rsp
    fnstcw (%rsp)
    fxrstor (%rdi)
    mov %rdi, %r8
    mov %rdx, %rdi
    mov %ecx, %eax
    add $0x7f, %al
    sahf
    call *%rsi
    lahf
    seto %al
    fxsave (%r8)
    fninit
    fldcw (%rsp)
    add $8, %rsp
    ret
.balign 16
dragoman_x87_register_forms:
.set dragoman_x87_op, 0xd8
.rept 8
.set dragoman_x87_modrm, 0xc0
.rept 64
    .byte dragoman_x87_op, dragoman_x87_modrm, 0xc3, 0xcc
.set dragoman_x87_modrm, dragoman_x87_modrm + 1
.endr
.set dragoman_x87_op, dragoman_x87_op + 1
.endr
dragoman_x87_memory_forms:
.set dragoman_x87_op, 0xd8
.rept 8
.set dragoman_x87_modrm, 7
.rept 8
    .byte dragoman_x87_op, dragoman_x87_modrm, 0xc3, 0xcc
.set dragoman_x87_modrm, dragoman_x87_modrm + 8
.endr
.set dragoman_x87_op, dragoman_x87_op + 1
.endr
)");
#endif

namespace dragoman::x86 {

#if defined(__x86_64__)

namespace {

// The area of FXSAVE (SDM vol. 1, 10.5.1).
struct alignas(16) Image {
    u16 control, status;
    u8 tag, reserved;
    u16 opcode;
    u64 ip, dp;
    u32 mxcsr, mxcsr_mask;
    u8 st[8][16];
    u8 xmm[16][16];
    u8 unused[96];
};
static_assert(sizeof(Image) == 512);
static_assert(sizeof(Image::st) == sizeof(ir::Fpu::st));

} // namespace

const u8* host_stub(u16 opcode) {
    const unsigned op = opcode >> 8 & 7, modrm = opcode & 0xff;
    return modrm >= 0xc0 ? dragoman_x87_register_forms + (op * 64 + (modrm & 63)) * 4
                         : dragoman_x87_memory_forms + (op * 8 + (modrm >> 3 & 7)) * 4;
}

ir::Flags run_on_host(ir::Fpu& fpu, u16 opcode, void* operand, ir::Flags flags) {
    Image image; // its XMM registers are loaded as they are: none of them is in use
    image.control = fpu.control;
    image.status = status_word(fpu);
    if (fpu.status & kX87Summary) { // a waiting exception that is ignored (IGNNE#) must not trap here
        image.control |= kX87Exceptions;
        image.status &= u16(~(kX87Summary | kX87Busy));
    }
    image.tag = fpu.tag;
    image.reserved = 0;
    image.opcode = 0;
    image.ip = image.dp = 0;
    image.mxcsr = _mm_getcsr();
    std::memcpy(image.st, fpu.st, sizeof fpu.st);
    const u32 ax = dragoman_x87_run(&image, host_stub(opcode), operand,
                                    (flags & 0xd5) << 8 | u32{(flags & ir::kOF) != 0});
    set_status_word(fpu, image.status);
    fpu.tag = image.tag;
    std::memcpy(fpu.st, image.st, sizeof fpu.st);
    return (ax >> 8 & 0xd5) | (ax & 1 ? ir::Flags{ir::kOF} : 0);
}

#else

ir::Flags run_on_host(ir::Fpu&, u16, void*, ir::Flags flags) {
    DRAGOMAN_ASSERT(!"x87 instructions need an x86-64 host");
    return flags;
}

#endif

} // namespace dragoman::x86
