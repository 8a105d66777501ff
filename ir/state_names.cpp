#include "ir/state_names.h"

#include "ir/context.h"

namespace dragoman::ir {

namespace {

struct Name {
    std::string_view name;
    u32 offset;
};

#define FIELD(name)                                                                                          \
    { #name, u32(offsetof(Context, name)) }
#define SEGMENT(name, n)                                                                                     \
    {#name ".base", u32(offsetof(Context, seg) + n * sizeof(Segment) + offsetof(Segment, base))},            \
        {#name ".limit", u32(offsetof(Context, seg) + n * sizeof(Segment) + offsetof(Segment, limit))},      \
        {#name ".selector",                                                                                  \
         u32(offsetof(Context, seg) + n * sizeof(Segment) + offsetof(Segment, selector))},                   \
    {                                                                                                        \
#name ".attributes",                                                                                 \
            u32(offsetof(Context, seg) + n * sizeof(Segment) + offsetof(Segment, attributes))                \
    }
#define FPU(name)                                                                                            \
    { "fpu." #name, u32(offsetof(Context, fpu) + offsetof(Fpu, name)) }

constexpr Name names[] = {
    FIELD(rip),
    FIELD(flags),
    FIELD(poll),
    FIELD(cpl),
    FIELD(interrupt_flag),
    FIELD(direction_flag),
    FIELD(interrupt_line),
    FIELD(interrupt_shadow),
    FIELD(view),
    FIELD(exit),
    FIELD(budget),
    FIELD(key),
    FIELD(mxcsr),
    FIELD(host_mxcsr),
    FIELD(x87_here),
    SEGMENT(es, 0),
    SEGMENT(cs, 1),
    SEGMENT(ss, 2),
    SEGMENT(ds, 3),
    SEGMENT(fs, 4),
    SEGMENT(gs, 5),
    FPU(control),
    FPU(status),
    FPU(top),
    FPU(tag),
    FPU(opcode),
    FPU(ip),
    FPU(dp),
    FPU(cs),
    FPU(ds),
};
#undef FIELD
#undef SEGMENT
#undef FPU

} // namespace

std::string_view state_name(u32 offset) {
    for (const Name& n : names)
        if (n.offset == offset) return n.name;
    return {};
}

i64 state_offset(std::string_view name) {
    for (const Name& n : names)
        if (n.name == name) return n.offset;
    return -1;
}

} // namespace dragoman::ir
