// HPET (IA-PC HPET specification 1.0a, 2.3).
#include "hw/hpet.h"

#include "base/bits.h"
#include "chip_test_support.h"

#include <optional>
#include <random>

namespace dragoman::hw::test {
namespace {

class HpetTest : public ::testing::Test, protected Bench {
  protected:
    HpetTest() {
        for (unsigned i = 0; i < 24; i++)
            outputs[i] = &lines[i];
        hpet.emplace(scheduler, outputs, irq0, irq8);
    }
    u64 get(u64 offset) { return hpet->read(offset, 8); }
    void put(u64 offset, u64 value) { hpet->write(offset, 8, value); }
    static u64 conf(unsigned n) { return 0x100 + 0x20 * n; }
    static u64 comp(unsigned n) { return 0x108 + 0x20 * n; }

    std::array<RecordingLine, 24> lines;
    std::array<IrqLine*, 24> outputs{};
    RecordingLine irq0, irq8;
    std::optional<Hpet> hpet;
};

TEST_F(HpetTest, Capabilities) {
    EXPECT_EQ(get(0), u64{10000000} << 32 | 0x8086a201);
    EXPECT_EQ(hpet->read(4, 4), 10000000u) << "10 ns";
    for (unsigned n = 0; n < 3; n++) {
        EXPECT_EQ(get(conf(n)), u64{0x00ff0104} << 32 | 0x30) << n;
        EXPECT_EQ(get(comp(n)), ~u64{0}) << n;
    }
    put(0, 0);
    EXPECT_EQ(get(0) >> 32, 10000000u);
    EXPECT_EQ(get(0x160), 0u) << "no fourth timer";
}

TEST_F(HpetTest, CounterRunsOnlyWhileEnabled) {
    run_for(5000);
    EXPECT_EQ(get(0xf0), 0u);
    put(0x10, 1);
    run_for(12345);
    EXPECT_EQ(get(0xf0), 1234u);
    put(0x10, 0);
    run_for(1000);
    EXPECT_EQ(get(0xf0), 1234u);
    put(0xf0, 0x1122334455667788);
    put(0x10, 1);
    run_for(100);
    EXPECT_EQ(get(0xf0), 0x1122334455667792u);
    EXPECT_EQ(hpet->read(0xf0, 4), 0x55667792u);
    EXPECT_EQ(hpet->read(0xf4, 4), 0x11223344u);
}

TEST_F(HpetTest, OneShotEdge) {
    put(conf(2), 20 << 9 | 4);
    put(comp(2), 1000);
    put(0x10, 1);
    run_to(9999);
    EXPECT_EQ(lines[20].rises, 0u);
    run_to(10000);
    EXPECT_EQ(lines[20].rises, 1u);
    EXPECT_FALSE(lines[20].level);
    EXPECT_EQ(get(0x20), 0u) << "status is for level-triggered timers";
    run_for(1000000000);
    EXPECT_EQ(lines[20].rises, 1u);
}

TEST_F(HpetTest, ComparatorInThePastWaitsForTheWrap) {
    put(conf(0), 16 << 9 | 4 | 0x100); // 32-bit mode
    put(0x10, 1);
    run_to(100000);
    put(comp(0), 9999); // one tick ago
    run_to(u64{9999 + 0x100000000} * 10 - 1);
    EXPECT_EQ(lines[16].rises, 0u);
    run_for(1);
    EXPECT_EQ(lines[16].rises, 1u);
}

TEST_F(HpetTest, LevelTriggered) {
    put(conf(0), 17 << 9 | 6);
    put(comp(0), 100);
    put(0x10, 1);
    run_to(1000);
    EXPECT_TRUE(lines[17].level);
    EXPECT_EQ(get(0x20), 1u);
    put(0x20, 0);
    EXPECT_TRUE(lines[17].level);
    put(0x20, 1);
    EXPECT_FALSE(lines[17].level);
    EXPECT_EQ(get(0x20), 0u);
}

TEST_F(HpetTest, LevelStatusWithoutInterruptEnable) {
    put(conf(0), 17 << 9 | 2);
    put(comp(0), 100);
    put(0x10, 1);
    run_to(1000);
    EXPECT_EQ(get(0x20), 1u);
    EXPECT_FALSE(lines[17].level);
}

TEST_F(HpetTest, PeriodicWithValSet) {
    put(conf(0), 18 << 9 | 4 | 8 | 0x40);
    put(comp(0), 5000); // the accumulator, by VAL_SET
    put(comp(0), 2000); // the period
    EXPECT_EQ(get(conf(0)) & 0x40, 0u) << "VAL_SET clears itself";
    EXPECT_EQ(get(comp(0)), 5000u);
    put(0x10, 1);
    run_to(50000);
    EXPECT_EQ(lines[18].rises, 1u);
    EXPECT_EQ(get(comp(0)), 7000u);
    run_to(50000 + 10 * 20000);
    EXPECT_EQ(lines[18].rises, 11u);
    EXPECT_EQ(get(comp(0)), 27000u);
}

// As Linux leaves the one it began with: the guest sees it move on, but the host is not woken for that.
TEST_F(HpetTest, PeriodicWithoutInterruptWakesNobody) {
    put(conf(0), 18 << 9 | 8 | 0x40);
    put(comp(0), 5000);
    put(comp(0), 2000);
    put(0x10, 1);
    EXPECT_EQ(scheduler.next_deadline(), Scheduler::never);
    run_to(50000 + 10 * 20000);
    EXPECT_EQ(get(comp(0)), 27000u);
    run_to(269990);
    EXPECT_EQ(get(comp(0)), 27000u);
    put(conf(0), 18 << 9 | 4 | 8);
    run_to(270000);
    EXPECT_EQ(lines[18].rises, 1u) << "watched again, and in phase";
    EXPECT_EQ(get(comp(0)), 29000u);
}

TEST_F(HpetTest, PeriodicCatchesUpInOneStep) {
    put(conf(0), 18 << 9 | 4 | 8 | 0x40);
    put(comp(0), 2000);
    put(0x10, 1);
    clock.set(1000000); // 50 periods without the scheduler
    scheduler.run_due();
    EXPECT_EQ(lines[18].rises, 1u);
    EXPECT_EQ(get(comp(0)), 102000u);
    run_for(1000000);
    EXPECT_EQ(lines[18].rises, 51u) << "20 us: too fast to be owed";
}

// Linux waits 160 ms and wants five ticks of 4 ms: a host that gives the processor a little time now and
// then.
TEST_F(HpetTest, TicksThatFellWhileTheHostWasAwayFollow) {
    put(conf(0), 18 << 9 | 4 | 8 | 0x40);
    put(comp(0), 400000);
    put(0x10, 1);
    run_to(4000000);
    EXPECT_EQ(lines[18].rises, 1u);
    clock.set(102000000); // 24 more are due
    scheduler.run_due();
    EXPECT_EQ(lines[18].rises, 2u) << "never two at once";
    for (unsigned n = 3; n <= 5; ++n) {
        run_for(500000);
        EXPECT_EQ(lines[18].rises, n) << "an eighth of the period apart";
    }
    run_to(200000000);
    EXPECT_EQ(lines[18].rises, 50u) << "none is lost, none is too many";
    run_to(220000000);
    EXPECT_EQ(lines[18].rises, 55u);
    clock.set(320000000);
    scheduler.run_due();
    put(comp(0), 400000); // programmed anew: nothing is owed
    const unsigned before = lines[18].rises;
    run_for(3000000);
    EXPECT_EQ(lines[18].rises, before);
}

TEST_F(HpetTest, TooFastPeriodDoesNotHang) {
    put(conf(0), 18 << 9 | 4 | 8 | 0x40);
    put(comp(0), 1);
    put(0x10, 1);
    for (int i = 0; i < 100; i++) {
        ASSERT_NE(scheduler.next_deadline(), Scheduler::never);
        clock.set(std::max(clock.now(), scheduler.next_deadline()));
        scheduler.run_due();
    }
    EXPECT_GT(clock.now(), 900000u);
    EXPECT_EQ(lines[18].rises, 100u);
}

TEST_F(HpetTest, LegacyReplacement) {
    hpet->pit_in().raise();
    EXPECT_TRUE(irq0.level) << "the 8254 passes";
    hpet->rtc_in().pulse();
    EXPECT_EQ(irq8.rises, 1u);
    put(conf(0), 20 << 9 | 4);
    put(conf(1), 6);
    put(comp(0), 1000);
    put(comp(1), 2000);
    put(0x10, 3);
    EXPECT_FALSE(irq0.level) << "cut off";
    hpet->rtc_in().pulse();
    EXPECT_EQ(irq8.rises, 1u);
    run_to(10000);
    EXPECT_EQ(irq0.rises, 2u);
    EXPECT_EQ(lines[20].rises, 0u);
    run_to(20000);
    EXPECT_TRUE(irq8.level);
    put(0x20, 2);
    EXPECT_FALSE(irq8.level);
    put(0x10, 1);
    EXPECT_TRUE(irq0.level) << "the 8254's level shows again";
}

TEST_F(HpetTest, HalvesOf64Bits) {
    hpet->write(comp(1), 4, 0x11111111);
    hpet->write(comp(1) + 4, 4, 0x22222222);
    EXPECT_EQ(get(comp(1)), 0x2222222211111111u);
    hpet->write(conf(1), 4, 4 | 16 << 9);
    EXPECT_EQ(hpet->read(conf(1) + 4, 4), 0x00ff0104u);
    hpet->write(comp(1), 1, 0); // too narrow
    EXPECT_EQ(get(comp(1)), 0x2222222211111111u);
}

TEST_F(HpetTest, RouteThatIsNotThereKeepsTheOld) {
    put(conf(0), 20 << 9);
    put(conf(0), 5 << 9);
    EXPECT_EQ(bits(get(conf(0)), 13, 9), 20u);
}

// As the host's clock does: it goes on while a chip works.
class MovingClock final : public Clock {
  public:
    u64 now() const override { return ns_ += 7; }

