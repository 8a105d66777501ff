// The devices by which a guest that is stuck, or has crashed, is noticed.
#include "hw/i6300esb.h"
#include "hw/pvpanic.h"

#include "chip_test_support.h"
#include "memory_test_support.h"

#include <gtest/gtest.h>

namespace dragoman::hw::test {
namespace {

struct Watchdog {
    Watchdog() : chip(time.scheduler, [this] { ++timeouts; }) {
        chip.connect(time.bus, map, dma, &line);
        chip.reset();
        chip.config_write(kPciBar0, 4, 0xfe000000);
        chip.config_write(kPciCommand, 2, 7);
    }
    u64 load(u64 offset, unsigned size) { return map.at(0xfe000000)->io->read(offset, size); }
    void store(u64 offset, unsigned size, u64 value) { map.at(0xfe000000)->io->write(offset, size, value); }
    void unlocked(u64 offset, unsigned size, u64 value) {
        store(12, 2, 0x80);
        store(12, 2, 0x86);
        store(offset, size, value);
    }
    unsigned timeouts = 0;
    Bench time;
    FakeMemoryMap map;
    FakeDma dma{4096};
    RecordingLine line;
    I6300esb chip;
};

// The preload value's unit: 2^15 periods of 30 ns.
constexpr u64 kUnit = u64{30} << 15;

TEST(I6300esb, TwoStages) {
    Watchdog w;
    w.unlocked(0, 4, 999);
    w.unlocked(4, 4, 1999);
    EXPECT_EQ(w.load(0, 4), 999u);
    w.chip.config_write(0x68, 1, 2);
    w.time.run_to(1000 * kUnit - 1);
    EXPECT_EQ(w.load(8, 4), 0u);
    w.time.run_to(1000 * kUnit);
    EXPECT_EQ(w.load(8, 4), 1u);
    EXPECT_TRUE(w.line.level) << "interrupt type 0";
    w.store(8, 2, 1);
    EXPECT_FALSE(w.line.level);
    w.time.run_to(3000 * kUnit - 1);
    EXPECT_EQ(w.timeouts, 0u);
    w.time.run_to(3000 * kUnit);
    EXPECT_EQ(w.timeouts, 1u);
    EXPECT_EQ(w.load(12, 2), 0x200u);
    w.time.run_to(100000 * kUnit);
    EXPECT_EQ(w.timeouts, 1u) << "once";
    w.chip.reset();
    EXPECT_EQ(w.time.scheduler.next_deadline(), Scheduler::never);
}

TEST(I6300esb, IsKeptQuiet) {
    Watchdog w;
    w.unlocked(0, 4, 9);
    w.unlocked(4, 4, 9);
    w.chip.config_write(0x60, 2, 3);
    w.chip.config_write(0x68, 1, 2);
    for (unsigned n = 1; n < 50; ++n) {
        w.time.run_for(15 * kUnit);
        w.unlocked(12, 2, 0x100);
    }
    EXPECT_EQ(w.timeouts, 0u);
    EXPECT_EQ(w.line.rises, 0u) << "interrupts are off";
    w.store(12, 2, 0x100);
    w.time.run_for(15 * kUnit);
    w.store(12, 2, 0x100); // without the unlocking
    w.time.run_for(15 * kUnit);
    EXPECT_EQ(w.timeouts, 1u);
}

TEST(I6300esb, Locks) {
    Watchdog w;
    w.store(0, 4, 5);
    EXPECT_EQ(w.load(0, 4), 0xfffffu) << "only after the two writes";
    w.chip.config_write(0x68, 1, 3);
    w.chip.config_write(0x68, 1, 0);
    EXPECT_EQ(w.chip.config_read(0x68, 1), 3u) << "locked until reset";
    w.chip.reset();
    w.chip.config_write(0x68, 1, 2);
    w.chip.config_write(0x68, 1, 0);
    EXPECT_EQ(w.time.scheduler.next_deadline(), Scheduler::never) << "stopped";
}

TEST(I6300esb, TheShortestPeriodEnds) {
    Watchdog w;
    w.unlocked(0, 4, 0);
    w.unlocked(4, 4, 0);
    w.chip.config_write(0x60, 2, 7);
    w.chip.config_write(0x68, 1, 6); // free-running
    w.time.run_to(1'000'000);
    EXPECT_GT(w.timeouts, 100u);
    EXPECT_LE(w.timeouts, 1000u);
}

TEST(I6300esb, SavesItsState) {
    Watchdog w;
    w.unlocked(0, 4, 9);
    w.chip.config_write(0x68, 1, 2);
    w.time.run_to(11 * kUnit);
    check_round_trip(w.chip, [&] { w.unlocked(12, 2, 0x100); });
}

TEST(Pvpanic, TellsWhatItKnows) {
    std::vector<u8> events;
    PanicRegister port([&](u8 e) { events.push_back(e); });
    EXPECT_EQ(port.read(0, 1), 3u);
    for (const u64 value : {1, 2, 0, 0xfc, 0xff})
        port.write(0, 1, value);
    EXPECT_EQ(events, (std::vector<u8>{1, 2, 3}));
    IoBus ports;
    FakeMemoryMap map;
    FakeDma dma(4096);
    PvpanicPci pci([&](u8 e) { events.push_back(e); });
    pci.connect(ports, map, dma, nullptr);
    pci.reset();
    pci.config_write(kPciBar0, 4, 0xfe000000);
    pci.config_write(kPciCommand, 2, 2);
    EXPECT_EQ(map.load(0xfe000000), 3);
    map.store(0xfe000000, 1);
    map.store(0xfe000001, 1);
    EXPECT_EQ(events.size(), 4u);
}

} // namespace
} // namespace dragoman::hw::test
