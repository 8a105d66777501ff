// The arithmetic ops in C++, by the pseudo-code of SDM vol. 2. What the manual leaves undefined is a
// plausible choice here: see alu.h. Each function is (a, b, c, flags) for an unsigned type T.
#pragma once

#include "ir/flags.h"

#include <bit>
#include <limits>
#include <type_traits>

namespace dragoman::ir::portable {

template <class T> inline constexpr unsigned kBits = sizeof(T) * 8;
template <class T> constexpr bool sign(T v) {
    return v >> (kBits<T> - 1);
}

template <class T> constexpr Flags sign_zero_parity(T r) {
    return (sign(r) ? Flags{kSF} : 0) | (r == 0 ? Flags{kZF} : 0) |
           (std::popcount(u8(r)) & 1 ? 0 : Flags{kPF});
}
constexpr Flags carry_overflow(bool carry, bool overflow) {
    return (carry ? Flags{kCF} : 0) | (overflow ? Flags{kOF} : 0);
}

template <class T> T add_carry(T a, T b, bool carry, Flags& f) {
    const T r = T(a + b + carry);
    const bool out = r < a || (carry && r == a);
    f = sign_zero_parity(r) | carry_overflow(out, sign(T((a ^ r) & (b ^ r)))) | ((a ^ b ^ r) & kAF);
    return r;
}
template <class T> T sub_borrow(T a, T b, bool borrow, Flags& f) {
    const T r = T(a - b - borrow);
    const bool out = a < b || (borrow && a == b);
    f = sign_zero_parity(r) | carry_overflow(out, sign(T((a ^ b) & (a ^ r)))) | ((a ^ b ^ r) & kAF);
    return r;
}
template <class T> T logic(T r, Flags& f) {
    f = sign_zero_parity(r);
    return r;
}

template <class T> T Add(T a, T b, T, Flags& f) {
    return add_carry(a, b, false, f);
}
template <class T> T Adc(T a, T b, T, Flags& f) {
    return add_carry(a, b, f & kCF, f);
}
template <class T> T Sub(T a, T b, T, Flags& f) {
    return sub_borrow(a, b, false, f);
}
template <class T> T Sbb(T a, T b, T, Flags& f) {
    return sub_borrow(a, b, f & kCF, f);
}
template <class T> T Cmp(T a, T b, T, Flags& f) {
    return sub_borrow(a, b, false, f);
}
template <class T> T And(T a, T b, T, Flags& f) {
    return logic(T(a & b), f);
}
template <class T> T Test(T a, T b, T, Flags& f) {
    return logic(T(a & b), f);
}
template <class T> T Or(T a, T b, T, Flags& f) {
    return logic(T(a | b), f);
}
template <class T> T Xor(T a, T b, T, Flags& f) {
    return logic(T(a ^ b), f);
}
template <class T> T Not(T a, T, T, Flags&) {
    return T(~a);
}
template <class T> T Neg(T a, T, T, Flags& f) {
    return sub_borrow(T(0), a, false, f);
}
template <class T> T Inc(T a, T, T, Flags& f) {
    const Flags carry = f & kCF;
    const T r = add_carry(a, T(1), false, f);
    f = (f & ~kCF) | carry;
    return r;
}
template <class T> T Dec(T a, T, T, Flags& f) {
    const Flags carry = f & kCF;
    const T r = sub_borrow(a, T(1), false, f);
    f = (f & ~kCF) | carry;
    return r;
}

template <class T> T Imul(T a, T b, T, Flags& f) {
    using S = std::make_signed_t<T>;
    S r;
    const bool lost = __builtin_mul_overflow(S(a), S(b), &r);
    f = sign_zero_parity(T(r)) | carry_overflow(lost, lost);
    return T(r);
}
template <class T> T Popcnt(T a, T, T, Flags& f) {
    f = a == 0 ? Flags{kZF} : 0;
    return T(std::popcount(a));
}

// ---- shifts and rotates: nothing changes when the masked count is 0.
template <class T> unsigned masked_count(T b) {
    return unsigned(b) & (kBits<T> == 64 ? 63 : 31);
}

template <class T> T Shl(T a, T b, T, Flags& f) {
    const unsigned n = masked_count(b);
    if (n == 0) return a;
    const T r = n < kBits<T> ? T(a << n) : T(0);
    const bool carry = n <= kBits<T> && ((a >> (kBits<T> - n)) & 1);
    f = sign_zero_parity(r) | carry_overflow(carry, sign(r) != carry);
    return r;
}
template <class T> T Shr(T a, T b, T, Flags& f) {
    const unsigned n = masked_count(b);
    if (n == 0) return a;
    const T r = n < kBits<T> ? T(a >> n) : T(0);
    const bool carry = n <= kBits<T> && ((a >> (n - 1)) & 1);
    f = sign_zero_parity(r) | carry_overflow(carry, sign(a));
    return r;
}
template <class T> T Sar(T a, T b, T, Flags& f) {
    using S = std::make_signed_t<T>;
    const unsigned n = masked_count(b);
    if (n == 0) return a;
    const unsigned m = n < kBits<T> ? n : kBits<T> - 1;
    const T r = T(S(a) >> m);
    const bool carry = n >= kBits<T> ? sign(a) : bool((S(a) >> (n - 1)) & 1);
    f = sign_zero_parity(r) | carry_overflow(carry, false);
    return r;
}
template <class T> T Rol(T a, T b, T, Flags& f) {
    const unsigned n = masked_count(b);
    if (n == 0) return a;
    const T r = std::rotl(a, int(n % kBits<T>));
    f = (f & ~(kCF | kOF)) | carry_overflow(r & 1, sign(r) != bool(r & 1));
    return r;
}
template <class T> T Ror(T a, T b, T, Flags& f) {
    const unsigned n = masked_count(b);
    if (n == 0) return a;
    const T r = std::rotr(a, int(n % kBits<T>));
    f = (f & ~(kCF | kOF)) | carry_overflow(sign(r), sign(r) != sign(T(r << 1)));
    return r;
}
template <class T> T Rcl(T a, T b, T, Flags& f) {
    const unsigned n = masked_count(b) % (kBits<T> + 1);
    if (n == 0) return a;
    bool carry = f & kCF;
    for (unsigned i = 0; i < n; ++i) {
        const bool out = sign(a);
        a = T(a << 1 | T(carry));
        carry = out;
    }
    f = (f & ~(kCF | kOF)) | carry_overflow(carry, sign(a) != carry);
    return a;
}
template <class T> T Rcr(T a, T b, T, Flags& f) {
    const unsigned n = masked_count(b) % (kBits<T> + 1);
    if (n == 0) return a;
    bool carry = f & kCF;
    for (unsigned i = 0; i < n; ++i) {
        const bool out = a & 1;
        a = T(a >> 1 | T(T(carry) << (kBits<T> - 1)));
        carry = out;
    }
    f = (f & ~(kCF | kOF)) | carry_overflow(carry, sign(a) != sign(T(a << 1)));
    return a;
}
// Counts above the operand's bits (16-bit operands) leave everything undefined: nothing changes.
template <class T> T Shld(T a, T b, T c, Flags& f) {
    const unsigned n = masked_count(c);
    if (n == 0 || n > kBits<T>) return a;
    const T r = n == kBits<T> ? b : T(a << n | b >> (kBits<T> - n));
    f = sign_zero_parity(r) | carry_overflow((a >> (kBits<T> - n)) & 1, sign(T(a ^ r)));
    return r;
}
template <class T> T Shrd(T a, T b, T c, Flags& f) {
    const unsigned n = masked_count(c);
    if (n == 0 || n > kBits<T>) return a;
    const T r = n == kBits<T> ? b : T(a >> n | b << (kBits<T> - n));
    f = sign_zero_parity(r) | carry_overflow((a >> (n - 1)) & 1, sign(T(a ^ r)));
    return r;
}

// ---- bits
template <class T> T bit_of(T b) {
    return T(T(1) << (unsigned(b) & (kBits<T> - 1)));
}
template <class T> T Bt(T a, T b, T, Flags& f) {
    f = (f & ~kCF) | (a & bit_of(b) ? Flags{kCF} : 0);
    return a;
}
template <class T> T Bts(T a, T b, T c, Flags& f) {
    return T(Bt(a, b, c, f) | bit_of(b));
}
template <class T> T Btr(T a, T b, T c, Flags& f) {
    return T(Bt(a, b, c, f) & ~bit_of(b));
}
template <class T> T Btc(T a, T b, T c, Flags& f) {
    return T(Bt(a, b, c, f) ^ bit_of(b));
}
template <class T> T Bsf(T a, T b, T, Flags& f) {
    f = b == 0 ? (f | kZF) : (f & ~kZF);
    return b == 0 ? a : T(std::countr_zero(b));
}
template <class T> T Bsr(T a, T b, T, Flags& f) {
    f = b == 0 ? (f | kZF) : (f & ~kZF);
    return b == 0 ? a : T(kBits<T> - 1 - std::countl_zero(b));
}

template <class T> T Tzcnt(T a, T, T, Flags& f) {
    const T r = T(std::countr_zero(a));
    f = (a == 0 ? Flags{kCF} : 0) | (r == 0 ? Flags{kZF} : 0);
    return r;
}
template <class T> T Lzcnt(T a, T, T, Flags& f) {
    const T r = T(std::countl_zero(a));
    f = (a == 0 ? Flags{kCF} : 0) | (r == 0 ? Flags{kZF} : 0);
    return r;
}

// ---- BMI1, BMI2
// The `n` low bits; n may be any number.
template <class T> T low_bits(unsigned n) {
    return n < kBits<T> ? T((T(1) << n) - 1) : T(-1);
}
template <class T> T Andn(T a, T b, T, Flags& f) {
    return logic(T(~a & b), f);
}
template <class T> T Bextr(T a, T b, T, Flags& f) {
    const unsigned start = u8(b), length = u8(u64(b) >> 8);
    return logic(T(start < kBits<T> ? (a >> start) & low_bits<T>(length) : 0), f);
}
template <class T> T Bzhi(T a, T b, T, Flags& f) {
    const unsigned n = u8(b);
    const T r = logic(T(a & low_bits<T>(n)), f);
    if (n >= kBits<T>) f |= kCF;
    return r;
}
template <class T> T Blsi(T a, T, T, Flags& f) {
    const T r = logic(T(a & T(0 - a)), f);
    if (a != 0) f |= kCF;
    return r;
}
template <class T> T Blsmsk(T a, T, T, Flags& f) {
    const T r = logic(T(a ^ T(a - 1)), f);
    if (a == 0) f |= kCF;
    return r;
}
template <class T> T Blsr(T a, T, T, Flags& f) {
    const T r = logic(T(a & T(a - 1)), f);
    if (a == 0) f |= kCF;
    return r;
}
template <class T> T Pdep(T a, T mask, T, Flags&) {
    T r = 0;
    for (; mask; mask &= T(mask - 1), a = T(a >> 1))
        if (a & 1) r |= T(mask & T(0 - mask));
    return r;
}
template <class T> T Pext(T a, T mask, T, Flags&) {
    T r = 0;
    for (T to = 1; mask; mask &= T(mask - 1), to = T(to << 1))
        if (a & mask & T(0 - mask)) r |= to;
    return r;
}
template <class T> unsigned count_in_operand(T b) {
    return unsigned(b) & (kBits<T> - 1);
}
template <class T> T Rorx(T a, T b, T, Flags&) {
    return std::rotr(a, int(count_in_operand(b)));
}
template <class T> T Sarx(T a, T b, T, Flags&) {
    return T(std::make_signed_t<T>(a) >> count_in_operand(b));
}
template <class T> T Shlx(T a, T b, T, Flags&) {
    return T(a << count_in_operand(b));
}
template <class T> T Shrx(T a, T b, T, Flags&) {
    return T(a >> count_in_operand(b));
}

// ---- ADX
template <class T> T Adcx(T a, T b, T, Flags& f) {
    Flags sum = 0;
    const T r = add_carry(a, b, f & kCF, sum);
    f = (f & ~kCF) | (sum & kCF);
    return r;
}
template <class T> T Adox(T a, T b, T, Flags& f) {
    Flags sum = 0;
    const T r = add_carry(a, b, f & kOF, sum);
    f = (f & ~kOF) | (sum & kCF ? Flags{kOF} : 0);
    return r;
}

// ---- double width. The product or dividend is hi:lo, for T = u8 all in lo's type's double: see alu.cpp.
template <class T> void MulWide(T& lo, T& hi, T b, Flags& f) {
    using W = std::conditional_t<sizeof(T) == 8, unsigned __int128, u64>;
    const W r = W(lo) * b;
    lo = T(r);
    hi = T(r >> kBits<T>);
    f = sign_zero_parity(lo) | carry_overflow(hi != 0, hi != 0);
}
template <class T> void ImulWide(T& lo, T& hi, T b, Flags& f) {
    using S = std::make_signed_t<T>;
    using W = std::conditional_t<sizeof(T) == 8, __int128, i64>;
    const W r = W(S(lo)) * S(b);
    lo = T(r);
    hi = T(r >> kBits<T>);
    const bool lost = r != W(S(lo));
    f = sign_zero_parity(lo) | carry_overflow(lost, lost);
}

} // namespace dragoman::ir::portable
