// Bit and byte instructions (SDM vol. 1, 5.1.6).
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"

#include <bit>

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

namespace {

// Memory operand of a bit instruction whose bit number is in a register: the signed number reaches beyond the
// operand, in units of the operand's size (SDM vol. 2, BT).
ir::Address bit_string(Translation& t, const Instruction& insn, unsigned size, ir::Access access) {
    const Ref number = Translation::gpr(insn.operands[1].reg.value);
    const Ref unit = t.ir.temp();
    if (size < 8)
        t.ir.extend(Op::Sext, size, 8, unit, number);
    else
        t.ir.mov(8, unit, number);
    // The shift must not be seen in the flags: ZF is kept, and the access may fault.
    const Ref flags = t.ir.temp();
    t.ir.unary(Op::GetFlags, 8, flags, {});
    t.ir.alu(Op::Sar, 8, unit, unit, Ref::imm(), std::countr_zero(size * 8));
    t.ir.unary(Op::SetFlags, 8, {}, flags, i64(ir::kAllFlags));

    ir::Address a = Translation::effective(insn, 0);
    if (!a.index.is_none() || a.disp != i32(a.disp) || a.from_pc) {
        const Ref base = t.ir.temp();
        t.ir.lea(8, base, a);
        a = {.base = base, .size = a.size};
    }
    a.index = unit;
    a.scale = u8(std::countr_zero(size));
    return t.in_segment(a, Translation::segment(insn, 0), size, access);
}

bool bit_test(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    i64 imm = 0;
    const Ref number = t.read(insn, 1, size, imm);
    imm &= size * 8 - 1;
    if (!is_memory(insn, 0)) {
        const Ref d = Translation::gpr(insn.operands[0].reg.value);
        t.ir.alu(op, size, op == Op::Bt ? Ref::none() : d, d, number, imm);
        return true;
    }
    const auto access = op == Op::Bt ? ir::Access::Read : ir::Access::ReadWrite;
    const ir::Address a =
        number.is_imm() ? t.address(insn, 0, size, access) : bit_string(t, insn, size, access);
    if (op == Op::Bt) {
        const Ref value = t.ir.temp();
        t.ir.load(size, value, a);
        t.ir.alu(op, size, {}, value, number, imm);
    } else {
        t.ir.rmw(op, size, a, number, imm, insn.lock());
    }
    return true;
}

bool bit_scan(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref source = t.read_reg(insn, 1, size);
    const Ref d = Translation::gpr(insn.operands[0].reg.value);
    t.ir.alu(op, size, d, d, source);
    return true;
}

} // namespace

bool BT(Translation& t, const Instruction& insn) {
    return bit_test(t, insn, Op::Bt);
}
bool BTS(Translation& t, const Instruction& insn) {
    return bit_test(t, insn, Op::Bts);
}
bool BTR(Translation& t, const Instruction& insn) {
    return bit_test(t, insn, Op::Btr);
}
bool BTC(Translation& t, const Instruction& insn) {
    return bit_test(t, insn, Op::Btc);
}
bool BSF(Translation& t, const Instruction& insn) {
    return bit_scan(t, insn, Op::Bsf);
}
bool BSR(Translation& t, const Instruction& insn) {
    return bit_scan(t, insn, Op::Bsr);
}

namespace {

bool count(Translation& t, const Instruction& insn, Op op) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref source = t.read_reg(insn, 1, size);
    t.ir.unary(op, size, Translation::gpr(insn.operands[0].reg.value), source);
    return true;
}

} // namespace

bool POPCNT(Translation& t, const Instruction& insn) {
    return count(t, insn, Op::Popcnt);
}
// The F3 prefix means nothing to a processor without the feature.
bool TZCNT(Translation& t, const Instruction& insn) {
    return t.model.has(Feature::Bmi1) ? count(t, insn, Op::Tzcnt) : bit_scan(t, insn, Op::Bsf);
}
bool LZCNT(Translation& t, const Instruction& insn) {
    return t.model.has(Feature::Lzcnt) ? count(t, insn, Op::Lzcnt) : bit_scan(t, insn, Op::Bsr);
}

bool CRC32(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 1);
    const Ref source = t.read_reg(insn, 1, size);
    const Ref d = Translation::gpr(insn.operands[0].reg.value);
    t.ir.alu(Op::Crc32, size, d, d, source);
    return true;
}

bool SETcc(Translation& t, const Instruction& insn) {
    if (!is_memory(insn, 0) && !is_high_byte(insn, 0)) {
        t.ir.add({.op = Op::Setcc,
                  .size = 1,
                  .cond = condition(insn),
                  .d = Translation::gpr(insn.operands[0].reg.value)});
        return true;
    }
    const Ref value = t.ir.temp();
    t.ir.add({.op = Op::Setcc, .size = 1, .cond = condition(insn), .d = value});
    t.write(insn, 0, 1, value);
    return true;
}

} // namespace dragoman::x86
