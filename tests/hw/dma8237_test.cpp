#include "hw/dma8237.h"

#include "chip_test_support.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

namespace dragoman::hw {
namespace {

using test::Bench;

// 512 KiB of memory at 0; the rest is not RAM.
class Memory final : public DmaBus {
  public:
    Memory() : bytes(512 * KiB) {}
    bool read(u64 gpa, void* to, u64 count) override {
        std::memset(to, 0xff, count);
        if (gpa + count > bytes.size()) return false;
        std::memcpy(to, &bytes[gpa], count);
        return true;
    }
    bool write(u64 gpa, const void* from, u64 count) override {
        if (gpa + count > bytes.size()) return false;
        std::memcpy(&bytes[gpa], from, count);
        return true;
    }
    std::vector<u8> bytes;
};

constexpr u8 kWrite = 0x44, kRead = 0x48, kVerify = 0x40, kAuto = 0x10, kDown = 0x20;

class DmaTest : public ::testing::Test {
  protected:
    DmaTest() {
        dma.map(bench.bus);
        out(0xd6, 0xc0), out(0xd4, 0x00); // channel 4: cascade, unmasked
    }
    void out(u16 port, u8 value) { bench.out(port, value); }
    u8 in(u16 port) { return bench.in(port); }
    void program2(u8 mode, u8 page, u16 address, u16 count) { // the floppy's channel
        out(0x0a, 0x06);
        out(0x0c, 0);
        out(0x0b, u8(mode | 2));
        out(0x04, u8(address)), out(0x04, u8(address >> 8));
        out(0x05, u8(count)), out(0x05, u8(count >> 8));
        out(0x81, page);
        out(0x0a, 0x02);
    }
    u16 word(u16 port) {
        out(port < 0x10 ? 0x0c : 0xd8, 0);
        const u8 low = in(port);
        return u16(low | in(port) << 8);
    }
    static std::vector<u8> pattern(unsigned size) {
        std::vector<u8> data(size);
        std::iota(data.begin(), data.end(), u8(1));
        return data;
    }

