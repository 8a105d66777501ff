// A bus master's dword in the window of the local APICs is an interrupt message.
#include "hw/pci_dma.h"

#include "chip_test_support.h"
#include "hw/lapic.h"
#include "memory_test_support.h"

namespace dragoman::hw::test {
namespace {

TEST(PciDma, MessagesReachTheLocalApicAndTheRestReachesMemory) {
    Bench bench;
    QuietLog log;
    FakeMemoryMap map;
    FakeDma ram(0x1000);
    ApicBus bus;
    RecordingLine intr;
    Lapic lapic({}, bench.scheduler, map, bus, intr, log, {});
    bus.attach(lapic);
    lapic.reset();
    PciDma dma(ram, bus);
    map.at(0xfee00000)->io->write(0xf0, 4, 0x1ff); // software enable

    dma.put<u32>(0xfee00000, 0x45);
    EXPECT_TRUE(intr.level);
    EXPECT_EQ(lapic.acknowledge(), 0x45);
    EXPECT_FALSE(dma.write(0xfee00000, "12345678", 8)) << "a message is a dword";
    dma.put<u32>(0x10, 0xabcd);
    EXPECT_EQ(dma.get<u32>(0x10), 0xabcdu);
    EXPECT_FALSE(dma.write(0xfee01000 + 0x100000, "1234", 4));
}

} // namespace
} // namespace dragoman::hw::test
