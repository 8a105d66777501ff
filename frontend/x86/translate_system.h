// Forms of general mnemonics that belong to the system side. The translate functions of MOV, PUSH, POP, JMP,
// CALL and RET hand these forms over; the rows of instructions_system.inc need no declaration here.
#pragma once

#include "frontend/x86/translation.h"

namespace dragoman::x86 {

// Does an operand of this MOV, PUSH or POP name a segment, control or debug register?
bool names_system_register(const Instruction& insn);
bool mov_system(Translation& t, const Instruction& insn);   // MOV to or from Sreg, CRn, DRn
bool push_segment(Translation& t, const Instruction& insn); // PUSH Sreg
bool pop_segment(Translation& t, const Instruction& insn);  // POP Sreg

// Is this JMP, CALL or RET a far one (zydis.meta.branch_type is FAR)?
bool is_far(const Instruction& insn);
bool far_jump(Translation& t, const Instruction& insn);
bool far_call(Translation& t, const Instruction& insn);
bool far_return(Translation& t, const Instruction& insn);

} // namespace dragoman::x86
