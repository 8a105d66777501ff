// Bit and field arithmetic.
#pragma once

#include "base/types.h"

#include <bit>
#include <type_traits>

namespace dragoman {

// Bit `n` of `v`.
constexpr bool bit(u64 v, unsigned n) { return (v >> n) & 1; }

// Bits hi..lo of `v`, inclusive, in the manuals' notation v[hi:lo].
constexpr u64 bits(u64 v, unsigned hi, unsigned lo) {
    const unsigned width = hi - lo + 1;
    return (v >> lo) & (width >= 64 ? ~u64{0} : (u64{1} << width) - 1);
}

// A mask of the low `n` bits, n in 0..64.
constexpr u64 low_mask(unsigned n) { return n >= 64 ? ~u64{0} : (u64{1} << n) - 1; }

// The mask of an operand of `bytes` bytes (1, 2, 4 or 8).
constexpr u64 size_mask(unsigned bytes) { return low_mask(bytes * 8); }

// `v` cut to `bytes` bytes and sign-extended to 64 bits.
constexpr i64 sign_extend(u64 v, unsigned bytes) {
    const unsigned shift = 64 - bytes * 8;
    return static_cast<i64>(v << shift) >> shift;
}

// `v` with bit `n` made equal to `on`.
template <class T> constexpr T with_bit(T v, unsigned n, bool on) {
    return on ? T(v | (T{1} << n)) : T(v & ~(T{1} << n));
}

constexpr u64 align_down(u64 v, u64 to) { return v & ~(to - 1); }
constexpr u64 align_up(u64 v, u64 to) { return (v + to - 1) & ~(to - 1); }

} // namespace dragoman
