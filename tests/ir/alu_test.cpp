// The arithmetic ops: the host's instruction against the definition by the manual, for everything the manual
// defines.
#include "ir/alu.h"
#include "ir/alu_portable.h"

#include "base/bits.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace dragoman::ir {
namespace {

using Def = Flags (*)(unsigned size, u64 a, u64 b, u64 c); // flags defined by the manual (kept ones too)

template <unsigned size> struct Uint;
template <> struct Uint<1> { using T = u8; };
template <> struct Uint<2> { using T = u16; };
template <> struct Uint<4> { using T = u32; };
template <> struct Uint<8> { using T = u64; };

u64 count_of(unsigned size, u64 b) {
    return b & (size == 8 ? 63 : 31);
}

Flags all(unsigned, u64, u64, u64) {
    return kAllFlags;
}
Flags not_af(unsigned, u64, u64, u64) {
    return kAllFlags & ~kAF;
}
Flags carry_overflow(unsigned, u64, u64, u64) {
    return kCF | kOF;
}
Flags shift(unsigned size, u64, u64 b, u64) {
    const u64 n = count_of(size, b);
    if (n == 0) return kAllFlags;
    return kAllFlags & ~kAF & (n == 1 ? ~0u : ~Flags{kOF}) & (n > size * 8 ? ~Flags{kCF} : ~0u);
}
// SAR's CF is the sign for any count that is too large.
Flags shift_arithmetic(unsigned size, u64, u64 b, u64) {
    const u64 n = count_of(size, b);
    return n == 0 ? kAllFlags : kAllFlags & ~kAF & (n == 1 ? ~0u : ~Flags{kOF});
}
Flags rotate(unsigned size, u64, u64 b, u64) {
    return count_of(size, b) <= 1 ? kAllFlags : kAllFlags & ~kOF;
}
Flags double_shift(unsigned size, u64, u64, u64 c) {
    const u64 n = count_of(size, c);
    if (n == 0) return kAllFlags;
    if (n > size * 8) return 0;
    return kAllFlags & ~kAF & (n == 1 ? ~0u : ~Flags{kOF});
}
Flags bit_test(unsigned, u64, u64, u64) {
    return kCF | kZF;
}
Flags scan(unsigned, u64, u64, u64) {
    return kZF;
}

Flags sign_zero_carry(unsigned, u64, u64, u64) {
    return kAllFlags & ~kAF & ~kPF;
}
Flags zero_carry(unsigned, u64, u64, u64) {
    return kZF | kCF;
}
Flags extracted(unsigned, u64, u64, u64) {
    return kZF | kCF | kOF;
}

struct Case {
    Op op;
    unsigned smallest;
    Def defined;
    AluFn portable[4];
};
template <class T, T (*fn)(T, T, T, Flags&)> u64 wide(u64 a, u64 b, u64 c, Flags& f) {
    return fn(T(a), T(b), T(c), f);
}
#define CASE(name, smallest, defined)                                                                        \
    {                                                                                                        \
        Op::name, smallest, defined, {                                                                       \
            wide<u8, portable::name<u8>>, wide<u16, portable::name<u16>>, wide<u32, portable::name<u32>>,    \
                wide<u64, portable::name<u64>>                                                               \
        }                                                                                                    \
    }
const Case cases[] = {
    CASE(Add, 1, all),
    CASE(Adc, 1, all),
    CASE(Sub, 1, all),
    CASE(Sbb, 1, all),
    CASE(Cmp, 1, all),
    CASE(Or, 1, not_af),
    CASE(And, 1, not_af),
    CASE(Xor, 1, not_af),
    CASE(Test, 1, not_af),
    CASE(Inc, 1, all),
    CASE(Dec, 1, all),
    CASE(Neg, 1, all),
    CASE(Not, 1, all),
    CASE(Imul, 2, carry_overflow),
    CASE(Popcnt, 1, all),
    CASE(Shl, 1, shift),
    CASE(Shr, 1, shift),
    CASE(Sar, 1, shift_arithmetic),
    CASE(Rol, 1, rotate),
    CASE(Ror, 1, rotate),
    CASE(Rcl, 1, rotate),
    CASE(Rcr, 1, rotate),
    CASE(Shld, 2, double_shift),
    CASE(Shrd, 2, double_shift),
    CASE(Bt, 2, bit_test),
    CASE(Bts, 2, bit_test),
    CASE(Btr, 2, bit_test),
    CASE(Btc, 2, bit_test),
    CASE(Bsf, 2, scan),
    CASE(Bsr, 2, scan),
    CASE(Tzcnt, 2, zero_carry),
    CASE(Lzcnt, 2, zero_carry),
    CASE(Andn, 4, sign_zero_carry),
    CASE(Bextr, 4, extracted),
    CASE(Bzhi, 4, sign_zero_carry),
    CASE(Blsi, 4, sign_zero_carry),
    CASE(Blsmsk, 4, sign_zero_carry),
    CASE(Blsr, 4, sign_zero_carry),
    CASE(Pdep, 4, all),
    CASE(Pext, 4, all),
    CASE(Rorx, 4, all),
    CASE(Sarx, 4, all),
    CASE(Shlx, 4, all),
    CASE(Shrx, 4, all),
    CASE(Adcx, 4, all),
    CASE(Adox, 4, all),
};

constexpr u64 boundaries[] = {0,
                              1,
                              2,
                              7,
                              8,
                              15,
                              16,
                              17,
                              31,
                              32,
                              33,
                              63,
                              64,
                              0x7f,
                              0x80,
                              0x81,
                              0xff,
                              0x7fff,
                              0x8000,
                              0xffff,
                              0x7fffffff,
                              0x80000000,
                              0xffffffff,
                              0x7fffffffffffffff,
                              0x8000000000000000,
                              ~u64{0}};

constexpr Flags random_flags(u64 r) {
    return Flags(r) & kAllFlags;
}

class Values {
  public:
    explicit Values(u64 seed) : random_(seed) {}
    u64 next() {
        switch (random_() % 3) {
        case 0: return boundaries[random_() % std::size(boundaries)];
        case 1: return random_() >> (random_() & 63);
        default: return random_();
        }
    }
    u64 bits() { return random_(); }

