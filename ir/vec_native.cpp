// The vector instructions of kind Native: the host's instruction on two registers.
#include "ir/vec_functions.h"

#if defined(__x86_64__)

namespace dragoman::ir::vec {

#define DEFINE_Native(name)                                                                                  \
    VEC_FUNCTION(name) {                                                                                     \
        __m128i x = get(d);                                                                                  \
        asm(#name " %1, %0" : "+x"(x) : "x"(get(s)));                                                        \
        put(d, x);                                                                                           \
    }
#define DEFINE_Imm(name)
#define DEFINE_Custom(name)
#define VEC(name, bytes, attributes, kind, mmx_form) DEFINE_##kind(name)
#include "ir/vec_ops.inc"

} // namespace dragoman::ir::vec

#endif
