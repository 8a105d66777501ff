// A character device that keeps what was written last, until somebody asks for it.
#pragma once

#include "runtime/chardev.h"

#include <algorithm>
#include <string>

namespace dragoman::runtime {

class RingBuffer final : public Chardev {
  public:
    explicit RingBuffer(std::size_t bytes) : capacity_(bytes) {}

    void write(std::span<const u8> bytes) override { // the oldest bytes make room
        kept_.insert(kept_.end(), bytes.begin(), bytes.end());
        if (kept_.size() > capacity_) kept_.erase(kept_.begin(), kept_.end() - std::ptrdiff_t(capacity_));
    }
    // The oldest bytes, up to `count`; they are gone then.
    std::string take(std::size_t count) {
        const auto end = kept_.begin() + std::ptrdiff_t(std::min(count, kept_.size()));
        const std::string text(kept_.begin(), end);
        kept_.erase(kept_.begin(), end);
        return text;
    }
    void type(std::string_view text) { // as if it had come in
        if (!full()) input(reinterpret_cast<const u8*>(text.data()), std::min(text.size(), kMaxPending));
    }

  private:
    std::size_t capacity_;
    std::deque<u8> kept_;
};

} // namespace dragoman::runtime