  private:
    std::mt19937_64 random_;
};

TEST(Alu, HostAgreesWithTheManual) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Values values(seed);
    for (const Case& c : cases) {
        for (unsigned size = c.smallest; size <= 8; size *= 2) {
            const AluFn fn = alu_function(c.op, size);
            ASSERT_NE(fn, nullptr) << info(c.op).name;
            for (int i = 0; i < 4000; ++i) {
                const u64 mask = size_mask(size);
                const u64 a = values.next() & mask, b = values.next() & mask, k = values.next() & mask;
                const Flags in = random_flags(values.bits());
                Flags got = in, want = in;
                const u64 r = fn(a, b, k, got);
                const u64 expected = c.portable[std::countr_zero(size)](a, b, k, want);
                const Flags defined = c.defined(size, a, b, k);
                if (defined && c.op != Op::Cmp && c.op != Op::Test) {
                    ASSERT_EQ(r, expected) << info(c.op).name << '.' << size << std::hex << ' ' << a << ' '
                                           << b << ' ' << k << " flags in " << in;
                }
                ASSERT_EQ(got & defined, want & defined)
                    << info(c.op).name << '.' << size << std::hex << ' ' << a << ' ' << b << ' ' << k
                    << " flags in " << in << " got " << got << " want " << want;
            }
        }
    }
}

// What the dead-flags pass relies on: the ops that are not marked kFlagsMaybe do not let old flags through.
TEST(Alu, FlagsWrittenDoNotDependOnOldFlags) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Values values(seed);
    for (const Case& c : cases) {
        const OpInfo& op = info(c.op);
        for (unsigned size = c.smallest; size <= 8; size *= 2)
            for (int i = 0; i < 2000; ++i) {
                const u64 mask = size_mask(size);
                const u64 a = values.next() & mask, b = values.next() & mask, k = values.next() & mask;
                const Flags in = random_flags(values.bits());
                Flags f = in, g = in ^ (kAllFlags & ~op.reads);
                alu_function(c.op, size)(a, b, k, f);
                alu_function(c.op, size)(a, b, k, g);
                const Flags kept = kAllFlags & ~op.writes & ~op.reads;
                ASSERT_EQ((f ^ g) & kept, kept) << op.name << " changes a flag that it does not write";
                if (!(op.effects & kFlagsMaybe)) {
                    ASSERT_EQ((f ^ g) & op.writes, 0u)
                        << op.name << '.' << size << std::hex << ' ' << a << ' ' << b << " flags in " << in;
                }
            }
    }
}

