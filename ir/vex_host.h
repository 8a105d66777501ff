// How the interpreter runs a VEX instruction: on the host's registers, with the operands in fixed ones.
// Inside ir/vex*.cpp only.
#pragma once

#include "base/types.h"

#include <cstddef>

namespace dragoman::ir {

// Operand n of an instruction is YMMn, or the general register RAX (d) or RCX (b). Offsets are used by the
// assembly in vex_host.cpp.
struct alignas(64) VexOperands {
    u8 vector[4][64]; // d a b c; vector[2] is also the memory operand that is read
    u8 stored[64];    // the memory operand that is written
    u64 general[2];   // d, b
    u64 flags;        // EFLAGS afterwards
};
static_assert(offsetof(VexOperands, stored) == 256 && offsetof(VexOperands, general) == 320);

#if defined(__x86_64__)
// Loads the registers, runs `code` and stores vector[0], general[0] and flags.
extern "C" void dragoman_vex_run(VexOperands* operands, const u8* code);
#endif

} // namespace dragoman::ir
