#include "hw/pit8254.h"

#include "chip_test_support.h"

#include <string>

namespace dragoman::hw {
namespace {

using test::Bench;
using test::RecordingLine;

class PitTest : public ::testing::Test {
  protected:
    PitTest() {
        pit.map(bench.bus);
        to(1000); // not at zero, so that a lost origin shows
    }
    void to(i64 pulse) { bench.run_to(Pit8254::time_of(pulse)), pulse_ = pulse; }
    void step(i64 pulses = 1) { to(pulse_ + pulses); }
    void out(u16 port, u8 value) { bench.out(port, value); }
    u8 in(u16 port) { return bench.in(port); }
    // Programs a counter with a two-byte count.
    void program(unsigned counter, unsigned mode, u16 count, bool bcd = false) {
        out(0x43, u8(counter << 6 | 0x30 | mode << 1 | (bcd ? 1 : 0)));
        write16(counter, count);
    }
    void write16(unsigned counter, u16 count) {
        out(u16(0x40 + counter), u8(count)), out(u16(0x40 + counter), u8(count >> 8));
    }
    u16 read16(unsigned counter) {
        const u8 low = in(u16(0x40 + counter));
        return u16(low | in(u16(0x40 + counter)) << 8);
    }
    u16 latched(unsigned counter) { return out(0x43, u8(counter << 6)), read16(counter); }
    u8 status(unsigned counter) { return out(0x43, u8(0xe0 | 2 << counter)), in(u16(0x40 + counter)); }
    bool out2() { return in(0x61) & 0x20; }
    void gate2(bool on) { out(0x61, on ? 1 : 0); }
    // OUT of counter 2 over the next pulses, one character each, after the pulse.
    std::string wave(unsigned pulses) {
        std::string text;
        for (unsigned i = 0; i < pulses; i++)
            step(), text += out2() ? 'H' : 'L';
        return text;
    }
    // The counting element of counter 2 over the next pulses.
    std::string counts(unsigned pulses) {
        std::string text;
        for (unsigned i = 0; i < pulses; i++) {
            step();
            char number[8];
            std::snprintf(number, sizeof number, "%x ", latched(2));
            text += number;
        }
        return text;
    }

