// The arithmetic flags, in the positions of EFLAGS (SDM vol. 1, 3.4.3.1), and the sixteen conditions on them
// (SDM vol. 1, appendix B).
#pragma once

#include "base/types.h"

namespace dragoman::ir {

using Flags = u32;

enum FlagBit : Flags {
    kCF = 1u << 0,
    kPF = 1u << 2,
    kAF = 1u << 4,
    kZF = 1u << 6,
    kSF = 1u << 7,
    kOF = 1u << 11,
};
inline constexpr Flags kAllFlags = kCF | kPF | kAF | kZF | kSF | kOF;

// The condition field of Jcc, SETcc and CMOVcc. The odd one of a pair is the negation of the even one.
enum class Cond : u8 { O, NO, B, NB, Z, NZ, BE, NBE, S, NS, P, NP, L, NL, LE, NLE };

constexpr Cond negate(Cond c) { return Cond(u8(c) ^ 1); }

// The flags that a condition looks at.
constexpr Flags flags_read(Cond c) {
    constexpr Flags table[8] = {kOF, kCF, kZF, kCF | kZF, kSF, kPF, kSF | kOF, kSF | kOF | kZF};
    return table[u8(c) >> 1];
}

constexpr bool holds(Cond c, Flags f) {
    bool r = false;
    switch (u8(c) >> 1) {
    case 0: r = f & kOF; break;
    case 1: r = f & kCF; break;
    case 2: r = f & kZF; break;
    case 3: r = f & (kCF | kZF); break;
    case 4: r = f & kSF; break;
    case 5: r = f & kPF; break;
    case 6: r = bool(f & kSF) != bool(f & kOF); break;
    case 7: r = (f & kZF) || bool(f & kSF) != bool(f & kOF); break;
    }
    return r != bool(u8(c) & 1);
}

} // namespace dragoman::ir
