#include "hw/core/pci_msi.h"

#include "base/bits.h"

#include <cstring>

namespace dragoman::hw {

void Msix::set_control(u16 control) {
    enabled_ = bit(control, 15);
    masked_ = bit(control, 14);
    send_pending();
}

void Msix::notify(unsigned vector) {
    if (vector >= vectors_ || !enabled_) return;
    const Entry& entry = state_.table[vector];
    if (masked_ || bit(entry.control, 0)) {
        state_.pending[vector / 64] |= u64{1} << vector % 64;
        return;
    }
    send_(entry.address, entry.data);
}

void Msix::send_pending() {
    if (!enabled_ || masked_) return;
    for (unsigned vector = 0; vector < vectors_; ++vector) {
        u64& word = state_.pending[vector / 64];
        const u64 mask = u64{1} << vector % 64;
        if (!(word & mask) || bit(state_.table[vector].control, 0)) continue;
        word &= ~mask;
        send_(state_.table[vector].address, state_.table[vector].data);
    }
}

void Msix::reset() {
    state_ = {};
    for (Entry& entry : state_.table)
        entry.control = 1;
    enabled_ = masked_ = false;
}

void Msix::visit(StateVisitor& visitor) {
    visitor.field("msix", state_);
}

u64 Msix::read(u64 offset, unsigned size) {
    u64 value = 0;
    const auto copy = [&](const void* from, u64 at, u64 bytes) {
        if (at + size <= bytes) std::memcpy(&value, static_cast<const u8*>(from) + at, size);
    };
    if (offset >= pending_offset)
        copy(state_.pending.data(), offset - pending_offset, sizeof state_.pending);
    else
        copy(state_.table.data(), offset, vectors_ * sizeof(Entry));
    return value;
}

void Msix::write(u64 offset, unsigned size, u64 value) {
    // Software must write whole dwords or quadwords (6.8.2); pending bits are read-only.
    if (size < 4 || offset % size || offset + size > vectors_ * sizeof(Entry)) return;
    std::memcpy(reinterpret_cast<u8*>(state_.table.data()) + offset, &value, size);
    Entry& entry = state_.table[offset / sizeof(Entry)];
    entry.address &= ~u64{3};
    entry.control &= 1;
    send_pending();
}

} // namespace dragoman::hw
