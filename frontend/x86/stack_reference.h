// Which of an instruction's memory references an address belongs to.
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

// In 64-bit mode a reference through the stack pointer, or with RSP or RBP as its base, raises #SS(0) where
// others raise #GP(0) because the address is not canonical (SDM vol. 1, 3.3.7.1). Generated code does not
// tell them apart; the instruction at rip, which has changed nothing, is decoded again.
bool stack_reference(Cpu& cpu, u64 linear);

} // namespace dragoman::x86
