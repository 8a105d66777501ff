// 82441FX: the four states of each PAM segment, SMRAM (data sheet 290549, 3.2.18, 3.2.21).
#include "hw/i440fx.h"

#include "chip_test_support.h"
#include "memory_test_support.h"

namespace dragoman::hw::test {
namespace {

class I440fxTest : public ::testing::Test {
  protected:
    I440fxTest() {
        for (std::size_t i = 0; i < bios.size(); i++)
            bios[i] = u8(0x80 | i >> 14); // differs by segment
        memory.map_memory(0, ram.size(), ram.data(), false, -1000);
        bridge.connect(ports, memory, dma, nullptr);
        bridge.reset();
    }
    static u8 pam_register(u64 address) {
        return address >= 0xf0000 ? u8(0x59) : u8(0x5a + ((address - 0xc0000) >> 15));
    }
    void set_pam(u64 address, u8 access) {
        const unsigned shift = address >= 0xf0000 || (address & 0x4000) ? 4 : 0;
        const u8 reg = pam_register(address);
        const u32 old = bridge.config_read(reg, 1);
        bridge.config_write(reg, 1, (old & ~(3u << shift)) | u32(access) << shift);
    }
    u8 rom_byte(u64 address) { return address < 0xe0000 ? 0xff : bios[bios.size() - (0x100000 - address)]; }

    FakeMemoryMap memory;
    IoBus ports;
    FakeDma dma{4096};
    PciBus bus;
    std::vector<u8> ram = std::vector<u8>(2 * MiB), bios = std::vector<u8>(256 * KiB);
    I440fx bridge{memory, bus, ram, bios};
};

TEST_F(I440fxTest, Identity) {
    EXPECT_EQ(bridge.config_read(0, 4), 0x12378086u);
    EXPECT_EQ(bridge.config_read(8, 4), 0x06000002u);
    EXPECT_EQ(bridge.config_read(4, 2), 6u);
    EXPECT_EQ(bridge.config_read(0x72, 1), 2u);
}

TEST_F(I440fxTest, FirmwareBelow4GiB) {
    EXPECT_EQ(memory.load(0xfffffff0), bios.back());
    EXPECT_EQ(memory.load(0xfffc0000), bios.front());
    memory.store(0xfffffff0, 1);
    EXPECT_EQ(memory.load(0xfffffff0), bios.back());
}

TEST_F(I440fxTest, FourStatesOfEachSegment) {
    std::vector<u64> segments;
    for (u64 at = 0xc0000; at < 0xf0000; at += 0x4000)
        segments.push_back(at);
    segments.push_back(0xf0000);
    for (const u64 base : segments) {
        const u64 last = base + (base == 0xf0000 ? 0xffff : 0x3fff);
        for (const u64 at : {base, last}) {
            for (unsigned access : {0u, 2u, 1u, 3u, 0u}) { // write RAM first, then look at it
                SCOPED_TRACE(::testing::Message() << std::hex << "address 0x" << at << " access " << access);
                ram[at] = 0x11;
                set_pam(base, u8(access));
                EXPECT_EQ(memory.load(at), access & 1 ? 0x11 : rom_byte(at));
                memory.store(at, 0x22);
                EXPECT_EQ(ram[at], access & 2 ? 0x22 : 0x11);
                EXPECT_EQ(bios[bios.size() - 1], 0x8f);
            }
        }
    }
    for (unsigned i = 0; i < 7; i++)
        EXPECT_EQ(bridge.config_read(u8(0x59 + i), 1), 0u);
}

TEST_F(I440fxTest, SegmentsAreIndependent) {
    set_pam(0xc4000, 3);
    EXPECT_EQ(memory.load(0xc3fff), 0xff);
    EXPECT_EQ(memory.load(0xc4000), 0);
    EXPECT_EQ(memory.load(0xc7fff), 0);
    EXPECT_EQ(memory.load(0xc8000), 0xff);
    bridge.config_write(0x59, 4, 0x33333333); // PAM0-3 at once
    ram[0xd7fff] = 0x77;
    EXPECT_EQ(memory.load(0xd7fff), 0x77);
    EXPECT_EQ(memory.load(0xd8000), 0xff);
    EXPECT_EQ(bridge.config_read(0x59, 1), 0x30u) << "the low half of PAM0 is reserved";
    bridge.reset();
    EXPECT_EQ(memory.load(0xd7fff), 0xff);
}

TEST_F(I440fxTest, SmramOpensAndLocks) {
    struct Vga final : IoHandler {
        u64 read(u64, unsigned) override { return 0x99; }
        void write(u64, unsigned, u64) override {}
    } vga;
    ram[0xa0000] = 0x11;
    EXPECT_EQ(memory.load(0xa0000), 0xff) << "the RAM there shows as SMRAM only";
    memory.map_io(0xa0000, 0x20000, vga, 20);
    EXPECT_EQ(memory.load(0xa0000), 0x99);
    bridge.config_write(0x72, 1, 0x4a); // D_OPEN, G_SMRAME
    memory.store(0xbffff, 5);
    EXPECT_EQ(ram[0xbffff], 5);
    bridge.config_write(0x72, 1, 0x0a);
    EXPECT_EQ(memory.load(0xbffff), 0x99);
    bridge.config_write(0x72, 1, 0x5a); // with D_LCK: closed for good
    EXPECT_EQ(bridge.config_read(0x72, 1), 0x1au);
    bridge.config_write(0x72, 1, 0x4a);
    EXPECT_EQ(memory.load(0xbffff), 0x99);
    EXPECT_EQ(bridge.config_read(0x72, 1), 0x1au);
    bridge.reset();
    EXPECT_EQ(bridge.config_read(0x72, 1), 2u);
    bridge.config_write(0x72, 1, 0x4a);
    EXPECT_EQ(memory.load(0xbffff), 5);
}

// The processor's SMIACT# opens SMRAM, locked or not, if G_SMRAME is set.
TEST_F(I440fxTest, SmramInSystemManagementMode) {
    ram[0xa8000] = 0x42;
    bridge.set_smiact(true);
    EXPECT_EQ(memory.load(0xa8000), 0xff);
    bridge.config_write(0x72, 1, 0x1a); // D_LCK, G_SMRAME
    EXPECT_EQ(memory.load(0xa8000), 0x42);
    bridge.set_smiact(false);
    EXPECT_EQ(memory.load(0xa8000), 0xff);
    bridge.set_smiact(true);
    bridge.reset();
    EXPECT_EQ(memory.load(0xa8000), 0xff);
}

TEST_F(I440fxTest, RoundTrip) {
    set_pam(0xf0000, 3);
    bus.config_address = 0x80001234;
    ram[0xfff00] = 0x42;
    const StateImage image = save(bridge);
    set_pam(0xf0000, 0);
    bus.config_address = 0;
    ASSERT_TRUE(load(bridge, image));
    EXPECT_EQ(memory.load(0xfff00), 0x42);
    EXPECT_EQ(bus.config_address, 0x80001234u);
    check_round_trip(bridge, [this] { set_pam(0xe8000, 2); });
}

} // namespace
} // namespace dragoman::hw::test
