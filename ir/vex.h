// VEX- and EVEX-encoded vector instructions as IR: one row of vex_ops.inc or evex_ops.inc for each form;
// `Inst::vec` is the row's number.
//
// Inst::size is the vector length in bytes (16, 32 or 64), size2 the width of a general register (4 or 8). d,
// a, b and c are the operands in the manual's order (ir/vex_ops.inc); [mem] takes the place of b with
// `from_memory`, or that of d where the row stores. A result is zero-extended to the whole vector register; d
// is also a source where the manual says so (FMA). Instructions with imm8 have it in Inst::imm.
//
// Rows of evex_ops.inc may have Inst::mask, zeroing, broadcast and rounding. What a mask keeps an instruction
// from touching in memory cannot fault.
#pragma once

#include "ir/inst.h"

#include <string_view>

namespace dragoman::ir {

// What an operand of a row is.
enum class VexOperand : u8 { None, Vector, Half, Xmm, Reg32, Reg64, RegSized, Opmask, Memory, Imm };

// What embedded rounding a row knows.
enum class VexRounding : u8 { None, Suppress, Any };

struct VexOp {
    std::string_view row;      // lower case: the mnemonic, with a suffix where it has several rows
    std::string_view mnemonic; // as in the manual; also asmjit's name
    bool evex;
    bool xmm, ymm, zmm; // vector lengths it exists in
    u8 memory;          // bytes of the memory operand, or a VexMemory
    bool aligned;       // that must be aligned to the vector length; the op checks it (#GP)
    bool numeric;       // may set MXCSR's exception flags, and raise #XM where they are not masked
    bool writes_d;      // false: d is only read (VCOMISS, VPTEST ...)
    bool reads_d;       // d is a source, too, whatever the mask is (of EVEX rows)
    u8 masked;          // bytes of the elements that `a` chooses (VMASKMOVPS ...), or 0
    u8 element;         // bytes of the elements that Inst::mask chooses; 0: there can be none
    u8 broadcast;       // bytes of a memory operand with Inst::broadcast; 0: cannot be
    bool scalar;        // the mask has one element
    bool contiguous;    // the elements that the mask chooses are side by side in memory
    bool repeated;      // the memory operand is repeated in the vector
    bool whole;         // the mask does not spare memory
    VexRounding rounding;
    Flags flags;            // written
    VexOperand operands[4]; // d, a, b, c
    // The host's instruction (ir/vex_host.cpp), by 16, 32 or 64 bytes of vector, or 4 or 8 bytes of a
    // RegSized; for each imm8 one, vex_code_stride bytes apart. Where there may be a mask it takes one.
    const u8* code[3];

    bool stores() const { return operands[0] == VexOperand::Memory; }
    bool has_imm() const { return operands[2] == VexOperand::Imm || operands[3] == VexOperand::Imm; }
    bool exists(unsigned length) const {
        return length == 16 ? xmm : length == 32 ? ymm : length == 64 && zmm;
    }
    bool names_opmask() const {
        return operands[0] == VexOperand::Opmask || operands[2] == VexOperand::Opmask;
    }
};
inline constexpr unsigned vex_code_stride = 16;

const VexOp& vex_op(u16 index);
u16 vex_op_count();
// The row of that name, or -1.
int find_vex_op(std::string_view row);

// Bytes of the vector or memory operand n (0..3 for d a b c) of an instruction of this length; 0: it is none.
unsigned vex_vector_bytes(VexOperand operand, unsigned length);
// What this Vex reads from memory or stores there, if no mask keeps it from that.
unsigned vex_memory_bytes(const Inst& inst);
// The bits of the mask that count.
unsigned vex_elements(const Inst& inst);
// Does the mask keep some of the memory operand from being touched, so that it need not be there?
bool vex_spares_memory(const Inst& inst);

} // namespace dragoman::ir
