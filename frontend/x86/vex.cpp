// VEX- and EVEX-encoded instructions that are one row of ir/vex_ops.inc or evex_ops.inc (SDM vol. 1, ch. 14
// and 15), and those that clear registers.
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

// What CPUID must offer, by Zydis's name for the group; a shorter form of an instruction may be in another
// group.
struct Group {
    ZydisISASet isa;
    Feature needs[3] = {};
};
#define LENGTHS(name, ...)                                                                                   \
    {ZYDIS_ISA_SET_##name##_128, {Feature::Avx512vl, __VA_ARGS__}},                                          \
        {ZYDIS_ISA_SET_##name##_256, {Feature::Avx512vl, __VA_ARGS__}}, {                                    \
        ZYDIS_ISA_SET_##name##_512, {                                                                        \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
constexpr Group groups[] = {
    {ZYDIS_ISA_SET_AVX, {Feature::Avx}},
    {ZYDIS_ISA_SET_AVXAES, {Feature::Avx, Feature::Aes}},
    {ZYDIS_ISA_SET_AVX_GFNI, {Feature::Avx, Feature::Gfni}},
    {ZYDIS_ISA_SET_AVX2, {Feature::Avx2}},
    {ZYDIS_ISA_SET_AVX2GATHER, {Feature::Avx2}},
    {ZYDIS_ISA_SET_F16C, {Feature::F16c}},
    {ZYDIS_ISA_SET_FMA, {Feature::Fma}},
    {ZYDIS_ISA_SET_VAES, {Feature::Vaes}},
    {ZYDIS_ISA_SET_VPCLMULQDQ, {Feature::Vpclmulqdq}},
    LENGTHS(AVX512F, Feature::Avx512f),
    LENGTHS(AVX512BW, Feature::Avx512bw),
    LENGTHS(AVX512CD, Feature::Avx512cd),
    LENGTHS(AVX512DQ, Feature::Avx512dq),
    LENGTHS(AVX512_BITALG, Feature::Avx512bitalg),
    LENGTHS(AVX512_IFMA, Feature::Avx512ifma),
    LENGTHS(AVX512_VBMI, Feature::Avx512vbmi),
    LENGTHS(AVX512_VBMI2, Feature::Avx512vbmi2),
    LENGTHS(AVX512_VNNI, Feature::Avx512vnni),
    LENGTHS(AVX512_VPOPCNTDQ, Feature::Avx512vpopcntdq),
    LENGTHS(AVX512_GFNI, Feature::Avx512f, Feature::Gfni),
    LENGTHS(AVX512_VAES, Feature::Avx512f, Feature::Vaes),
    LENGTHS(AVX512_VPCLMULQDQ, Feature::Avx512f, Feature::Vpclmulqdq),
    {ZYDIS_ISA_SET_AVX512F_SCALAR, {Feature::Avx512f}},
    {ZYDIS_ISA_SET_AVX512F_128N, {Feature::Avx512f}},
    {ZYDIS_ISA_SET_AVX512F_KOP, {Feature::Avx512f}},
    {ZYDIS_ISA_SET_AVX512BW_128N, {Feature::Avx512bw}},
    {ZYDIS_ISA_SET_AVX512BW_KOP, {Feature::Avx512bw}},
    {ZYDIS_ISA_SET_AVX512DQ_SCALAR, {Feature::Avx512dq}},
    {ZYDIS_ISA_SET_AVX512DQ_128N, {Feature::Avx512dq}},
    {ZYDIS_ISA_SET_AVX512DQ_KOP, {Feature::Avx512dq}},
};
#undef LENGTHS

// The rows of each mnemonic.
using Rows = std::array<std::vector<u16>, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

Rows make_rows() {
    Rows rows;
    for (unsigned m = 0; m < rows.size(); ++m) {
        const std::string_view name = ZydisMnemonicGetString(ZydisMnemonic(m));
        if (!name.starts_with('v') && !name.starts_with('k')) continue;
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
    case ZYDIS_REGCLASS_ZMM: return ir::vex_vector_bytes(kind, length) == 64;
    case ZYDIS_REGCLASS_MASK: return kind == VexOperand::Opmask;
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return kind == VexOperand::Reg32 || kind == VexOperand::Reg64 || kind == VexOperand::RegSized;
    default: return false;
    }
}

// The decorations of an EVEX instruction.
void decorate(const Instruction& insn, Inst& inst) {
    const auto& avx = insn.zydis.avx;
    if (const unsigned mask = unsigned(ZydisRegisterGetId(avx.mask.reg)); avx.mask.reg && mask)
        inst.mask = Ref::opmask(mask);
    inst.zeroing = insn.zydis.raw.evex.z;
    inst.broadcast = avx.broadcast.mode && !avx.broadcast.is_static;
    switch (avx.rounding.mode) {
    case ZYDIS_ROUNDING_MODE_RN: inst.rounding = ir::Rounding::Nearest; break;
    case ZYDIS_ROUNDING_MODE_RD: inst.rounding = ir::Rounding::Down; break;
    case ZYDIS_ROUNDING_MODE_RU: inst.rounding = ir::Rounding::Up; break;
    case ZYDIS_ROUNDING_MODE_RZ: inst.rounding = ir::Rounding::Zero; break;
    default: inst.rounding = avx.has_sae ? ir::Rounding::Suppress : ir::Rounding::Mxcsr;
    }
}

// The instruction as a Vex of this row and vector length, without its address. False: its operands are of
// another row.
bool match(const Instruction& insn, u16 row, unsigned length, Inst& inst, unsigned& memory_operand) {
    const ir::VexOp& op = ir::vex_op(row);
    const bool evex = insn.zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
    if (op.evex != evex) return false;
    inst = {.op = Op::Vex, .size = u8(length)};
    inst.vec = row;
    if (evex) decorate(insn, inst);
    Ref* const refs[4] = {&inst.d, &inst.a, &inst.b, &inst.c};
    unsigned n = 0;
    for (unsigned slot = 0; slot < 4; ++slot) {
        VexOperand kind = op.operands[slot];
        if (kind == VexOperand::None) continue;
        if (insn.operands[n].encoding == ZYDIS_OPERAND_ENCODING_MASK) ++n; // Inst::mask
        if (n >= insn.zydis.operand_count_visible) return false;
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
    if (group == std::end(groups)) return false;
    for (const Feature need : group->needs)
        if (need != Feature::Base && !model.has(need)) return false;
    return insn.mnemonic() != ZYDIS_MNEMONIC_VPCLMULQDQ || model.has(Feature::Pclmulqdq);
}

bool VECTOR_VEX(Translation& t, const Instruction& insn) {
    static const Rows rows = make_rows();
    if (!has_vex_features(t.model, insn)) return t.raise(kUD);
    const unsigned length = insn.zydis.avx.vector_length / 8;
    Inst inst;
    unsigned memory_operand = 0;
    for (const u16 row : rows[insn.mnemonic()]) {
        const ir::VexOp& op = ir::vex_op(row);
        const unsigned row_length = op.exists(length) ? length : 16; // where L is ignored, or means rounding
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
