// Raising and delivering exceptions and interrupts (SDM vol. 3, ch. 6).
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

// Records an exception of the instruction at Context::rip and sets Context::exit to Fault. A helper that raises
// returns at once; the run loop delivers.
void raise(ir::Context& ctx, Vector vector);
void raise(ir::Context& ctx, Vector vector, u32 error);
// An access in 64-bit mode to an address that is not canonical: #GP(0), of which deliver_fault() makes #SS(0) where it
// was through the stack (see stack_reference.h).
void raise_not_canonical(ir::Context& ctx, u64 linear);
void raise_page_fault(ir::Context& ctx, const softmmu::PageFault& fault);

enum class EventKind : u8 { Exception, External, Nmi, Software /* INT n, INT3, INTO */, Icebp };

// Delivers cpu.fault: through the IDT of the current mode, with contributory and double fault rules; three in a row set
// Context::exit to Shutdown. On return Context::exit is None or Shutdown and rip is the handler's first instruction.
void deliver_fault(Cpu& cpu);
// The same for an external interrupt or NMI at an instruction boundary; clears halted.
void deliver_interrupt(Cpu& cpu, u8 vector, EventKind kind);
// INT n, INT3, INTO, INT1 with the checks of their gate; `next_rip` is pushed. Raises on failure.
void software_interrupt(Cpu& cpu, u8 vector, u64 next_rip, EventKind kind);
// INT n, which virtual-8086 mode treats differently: IOPL, redirection to the program's own handler (VME).
void interrupt_n(Cpu& cpu, u8 vector, u64 next_rip);

} // namespace dragoman::x86
