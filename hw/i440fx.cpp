#include "hw/i440fx.h"

#include "base/assert.h"
#include "base/bits.h"
#include "hw/core/map_priority.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

namespace {

constexpr u8 kDrb0 = 0x60; // DRAM row boundaries, units of 8 MiB
constexpr u8 kPam0 = 0x59;
constexpr u8 kSmram = 0x72; // 6 D_OPEN, 5 D_CLS, 4 D_LCK, 3 G_SMRAME, 2:0 C_BASE_SEG
constexpr u8 kDOpen = 0x40, kDLck = 0x10, kGSmrame = 0x08;
constexpr u64 kSmramBase = 0xa0000, kSmramBytes = 0x20000;

struct Row {
    u8 offset;
    u32 value, writable;
    u8 size;
};
// Registers that are kept without effect, with their power-on values (data sheet, table 3-1).
constexpr Row kRows[] = {
    {kPciCommand, 0x0006, 0x0100, 2}, // memory space and bus master are always on
    {kPciStatus, 0x0280, 0, 2},
    {0x50, 0x0000, 0xffff, 2}, // PMCCFG
    {0x52, 0x00, 0xff, 1},
    {0x53, 0x80, 0xff, 1}, // DETURBO
    {0x54, 0x00, 0xff, 2}, // DBC
    {0x55, 0x00, 0xff, 1}, // AXC
    {0x57, 0x01, 0xff, 1}, // DRAMC
    {0x58, 0x00, 0xff, 1}, // DRAMT
    {0x68, 0x00, 0xc0, 1}, // FDHC: the hole is not emulated
    {0x70, 0x00, 0xf8, 1}, // MTT
    {0x71, 0x10, 0xf8, 1}, // CLT
    {kSmram, 0x02, 0x78, 1},
    {0x90, 0x00, 0xff, 1}, // ERRCMD
    {0x93, 0x00, 0x0f, 1}, // TRC
};

} // namespace

u64 I440fx::Segment::read(u64 offset, unsigned size) {
    u64 value = size_mask(size);
    if (rom && offset + size <= bytes) std::memcpy(&value, rom + offset, size);
    return value;
}

void I440fx::Segment::write(u64 offset, unsigned size, u64 value) {
    if (access == kWriteRam && offset + size <= bytes) std::memcpy(ram + offset, &value, size);
}

I440fx::I440fx(MemoryMap& memory, PciBus& bus, std::span<u8> ram, std::span<u8> bios)
    : PciFunction("i440fx", {.vendor = 0x8086, .device = 0x1237, .revision = 2, .class_code = 0x060000}),
      map_(memory), bus_(bus), ram_(ram), bios_(bios) {
    DRAGOMAN_ASSERT(ram.size() >= MiB && bios.size() % 4096 == 0 && bios.size() <= 16 * MiB);
    for (const Row& row : kRows)
        set_config(row.offset, row.size, row.value, row.writable);
    for (unsigned i = 0; i < 7; i++)
        set_config(u8(kPam0 + i), 1, 0, i == 0 ? 0x30 : 0x33);
    for (unsigned i = 0; i < 8; i++)
        set_config(u8(kDrb0 + i), 1, u32(std::min<u64>(0xff, ram.size() / (8 * MiB))), 0xff);

    for (unsigned i = 0; i < segments_.size(); i++) {
        Segment& segment = segments_[i]; // 0 = 0xf0000 (PAM0), then 0xc0000 upwards in steps of 16 KiB
        segment.base = i == 0 ? 0xf0000 : 0xc0000 + (i - 1) * 0x4000;
        segment.bytes = i == 0 ? 0x10000 : 0x4000;
        segment.ram = ram.data() + segment.base;
        const u64 from_top = MiB - segment.base;
        if (from_top <= 0x20000 && from_top <= bios.size())
            segment.rom = bios.data() + (bios.size() - from_top);
    }
    if (!bios.empty())
        bios_handle_ = map_.map_memory(4 * GiB - bios.size(), bios.size(), bios.data(), true, kMapSegment);
    video_.handle = map_.map_io(kSmramBase, kSmramBytes, video_, kMapVideoHole);
    update_segments();
}

I440fx::~I440fx() {
    for (Segment& segment : segments_)
        unmap(segment.handle);
    unmap(video_.handle);
    unmap(smram_handle_);
    unmap(bios_handle_);
}

void I440fx::set_smiact(bool active) {
    smiact_ = active;
    update_smram();
}

void I440fx::reset() {
    PciFunction::reset();
    smiact_ = false;
    bus_.config_address = 0;
    update_segments();
    update_smram();
}

void I440fx::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    visitor.field("config_address", bus_.config_address);
    if (!visitor.loading()) return;
    update_segments();
    update_smram();
}

void I440fx::config_written(u8 offset, unsigned size) {
    if (offset <= kPam0 + 6 && offset + size > kPam0) update_segments();
    if (offset <= kSmram && offset + size > kSmram) update_smram();
}

void I440fx::update_segments() {
    for (unsigned i = 0; i < segments_.size(); i++) {
        Segment& segment = segments_[i];
        const u8 pam = i == 0 ? config_[kPam0] >> 4 : config_[kPam0 + (i + 1) / 2] >> (i % 2 ? 0 : 4);
        const Access access = Access(pam & 3);
        if (access == segment.access) continue;
        unmap(segment.handle);
        segment.access = access;
        u8* rom = const_cast<u8*>(segment.rom); // mapped read-only
        if (access & kReadRam)
            segment.handle =
                map_.map_memory(segment.base, segment.bytes, segment.ram, access == kReadRam, kMapSegment);
        else if (access == kRom && rom)
            segment.handle = map_.map_memory(segment.base, segment.bytes, rom, true, kMapSegment);
        else
            segment.handle = map_.map_io(segment.base, segment.bytes, segment, kMapSegment);
    }
}

void I440fx::update_smram() {
    // D_LCK closes SMRAM and, until reset, freezes itself, D_OPEN and G_SMRAME.
    const bool locked = config_[kSmram] & kDLck;
    if (locked) config_[kSmram] &= u8(~kDOpen);
    set_writable(kSmram, 1, locked ? 0x20 : 0x78);
    const bool open = (config_[kSmram] & kGSmrame) && (smiact_ || (config_[kSmram] & kDOpen));
    if (open && !smram_handle_)
        smram_handle_ =
            map_.map_memory(kSmramBase, kSmramBytes, ram_.data() + kSmramBase, false, kMapSegment);
    else if (!open)
        unmap(smram_handle_);
}

void I440fx::unmap(MemoryMap::Handle& handle) {
    if (handle) map_.unmap(handle);
    handle = 0;
}

} // namespace dragoman::hw
