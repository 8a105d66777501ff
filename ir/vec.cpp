// The table of vector instructions. Their meanings are in vec_native.cpp, vec_imm.cpp, vec_custom.cpp and
// vec_mmx.cpp.
#include "ir/vec.h"

#include "base/assert.h"
#include "ir/vec_functions.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace dragoman::ir {

namespace {

enum : u16 { A = 1, I = 2, N = 4, R = 8, F = 16, K = 32, S = 64, H = 128 };

#if defined(__x86_64__)
#define MMX_None(name) nullptr
#define MMX_Same(name) vec::name
#define MMX_Own(name)  vec::mmx_##name
#define XMM(name)      vec::name
#else // another host needs meanings of its own; until then the instructions do nothing but say so
void missing(Context&, Vec128&, const Vec128&, u8, u8) {
    DRAGOMAN_ASSERT(!"vector instructions need an x86-64 host");
}
#define MMX_None(name) nullptr
#define MMX_Same(name) missing
#define MMX_Own(name)  missing
#define XMM(name)      missing
#endif

constexpr VecOp table[] = {
#define VEC(name, bytes, attributes, kind, mmx_form)                                                         \
    {.mnemonic = #name,                                                                                      \
     .source_bytes = bytes,                                                                                  \
     .has_imm = bool((attributes)&I),                                                                        \
     .aligned = bool((attributes)&A),                                                                        \
     .implicit_registers = bool((attributes)&R),                                                             \
     .numeric = bool((attributes)&N),                                                                        \
     .writes_d = !((attributes)&K),                                                                          \
     .sized = bool((attributes)&S),                                                                          \
     .mmx_source_bytes = u8((attributes)&H ? 4                                                               \
                            : bytes < 8    ? bytes                                                           \
                                           : 8),                                                                \
     .flags = (attributes)&F ? kAllFlags : 0,                                                                \
     .fn = XMM(name),                                                                                        \
     .mmx = MMX_##mmx_form(name)},
#include "ir/vec_ops.inc"
#undef VEC
};
constexpr std::size_t count = std::size(table);

// Row numbers in the order of their mnemonics, for the look-up.
constexpr std::array<u16, count> sorted = [] {
    std::array<u16, count> rows{};
    for (std::size_t n = 0; n < count; ++n)
        rows[n] = u16(n);
    std::sort(rows.begin(), rows.end(), [](u16 a, u16 b) { return table[a].mnemonic < table[b].mnemonic; });
    return rows;
}();

} // namespace

const VecOp& vec_op(u16 index) {
    DRAGOMAN_ASSERT(index < count);
    return table[index];
}

u16 vec_op_count() {
    return u16(count);
}

int find_vec_op(std::string_view mnemonic) {
    const auto at = std::lower_bound(sorted.begin(), sorted.end(), mnemonic,
                                     [](u16 row, std::string_view m) { return table[row].mnemonic < m; });
    return at != sorted.end() && table[*at].mnemonic == mnemonic ? int(*at) : -1;
}

unsigned vec_source_bytes(const Inst& inst) {
    const VecOp& op = vec_op(inst.vec);
    if (op.sized) return inst.size == 8 ? 8 : 4;
    return inst.d.is_mm() && op.mmx ? op.mmx_source_bytes : op.source_bytes;
}

} // namespace dragoman::ir
