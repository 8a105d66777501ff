// The vector instructions of kind Custom: moves, and those that touch GPRs, flags or registers they do not
// name.
#include "ir/vec_functions.h"

#include <algorithm>
#include <array>
#include <utility>

#if defined(__x86_64__)

namespace dragoman::ir::vec {

// ---- moves
#define WHOLE(name)                                                                                          \
    VEC_FUNCTION(name) {                                                                                     \
        d = s;                                                                                               \
    }
WHOLE(movaps)
WHOLE(movapd)
WHOLE(movdqa)
WHOLE(movntdqa)
WHOLE(movups)
WHOLE(movupd)
WHOLE(movdqu)
WHOLE(lddqu)
#undef WHOLE

VEC_FUNCTION(movss) {
    set_lane(d, 0, lane<u32>(s, 0));
}
VEC_FUNCTION(movsd) {
    set_lane(d, 0, lane<u64>(s, 0));
}
VEC_FUNCTION(movlps) {
    set_lane(d, 0, lane<u64>(s, 0));
}
VEC_FUNCTION(movlpd) {
    set_lane(d, 0, lane<u64>(s, 0));
}
VEC_FUNCTION(movhps) {
    set_lane(d, 1, lane<u64>(s, 0));
}
VEC_FUNCTION(movhpd) {
    set_lane(d, 1, lane<u64>(s, 0));
}
VEC_FUNCTION(movhlps) {
    set_lane(d, 0, lane<u64>(s, 1));
}
VEC_FUNCTION(movlhps) {
    set_lane(d, 1, lane<u64>(s, 0));
}
VEC_FUNCTION(movd) {
    set_only(d, lane<u32>(s, 0));
}
VEC_FUNCTION(movq) {
    set_only(d, lane<u64>(s, 0));
}
VEC_FUNCTION(movq2dq) {
    set_only(d, lane<u64>(s, 0));
}
VEC_FUNCTION(movdq2q) {
    set_only(d, lane<u64>(s, 0));
}

VEC_FUNCTION(movmskps) {
    set_only(d, u64(_mm_movemask_ps(_mm_castsi128_ps(get(s)))));
}
VEC_FUNCTION(movmskpd) {
    set_only(d, u64(_mm_movemask_pd(_mm_castsi128_pd(get(s)))));
}
VEC_FUNCTION(pmovmskb) {
    set_only(d, u64(_mm_movemask_epi8(get(s))));
}

VEC_FUNCTION(pextrb) {
    set_only(d, lane<u8>(s, imm & 15));
}
VEC_FUNCTION(pextrw) {
    set_only(d, lane<u16>(s, imm & 7));
}
VEC_FUNCTION(pextrd) {
    set_only(d, lane<u32>(s, imm & 3));
}
VEC_FUNCTION(pextrq) {
    set_only(d, lane<u64>(s, imm & 1));
}
VEC_FUNCTION(extractps) {
    set_only(d, lane<u32>(s, imm & 3));
}
VEC_FUNCTION(pinsrb) {
    set_lane(d, imm & 15, lane<u8>(s, 0));
}
VEC_FUNCTION(pinsrw) {
    set_lane(d, imm & 7, lane<u16>(s, 0));
}
VEC_FUNCTION(pinsrd) {
    set_lane(d, imm & 3, lane<u32>(s, 0));
}
VEC_FUNCTION(pinsrq) {
    set_lane(d, imm & 1, lane<u64>(s, 0));
}

VEC_FUNCTION(pslldq) {
    const Vec128 old = d;
    for (unsigned n = 0; n < 16; ++n)
        d.bytes[n] = n >= imm ? old.bytes[n - imm] : 0;
}
VEC_FUNCTION(psrldq) {
    const Vec128 old = d;
    for (unsigned n = 0; n < 16; ++n)
        d.bytes[n] = n + imm < 16 ? old.bytes[n + imm] : 0;
}
VEC_FUNCTION(pshufw) {
    for (unsigned n = 0; n < 4; ++n)
        set_lane(d, n, lane<u16>(s, imm >> (2 * n) & 3));
}
VEC_FUNCTION(emms) {
    ctx.fpu.tag = 0;
}

// ---- conversions
// To and from an MMX register: the low two elements.
#define FROM_MM(name, native)                                                                                \
    VEC_FUNCTION(name) {                                                                                     \
        __m128i x = get(d);                                                                                  \
        asm(native " %1, %0" : "=x"(x) : "x"(_mm_move_epi64(get(s))));                                       \
        put(d, x);                                                                                           \
    }
FROM_MM(cvtpi2pd, "cvtdq2pd")
#undef FROM_MM
VEC_FUNCTION(cvtpi2ps) { // keeps the upper half
    __m128i x;
    asm("cvtdq2ps %1, %0" : "=x"(x) : "x"(_mm_move_epi64(get(s))));
    set_lane(d, 0, u64(_mm_cvtsi128_si64(x)));
}
// The source's upper half must not raise an exception: a zero takes its place.
#define TO_MM(name, native, source)                                                                          \
    VEC_FUNCTION(name) {                                                                                     \
        __m128i x;                                                                                           \
        asm(native " %1, %0" : "=x"(x) : "x"(source));                                                       \
        put(d, _mm_move_epi64(x));                                                                           \
    }
TO_MM(cvtps2pi, "cvtps2dq", _mm_move_epi64(get(s)))
TO_MM(cvttps2pi, "cvttps2dq", _mm_move_epi64(get(s)))
TO_MM(cvtpd2pi, "cvtpd2dq", get(s))
TO_MM(cvttpd2pi, "cvttpd2dq", get(s))
#undef TO_MM

#define FROM_GPR(name)                                                                                       \
    VEC_FUNCTION(name) {                                                                                     \
        __m128i x = get(d);                                                                                  \
        if (size == 8)                                                                                       \
            asm(#name "q %1, %0" : "+x"(x) : "r"(lane<u64>(s, 0)));                                          \
        else                                                                                                 \
            asm(#name "l %1, %0" : "+x"(x) : "r"(lane<u32>(s, 0)));                                          \
        put(d, x);                                                                                           \
    }
FROM_GPR(cvtsi2ss)
FROM_GPR(cvtsi2sd)
#undef FROM_GPR
#define TO_GPR(name)                                                                                         \
    VEC_FUNCTION(name) {                                                                                     \
        u64 wide = 0;                                                                                        \
        u32 narrow = 0;                                                                                      \
        if (size == 8)                                                                                       \
            asm(#name " %1, %0" : "=r"(wide) : "x"(get(s)));                                                 \
        else                                                                                                 \
            asm(#name " %1, %0" : "=r"(narrow) : "x"(get(s)));                                               \
        set_only(d, size == 8 ? wide : narrow);                                                              \
    }
TO_GPR(cvtss2si)
TO_GPR(cvttss2si)
TO_GPR(cvtsd2si)
TO_GPR(cvttsd2si)
#undef TO_GPR

// ---- those that write flags
namespace {
// AH as LAHF leaves it, AL = OF.
Flags flags_of(u16 ax) {
    return (ax >> 8 & 0xd5) | (ax & 1 ? Flags{kOF} : 0);
}
} // namespace

#define COMPARE(name)                                                                                        \
    VEC_FUNCTION(name) {                                                                                     \
        u16 ax;                                                                                              \
        asm(#name " %[s], %[d]\n\tlahf\n\tseto %%al" : "=a"(ax) : [d] "x"(get(d)), [s] "x"(get(s)) : "cc");  \
        ctx.flags = flags_of(ax);                                                                            \
    }
COMPARE(comiss)
COMPARE(ucomiss)
COMPARE(comisd)
COMPARE(ucomisd)
COMPARE(ptest)
#undef COMPARE

// ---- implicit registers
#define BLEND(name)                                                                                          \
    VEC_FUNCTION(name) {                                                                                     \
        __m128i x = get(d);                                                                                  \
        Vec128 mask;                                                                                         \
        std::memcpy(mask.bytes, ctx.vec[0], 16);                                                             \
        asm(#name " %%xmm0, %1, %0" : "+x"(x) : "x"(get(s)), "Yz"(get(mask)));                               \
        put(d, x);                                                                                           \
    }
BLEND(blendvps)
BLEND(blendvpd)
BLEND(pblendvb)
BLEND(sha256rnds2) // whose two words of message and constants are in XMM0
#undef BLEND

namespace {

struct StringResult {
    u32 index;
    Vec128 mask;
    u16 ax;
};
using StringFn = void (*)(const Vec128& d, const Vec128& s, u32 length_d, u32 length_s, StringResult& r);

template <class T, std::size_t... imm8>
constexpr std::array<StringFn, 128> instances(std::index_sequence<imm8...>) {
    return {{T::template run<int(imm8)>...}};
}

// The lengths in RAX and RDX count up to 16 elements either way; with REX.W all 64 bits count.
u32 length(u64 reg, u8 size) {
    const i64 n = size == 8 ? i64(reg) : i64(i32(u32(reg)));
    return u32(std::clamp<i64>(n, -16, 16));
}

} // namespace

// Bit 7 of the imm8 is reserved and ignored.
#define STRING(name, type, constraint, put_output, put_result)                                               \
    namespace {                                                                                              \
    struct Instances_##name {                                                                                \
        template <int imm8>                                                                                  \
        static void run(const Vec128& d, const Vec128& s, u32 length_d, u32 length_s, StringResult& r) {     \
            u32 rax = length_d;                                                                              \
            type output;                                                                                     \
            asm(#name " %[imm], %[s], %[d]\n\tlahf\n\tseto %%al"                                             \
                : constraint(output), "+a"(rax)                                                              \
                : [d] "x"(get(d)), [s] "x"(get(s)), "d"(length_s), [imm] "i"(imm8)                           \
                : "cc");                                                                                     \
            put_output;                                                                                      \
            r.ax = u16(rax);                                                                                 \
        }                                                                                                    \
    };                                                                                                       \
    }                                                                                                        \
    VEC_FUNCTION(name) {                                                                                     \
        static constexpr std::array<StringFn, 128> table =                                                   \
            instances<Instances_##name>(std::make_index_sequence<128>{});                                    \
        StringResult r{};                                                                                    \
        table[imm & 127](d, s, length(ctx.gpr[0], size), length(ctx.gpr[2], size), r);                       \
        put_result;                                                                                          \
        ctx.flags = flags_of(r.ax);                                                                          \
    }
STRING(pcmpestri, u32, "=c", r.index = output, ctx.gpr[1] = r.index)
STRING(pcmpistri, u32, "=c", r.index = output, ctx.gpr[1] = r.index)
STRING(pcmpestrm, __m128i, "=Yz", put(r.mask, output), std::memcpy(ctx.vec[0], r.mask.bytes, 16))
STRING(pcmpistrm, __m128i, "=Yz", put(r.mask, output), std::memcpy(ctx.vec[0], r.mask.bytes, 16))
#undef STRING

} // namespace dragoman::ir::vec

#endif
