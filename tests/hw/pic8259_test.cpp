#include "hw/pic8259.h"

#include "chip_test_support.h"

namespace dragoman::hw {
namespace {

using test::Bench;
using test::RecordingLine;

class PicTest : public ::testing::Test {
  protected:
    PicTest() { pair.map(bench.bus); }

    // As the PC firmware does it: vectors 0x08 and 0x70, cascade on IR2, 8086 mode, everything unmasked.
    void init(u8 master_icw4 = 0x01, u8 slave_icw4 = 0x01, u8 icw1 = 0x11) {
        out(0x20, icw1), out(0x21, 0x08), out(0x21, 0x04), out(0x21, master_icw4);
        out(0xa0, icw1), out(0xa1, 0x70), out(0xa1, 0x02), out(0xa1, slave_icw4);
    }
    void out(u16 port, u8 value) { bench.out(port, value); }
    u8 irr(u16 port = 0x20) { return out(port, 0x0a), bench.in(port); }
    u8 isr(u16 port = 0x20) { return out(port, 0x0b), bench.in(port); }
    void raise(unsigned irq) { pair.line(irq).raise(); }
    void lower(unsigned irq) { pair.line(irq).lower(); }
    void pulse(unsigned irq) { pair.line(irq).pulse(); }

    Bench bench;
    test::QuietLog log;
    RecordingLine intr;
    PicPair pair{intr, log};
};

TEST_F(PicTest, NothingBeforeInitialization) {
    raise(0);
    EXPECT_FALSE(intr.level);
    init();
    EXPECT_FALSE(intr.level) << "ICW1 resets the edge sense: the request must rise again";
    lower(0);
    raise(0);
    EXPECT_TRUE(intr.level);
}

TEST_F(PicTest, RequestAcknowledgeEnd) {
    init();
    pulse(4);
    EXPECT_TRUE(intr.level);
    EXPECT_EQ(irr(), 0x10);
    EXPECT_EQ(isr(), 0x00);
    EXPECT_EQ(pair.acknowledge(), 0x0c);
    EXPECT_FALSE(intr.level);
    EXPECT_EQ(irr(), 0x00);
    EXPECT_EQ(isr(), 0x10);
    out(0x20, 0x20);
    EXPECT_EQ(isr(), 0x00);
}

TEST_F(PicTest, MaskHoldsARequestBack) {
    init();
    out(0x21, 0x10);
    EXPECT_EQ(bench.in(0x21), 0x10);
    pulse(4);
    EXPECT_FALSE(intr.level);
    EXPECT_EQ(irr(), 0x10);
    out(0x21, 0x00);
    EXPECT_TRUE(intr.level);
}

TEST_F(PicTest, FullyNestedMode) {
    init();
    pulse(4);
    EXPECT_EQ(pair.acknowledge(), 0x0c);
    pulse(5);
    EXPECT_FALSE(intr.level) << "lower priority waits";
    pulse(4);
    EXPECT_FALSE(intr.level) << "equal priority waits";
    pulse(1);
    EXPECT_TRUE(intr.level) << "higher priority interrupts";
    EXPECT_EQ(pair.acknowledge(), 0x09);
    EXPECT_EQ(isr(), 0x12);
    out(0x20, 0x20); // ends 1, the highest
    EXPECT_EQ(isr(), 0x10);
    EXPECT_FALSE(intr.level);
    out(0x20, 0x64); // specific EOI of 4
    EXPECT_TRUE(intr.level);
    EXPECT_EQ(pair.acknowledge(), 0x0c);
}

TEST_F(PicTest, CascadeGivesTheSlavesVector) {
    init();
    pulse(12);
    EXPECT_TRUE(intr.level);
    EXPECT_EQ(irr(0x20), 0x04);
    EXPECT_EQ(irr(0xa0), 0x10);
    EXPECT_EQ(pair.acknowledge(), 0x74);
    EXPECT_EQ(isr(0x20), 0x04);
    EXPECT_EQ(isr(0xa0), 0x10);
    pulse(8); // more urgent on the slave, but the master still serves IR2
    EXPECT_FALSE(intr.level);
    out(0xa0, 0x20);
    out(0x20, 0x20);
    EXPECT_TRUE(intr.level);
    EXPECT_EQ(pair.acknowledge(), 0x70);
}

TEST_F(PicTest, SlaveWithSecondRequestAsksAgainAfterEnd) {
    init();
    pulse(9);
    pulse(10);
    EXPECT_EQ(pair.acknowledge(), 0x71);
    out(0xa0, 0x20);
    EXPECT_FALSE(intr.level);
    out(0x20, 0x20);
    EXPECT_EQ(pair.acknowledge(), 0x72);
}

TEST_F(PicTest, SpecialFullyNestedMode) {
    init(0x11);
    pulse(12);
    EXPECT_EQ(pair.acknowledge(), 0x74);
    pulse(5);
    EXPECT_FALSE(intr.level) << "lower than the slave stays locked out";
    pulse(8);
    EXPECT_TRUE(intr.level) << "the slave has something more urgent";
    EXPECT_EQ(pair.acknowledge(), 0x70);
    EXPECT_EQ(isr(0xa0), 0x11);
}

TEST_F(PicTest, SpuriousOnTheMaster) {
    init();
    out(0x4d0, 0x20); // IRQ5 by level
    raise(5);
    EXPECT_TRUE(intr.level);
    lower(5);
    EXPECT_FALSE(intr.level);
    EXPECT_EQ(pair.acknowledge(), 0x0f); // the processor had already begun
    EXPECT_EQ(isr(), 0x00);
}

TEST_F(PicTest, RequestThatTheSlaveTakesBackIsSpurious) {
    init();
    pulse(10);
    EXPECT_TRUE(intr.level);
    out(0xa1, 0x04); // masked on the slave: its INT drops, and with it IR2
    EXPECT_FALSE(intr.level);
    EXPECT_EQ(pair.acknowledge(), 0x0f);
    EXPECT_EQ(isr(0x20), 0x00);
    EXPECT_EQ(isr(0xa0), 0x00);
    out(0xa1, 0x00);
    EXPECT_EQ(pair.acknowledge(), 0x72) << "the edge is still latched in the slave";
}

TEST_F(PicTest, EdgeIsLatchedAndASecondEdgeIsNeeded) {
    init();
    raise(3);
    EXPECT_EQ(pair.acknowledge(), 0x0b);
    out(0x20, 0x20);
    EXPECT_FALSE(intr.level) << "still high, but no new edge";
    lower(3);
    raise(3);
    EXPECT_TRUE(intr.level);
}

TEST_F(PicTest, LevelAsksAgainUntilLowered) {
    init();
    out(0x4d0, 0x20);
    EXPECT_EQ(bench.in(0x4d0), 0x20);
    raise(5);
    EXPECT_EQ(pair.acknowledge(), 0x0d);
    EXPECT_EQ(irr(), 0x20);
    out(0x20, 0x20);
    EXPECT_TRUE(intr.level);
    EXPECT_EQ(pair.acknowledge(), 0x0d);
    lower(5);
    out(0x20, 0x20);
    EXPECT_FALSE(intr.level);
}

TEST_F(PicTest, LtimMakesAllLevelsLevelTriggered) {
    init(0x01, 0x01, 0x19);
    raise(1);
    EXPECT_EQ(pair.acknowledge(), 0x09);
    out(0x20, 0x20);
    EXPECT_TRUE(intr.level);
    lower(1);
    EXPECT_FALSE(intr.level);
}

TEST_F(PicTest, ElcrReservedBitsStayEdge) {
    out(0x4d0, 0xff);
    out(0x4d1, 0xff);
    EXPECT_EQ(bench.in(0x4d0), 0xf8);
    EXPECT_EQ(bench.in(0x4d1), 0xde);
}

TEST_F(PicTest, AutomaticEndOfInterrupt) {
    init(0x03);
    pulse(3);
    pulse(6);
    EXPECT_EQ(pair.acknowledge(), 0x0b);
    EXPECT_EQ(isr(), 0x00);
    EXPECT_TRUE(intr.level) << "the next request shows at once";
    EXPECT_EQ(intr.falls, 1u) << "and INT dropped in between";
    EXPECT_EQ(pair.acknowledge(), 0x0e);
}

TEST_F(PicTest, RotateInAeoiMode) {
    init(0x03);
    out(0x20, 0x80);
    pulse(3);
    EXPECT_EQ(pair.acknowledge(), 0x0b); // 3 is now the lowest
    pulse(3);
    pulse(4);
    EXPECT_EQ(pair.acknowledge(), 0x0c);
    EXPECT_EQ(pair.acknowledge(), 0x0b);
    out(0x20, 0x00); // stop rotating: 3 stays the lowest
    pulse(4);
    pulse(3);
    EXPECT_EQ(pair.acknowledge(), 0x0c);
    pulse(4);
    EXPECT_EQ(pair.acknowledge(), 0x0c);
}

TEST_F(PicTest, RotateOnEndOfInterrupt) {
    init();
    pulse(4);
    pair.acknowledge();
    out(0x20, 0xa0); // rotate on non-specific EOI
    pulse(4);
    pulse(5);
    EXPECT_EQ(pair.acknowledge(), 0x0d);
    out(0x20, 0xe5); // rotate on specific EOI of 5
    pulse(6);
    EXPECT_EQ(pair.acknowledge(), 0x0e) << "4 is lower than 6 now";
    out(0x20, 0x66);
    EXPECT_EQ(pair.acknowledge(), 0x0c);
}

TEST_F(PicTest, SetPriorityCommand) {
    init();
    out(0x20, 0xc5); // 5 the lowest, 6 the highest
    pulse(0);
    pulse(6);
    EXPECT_EQ(pair.acknowledge(), 0x0e);
}

TEST_F(PicTest, SpecialMaskMode) {
    init();
    pulse(2 + 1);
    EXPECT_EQ(pair.acknowledge(), 0x0b);
    out(0x21, 0x08); // mask the level in service
    out(0x20, 0x68); // special mask mode on
    pulse(6);
    EXPECT_TRUE(intr.level) << "lower levels are enabled";
    EXPECT_EQ(pair.acknowledge(), 0x0e);
    out(0x20, 0x20);
    EXPECT_EQ(isr(), 0x08) << "a masked level is not ended by a non-specific EOI";
    out(0x20, 0x08); // ESMM = 0 leaves the mode alone
    pulse(7);
    EXPECT_TRUE(intr.level);
    out(0x20, 0x48); // off
    EXPECT_FALSE(intr.level);
}

TEST_F(PicTest, PollCommand) {
    init();
    out(0x20, 0x0c);
    EXPECT_EQ(bench.in(0x20), 0x00) << "nothing to serve";
    pulse(5);
    out(0x20, 0x0c);
    EXPECT_EQ(bench.in(0x21), 0x85) << "at either address";
    EXPECT_EQ(isr(), 0x20);
    EXPECT_FALSE(intr.level);
}

TEST_F(PicTest, SingleModeSkipsIcw3) {
    out(0x20, 0x13), out(0x21, 0x40), out(0x21, 0x01);
    out(0x21, 0xfe);
    EXPECT_EQ(bench.in(0x21), 0xfe);
    pulse(0);
    EXPECT_EQ(pair.acknowledge(), 0x40);
}

TEST_F(PicTest, WithoutIcw4ItsFunctionsAreOff) {
    init(0x13);
    out(0x20, 0x10), out(0x21, 0x08), out(0x21, 0x04); // ICW1 without IC4
    out(0x21, 0xf0);
    EXPECT_EQ(bench.in(0x21), 0xf0) << "ready after ICW3";
    pulse(1);
    pair.acknowledge();
    EXPECT_EQ(isr(), 0x02) << "no automatic EOI any more";
}

TEST_F(PicTest, Icw1PutsPrioritiesAndModesBack) {
    init(0x03);
    out(0x20, 0xc5); // set priority
    out(0x20, 0x80); // rotate in AEOI mode
    out(0x20, 0x6b); // special mask mode, read ISR
    out(0x21, 0xff);
    init();
    EXPECT_EQ(bench.in(0x21), 0x00);
    pulse(6);
    pulse(0);
    EXPECT_EQ(bench.in(0x20), 0x41) << "reads the IRR again";
    EXPECT_EQ(pair.acknowledge(), 0x08);
    out(0x21, 0x01);
    EXPECT_FALSE(intr.level) << "special mask mode is off";
    out(0x20, 0xc5);
    pair.reset();
    init();
    pulse(6);
    pulse(0);
    EXPECT_EQ(pair.acknowledge(), 0x08);
}

TEST_F(PicTest, SlaveWithWrongIdentityDrivesNothing) {
    init();
    out(0xa0, 0x11), out(0xa1, 0x70), out(0xa1, 0x05), out(0xa1, 0x01);
    pulse(8);
    EXPECT_EQ(pair.acknowledge(), 0xff);
}

TEST_F(PicTest, Irq2LineLeadsNowhere) {
    init();
    raise(2);
    EXPECT_FALSE(intr.level);
}

TEST_F(PicTest, RoundTrip) {
    init(0x11);
    out(0x4d0, 0x20);
    out(0x20, 0xc3);
    out(0x20, 0x68);
    out(0x21, 0x81);
    pulse(12);
    pair.acknowledge();
    raise(5);
    out(0xa0, 0x0b);
    test::check_round_trip(pair, [&] {
        init();
        lower(5);
        pulse(1);
    });
}

TEST_F(PicTest, LoadingRestoresTheOutput) {
    init();
    pulse(1);
    const StateImage asking = test::save(pair);
    pair.acknowledge();
    EXPECT_FALSE(intr.level);
    EXPECT_TRUE(test::load(pair, asking));
    EXPECT_TRUE(intr.level);
    EXPECT_EQ(pair.acknowledge(), 0x09);
}

TEST_F(PicTest, DescribeNamesTheRegisters) {
    init();
    pulse(4);
    EXPECT_NE(pair.describe().find("pic0: irr=10 imr=00 isr=00"), std::string::npos) << pair.describe();
}

} // namespace
} // namespace dragoman::hw
