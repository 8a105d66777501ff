// The vector instructions of kind Imm: the host's instruction with its imm8, one instance for each value.
#include "ir/vec_functions.h"

#include <array>
#include <utility>

#if defined(__x86_64__)

namespace dragoman::ir::vec {

namespace {

using Fn = void (*)(Vec128& d, const Vec128& s);

// One function for each imm8 of an instruction, whose class `T` has a template `run<imm8>`.
template <class T, std::size_t... imm8>
constexpr std::array<Fn, 256> instances(std::index_sequence<imm8...>) {
    return {{T::template run<int(imm8)>...}};
}

} // namespace

#define DEFINE_Imm(name)                                                                                     \
    namespace {                                                                                              \
    struct Instances_##name {                                                                                \
        template <int imm8> static void run(Vec128& d, const Vec128& s) {                                    \
            __m128i x = get(d);                                                                              \
            asm(#name " %2, %1, %0" : "+x"(x) : "x"(get(s)), "i"(imm8));                                     \
            put(d, x);                                                                                       \
        }                                                                                                    \
    };                                                                                                       \
    }                                                                                                        \
    VEC_FUNCTION(name) {                                                                                     \
        static constexpr std::array<Fn, 256> table =                                                         \
            instances<Instances_##name>(std::make_index_sequence<256>{});                                    \
        table[imm](d, s);                                                                                    \
    }
#define DEFINE_Native(name)
#define DEFINE_Custom(name)
#define VEC(name, bytes, attributes, kind, mmx_form) DEFINE_##kind(name)
#include "ir/vec_ops.inc"

} // namespace dragoman::ir::vec

#endif
