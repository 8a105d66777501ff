// Binary arithmetic (SDM vol. 1, 5.1.2).
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

bool binary(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    i64 imm = 0;
    const Ref source = t.read(insn, 1, size, imm);
    if (is_memory(insn, 0)) {
        const ir::Address a = t.address(insn, 0, size, ir::Access::ReadWrite);
        t.ir.rmw(op, size, a, source, imm, insn.lock());
    } else {
        Destination d(t, insn);
        t.ir.alu(op, size, d.ref(), d.ref(), source, imm);
        d.finish();
    }
    return true;
}

bool unary(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    if (is_memory(insn, 0)) {
        const ir::Address a = t.address(insn, 0, size, ir::Access::ReadWrite);
        t.ir.rmw(op, size, a, {}, 0, insn.lock());
    } else {
        Destination d(t, insn);
        t.ir.unary(op, size, d.ref(), d.ref());
        d.finish();
    }
    return true;
}

bool compare(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    i64 imm = 0;
    const Ref a = t.read_reg(insn, 0, size);
    const Ref b = t.read(insn, 1, size, imm);
    t.ir.alu(op, size, {}, a, b, imm);
    return true;
}

bool ADD(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Add);
}
bool ADC(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Adc);
}
bool SUB(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Sub);
}
bool SBB(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Sbb);
}
bool CMP(Translation& t, const Instruction& insn) {
    return compare(t, insn, Op::Cmp);
}
bool INC(Translation& t, const Instruction& insn) {
    return unary(t, insn, Op::Inc);
}
bool DEC(Translation& t, const Instruction& insn) {
    return unary(t, insn, Op::Dec);
}
bool NEG(Translation& t, const Instruction& insn) {
    return unary(t, insn, Op::Neg);
}

namespace {

// RDX:RAX (AX for bytes) with the one operand.
bool wide(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref a = t.read_reg(insn, 0, size);
    t.ir.add({.op = op, .size = u8(size), .a = a});
    return true;
}

} // namespace

bool MUL(Translation& t, const Instruction& insn) {
    return wide(t, insn, Op::MulWide);
}
bool DIV(Translation& t, const Instruction& insn) {
    return wide(t, insn, Op::DivWide);
}
bool IDIV(Translation& t, const Instruction& insn) {
    return wide(t, insn, Op::IdivWide);
}

bool IMUL(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    if (insn.zydis.operand_count_visible == 1) return wide(t, insn, Op::ImulWide);
    const Ref d = Translation::gpr(insn.operands[0].reg.value);
    i64 imm = 0;
    if (insn.zydis.operand_count_visible == 2) {
        const Ref b = t.read(insn, 1, size, imm);
        t.ir.alu(Op::Imul, size, d, d, b, imm);
    } else {
        const Ref a = t.read_reg(insn, 1, size);
        const Ref b = t.read(insn, 2, size, imm);
        t.ir.alu(Op::Imul, size, d, a, b, imm);
    }
    return true;
}

} // namespace dragoman::x86
