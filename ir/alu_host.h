// The arithmetic ops on an x86-64 host: the host's own instruction, with the flags moved in before and out
// after. The six arithmetic flags travel in AX, which needs no stack: AH as SAHF and LAHF have them, AL = OF.
#pragma once

#include "ir/alu_portable.h"

#include <cpuid.h>

#if !defined(__x86_64__)
#error "alu_host.h is for x86-64 hosts"
#endif

namespace dragoman::ir::host {

constexpr u16 flags_to_ax(Flags f) {
    return u16((f & 0xd5) << 8 | 0x200 | (f >> 11 & 1));
}
constexpr Flags flags_from_ax(u16 ax) {
    return (ax >> 8 & 0xd5) | Flags(ax & 1) << 11;
}

// ADD AL, 127 overflows when AL is 1.
#define DRAGOMAN_FLAGS_IN  "addb $127, %%al\n\tsahf\n\t"
#define DRAGOMAN_FLAGS_OUT "\n\tlahf\n\tseto %%al"

#define DRAGOMAN_BINARY(name, mnemonic)                                                                      \
    template <class T> T name(T a, T b, T, Flags& f) {                                                       \
        u16 ax = flags_to_ax(f);                                                                             \
        asm(DRAGOMAN_FLAGS_IN mnemonic " %[b], %[a]" DRAGOMAN_FLAGS_OUT                                      \
            : "+&a"(ax), [a] "+r"(a)                                                                         \
            : [b] "r"(b)                                                                                     \
            : "cc");                                                                                         \
        f = flags_from_ax(ax);                                                                               \
        return a;                                                                                            \
    }
#define DRAGOMAN_UNARY(name, mnemonic)                                                                       \
    template <class T> T name(T a, T, T, Flags& f) {                                                         \
        u16 ax = flags_to_ax(f);                                                                             \
        asm(DRAGOMAN_FLAGS_IN mnemonic " %[a]" DRAGOMAN_FLAGS_OUT : "+&a"(ax), [a] "+r"(a) : : "cc");        \
        f = flags_from_ax(ax);                                                                               \
        return a;                                                                                            \
    }
#define DRAGOMAN_SHIFT(name, mnemonic)                                                                       \
    template <class T> T name(T a, T b, T, Flags& f) {                                                       \
        u16 ax = flags_to_ax(f);                                                                             \
        asm(DRAGOMAN_FLAGS_IN mnemonic " %%cl, %[a]" DRAGOMAN_FLAGS_OUT                                      \
            : "+&a"(ax), [a] "+r"(a)                                                                         \
            : "c"(u8(b))                                                                                     \
            : "cc");                                                                                         \
        f = flags_from_ax(ax);                                                                               \
        return a;                                                                                            \
    }
// Not for bytes: there is no such instruction, and the verifier lets no such op through.
#define DRAGOMAN_DOUBLE_SHIFT(name, mnemonic)                                                                \
    template <class T> T name(T a, T b, T c, Flags& f) {                                                     \
        if constexpr (sizeof(T) == 1)                                                                        \
            return portable::name(a, b, c, f);                                                               \
        else {                                                                                               \
            u16 ax = flags_to_ax(f);                                                                         \
            asm(DRAGOMAN_FLAGS_IN mnemonic " %%cl, %[b], %[a]" DRAGOMAN_FLAGS_OUT                            \
                : "+&a"(ax), [a] "+r"(a)                                                                     \
                : "c"(u8(c)), [b] "r"(b)                                                                     \
                : "cc");                                                                                     \
            f = flags_from_ax(ax);                                                                           \
            return a;                                                                                        \
        }                                                                                                    \
    }
#define DRAGOMAN_WORD_BINARY(name, mnemonic)                                                                 \
    template <class T> T name(T a, T b, T c, Flags& f) {                                                     \
        if constexpr (sizeof(T) == 1)                                                                        \
            return portable::name(a, b, c, f);                                                               \
        else {                                                                                               \
            u16 ax = flags_to_ax(f);                                                                         \
            asm(DRAGOMAN_FLAGS_IN mnemonic " %[b], %[a]" DRAGOMAN_FLAGS_OUT                                  \
                : "+&a"(ax), [a] "+r"(a)                                                                     \
                : [b] "r"(b)                                                                                 \
                : "cc");                                                                                     \
            f = flags_from_ax(ax);                                                                           \
            return a;                                                                                        \
        }                                                                                                    \
    }

DRAGOMAN_BINARY(Add, "add")
DRAGOMAN_BINARY(Or, "or")
DRAGOMAN_BINARY(Adc, "adc")
DRAGOMAN_BINARY(Sbb, "sbb")
DRAGOMAN_BINARY(And, "and")
DRAGOMAN_BINARY(Sub, "sub")
DRAGOMAN_BINARY(Xor, "xor")
DRAGOMAN_BINARY(Cmp, "cmp")
DRAGOMAN_BINARY(Test, "test")
DRAGOMAN_UNARY(Inc, "inc")
DRAGOMAN_UNARY(Dec, "dec")
DRAGOMAN_UNARY(Neg, "neg")
DRAGOMAN_UNARY(Not, "not")
DRAGOMAN_SHIFT(Shl, "shl")
DRAGOMAN_SHIFT(Shr, "shr")
DRAGOMAN_SHIFT(Sar, "sar")
DRAGOMAN_SHIFT(Rol, "rol")
DRAGOMAN_SHIFT(Ror, "ror")
DRAGOMAN_SHIFT(Rcl, "rcl")
DRAGOMAN_SHIFT(Rcr, "rcr")
DRAGOMAN_DOUBLE_SHIFT(Shld, "shld")
DRAGOMAN_DOUBLE_SHIFT(Shrd, "shrd")
DRAGOMAN_WORD_BINARY(Imul, "imul")
DRAGOMAN_WORD_BINARY(Bt, "bt")
DRAGOMAN_WORD_BINARY(Bts, "bts")
DRAGOMAN_WORD_BINARY(Btr, "btr")
DRAGOMAN_WORD_BINARY(Btc, "btc")

#undef DRAGOMAN_BINARY
#undef DRAGOMAN_UNARY
#undef DRAGOMAN_SHIFT
#undef DRAGOMAN_DOUBLE_SHIFT
#undef DRAGOMAN_WORD_BINARY

// For a source of 0 the processors' habits differ in the upper half of a 32-bit destination: the result here
// is `a`, the flags are the host's.
#define DRAGOMAN_SCAN(name, mnemonic)                                                                        \
    template <class T> T name(T a, T b, T c, Flags& f) {                                                     \
        if constexpr (sizeof(T) == 1)                                                                        \
            return portable::name(a, b, c, f);                                                               \
        else {                                                                                               \
            u16 ax = flags_to_ax(f);                                                                         \
            T r = a;                                                                                         \
            asm(DRAGOMAN_FLAGS_IN mnemonic " %[b], %[r]" DRAGOMAN_FLAGS_OUT                                  \
                : "+&a"(ax), [r] "+r"(r)                                                                     \
                : [b] "r"(b)                                                                                 \
                : "cc");                                                                                     \
            f = flags_from_ax(ax);                                                                           \
            return b == 0 ? a : r;                                                                           \
        }                                                                                                    \
    }
DRAGOMAN_SCAN(Bsf, "bsf")
DRAGOMAN_SCAN(Bsr, "bsr")
#undef DRAGOMAN_SCAN

// Not every x86-64 host has these. Without them nobody executes them, and the manual's definition will do.
struct BitFeatures {
    bool bmi1 = false, bmi2 = false, lzcnt = false;
};
inline BitFeatures detect_bit_features() {
    BitFeatures found;
    unsigned a, b, c, d;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) found.bmi1 = b & bit_BMI, found.bmi2 = b & bit_BMI2;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) found.lzcnt = c & bit_LZCNT;
    return found;
}
inline const BitFeatures bit_features = detect_bit_features();

