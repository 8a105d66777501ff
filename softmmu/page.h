// Pages, and what is remembered of a translation that some cache holds.
#pragma once

#include "base/types.h"

namespace dragoman::softmmu {

inline constexpr unsigned kPageBits = 12;
inline constexpr u64 kPageSize = u64{1} << kPageBits;

// What an entry was filled from, as far as somebody may want it dropped.
struct Mapping {
    bool global = false;
    u8 page_bits = kPageBits; // log2 of the mapping's size
    u8 key = 0;               // protection key; 16 more for a supervisor page's
};

} // namespace dragoman::softmmu
