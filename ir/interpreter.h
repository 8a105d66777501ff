// Executes IR: the one C++ meaning of every op. The reference that generated code is compared with, and what
// runs the ops that a backend does not emit.
#pragma once

#include "ir/block.h"

namespace dragoman::ir {

// Runs a block from its first op until it leaves. On return ctx.exit is not None and says why:
//   Lookup, Event  ctx.rip is the next instruction. Event instead of Lookup when the poll asks for it: a
//   direct
//                  jump backward (to a rip not above the jump's own) or an indirect jump, with Context::poll
//                  set or Context::budget below 0.
//   Fault, Restart ctx.rip is the instruction that faulted or must run again; it changed nothing.
//   others         as a helper set ctx.exit and ctx.rip.
// Context::budget is lowered by block.guest_instructions at entry. Context::interpreted_instruction is the
// index of the last instruction begun: after Fault and Restart as many have retired, otherwise one more; the
// caller corrects the budget by the difference.
void interpret(Context& ctx, const Block& block);

// Runs one op that neither begins an instruction nor ends a block. False: it left, ctx.exit is set
// (Context::rip as it was, unless a helper set it). For generated code.
bool execute(Context& ctx, const Inst& inst);

} // namespace dragoman::ir
