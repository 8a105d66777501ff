// Chips whose memory-mapped registers are dwords, read at any width and alignment.
#pragma once

#include "base/bits.h"
#include "base/types.h"

namespace dragoman::hw {

// `size` bytes at `offset`, made from the registers that they lie in: `read_register(offset)` with an offset
// that is a multiple of four.
template <class F> u64 read_dwords(u64 offset, unsigned size, F read_register) {
    u64 value = 0;
    for (u64 at = offset & ~u64{3}; at < offset + size; at += 4) {
        const u64 part = read_register(u32(at));
        value |= at >= offset ? part << (8 * (at - offset)) : part >> (8 * (offset - at));
    }
    return value & size_mask(size);
}

} // namespace dragoman::hw