    Bench bench;
    RecordingLine irq0;
    Pit8254 pit{bench.scheduler, irq0};
    i64 pulse_ = 0;
};

TEST(PitTime, PulsesAreExactForEver) {
    EXPECT_EQ(Pit8254::pulses_at(1'000'000'000), 1193182);
    EXPECT_EQ(Pit8254::pulses_at(999'999'999), 1193181);
    const u64 year = 365ull * 86400;
    EXPECT_EQ(Pit8254::pulses_at(year * 1'000'000'000), i64(year * 1193182));
    EXPECT_EQ(Pit8254::time_of(i64(year * 1193182)), year * 1'000'000'000);
    for (i64 pulse : {i64{1}, i64{2}, i64{12345677}, i64{99999999999}}) {
        EXPECT_EQ(Pit8254::pulses_at(Pit8254::time_of(pulse)), pulse);
        EXPECT_EQ(Pit8254::pulses_at(Pit8254::time_of(pulse) - 1), pulse - 1);
    }
}

TEST_F(PitTest, Mode0WaveAndCounts) {
    gate2(true);
    program(2, 0, 4);
    EXPECT_FALSE(out2()) << "OUT drops with the control word";
    EXPECT_EQ(counts(7), "4 3 2 1 0 ffff fffe ");
    program(2, 0, 4);
    EXPECT_EQ(wave(7), "LLLLHHH") << "high N + 1 pulses after the count was written";
}

TEST_F(PitTest, Mode0GateStopsCounting) {
    gate2(true);
    program(2, 0, 4);
    step(2);
    gate2(false);
    EXPECT_EQ(counts(3), "3 3 3 ");
    gate2(true);
    EXPECT_EQ(wave(4), "LLHH");
    gate2(false);
    program(2, 0, 2);
    EXPECT_EQ(counts(2), "2 2 ") << "loads although the gate is low";
    gate2(true);
    EXPECT_EQ(wave(3), "LHH");
}

TEST_F(PitTest, Mode0FirstByteStopsAndDropsOut) {
    gate2(true);
    program(2, 0, 2);
    step(4);
    EXPECT_TRUE(out2());
    out(0x42, 3);
    EXPECT_FALSE(out2());
    const u16 held = latched(2);
    step(5);
    EXPECT_EQ(latched(2), held);
    out(0x42, 0);
    EXPECT_EQ(wave(5), "LLLHH");
}

TEST_F(PitTest, Mode1OneShot) {
    gate2(false);
    program(2, 1, 3);
    EXPECT_EQ(wave(3), "HHH") << "waits for the trigger";
    gate2(true);
    EXPECT_EQ(wave(6), "LLLHHH");
    gate2(false), gate2(true);
    step(2);
    write16(2, 2); // no effect on this shot
    EXPECT_EQ(wave(3), "LHH");
    gate2(false), gate2(true);
    EXPECT_EQ(wave(4), "LLHH");
    gate2(false), gate2(true);
    step(1);
    gate2(false), gate2(true); // retriggered
    EXPECT_EQ(wave(4), "LLHH");
}

TEST_F(PitTest, Mode2RateGenerator) {
    gate2(true);
    program(2, 2, 3);
    EXPECT_EQ(wave(9), "HHLHHLHHL");
    program(2, 2, 3);
    EXPECT_EQ(counts(7), "3 2 1 3 2 1 3 ");
    program(2, 2, 4);
    step(2);
    write16(2, 2); // from the next cycle on
    EXPECT_EQ(wave(6), "HLHLHL");
}

TEST_F(PitTest, Mode2Gate) {
    gate2(true);
    program(2, 2, 3);
    step(3);
    EXPECT_FALSE(out2());
    gate2(false);
    EXPECT_TRUE(out2()) << "at once";
    EXPECT_EQ(wave(4), "HHHH");
    gate2(true);
    EXPECT_EQ(wave(4), "HHLH") << "starts anew at the next pulse";
}

TEST_F(PitTest, Mode3SquareWave) {
    gate2(true);
    program(2, 3, 4);
    EXPECT_EQ(wave(8), "HHLLHHLL");
    program(2, 3, 5);
    EXPECT_EQ(wave(10), "HHHLLHHHLL");
    program(2, 3, 4);
    EXPECT_EQ(counts(6), "4 2 4 2 4 2 ");
    program(2, 3, 5);
    EXPECT_EQ(counts(6), "4 2 0 4 2 4 ");
}

TEST_F(PitTest, Mode3NewCountFromTheNextHalfCycle) {
    gate2(true);
    program(2, 3, 8);
    step(2);
    write16(2, 4);
    EXPECT_EQ(wave(8), "HHLLHHLL");
    program(2, 3, 8);
    step(6);
    write16(2, 4);
    EXPECT_EQ(wave(7), "LLHHLLH");
}

TEST_F(PitTest, Mode4SoftwareStrobe) {
    gate2(true);
    program(2, 4, 3);
    EXPECT_EQ(wave(8), "HHHLHHHH");
    program(2, 4, 3);
    step(2);
    write16(2, 3);
    EXPECT_EQ(wave(6), "HHHLHH") << "a new count starts again";
    program(2, 4, 3);
    step(1);
    gate2(false);
    step(5);
    gate2(true);
    EXPECT_EQ(wave(5), "HHLHH");
}

TEST_F(PitTest, Mode5HardwareStrobe) {
    gate2(false);
    program(2, 5, 2);
    EXPECT_EQ(wave(4), "HHHH");
    gate2(true);
    EXPECT_EQ(wave(5), "HHLHH");
}

TEST_F(PitTest, ModesSixAndSevenAreTwoAndThree) {
    gate2(true);
    program(2, 6, 3);
    EXPECT_EQ(wave(6), "HHLHHL");
    program(2, 7, 4);
    EXPECT_EQ(wave(6), "HHLLHH");
}

TEST_F(PitTest, Bcd) {
    gate2(true);
    program(2, 0, 0x1000, true);
    step(1);
    EXPECT_EQ(latched(2), 0x1000);
    step(1);
    EXPECT_EQ(latched(2), 0x0999);
    step(999);
    EXPECT_EQ(latched(2), 0x0000);
    EXPECT_TRUE(out2());
    step(1);
    EXPECT_EQ(latched(2), 0x9999);
    program(2, 2, 0, true); // 0 counts ten thousand
    step(10000);
    EXPECT_EQ(latched(2), 0x0001);
}

TEST_F(PitTest, CountZeroIsTheLargest) {
    gate2(true);
    program(2, 2, 0);
    step(1);
    EXPECT_EQ(latched(2), 0);
    step(1);
    EXPECT_EQ(latched(2), 0xffff);
    step(0xfffe);
    EXPECT_FALSE(out2());
}

TEST_F(PitTest, AccessModes) {
    gate2(true);
    out(0x43, 0x90), out(0x42, 0x34); // low byte only
    step(1);
    EXPECT_EQ(in(0x42), 0x34);
    EXPECT_EQ(in(0x42), 0x34);
    out(0x43, 0xa0), out(0x42, 0x12); // high byte only
    step(1);
    EXPECT_EQ(in(0x42), 0x12);
    out(0x43, 0xb0), write16(2, 0x5678);
    step(1);
    EXPECT_EQ(in(0x42), 0x78);
    EXPECT_EQ(in(0x42), 0x56);
}

TEST_F(PitTest, LatchHoldsUntilRead) {
    gate2(true);
    program(2, 0, 0x1234);
    step(1);
    out(0x43, 0x80);
    step(0x10);
    out(0x43, 0x80); // ignored: the first has not been read
    EXPECT_EQ(read16(2), 0x1234);
    EXPECT_EQ(read16(2), 0x1224) << "live again";
}

TEST_F(PitTest, ReadBackLatchesSeveralAndStatusComesFirst) {
    program(0, 2, 0x4000);
    program(1, 3, 0x2000);
    step(11);
    out(0x43, 0xc6); // count and status of 0 and 1
    step(50);
    EXPECT_EQ(in(0x40), 0x80 | 0x34);
    EXPECT_EQ(read16(0), 0x4000 - 10);
    EXPECT_EQ(in(0x41), 0x80 | 0x36);
    EXPECT_EQ(read16(1), 0x2000 - 20);
}

TEST_F(PitTest, NullCount) {
    gate2(true);
    program(2, 2, 10);
    EXPECT_EQ(status(2), 0x80 | 0x40 | 0x34);
    step(1);
    EXPECT_EQ(status(2), 0x80 | 0x34);
    step(1);
    write16(2, 20);
    EXPECT_EQ(status(2), 0x80 | 0x40 | 0x34);
    step(8);
    EXPECT_EQ(status(2), 0x40 | 0x34) << "the last pulse of the old cycle";
    step(1);
    EXPECT_EQ(status(2), 0x80 | 0x34);
}

TEST_F(PitTest, Out0DrivesTheLineAtTheExactPulse) {
    program(0, 0, 100);
    EXPECT_FALSE(irq0.level);
    to(1100);
    EXPECT_FALSE(irq0.level);
    bench.run_to(Pit8254::time_of(1101) - 1);
    EXPECT_FALSE(irq0.level);
    to(1101);
    EXPECT_TRUE(irq0.level);
    EXPECT_EQ(bench.scheduler.next_deadline(), Scheduler::never);
}

TEST_F(PitTest, RateDoesNotDrift) {
    program(0, 2, 11932);
    const unsigned before = irq0.rises;
    bench.run_for(100'000'000'000); // 100 s
    EXPECT_EQ(irq0.rises - before, 100u * 1193182 / 11932);
}

TEST_F(PitTest, LateHostStillGetsAnEdge) {
    program(0, 2, 1193);
    step(2);
    const unsigned before = irq0.rises;
    bench.clock.set(bench.clock.now() + 50'000'000); // 50 periods without the scheduler
    bench.scheduler.run_due();
    EXPECT_GT(irq0.rises, before);
    EXPECT_GT(bench.scheduler.next_deadline(), bench.clock.now()) << "no backlog is left";
}

TEST_F(PitTest, TicksThatFellWhileTheHostWasAwayFollow) {
    for (const unsigned mode : {2u, 3u}) {
        program(0, mode, 4773); // 4 ms
        step(1);
        const unsigned before = irq0.rises;
        step(4773);
        EXPECT_EQ(irq0.rises - before, 1u);
        pulse_ += 24 * 4773;
        bench.clock.set(Pit8254::time_of(pulse_));
        bench.scheduler.run_due();
        EXPECT_EQ(irq0.rises - before, 2u) << "never two at once";
        step(2 * 4773);
        EXPECT_GT(irq0.rises - before, 4u + 5u) << "faster than the period";
        EXPECT_LT(irq0.rises - before, 4u + 20u);
        step(73 * 4773);
        EXPECT_EQ(irq0.rises - before, 100u) << "none is lost, none is too many";
        pulse_ += 24 * 4773;
        bench.clock.set(Pit8254::time_of(pulse_));
        bench.scheduler.run_due();
        program(0, mode, 4773);
        const unsigned then = irq0.rises;
        step(4000);
        EXPECT_LE(irq0.rises - then, 0u) << "programmed anew: nothing is owed";
    }
}

TEST_F(PitTest, CountOfOneMakesNoStorm) {
    for (unsigned mode : {2u, 3u}) {
        program(0, mode, 1);
        step(2);
        EXPECT_EQ(bench.scheduler.next_deadline(), Scheduler::never);
        EXPECT_TRUE(irq0.level);
    }
}

TEST_F(PitTest, ReprogrammingDropsThePendingEdge) {
    program(0, 0, 100);
    step(50);
    program(0, 0, 1000);
    step(100);
    EXPECT_FALSE(irq0.level);
    step(901);
    EXPECT_TRUE(irq0.level);
}

TEST_F(PitTest, Port61) {
    out(0x61, 0xff);
    EXPECT_EQ(in(0x61) & 0xcf, 0x0f) << "only the low four bits are written";
    EXPECT_EQ(pit.nmi_disables(), 0x0c);
    const u8 before = in(0x61) & 0x10;
    step(18);
    EXPECT_NE(in(0x61) & 0x10, before);
    step(18);
    EXPECT_EQ(in(0x61) & 0x10, before);
}

TEST_F(PitTest, SpeakerNeedsItsEnable) {
    out(0x61, 0x01);
    program(2, 3, 10);
    step(2);
    EXPECT_FALSE(pit.speaker_level());
    out(0x61, 0x03);
    EXPECT_TRUE(pit.speaker_level());
    step(5);
    EXPECT_FALSE(pit.speaker_level());
}

TEST_F(PitTest, RoundTrip) {
    program(0, 2, 1000);
    gate2(true);
    program(2, 3, 77);
    step(30);
    out(0x43, 0x80);
    out(0x41, 0x12);
    test::check_round_trip(pit, [&] {
        step(2000);
        program(0, 0, 5);
        read16(2);
        gate2(false);
    });
}

TEST_F(PitTest, LoadingRearmsTheTimer) {
    program(0, 0, 100);
    const StateImage image = test::save(pit);
    program(0, 0, 60000);
    EXPECT_TRUE(test::load(pit, image));
    EXPECT_EQ(bench.scheduler.next_deadline(), Pit8254::time_of(1001));
    to(1101);
    EXPECT_TRUE(irq0.level);
}

} // namespace
} // namespace dragoman::hw
