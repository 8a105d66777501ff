// String instructions (SDM vol. 1, 5.1.8). Without a repeat prefix they are a few ops; with one, a call.
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"

#include "frontend/x86/string_repeat.h"

#include <bit>

namespace dragoman::x86 {

using ir::Access;
using ir::Op;
using ir::Ref;
using ir::Seg;

namespace {

// The segment of RSI: DS unless a prefix names another. That of RDI is always ES.
Seg source_segment(const Instruction& insn) {
    for (unsigned n = 0; n < insn.zydis.operand_count; n++) {
        if (!is_memory(insn, n)) continue;
        const ZydisRegister base = insn.operands[n].mem.base;
        if (base == ZYDIS_REGISTER_RSI || base == ZYDIS_REGISTER_ESI || base == ZYDIS_REGISTER_SI)
            return Translation::segment(insn, n);
    }
    return Seg::DS;
}

struct StringOperands {
    Translation& t;
    const Instruction& insn;
    const unsigned size = insn.operand_size(), address_size = insn.address_size();

    Ref load(Seg seg, Ref reg) const {
        const ir::Address a = t.address(seg, reg, 0, address_size, size, Access::Read);
        const Ref value = t.ir.temp();
        t.ir.load(size, value, a);
        return value;
    }
    Ref load_source() const { return load(source_segment(insn), ir::kRsi); }
    Ref load_target() const { return load(Seg::ES, ir::kRdi); }
    void store_target(Ref value) const {
        const ir::Address a = t.address(Seg::ES, ir::kRdi, 0, address_size, size, Access::Write);
        t.ir.store(size, a, value);
    }
    // 1 - 2 * DF without touching flags: ~DF * 2 + 3.
    Ref direction() const {
        const Ref d = t.ir.temp();
        t.ir.load_state(1, d, offsetof(ir::Context, direction_flag));
        t.ir.unary(Op::Not, 8, d, d);
        t.ir.lea(8, d, {.index = d, .scale = 1, .disp = 3});
        return d;
    }
    void advance(Ref reg, Ref direction) const {
        t.ir.lea(address_size, reg, {.base = reg, .index = direction, .scale = u8(std::countr_zero(size))});
    }
};

bool repeated(const Instruction& insn) {
    return insn.rep() || insn.repne();
}

bool call_repeat(Translation& t, const Instruction& insn, StringOp op) {
    const Seg source = op == StringOp::Movs ? source_segment(insn) : Seg::ES;
    const Repeat r{.op = op,
                   .size = u8(insn.operand_size()),
                   .address_size = u8(insn.address_size()),
                   .source = source_segment(insn),
                   .long64 = t.mode.long64(),
                   .while_not_equal = insn.repne(),
                   .once = t.mode.single_step,
                   .flat = insn.address_size() * 8 == t.mode.code_bits && t.mode.code_bits >= 32 &&
                           t.mode.is_flat(Seg::ES) && t.mode.is_flat(source) && !t.mode.alignment_check};
    t.ir.call(repeat_helper(r), {}, {}, {}, i64(r.pack()));
    return true;
}

} // namespace

bool MOVS(Translation& t, const Instruction& insn) {
    if (repeated(insn)) return call_repeat(t, insn, StringOp::Movs);
    const StringOperands s{t, insn};
    s.store_target(s.load_source());
    const Ref direction = s.direction();
    s.advance(ir::kRsi, direction);
    s.advance(ir::kRdi, direction);
    return true;
}

bool STOS(Translation& t, const Instruction& insn) {
    if (repeated(insn)) return call_repeat(t, insn, StringOp::Stos);
    const StringOperands s{t, insn};
    s.store_target(ir::kRax);
    s.advance(ir::kRdi, s.direction());
    return true;
}

bool LODS(Translation& t, const Instruction& insn) {
    if (repeated(insn)) return call_repeat(t, insn, StringOp::Lods);
    const StringOperands s{t, insn};
    t.ir.mov(s.size, ir::kRax, s.load_source());
    s.advance(ir::kRsi, s.direction());
    return true;
}

bool CMPS(Translation& t, const Instruction& insn) {
    if (repeated(insn)) return call_repeat(t, insn, StringOp::Cmps);
    const StringOperands s{t, insn};
    const Ref right = s.load_target(), left = s.load_source(); // in the order of processors
    t.ir.alu(Op::Cmp, s.size, {}, left, right);
    const Ref direction = s.direction();
    s.advance(ir::kRsi, direction);
    s.advance(ir::kRdi, direction);
    return true;
}

bool SCAS(Translation& t, const Instruction& insn) {
    if (repeated(insn)) return call_repeat(t, insn, StringOp::Scas);
    const StringOperands s{t, insn};
    t.ir.alu(Op::Cmp, s.size, {}, ir::kRax, s.load_target());
    s.advance(ir::kRdi, s.direction());
    return true;
}

} // namespace dragoman::x86