TEST(Alu, WideMultiply) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Values values(seed);
    for (unsigned size = 1; size <= 8; size *= 2)
        for (int i = 0; i < 20000; ++i) {
            const u64 mask = size_mask(size), a = values.next() & mask, b = values.next() & mask;
            Flags f = random_flags(values.bits()), g = f ^ kAllFlags;
            const Wide u = multiply_wide(Op::MulWide, size, a, b, f);
            const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
            const u64 lo = size == 1 ? u64(product) : u64(product) & mask;
            const u64 hi = size == 1 ? 0 : u64(product >> (size * 8)) & mask;
            ASSERT_EQ(u.lo, lo);
            ASSERT_EQ(u.hi, hi);
            const bool carry = (product >> (size * 8)) != 0;
            ASSERT_EQ(f & (kCF | kOF), carry ? Flags(kCF | kOF) : 0u)
                << size << std::hex << ' ' << a << ' ' << b;
            multiply_wide(Op::MulWide, size, a, b, g);
            ASSERT_EQ(f, g) << "MUL lets old flags through";

            const Wide s = multiply_wide(Op::ImulWide, size, a, b, f);
            const __int128 sp = static_cast<__int128>(sign_extend(a, size)) * sign_extend(b, size);
            ASSERT_EQ(s.lo, size == 1 ? u64(sp) & 0xffff : u64(sp) & mask);
            ASSERT_EQ(s.hi, size == 1 ? 0 : u64(sp >> (size * 8)) & mask);
            const bool lost = sp != sign_extend(u64(sp) & mask, size);
            ASSERT_EQ(f & (kCF | kOF), lost ? Flags(kCF | kOF) : 0u)
                << size << std::hex << ' ' << a << ' ' << b;
            g = f ^ kAllFlags;
            multiply_wide(Op::ImulWide, size, a, b, g);
            ASSERT_EQ(f, g) << "IMUL lets old flags through";
        }
}

TEST(Alu, WideDivide) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Values values(seed);
    for (unsigned size = 1; size <= 8; size *= 2)
        for (int i = 0; i < 20000; ++i) {
            const u64 mask = size_mask(size), b = values.next() & mask;
            Wide v{values.next() & (size == 1 ? 0xffff : mask), size == 1 ? 0 : values.next() & mask};
            if (i & 1 && size > 1) v.hi = i & 2 ? 0 : mask & -u64(v.lo >> (size * 8 - 1)); // mostly fits
            Flags f = 0;
            const unsigned __int128 n =
                size == 1 ? v.lo : static_cast<unsigned __int128>(v.hi) << (size * 8) | v.lo;
            Wide u = v;
            const bool ok = b != 0 && n / b <= mask;
            ASSERT_EQ(divide_wide(Op::DivWide, size, u, b, f), ok);
            if (ok) {
                ASSERT_EQ(u.lo, u64(n / b));
                ASSERT_EQ(u.hi, u64(n % b));
            }
            // By the identity n = q * d + r with |r| < |d| and r of n's sign.
            u = v;
            const unsigned unused = 128 - size * 16;
            const __int128 sn = static_cast<__int128>(n << unused) >> unused;
            const i64 sb = sign_extend(b, size);
            if (divide_wide(Op::IdivWide, size, u, b, f)) {
                const __int128 q = sign_extend(u.lo, size), r = sign_extend(u.hi, size);
                ASSERT_TRUE(q * sb + r == sn);
                ASSERT_TRUE(r == 0 || (r < 0) == (sn < 0));
                ASSERT_TRUE((r < 0 ? -r : r) < (sb < 0 ? -static_cast<__int128>(sb) : sb));
            } else if (sb != 0 && !(size == 8 && sb == -1)) {
                const __int128 q = sn / sb;
                ASSERT_TRUE(q != sign_extend(u64(q) & mask, size)) << "#DE for a quotient that fits";
            }
        }
}

TEST(Alu, WideDivideFaultsAtTheEdge) {
    Flags f = 0;
    Wide v{0x80000000, 0xffffffff}; // -2^31
    EXPECT_FALSE(divide_wide(Op::IdivWide, 4, v, 0xffffffff, f));
    EXPECT_TRUE(divide_wide(Op::IdivWide, 4, v, 1, f));
    EXPECT_EQ(v.lo, 0x80000000u);
    v = {0, 0x8000000000000000};
    EXPECT_FALSE(divide_wide(Op::IdivWide, 8, v, ~u64{0}, f));
    v = {0x8000000000000000, ~u64{0}};
    EXPECT_FALSE(divide_wide(Op::IdivWide, 8, v, ~u64{0}, f));
    EXPECT_FALSE(divide_wide(Op::DivWide, 8, v, 0, f));
}

TEST(Alu, Crc32c) {
    // RFC 3720, B.4: 32 bytes of zeros give 8a9136aa.
    u32 crc = ~u32{0};
    for (int i = 0; i < 4; ++i)
        crc = crc32c(crc, 0, 8);
    EXPECT_EQ(~crc, 0x8a9136aau);
    u32 bytes = ~u32{0};
    for (int i = 0; i < 32; ++i)
        bytes = crc32c(bytes, 0, 1);
    EXPECT_EQ(bytes, crc);
}

TEST(Alu, CompareExchangeMayBeMisaligned) {
    u8 memory[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    EXPECT_EQ(compare_exchange(memory + 1, 4, 0x04030201, 0xaabbccdd), 0x04030201u);
    EXPECT_EQ(memory[1], 0xdd);
    EXPECT_EQ(compare_exchange(memory + 1, 2, 0, 0), 0xccddu);
    EXPECT_EQ(memory[2], 0xcc);
}

} // namespace
} // namespace dragoman::ir
