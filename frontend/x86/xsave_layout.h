// Where XSAVE puts the state components behind its header (SDM vol. 1, 13.4.3): what CPUID leaf 0DH tells,
// too.
#pragma once

#include "base/types.h"
#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

inline constexpr u32 kExtendedArea = 576; // legacy area of 512 bytes, header of 64

struct StateLayout {
    u8 number;         // of the component
    u32 offset, bytes; // in the standard form
    bool aligned;      // in the compacted form: to 64 bytes
};
inline constexpr StateLayout kStateLayout[] = {
    {2, kExtendedArea, 256, false}, // the upper halves of YMM0-15
    {5, 1088, 64, false},           // K0-7
    {6, 1152, 512, false},          // the upper halves of ZMM0-15
    {7, 1664, 1024, false},         // ZMM16-31
    {9, 2688, 8, false},            // PKRU
};
inline constexpr unsigned kStateLayouts = sizeof kStateLayout / sizeof kStateLayout[0];

constexpr u32 align64(u32 at) {
    return (at + 63) & ~63u;
}

// Where component `c` begins in a compacted area that holds `components`.
constexpr u32 compacted_offset(const StateLayout& c, u64 components) {
    u32 at = kExtendedArea;
    for (const StateLayout& l : kStateLayout) {
        if (l.number > c.number || (l.number < c.number && !(components >> l.number & 1))) continue;
        if (l.aligned) at = align64(at);
        if (l.number == c.number) break;
        at += l.bytes;
    }
    return at;
}

// The bytes of an area with these components.
constexpr u32 area_bytes(u64 components, bool compacted) {
    u32 end = kExtendedArea;
    for (const StateLayout& l : kStateLayout)
        if (components >> l.number & 1) {
            const u32 at = compacted ? compacted_offset(l, components) : l.offset;
            end = at + l.bytes > end ? at + l.bytes : end;
        }
    return end;
}

// XINUSE: the components that may not be in their initial configuration (SDM vol. 1, 13.6).
u64 components_in_use(const Cpu& cpu);

} // namespace dragoman::x86
