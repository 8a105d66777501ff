// The window at 0xa0000: address decoding, planes, latches and the four write modes.
#include "hw/vga.h"

#include <cstring>

namespace dragoman::hw {

namespace {

// A byte for every plane: 0xff where the bit of that plane is set.
constexpr u32 expand(u32 planes) {
    return (planes & 1 ? 0xffu : 0) | (planes & 2 ? 0xff00u : 0) | (planes & 4 ? 0xff0000u : 0) |
           (planes & 8 ? 0xff000000u : 0);
}

constexpr u32 in_all_planes(u8 value) {
    return value * 0x01010101u;
}

constexpr u32 kPlaneBytes = 64 * KiB;

} // namespace

u64 Vga::Window::read(u64 offset, unsigned size) {
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= u64{vga_.read_window(static_cast<u32>(offset) + i)} << (8 * i);
    return value;
}

void Vga::Window::write(u64 offset, unsigned size, u64 value) {
    for (unsigned i = 0; i < size; ++i)
        vga_.write_window(static_cast<u32>(offset) + i, static_cast<u8>(value >> (8 * i)));
}

// Makes `offset` from 0xa0000 one into the selected part of the window; false outside it (Miscellaneous,
// 3-2).
bool Vga::decode_window(u32& offset) const {
    struct Part {
        u32 from, bytes;
    };
    static constexpr Part parts[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    if (!(regs_.misc & 2) && !dispi_on()) return false;
    const Part& part = dispi_on() ? parts[1] : parts[regs_.graphics[6] >> 2 & 3];
    if (offset < part.from || offset - part.from >= part.bytes) return false;
    offset -= part.from;
    return true;
}

u32 Vga::word_at(u32 plane_offset) const {
    u32 word;
    std::memcpy(&word, vram_ + (u64{plane_offset} * 4 & (vram_bytes - 4)), 4);
    return word;
}

void Vga::put_word(u32 plane_offset, u32 value, u8 plane_mask) {
    u8* at = vram_ + (u64{plane_offset} * 4 & (vram_bytes - 4));
    const u32 mask = expand(plane_mask);
    u32 word;
    std::memcpy(&word, at, 4);
    word = (word & ~mask) | (value & mask);
    std::memcpy(at, &word, 4);
}

u8 Vga::read_window(u32 offset) {
    if (!decode_window(offset)) return 0xff;
    if (dispi_linear()) return vram_[(u32{dispi_.bank} * 0x10000 + offset) & (vram_bytes - 1)];
    const u8* g = regs_.graphics;
    u32 plane = g[4] & 3;
    if (regs_.sequencer[4] & 8) { // chain 4
        plane = offset & 3;
        offset >>= 2;
    } else if (g[5] & 0x10) { // odd/even
        plane = (plane & 2) | (offset & 1);
        offset &= ~1u;
    }
    offset = dispi_on() ? offset + dispi_.bank * kPlaneBytes : offset & (kPlaneBytes - 1);
    regs_.latch = word_at(offset);
    if (!(g[5] & 8)) return static_cast<u8>(regs_.latch >> (8 * plane));
    // Read mode 1: ones where all the planes that matter hold the colour to compare.
    const u32 differs = (regs_.latch ^ expand(g[2])) & expand(g[7]);
    return static_cast<u8>(~(differs | differs >> 8 | differs >> 16 | differs >> 24));
}

void Vga::write_window(u32 offset, u8 value) {
    if (!decode_window(offset)) return;
    changed_ = true;
    if (dispi_linear()) {
        vram_[(u32{dispi_.bank} * 0x10000 + offset) & (vram_bytes - 1)] = value;
        return;
    }
    const u8* g = regs_.graphics;
    u8 planes = regs_.sequencer[2];
    if (regs_.sequencer[4] & 8) { // chain 4
        planes &= static_cast<u8>(1u << (offset & 3));
        offset >>= 2;
    } else if (!(regs_.sequencer[4] & 4)) { // odd/even
        planes &= offset & 1 ? 0x0a : 0x05;
        offset &= ~1u;
    }
    offset = dispi_on() ? offset + dispi_.bank * kPlaneBytes : offset & (kPlaneBytes - 1);

    const unsigned rotation = g[3] & 7;
    const u8 rotated = static_cast<u8>(value >> rotation | value << (8 - rotation));
    u32 mask = in_all_planes(g[8]);
    u32 data = 0;
    switch (g[5] & 3) {
    case 0: {
        const u32 set_reset = expand(g[1]);
        data = (in_all_planes(rotated) & ~set_reset) | (expand(g[0]) & set_reset);
        break;
    }
    case 1: // what the last read fetched
        put_word(offset, regs_.latch, planes);
        return;
    case 2: data = expand(value & 0xf); break;
    case 3:
        data = expand(g[0]);
        mask &= in_all_planes(rotated);
        break;
    }
    switch (g[3] >> 3 & 3) {
    case 0: break;
    case 1: data &= regs_.latch; break;
    case 2: data |= regs_.latch; break;
    case 3: data ^= regs_.latch; break;
    }
    put_word(offset, (data & mask) | (regs_.latch & ~mask), planes);
}

} // namespace dragoman::hw
