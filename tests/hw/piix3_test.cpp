// PIIX3: PIRQ routing, shared lines, the reset control register (data sheet 290550).
#include "hw/piix3.h"

#include "chip_test_support.h"

#include <optional>

namespace dragoman::hw::test {
namespace {

class Piix3Test : public ::testing::Test {
  protected:
    Piix3Test() {
        for (unsigned i = 0; i < 16; i++)
            outputs[i] = &lines[i];
        bridge.emplace(outputs, [this](bool hard) { resets.push_back(hard); });
    }
    std::array<RecordingLine, 16> lines;
    std::array<IrqLine*, 16> outputs{};
    std::vector<bool> resets;
    std::optional<Piix3> bridge;
};

TEST_F(Piix3Test, Identity) {
    EXPECT_EQ(bridge->config_read(0, 4), 0x70008086u);
    EXPECT_EQ(bridge->config_read(8, 4), 0x06010000u);
    EXPECT_EQ(bridge->config_read(0x0e, 1), 0x80u);
    EXPECT_EQ(bridge->config_read(0x60, 4), 0x80808080u);
}

TEST_F(Piix3Test, SwizzleAndRoute) {
    bridge->config_write(0x60, 4, 0x0b0a0905); // A=5, B=9, C=10, D=11
    const unsigned expected[] = {5, 9, 10, 11};
    for (unsigned slot = 1; slot < 32; slot++) {
        for (unsigned pin = 1; pin <= 4; pin++) {
            IrqLine& input = bridge->intx(slot, 0, pin);
            const unsigned irq = expected[(pin - 1 + slot - 1) % 4];
            input.raise();
            for (unsigned i = 0; i < 16; i++)
                EXPECT_EQ(lines[i].level, i == irq) << "slot " << slot << " pin " << pin << " IRQ " << i;
            input.lower();
            EXPECT_FALSE(lines[irq].level);
        }
    }
}

TEST_F(Piix3Test, RouteChangesWhileAsserted) {
    IrqLine& input = bridge->intx(1, 0, 1);
    input.raise();
    for (const auto& line : lines)
        EXPECT_FALSE(line.level) << "not routed after reset";
    bridge->config_write(0x60, 1, 0x0b);
    EXPECT_TRUE(lines[11].level);
    bridge->config_write(0x60, 1, 0x0a);
    EXPECT_FALSE(lines[11].level);
    EXPECT_TRUE(lines[10].level);
    bridge->config_write(0x60, 1, 0x8a);
    EXPECT_FALSE(lines[10].level);
    for (u32 reserved : {0, 1, 2, 8, 13}) {
        bridge->config_write(0x60, 1, reserved);
        EXPECT_FALSE(lines[reserved].level) << "IRQ " << reserved << " cannot be routed to";
        EXPECT_EQ(bridge->pirq_route(0), -1);
    }
}

TEST_F(Piix3Test, SharedLinesAreOred) {
    bridge->config_write(0x60, 4, 0x09090909);
    IrqLine& a = bridge->intx(2, 0, 1);
    IrqLine& b = bridge->intx(2, 1, 1);
    IrqLine& isa = bridge->isa(9);
    a.raise();
    b.raise();
    isa.raise();
    a.lower();
    isa.lower();
    EXPECT_TRUE(lines[9].level);
    EXPECT_EQ(lines[9].rises, 1u);
    b.lower();
    EXPECT_FALSE(lines[9].level);
}

TEST_F(Piix3Test, IsaPulsesPassThrough) {
    IrqLine& isa = bridge->isa(4);
    isa.pulse();
    isa.pulse();
    EXPECT_EQ(lines[4].rises, 2u);
    EXPECT_EQ(lines[4].falls, 2u);
}

TEST_F(Piix3Test, ResetControl) {
    IoHandler& rcr = bridge->reset_control();
    rcr.write(0, 1, 0x02);
    EXPECT_TRUE(resets.empty());
    EXPECT_EQ(rcr.read(0, 1), 2u);
    rcr.write(0, 1, 0x06); // RCPU rises, hard
    ASSERT_EQ(resets.size(), 1u);
    EXPECT_TRUE(resets[0]);
    rcr.write(0, 1, 0x00);
    rcr.write(0, 1, 0x04); // soft
    ASSERT_EQ(resets.size(), 2u);
    EXPECT_FALSE(resets[1]);
}

TEST_F(Piix3Test, RoundTrip) {
    IrqLine& input = bridge->intx(1, 0, 1);
    bridge->config_write(0x60, 1, 0x0b);
    input.raise();
    const StateImage image = save(*bridge);
    input.lower();
    ASSERT_TRUE(load(*bridge, image));
    EXPECT_EQ(difference(image, save(*bridge)), "");
    input.lower(); // the level was restored, so this is a change
    EXPECT_FALSE(lines[11].level);
    check_round_trip(*bridge, [&] { input.raise(); });
}

} // namespace
} // namespace dragoman::hw::test