#define DRAGOMAN_BITS(name, smallest, needs, instruction)                                                    \
    template <class T> T name(T a, T b, T c, Flags& f) {                                                     \
        if constexpr (sizeof(T) >= smallest) {                                                               \
            if (bit_features.needs) {                                                                        \
                u16 ax = flags_to_ax(f);                                                                     \
                asm(DRAGOMAN_FLAGS_IN instruction DRAGOMAN_FLAGS_OUT                                         \
                    : "+&a"(ax), [a] "+r"(a)                                                                 \
                    : [b] "r"(b)                                                                             \
                    : "cc");                                                                                 \
                f = flags_from_ax(ax);                                                                       \
                return a;                                                                                    \
            }                                                                                                \
        }                                                                                                    \
        return portable::name(a, b, c, f);                                                                   \
    }
DRAGOMAN_BITS(Tzcnt, 2, bmi1, "tzcnt %[a], %[a]")
DRAGOMAN_BITS(Lzcnt, 2, lzcnt, "lzcnt %[a], %[a]")
DRAGOMAN_BITS(Andn, 4, bmi1, "andn %[b], %[a], %[a]")
DRAGOMAN_BITS(Bextr, 4, bmi1, "bextr %[b], %[a], %[a]")
DRAGOMAN_BITS(Bzhi, 4, bmi2, "bzhi %[b], %[a], %[a]")
DRAGOMAN_BITS(Blsi, 4, bmi1, "blsi %[a], %[a]")
DRAGOMAN_BITS(Blsmsk, 4, bmi1, "blsmsk %[a], %[a]")
DRAGOMAN_BITS(Blsr, 4, bmi1, "blsr %[a], %[a]")
#undef DRAGOMAN_BITS

