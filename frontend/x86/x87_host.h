// Runs one x87 instruction on the host's FPU. Inside the x87 files only.
//
// Both ways take the opcode as FOP has it (11 bits); a memory form works on `operand`, 16 bytes, and not on
// what the ModRM byte names. The instruction and data pointers are the caller's.
#pragma once

#include "frontend/x86/x87_ops.h"

namespace dragoman::x86 {

// Any instruction, with the whole of the state. `flags` are the arithmetic flags before; returns those after.
// Exceptions set flags and ES, nothing traps.
ir::Flags run_on_host(ir::Fpu& fpu, u16 opcode, void* operand, ir::Flags flags);

// Common instructions where all exceptions are masked and the stack neither overflows nor underflows. False:
// it is none of those, nothing has changed.
bool run_fast(ir::Fpu& fpu, u16 opcode, void* operand, ir::Flags& flags);

// Host code that executes the instruction, with [RDI] as a memory operand, and returns.
const u8* host_stub(u16 opcode);

} // namespace dragoman::x86
