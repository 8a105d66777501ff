// 82093AA I/O APIC (data sheet 290566), alone and with a local APIC.
#include "hw/ioapic.h"

#include "apic_test_support.h"

#include <random>

namespace dragoman::hw::test {
namespace {

class Messages final : public ApicSink {
  public:
    bool send(const ApicMessage& message) override {
        sent.push_back(message);
        return true;
    }
    void end_of_interrupt(u8) override {}
    std::vector<ApicMessage> sent;
};

class IoapicTest : public ::testing::Test {
  protected:
    u32 get(u8 reg) {
        chip.write(0, 4, reg);
        return u32(chip.read(0x10, 4));
    }
    void put(u8 reg, u32 value) {
        chip.write(0, 4, reg);
        chip.write(0x10, 4, value);
    }
    void entry(unsigned n, u64 value) {
        put(u8(0x11 + 2 * n), u32(value >> 32));
        put(u8(0x10 + 2 * n), u32(value));
    }
    Messages bus;
    Ioapic chip{bus};
};

TEST_F(IoapicTest, Registers) {
    EXPECT_EQ(get(1), 0x00170011u);
    put(0, 0xffffffff);
    EXPECT_EQ(get(0), 0x0f000000u);
    EXPECT_EQ(get(2), 0x0f000000u);
    for (unsigned n = 0; n < 24; n++) {
        EXPECT_EQ(get(u8(0x10 + 2 * n)), 0x10000u) << "masked after reset, pin " << n;
        EXPECT_EQ(get(u8(0x11 + 2 * n)), 0u);
    }
    put(0x10, 0xffffffff);
    put(0x11, 0xffffffff);
    EXPECT_EQ(get(0x10), 0x1afffu) << "status and remote IRR are read-only";
    EXPECT_EQ(get(0x11), 0xff000000u);
    EXPECT_EQ(get(0x40), 0u);
    EXPECT_EQ(get(0x0f), 0u);
    EXPECT_EQ(chip.read(0, 4), 0x0fu);
}

TEST_F(IoapicTest, EdgeTriggered) {
    entry(4, u64{3} << 56 | 0x0941); // lowest priority, logical
    chip.pin(4).raise();
    chip.pin(4).raise();
    ASSERT_EQ(bus.sent.size(), 1u);
    EXPECT_EQ(bus.sent[0].vector, 0x41);
    EXPECT_EQ(bus.sent[0].mode, DeliveryMode::LowestPriority);
    EXPECT_EQ(bus.sent[0].trigger, TriggerMode::Edge);
    EXPECT_TRUE(bus.sent[0].logical);
    EXPECT_EQ(bus.sent[0].destination, 3u);
    chip.pin(4).lower();
    chip.pin(4).pulse();
    EXPECT_EQ(bus.sent.size(), 2u);
    EXPECT_FALSE(bit(get(0x18), 14));
}

TEST_F(IoapicTest, MaskedEdgeIsLost) {
    chip.pin(4).raise();
    entry(4, 0x41);
    EXPECT_TRUE(bus.sent.empty());
}

TEST_F(IoapicTest, LevelTriggered) {
    entry(10, 0x8052);
    chip.pin(10).raise();
    ASSERT_EQ(bus.sent.size(), 1u);
    EXPECT_EQ(bus.sent[0].trigger, TriggerMode::Level);
    EXPECT_TRUE(bit(get(0x24), 14)) << "remote IRR";
    chip.pin(10).lower();
    chip.pin(10).raise();
    EXPECT_EQ(bus.sent.size(), 1u) << "until EOI no second message";
    chip.end_of_interrupt(0x53);
    EXPECT_EQ(bus.sent.size(), 1u) << "another vector";
    chip.end_of_interrupt(0x52);
    EXPECT_EQ(bus.sent.size(), 2u) << "still asserted";
    chip.pin(10).lower();
    chip.end_of_interrupt(0x52);
    EXPECT_EQ(bus.sent.size(), 2u);
    EXPECT_FALSE(bit(get(0x24), 14));
}

TEST_F(IoapicTest, UnmaskingAnAssertedLevelSends) {
    entry(10, 0x18052);
    chip.pin(10).raise();
    EXPECT_TRUE(bus.sent.empty());
    entry(10, 0x8052);
    EXPECT_EQ(bus.sent.size(), 1u);
}

TEST_F(IoapicTest, TurningToEdgeClearsRemoteIrr) {
    entry(10, 0x8052);
    chip.pin(10).raise();
    chip.pin(10).lower();
    entry(10, 0x10052);
    entry(10, 0x18052);
    EXPECT_FALSE(bit(get(0x24), 14));
}

TEST_F(IoapicTest, WithLocalApic) {
    ApicBench apic;
    apic.enable();
    Ioapic io(apic.apic_bus);
    apic.apic_bus.on_eoi([&](u8 vector) { io.end_of_interrupt(vector); });
    apic.put(0xf0, 0xff); // software-disabled: not taken, so nothing waits for an EOI
    io.write(0, 4, 0x10 + 2 * 12);
    io.write(0x10, 4, 0x8063);
    io.pin(12).raise();
    EXPECT_EQ(io.read(0x10, 4), 0x8063u);
    io.pin(12).lower();
    apic.enable();
    auto program = [&](u8 reg, u32 value) {
        io.write(0, 4, reg);
        io.write(0x10, 4, value);
    };
    program(0x10 + 2 * 11, 0xa062);
    io.pin(11).raise();
    EXPECT_EQ(apic.lapic.acknowledge(), 0x62);
    apic.put(0xb0, 0);
    EXPECT_EQ(apic.lapic.acknowledge(), 0x62);
    io.pin(11).lower();
    apic.put(0xb0, 0);
    EXPECT_EQ(apic.lapic.acknowledge(), -1);
    program(0x10, 0x700); // pin 0 ExtINT: the 8259 answers with the vector
    io.pin(0).raise();
    EXPECT_EQ(apic.lapic.acknowledge(), 0x08);
    EXPECT_EQ(apic.lapic.acknowledge(), -1);
}

TEST_F(IoapicTest, RandomGuest) {
    const u32 seed = 4711;
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int i = 0; i < 100000; i++) {
        chip.write(random() & 0xfff, 1u << random() % 4, random());
        put(u8(random()), random());
        chip.read(random() & 0xfff, 1u << random() % 4);
        chip.pin(random() % 24).set(random() & 1);
        chip.end_of_interrupt(u8(random()));
        bus.sent.clear();
    }
}

TEST_F(IoapicTest, Describe) {
    entry(10, 0x8052);
    chip.pin(10).raise();
    EXPECT_NE(chip.describe().find("vector 52 fixed    to physical 00 level remote-IRR asserted"),
              std::string::npos)
        << chip.describe();
}

TEST_F(IoapicTest, RoundTrip) {
    entry(10, 0x8052);
    chip.pin(10).raise();
    check_round_trip(chip, [this] {
        chip.end_of_interrupt(0x52);
        entry(10, 0x10000);
    });
}

} // namespace
} // namespace dragoman::hw::test
