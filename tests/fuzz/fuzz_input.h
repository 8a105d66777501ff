// The bytes that a fuzzer gives, taken from the front; where they end, zeros follow.
#pragma once

#include "base/types.h"

#include <cstring>
#include <span>

namespace dragoman::test {

class FuzzInput {
  public:
    explicit FuzzInput(std::span<const u8> bytes) : bytes_(bytes) {}

    template <class T> T take() {
        T value{};
        const std::size_t n = bytes_.size() < sizeof value ? bytes_.size() : sizeof value;
        if (n) std::memcpy(&value, bytes_.data(), n);
        bytes_ = bytes_.subspan(n);
        return value;
    }
    u8 byte() { return take<u8>(); }
    bool empty() const { return bytes_.empty(); }
    std::span<const u8> rest() const { return bytes_; }

  private:
    std::span<const u8> bytes_;
};

} // namespace dragoman::test
