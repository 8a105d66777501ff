// VEX-encoded vector instructions that are one row of ir/vex_ops.inc (SDM vol. 1, ch. 14), and those that
// clear registers.
#include "frontend/x86/vex.h"
#include "frontend/x86/translate.h"
#include "frontend/x86/vector_common.h"
#include "ir/vex.h"

#include <algorithm>
#include <array>
#include <vector>

namespace dragoman::x86 {

using ir::Access;
using ir::Inst;
using ir::Op;
using ir::Ref;
using ir::VexOperand;

namespace {

// What CPUID must offer, by Zydis's name for the group; the 256-bit form of an instruction may be in another
// group.
struct Group {
    ZydisISASet isa;
    Feature feature, also;
};
constexpr Group groups[] = {
    {ZYDIS_ISA_SET_AVX, Feature::Avx, Feature::Base},
    {ZYDIS_ISA_SET_AVXAES, Feature::Avx, Feature::Aes},
    {ZYDIS_ISA_SET_AVX_GFNI, Feature::Avx, Feature::Gfni},
    {ZYDIS_ISA_SET_AVX2, Feature::Avx2, Feature::Base},
    {ZYDIS_ISA_SET_AVX2GATHER, Feature::Avx2, Feature::Base},
    {ZYDIS_ISA_SET_F16C, Feature::F16c, Feature::Base},
    {ZYDIS_ISA_SET_FMA, Feature::Fma, Feature::Base},
    {ZYDIS_ISA_SET_VAES, Feature::Vaes, Feature::Base},
    {ZYDIS_ISA_SET_VPCLMULQDQ, Feature::Vpclmulqdq, Feature::Base},
};

// The rows of each mnemonic.
using Rows = std::array<std::vector<u16>, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

Rows make_rows() {
    Rows rows;
    for (unsigned m = 0; m < rows.size(); ++m) {
        const std::string_view name = ZydisMnemonicGetString(ZydisMnemonic(m));
        if (!name.starts_with('v')) continue;
        for (u16 row = 0; row < ir::vex_op_count(); ++row)
            if (ir::vex_op(row).mnemonic == name) rows[m].push_back(row);
    }
    return rows;
}

bool fits(const ZydisDecodedOperand& operand, VexOperand kind, unsigned length) {
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) return kind == VexOperand::Memory;
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return kind == VexOperand::Imm;
    switch (ZydisRegisterGetClass(operand.reg.value)) {
    case ZYDIS_REGCLASS_XMM: return ir::vex_vector_bytes(kind, length) == 16;
    case ZYDIS_REGCLASS_YMM: return ir::vex_vector_bytes(kind, length) == 32;
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return kind == VexOperand::Reg32 || kind == VexOperand::Reg64 || kind == VexOperand::RegSized;
    default: return false;
    }
}

// The instruction as a Vex of this row and vector length, without its address. False: its operands are of
// another row.
bool match(const Instruction& insn, u16 row, unsigned length, Inst& inst, unsigned& memory_operand) {
    const ir::VexOp& op = ir::vex_op(row);
    inst = {.op = Op::Vex, .size = u8(length)};
    inst.vec = row;
    Ref* const refs[4] = {&inst.d, &inst.a, &inst.b, &inst.c};
    unsigned n = 0;
    for (unsigned slot = 0; slot < 4; ++slot) {
        VexOperand kind = op.operands[slot];
        if (kind == VexOperand::None) continue;
        if (n == insn.zydis.operand_count_visible) return false;
        const bool in_memory = is_memory(insn, n);
        if (in_memory && slot == 2 && op.memory) kind = VexOperand::Memory;
        if (!fits(insn.operands[n], kind, length)) return false;
        if (op.operands[slot] == VexOperand::RegSized) inst.size2 = u8(operand_bytes(insn, n));
        if (op.operands[slot] == VexOperand::Reg32) inst.size2 = 4;
        if (in_memory)
            inst.from_memory = true, memory_operand = n;
        else if (kind == VexOperand::Imm)
            inst.imm = u8(insn.operands[n].imm.value.u);
        else
            *refs[slot] = vector_register(insn, n);
        ++n;
    }
    return n == insn.zydis.operand_count_visible;
}

bool clear_upper(Translation& t, unsigned first_byte) {
    t.ir.add({.op = Op::ClearUpper, .size = u8(t.mode.long64() ? 16 : 8), .imm = first_byte});
    return true;
}

} // namespace

bool has_vex_features(const CpuModel& model, const Instruction& insn) {
    const auto group = std::find_if(std::begin(groups), std::end(groups),
                                    [&](const Group& g) { return g.isa == insn.zydis.meta.isa_set; });
    if (group == std::end(groups) || !model.has(group->feature) || !model.has(group->also)) return false;
    return insn.mnemonic() != ZYDIS_MNEMONIC_VPCLMULQDQ || model.has(Feature::Pclmulqdq);
}

bool VECTOR_VEX(Translation& t, const Instruction& insn) {
    static const Rows rows = make_rows();
    if (!has_vex_features(t.model, insn)) return t.raise(kUD);
    const unsigned length = insn.zydis.avx.vector_length == 256 ? 32 : 16;
    Inst inst;
    unsigned memory_operand = 0;
    for (const u16 row : rows[insn.mnemonic()]) {
        const ir::VexOp& op = ir::vex_op(row);
        const unsigned row_length = !op.ymm ? 16 : !op.xmm ? 32 : length; // where VEX.L is ignored
        if (!match(insn, row, row_length, inst, memory_operand)) continue;
        if (inst.from_memory)
            inst.mem = t.address(insn, memory_operand, ir::vex_memory_bytes(inst),
                                 op.stores() ? Access::Write : Access::Read);
        t.ir.add(inst);
        return true;
    }
    return t.raise(kUD); // an encoding that no row has
}

bool VZEROUPPER(Translation& t, const Instruction&) {
    return clear_upper(t, 16);
}
bool VZEROALL(Translation& t, const Instruction&) {
    return clear_upper(t, 0);
}

// The legacy instruction; a mask as the result clears the rest of YMM0.
bool VPCMPSTR(Translation& t, const Instruction& insn) {
    emit_vector(t, insn, t.mode.long64() && insn.zydis.raw.vex.W ? 8 : 4);
    if (insn.mnemonic() != ZYDIS_MNEMONIC_VPCMPESTRM && insn.mnemonic() != ZYDIS_MNEMONIC_VPCMPISTRM)
        return true;
    static const auto vmovdqa = u16(ir::find_vex_op("vmovdqa"));
    Inst inst{.op = Op::Vex, .size = 16, .d = Ref::xmm(0), .b = Ref::xmm(0)};
    inst.vec = vmovdqa;
    t.ir.add(inst);
    return true;
}

} // namespace dragoman::x86
