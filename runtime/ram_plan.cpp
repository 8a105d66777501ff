#include "runtime/ram_plan.h"

#include "base/bits.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {
constexpr u32 kRam = 1;
constexpr u64 kPage = 4096;
} // namespace

RamPlan::RamPlan(const BoardFacts& board) : board_(board) {
    take(0, kPage); // interrupt vectors and BIOS data
}

bool RamPlan::is_ram(u64 base, u64 bytes) const {
    return std::any_of(board_.memory.begin(), board_.memory.end(), [&](const MemoryRange& range) {
        return range.type == kRam && base >= range.base && base - range.base <= range.bytes &&
               bytes <= range.bytes - (base - range.base);
    });
}

void RamPlan::take(u64 base, u64 bytes) {
    if (bytes) taken_.push_back({base, base + bytes});
}

std::vector<RamPlan::Range> RamPlan::free_ranges() const {
    std::vector<Range> taken = taken_, result;
    std::sort(taken.begin(), taken.end(), [](const Range& a, const Range& b) { return a.base < b.base; });
    for (const MemoryRange& range : board_.memory) {
        if (range.type != kRam) continue;
        u64 at = range.base;
        const u64 end = range.base + range.bytes;
        for (const Range& t : taken) {
            if (t.base >= end) break;
            if (t.base > at) result.push_back({at, t.base});
            at = std::max(at, t.end);
        }
        if (at < end) result.push_back({at, end});
    }
    std::sort(result.begin(), result.end(), [](const Range& a, const Range& b) { return a.base < b.base; });
    return result;
}

std::optional<u32> RamPlan::highest(u64 bytes, u64 align, u64 from, u64 to) {
    std::optional<u32> best;
    for (const Range& range : free_ranges()) {
        const u64 base = std::max(range.base, from), end = std::min({range.end, to, u64{4 * GiB}});
        if (base >= end || bytes > end - base) continue;
        const u64 at = align_down(end - bytes, align);
        if (at >= base) best = u32(at);
    }
    if (best) take(*best, bytes);
    return best;
}

std::optional<u32> RamPlan::lowest(u64 bytes, u64 align, u64 from, u64 to) {
    for (const Range& range : free_ranges()) {
        const u64 base = align_up(std::max(range.base, from), align),
                  end = std::min({range.end, to, u64{4 * GiB}});
        if (base >= end || bytes > end - base) continue;
        take(base, bytes);
        return u32(base);
    }
    return std::nullopt;
}

} // namespace dragoman::runtime
