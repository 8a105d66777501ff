// What the translate functions of MMX and SSE instructions share.
#pragma once

#include "frontend/x86/translate_common.h"
#include "ir/vec.h"

namespace dragoman::x86 {

// The XMM (also for YMM and ZMM), opmask, MMX or general register of operand n.
ir::Ref vector_register(const Instruction& insn, unsigned n);

// The row of ir/vec_ops.inc that an instruction is, or -1.
int vector_row(const Instruction& insn);

// Every translate function of this group begins with it. False: the instruction is over, #UD was emitted,
// because the processor's model has not the form with XMM registers. Reports an x87 exception that waits, for
// an instruction on MMX registers (SDM vol. 1, 9.6.2).
bool begin_vector(Translation& t, const Instruction& insn);

// Emits a Vec. `inst` has what is specific to it: d, a or mem with from_memory, imm, size.
void emit_vector(Translation& t, u16 row, ir::Inst inst);

// Emits a Vec with d = operand 0 and the source operand 1: register, memory, immediate or missing. `size`:
// Inst::size.
void emit_vector(Translation& t, const Instruction& insn, unsigned size);

} // namespace dragoman::x86