  private:
    mutable u64 ns_ = 0;
};

TEST(HpetMovingClock, PeriodicTimerSurvives) {
    MovingClock moving;
    Scheduler scheduler(moving);
    RecordingLine route, irq0, irq8;
    std::array<IrqLine*, 24> outputs{};
    outputs[16] = &route;
    Hpet hpet(scheduler, outputs, irq0, irq8);
    hpet.write(0x100, 8, 16 << 9 | 4 | 8 | 0x40);
    hpet.write(0x108, 8, 1000);
    hpet.write(0x10, 8, 1);
    for (int i = 0; i < 200000; i++) {
        if (i % 3) scheduler.run_due();
        hpet.write(0x120, 8, u64(i & 1) << 2); // another timer, so that all are armed anew
        ASSERT_NE(scheduler.next_deadline(), Scheduler::never) << "lost after " << i << " accesses";
    }
    EXPECT_GT(route.rises, 100u);
}

TEST_F(HpetTest, RandomGuest) {
    const u32 seed = 31337;
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    for (int i = 0; i < 100000; i++) {
        const u64 offset = random() % 3 ? random() % 0x180 : random() % 0x1000;
        const u64 value = random() >> random() % 64;
        if (random() % 2)
            hpet->write(offset & ~u64{7}, 8, value);
        else
            hpet->write(offset, 1u << random() % 4, value);
        hpet->read(random() % 0x1000, 1u << random() % 4);
        clock.set(clock.now() + random() % 100000);
        scheduler.run_due();
    }
}

TEST_F(HpetTest, RoundTrip) {
    put(conf(2), 20 << 9 | 4);
    put(comp(2), 1000);
    put(0x10, 1);
    run_to(5000);
    const StateImage image = save(*hpet);
    put(0x10, 0);
    put(comp(2), 7);
    ASSERT_TRUE(load(*hpet, image));
    EXPECT_EQ(get(0xf0), 500u);
    run_to(10000);
    EXPECT_EQ(lines[20].rises, 1u) << "armed again after loading";
    check_round_trip(*hpet, [this] { put(comp(1), 3); });
}

} // namespace
} // namespace dragoman::hw::test
