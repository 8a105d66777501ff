// The 80x25 colour text mode that the VGA BIOS would leave behind: mode 3 with 8x16 characters (IBM VGA
// technical reference, register values by mode).
#include "hw/vga.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

namespace {

constexpr u8 kMisc = 0x67; // 28 MHz clock, CRTC at 0x3d4
constexpr u8 kSequencer[] = {0x03, 0x00, 0x03, 0x00, 0x02};
constexpr u8 kCrtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
                        0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
constexpr u8 kGraphics[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
constexpr u8 kAttribute[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
                             0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};
constexpr u32 kGlyphs = 256, kGlyphBytes = 16, kGlyphStride = 32;

// The 8x16 font inside a VGA BIOS, by how its first glyphs must look: an empty one, then the white face (its
// frame) and the black one, its inverse. Null: none found.
const u8* find_font(const u8* rom, u64 bytes) {
    static constexpr u8 face_frame[] = {0x00, 0x00, 0x7e, 0x81};
    static constexpr u8 black_face_frame[] = {0x00, 0x00, 0x7e, 0xff};
    static constexpr u8 empty[kGlyphBytes] = {};
    constexpr u64 font_bytes = kGlyphs * kGlyphBytes;
    for (u64 at = 0; at + font_bytes <= bytes; ++at) {
        const u8* glyph = rom + at;
        if (std::memcmp(glyph + kGlyphBytes, face_frame, sizeof face_frame) == 0 &&
            std::memcmp(glyph + 2 * kGlyphBytes, black_face_frame, sizeof black_face_frame) == 0 &&
            std::memcmp(glyph, empty, sizeof empty) == 0 &&
            std::memcmp(glyph + ' ' * kGlyphBytes, empty, sizeof empty) == 0)
            return glyph;
    }
    return nullptr;
}

} // namespace

void Vga::set_text_mode() {
    const auto indexed = [this](u16 port, u8 index, u8 value) {
        write_port(port, index);
        write_port(u16(port + 1), value);
    };
    write_dispi(4, 0); // VBE_DISPI_INDEX_ENABLE: off
    write_port(0x3c2, kMisc);
    for (u8 i = 0; i < sizeof kSequencer; ++i)
        indexed(0x3c4, i, kSequencer[i]);
    indexed(0x3d4, 0x11, 0); // CRTC 0-7 are write-protected by its bit 7
    for (u8 i = 0; i < sizeof kCrtc; ++i)
        indexed(0x3d4, i, kCrtc[i]);
    for (u8 i = 0; i < sizeof kGraphics; ++i)
        indexed(0x3ce, i, kGraphics[i]);
    read_port(0x3da); // the next write to 0x3c0 is an index
    for (u8 i = 0; i < sizeof kAttribute; ++i) {
        write_port(0x3c0, i);
        write_port(0x3c0, kAttribute[i]);
    }
    write_port(0x3c0, 0x20); // the palette is closed, the picture shown

    // The EGA's 64 colours: bits 0-2 are two thirds of blue, green and red, bits 3-5 one third.
    write_port(0x3c6, 0xff);
    write_port(0x3c8, 0);
    for (unsigned colour = 0; colour < 64; ++colour)
        for (const unsigned component : {2u, 1u, 0u})
            write_port(0x3c9, u8((colour >> component & 1) * 0x2a + (colour >> (component + 3) & 1) * 0x15));

    // The font, to plane 2 through a linear window at 0xa0000.
    indexed(0x3c4, 2, 0x04);
    indexed(0x3c4, 4, 0x06);
    indexed(0x3ce, 5, 0x00);
    indexed(0x3ce, 6, 0x04);
    if (const u8* font = find_font(rom_, rom_bytes_)) {
        for (u32 i = 0; i < kGlyphs * kGlyphBytes; ++i)
            write_window(i / kGlyphBytes * kGlyphStride + i % kGlyphBytes, font[i]);
    } else {
        log_.once("vga: no 8x16 font in the VGA BIOS: text is not readable until the guest loads one");
    }
    indexed(0x3c4, 2, kSequencer[2]);
    indexed(0x3c4, 4, kSequencer[4]);
    indexed(0x3ce, 5, kGraphics[5]);
    indexed(0x3ce, 6, kGraphics[6]);

    constexpr u32 window = 0xb8000 - 0xa0000;
    for (u32 cell = 0; cell < 80 * 25; ++cell) {
        write_window(window + 2 * cell, ' ');
        write_window(window + 2 * cell + 1, 0x07);
    }
}

} // namespace dragoman::hw
