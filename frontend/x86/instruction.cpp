#include "frontend/x86/instruction.h"

#include "frontend/x86/translate.h"

#include <array>
#include <iterator>

namespace dragoman::x86 {

namespace {

constexpr ir::Flags O = ir::kOF, S = ir::kSF, Z = ir::kZF, A = ir::kAF, P = ir::kPF, C = ir::kCF;
constexpr ir::Flags SZP = S | Z | P, OSZAPC = ir::kAllFlags;

constexpr InstructionInfo rows[] = {
#define INSN(mnemonic, function, feature, writes, undefined, reads, attributes)                              \
    {ZYDIS_MNEMONIC_##mnemonic, function, Feature::feature, writes, undefined, reads, attributes},
#include "frontend/x86/instructions.inc"
#undef INSN
};

constexpr u16 none = 0xffff;
using Index = std::array<u16, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

// Dense by mnemonic, for one of the two meanings of those that have two. The first row counts.
constexpr Index make_index(bool vector) {
    Index index{};
    index.fill(none);
    for (u16 i = 0; i < std::size(rows); i++)
        if (bool(rows[i].attributes & kSseOp) == vector && index[rows[i].mnemonic] == none)
            index[rows[i].mnemonic] = i;
    return index;
}

constexpr Index scalar_index = make_index(false);
constexpr Index vector_index = make_index(true);

} // namespace

const InstructionInfo* find_instruction(const ZydisDecodedInstruction& decoded) {
    // The first Xeon Phi's, a kind of processor of its own; some of them bear the mnemonics of others.
    if (decoded.meta.isa_set >= ZYDIS_ISA_SET_KNCE && decoded.meta.isa_set <= ZYDIS_ISA_SET_KNC_PF_HINT)
        return nullptr;
    const u16 scalar = scalar_index[decoded.mnemonic], vector = vector_index[decoded.mnemonic];
    u16 row = scalar != none ? scalar : vector;
    if (scalar != none && vector != none && decoded.meta.category != ZYDIS_CATEGORY_STRINGOP) row = vector;
    return row == none ? nullptr : &rows[row];
}

std::span<const InstructionInfo> instruction_table() {
    return rows;
}

} // namespace dragoman::x86
