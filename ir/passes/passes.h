// The passes, and the facts about operands that they share.
#pragma once

#include "ir/block.h"

namespace dragoman::ir {

// Sets Inst::live of each op that writes flags to those that somebody may see.
void dead_flags(Block& block);
// Replaces operands by known values and by what they are copies of, and ops by the moves that they amount to.
void constant_propagation(Block& block);
// Removes ops whose result is never looked at.
void dead_code(Block& block);

// ---- facts. A set of registers has bit Ref::id() for each GPR and temporary.
using RegSet = u32;
inline constexpr RegSet kGprSet = 0xffff, kTempSet = 0xffff0000;
inline RegSet reg_set(Ref r) {
    return r.is_reg() ? RegSet{1} << r.id() : 0;
}

// Everything whose value may matter to this op, with registers that it uses without naming them.
RegSet registers_read(const Inst& inst);
// d when it is a GPR or temporary all of whose bits the op replaces.
RegSet register_replaced(const Inst& inst);
// The GPRs and temporaries that it may change.
RegSet registers_written(const Inst& inst);
// Those among them whose upper half is 0 afterwards; not necessarily all of these.
RegSet registers_narrowed(const Inst& inst);
// Bytes of d that the op gives a value to, before the rule about writes of 1 and 2 bytes.
unsigned written_bytes(const Inst& inst);
// The flags whose old value certainly does not matter after this op.
Flags flags_replaced(const Inst& inst);
// Those among them that the manual leaves undefined, and that are what the host makes of kSettled (ir/op.h): of
// shifts by a constant, too.
Flags flags_settled(const Inst& inst);

} // namespace dragoman::ir
