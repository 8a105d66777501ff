// String instructions with a repeat prefix: helpers that do many units at once.
#pragma once

#include "ir/inst.h"

namespace dragoman::x86 {

enum class StringOp : u8 { Movs, Stos, Lods, Cmps, Scas };

// What the helpers are told, in their `imm`.
struct Repeat {
    StringOp op = StringOp::Movs;
    u8 size = 1;                  // bytes of a unit
    u8 address_size = 8;          // bytes of RCX, RSI and RDI that count
    ir::Seg source = ir::Seg::DS; // segment of RSI
    bool long64 = false;
    bool while_not_equal = false; // REPNE; only CMPS and SCAS look
    bool once = false;            // single step: one unit, then out
    bool flat = false; // segments are, addresses are as wide as the code's, and nothing need be aligned

    u64 pack() const;
    static Repeat unpack(u64 packed);
};

// Does units until RCX is 0 or the condition fails. Registers are committed unit by unit as far as can be
// seen: a fault in the middle leaves them exact. When it stops before the end, for an event or because it
// took long, Context::rip is the instruction itself and Context::exit is set.
const ir::Helper& repeat_helper(const Repeat& r);

} // namespace dragoman::x86
