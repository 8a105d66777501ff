// Runs one x87 instruction on the host's FPU. Inside the x87 files only.
#pragma once

#include "frontend/x86/x87_ops.h"

namespace dragoman::x86 {

// Executes the instruction of this opcode (FOP's 11 bits) on `fpu`; a memory form works on `operand`, 16
// bytes, and not on what the ModRM byte names. `flags` are the arithmetic flags before; returns those after.
// `fpu` gets the whole state but the instruction and data pointers. Exceptions set flags and ES, nothing
// traps.
ir::Flags run_on_host(ir::Fpu& fpu, u16 opcode, void* operand, ir::Flags flags);

} // namespace dragoman::x86
