// The scatter/gather list of an AHCI command (AHCI 1.3.1, 4.2.3.3), taken entry by entry from guest memory.
#pragma once

#include "base/io.h"

namespace dragoman::hw {

class PrdCursor {
  public:
    enum class Outcome : u8 {
        Done,
        TooShort,  // the list ended first
        BadMemory, // the list or what it names is not RAM
    };
    PrdCursor() = default;
    PrdCursor(u64 table, u32 entries) : table_(table), entries_(entries) {}

    // Moves `bytes` bytes between `data` and the places listed, from where the last call ended.
    Outcome move(DmaBus& memory, u8* data, u32 bytes, bool to_memory);
    u32 moved() const { return moved_; } // bytes in all

  private:
    u64 table_ = 0;
    u32 entries_ = 0;
    u64 address_ = 0; // of the present entry: what is left of it
    u32 left_ = 0;
    u32 moved_ = 0;
};

} // namespace dragoman::hw
