#include "hw/pci_hotplug.h"

#include "base/bits.h"

#include <bit>
#include <utility>

namespace dragoman::hw {

namespace {

constexpr u32 kSlots = ~u32{0} << PciHotplug::first_slot;
enum : u64 { kInserted = 0, kAsked = 4, kEject = 8, kRemovable = 12 };

} // namespace

void PciHotplug::inserted(unsigned slot) {
    s_.inserted |= 1u << slot;
    pins_.notify();
}

void PciHotplug::ask_removal(unsigned slot) {
    s_.asked |= 1u << slot;
    pins_.notify();
}

void PciHotplug::eject_pending() {
    eject(s_.asked);
}

void PciHotplug::eject(u32 slots) {
    s_.asked &= ~slots;
    s_.inserted &= ~slots;
    for (slots &= kSlots; slots; slots &= slots - 1)
        pins_.eject(unsigned(std::countr_zero(slots)));
}

u64 PciHotplug::read(u64 offset, unsigned) {
    switch (offset) {
    case kInserted: return std::exchange(s_.inserted, 0);
    case kAsked: return s_.asked;
    case kRemovable: return kSlots;
    default: return 0;
    }
}

void PciHotplug::write(u64 offset, unsigned, u64 value) {
    if (offset == kEject) eject(u32(value));
}

} // namespace dragoman::hw
