// The translate functions: one for each name in the instruction table. (Translation says what they work
// with.)
#pragma once

#include "frontend/x86/translation.h"

namespace dragoman::x86 {

#define INSN(mnemonic, function, ...) bool function(Translation& t, const Instruction& insn);
#include "frontend/x86/instructions.inc"
#undef INSN

} // namespace dragoman::x86
