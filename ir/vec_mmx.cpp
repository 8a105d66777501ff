// The mm forms that are not the low half of the xmm form.
#include "ir/vec_functions.h"

#if defined(__x86_64__)

namespace dragoman::ir::vec {

namespace {

// d in the low half, s in the high one: what a xmm instruction that packs or adds neighbours makes of it,
// with itself as both sources, has the mm form's result in its low half.
__m128i joined(const Vec128& d, const Vec128& s) {
    return _mm_unpacklo_epi64(get(d), get(s));
}

} // namespace

#define JOINED(name)                                                                                         \
    VEC_FUNCTION(mmx_##name) {                                                                               \
        __m128i x = joined(d, s);                                                                            \
        asm(#name " %0, %0" : "+x"(x));                                                                      \
        put(d, _mm_move_epi64(x));                                                                           \
    }
JOINED(packsswb)
JOINED(packssdw)
JOINED(packuswb)
JOINED(phaddw)
JOINED(phaddd)
JOINED(phaddsw)
JOINED(phsubw)
JOINED(phsubd)
JOINED(phsubsw)

// The upper half of what interleaving all of the two gives.
VEC_FUNCTION(mmx_punpckhbw) {
    put(d, _mm_srli_si128(_mm_unpacklo_epi8(get(d), get(s)), 8));
}
VEC_FUNCTION(mmx_punpckhwd) {
    put(d, _mm_srli_si128(_mm_unpacklo_epi16(get(d), get(s)), 8));
}
VEC_FUNCTION(mmx_punpckhdq) {
    put(d, _mm_srli_si128(_mm_unpacklo_epi32(get(d), get(s)), 8));
}

VEC_FUNCTION(mmx_pshufb) {
    const Vec128 from = d;
    for (unsigned n = 0; n < 8; ++n)
        d.bytes[n] = s.bytes[n] & 0x80 ? 0 : from.bytes[s.bytes[n] & 7];
}
VEC_FUNCTION(mmx_palignr) { // d:s shifted right by imm bytes
    u8 both[16];
    std::memcpy(both, s.bytes, 8);
    std::memcpy(both + 8, d.bytes, 8);
    for (unsigned n = 0; n < 8; ++n)
        d.bytes[n] = n + imm < 16 ? both[n + imm] : 0;
}
VEC_FUNCTION(mmx_pinsrw) {
    set_lane(d, imm & 3, lane<u16>(s, 0));
}
VEC_FUNCTION(mmx_pextrw) {
    set_only(d, lane<u16>(s, imm & 3));
}

} // namespace dragoman::ir::vec

#endif
