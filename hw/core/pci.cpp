#include "hw/core/pci.h"

#include "base/assert.h"
#include "base/bits.h"
#include "hw/core/map_priority.h"
#include "hw/core/pci_rom.h"

#include <algorithm>
#include <utility>

namespace dragoman::hw {

namespace {

constexpr unsigned kRomIndex = 6;
constexpr u64 kAddressLimit =
    u64{1} << 52; // what page tables can name; a 64-bit BAR beyond it decodes nothing

constexpr u8 bar_offset(unsigned index) {
    return index == kRomIndex ? u8{kPciRomBar} : u8(kPciBar0 + 4 * index);
}

u64 load(const std::array<u8, 256>& bytes, unsigned offset, unsigned size) {
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= u64{bytes[(offset + i) & 0xff]} << (8 * i);
    return value;
}

void store(std::array<u8, 256>& bytes, unsigned offset, unsigned size, u64 value) {
    for (unsigned i = 0; i < size; i++)
        bytes[(offset + i) & 0xff] = u8(value >> (8 * i));
}

} // namespace

PciFunction::PciFunction(std::string name, const PciIdentity& identity)
    : name_(std::move(name)), identity_(identity) {
    set_config(kPciVendorId, 2, identity.vendor);
    set_config(kPciDeviceId, 2, identity.device);
    set_config(kPciCommand, 2, 0, 0x0547); // I/O, memory, master, parity, SERR#, INTx disable
    set_config(kPciRevision, 1, identity.revision);
    set_config(kPciClass, 2, identity.class_code & 0xffff);
    set_config(kPciClass + 2, 1, identity.class_code >> 16);
    set_config(0x0c, 1, 0, 0xff); // cache line size: kept, without effect
    set_config(0x0d, 1, 0, 0xf8); // latency timer: likewise
    set_config(kPciSubsystemVendor, 2, identity.subsystem_vendor);
    set_config(kPciSubsystem, 2, identity.subsystem);
    set_config(kPciInterruptPin, 1, identity.interrupt_pin);
    if (identity.interrupt_pin) set_config(kPciInterruptLine, 1, 0, 0xff);
}

u32 PciFunction::config_read(u8 offset, unsigned size) const {
    return u32(load(config_, offset, size));
}

void PciFunction::config_write(u8 offset, unsigned size, u32 value) {
    for (unsigned i = 0; i < size; i++) {
        const u8 at = u8(offset + i), in = u8(value >> (8 * i));
        // Status[15:11,8] are cleared by writing ones (PCI 3.0, 6.2.3).
        if (at == kPciStatus + 1) config_[at] = u8(config_[at] & ~(in & 0xf9));
        config_[at] = u8((config_[at] & ~writable_[at]) | (in & writable_[at]));
    }
    const unsigned end = offset + size;
    const bool command = offset < kPciCommand + 2 && end > kPciCommand;
    const bool bars = offset < kPciBar0 + 24 && end > kPciBar0;
    const bool rom = offset < kPciRomBar + 4 && end > kPciRomBar;
    if (command || bars || rom) update_bars();
    if (command) set_intx(intx_level_);
    if (msix_ && offset < msix_at_ + 4 && end > msix_at_) update_msix();
    if (end > 0x40) config_written(offset, size);
}

void PciFunction::reset() {
    config_ = initial_;
    if (msix_) msix_->reset();
    set_intx(false);
    update_bars();
}

void PciFunction::visit(StateVisitor& visitor) {
    visitor.field("pci.config", config_);
    visitor.field("pci.intx", intx_level_);
    if (msix_) msix_->visit(visitor);
    if (!visitor.loading()) return;
    if (msix_) update_msix();
    for (unsigned i = 0; i < config_.size();
         i++) { // the identity belongs to the chip and not to the snapshot
        if (i < kPciCommand || (i >= kPciRevision && i < 0x0c)) config_[i] = initial_[i];
    }
    update_bars();
}

void PciFunction::connect(IoBus& ports, MemoryMap& memory, DmaBus& dma, IrqLine* intx) {
    DRAGOMAN_ASSERT(!ports_);
    ports_ = &ports;
    memory_ = &memory;
    dma_ = &dma;
    intx_ = intx;
    update_bars();
}

void PciFunction::disconnect() {
    PciFunction::reset();
    ports_ = nullptr;
    intx_ = nullptr;
}

void PciFunction::set_bar(unsigned index, BarKind kind, u64 bytes, IoHandler* handler, u8* ram) {
    DRAGOMAN_ASSERT(index < kRomIndex && std::has_single_bit(bytes));
    DRAGOMAN_ASSERT(kind == BarKind::Io ? bytes >= 4 && bytes <= 0x8000 : bytes >= 4096);
    DRAGOMAN_ASSERT(kind == BarKind::Memory64 ? index < 5 : bytes <= 2 * GiB);
    DRAGOMAN_ASSERT(kind == BarKind::MemoryRam ? ram != nullptr : handler != nullptr);
    bars_[index] = {.kind = kind, .bytes = bytes, .handler = handler, .ram = ram};
    const u64 mask = ~(bytes - 1);
    u32 type = 0; // PCI 3.0, 6.2.5.1
    switch (kind) {
    case BarKind::Io: type = 1; break;
    case BarKind::Memory64: type = 4; break;
    case BarKind::MemoryRam: type = 8; break; // prefetchable
    default: break;
    }
    set_config(bar_offset(index), 4, type, u32(mask));
    if (kind == BarKind::Memory64) set_config(bar_offset(index + 1), 4, 0, u32(mask >> 32));
}

void PciFunction::set_rom(u8* image, u64 bytes) {
    DRAGOMAN_ASSERT(image && std::has_single_bit(bytes) && bytes >= 4096 && bytes <= 16 * MiB);
    bars_[kRomIndex] = {.kind = BarKind::MemoryRam, .bytes = bytes, .ram = image};
    set_config(kPciRomBar, 4, 0, u32(~(bytes - 1)) | 1);
}

void PciFunction::install_rom(std::vector<u8> image) {
    DRAGOMAN_ASSERT(!ports_);
    rom_ = std::move(image);
    adapt_rom(rom_, identity_.vendor, identity_.device);
    rom_.resize(std::bit_ceil(std::max<std::size_t>(rom_.size(), 4096)), 0xff);
    set_rom(rom_.data(), rom_.size());
}

u8 PciFunction::add_capability(u8 id, unsigned bytes, u8 at) {
    if (!at) at = free_;
    DRAGOMAN_ASSERT(at >= 0x40 && at % 4 == 0 && at + bytes <= config_.size());
    set_config(kPciStatus, 2, u32(load(config_, kPciStatus, 2)) | 0x10); // a list is there
    set_config(last_capability_ ? u8(last_capability_ + 1) : u8{kPciCapabilities}, 1, at);
    set_config(at, 1, id);
    set_config(u8(at + 1), 1, 0);
    last_capability_ = at;
    free_ = std::max(free_, u8(align_up(at + bytes, 4)));
    return at;
}

void PciFunction::set_msi(u8 at) {
    msi_ = add_capability(0x05, 14, at);         // 6.8.1
    set_config(u8(msi_ + 2), 2, 0x0080, 0x0001); // 64-bit address, one vector
    set_config(u8(msi_ + 4), 4, 0, 0xfffffffc);  // address
    set_config(u8(msi_ + 8), 4, 0, 0xffffffff);  // its upper half
    set_config(u8(msi_ + 12), 2, 0, 0xffff);     // data
}

void PciFunction::set_msix(unsigned bar, unsigned vectors, u8 at) {
    DRAGOMAN_ASSERT(vectors && vectors <= Msix::max_vectors);
    msix_ = std::make_unique<Msix>(vectors, [this](u64 address, u32 data) { send_message(address, data); });
    msix_at_ = add_capability(0x11, 12, at); // 6.8.2
    set_config(u8(msix_at_ + 2), 2, vectors - 1, 0xc000);
    set_config(u8(msix_at_ + 4), 4, bar);
    set_config(u8(msix_at_ + 8), 4, Msix::pending_offset | bar);
    set_bar(bar, BarKind::Memory, Msix::bar_bytes, msix_.get());
}

void PciFunction::update_msix() {
    msix_->set_control(u16(load(config_, msix_at_ + 2, 2)));
}

void PciFunction::send_msi() {
    if (msi_enabled()) send_message(load(config_, msi_ + 4, 8), u32(load(config_, msi_ + 12, 2)));
}

void PciFunction::send_message(u64 address, u32 data) {
    if (bus_master()) dma_->put(address, data); // a message is a write like any other
}

void PciFunction::set_config(u8 offset, unsigned size, u32 value, u32 writable_mask) {
    store(config_, offset, size, value);
    store(initial_, offset, size, value);
    set_writable(offset, size, writable_mask);
}

void PciFunction::set_writable(u8 offset, unsigned size, u32 mask) {
    store(writable_, offset, size, mask);
}

void PciFunction::set_intx(bool level) {
    intx_level_ = level;
    config_[kPciStatus] = with_bit(config_[kPciStatus], 3, level);
    if (intx_) intx_->set(level && !bit(config_[kPciCommand + 1], 2));
}

void PciFunction::update_bars() {
    if (!ports_) return;
    struct Decode {
        bool on = false;
        u64 base = 0;
    };
    std::array<Decode, 7> wanted{};
    for (unsigned i = 0; i < bars_.size(); i++) {
        const Bar& bar = bars_[i];
        if (bar.kind == BarKind::None) continue;
        const bool io = bar.kind == BarKind::Io, wide = bar.kind == BarKind::Memory64;
        const u64 raw = load(config_, bar_offset(i), wide ? 8 : 4);
        const u64 base = raw & ~(bar.bytes - 1);
        // A BAR that is being sized (all ones) or that was never set decodes nothing, even with decoding on:
        // else it would cover the firmware or the first page.
        const u64 limit = io ? 0x10000 : wide ? kAddressLimit : 4 * GiB - 1;
        bool on =
            bit(config_[kPciCommand], io ? 0 : 1) && base != 0 && base < limit && bar.bytes <= limit - base;
        if (i == kRomIndex) on = on && (raw & 1);
        wanted[i] = {on, base};
    }
    // First give up, then claim, so that two BARs can change places.
    for (unsigned i = 0; i < bars_.size(); i++) {
        Bar& bar = bars_[i];
        if (!bar.mapped || (wanted[i].on && wanted[i].base == bar.mapped_at)) continue;
        if (bar.kind == BarKind::Io)
            ports_->unmap(u16(bar.mapped_at), *bar.handler);
        else
            memory_->unmap(bar.handle);
        bar.mapped = false;
        bar.handle = 0;
    }
    for (unsigned i = 0; i < bars_.size(); i++) {
        Bar& bar = bars_[i];
        if (bar.mapped || !wanted[i].on) continue;
        const u64 base = wanted[i].base;
        if (bar.kind == BarKind::Io)
            ports_->map(u16(base), u32(bar.bytes), *bar.handler, {}, true);
        else if (bar.kind == BarKind::MemoryRam)
            bar.handle = memory_->map_memory(base, bar.bytes, bar.ram, i == kRomIndex, kMapPciBar);
        else
            bar.handle = memory_->map_io(base, bar.bytes, *bar.handler, kMapPciBar);
        bar.mapped = true;
        bar.mapped_at = base;
    }
}

void PciBus::attach(unsigned slot, unsigned function, PciFunction& pci) {
    DRAGOMAN_ASSERT(slot < 32 && function < 8 && !at(slot, function));
    functions_[slot * 8 + function] = &pci;
}

u64 PciBus::read(u64 offset, unsigned size) {
    if (offset == 0 && size == 4) return config_address;
    if (offset == 1 && size == 1) return reset_control_ ? reset_control_->read(0, 1) : 0xff;
    // CONFIG_ADDRESS: enable 31, bus 23:16, device 15:11, function 10:8, register 7:2
    if (offset < 4 || offset + size > 8 || !bit(config_address, 31) || bits(config_address, 23, 16) != 0)
        return size_mask(size);
    PciFunction* pci = functions_[bits(config_address, 15, 8)];
    if (!pci) return size_mask(size);
    const u8 at = u8((config_address & 0xfc) + (offset - 4));
    pci->config_reading(at, size);
    return pci->config_read(at, size);
}

void PciBus::write(u64 offset, unsigned size, u64 value) {
    if (offset == 0 && size == 4) {
        config_address = u32(value) & 0x80fffffc;
    } else if (offset == 1 && size == 1) {
        if (reset_control_) reset_control_->write(0, 1, value);
    } else if (offset >= 4 && offset + size <= 8 && bit(config_address, 31) &&
               bits(config_address, 23, 16) == 0) {
        PciFunction* pci = functions_[bits(config_address, 15, 8)];
        if (pci) pci->config_write(u8((config_address & 0xfc) + (offset - 4)), size, u32(value));
    }
}

} // namespace dragoman::hw
