// VEX-encoded vector instructions as IR: one row of vex_ops.inc for each form; `Inst::vec` is the row's
// number.
//
// Inst::size is the vector length in bytes (16 or 32), size2 the width of a general register (4 or 8). d, a,
// b and c are the operands in the manual's order (ir/vex_ops.inc); [mem] takes the place of b with
// `from_memory`, or that of d where the row stores. A result is zero-extended to the whole vector register; d
// is also a source where the manual says so (FMA). Instructions with imm8 have it in Inst::imm.
#pragma once

#include "ir/inst.h"

#include <string_view>

namespace dragoman::ir {

// What an operand of a row is.
enum class VexOperand : u8 { None, Vector, Half, Xmm, Reg32, Reg64, RegSized, Memory, Imm };

struct VexOp {
    std::string_view row;      // lower case: the mnemonic, with a suffix where it has several rows
    std::string_view mnemonic; // as in the manual; also asmjit's name
    bool xmm, ymm;             // vector lengths it exists in
    u8 memory;                 // bytes of the memory operand, or a VexMemory
    bool aligned;              // that must be aligned to the vector length; the op checks it (#GP)
    bool numeric;              // may set MXCSR's exception flags, and raise #XM where they are not masked
    bool writes_d;             // false: d is only read (VCOMISS, VPTEST ...)
    u8 masked;                 // bytes of the elements that `a` chooses (VMASKMOVPS ...), or 0
    Flags flags;               // written
    VexOperand operands[4];    // d, a, b, c
    // The host's instruction (ir/vex_host.cpp), by 16 or 32 bytes of vector, or 4 or 8 bytes of a RegSized;
    // for each imm8 one, vex_code_stride bytes apart.
    const u8* code[2];

    bool stores() const { return operands[0] == VexOperand::Memory; }
    bool has_imm() const { return operands[2] == VexOperand::Imm || operands[3] == VexOperand::Imm; }
};
inline constexpr unsigned vex_code_stride = 16;

const VexOp& vex_op(u16 index);
u16 vex_op_count();
// The row of that name, or -1.
int find_vex_op(std::string_view row);

// Bytes of the vector or memory operand n (0..3 for d a b c) of an instruction of this length; 0: it is none.
unsigned vex_vector_bytes(VexOperand operand, unsigned length);
// What this Vex reads from memory or stores there.
unsigned vex_memory_bytes(const Inst& inst);

} // namespace dragoman::ir
