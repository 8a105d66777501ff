// Numbers for pairs of CS base and limit, small enough for the block key: both decide what a block may hold.
#pragma once

#include "base/types.h"

#include <unordered_map>

namespace dragoman::x86 {

class CodeSegments {
  public:
    static constexpr u32 none = 0xffffff; // the number of no block: whoever has it looks nothing up

    // 0 is left for base 0 and limit 4 GiB - 1, and for 64-bit mode. `none` when all numbers were given away:
    // then every block must be dropped and restart() called.
    u32 number(u32 base, u32 limit) {
        const u64 pair = u64{base} << 32 | limit;
        if (pair != last_pair_ || last_ == 0) {
            last_ = look_up(pair);
            last_pair_ = pair;
        }
        return last_;
    }
    bool exhausted() const { return next_ >= none; }
    void restart() { *this = {}; }

  private:
    // A guest may go through segments without end: the table is emptied when it is full, the numbers go on.
    static constexpr std::size_t most = 1 << 16;

    u32 look_up(u64 pair) {
        if (const auto it = numbers_.find(pair); it != numbers_.end()) return it->second;
        if (exhausted()) return none;
        if (numbers_.size() >= most) numbers_.clear();
        return numbers_[pair] = next_++;
    }

    std::unordered_map<u64, u32> numbers_;
    u64 last_pair_ = 0;
    u32 last_ = 0; // 0: none looked up yet
    u32 next_ = 1;
};

} // namespace dragoman::x86
