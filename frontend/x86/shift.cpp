// Shift and rotate instructions (SDM vol. 1, 5.1.5).
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

// The count is operand 1: CL or an immediate (D0 and D1: the hidden immediate 1).
bool SHL(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Shl);
}
bool SHR(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Shr);
}
bool SAR(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Sar);
}
bool ROL(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Rol);
}
bool ROR(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Ror);
}
bool RCL(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Rcl);
}
bool RCR(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Rcr);
}

namespace {

bool double_shift(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref source = Translation::gpr(insn.operands[1].reg.value);
    i64 imm = 0;
    const Ref count = t.read(insn, 2, 1, imm);
    if (is_memory(insn, 0)) {
        const ir::Address a = t.address(insn, 0, size, ir::Access::ReadWrite);
        t.ir.rmw(op, size, a, source, imm, false).c = count;
    } else {
        const Ref d = Translation::gpr(insn.operands[0].reg.value);
        t.ir.alu(op, size, d, d, source, imm).c = count;
    }
    return true;
}

} // namespace

bool SHLD(Translation& t, const Instruction& insn) {
    return double_shift(t, insn, Op::Shld);
}
bool SHRD(Translation& t, const Instruction& insn) {
    return double_shift(t, insn, Op::Shrd);
}

} // namespace dragoman::x86
