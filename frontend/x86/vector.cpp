// MMX and SSE instructions that are one row of ir/vec_ops.inc (SDM vol. 1, 5.4 to 5.11).
#include "frontend/x86/translate.h"
#include "frontend/x86/vector_common.h"
#include "frontend/x86/x87_ops.h"

#include <algorithm>
#include <array>
#include <string>

namespace dragoman::x86 {

using ir::Inst;
using ir::Op;
using ir::Ref;

namespace {

bool is_mm(ZydisRegister r) {
    return r >= ZYDIS_REGISTER_MM0 && r <= ZYDIS_REGISTER_MM7;
}

template <class F> bool names(const Instruction& insn, F wanted) {
    return std::any_of(insn.operands, insn.operands + insn.zydis.operand_count_visible, [&](const auto& op) {
        return op.type == ZYDIS_OPERAND_TYPE_REGISTER && wanted(op.reg.value);
    });
}

using Rows = std::array<i16, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

Rows make_rows() {
    Rows rows;
    for (unsigned m = 0; m < rows.size(); ++m) {
        std::string_view name = ZydisMnemonicGetString(ZydisMnemonic(m));
        if (name.starts_with("vpcmpestr") || name.starts_with("vpcmpistr")) name.remove_prefix(1);
        rows[m] = i16(ir::find_vec_op(name));
    }
    return rows;
}

u64 emms(ir::Context& ctx, u64, u64, u64) {
    enter_mmx(ctx.fpu);
    ctx.fpu.tag = 0;
    return 0;
}
constexpr ir::Helper emms_info{"emms", emms};

} // namespace

Ref vector_register(const Instruction& insn, unsigned n) {
    const ZydisRegister r = insn.operands[n].reg.value;
    const auto number = unsigned(ZydisRegisterGetId(r));
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM:
    case ZYDIS_REGCLASS_ZMM: return Ref::xmm(number);
    case ZYDIS_REGCLASS_MMX: return Ref::mm(number);
    case ZYDIS_REGCLASS_MASK: return Ref::opmask(number);
    default: return Translation::gpr(r);
    }
}

int vector_row(const Instruction& insn) {
    static const Rows rows = make_rows();
    return rows[insn.mnemonic()];
}

bool begin_vector(Translation& t, const Instruction& insn) {
    const auto isa = insn.zydis.meta.isa_set;
    if ((isa == ZYDIS_ISA_SET_SSE2 && !t.model.has(Feature::Sse2)) ||
        (isa == ZYDIS_ISA_SET_SSE4 && !t.model.has(Feature::Sse41)))
        return t.raise(kUD);
    if (names(insn, is_mm)) wait_x87(t);
    return true;
}

void emit_vector(Translation& t, u16 row, Inst inst) {
    inst.op = Op::Vec;
    inst.vec = row;
    t.ir.add(inst);
}

void emit_vector(Translation& t, const Instruction& insn, unsigned size) {
    const u16 row = u16(vector_row(insn));
    Inst inst{.size = u8(size), .d = vector_register(insn, 0)};
    const unsigned last = insn.zydis.operand_count_visible - 1u;
    if (is_immediate(insn, last)) inst.imm = u8(insn.operands[last].imm.value.u);
    if (is_memory(insn, 1)) {
        inst.vec = row;
        inst.from_memory = true;
        inst.mem = t.address(insn, 1, ir::vec_source_bytes(inst), ir::Access::Read);
    } else if (!is_immediate(insn, 1)) {
        inst.a = vector_register(insn, 1);
    } else if (!ir::vec_op(row).has_imm) { // a shift's count; PSLLDQ has an imm8 of its own
        inst.a = Ref::imm();
    }
    emit_vector(t, row, inst);
}

bool VECTOR(Translation& t, const Instruction& insn) {
    if (!begin_vector(t, insn)) return false;
    emit_vector(t, insn, 4);
    return true;
}

// Where REX.W makes a general register 64 bits wide.
bool VECTOR_SIZED(Translation& t, const Instruction& insn) {
    if (!begin_vector(t, insn)) return false;
    emit_vector(t, insn, insn.operand_size() == 8 ? 8 : 4);
    return true;
}

bool PEXTR(Translation& t, const Instruction& insn) {
    if (!begin_vector(t, insn)) return false;
    const unsigned size = insn.mnemonic() == ZYDIS_MNEMONIC_PEXTRQ ? 8 : 4;
    if (!is_memory(insn, 0)) {
        emit_vector(t, insn, size);
        return true;
    }
    const Ref value = t.ir.temp();
    emit_vector(t, u16(vector_row(insn)),
                {.size = u8(size),
                 .d = value,
                 .a = vector_register(insn, 1),
                 .imm = u8(insn.operands[2].imm.value.u)});
    t.write(insn, 0, operand_bytes(insn, 0), value);
    return true;
}

bool EMMS(Translation& t, const Instruction&) {
    wait_x87(t);
    t.ir.call(emms_info);
    return true;
}

} // namespace dragoman::x86
