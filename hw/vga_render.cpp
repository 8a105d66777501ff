// From registers and memory to what the monitor shows: every dot of every scan line.
#include "hw/vga.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace dragoman::hw {

namespace {

constexpr u64 kFrameNs = 16'683'333; // blinking counts frames
constexpr u64 kCursorHalf = 8 * kFrameNs, kTextHalf = 16 * kFrameNs;

constexpr u32 rgb(u32 r, u32 g, u32 b) {
    return r << 16 | g << 8 | b;
}
constexpr u32 from5(u32 v) {
    return (v & 31) << 3 | (v & 31) >> 2;
}
constexpr u32 from6(u32 v) {
    return (v & 63) << 2 | (v & 63) >> 4;
}

} // namespace

// One scan line: which address counter it begins with, which row of the character, and where its dots go.
struct Vga::Line {
    const std::array<u32, 256>& colours;   // of the DAC
    const std::array<u32, 16>& attributes; // of the 16 colours, through the attribute controller
    u32 counter, row;
    u32 dots_per_character;
    std::vector<u32>& dots; // columns + 1 characters, so that panning has something to pull in
};

u32 Vga::lines_shown() const {
    const u8* c = regs_.crtc;
    return (c[0x12] | u32(c[7] >> 1 & 1) << 8 | u32(c[7] >> 6 & 1) << 9) + 1;
}

bool Vga::blanked() const {
    if (!(regs_.attribute_index & 0x20)) return true; // the palette is open to the processor
    if (dispi_on()) return false;
    return (regs_.sequencer[1] & 0x20) || !(regs_.crtc[0x17] & 0x80);
}

Vga::Palette Vga::dac_colours() const {
    Palette colours;
    const bool eight = dispi_.enable & 0x20;
    for (unsigned i = 0; i < 256; ++i) {
        const u8* p = regs_.palette[i & regs_.pel_mask];
        colours[i] = eight ? rgb(p[0], p[1], p[2]) : rgb(from6(p[0]), from6(p[1]), from6(p[2]));
    }
    return colours;
}

// The attribute controller: 4 bits in, the DAC's 8 bits out.
u8 Vga::attribute_colour(u8 index) const {
    const u8* a = regs_.attribute;
    const u8 palette = a[index & a[0x12] & 0xf];
    const u8 low = a[0x10] & 0x80 ? static_cast<u8>((palette & 0x0f) | (a[0x14] & 3) << 4) : palette & 0x3f;
    return static_cast<u8>(low | (a[0x14] & 0x0c) << 4);
}

// From the address counter to an offset in a plane (CRTC 14h and 17h). Chain-4 memory is stored packed, so a
// doubleword address needs no shift here.
u32 Vga::memory_address(u32 counter, u32 row) const {
    const u8 mode = regs_.crtc[0x17];
    u32 address = counter;
    if (!(regs_.crtc[0x14] & 0x40) && !(mode & 0x40)) { // word mode
        const u32 wrapped = counter >> (mode & 0x20 ? 15 : 13) & 1;
        address = counter << 1 | wrapped;
    }
    if (!(mode & 1)) address = (address & ~0x2000u) | (row & 1) << 13; // CGA: odd rows 8 KiB on
    if (!(mode & 2)) address = (address & ~0x4000u) | (row >> 1 & 1) << 14;
    return address & 0xffff;
}

void Vga::render(Surface& surface) {
    if (dispi_on())
        render_dispi(surface);
    else
        render_vga(surface);
}

bool Vga::take_changed() {
    const u64 phase = scheduler_.now() / kCursorHalf;
    bool changed = std::exchange(changed_, false);
    if (!dispi_on() && text_mode() && std::exchange(shown_blink_, phase) != phase) changed = true;
    // The linear frame buffer is written without this chip's knowledge; the page bitmap knows.
    if (const MemoryMap::Handle handle = bar_handle(0); handle != 0) {
        const u64 used =
            dispi_on() ? u64{dispi_line_bytes()} * (u64{dispi_.yres} + dispi_.y_offset) + 4096 : 256 * KiB;
        for (u64 at = 0; at < std::min<u64>(used, vram_bytes); at += 4096)
            if (memory().take_dirty(handle, at)) changed = true;
    }
    return changed;
}

