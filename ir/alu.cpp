#include "ir/alu.h"

#include "base/assert.h"
#include "base/bits.h"
#if defined(__x86_64__)
#include "ir/alu_host.h"
#else
#include "ir/alu_portable.h"

#include <atomic>
#endif

namespace dragoman::ir {

namespace {

#if defined(__x86_64__)
namespace chosen = host;
#else
namespace chosen = portable;
#endif

template <class T, T (*fn)(T, T, T, Flags&), Op op> u64 widened(u64 a, u64 b, u64 c, Flags& flags) {
    if constexpr (flags_settled(op) != 0) flags = kSettled;
    return fn(T(a), T(b), T(c), flags);
}

struct Row {
    AluFn fn[4] = {};
};
struct Table {
    Row rows[std::size_t(Op::Count)];
};

constexpr Table make_table() {
    Table t;
#define ALU(name, where)                                                                                     \
    t.rows[std::size_t(Op::name)] = {                                                                        \
        {widened<u8, where::name<u8>, Op::name>, widened<u16, where::name<u16>, Op::name>,                   \
         widened<u32, where::name<u32>, Op::name>, widened<u64, where::name<u64>, Op::name>}};
    ALU(Add, chosen)
    ALU(Or, chosen)
    ALU(Adc, chosen)
    ALU(Sbb, chosen)
    ALU(And, chosen)
    ALU(Sub, chosen)
    ALU(Xor, chosen)
    ALU(Cmp, chosen)
    ALU(Test, chosen)
    ALU(Inc, chosen)
    ALU(Dec, chosen)
    ALU(Neg, chosen)
    ALU(Not, chosen)
    ALU(Imul, chosen)
    ALU(Shl, chosen)
    ALU(Shr, chosen)
    ALU(Sar, chosen)
    ALU(Rol, chosen)
    ALU(Ror, chosen)
    ALU(Rcl, chosen)
    ALU(Rcr, chosen)
    ALU(Shld, chosen)
    ALU(Shrd, chosen)
    ALU(Bt, chosen)
    ALU(Bts, chosen)
    ALU(Btr, chosen)
    ALU(Btc, chosen)
    ALU(Bsf, chosen)
    ALU(Bsr, chosen)
    ALU(Popcnt, portable) // every flag is defined, and not every x86-64 host has it
    ALU(Tzcnt, chosen)
    ALU(Lzcnt, chosen)
    ALU(Andn, chosen)
    ALU(Bextr, chosen)
    ALU(Bzhi, chosen)
    ALU(Blsi, chosen)
    ALU(Blsmsk, chosen)
    ALU(Blsr, chosen)
    ALU(Pdep, portable) // from here on no flag is undefined
    ALU(Pext, portable)
    ALU(Rorx, portable)
    ALU(Sarx, portable)
    ALU(Shlx, portable)
    ALU(Shrx, portable)
    ALU(Adcx, portable)
    ALU(Adox, portable)
#undef ALU
    t.rows[std::size_t(Op::Xadd)] = t.rows[std::size_t(Op::Add)];
    return t;
}
constexpr Table table = make_table();

template <class T> Wide multiply(Op op, u64 lo, u64 b, Flags& flags) {
    T l = T(lo), h = 0;
    flags = kSettled;
    if (op == Op::MulWide)
        chosen::MulWide<T>(l, h, T(b), flags);
    else
        chosen::ImulWide<T>(l, h, T(b), flags);
    if constexpr (sizeof(T) == 1) return {u64(l) | u64(h) << 8, 0};
    return {l, h};
}

// Quotient and remainder, or false for #DE. Works on magnitudes, so that nothing overflows here.
template <class T> bool divide(bool is_signed, T& lo, T& hi, T b) {
    using W = std::conditional_t<sizeof(T) == 8, unsigned __int128, u64>;
    constexpr unsigned bits = sizeof(T) * 8;
    if (b == 0) return false;
    W value = W(hi) << bits | lo;
    if constexpr (sizeof(T) < 8) // sign of the double-width value
        if (is_signed && portable::sign(hi)) value |= ~W(0) << (2 * bits - 1);
    const bool negative = is_signed && portable::sign(hi);
    const bool negative_b = is_signed && portable::sign(b);
    const W magnitude = negative ? W(0) - value : value;
    const W divisor = negative_b ? T(0 - b) : b;
    const W q = magnitude / divisor, r = magnitude % divisor;
    const bool negative_q = negative != negative_b;
    const W limit =
        !is_signed ? W(std::numeric_limits<T>::max()) : (W(1) << (bits - 1)) - (negative_q ? 0 : 1);
    if (q > limit) return false;
    lo = T(negative_q ? W(0) - q : q);
    hi = T(negative ? W(0) - r : r);
    return true;
}

template <class T> bool divide(Op op, Wide& value, u64 b, Flags& flags) {
    T lo = T(value.lo), hi = T(sizeof(T) == 1 ? value.lo >> 8 : value.hi);
    T q = lo, r = hi;
    if (!divide(op == Op::IdivWide, q, r, T(b))) return false;
#if defined(__x86_64__) // for the flags, all of which are undefined; generated code does the same
    flags = kSettled;
    if (op == Op::DivWide)
        host::DivWide<T>(lo, hi, T(b), flags);
    else
        host::IdivWide<T>(lo, hi, T(b), flags);
    DRAGOMAN_ASSERT(lo == q && hi == r);
#else
    (void)flags;
#endif
    value = {q, r};
    return true;
}

unsigned size_index(unsigned size) {
    DRAGOMAN_ASSERT(size == 1 || size == 2 || size == 4 || size == 8);
    return unsigned(std::countr_zero(size));
}

} // namespace

AluFn alu_function(Op op, unsigned size) {
    return table.rows[std::size_t(op)].fn[size_index(size)];
}

Wide multiply_wide(Op op, unsigned size, u64 lo, u64 b, Flags& flags) {
    switch (size) {
    case 1: return multiply<u8>(op, lo, b, flags);
    case 2: return multiply<u16>(op, lo, b, flags);
    case 4: return multiply<u32>(op, lo, b, flags);
    default: return multiply<u64>(op, lo, b, flags);
    }
}

bool divide_wide(Op op, unsigned size, Wide& value, u64 b, Flags& flags) {
    switch (size) {
    case 1: return divide<u8>(op, value, b, flags);
    case 2: return divide<u16>(op, value, b, flags);
    case 4: return divide<u32>(op, value, b, flags);
    default: return divide<u64>(op, value, b, flags);
    }
}

u32 crc32c(u32 crc, u64 data, unsigned size) {
    constexpr u32 polynomial = 0x82f63b78; // 0x11EDC6F41 with its bits reversed
    u64 value = crc ^ (data & size_mask(size));
    for (unsigned i = 0; i < size * 8; ++i)
        value = value >> 1 ^ (value & 1 ? polynomial : 0);
    return u32(value);
}

#if defined(__x86_64__)
u64 compare_exchange(void* at, unsigned size, u64 expected, u64 desired) {
    switch (size) {
    case 1: return host::compare_exchange<u8>(at, u8(expected), u8(desired));
    case 2: return host::compare_exchange<u16>(at, u16(expected), u16(desired));
    case 4: return host::compare_exchange<u32>(at, u32(expected), u32(desired));
    default: return host::compare_exchange<u64>(at, expected, desired);
    }
}
#else
namespace {
template <class T> u64 exchange(void* at, u64 expected, u64 desired) {
    T old = T(expected);
    __atomic_compare_exchange_n(static_cast<T*>(at), &old, T(desired), false, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
    return old;
}
} // namespace
u64 compare_exchange(void* at, unsigned size, u64 expected, u64 desired) {
    switch (size) {
    case 1: return exchange<u8>(at, expected, desired);
    case 2: return exchange<u16>(at, expected, desired);
    case 4: return exchange<u32>(at, expected, desired);
    default: return exchange<u64>(at, expected, desired);
    }
}
#endif

} // namespace dragoman::ir
