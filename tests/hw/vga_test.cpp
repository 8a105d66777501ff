// The VGA: registers, planes and write modes, pictures of every kind of mode, dispi.
#include "chip_test_support.h"
#include "pci_test_support.h"

#include "hw/vga.h"

#include <random>

namespace dragoman::hw::test {
namespace {

struct VgaBench : Bench {
    VgaBench() {
        vga.connect(bus, map, dma, nullptr);
        vga.map_legacy(bus, map);
        out(0x3c2, 0x63); // colour, memory on, 25 MHz
        for (unsigned i = 0; i < 256; ++i) {
            out(0x3c8, u8(i));
            for (const unsigned c : {i, i * 3, i * 7})
                out(0x3c9, u8(c & 0x3f));
        }
    }
    void sequencer(u8 i, u8 v) { out(0x3c4, i), out(0x3c5, v); }
    void graphics(u8 i, u8 v) { out(0x3ce, i), out(0x3cf, v); }
    void crtc(u8 i, u8 v) { out(0x3d4, i), out(0x3d5, v); }
    void attribute(u8 i, u8 v) {
        in(0x3da);
        out(0x3c0, i), out(0x3c0, v);
    }
    void dispi(u16 i, u16 v) { bus.out(0x1ce, 2, i), bus.out(0x1cf, 2, v); }
    u16 dispi(u16 i) {
        bus.out(0x1ce, 2, i);
        return u16(bus.in(0x1cf, 2));
    }
    static u32 colour(unsigned i) {
        const auto wide = [](unsigned v) { return (v & 0x3f) << 2 | (v & 0x3f) >> 4; };
        return wide(i) << 16 | wide(i * 3) << 8 | wide(i * 7);
    }
    void poke(u32 address, u8 value) { window()->write(address - 0xa0000, 1, value); }
    u8 peek(u32 address) { return u8(window()->read(address - 0xa0000, 1)); }
    IoHandler* window() { return map.at(0xa0000)->handler; }
    Surface shot() {
        Surface s;
        vga.render(s);
        return s;
    }
    void show() {
        for (u8 i = 0; i < 16; ++i)
            attribute(i, i);
        attribute(0x12, 0x0f);
        in(0x3da);
        out(0x3c0, 0x20);
    }
    void vertical(u32 lines, u8 row_height) {
        crtc(0x11, 0); // open the protected registers
        const u32 end = lines - 1, compare = 0x3ff;
        crtc(7, u8((end >> 8 & 1) << 1 | (end >> 9 & 1) << 6 | (compare >> 8 & 1) << 4));
        crtc(0x12, u8(end));
        crtc(0x18, 0xff);
        crtc(9, u8(0x40 | (row_height - 1)));
    }
    void text_mode(bool nine) {
        sequencer(1, nine ? 0 : 1);
        sequencer(2, 3);
        sequencer(4, 2); // odd/even
        graphics(5, 0x10);
        graphics(6, 0x0e); // B8000, text
        graphics(8, 0xff);
        crtc(1, 79);
        vertical(400, 16);
        crtc(0x13, 40);
        crtc(0x14, 0x1f);
        crtc(0x17, 0xa3);
        crtc(0x0a, 0x20);
        attribute(0x10, 0x0c); // blink, line graphics
        attribute(0x13, 8);
        show();
    }
    void load_font(u8 code, const std::array<u8, 16>& rows, u32 map_at = 0) {
        sequencer(2, 4);
        sequencer(4, 6);
        graphics(5, 0);
        graphics(6, 0x04);
        for (u32 i = 0; i < 16; ++i)
            poke(0xa0000 + map_at + code * 32u + i, rows[i]);
        sequencer(2, 3);
        sequencer(4, 2);
        graphics(5, 0x10);
        graphics(6, 0x0e);
    }
    void planar_mode() { // 640x480x16
        sequencer(1, 1);
        sequencer(2, 0xf);
        sequencer(4, 6);
        graphics(5, 0);
        graphics(6, 5);
        graphics(7, 0xf);
        graphics(8, 0xff);
        crtc(1, 79);
        vertical(480, 1);
        crtc(0x13, 40);
        crtc(0x17, 0xe3);
        attribute(0x10, 1);
        show();
    }
    void mode13() {
        sequencer(1, 1);
        sequencer(2, 0xf);
        sequencer(4, 0x0e);
        graphics(5, 0x40);
        graphics(6, 5);
        graphics(8, 0xff);
        crtc(1, 79);
        vertical(400, 2);
        crtc(0x13, 40);
        crtc(0x14, 0x40);
        crtc(0x17, 0xa3);
        attribute(0x10, 0x41);
        show();
    }