    Bench bench;
    test::QuietLog log;
    Memory memory;
    Dma8237 dma{memory, log};
};

TEST_F(DmaTest, WritesMemoryUpToTerminalCount) {
    program2(kWrite, 0x03, 0x1000, 511);
    auto data = pattern(600);
    bool tc = false;
    EXPECT_EQ(dma.transfer(2, std::span(data).first(100), DmaDirection::WriteMemory, &tc), 100u);
    EXPECT_FALSE(tc);
    EXPECT_EQ(word(0x04), 0x1064);
    EXPECT_EQ(word(0x05), 411);
    EXPECT_EQ(in(0x08), 0x00);
    EXPECT_EQ(dma.transfer(2, std::span(data).subspan(100), DmaDirection::WriteMemory, &tc), 412u);
    EXPECT_TRUE(tc);
    EXPECT_TRUE(std::equal(data.begin(), data.begin() + 512, memory.bytes.begin() + 0x31000));
    EXPECT_EQ(memory.bytes[0x31200], 0);
    EXPECT_EQ(in(0x08), 0x04);
    EXPECT_EQ(in(0x08), 0x00) << "cleared by reading";
    EXPECT_EQ(in(0x0f), 0xff) << "masked again";
    EXPECT_EQ(word(0x05), 0xffff);
    EXPECT_EQ(dma.transfer(2, data, DmaDirection::WriteMemory), 0u);
}

TEST_F(DmaTest, ReadsMemory) {
    memory.bytes[0x20005] = 0x77;
    program2(kRead, 0x02, 0x0005, 0);
    std::vector<u8> data(4);
    EXPECT_EQ(dma.transfer(2, data, DmaDirection::ReadMemory), 1u);
    EXPECT_EQ(data, (std::vector<u8>{0x77, 0, 0, 0}));
}

TEST_F(DmaTest, AutoInitialize) {
    program2(kWrite | kAuto, 0, 0x2000, 9);
    auto data = pattern(30);
    bool tc = false;
    EXPECT_EQ(dma.transfer(2, data, DmaDirection::WriteMemory, &tc), 10u);
    EXPECT_TRUE(tc);
    EXPECT_EQ(word(0x04), 0x2000);
    EXPECT_EQ(word(0x05), 9);
    EXPECT_TRUE(dma.ready(2));
}

TEST_F(DmaTest, Decrement) {
    program2(kWrite | kDown, 0, 0x0002, 3);
    auto data = pattern(4);
    EXPECT_EQ(dma.transfer(2, data, DmaDirection::WriteMemory), 4u);
    EXPECT_EQ(memory.bytes[2], 1);
    EXPECT_EQ(memory.bytes[0], 3);
    EXPECT_EQ(memory.bytes[0xffff], 4) << "wraps in the page";
}

TEST_F(DmaTest, AddressWrapsInThePage) {
    program2(kWrite, 0x01, 0xfffe, 3);
    auto data = pattern(4);
    EXPECT_EQ(dma.transfer(2, data, DmaDirection::WriteMemory), 4u);
    EXPECT_EQ(memory.bytes[0x1ffff], 2);
    EXPECT_EQ(memory.bytes[0x10000], 3);
    EXPECT_EQ(memory.bytes[0x20000], 0);
}

TEST_F(DmaTest, WordChannel) {
    out(0xd6, kWrite | 1);
    out(0xd8, 0);
    out(0xc4, 0x00), out(0xc4, 0x80); // channel 5: word address 0x8000
    out(0xc6, 3), out(0xc6, 0);
    out(0x8b, 0x03); // bit 0 does not count
    out(0xd4, 0x01);
    auto data = pattern(9);
    EXPECT_EQ(dma.transfer(5, std::span(data).first(5), DmaDirection::WriteMemory), 4u);
    EXPECT_EQ(word(0xc4), 0x8002);
    EXPECT_EQ(dma.transfer(5, std::span(data).subspan(4), DmaDirection::WriteMemory), 4u);
    EXPECT_TRUE(std::equal(data.begin(), data.begin() + 8, memory.bytes.begin() + 0x30000));
    EXPECT_EQ(in(0xd0), 0x02);
}

TEST_F(DmaTest, VerifyCountsOnly) {
    program2(kVerify, 0, 0x3000, 7);
    auto data = pattern(8);
    bool tc = false;
    EXPECT_EQ(dma.transfer(2, data, DmaDirection::WriteMemory, &tc), 8u);
    EXPECT_TRUE(tc);
    EXPECT_EQ(memory.bytes[0x3000], 0);
}

TEST_F(DmaTest, DirectionMustAgree) {
    program2(kRead, 0, 0x3000, 7);
    auto data = pattern(8);
    EXPECT_EQ(dma.transfer(2, data, DmaDirection::WriteMemory), 0u);
    EXPECT_EQ(word(0x05), 7);
}

TEST_F(DmaTest, MaskEnableAndCascadeGateTheChannel) {
    program2(kWrite, 0, 0, 7);
    EXPECT_TRUE(dma.ready(2));
    out(0x0f, 0x04);
    EXPECT_FALSE(dma.ready(2));
    out(0x0e, 0);
    EXPECT_TRUE(dma.ready(2));
    out(0x08, 0x04); // controller disabled
    EXPECT_FALSE(dma.ready(2));
    out(0x08, 0x00);
    out(0xd4, 0x04); // cascade masked
    EXPECT_FALSE(dma.ready(2));
    out(0xdc, 0);
    EXPECT_TRUE(dma.ready(2));
    out(0x0d, 0); // master clear
    EXPECT_FALSE(dma.ready(2));
    EXPECT_EQ(in(0x0f), 0xff);
}

TEST_F(DmaTest, FlipFlop) {
    out(0x0c, 0);
    out(0x00, 0x34);
    out(0x0c, 0);
    out(0x00, 0x56), out(0x00, 0x12);
    EXPECT_EQ(word(0x00), 0x1256);
}

TEST_F(DmaTest, RequestShowsInStatus) {
    dma.set_request(3, true);
    EXPECT_EQ(in(0x08), 0x80);
    dma.set_request(3, false);
    EXPECT_EQ(in(0x08), 0x00);
}

TEST_F(DmaTest, PageRegistersAndScratch) {
    for (u16 port = 0x80; port < 0x90; port++)
        out(port, u8(port));
    for (u16 port = 0x80; port < 0x90; port++)
        EXPECT_EQ(in(port), u8(port));
}

TEST_F(DmaTest, OutsideRamIsCountedAndLost) {
    program2(kRead, 0xff, 0xff00, 255);
    std::vector<u8> data(256, 0);
    EXPECT_EQ(dma.transfer(2, data, DmaDirection::ReadMemory), 256u);
    EXPECT_EQ(data[17], 0xff);
}

TEST_F(DmaTest, RoundTrip) {
    program2(kWrite | kAuto, 0x03, 0x1234, 0x100);
    out(0x08, 0x20);
    out(0x00, 0x11); // flip-flop left set
    dma.set_request(1, true);
    auto data = pattern(10);
    dma.transfer(2, data, DmaDirection::WriteMemory);
    test::check_round_trip(dma, [&] {
        dma.transfer(2, data, DmaDirection::WriteMemory);
        out(0x0d, 0);
        out(0x81, 0x44);
        out(0xd6, 0x02);
    });
}

} // namespace
} // namespace dragoman::hw
