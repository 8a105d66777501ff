// Where random numbers for the guest come from.
#pragma once

#include "base/types.h"

#include <functional>
#include <span>

namespace dragoman::hw {

class EntropySource {
  public:
    virtual ~EntropySource() = default;
    // Fills the front of `to`; returns how many bytes there are now. Must not block.
    virtual std::size_t take(std::span<u8> to) = 0;
    // `ready` is called, between guest instructions, when there is something again after take() gave nothing.
    void on_ready(std::function<void()> ready) { ready_ = std::move(ready); }

  protected:
    std::function<void()> ready_;
};

} // namespace dragoman::hw
