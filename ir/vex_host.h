// How the interpreter runs a VEX or EVEX instruction: on the host's registers, with the operands in fixed
// ones. Inside ir/vex*.cpp only.
#pragma once

#include "base/types.h"

#include <cstddef>

namespace dragoman::ir {

// Operand n of an instruction is YMMn or ZMMn, or the general register RAX (d) or RCX (b), or the opmask
// register K2 (d), K3 (a) or K4 (b); K1 is the write mask. Offsets are used by the assembly in vex_host.cpp.
struct alignas(64) VexOperands {
    u8 vector[4][64]; // d a b c; vector[2] is also the memory operand that is read
    u8 stored[64];    // the memory operand that is written
    u64 general[2];   // d, b
    u64 flags;        // EFLAGS afterwards
    u64 opmask[4];    // d a b, and the write mask
};
static_assert(offsetof(VexOperands, stored) == 256 && offsetof(VexOperands, general) == 320 &&
              offsetof(VexOperands, opmask) == 344);

#if defined(__x86_64__)
// Loads the registers, runs `code` and stores vector[0], general[0] and flags.
extern "C" void dragoman_vex_run(VexOperands* operands, const u8* code);
// The same with ZMM and opmask registers, on hosts that have them.
extern "C" void dragoman_evex_run(VexOperands* operands, const u8* code);
#endif

} // namespace dragoman::ir
