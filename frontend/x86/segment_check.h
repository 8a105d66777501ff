// May an access touch these offsets of a segment? (SDM vol. 3, 5.3 and 3.4.5.1.) For helpers that access
// memory by segment and offset; translated code has the op SegAddr, which means the same.
#pragma once

#include "frontend/x86/cpu.h"
#include "ir/memory.h"

namespace dragoman::x86 {

// `first` and `last` are the lowest and the highest offset, inclusive.
inline bool segment_allows(const ir::Segment& seg, u64 first, u64 last, ir::Access access) {
    if (!(seg.attributes & kSegP)) return false; // loaded with a null selector
    const bool code = seg.attributes & kSegCode;
    const bool readable = !code || (seg.attributes & kSegReadable);
    const bool writable = !code && (seg.attributes & kSegWritable);
    if (access == ir::Access::Read ? !readable : !writable) return false;
    if (code || !(seg.attributes & kSegExpandDown)) return last <= seg.limit;
    return first > seg.limit && last <= (seg.attributes & kSegDB ? 0xffffffff : 0xffff);
}

} // namespace dragoman::x86
