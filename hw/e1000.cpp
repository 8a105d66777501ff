#include "hw/e1000.h"

#include "base/bits.h"
#include "hw/core/dword_registers.h"
#include "hw/e1000_registers.h"
#include "hw/net_frame.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace dragoman::hw {

using namespace e1000;

namespace {

constexpr PciIdentity kIdentity{
    .vendor = 0x8086, .device = 0x100e, .revision = 3, .class_code = 0x020000, .interrupt_pin = 1};
constexpr u64 kItrUnit = 256; // ns

// Registers of which only some bits can be written; a register that is not listed keeps all 32.
struct Mask {
    u32 offset, bits;
};
constexpr Mask kMasks[] = {
    {STATUS, 0},   {ITR, 0xffff}, {RDLEN, 0xfff80}, {TDLEN, 0xfff80}, {RDH, 0xffff}, {RDT, 0xffff},
    {TDH, 0xffff}, {TDT, 0xffff}, {RDBAL, ~15u},    {TDBAL, ~15u},    {VET, 0xffff}, {RXCSUM, 0x7ff},
};

u32 writable(u32 offset) {
    for (const Mask& mask : kMasks)
        if (mask.offset == offset) return mask.bits;
    return offset >= STATISTICS && offset < RXCSUM ? 0 : ~0u;
}

} // namespace

E1000::E1000(const MacAddress& mac, NetBackend* backend, Scheduler& scheduler, Log& log)
    : PciFunction("e1000", kIdentity), backend_(backend), scheduler_(scheduler), log_(log), mac_(mac),
      eeprom_(mac), phy_(backend && backend->link()), more_to_send_(scheduler, [this] { transmit(); }),
      quiet_over_(scheduler, [this] { update_interrupt(); }) {
    set_config(kPciStatus, 2, 0x0230 & ~0x10); // medium DEVSEL timing, 66 MHz capable
    set_bar(0, BarKind::Memory, memory_bytes, &memory_registers_);
    set_bar(1, BarKind::Io, port_count, &ports_);
    if (backend_) backend_->attach(*this);
    software_reset();
}

void E1000::reset() {
    PciFunction::reset();
    eeprom_.reset();
    phy_.reset();
    software_reset();
}

void E1000::software_reset() {
    state_ = {};
    packet_.clear();
    more_to_send_.cancel();
    quiet_over_.cancel();
    word(CTRL) = 0x00000a09; // full duplex, ..., speed 1000
    word(STATUS) = kStatusFullDuplex | kStatus1000 | (phy_.link() ? u32{kStatusLinkUp} : 0u);
    word(PBA) = 0x00100030;
    word(RXCSUM) = kRxcsumIp | kRxcsumTcp;
    word(VET) = 0x8100;
    // The address comes from the EEPROM (13.4.3, 13.5.2).
    u8 bytes[8] = {};
    std::copy(mac_.begin(), mac_.end(), bytes);
    std::memcpy(&word(RAL), bytes, 4);
    std::memcpy(&word(RAL + 4), bytes + 4, 4);
    word(RAL + 4) |= 1u << 31;
    update_interrupt();
}

void E1000::link_changed(bool up) {
    phy_.set_link(up);
    word(STATUS) = (word(STATUS) & ~u32{kStatusLinkUp}) | (up ? u32{kStatusLinkUp} : 0u);
    raise(kIntLink);
}

// --- interrupts, 13.4.17 to 13.4.21

void E1000::raise(u32 causes) {
    word(ICR) |= causes;
    update_interrupt();
}

void E1000::update_interrupt() {
    const bool wanted = word(ICR) & word(IMS);
    if (!wanted) state_.asserted = false;
    if (wanted == state_.asserted) {
        set_intx(wanted);
        return;
    }
    // ITR: the least time between two interrupts.
    const u64 now = scheduler_.now();
    if (word(ITR) && now < state_.quiet_until) {
        if (!quiet_over_.armed()) quiet_over_.arm(state_.quiet_until);
        return;
    }
    state_.quiet_until = now + word(ITR) * kItrUnit;
    state_.asserted = true;
    set_intx(true);
}

// --- registers

void E1000::count(u32 statistic, u64 by) {
    u32& value = word(statistic);
    value = u32(std::min<u64>(u64{value} + by, std::numeric_limits<u32>::max()));
}

void E1000::count64(u32 statistic, u64 by) {
    const u64 value = (u64{word(statistic + 4)} << 32 | word(statistic)) + by;
    word(statistic) = u32(value);
    word(statistic + 4) = u32(value >> 32);
}

