// The Bochs VBE extensions ("dispi"): modes of any size and depth, linear or through a 64 KiB bank.
#include "hw/vga.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

namespace {

enum DispiIndex : u16 {
    kId,
    kXres,
    kYres,
    kBpp,
    kEnable,
    kBank,
    kVirtualWidth,
    kVirtualHeight,
    kXOffset,
    kYOffset,
    kMemory64k
};

constexpr u16 kEnabled = 0x01, kGetCaps = 0x02, kNoClear = 0x80, kEnableBits = 0xe3;
constexpr u16 kMaxXres = 2560, kMaxYres = 1600, kMaxBpp = 32;

bool known_depth(u16 bpp) {
    return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

u32 line_bytes(u32 width, u16 bpp) {
    return bpp == 4 ? width / 2 : width * ((bpp + 7u) / 8);
}

} // namespace

u32 Vga::dispi_line_bytes() const {
    return line_bytes(dispi_.virtual_width, dispi_.bpp);
}

u16 Vga::read_dispi(u16 index) const {
    const bool caps = dispi_.enable & kGetCaps;
    switch (index) {
    case kId: return dispi_.id;
    case kXres: return caps ? kMaxXres : dispi_.xres;
    case kYres: return caps ? kMaxYres : dispi_.yres;
    case kBpp: return caps ? kMaxBpp : dispi_.bpp;
    case kEnable: return dispi_.enable;
    case kBank: return dispi_.bank;
    case kVirtualWidth: return dispi_.virtual_width;
    case kVirtualHeight:
        return static_cast<u16>(std::min<u32>(vram_bytes / std::max(dispi_line_bytes(), 1u), 0xffff));
    case kXOffset: return dispi_.x_offset;
    case kYOffset: return dispi_.y_offset;
    case kMemory64k: return vram_bytes / 0x10000;
    default: return 0;
    }
}

void Vga::write_dispi(u16 index, u16 value) {
    changed_ = true;
    switch (index) {
    case kId:
        if (value >= 0xb0c0 && value <= 0xb0c5) dispi_.id = value;
        break;
    // The mode itself changes only while it is off.
    case kXres:
        if (!(dispi_.enable & kEnabled) && value != 0 && value <= kMaxXres && value % 8 == 0)
            dispi_.xres = value;
        break;
    case kYres:
        if (!(dispi_.enable & kEnabled) && value != 0 && value <= kMaxYres) dispi_.yres = value;
        break;
    case kBpp:
        if (value == 0) value = 8;
        if (!(dispi_.enable & kEnabled) && known_depth(value)) dispi_.bpp = value;
        break;
    case kEnable: enable_dispi(value); break;
    case kBank:
        if (value < vram_bytes / 0x10000) dispi_.bank = value;
        break;
    case kVirtualWidth:
        if (value >= dispi_.xres && value % 8 == 0 &&
            u64{line_bytes(value, dispi_.bpp)} * dispi_.yres <= vram_bytes)
            dispi_.virtual_width = value;
        break;
    case kVirtualHeight: break; // follows from the width
    case kXOffset: dispi_.x_offset = value; break;
    case kYOffset: dispi_.y_offset = value; break;
    default:
        log_.print(LogItem::GuestError, "vga: write of %04x to dispi register %x\n", value, index);
        break;
    }
}

void Vga::enable_dispi(u16 value) {
    const bool was = dispi_.enable & kEnabled, now = value & kEnabled;
    if (now && !was) {
        if (u64{line_bytes(dispi_.xres, dispi_.bpp)} * dispi_.yres > vram_bytes) {
            log_.print(LogItem::GuestError, "vga: %ux%ux%u does not fit into memory\n", dispi_.xres,
                       dispi_.yres, dispi_.bpp);
            return;
        }
        dispi_.virtual_width = dispi_.xres;
        dispi_.x_offset = dispi_.y_offset = dispi_.bank = 0;
        if (!(value & kNoClear)) std::memset(vram_, 0, u64{dispi_line_bytes()} * dispi_.yres);
    }
    if (!now) dispi_.bank = 0;
    dispi_.enable = value & kEnableBits;
}

bool Vga::dispi_valid() const {
    return known_depth(dispi_.bpp) && dispi_.xres != 0 && dispi_.xres <= kMaxXres && dispi_.yres != 0 &&
           dispi_.yres <= kMaxYres && dispi_.bank < vram_bytes / 0x10000 && dispi_.virtual_width != 0;
}

// --- ports and the MMIO BAR

u64 Vga::DispiPorts::read(u64 offset, unsigned size) {
    const u16 value = offset == 0 ? vga_.dispi_.index : vga_.read_dispi(vga_.dispi_.index);
    return size == 1 ? value & 0xff : value;
}

void Vga::DispiPorts::write(u64 offset, unsigned, u64 value) {
    if (offset == 0)
        vga_.dispi_.index = static_cast<u16>(value);
    else
        vga_.write_dispi(vga_.dispi_.index, static_cast<u16>(value));
}

namespace {

// BAR 2: the ports 0x3c0-0x3df, and the dispi registers as an array of 16-bit words.
constexpr u32 kMmioPorts = 0x400, kMmioPortCount = 0x20, kMmioDispi = 0x500, kMmioDispiBytes = 0x16;

} // namespace

u8 Vga::Mmio::read_byte(u32 offset) {
    if (offset - kMmioPorts < kMmioPortCount)
        return vga_.read_port(static_cast<u16>(0x3c0 + offset - kMmioPorts));
    if (offset - kMmioDispi < kMmioDispiBytes) {
        const u32 at = offset - kMmioDispi;
        return static_cast<u8>(vga_.read_dispi(static_cast<u16>(at / 2)) >> (at % 2 * 8));
    }
    return 0; // no EDID, no further extensions
}

u64 Vga::Mmio::read(u64 offset, unsigned size) {
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= u64{read_byte(static_cast<u32>(offset) + i)} << (8 * i);
    return value;
}

void Vga::Mmio::write(u64 offset, unsigned size, u64 value) {
    for (unsigned i = 0; i < size;) {
        const u32 at = static_cast<u32>(offset) + i;
        const u64 rest = value >> (8 * i);
        if (at - kMmioDispi < kMmioDispiBytes) { // whole words only: half a register means nothing
            if (at % 2 == 0 && size - i >= 2)
                vga_.write_dispi(static_cast<u16>((at - kMmioDispi) / 2), static_cast<u16>(rest));
            i += 2;
            continue;
        }
        if (at - kMmioPorts < kMmioPortCount)
            vga_.write_port(static_cast<u16>(0x3c0 + at - kMmioPorts), static_cast<u8>(rest));
        ++i;
    }
}

} // namespace dragoman::hw