// MUL, IMUL, DIV, IDIV work on RAX, so the flags can be set only before the operand is loaded.
#define DRAGOMAN_WIDE(name, mnemonic)                                                                        \
    template <class T> void name(T& lo, T& hi, T b, Flags& f) {                                              \
        u16 ax = flags_to_ax(f);                                                                             \
        if constexpr (sizeof(T) == 1) {                                                                      \
            u16 value = u16(hi << 8 | lo);                                                                   \
            asm(DRAGOMAN_FLAGS_IN "movw %[v], %%ax\n\t" mnemonic                                             \
                                  " %[b]\n\tmovw %%ax, %[v]" DRAGOMAN_FLAGS_OUT                              \
                : "+&a"(ax), [v] "+&r"(value)                                                                \
                : [b] "r"(b)                                                                                 \
                : "cc");                                                                                     \
            lo = T(value);                                                                                   \
            hi = T(value >> 8);                                                                              \
        } else {                                                                                             \
            u64 value = lo, rax = ax, rdx = hi;                                                              \
            asm(DRAGOMAN_FLAGS_IN "movq %[v], %%rax\n\t" mnemonic                                            \
                                  " %[b]\n\tmovq %%rax, %[v]" DRAGOMAN_FLAGS_OUT                             \
                : "+&a"(rax), "+d"(rdx), [v] "+&r"(value)                                                    \
                : [b] "r"(b)                                                                                 \
                : "cc");                                                                                     \
            ax = u16(rax);                                                                                   \
            lo = T(value);                                                                                   \
            hi = T(rdx);                                                                                     \
        }                                                                                                    \
        f = flags_from_ax(ax);                                                                               \
    }
DRAGOMAN_WIDE(MulWide, "mul")
DRAGOMAN_WIDE(ImulWide, "imul")
DRAGOMAN_WIDE(DivWide, "div")   // only where no #DE
DRAGOMAN_WIDE(IdivWide, "idiv") // can be raised
#undef DRAGOMAN_WIDE

template <class T> T compare_exchange(void* at, T expected, T desired) {
    asm volatile("lock cmpxchg %[n], (%[p])"
                 : "+a"(expected)
                 : [n] "r"(desired), [p] "r"(at)
                 : "cc", "memory");
    return expected;
}

#undef DRAGOMAN_FLAGS_IN
#undef DRAGOMAN_FLAGS_OUT

} // namespace dragoman::ir::host
