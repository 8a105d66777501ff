// Memory that is looked into at random lies in huge pages where the host has them: one entry of the host's TLB
// then reaches 2 MiB of it.
#pragma once

#include "base/bits.h"
#include "base/types.h"

#include <sys/mman.h>

namespace dragoman {

inline constexpr u64 kHugePage = 2 * MiB;

// For anonymous memory that begins with a huge page. A host that has none for it leaves it as it is.
inline void ask_for_huge_pages(void* begin, u64 bytes) {
    madvise(begin, bytes, MADV_HUGEPAGE);
}

} // namespace dragoman
