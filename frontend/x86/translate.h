// The translate functions: one for each name in the instruction table. (Translation says what they work with.)
#pragma once

#include "frontend/x86/translation.h"

namespace dragoman::x86 {

#define INSN(mnemonic, function, ...) bool function(Translation& t, const Instruction& insn);
#include "frontend/x86/instructions.inc"
#undef INSN

// Mnemonics with forms that belong to the system group: MOV, PUSH, POP, JMP, CALL and RET hand those over.
bool mov_segment(Translation& t, const Instruction& insn);  // MOV from and to a segment register
bool mov_control(Translation& t, const Instruction& insn);  // MOV from and to CRn
bool mov_debug(Translation& t, const Instruction& insn);    // MOV from and to DRn
bool push_segment(Translation& t, const Instruction& insn); // PUSH of a segment register
bool pop_segment(Translation& t, const Instruction& insn);  // POP into one
bool jmp_far(Translation& t, const Instruction& insn);
bool call_far(Translation& t, const Instruction& insn);
bool ret_far(Translation& t, const Instruction& insn);

} // namespace dragoman::x86
