#include "hw/rtc_mc146818.h"

#include "chip_test_support.h"

#include <cstdio>
#include <string>

namespace dragoman::hw {
namespace {

using test::Bench;
using test::RecordingLine;

constexpr u64 ms = 1'000'000, second = 1000 * ms;
constexpr i64 leap_eve = 1709251195; // Thursday 2024-02-29 23:59:55 UTC

class RtcTest : public ::testing::Test {
  protected:
    RtcTest() { rtc.map(bench.bus); }
    u8 get(u8 index) { return bench.out(0x70, index), bench.in(0x71); }
    void put(u8 index, u8 value) { bench.out(0x70, index), bench.out(0x71, value); }
    // Century, year, month, day, weekday, hour, minute, second, as the registers read.
    std::string time() {
        char text[40];
        std::snprintf(text, sizeof text, "%02x%02x-%02x-%02x %x %02x:%02x:%02x", get(0x32), get(9), get(8),
                      get(7), get(6), get(4), get(2), get(0));
        return text;
    }

    Bench bench;
    test::QuietLog log;
    RecordingLine irq8;
    Rtc rtc{bench.scheduler, irq8, leap_eve, log};
};

TEST_F(RtcTest, StartsAtTheGivenTime) {
    EXPECT_EQ(time(), "2024-02-29 5 23:59:55");
}

TEST_F(RtcTest, SetTimeKnowsTheCalendar) {
    const struct {
        i64 at;
        const char* text;
    } cases[] = {{0, "1970-01-01 5 00:00:00"},
                 {951782400, "2000-02-29 3 00:00:00"},
                 {946684799, "1999-12-31 6 23:59:59"},
                 {4102444800, "2100-01-01 6 00:00:00"},
                 {-1, "1969-12-31 4 23:59:59"}};
    for (const auto& c : cases) {
        rtc.set_time(c.at);
        EXPECT_EQ(time(), c.text) << c.at;
    }
}

TEST_F(RtcTest, CountsOverMonthAndYear) {
    bench.run_for(5 * second);
    EXPECT_EQ(time(), "2024-03-01 6 00:00:00");
    rtc.set_time(946684799); // 1999-12-31 23:59:59
    bench.run_for(second);
    EXPECT_EQ(time(), "2000-01-01 7 00:00:00");
}

TEST_F(RtcTest, LeapYears) {
    rtc.set_time(1709164799); // 2024-02-28 23:59:59
    bench.run_for(second);
    EXPECT_EQ(time(), "2024-02-29 5 00:00:00");
    rtc.set_time(1677628799); // 2023-02-28 23:59:59
    bench.run_for(second);
    EXPECT_EQ(time(), "2023-03-01 4 00:00:00");
}

TEST_F(RtcTest, CatchesUpAfterALongWait) {
    bench.clock.set(40 * 86400 * second);
    EXPECT_EQ(time(), "2024-04-09 3 23:59:55");
}

TEST_F(RtcTest, BinaryAndTwelveHours) {
    put(0x0b, 0x04); // binary, 12 hours
    rtc.set_time(leap_eve);
    EXPECT_EQ(get(0), 55);
    EXPECT_EQ(get(2), 59);
    EXPECT_EQ(get(4), 0x80 | 11);
    bench.run_for(5 * second);
    EXPECT_EQ(get(4), 12) << "midnight is 12 AM";
    EXPECT_EQ(get(9), 24);
    bench.run_for(12 * 3600 * second);
    EXPECT_EQ(get(4), 0x80 | 12) << "noon is 12 PM";
    bench.run_for(3600 * second);
    EXPECT_EQ(get(4), 0x80 | 1);
    put(0x0b, 0x00); // BCD, 12 hours
    rtc.set_time(leap_eve);
    EXPECT_EQ(get(4), 0x80 | 0x11);
}

TEST_F(RtcTest, SetBitHoldsTheUpdate) {
    put(0x0b, 0x82);
    bench.run_for(3 * second);
    EXPECT_EQ(get(0), 0x55);
    put(4, 0x12), put(2, 0x34), put(0, 0x56);
    put(0x0b, 0x02);
    bench.run_for(2 * second);
    EXPECT_EQ(get(4), 0x12);
    EXPECT_EQ(get(2), 0x34);
    EXPECT_EQ(get(0), 0x58);
}

TEST_F(RtcTest, UipRisesBeforeTheUpdateAndFallsWithIt) {
    EXPECT_EQ(get(0x0a), 0x26);
    bench.run_to(second - 2'228'001);
    EXPECT_EQ(get(0x0a) & 0x80, 0);
    bench.run_to(second - 2'228'000);
    EXPECT_EQ(get(0x0a) & 0x80, 0x80);
    bench.run_to(second - 1);
    EXPECT_EQ(get(0x0a) & 0x80, 0x80);
    EXPECT_EQ(get(0), 0x55);
    bench.run_to(second);
    EXPECT_EQ(get(0x0a) & 0x80, 0);
    EXPECT_EQ(get(0), 0x56);
    put(0x0b, 0x82);
    bench.run_to(2 * second - 1000);
    EXPECT_EQ(get(0x0a) & 0x80, 0) << "no update while SET";
}

TEST_F(RtcTest, UpdateEndedInterrupt) {
    get(0x0c);
    put(0x0b, 0x12);
    bench.run_to(second - 1);
    EXPECT_FALSE(irq8.level);
    bench.run_to(second);
    EXPECT_TRUE(irq8.level);
    EXPECT_EQ(get(0x0c), 0xd0) << "IRQF and UF; PF is set whether or not it is enabled";
    EXPECT_FALSE(irq8.level);
    EXPECT_EQ(get(0x0c), 0x00);
    put(0x0b, 0x92);
    EXPECT_EQ(get(0x0b), 0x82) << "SET clears UIE";
}

TEST_F(RtcTest, FlagsAreSetWithoutTheirEnable) {
    bench.run_for(second);
    EXPECT_FALSE(irq8.level);
    EXPECT_EQ(get(0x0c) & 0xf0, 0x50) << "UF and PF, no IRQF";
    bench.run_for(second);
    put(0x0b, 0x12);
    EXPECT_TRUE(irq8.level) << "enabling finds the flag set";
}

TEST_F(RtcTest, AlarmExactAndDontCare) {
    put(1, 0x58), put(3, 0x59), put(5, 0x23);
    put(0x0b, 0x22);
    bench.run_for(2 * second + 999 * ms);
    EXPECT_FALSE(irq8.level);
    bench.run_for(ms);
    EXPECT_TRUE(irq8.level);
    EXPECT_EQ(get(0x0c) & 0xb0, 0xb0);
    put(1, 0x00), put(3, 0xc0), put(5, 0xff); // each full minute
    unsigned before = irq8.rises;
    for (int i = 0; i < 180; i++) {
        bench.run_for(second);
        get(0x0c);
    }
    EXPECT_EQ(irq8.rises - before, 3u);
}

TEST_F(RtcTest, PeriodicRates) {
    const struct {
        u8 rs;
        unsigned hz;
    } cases[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {15, 2}};
    for (const auto& c : cases) {
        put(0x0a, u8(0x20 | c.rs));
        put(0x0b, 0x42);
        get(0x0c);
        const u64 end = bench.clock.now() + 2 * second;
        const unsigned before = irq8.rises;
        while (bench.scheduler.next_deadline() <= end) {
            bench.run_to(bench.scheduler.next_deadline());
            if (irq8.level) get(0x0c);
        }
        bench.run_to(end);
        get(0x0c);
        EXPECT_EQ(irq8.rises - before, 2 * c.hz) << "RS = " << int(c.rs);
    }
}

TEST_F(RtcTest, PeriodicTimerRestsUntilAcknowledged) {
    put(0x0b, 0x42);
    bench.run_for(500 * ms);
    EXPECT_EQ(irq8.rises, 1u);
    EXPECT_EQ(get(0x0c), 0xc0);
    bench.run_for(ms);
    EXPECT_EQ(irq8.rises, 2u);
}

TEST_F(RtcTest, DividerResetDelaysTheUpdateByHalfASecond) {
    bench.run_for(100 * ms);
    put(0x0a, 0x76);
    bench.run_for(10 * second);
    EXPECT_EQ(get(0), 0x55);
    EXPECT_EQ(get(0x0a), 0x76);
    put(0x0a, 0x26);
    bench.run_for(500 * ms - 1);
    EXPECT_EQ(get(0), 0x55);
    bench.run_for(1);
    EXPECT_EQ(get(0), 0x56);
}

TEST_F(RtcTest, ReadOnlyRegisters) {
    put(0x0a, 0xa6);
    EXPECT_EQ(get(0x0a) & 0x80, 0);
    put(0x0d, 0x00);
    EXPECT_EQ(get(0x0d), 0x80);
    put(0x0c, 0xff);
    EXPECT_EQ(get(0x0c), 0x00);
    EXPECT_EQ(bench.in(0x70), 0xff);
}

TEST_F(RtcTest, RamNmiMaskAndReset) {
    rtc.set_cmos(0x15, 0x80);
    rtc.set_cmos(0xb0, 0x5a);
    EXPECT_EQ(get(0x95), 0x80);
    EXPECT_TRUE(rtc.nmi_masked());
    bench.out(0x72, 0xb0); // bit 7 does not count
    EXPECT_EQ(bench.in(0x73), 0x5a);
    bench.out(0x73, 0xa5);
    put(0x7f, 0x77);
    put(0x0b, 0x7a);
    bench.run_for(second);
    EXPECT_TRUE(irq8.level);
    rtc.reset();
    EXPECT_FALSE(irq8.level);
    EXPECT_FALSE(rtc.nmi_masked());
    EXPECT_EQ(get(0x0b), 0x02);
    EXPECT_EQ(get(0x0c), 0x00);
    EXPECT_EQ(rtc.cmos(0x15), 0x80);
    EXPECT_EQ(rtc.cmos(0xb0), 0xa5);
    EXPECT_EQ(get(0x7f), 0x77);
    EXPECT_EQ(time(), "2024-02-29 5 23:59:56");
}

TEST_F(RtcTest, AnyRegisterContentsSurvive) {
    for (unsigned value = 0; value < 256; value++) {
        for (u8 index = 0; index < 0x33; index++)
            put(index, u8(value + index * 37));
        bench.run_for(3 * second);
        time();
    }
}

TEST_F(RtcTest, RoundTrip) {
    put(0x0b, 0x72);
    put(0x40, 0x12);
    bench.out(0x72, 0x33);
    bench.run_for(second + 300 * ms);
    test::check_round_trip(rtc, [&] {
        get(0x0c);
        bench.run_for(7 * second);
        put(0x40, 0x34);
        bench.out(0x72, 0x44);
    });
}

TEST_F(RtcTest, LoadingRearmsAndRestoresTheLine) {
    put(0x0b, 0x12);
    bench.run_for(second);
    const StateImage image = test::save(rtc);
    get(0x0c);
    put(0x0a, 0x70);
    EXPECT_FALSE(irq8.level);
    EXPECT_TRUE(test::load(rtc, image));
    EXPECT_TRUE(irq8.level);
    EXPECT_EQ(bench.scheduler.next_deadline(), 2 * second);
}

} // namespace
} // namespace dragoman::hw