u32 E1000::read_register(u32 offset) {
    switch (offset) {
    case EECD: return eeprom_.read_eecd();
    case EERD: return eeprom_.read_eerd();
    case ICS:
    case IMC: return 0; // write-only
    case ICR: {         // reading acknowledges everything
        const u32 causes = word(ICR);
        word(ICR) = 0;
        update_interrupt();
        return causes;
    }
    default: break;
    }
    const u32 value = word(offset);
    if (offset >= STATISTICS && offset < RXCSUM) {
        word(offset) = 0;
        // The lower half of a pair waits for the upper one.
        if (offset == GORCL || offset == GOTCL || offset == TORL || offset == TOTL) word(offset) = value;
        if (offset == GORCH || offset == GOTCH || offset == TORH || offset == TOTH) word(offset - 4) = 0;
    }
    return value;
}

void E1000::write_control(u32 value) {
    if (value & kCtrlPhyReset) phy_.reset();
    if (value & kCtrlReset) {
        software_reset();
        return;
    }
    const bool up = value & ~word(CTRL) & kCtrlSetLinkUp;
    word(CTRL) = value & ~(kCtrlReset | kCtrlPhyReset);
    if (up && phy_.link()) raise(kIntLink); // autonegotiation is over at once
}

void E1000::write_register(u32 offset, u32 value) {
    switch (offset) {
    case CTRL: write_control(value); return;
    case EECD: eeprom_.write_eecd(value); return;
    case EERD: eeprom_.write_eerd(value); return;
    case MDIC:
        word(MDIC) = phy_.access(value);
        if (bit(value, 29)) raise(kIntMdio);
        return;
    case ICR:
        word(ICR) &= ~value;
        update_interrupt();
        return;
    case ICS: raise(value & 0x1ffff); return;
    case IMS:
        word(IMS) |= value & 0x1ffff;
        update_interrupt();
        return;
    case IMC:
        word(IMS) &= ~value;
        update_interrupt();
        return;
    default: break;
    }
    const u32 mask = writable(offset);
    word(offset) = (word(offset) & ~mask) | (value & mask);
    switch (offset) {
    case TDT:
    case TCTL: transmit(); break;
    case RDT:
    case RCTL:
        if (backend_) backend_->room();
        break;
    default: break;
    }
}

u64 E1000::Memory::read(u64 offset, unsigned size) {
    return read_dwords(offset, size, [this](u32 at) { return at < END ? owner_.read_register(at) : 0; });
}

void E1000::Memory::write(u64 offset, unsigned size, u64 value) {
    if (size < 4 || offset % 4) return; // registers are dwords (13.2)
    for (unsigned i = 0; i < size; i += 4)
        if (offset + i < END) owner_.write_register(u32(offset + i), u32(value >> (8 * i)));
}

u64 E1000::Ports::read(u64 offset, unsigned size) {
    if (size != 4) return size_mask(size);
    if (offset == 0) return owner_.state_.io_address;
    if (offset == 4 && owner_.state_.io_address < END)
        return owner_.read_register(owner_.state_.io_address & ~3u);
    return 0;
}

void E1000::Ports::write(u64 offset, unsigned size, u64 value) {
    if (size != 4) return;
    if (offset == 0)
        owner_.state_.io_address = u32(value);
    else if (offset == 4 && owner_.state_.io_address < END)
        owner_.write_register(owner_.state_.io_address & ~3u, u32(value));
}

void E1000::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    eeprom_.visit(visitor);
    phy_.visit(visitor);
    visitor.field("words", state_.words);
    visitor.field("io_address", state_.io_address);
    visitor.field("context", state_.context);
    visitor.field("popts", state_.popts);
    visitor.field("segmented", state_.segmented);
    visitor.field("vlan", state_.vlan);
    visitor.field("extended", state_.extended);
    visitor.field("started", state_.started);
    visitor.field("tag", state_.tag);
    visitor.field("legacy_css", state_.legacy_css);
    visitor.field("legacy_cso", state_.legacy_cso);
    visitor.field("legacy_checksum", state_.legacy_checksum);
    visitor.field("asserted", state_.asserted);
    visitor.field("quiet_until", state_.quiet_until);
    visit_packet(visitor, packet_); // append() keeps no more
    if (!visitor.loading()) return;
    for (const Mask& mask : kMasks)
        if (mask.offset != STATUS) word(mask.offset) &= mask.bits;
    more_to_send_.cancel();
    if (word(TDH) != word(TDT)) more_to_send_.arm(scheduler_.now());
    quiet_over_.cancel();
    update_interrupt();
}

} // namespace dragoman::hw
