// Which RAM is still free while a kernel and what belongs to it are being placed.
#pragma once

#include "runtime/loader.h"

#include <optional>

namespace dragoman::runtime {

class RamPlan {
  public:
    explicit RamPlan(const BoardFacts& board); // borrowed

    // Is all of [base, base + bytes) RAM (free or not)?
    bool is_ram(u64 base, u64 bytes) const;
    void take(u64 base, u64 bytes); // no longer free; may overlap what was taken before

    // Takes the highest or lowest free place within [from, to), aligned. Nothing: no room.
    std::optional<u32> highest(u64 bytes, u64 align, u64 from, u64 to);
    std::optional<u32> lowest(u64 bytes, u64 align, u64 from, u64 to);

  private:
    struct Range {
        u64 base, end;
    };
    std::vector<Range> free_ranges() const;
    const BoardFacts& board_;
    std::vector<Range> taken_;
};

} // namespace dragoman::runtime
