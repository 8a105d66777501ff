#include "base/huge_page.h"

namespace dragoman {

void* map_where_huge_pages_begin(u64 bytes, int protection, int flags, int file) {
    void* const got =
        mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) return got;
    const u64 from = reinterpret_cast<u64>(got), at = align_up(from, kHugePage);
    if (at > from) munmap(got, at - from);
    munmap(reinterpret_cast<void*>(at + bytes), from + kHugePage - at);
    void* const mapped = mmap(reinterpret_cast<void*>(at), bytes, protection, flags | MAP_FIXED, file, 0);
    if (mapped == MAP_FAILED) munmap(reinterpret_cast<void*>(at), bytes);
    return mapped;
}

} // namespace dragoman
