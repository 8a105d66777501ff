// Every form of every instruction that a processor model offers: one encoding for each opcode and each
// combination of operand kinds and sizes. Found by decoding the opcode maps, so that none is forgotten.
#pragma once

#include "frontend/x86/cpuid.h"
#include "frontend/x86/instruction.h"

#include <string>
#include <vector>

namespace dragoman::test {

struct FormMode {
    const char* name; // as in tests/baremetal/manual.py
    unsigned bits;
    bool is_protected, is_long, paged;

    bool real() const { return !is_protected && !paged; }
    bool v86() const { return !is_protected && paged; }
    bool code64() const { return bits == 64; }
};
inline constexpr FormMode kFormModes[] = {
    {"real", 16, false, false, false}, {"v86", 16, false, false, true},    {"pm16", 16, true, false, true},
    {"pm32", 32, true, false, true},   {"compat16", 16, true, true, true}, {"compat32", 32, true, true, true},
    {"long64", 64, true, true, true},
};

// Where a form's memory operand is, if it names one by ModRM.
enum class Place { Data /* DS: SI, ESI or RSI */, Stack /* SS: BP, EBP or RBP */ };

struct Form {
    const x86::InstructionInfo* row = nullptr;
    unsigned bits = 0; // of the code: 16, 32, 64
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    std::vector<u8> code;

    // "add r32,m32": the mnemonic, and kinds and sizes of the operands.
    std::string name() const;
    // The operand in memory that is accessed, also a hidden one; null: none.
    const ZydisDecodedOperand* memory() const;
    // The code with its memory operand there; empty: it has none that ModRM names.
    std::vector<u8> at(Place place) const;
};

// Decodes as the translator does. False: no instruction of the table.
bool decode(unsigned bits, const std::vector<u8>& code, Form& form);

// All forms in code of `bits`. They use registers 1 (CX, XMM1 ...), 2 and 3 where they can, and SI.
const std::vector<Form>& all_forms(unsigned bits);

// The kind of an operand: r m i x y z mm st k s cr dr far.
const char* operand_kind(const ZydisDecodedOperand& op);

} // namespace dragoman::test
