#include "vector_operands.h"

#include <bit>
#include <cstring>

namespace dragoman::test {

namespace {

using Random = std::mt19937_64;

u64 below(Random& random, u64 n) {
    return random() % n;
}

u32 special_float(Random& random) {
    static constexpr u32 values[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 1,          0x807fffff,
                                     0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345,
                                     0x7f800001, 0xffa00000, 0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000};
    switch (below(random, 4)) {
    case 0: return u32(random());
    case 1: return std::bit_cast<u32>(float(i64(below(random, 4000)) - 2000) / 8);
    default: return values[below(random, std::size(values))];
    }
}
u64 special_double(Random& random) {
    static constexpr u64 values[] = {0,
                                     0x8000000000000000,
                                     0x3ff0000000000000,
                                     0xbff0000000000000,
                                     1,
                                     0x800fffffffffffff,
                                     0x0010000000000000,
                                     0x7fefffffffffffff,
                                     0x7ff0000000000000,
                                     0xfff0000000000000,
                                     0x7ff8000000000000,
                                     0xfff8123456789abc,
                                     0x7ff0000000000001,
                                     0x41dfffffffe00000,
                                     0xc1e0000000000000,
                                     0x43e0000000000000,
                                     0x3fe0000000000000,
                                     0x36a0000000000000};
    switch (below(random, 4)) {
    case 0: return random();
    case 1: return std::bit_cast<u64>(double(i64(below(random, 4000)) - 2000) / 8);
    default: return values[below(random, std::size(values))];
    }
}

} // namespace

void fill_vector(Random& random, u8* to) {
    const u64 kind = below(random, 8);
    for (unsigned n = 0; n < 16; n += 4) {
        const u32 v = kind < 3 ? special_float(random) : u32(random());
        std::memcpy(to + n, &v, 4);
    }
    for (unsigned n = 0; n < 16; n += 8) {
        const u64 v = special_double(random);
        if (kind >= 3 && kind < 6) std::memcpy(to + n, &v, 8);
    }
    if (kind == 6) // small numbers, also as shift counts, and text
        for (unsigned n = 0; n < 16; ++n)
            to[n] = u8(below(random, 4) ? 0 : below(random, 70));
    if (kind == 7)
        for (unsigned n = 0; n < 16; ++n)
            to[n] = below(random, 3) ? u8(random()) : below(random, 2) ? 0xff : 0x80;
}

void fill_x87(Random& random, u8* to) {
    // Where a conversion, a rounding or a function has its limits; each also with its neighbours.
    static constexpr struct {
        u16 exponent;
        u64 mantissa;
    } limits[] = {
        {0x3fff, u64{1} << 63},              // 1
        {0x3fff, u64{3} << 62},              // 1.5
        {0x3ffe, u64{1} << 63},              // 0.5
        {0x3ffe, 0xb504f333f9de6484},        // sqrt(2) / 2
        {0x4000, 0xc90fdaa22168c235},        // pi
        {0x3ffe, 0xc90fdaa22168c235},        // pi / 4
        {0x400d, 0xffff'0000'0000'0000},     // 2^15 - 0.5
        {0x401d, 0xffff'ffff'0000'0000},     // 2^31 - 0.5
        {0x403d, ~u64{0}},                   // 2^63 - 0.5
        {0x403e, u64{1} << 63},              // 2^63
        {0x403a, 0xde0b'6b3a'7640'0000 - 1}, // what 18 decimal digits hold: 10^18
        {0x407e, ~u64{0}},                   // the greatest single
        {0x43fe, ~u64{0}},                   // and double
        {0x3f81, u64{1} << 63},              // the least normal single
        {0x3c01, u64{1} << 63},              // and double
        {0x3f69, u64{1} << 63},              // half the least denormal
        {0x3bcc, u64{1} << 63},
        {0x7ffe, ~u64{0}},
        {1, u64{1} << 63},
        {0, u64{1} << 63}, // a pseudo-denormal
        {0, ~u64{0} >> 1},
    };
    u64 mantissa;
    u16 exponent;
    switch (below(random, 10)) {
    case 0:
        mantissa = random();
        exponent = u16(random());
        break;
    case 8:
    case 9: {
        const auto& limit = limits[below(random, std::size(limits))];
        mantissa = limit.mantissa + below(random, 3) - 1;
        exponent = limit.exponent;
        break;
    }
    case 1:
        mantissa = u64{1} << 63;
        exponent = 0x7fff;
        break;
    case 2:
        mantissa = random() | u64{1} << 63;
        exponent = 0x7fff;
        break;
    case 3:
        mantissa = random() >> below(random, 64);
        exponent = 0;
        break;
    case 4:
        mantissa = 0;
        exponent = 0;
        break;
    case 5:
        mantissa = random() | u64{1} << 63;
        exponent = u16(below(random, 2) ? below(random, 80) : 0x7fff - below(random, 80));
        break;
    default:
        mantissa = (below(random, 2) ? random() : random() << below(random, 64)) | u64{1} << 63;
        exponent = u16(0x3fff + below(random, 140) - 70);
        break;
    }
    exponent = u16((exponent & 0x7fff) | (below(random, 2) << 15));
    std::memcpy(to, &mantissa, 8);
    std::memcpy(to + 8, &exponent, 2);
}

} // namespace dragoman::test