void Vga::render_vga(Surface& surface) const {
    const u8* c = regs_.crtc;
    const bool text = text_mode(), half_clock = regs_.sequencer[1] & 8;
    const u32 dots_per_character = text && !(regs_.sequencer[1] & 1) ? 9 : 8;
    const u32 width = columns() * dots_per_character, height = lines_shown();
    if (columns() < 8 || height < 8) return surface.resize(720, 400); // no mode set yet
    surface.resize(width * (half_clock ? 2 : 1), height);
    if (blanked()) return;

    const Palette colours = dac_colours();
    std::array<u32, 16> attributes;
    for (u8 i = 0; i < 16; ++i)
        attributes[i] = colours[attribute_colour(i)];

    const bool wide = !text && (regs_.graphics[5] & 0x40); // 256 colours: two dots to a pixel
    const u32 line_compare = c[0x18] | u32(c[7] >> 4 & 1) << 8 | u32(c[9] >> 6 & 1) << 9;
    const u32 last_row = c[9] & 0x1f, repeat = c[9] & 0x80 ? 2 : 1;
    u32 pan = regs_.attribute[0x13] & 0xf;
    if (text && dots_per_character == 9)
        pan = pan >= 8 ? 0 : pan + 1;
    else
        pan = wide ? pan & 6 : pan & 7;
    u32 start = start_address() + (c[8] >> 5 & 3), row = c[8] & 0x1f, repeated = 0;

    std::vector<u32> dots((columns() + 1) * dots_per_character);
    for (u32 y = 0; y < height; ++y) {
        const Line line{colours, attributes, start, row, dots_per_character, dots};
        if (text)
            draw_text(line);
        else if (wide)
            draw_256(line);
        else if (regs_.graphics[5] & 0x20)
            draw_cga(line);
        else
            draw_planar(line);
        u32* to = surface.line(y);
        const u32* from = dots.data() + pan;
        if (half_clock)
            for (u32 x = 0; x < width; ++x)
                to[2 * x] = to[2 * x + 1] = from[x];
        else
            std::memcpy(to, from, width * sizeof(u32));

        if (y == line_compare) { // the lower part of a split screen begins at address 0
            start = row = repeated = 0;
            if (regs_.attribute[0x10] & 0x20) pan = 0;
        } else if (++repeated >= repeat) {
            repeated = 0;
            if (row++ == last_row || row > 31) {
                row = 0;
                start += c[0x13] * 2u;
            }
        }
    }
}

void Vga::draw_text(const Line& line) const {
    const u8* c = regs_.crtc;
    // Character Map Select: attribute bit 3 chooses map A or B (sequencer 3); 8 KiB each in an odd order.
    static constexpr u32 map_offset[8] = {0x0000, 0x4000, 0x8000, 0xc000, 0x2000, 0x6000, 0xa000, 0xe000};
    const u8 select = regs_.sequencer[3];
    const u32 map_b = map_offset[(select & 3) | (select >> 4 & 1) << 2];
    const u32 map_a = map_offset[(select >> 2 & 3) | (select >> 5 & 1) << 2];
    const u8 mode = regs_.attribute[0x10];
    const bool blinking = mode & 8, hide_blinking = blinking && !blink_on(kTextHalf);
    const u32 cursor = (u32{c[0x0e]} << 8 | c[0x0f]) & 0xffff;
    const bool cursor_row = !(c[0x0a] & 0x20) && line.row >= (c[0x0a] & 0x1fu) &&
                            line.row <= (c[0x0b] & 0x1fu) && blink_on(kCursorHalf);
    const u32 count = columns() + 1;
    u32* to = line.dots.data();
    for (u32 i = 0; i < count; ++i, to += line.dots_per_character) {
        const u32 counter = (line.counter + i) & 0xffff;
        const u32 word = word_at(memory_address(counter, line.row));
        const u8 code = static_cast<u8>(word), attribute = static_cast<u8>(word >> 8);
        u8 font = static_cast<u8>(word_at((attribute & 8 ? map_a : map_b) + code * 32u + line.row) >> 16);
        if (hide_blinking && (attribute & 0x80)) font = 0;
        if ((mode & 2) && (attribute & 7) == 1 && line.row == (c[0x14] & 0x1fu)) font = 0xff; // MDA underline
        bool ninth = (mode & 4) && code >= 0xc0 && code <= 0xdf && (font & 1); // line graphics go on
        if (cursor_row && counter == cursor) {
            font = 0xff;
            ninth = true;
        }
        const u32 ink = line.attributes[attribute & 0xf];
        const u32 paper = line.attributes[attribute >> 4 & (blinking ? 7 : 15)];
        for (u32 dot = 0; dot < 8; ++dot)
            to[dot] = font & (0x80 >> dot) ? ink : paper;
        if (line.dots_per_character == 9) to[8] = ninth ? ink : paper;
    }
}

