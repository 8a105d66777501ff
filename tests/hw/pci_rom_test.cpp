// Expansion ROMs: whose they are, and how the guest sees one.
#include "hw/core/pci_rom.h"

#include "chip_test_support.h"
#include "hw/core/pci.h"
#include "memory_test_support.h"

#include <numeric>
#include <random>

namespace dragoman::hw::test {
namespace {

std::vector<u8> image(u16 vendor, u16 device) {
    std::vector<u8> rom(1536);
    std::iota(rom.begin(), rom.end(), u8{0});
    rom[0] = 0x55, rom[1] = 0xaa, rom[2] = 2; // 1 KiB of it count
    rom[0x18] = 0x40, rom[0x19] = 0;
    const u8 data[] = {'P', 'C', 'I', 'R', u8(vendor), u8(vendor >> 8), u8(device), u8(device >> 8)};
    std::copy(std::begin(data), std::end(data), rom.begin() + 0x40);
    return rom;
}

TEST(PciRom, TakesTheIdsOfItsFunction) {
    std::vector<u8> rom = image(0x1af4, 0x1041);
    adapt_rom(rom, 0x1af4, 0x1000);
    EXPECT_EQ(rom[0x46] | rom[0x47] << 8, 0x1000);
    EXPECT_EQ(std::accumulate(rom.begin(), rom.begin() + 1024, 0u) & 0xff, 0u) << "the checksum";
    const std::vector<u8> before = image(0x8086, 0x100e);
    rom = before;
    adapt_rom(rom, 0x1af4, 0x1000);
    EXPECT_EQ(rom, before) << "another vendor's";
}

TEST(PciRom, AnyBytes) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    for (unsigned round = 0; round < 5000; ++round) {
        std::vector<u8> rom = image(1, 2);
        for (unsigned n = 0; n < 4; ++n)
            rom[random() % 4 ? random() % 0x50 : 0x18 + random() % 2] = u8(random());
        rom.resize(random() % (rom.size() + 1));
        adapt_rom(rom, 1, 3);
    }
}

TEST(PciRom, TheGuestReadsIt) {
    class Card final : public PciFunction {
      public:
        Card() : PciFunction("card", {.vendor = 1, .device = 3, .class_code = 0x020000}) {}
    } card;
    IoBus ports;
    FakeMemoryMap memory;
    FakeDma dma{4096};
    card.install_rom(image(1, 2));
    card.connect(ports, memory, dma, nullptr);
    card.config_write(kPciRomBar, 4, ~u32{0});
    EXPECT_EQ(card.config_read(kPciRomBar, 4), 0xfffff001u) << "4 KiB";
    card.config_write(kPciRomBar, 4, 0xfea00001);
    card.config_write(kPciCommand, 2, 2);
    EXPECT_EQ(memory.load(0xfea00001), 0xaa);
    EXPECT_EQ(memory.load(0xfea00046), 3);
    memory.store(0xfea00001, 0);
    EXPECT_EQ(memory.load(0xfea00001), 0xaa) << "a ROM";
    EXPECT_EQ(memory.load(0xfea00fff), 0xff) << "the rest is empty";
}

} // namespace
} // namespace dragoman::hw::test
