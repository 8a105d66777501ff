// Memory that is looked into at random lies in huge pages where the host has them: one entry of the host's
// TLB then reaches 2 MiB of it.
#pragma once

#include "base/bits.h"
#include "base/types.h"

#include <sys/mman.h>

namespace dragoman {

inline constexpr u64 kHugePage = 2 * MiB;

// For memory that begins where a huge page can. A host that has none for it leaves it as it is.
inline void ask_for_huge_pages(void* begin, u64 bytes) {
    madvise(begin, bytes, MADV_HUGEPAGE);
}

// mmap(), at an address of the host's choice where a huge page can begin. `bytes`: a multiple of 4096.
void* map_where_huge_pages_begin(u64 bytes, int protection, int flags, int file);

} // namespace dragoman
