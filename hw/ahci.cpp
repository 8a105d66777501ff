#include "hw/ahci.h"

#include "base/bits.h"
#include "hw/core/dword_registers.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x8086,
                                .device = 0x2922,
                                .revision = 2,
                                .class_code = 0x010601, // mass storage, SATA, AHCI 1.0
                                .interrupt_pin = 1};
constexpr unsigned kBar = 5;
constexpr u8 kMsiAt = 0x80, kSataCapability = 0xa8; // where the ICH9 has them (15.1)
constexpr u32 kPortsAt = 0x100;

enum Register : u32 {
    kCapabilities = 0x00,
    kControl = 0x04,
    kInterrupts = 0x08,
    kImplemented = 0x0c,
    kVersion = 0x10
};
// GHC (3.1.2).
constexpr u32 kReset = 1u << 0, kInterruptEnable = 1u << 1, kAhciEnable = 1u << 31;
// CAP (3.1.1): 64-bit addresses, queuing, command list override, generation 2, AHCI only, PIO blocks, 32
// slots.
constexpr u32 kCap =
    1u << 31 | 1u << 30 | 1u << 24 | 2u << 20 | 1u << 18 | 1u << 15 | 31u << 8 | (Ahci::ports - 1);

} // namespace

Ahci::Ahci(Scheduler& scheduler, Log& log) : PciFunction("ahci", kIdentity) {
    set_bar(kBar, BarKind::Memory, 4096, this);
    set_msi(kMsiAt);
    add_capability(0x12, 8, kSataCapability);
    set_config(kSataCapability + 2, 2, 0x0010); // revision 1.0, no index and data ports
    for (unsigned n = 0; n < ports; ++n)
        ports_.push_back(std::make_unique<AhciPort>(
            scheduler,
            AhciPort::Adapter{.memory = [this]() -> DmaBus* { return bus_master() ? &dma() : nullptr; },
                              .changed = [this] { update(false); }},
            log));
    state_.control = kAhciEnable;
}

u64 Ahci::read(u64 offset, unsigned size) {
    return read_dwords(offset, size, [this](u32 at) { return read_register(at); });
}

void Ahci::write(u64 offset, unsigned size, u64 value) {
    for (unsigned i = 0; i < size; i += 4) {
        const u32 at = u32(offset) + i, shift = 8 * (at & 3);
        const u32 mask = u32(size_mask(std::min(size, 4u))) << shift;
        write_register(at & ~3u, u32(value >> (8 * i)) << shift, mask);
    }
}

u32 Ahci::read_register(u32 offset) const {
    if (offset >= kPortsAt) {
        const u32 port = (offset - kPortsAt) / AhciPort::register_bytes;
        return port < ports ? ports_[port]->read((offset - kPortsAt) % AhciPort::register_bytes) : 0;
    }
    switch (offset) {
    case kCapabilities: return kCap;
    case kControl: return state_.control;
    case kInterrupts: return state_.interrupts;
    case kImplemented: return (1u << ports) - 1;
    case kVersion: return 0x00010300;
    default: return 0;
    }
}

void Ahci::write_register(u32 offset, u32 value, u32 mask) {
    if (offset >= kPortsAt) {
        const u32 port = (offset - kPortsAt) / AhciPort::register_bytes;
        if (port < ports) ports_[port]->write((offset - kPortsAt) % AhciPort::register_bytes, value, mask);
        return;
    }
    switch (offset) {
    case kControl:
        if (value & mask & kReset) return reset_ports(&AhciPort::hba_reset);
        state_.control = (state_.control & ~(mask & kInterruptEnable)) | (value & mask & kInterruptEnable);
        return update(false);
    case kInterrupts: state_.interrupts &= ~(value & mask); return update(true);
    default: return;
    }
}

// 10.7.2: IS holds the ports that interrupted. A message is sent when it becomes non-zero, and when software
// has acknowledged some but not all.
void Ahci::update(bool acknowledged) {
    for (unsigned n = 0; n < ports_.size(); ++n)
        if (ports_[n]->interrupting()) state_.interrupts |= 1u << n;
    const bool level = (state_.control & kInterruptEnable) && state_.interrupts;
    const bool rise = level && (!state_.level || acknowledged);
    state_.level = level;
    set_intx(level && !msi_enabled());
    if (rise) send_msi();
}

void Ahci::reset_ports(void (AhciPort::*how)()) {
    state_ = {};
    state_.control = kAhciEnable;
    for (const auto& port : ports_)
        (*port.*how)();
    update(false);
}

void Ahci::reset() {
    PciFunction::reset();
    reset_ports(&AhciPort::power_on);
}

void Ahci::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    visitor.field("ahci", state_);
    for (unsigned n = 0; n < ports_.size(); ++n)
        ports_[n]->visit("port" + std::to_string(n) + ".", visitor);
    if (!visitor.loading()) return;
    state_.control = (state_.control & kInterruptEnable) | kAhciEnable;
    state_.interrupts &= (1u << ports) - 1;
    update(false);
}

} // namespace dragoman::hw
