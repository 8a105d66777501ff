// Random MMX, SSE and x87 instructions, compared between the host's processor and the translated instruction.
#pragma once

#include "differential.h"

namespace dragoman::test {

// The area of FXSAVE in 64-bit format (SDM vol. 1, 10.5.1).
struct alignas(16) FxArea {
    u16 control = 0x37f, status = 0;
    u8 tag = 0, reserved = 0;
    u16 opcode = 0;
    u64 ip = 0, dp = 0;
    u32 mxcsr = 0x1f80, mxcsr_mask = 0xffff;
    u8 st[8][16] = {};
    u8 xmm[16][16] = {};
    u8 unused[96] = {};
};
static_assert(sizeof(FxArea) == 512);

enum class VectorGroup {
    Vector,
    X87,
    State /* FXSAVE, XRSTOR and their kin */,
    Vex,
    Evex /* and opmask instructions */
};

struct VectorCase {
    Case plain;
    FxArea fx;
    bool stops_midway = false; // where it faults some processors have loaded a part
    VectorRegisters vectors;   // as far as the host has them; the low 16 bytes are in fx
};
VectorCase random_vector_case(std::mt19937_64& random, VectorGroup group,
                              const std::function<bool(ZydisMnemonic)>& wanted = nullptr);
// The mnemonics that such cases can have.
std::vector<ZydisMnemonic> vector_mnemonics(VectorGroup group);

// As compare().
std::string compare_vector(Machine& machine, Native& native, const VectorCase& c);

} // namespace dragoman::test
