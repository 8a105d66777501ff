#include "hw/fpu_error.h"

#include "chip_test_support.h"

namespace dragoman::hw {
namespace {

class FpuErrorTest : public ::testing::Test {
  protected:
    FpuErrorTest() { chip.map(bench.bus); }
    test::Bench bench;
    bool irq = false;
    unsigned edges = 0;
    FunctionLine line{[this](bool level) {
        edges += level && !irq;
        irq = level;
    }};
    FpuError chip{line};
};

TEST_F(FpuErrorTest, TheErrorRequestsOnce) {
    chip.set_ferr(true);
    chip.set_ferr(true);
    EXPECT_TRUE(irq);
    EXPECT_EQ(edges, 1u);
    EXPECT_FALSE(chip.ignne());
}

TEST_F(FpuErrorTest, TheWriteEndsTheRequestAndTheErrorIsIgnoredUntilCleared) {
    chip.set_ferr(true);
    bench.out(0xf0, 0);
    EXPECT_FALSE(irq);
    EXPECT_TRUE(chip.ignne());
    chip.set_ferr(true);
    EXPECT_FALSE(irq);
    chip.set_ferr(false);
    EXPECT_FALSE(chip.ignne());
    chip.set_ferr(true);
    EXPECT_EQ(edges, 2u);
}

TEST_F(FpuErrorTest, ClearedFirstTheRequestStaysUntilTheWrite) {
    chip.set_ferr(true);
    chip.set_ferr(false);
    EXPECT_TRUE(irq);
    bench.out(0xf0, 0);
    EXPECT_FALSE(irq);
    EXPECT_FALSE(chip.ignne()) << "only while there is an error";
}

TEST_F(FpuErrorTest, ResetForgets) {
    chip.set_ferr(true);
    bench.out(0xf0, 0);
    chip.reset();
    EXPECT_FALSE(irq);
    EXPECT_FALSE(chip.ignne());
}

} // namespace
} // namespace dragoman::hw
