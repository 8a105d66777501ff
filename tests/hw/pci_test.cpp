// PCI configuration space and BARs (PCI 3.0, chapter 6), with a guest that means harm.
#include "hw/core/pci.h"

#include "chip_test_support.h"
#include "memory_test_support.h"

#include <random>

namespace dragoman::hw::test {
namespace {

class Registers final : public IoHandler {
  public:
    u64 read(u64 offset, unsigned) override { return offset + 1; }
    void write(u64 offset, unsigned, u64 value) override { last = {offset, value}; }
    std::pair<u64, u64> last{};
};

class Card final : public PciFunction {
  public:
    Card()
        : PciFunction("card", {.vendor = 0x1234,
                               .device = 0x5678,
                               .revision = 9,
                               .class_code = 0x020304,
                               .interrupt_pin = 1}),
          vram(0x4000), rom(0x1000, 0x55) {
        set_bar(0, BarKind::Io, 32, &io);
        set_bar(1, BarKind::Memory, 0x1000, &mmio);
        set_bar(2, BarKind::Memory64, 0x10000, &mmio64);
        set_bar(4, BarKind::MemoryRam, vram.size(), nullptr, vram.data());
        set_rom(rom.data(), rom.size());
        set_config(0x44, 2, 0xabcd, 0x00ff);
    }
    using PciFunction::bar_handle;
    using PciFunction::set_intx;
    void config_written(u8 offset, unsigned size) override { written.emplace_back(offset, size); }

    Registers io, mmio, mmio64;
    std::vector<u8> vram, rom;
    std::vector<std::pair<u8, unsigned>> written;
};

class PciTest : public ::testing::Test {
  protected:
    void SetUp() override {
        card.connect(ports, memory, dma, &line);
        bus.attach(3, 2, card);
        ports.map(0xcf8, 8, bus);
    }
    void select(u8 offset) { ports.out(0xcf8, 4, 0x80000000u | 3 << 11 | 2 << 8 | (offset & 0xfc)); }
    u32 get(u8 offset, unsigned size) {
        select(offset);
        return ports.in(u16(0xcfc + (offset & 3)), size);
    }
    void put(u8 offset, unsigned size, u32 value) {
        select(offset);
        ports.out(u16(0xcfc + (offset & 3)), size, value);
    }

