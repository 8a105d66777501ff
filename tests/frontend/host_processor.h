// What the host's processor has, and what it does in its own way: for tests whose oracle it is.
#pragma once

#include "base/types.h"

#include <Zydis/Zydis.h>

namespace dragoman::x86 {
enum class Feature : u8; // frontend/x86/instruction.h, which GoogleTest's TEST does not go with
}

namespace dragoman::test {

// AMD's, or Hygon's.
bool host_is_amd();

// Are instructions of this feature more than #UD there?
bool host_has(x86::Feature feature);

// Encodings of 64-bit code that AMD's processors take otherwise than Intel's, whose manual is followed here:
// near branches with an operand-size prefix (16-bit ones; AMD APM vol. 3, 1.2.2), LOOPE and LOOPNE with REP
// prefixes, PREFETCH of a register (#UD) and PAUSE with REX.B (XCHG).
bool host_differs(const ZydisDecodedInstruction& insn);

// Does FXSAVE tell the x87 opcode and pointers though no exception waits? AMD's says 0 then (APM vol. 5,
// FXSAVE).
bool host_tells_x87_pointers(u16 control, u16 status);

} // namespace dragoman::test
