// What of the processor's state a translation depends on: the mode part of the block key (design: if it can
// change the translation it is in the key; nothing else is).
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

struct Mode {
    u8 code_bits = 16;  // 16, 32 or 64: default operand and address size
    u8 stack_bits = 16; // width of the stack pointer
    u8 cpl = 0;
    bool protected_mode = false; // CR0.PE and not virtual-8086
    bool v86 = false;
    u8 view = 0;       // softmmu::View of data accesses
    bool flat[4] = {}; // ES, CS, SS, DS: base 0, limit 4 GiB - 1, usable for what such a segment is used for
    bool fs_gs_flat[2] = {};
    bool emulation = false;       // CR0.EM: MMX raises #UD
    bool sse_undefined = false;   // CR0.EM or not CR4.OSFXSR: SSE raises #UD
    bool sse_traps = false;       // CR0.TS: SSE and MMX raise #NM
    bool wait_traps = false;      // CR0.MP and CR0.TS: WAIT raises #NM
    bool single_step = false;     // EFLAGS.TF, or a shadow, a debugger's step: one instruction per block
    bool alignment_check = false; // CPL 3, CR0.AM and EFLAGS.AC
    bool simd_unmasked = false; // some exception is unmasked in MXCSR: numeric SSE instructions may raise #XM
    bool avx = false;           // CR4.OSXSAVE and XCR0 enable AVX state; else VEX-encoded vectors raise #UD
    bool avx512 = false;        // the same for EVEX-encoded vectors and opmask registers
    bool fpu_pending =
        false; // an unmasked x87 exception waits (status word, ES): waiting instructions report it

    bool tsc_refused = false; // CR4.TSD above CPL 0: RDTSC raises #GP
    bool x87_unmasked =
        false; // some exception is unmasked in the x87's control word: its instructions may leave #MF behind

    bool long64() const { return code_bits == 64; }
    bool is_flat(ir::Seg s) const { // not in 64-bit mode
        return s < ir::Seg::FS ? flat[unsigned(s)] : fs_gs_flat[unsigned(s) - unsigned(ir::Seg::FS)];
    }
    bool fpu_traps() const { return emulation || sse_traps; } // x87 instructions raise #NM
};

// Packed into 32 bits, of which 28 are in use.
u32 pack(const Mode& mode);
Mode unpack(u32 packed);

Mode current_mode(const Cpu& cpu);

// Recomputes Context::cpl-dependent fields (view) and Context::key after a change of CS, CPL, flags or
// control registers. The run loop calls it before every look-up; helpers that change the mode end their block
// with ExitHere or ExitTo. key = mode (32 bits) | number of the code segment << 32 (24 bits).
void update_key(Cpu& cpu);

} // namespace dragoman::x86
