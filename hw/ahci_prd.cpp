#include "hw/ahci_prd.h"

#include <algorithm>

namespace dragoman::hw {

PrdCursor::Outcome PrdCursor::move(DmaBus& memory, u8* data, u32 bytes, bool to_memory) {
    while (bytes != 0) {
        if (left_ == 0) {
            struct {
                u64 address;
                u32 reserved, count;
            } entry{};
            static_assert(sizeof entry == 16);
            if (entries_ == 0) return Outcome::TooShort;
            if (!memory.read(table_, &entry, sizeof entry)) return Outcome::BadMemory;
            table_ += sizeof entry;
            --entries_;
            address_ = entry.address & ~u64{1};
            left_ = ((entry.count & 0x3fffff) | 1) + 1; // bit 0 counts as one: an even number of bytes
        }
        const u32 now = std::min(bytes, left_);
        const bool ok = to_memory ? memory.write(address_, data, now) : memory.read(address_, data, now);
        if (!ok) return Outcome::BadMemory;
        address_ += now;
        left_ -= now;
        moved_ += now;
        data += now;
        bytes -= now;
    }
    return Outcome::Done;
}

} // namespace dragoman::hw
