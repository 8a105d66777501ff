#include "hw/port92.h"

#include "chip_test_support.h"

namespace dragoman::hw {
namespace {

class Port92Test : public ::testing::Test {
  protected:
    Port92Test() { port.map(bench.bus); }
    test::Bench bench;
    unsigned changes = 0, inits = 0;
    bool a20 = true;
    A20Gate gate{[this](bool enabled) { changes++, a20 = enabled; }};
    Port92 port{gate, [this] { inits++; }};
};

TEST_F(Port92Test, EitherSourceOpensTheGate) {
    EXPECT_TRUE(gate.enabled());
    gate.set_keyboard_controller(false);
    EXPECT_FALSE(a20);
    bench.out(0x92, 0x02);
    EXPECT_TRUE(a20);
    gate.set_keyboard_controller(true);
    bench.out(0x92, 0x00);
    EXPECT_TRUE(a20);
    EXPECT_EQ(changes, 2u) << "told of changes only";
}

TEST_F(Port92Test, FastInitOnTheRisingEdge) {
    bench.out(0x92, 0x03);
    EXPECT_EQ(inits, 1u);
    bench.out(0x92, 0x03);
    EXPECT_EQ(inits, 1u);
    bench.out(0x92, 0x02);
    bench.out(0x92, 0xff);
    EXPECT_EQ(inits, 2u);
    EXPECT_EQ(bench.in(0x92), 0x03) << "the reserved bits read as zero";
}

TEST_F(Port92Test, RoundTrip) {
    gate.set_keyboard_controller(false);
    bench.out(0x92, 0x02);
    test::check_round_trip(port, [&] { bench.out(0x92, 0x00); });
    EXPECT_FALSE(a20) << "reset closes this source";
}

TEST_F(Port92Test, LoadingRepeatsTheLevel) {
    gate.set_keyboard_controller(false);
    bench.out(0x92, 0x02);
    const StateImage image = test::save(port);
    port.reset();
    EXPECT_FALSE(a20);
    EXPECT_TRUE(test::load(port, image));
    EXPECT_TRUE(a20);
}

} // namespace
} // namespace dragoman::hw
