// BMI1, BMI2 (SDM vol. 1, 5.1.16) and ADX: instructions of 4 or 8 bytes with a destination of their own.
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

namespace {

// operand 0 = op(operand 1, operand 2); one of the two may be in memory, RORX's second is an immediate.
bool three_operands(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    i64 imm = 0;
    const Ref a = t.read_reg(insn, 1, size);
    const Ref b = t.read(insn, 2, size, imm);
    t.ir.alu(op, size, Translation::gpr(insn.operands[0].reg.value), a, b, imm);
    return true;
}

// operand 0 = op(operand 1)
bool two_operands(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref a = t.read_reg(insn, 1, size);
    t.ir.unary(op, size, Translation::gpr(insn.operands[0].reg.value), a);
    return true;
}

bool add_with_flag(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref b = t.read_reg(insn, 1, size);
    const Ref d = Translation::gpr(insn.operands[0].reg.value);
    t.ir.alu(op, size, d, d, b);
    return true;
}

} // namespace

bool ANDN(Translation& t, const Instruction& insn) {
    return three_operands(t, insn, Op::Andn);
}
bool BEXTR(Translation& t, const Instruction& insn) {
    return three_operands(t, insn, Op::Bextr);
}
bool BZHI(Translation& t, const Instruction& insn) {
    return three_operands(t, insn, Op::Bzhi);
}
bool PDEP(Translation& t, const Instruction& insn) {
    return three_operands(t, insn, Op::Pdep);
}
bool PEXT(Translation& t, const Instruction& insn) {
    return three_operands(t, insn, Op::Pext);
}
bool RORX(Translation& t, const Instruction& insn) {
    return three_operands(t, insn, Op::Rorx);
}
bool SARX(Translation& t, const Instruction& insn) {
    return three_operands(t, insn, Op::Sarx);
}
bool SHLX(Translation& t, const Instruction& insn) {
    return three_operands(t, insn, Op::Shlx);
}
bool SHRX(Translation& t, const Instruction& insn) {
    return three_operands(t, insn, Op::Shrx);
}

bool BLSI(Translation& t, const Instruction& insn) {
    return two_operands(t, insn, Op::Blsi);
}
bool BLSMSK(Translation& t, const Instruction& insn) {
    return two_operands(t, insn, Op::Blsmsk);
}
bool BLSR(Translation& t, const Instruction& insn) {
    return two_operands(t, insn, Op::Blsr);
}

bool MULX(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref a = t.read_reg(insn, 2, size);
    t.ir.add({.op = Op::Mulx,
              .size = u8(size),
              .d = Translation::gpr(insn.operands[0].reg.value),
              .a = a,
              .c = Translation::gpr(insn.operands[1].reg.value)});
    return true;
}

bool ADCX(Translation& t, const Instruction& insn) {
    return add_with_flag(t, insn, Op::Adcx);
}
bool ADOX(Translation& t, const Instruction& insn) {
    return add_with_flag(t, insn, Op::Adox);
}

} // namespace dragoman::x86