    Log log;
    FakeMemory dma{4096};
    FakeMap map;
    Vga vga{scheduler, {0x55, 0xaa, 4}, log};
};

constexpr std::array<u8, 16> kGlyph = {0, 0x81, 0x42, 0x24, 0x18, 0xff, 0x01, 0x80,
                                       3, 5,    7,    9,    11,   13,   15,   17};

TEST(Vga, PciFace) {
    VgaBench t;
    EXPECT_EQ(t.vga.config_read(0, 4), 0x11111234u);
    EXPECT_EQ(t.vga.config_read(8, 4) >> 8, 0x030000u);
    t.vga.config_write(0x10, 4, 0xe0000000);
    t.vga.config_write(0x18, 4, 0xfebf0000);
    t.vga.config_write(0x30, 4, 0xfebe0001);
    t.vga.config_write(kPciCommand, 2, 3);
    ASSERT_NE(t.map.at(0xe0000000), nullptr);
    EXPECT_EQ(t.map.at(0xe0000000)->host, t.vga.vram());
    EXPECT_EQ(t.map.at(0xe0000000)->bytes, 16 * MiB);
    ASSERT_NE(t.map.at(0xfebe0000), nullptr);
    EXPECT_EQ(t.map.at(0xfebe0000)->host[1], 0xaa);
    IoHandler* mmio = t.map.at(0xfebf0000)->handler;
    EXPECT_EQ(mmio->read(0x500, 2), 0xb0c5u);
    mmio->write(0x502, 2, 800);
    EXPECT_EQ(t.dispi(1), 800);
    mmio->write(0x400 + 6, 1, 0x12);
    EXPECT_EQ(t.in(0x3c6), 0x12);
    EXPECT_EQ(mmio->read(0, 8), 0u);
}

TEST(Vga, Registers) {
    VgaBench t;
    t.graphics(5, 0xff);
    EXPECT_EQ(t.in(0x3cf), 0x7b) << "bits that do not exist";
    t.crtc(0x0f, 0x77);
    EXPECT_EQ(t.in(0x3d5), 0x77);
    EXPECT_EQ(t.in(0x3b5), 0xff) << "the colour address is selected";
    t.out(0x3c2, 0x62);
    EXPECT_EQ(t.in(0x3b5), 0x77);
    EXPECT_EQ(t.in(0x3d5), 0xff);
    t.out(0x3c2, 0x63);
    t.crtc(0x11, 0x80);
    t.crtc(1, 55);
    t.crtc(7, 0xff);
    EXPECT_EQ(t.in(0x3d5), 0x10) << "only line compare bit 8 is open";
    t.attribute(3, 0x2a);
    t.in(0x3da);
    t.out(0x3c0, 3);
    EXPECT_EQ(t.in(0x3c1), 0x2a);
    t.out(0x3c7, 5);
    EXPECT_EQ(t.in(0x3c7), 3);
    EXPECT_EQ(t.in(0x3c9), 5);
    EXPECT_EQ(t.in(0x3c9), 15);
    EXPECT_EQ(t.in(0x3c9), 35);
    EXPECT_EQ(t.in(0x3c9), 6) << "the next colour";
}

TEST(Vga, RetraceFollowsTime) {
    VgaBench t;
    t.crtc(0x11, 0);
    const u8 regs[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f};
    for (u8 i = 0; i < 10; ++i)
        t.crtc(i, regs[i]);
    t.crtc(0x10, 0x9c);
    t.crtc(0x12, 0x8f);
    t.crtc(0x11, 0x8e);
    t.sequencer(1, 1);
    unsigned retraces = 0, hidden = 0, samples = 0;
    bool last = false;
    for (u64 ns = 0; ns < 1'000'000'000; ns += 7'001, ++samples) {
        t.clock.set(ns);
        const u8 s = t.in(0x3da);
        if ((s & 8) && !last) ++retraces;
        last = s & 8;
        hidden += s & 1;
    }
    EXPECT_NEAR(retraces, 70, 1) << "640x400 is shown 70 times a second";
    const double fraction = double(hidden) / samples;
    EXPECT_NEAR(fraction, 1 - 400.0 / 449 * 80 / 100, 0.01);
}

TEST(Vga, WriteModes) {
    VgaBench t;
    t.planar_mode();
    const auto planes = [&t](u32 at) {
        u32 word;
        std::memcpy(&word, t.vga.vram() + 4 * at, 4);
        return word;
    };
    t.sequencer(2, 0x5);
    t.poke(0xa0010, 0xc3);
    EXPECT_EQ(planes(0x10), 0x00c300c3u) << "map mask";
    t.sequencer(2, 0xf);
    t.graphics(0, 0x2);
    t.graphics(1, 0x3);
    t.poke(0xa0011, 0x81);
    EXPECT_EQ(planes(0x11), 0x8181ff00u) << "set/reset of planes 0 and 1";
    t.graphics(1, 0);
    t.graphics(3, 3); // rotate by 3
    t.poke(0xa0012, 0x81);
    EXPECT_EQ(planes(0x12), 0x30303030u);
    t.graphics(3, 0x18); // XOR with the latches
    t.peek(0xa0011);
    t.poke(0xa0013, 0x0f);
    EXPECT_EQ(planes(0x13), 0x8181ff00u ^ 0x0f0f0f0fu);
    t.graphics(3, 0x08);
    t.poke(0xa0014, 0xf0);
    EXPECT_EQ(planes(0x14), 0x8080f000u) << "AND";
    t.graphics(3, 0x10);
    t.poke(0xa0014, 0x01);
    EXPECT_EQ(planes(0x14), 0x8181ff01u) << "OR";
    t.graphics(3, 0);
    t.graphics(5, 1);
    t.peek(0xa0013);
    t.poke(0xa0015, 0);
    EXPECT_EQ(planes(0x15), planes(0x13)) << "write mode 1 copies the latches";
    t.graphics(5, 2);
    t.graphics(8, 0x0f);
    t.peek(0xa0020);
    t.poke(0xa0020, 0x6);
    EXPECT_EQ(planes(0x20), 0x000f0f00u) << "write mode 2, bit mask";
    t.graphics(8, 0x3c);
    t.graphics(5, 3);
    t.graphics(0, 0x9);
    t.peek(0xa0021);
    t.poke(0xa0021, 0xf0);
    EXPECT_EQ(planes(0x21), 0x30000030u) << "write mode 3: data and bit mask";
    t.graphics(8, 0xff);
    t.graphics(5, 8);
    t.graphics(2, 0x6);
    EXPECT_EQ(t.peek(0xa0020), 0x0f) << "read mode 1: colour compare";
    t.graphics(5, 0);
    t.graphics(4, 2);
    EXPECT_EQ(t.peek(0xa0020), 0x0f);
    t.graphics(4, 3);
    EXPECT_EQ(t.peek(0xa0020), 0x00);
    t.graphics(6, 0x0d);
    EXPECT_EQ(t.peek(0xa0020), 0xff) << "the window is at B8000 now";
}

TEST(Vga, TextPicture) {
    for (const bool nine : {false, true}) {
        VgaBench t;
        t.text_mode(nine);
        t.load_font('A', kGlyph);
        t.load_font(0xc4, kGlyph);
        t.poke(0xb8000 + 2 * 81, 'A'); // line 1, column 1
        t.poke(0xb8001 + 2 * 81, 0x1e);
        t.poke(0xb8000 + 2 * 82, 0xc4);
        t.poke(0xb8001 + 2 * 82, 0x02);
        const Surface s = t.shot();
        const u32 cell = nine ? 9 : 8;
        ASSERT_EQ(s.width, 80 * cell);
        ASSERT_EQ(s.height, 400u);
        for (u32 y = 0; y < 16; ++y) {
            for (u32 x = 0; x < 8; ++x)
                EXPECT_EQ(s.line(16 + y)[cell + x], VgaBench::colour(kGlyph[y] & (0x80 >> x) ? 14 : 1))
                    << "row " << y << " dot " << x;
            if (!nine) continue;
            EXPECT_EQ(s.line(16 + y)[cell + 8], VgaBench::colour(1)) << "the gap between letters";
            EXPECT_EQ(s.line(16 + y)[2 * cell + 8], VgaBench::colour(kGlyph[y] & 1 ? 2 : 0))
                << "line graphics";
        }
        EXPECT_EQ(t.vga.text_screen()[1], std::string("\0A\xc4", 3));
        EXPECT_EQ(t.peek(0xb8001 + 2 * 81), 0x1e) << "odd addresses read plane 1";
    }
}

TEST(Vga, CursorAndBlink) {
    VgaBench t;
    t.text_mode(false);
    t.load_font('A', kGlyph);
    t.poke(0xb8000, 'A');
    t.poke(0xb8001, 0x87);
    t.poke(0xb8003, 0x07);
    t.crtc(0x0a, 13);
    t.crtc(0x0b, 14);
    t.crtc(0x0f, 1);
    const u32 ink = VgaBench::colour(7), paper = VgaBench::colour(0);
    t.clock.set(0);
    Surface s = t.shot();
    EXPECT_EQ(s.line(12)[8], paper);
    EXPECT_EQ(s.line(13)[8], ink);
    EXPECT_EQ(s.line(14)[15], ink);
    EXPECT_EQ(s.line(15)[8], paper);
    EXPECT_EQ(s.line(5)[0], ink);
    t.vga.take_changed();
    EXPECT_FALSE(t.vga.take_changed());
    t.clock.set(140'000'000);
    EXPECT_TRUE(t.vga.take_changed());
    s = t.shot();
    EXPECT_EQ(s.line(13)[8], paper) << "cursor off";
    EXPECT_EQ(s.line(5)[0], ink);
    t.clock.set(300'000'000);
    s = t.shot();
    EXPECT_EQ(s.line(13)[8], ink);
    EXPECT_EQ(s.line(5)[0], paper) << "the character blinks half as fast";
}

TEST(Vga, SecondFontAndStartAddress) {
    VgaBench t;
    t.text_mode(false);
    t.load_font('A', kGlyph);
    std::array<u8, 16> other{};
    other.fill(0xaa);
    t.load_font('A', other, 0x4000);
    t.sequencer(3, 0x04); // map A (attribute bit 3): 4000h
    t.poke(0xb8000 + 160, 'A');
    t.poke(0xb8001 + 160, 0x0f);
    t.poke(0xb8002 + 160, 'A');
    t.poke(0xb8003 + 160, 0x07);
    t.crtc(0x0d, 80);
    const Surface s = t.shot();
    EXPECT_EQ(s.line(1)[0], VgaBench::colour(15));
    EXPECT_EQ(s.line(1)[1], VgaBench::colour(0));
    EXPECT_EQ(s.line(5)[9], VgaBench::colour(7)) << "map B";
}

TEST(Vga, PlanarPictureAndSplitScreen) {
    VgaBench t;
    t.planar_mode();
    t.sequencer(2, 0x9);
    t.poke(0xa0000 + 80 * 3 + 2, 0x40);
    Surface s = t.shot();
    ASSERT_EQ(s.width, 640u);
    ASSERT_EQ(s.height, 480u);
    EXPECT_EQ(s.line(3)[17], VgaBench::colour(9));
    EXPECT_EQ(s.line(3)[16], VgaBench::colour(0));
    t.crtc(0x0c, 0x40); // shown from 4000h on; line 101 and below from 0
    t.crtc(9, 0);
    t.crtc(7, 0x42);
    t.crtc(0x18, 100);
    s = t.shot();
    EXPECT_EQ(s.line(3)[17], VgaBench::colour(0));
    EXPECT_EQ(s.line(104)[17], VgaBench::colour(9));
    t.crtc(0x0c, 0);
    t.attribute(0x33, 1); // pan by one dot, keeping the palette shown
    s = t.shot();
    EXPECT_EQ(s.line(3)[16], VgaBench::colour(9));
}

TEST(Vga, Mode13AndModeX) {
    VgaBench t;
    t.mode13();
    for (u32 i = 0; i < 64000; ++i)
        t.poke(0xa0000 + i, u8(i * 3 + i / 320));
    Surface s = t.shot();
    ASSERT_EQ(s.width, 640u);
    ASSERT_EQ(s.height, 400u);
    for (u32 y = 0; y < 400; y += 37)
        for (u32 x = 0; x < 640; ++x) {
            const u32 i = y / 2 * 320 + x / 2;
            ASSERT_EQ(s.line(y)[x], VgaBench::colour(u8(i * 3 + i / 320))) << x << "," << y;
        }
    EXPECT_EQ(t.peek(0xa1234), u8(0x1234 * 3 + 0x1234 / 320));
    // Unchained: four planes, byte addresses.
    t.sequencer(4, 6);
    t.crtc(0x14, 0);
    t.crtc(0x17, 0xe3);
    t.sequencer(2, 0x4);
    t.poke(0xa0000 + 80 * 10 + 5, 0x9a);
    s = t.shot();
    EXPECT_EQ(s.line(20)[2 * (5 * 4 + 2)], VgaBench::colour(0x9a));
    t.out(0x3c6, 0x0f);
    EXPECT_EQ(t.shot().line(20)[2 * (5 * 4 + 2)], VgaBench::colour(0x0a)) << "PEL mask";
}

TEST(Vga, CgaFourColours) {
    VgaBench t;
    t.planar_mode();
    t.sequencer(4, 2);
    t.sequencer(2, 3);
    t.graphics(5, 0x30);
    t.graphics(6, 0x0f);
    t.vertical(400, 2);
    t.crtc(1, 39);
    t.crtc(0x13, 20);
    t.crtc(0x17, 0xa2);
    t.poke(0xb8000, 0x1b);
    t.poke(0xb8001, 0xe4);
    t.poke(0xba000, 0xff);
    const Surface s = t.shot();
    for (u32 x = 0; x < 8; ++x)
        EXPECT_EQ(s.line(0)[x], VgaBench::colour(x < 4 ? x : 7 - x)) << x;
    EXPECT_EQ(s.line(1)[0], VgaBench::colour(3)) << "odd rows lie 8 KiB on";
}

TEST(Vga, DispiDepths) {
    struct Depth {
        u16 bpp;
        u32 pixel, want;
    };
    const Depth depths[] = {{8, 0x35, VgaBench::colour(0x35)},
                            {15, 0x7c1f, 0xff00ff},
                            {16, 0x07e0, 0x00ff00},
                            {24, 0x123456, 0x123456},
                            {32, 0xff654321, 0x654321}};
    for (const Depth& d : depths) {
        SCOPED_TRACE(d.bpp);
        VgaBench t;
        t.show();
        t.dispi(1, 800);
        t.dispi(2, 600);
        t.dispi(3, d.bpp);
        t.vga.vram()[5] = 1;
        t.dispi(4, 0x41);
        EXPECT_EQ(t.vga.vram()[5], 0) << "enabling clears";
        const u32 bytes = (d.bpp + 7u) / 8;
        const u64 at = (u64{599} * 800 + 799) * bytes;
        std::memcpy(t.vga.vram() + at, &d.pixel, bytes);
        Surface s = t.shot();
        ASSERT_EQ(s.width, 800u);
        ASSERT_EQ(s.height, 600u);
        EXPECT_EQ(s.line(599)[799], d.want);
        EXPECT_EQ(s.line(598)[799], VgaBench::colour(0) * (d.bpp == 8));
        // The same bytes through the bank.
        t.dispi(5, u16(at >> 16));
        EXPECT_EQ(t.peek(u32(0xa0000 + (at & 0xffff))), u8(d.pixel));
        // Scrolled and panned.
        t.dispi(6, 1024);
        t.dispi(8, 16);
        t.dispi(9, 4);
        std::memcpy(t.vga.vram() + (u64{5} * 1024 + 17) * bytes, &d.pixel, bytes);
        EXPECT_EQ(t.shot().line(1)[1], d.want);
        t.dispi(9, 0xffff);
        EXPECT_EQ(t.shot().height, 600u) << "shifted out of memory";
        t.dispi(4, 0);
        EXPECT_FALSE(t.vga.text_screen().size() == 1);
    }
}

TEST(Vga, DispiRules) {
    VgaBench t;
    EXPECT_EQ(t.dispi(0), 0xb0c5);
    t.dispi(0, 0xb0c0);
    EXPECT_EQ(t.dispi(0), 0xb0c0);
    t.dispi(0, 0x1234);
    EXPECT_EQ(t.dispi(0), 0xb0c0);
    EXPECT_EQ(t.dispi(10), 256);
    t.dispi(4, 2);
    EXPECT_EQ(t.dispi(1), 2560);
    EXPECT_EQ(t.dispi(3), 32);
    t.dispi(4, 0);
    t.dispi(1, 1024);
    t.dispi(2, 768);
    t.dispi(3, 32);
    t.dispi(1, 5000);
    EXPECT_EQ(t.dispi(1), 1024);
    t.dispi(4, 0x41);
    t.dispi(1, 640);
    EXPECT_EQ(t.dispi(1), 1024) << "fixed while enabled";
    EXPECT_EQ(t.dispi(7), 16 * MiB / 4096);
    t.dispi(4, 0);
    t.dispi(1, 2560);
    t.dispi(2, 1600);
    t.dispi(4, 0x41); // 15.6 MiB
    EXPECT_EQ(t.dispi(4), 0x41);
    // 8-bit DAC.
    t.dispi(4, 0x61);
    t.out(0x3c8, 1);
    t.out(0x3c9, 0xfe);
    t.out(0x3c9, 0x80);
    t.out(0x3c9, 0x01);
    t.out(0x3c7, 1);
    EXPECT_EQ(t.in(0x3c9), 0xfe);
}

TEST(Vga, DirtyPagesMeanChanged) {
    VgaBench t;
    t.vga.config_write(0x10, 4, 0xe0000000);
    t.vga.config_write(kPciCommand, 2, 3);
    t.dispi(3, 32);
    t.dispi(4, 0x41);
    t.vga.take_changed();
    EXPECT_FALSE(t.vga.take_changed());
    t.map.dirty.insert(0x3000);
    EXPECT_TRUE(t.vga.take_changed());
    EXPECT_FALSE(t.vga.take_changed());
    t.map.dirty.insert(8 * MiB);
    EXPECT_FALSE(t.vga.take_changed()) << "beyond the picture";
}

TEST(Vga, RandomRegistersAreHarmless) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    VgaBench t;
    Surface s;
    for (unsigned round = 0; round < 300; ++round) {
        for (unsigned i = 0; i < 200; ++i) {
            const u16 port = u16(random() % 4 ? 0x3b4 + random() % 0x2c : 0x1ce + random() % 3);
            const unsigned size = 1u << random() % 3;
            if (random() % 4 == 0)
                t.bus.in(port, size);
            else
                t.bus.out(port, size, u32(random() % 2 ? random() : random() % 64));
            const u64 at = random() % (0x20000 - 8);
            if (random() % 2)
                t.window()->write(at, 1u << random() % 4, random());
            else
                t.window()->read(at, 1u << random() % 4);
        }
        if (random() % 2) t.dispi(4, u16(random() % 4 ? 0 : 0x41));
        t.clock.set(t.clock.now() + random() % 100'000'000);
        t.vga.render(s);
        ASSERT_EQ(s.pixels.size(), std::size_t{s.width} * s.height);
        ASSERT_NE(s.pixels.size(), 0u);
        t.vga.text_screen();
        t.vga.take_changed();
    }
}

TEST(Vga, SaveChangeLoadCompare) {
    VgaBench t;
    t.text_mode(true);
    t.load_font('A', kGlyph);
    t.poke(0xb8000, 'A');
    t.poke(0xb8001, 7);
    const Surface before = t.shot();
    const StateImage image = save(t.vga);
    t.dispi(3, 32);
    t.dispi(4, 0x41);
    EXPECT_NE(t.shot().width, before.width);
    EXPECT_TRUE(load(t.vga, image));
    EXPECT_EQ(t.shot().pixels, before.pixels);
    check_round_trip(t.vga, [&t] {
        t.mode13();
        t.poke(0xa0000, 5);
        t.dispi(1, 800);
    });
}

// Gives every field random bytes, except the large memory.
class Garbage final : public StateVisitor {
  public:
    explicit Garbage(u64 seed) : random_(seed) {}
    bool loading() const override { return true; }

  protected:
    void bytes(const char* name, void* data, std::size_t size) override {
        if (size > 100000 || std::string_view(name).starts_with("pci")) return;
        for (std::size_t i = 0; i < size; ++i)
            static_cast<u8*>(data)[i] = u8(random_() % 3 ? random_() % 2 : random_());
    }

  private:
    std::mt19937_64 random_;
};

TEST(Vga, LoadedGarbageIsHarmless) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    VgaBench t;
    Surface s;
    for (unsigned i = 0; i < 300; ++i) {
        Garbage garbage(seed + i);
        t.vga.visit(garbage);
        t.vga.render(s);
        ASSERT_LE(s.pixels.size(), 4608u * 1600u);
        t.vga.take_changed();
        t.poke(0xa0000 + i * 10, u8(i));
        t.peek(0xb8000);
        t.in(0x3c9);
        t.in(0x3da);
    }
}

} // namespace
} // namespace dragoman::hw::test
