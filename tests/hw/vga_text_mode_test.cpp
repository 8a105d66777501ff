// Vga::set_text_mode: the picture that a kernel without firmware finds.
#include "hw/vga.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

using namespace dragoman;
using namespace dragoman::hw;

namespace {

struct StillClock final : Clock {
    u64 now() const override { return 0; }
};

// A ROM with a font somewhere inside: glyph n has n in line 7, besides the two faces that identify it.
std::vector<u8> rom_with_font() {
    std::vector<u8> rom(32 * KiB, 0x55);
    u8* font = rom.data() + 0x1234;
    std::memset(font, 0, 4096);
    for (unsigned n = 0; n < 256; ++n)
        font[16 * n + 7] = u8(n == ' ' ? 0 : n);
    font[16 + 2] = 0x7e;
    font[16 + 3] = 0x81;
    font[32 + 2] = 0x7e;
    font[32 + 3] = 0xff;
    return rom;
}

TEST(VgaTextMode, ShowsTextWithTheRomsFont) {
    StillClock clock;
    Scheduler scheduler(clock);
    Log log;
    Vga vga(scheduler, rom_with_font(), log);
    vga.reset();
    vga.set_text_mode();
    EXPECT_EQ(vga.text_screen().size(), 25u);
    vga.write_window(0x18000, 0xa5);
    vga.write_window(0x18001, 0x1e); // yellow on blue
    EXPECT_EQ(vga.text_screen().at(0).at(0), char(0xa5));
    EXPECT_EQ(vga.vram()[4 * (32 * 0xa5 + 7) + 2], 0xa5) << "the font is not in plane 2";

    Surface surface;
    vga.render(surface);
    ASSERT_EQ(surface.width, 720u);
    ASSERT_EQ(surface.height, 400u);
    const u32 ink = 0xffff55, paper = 0x0000aa;
    for (unsigned x = 0; x < 8; ++x)
        EXPECT_EQ(surface.pixels[7 * surface.width + x] & 0xffffff, 0xa5 >> (7 - x) & 1 ? ink : paper) << x;
}

TEST(VgaTextMode, LeavesLargerModes) {
    StillClock clock;
    Scheduler scheduler(clock);
    Log log;
    Vga vga(scheduler, {}, log); // without a font it must hold, too
    vga.write_dispi(4, 1);
    EXPECT_TRUE(vga.text_screen().empty());
    vga.set_text_mode();
    EXPECT_EQ(vga.text_screen().size(), 25u);
    vga.set_text_mode();
    EXPECT_EQ(vga.text_screen().size(), 25u);
}

} // namespace
