#include "hw/piix3_ide.h"

namespace dragoman::hw {

namespace {

constexpr u8 kIdetim = 0x40, kSidetim = 0x44;
// Class: mass storage, IDE, bus master capable, both channels in compatibility mode only.
constexpr PciIdentity kIdentity{.vendor = 0x8086, .device = 0x7010, .revision = 0, .class_code = 0x010180};

} // namespace

Piix3Ide::Piix3Ide(IrqLine& irq14, IrqLine& irq15, Log& log)
    : PciFunction("piix3-ide", kIdentity), channels_{IdeChannel("ide0", irq14, bus_of(0), log),
                                                     IdeChannel("ide1", irq15, bus_of(1), log)} {
    set_config(kPciStatus, 2, 0x0280); // medium DEVSEL timing, fast back-to-back
    // IDE Decode Enable is set at reset, where the data sheet clears it: firmware made for virtual machines
    // (OVMF) never sets it.
    set_config(kIdetim, 2, 0x8000, 0xffff);
    set_config(kIdetim + 2, 2, 0x8000, 0xffff);
    set_config(kSidetim, 1, 0, 0xff);
    set_bar(4, BarKind::Io, 16, &bus_master_ports_);
}

IdeChannel::Bus Piix3Ide::bus_of(unsigned channel) {
    return {.decodes = [this,
                        high = kIdetim + 1 +
                               2 * channel] { return (config_[high] & 0x80) && (config_[kPciCommand] & 1); },
            .memory = [this]() -> DmaBus* { return bus_master() ? &dma() : nullptr; }};
}

void Piix3Ide::map_ports(IoBus& ports) {
    ports.map(0x1f0, 8, channels_[0].command_ports());
    ports.map(0x3f6, 1, channels_[0].control_port());
    ports.map(0x170, 8, channels_[1].command_ports());
    ports.map(0x376, 1, channels_[1].control_port());
}

void Piix3Ide::reset() {
    PciFunction::reset();
    for (IdeChannel& channel : channels_)
        channel.reset();
}

void Piix3Ide::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    for (IdeChannel& channel : channels_)
        channel.visit(visitor);
}

u64 Piix3Ide::BusMaster::read(u64 offset, unsigned size) {
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i) {
        const unsigned at = static_cast<unsigned>(offset + i) & 15;
        value |= u64{ide_.channels_[at >> 3].read_bus_master(at & 7)} << (8 * i);
    }
    return value;
}

void Piix3Ide::BusMaster::write(u64 offset, unsigned size, u64 value) {
    for (unsigned i = 0; i < size; ++i) {
        const unsigned at = static_cast<unsigned>(offset + i) & 15;
        ide_.channels_[at >> 3].write_bus_master(at & 7, static_cast<u8>(value >> (8 * i)));
    }
}

} // namespace dragoman::hw