    IoBus ports;
    FakeMemoryMap memory;
    FakeDma dma{4096};
    RecordingLine line;
    Card card;
    PciBus bus;
};

TEST_F(PciTest, IdentityIsReadOnly) {
    put(0, 4, 0);
    EXPECT_EQ(get(0, 4), 0x56781234u);
    EXPECT_EQ(get(8, 4), 0x02030409u);
    EXPECT_EQ(get(0x2c, 4), 0x11001af4u);
    EXPECT_EQ(get(0x3d, 1), 1u);
    put(0x3c, 1, 11);
    EXPECT_EQ(get(0x3c, 1), 11u);
    EXPECT_EQ(get(2, 2), 0x5678u);
}

TEST_F(PciTest, MechanismOne) {
    ports.out(0xcf8, 4, 0xffffffff);
    EXPECT_EQ(ports.in(0xcf8, 4), 0x80fffffcu) << "reserved bits read as zero";
    ports.out(0xcf8, 4, 0x80000000u | 4 << 11);
    EXPECT_EQ(ports.in(0xcfc, 4), 0xffffffffu) << "no such function";
    ports.out(0xcf8, 4, 3 << 11 | 2 << 8);
    EXPECT_EQ(ports.in(0xcfc, 4), 0xffffffffu) << "enable bit clear";
    ports.out(0xcf8, 4, 0x80010000u | 3 << 11 | 2 << 8);
    EXPECT_EQ(ports.in(0xcfc, 4), 0xffffffffu) << "bus 1 does not exist";
    ports.out(0xcf8, 4, 0x80001a00);
    ports.out(0xcf8, 1, 0); // only dwords reach the latch
    ports.out(0xcfa, 2, 0);
    EXPECT_EQ(ports.in(0xcf8, 4), 0x80001a00u);
}

TEST_F(PciTest, ResetControlSharesTheRange) {
    Registers rcr;
    EXPECT_EQ(ports.in(0xcf9, 1), 0xffu);
    bus.set_reset_control(&rcr);
    ports.out(0xcf9, 1, 6);
    EXPECT_EQ(rcr.last.second, 6u);
    EXPECT_EQ(ports.in(0xcf9, 1), 1u);
}

TEST_F(PciTest, SizingShowsTheBarsSizes) {
    for (u8 bar = 0x10; bar <= 0x24; bar += 4)
        put(bar, 4, 0xffffffff);
    put(0x30, 4, 0xffffffff);
    EXPECT_EQ(get(0x10, 4), 0xffffffe1u);
    EXPECT_EQ(get(0x14, 4), 0xfffff000u);
    EXPECT_EQ(get(0x18, 4), 0xffff0004u);
    EXPECT_EQ(get(0x1c, 4), 0xffffffffu);
    EXPECT_EQ(get(0x20, 4), 0xffffc008u);
    EXPECT_EQ(get(0x24, 4), 0u);
    EXPECT_EQ(get(0x30, 4), 0xfffff001u);
}

TEST_F(PciTest, SizingWithDecodeOnMapsNothing) {
    put(4, 2, 3);
    for (u8 bar = 0x10; bar <= 0x24; bar += 4)
        put(bar, 4, 0xffffffff);
    put(0x30, 4, 0xffffffff);
    EXPECT_TRUE(memory.regions.empty());
}

TEST_F(PciTest, CommandTurnsDecodingOnAndOff) {
    put(0x10, 4, 0xc000);
    put(0x14, 4, 0xfebf0000);
    put(0x18, 4, 0x00010000);
    put(0x1c, 4, 0x1);
    put(0x20, 4, 0xfd000000);
    EXPECT_EQ(ports.in(0xc003, 1), 0xffu);
    EXPECT_TRUE(memory.regions.empty());
    put(4, 2, 1);
    EXPECT_EQ(ports.in(0xc003, 1), 4u);
    EXPECT_TRUE(memory.regions.empty());
    put(4, 2, 2);
    EXPECT_EQ(ports.in(0xc003, 1), 0xffu);
    ASSERT_TRUE(memory.at(0xfebf0fff));
    EXPECT_EQ(memory.at(0xfebf0fff)->io, &card.mmio);
    ASSERT_TRUE(memory.at(0x100010000));
    EXPECT_EQ(memory.at(0x100010000)->io, &card.mmio64);
    EXPECT_EQ(memory.at(0xfd003fff)->host, card.vram.data());
    EXPECT_NE(card.bar_handle(4), 0u);
    EXPECT_FALSE(memory.at(0xfd004000));
    put(0x14, 4, 0xfea00000); // moves while it decodes
    EXPECT_FALSE(memory.at(0xfebf0000));
    EXPECT_EQ(memory.at(0xfea00000)->io, &card.mmio);
    put(4, 2, 0);
    EXPECT_TRUE(memory.regions.empty());
    EXPECT_EQ(card.bar_handle(4), 0u);
}

TEST_F(PciTest, RomNeedsItsOwnEnable) {
    put(4, 2, 2);
    put(0x30, 4, 0xfeb00000);
    EXPECT_FALSE(memory.at(0xfeb00000));
    put(0x30, 4, 0xfeb00001);
    ASSERT_TRUE(memory.at(0xfeb00000));
    memory.store(0xfeb00000, 1);
    EXPECT_EQ(memory.load(0xfeb00000), 0x55);
}

TEST_F(PciTest, IntxHonoursTheDisableBit) {
    card.set_intx(true);
    EXPECT_TRUE(line.level);
    EXPECT_TRUE(bit(get(6, 2), 3));
    put(4, 2, 0x400);
    EXPECT_FALSE(line.level);
    EXPECT_TRUE(bit(get(6, 2), 3)) << "status shows the interrupt all the same";
    put(4, 2, 0);
    EXPECT_TRUE(line.level);
    card.reset();
    EXPECT_FALSE(line.level);
}

TEST_F(PciTest, DeviceRegistersMaskAndNotify) {
    put(0x44, 4, 0x11111111);
    EXPECT_EQ(get(0x44, 2), 0xab11u);
    ASSERT_EQ(card.written.size(), 1u);
    EXPECT_EQ(card.written[0], (std::pair<u8, unsigned>{0x44, 4}));
}

TEST_F(PciTest, BarOverOtherPortsGivesThemBack) {
    Registers timer;
    ports.map(0x40, 4, timer);
    put(0x10, 4, 0x40);
    put(4, 2, 1);
    EXPECT_EQ(ports.in(0x45, 1), 6u);
    put(0x10, 4, 0xc000);
    ports.out(0x41, 1, 7);
    EXPECT_EQ(timer.last, (std::pair<u64, u64>{1, 7}));
}

TEST_F(PciTest, RandomConfigurationWritesDoNoHarm) {
    const u32 seed = 20240607;
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int i = 0; i < 20000; i++) {
        const unsigned size = 1u << random() % 3;
        const u8 offset = u8(random() & (256 - size));
        card.config_write(offset, size, random() % 3 ? u32(random()) : 0xffffffff);
        for (const auto& [handle, region] : memory.regions) {
            ASSERT_LE(region.gpa + region.bytes, u64{1} << 40);
            ASSERT_NE(region.gpa, 0u);
        }
        ports.in(u16(random() & 0xf000), 1);
    }
    EXPECT_LE(memory.regions.size(), 4u);
    card.reset();
    EXPECT_TRUE(memory.regions.empty());
}

TEST_F(PciTest, RoundTrip) {
    put(0x14, 4, 0xfebf0000);
    put(4, 2, 2);
    const StateImage image = save(card);
    put(0x14, 4, 0xfeaf0000);
    ASSERT_TRUE(load(card, image));
    EXPECT_TRUE(memory.at(0xfebf0000)) << "loading maps the BARs";
    EXPECT_FALSE(memory.at(0xfeaf0000));
    check_round_trip(card, [this] { put(0x14, 4, 0x12345000); });
    EXPECT_TRUE(memory.regions.empty());
}

} // namespace
} // namespace dragoman::hw::test