void Vga::draw_planar(const Line& line) const {
    const u32 count = columns() + 1;
    u32* to = line.dots.data();
    for (u32 i = 0; i < count; ++i, to += 8) {
        const u32 word = word_at(memory_address((line.counter + i) & 0xffff, line.row));
        for (u32 dot = 0; dot < 8; ++dot) {
            const u32 b = 7 - dot;
            to[dot] = line.attributes[(word >> b & 1) | (word >> (b + 7) & 2) | (word >> (b + 14) & 4) |
                                      (word >> (b + 21) & 8)];
        }
    }
}

// Interleaved shift registers: two bits to a pixel, plane 0 before plane 1; planes 2 and 3 give the upper two
// bits.
void Vga::draw_cga(const Line& line) const {
    const u32 count = columns() + 1;
    u32* to = line.dots.data();
    for (u32 i = 0; i < count; ++i, to += 8) {
        const u32 word = word_at(memory_address((line.counter + i) & 0xffff, line.row));
        for (u32 dot = 0; dot < 8; ++dot) {
            const u32 shift = (dot < 4 ? 0 : 8) + 6 - 2 * (dot & 3);
            to[dot] = line.attributes[(word >> shift & 3) | (word >> (shift + 16) & 3) << 2];
        }
    }
}

void Vga::draw_256(const Line& line) const {
    const u32 count = columns() + 1;
    u32* to = line.dots.data();
    for (u32 i = 0; i < count; ++i, to += 8) {
        const u32 word = word_at(memory_address((line.counter + i) & 0xffff, line.row));
        for (u32 plane = 0; plane < 4; ++plane)
            to[2 * plane] = to[2 * plane + 1] = line.colours[word >> (8 * plane) & 0xff];
    }
}

void Vga::render_dispi(Surface& surface) const {
    const u32 width = dispi_.xres, height = dispi_.yres, bytes = dispi_line_bytes();
    surface.resize(width, height);
    if (blanked()) return;
    const Palette colours = dac_colours();
    const u32 pixel_bytes = (dispi_.bpp + 7u) / 8;
    for (u32 y = 0; y < height; ++y) {
        u32* to = surface.line(y);
        const u64 line = u64{bytes} * (y + dispi_.y_offset);
        if (dispi_.bpp == 4) {
            for (u32 x = 0; x < width; ++x) {
                const u32 column = x + dispi_.x_offset, b = 7 - column % 8;
                const u64 at = line / 4 + column / 8;
                if (at * 4 + 4 > vram_bytes) break;
                const u32 word = word_at(static_cast<u32>(at));
                const u32 index =
                    (word >> b & 1) | (word >> (b + 7) & 2) | (word >> (b + 14) & 4) | (word >> (b + 21) & 8);
                to[x] = colours[attribute_colour(static_cast<u8>(index))];
            }
            continue;
        }
        const u64 from = line + u64{dispi_.x_offset} * pixel_bytes;
        if (from + u64{width} * pixel_bytes > vram_bytes) break; // shifted out of memory: black
        const u8* p = vram_ + from;
        for (u32 x = 0; x < width; ++x, p += pixel_bytes) {
            const u32 low = pixel_bytes >= 2 ? p[0] | u32{p[1]} << 8 : p[0];
            switch (dispi_.bpp) {
            case 8: to[x] = colours[low]; break;
            case 15: to[x] = rgb(from5(low >> 10), from5(low >> 5), from5(low)); break;
            case 16: to[x] = rgb(from5(low >> 11), from6(low >> 5), from5(low)); break;
            default: to[x] = low | u32{p[2]} << 16; break; // 24 and 32
            }
        }
    }
}

std::vector<std::string> Vga::text_screen() const {
    std::vector<std::string> lines;
    if (!text_mode() || dispi_on() || columns() < 8) return lines;
    const u32 rows = lines_shown() / ((regs_.crtc[9] & 0x1fu) + 1);
    for (u32 y = 0; y < rows; ++y) {
        std::string text;
        for (u32 x = 0; x < columns(); ++x) {
            const u32 counter = (start_address() + y * regs_.crtc[0x13] * 2u + x) & 0xffff;
            text += static_cast<char>(word_at(memory_address(counter, 0)));
        }
        text.erase(text.find_last_not_of(std::string(" \0", 2)) + 1);
        lines.push_back(std::move(text));
    }
    return lines;
}

} // namespace dragoman::hw
