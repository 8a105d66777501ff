#include "runtime/memory_release.h"

#include "base/bits.h"

#include <algorithm>
#include <sys/mman.h>

namespace dragoman::runtime {

void MemoryRelease::give_back(u64 gpa, u64 bytes) {
    constexpr u64 page = softmmu::PhysicalMap::page_size;
    // RAM lies in two pieces, of which only the part inside counts: what is asked for may be anything.
    const struct {
        u64 base, bytes;
        u8* host;
    } pieces[] = {{0, map_.ram_below_4g(), map_.ram()},
                  {4 * GiB, map_.ram_bytes() - map_.ram_below_4g(), map_.ram() + map_.ram_below_4g()}};
    const u64 end = bytes > ~gpa ? ~u64{0} : gpa + bytes;
    for (const auto& piece : pieces) {
        u64 from = std::max(align_up(gpa, page), piece.base);
        const u64 to = align_down(std::min(end, piece.base + piece.bytes), page);
        if (gpa > ~u64{0} - page || from >= to) continue;
        // Code of a page that becomes empty is no code any more. ROM that lies over RAM is not touched: the
        // RAM behind it is.
        for (u64 at = from; at < to; at += page)
            if (map_.hits_code(at, page) && map_.watcher()) map_.watcher()->written(at, page);
        // Of a file in memory only a hole gives anything back.
        madvise(piece.host + (from - piece.base), to - from,
                map_.ram_file() >= 0 ? MADV_REMOVE : MADV_DONTNEED);
    }
}

} // namespace dragoman::runtime
