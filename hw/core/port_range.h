// A range of byte-wide ports that ends in two functions of its chip: for chips that answer in several places.
#pragma once

#include "base/io.h"
#include "hw/core/io_bus.h"

#include <functional>
#include <utility>

namespace dragoman::hw {

class PortRange final : public IoHandler {
  public:
    // `offset` counts from the start of the range. Claim it with `byte_wide`, so that every access is one
    // byte.
    using Read = std::function<u8(u32 offset)>;
    using Write = std::function<void(u32 offset, u8 value)>;
    static constexpr IoBus::Widths byte_wide{1, 1};

    PortRange(Read read, Write write) : read_(std::move(read)), write_(std::move(write)) {}
    u64 read(u64 offset, unsigned /*size*/) override { return read_(static_cast<u32>(offset)); }
    void write(u64 offset, unsigned /*size*/, u64 value) override {
        write_(static_cast<u32>(offset), static_cast<u8>(value));
    }

  private:
    Read read_;
    Write write_;
};

} // namespace dragoman::hw
