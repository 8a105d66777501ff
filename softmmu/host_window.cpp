#include "softmmu/host_window.h"

#include "base/bits.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sys/mman.h>

namespace dragoman::softmmu {

namespace {

constexpr u64 kPage = PhysicalMap::page_size;

// Multiples of a huge page.
constexpr u64 kBases[] = {0, 2 * MiB, 32 * MiB, 256 * MiB};
constexpr u64 kEnd = 4 * GiB;

constexpr std::chrono::milliseconds kBetweenDrops{100};

// Kernels keep what lies below free, and null pointers are to stay errors.
u64 lowest_address() {
    u64 lowest = 64 * KiB;
    std::ifstream("/proc/sys/vm/mmap_min_addr") >> lowest;
    return align_up(std::max(lowest, kPage), kPage);
}

u64 mapping_limit() {
    u64 limit = 65530; // the kernel's default
    std::ifstream("/proc/sys/vm/max_map_count") >> limit;
    return limit / 2;
}

void* reserve(u64 at, int flags) {
    return mmap(reinterpret_cast<void*>(at), kEnd - at, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

} // namespace

void HostWindow::Free::operator()(void* p) const {
    std::free(p);
}

std::unique_ptr<HostWindow> HostWindow::create(const PhysicalMap& map, u64 most_mappings) {
    if (map.ram_file() < 0) return nullptr;
    for (const u64 base : kBases) {
        const u64 at = std::max(base, lowest_address());
        void* const got = reserve(at, MAP_FIXED_NOREPLACE);
        if (got == MAP_FAILED) continue;
        if (reinterpret_cast<u64>(got) != at) { // a kernel that does not know MAP_FIXED_NOREPLACE
            munmap(got, kEnd - at);
            continue;
        }
        // calloc: what is never touched costs nothing
        auto* slots = static_cast<u32*>(std::calloc(bytes / kPage, sizeof(u32)));
        if (slots)
            return std::unique_ptr<HostWindow>(
                new HostWindow(map, base, at, slots, most_mappings ? most_mappings : mapping_limit()));
        munmap(got, kEnd - at);
    }
    return nullptr;
}

HostWindow::HostWindow(const PhysicalMap& map, u64 base, u64 begin, u32* slots, u64 limit)
    : map_(map), base_(base), begin_(begin), slots_(slots), limit_(limit) {}

HostWindow::~HostWindow() {
    munmap(reinterpret_cast<void*>(begin_), kEnd - begin_);
}

bool HostWindow::clear() {
    ++counters_.clears;
    if (reserve(begin_, MAP_FIXED) == MAP_FAILED) return false;
    std::fill(slots_.get(), slots_.get() + bytes / kPage, 0);
    mappings_ = 0;
    return true;
}

HostWindow::Mapped HostWindow::map(u64 linear, const u8* host, u64 pages) {
    const u64 slots = (kEnd - base_) / kPage, before = (begin_ - base_) / kPage;
    const u64 skipped = before > slot(linear) ? before - slot(linear) : 0;
    const u64 at = slot(linear) + skipped;
    if (!frame(host) || skipped >= pages || at >= slots) return {};
    const u32 first = frame(host) + u32(skipped);
    pages -= skipped;
    Mapped mapped;
    if (mappings_ + 2 > limit_) {
        mapped.cleared = true;
        if (!clear()) return mapped;
    }
    pages = std::min({pages, slots - at, map_.ram_bytes() / kPage - (first - 1)});
    ++counters_.calls;
    // A single page is wanted now; of many only some will be touched.
    if (mmap(reinterpret_cast<void*>(base_ + at * kPage), pages * kPage, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_FIXED | (pages == 1 ? MAP_POPULATE : 0), map_.ram_file(),
             i64((first - 1) * kPage)) == MAP_FAILED)
        return mapped;
    mappings_ += slots_[at] && pages == 1 ? 0 : 2; // in the middle of an empty stretch it makes two
    for (u64 n = 0; n < pages; ++n)
        slots_[at + n] = first + u32(n);
    counters_.mapped_pages += pages;
    mapped.pages = skipped + pages;
    return mapped;
}

void HostWindow::drop_other_mapping() {
    const Clock::time_point now = Clock::now();
    if (now - dropped_ < kBetweenDrops) return;
    dropped_ = now;
    madvise(const_cast<u8*>(map_.ram()), map_.ram_bytes(), MADV_DONTNEED);
}

} // namespace dragoman::softmmu
