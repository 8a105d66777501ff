// Flag control and miscellaneous instructions (SDM vol. 1, 5.1.10, 5.1.13).
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

bool CLC(Translation& t, const Instruction&) {
    return t.ir.add({.op = Op::Clc}), true;
}
bool STC(Translation& t, const Instruction&) {
    return t.ir.add({.op = Op::Stc}), true;
}
bool CMC(Translation& t, const Instruction&) {
    return t.ir.add({.op = Op::Cmc}), true;
}

namespace {

bool set_direction(Translation& t, bool down) {
    t.ir.store_state(1, offsetof(ir::Context, direction_flag), Ref::imm(), down);
    return true;
}

} // namespace

bool CLD(Translation& t, const Instruction&) {
    return set_direction(t, false);
}
bool STD(Translation& t, const Instruction&) {
    return set_direction(t, true);
}

// PAUSE and fences: one vCPU's accesses happen in program order.
bool NOP(Translation&, const Instruction&) {
    return true;
}

// NOP and PREFETCH. Those with an operand came later than 90: 0F 0D as a NOP with 64-bit mode.
bool HINT(Translation& t, const Instruction& insn) {
    if (insn.zydis.opcode_map != ZYDIS_OPCODE_MAP_0F) return true;
    const bool there = insn.zydis.opcode == 0x0d
                           ? t.model.has(Feature::Prefetchw) || t.model.has(Feature::LongMode)
                           : t.model.has(Feature::Nopl);
    return there || t.raise(kUD);
}

// Faults as a read of a byte does, but code that cannot be read may be flushed, too (SDM vol. 2, CLFLUSH);
// there is no cache to flush.
bool CLFLUSH(Translation& t, const Instruction& insn) {
    const ir::Address a = t.address(insn, 0, 1, ir::Access::Any);
    t.ir.load(1, t.ir.temp(), a);
    return true;
}

// UD0, UD1, UD2
bool UD(Translation& t, const Instruction&) {
    return t.raise(kUD);
}

} // namespace dragoman::x86
