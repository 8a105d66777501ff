// The meanings of the vector instructions, declared from vec_ops.inc, and what they share. Inside ir/vec*.cpp
// only.
//
// Most are the host's own instruction in inline assembly rather than an intrinsic: a compiler may swap the
// operands of an addition, and then another NaN comes out.
#pragma once

#include "ir/vec.h"

#include <cstring>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace dragoman::ir::vec {

#define VEC_FUNCTION(name)                                                                                   \
    void name([[maybe_unused]] Context& ctx, [[maybe_unused]] Vec128& d, [[maybe_unused]] const Vec128& s,   \
              [[maybe_unused]] u8 imm, [[maybe_unused]] u8 size)

#define DECLARE_MMX_None(name)
#define DECLARE_MMX_Same(name)
#define DECLARE_MMX_Own(name) VEC_FUNCTION(mmx_##name);
#define VEC(name, bytes, attributes, kind, mmx_form)                                                         \
    VEC_FUNCTION(name);                                                                                      \
    DECLARE_MMX_##mmx_form(name)
#include "ir/vec_ops.inc"
#undef VEC
#undef DECLARE_MMX_None
#undef DECLARE_MMX_Same
#undef DECLARE_MMX_Own

// Lane n of a vector as a T.
template <class T> T lane(const Vec128& v, unsigned n) {
    T value;
    std::memcpy(&value, v.bytes + n * sizeof(T), sizeof(T));
    return value;
}
template <class T> void set_lane(Vec128& v, unsigned n, T value) {
    std::memcpy(v.bytes + n * sizeof(T), &value, sizeof(T));
}
// A result in a GPR, or one that is zero-extended.
inline void set_only(Vec128& v, u64 value) {
    v = {};
    set_lane(v, 0, value);
}

#if defined(__x86_64__)
inline __m128i get(const Vec128& v) {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(v.bytes));
}
inline void put(Vec128& v, __m128i x) {
    _mm_store_si128(reinterpret_cast<__m128i*>(v.bytes), x);
}
#endif

} // namespace dragoman::ir::vec
