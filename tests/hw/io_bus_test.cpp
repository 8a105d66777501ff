#include "hw/core/io_bus.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace dragoman::hw {
namespace {

// Answers with bytes that name their place, and writes down what it is asked.
class Probe final : public IoHandler {
  public:
    explicit Probe(u8 tag) : tag_(tag) {}
    u64 read(u64 offset, unsigned size) override {
        log.push_back("r" + std::to_string(size) + "@" + std::to_string(offset));
        u64 value = ~u64{0} << (8 * size) << (size == 8 ? 1 : 0); // rubbish above the access must be cut off
        for (unsigned i = 0; i < size; i++)
            value |= u64(u8(tag_ + offset + i)) << (8 * i);
        return value;
    }
    void write(u64 offset, unsigned size, u64 value) override {
        char text[64];
        std::snprintf(text, sizeof text, "w%u@%u=%llx", size, unsigned(offset),
                      static_cast<unsigned long long>(value));
        log.push_back(text);
    }
    std::vector<std::string> log;

  private:
    u8 tag_;
};
using Calls = std::vector<std::string>;

TEST(IoBus, UnclaimedPortsReadOnesAndSwallowWrites) {
    IoBus bus;
    EXPECT_EQ(bus.in(0x1234, 1), 0xffu);
    EXPECT_EQ(bus.in(0x1234, 2), 0xffffu);
    EXPECT_EQ(bus.in(0xffff, 4), 0xffffffffu);
    bus.out(0xffff, 4, 0x12345678);
}

TEST(IoBus, OffsetCountsFromTheClaim) {
    IoBus bus;
    Probe probe(0x10);
    bus.map(0x3f8, 8, probe);
    EXPECT_EQ(bus.in(0x3fa, 1), 0x12u);
    EXPECT_EQ(bus.in(0x3fa, 4), 0x15141312u);
    bus.out(0x3fc, 2, 0xdeadbeef);
    EXPECT_EQ(probe.log, (Calls{"r1@2", "r4@2", "w2@4=beef"}));
}

TEST(IoBus, WideAccessesSplitToTheWidestTheChipDecodes) {
    IoBus bus;
    Probe bytes(0), words(0x40);
    bus.map(0x20, 4, bytes, {1, 1});
    bus.map(0x40, 4, words, {1, 2});
    EXPECT_EQ(bus.in(0x20, 4), 0x03020100u);
    EXPECT_EQ(bytes.log, (Calls{"r1@0", "r1@1", "r1@2", "r1@3"}));
    bus.out(0x40, 4, 0x11223344);
    EXPECT_EQ(words.log, (Calls{"w2@0=3344", "w2@2=1122"}));
}

TEST(IoBus, NarrowAccessesUseTheContainingUnit) {
    IoBus bus;
    Probe dwords(0);
    bus.map(0x600, 8, dwords, {4, 4});
    EXPECT_EQ(bus.in(0x606, 1), 0x06u);
    bus.out(0x605, 1, 0xaa);
    EXPECT_EQ(dwords.log, (Calls{"r4@4", "r4@4", "w4@4=706aa04"}));
    EXPECT_EQ(bus.in(0x603, 2), 0xffffu) << "crosses a unit";
}

TEST(IoBus, AccessAcrossClaimsSplitsIntoBytes) {
    IoBus bus;
    Probe low(0x10), high(0x80);
    bus.map(0x60, 1, low);
    bus.map(0x61, 1, high);
    EXPECT_EQ(bus.in(0x5f, 4), 0xff8010ffu);
    bus.out(0x60, 2, 0xbbaa);
    EXPECT_EQ(low.log, (Calls{"r1@0", "w1@0=aa"}));
    EXPECT_EQ(high.log, (Calls{"r1@0", "w1@0=bb"}));
}

TEST(IoBus, OverrideGivesBackWhatItCovered) {
    IoBus bus;
    Probe timer(0x10), bar(0x80);
    bus.map(0x40, 4, timer);
    bus.map(0x42, 4, bar, {}, true);
    EXPECT_EQ(bus.in(0x40, 4), 0x81801110u);
    bus.unmap(0x42, bar);
    EXPECT_EQ(bus.in(0x40, 4), 0x13121110u);
    EXPECT_EQ(bus.in(0x44, 1), 0xffu);
}

TEST(IoBus, UnmapUnderAnOverrideLeavesTheOverride) {
    IoBus bus;
    Probe below(0x10), above(0x80);
    bus.map(0x40, 4, below);
    bus.map(0x42, 1, above, {}, true);
    bus.unmap(0x40, below);
    bus.unmap(0x40, below); // unknown by now: ignored
    EXPECT_EQ(bus.in(0x40, 4), 0xff80ffffu);
}

TEST(IoBus, TheLastPortCanBeClaimed) {
    IoBus bus;
    Probe probe(0x33);
    bus.map(0xffff, 1, probe);
    EXPECT_EQ(bus.in(0xffff, 2), 0xff33u);
}

// A chip may give up its ports while it is being written (a BAR move, a reset).
TEST(IoBus, ClaimMayEndDuringTheAccess) {
    class Leaver final : public IoHandler {
      public:
        explicit Leaver(IoBus& on) : bus(on) {}
        u64 read(u64, unsigned) override { return 0; }
        void write(u64, unsigned, u64) override {
            writes++;
            bus.unmap(0x100, *this);
        }
        IoBus& bus;
        int writes = 0;
    };
    IoBus bus;
    Leaver leaver(bus);
    bus.map(0x100, 4, leaver, {1, 1});
    bus.out(0x100, 4, 0);
    EXPECT_EQ(leaver.writes, 4);
    EXPECT_EQ(bus.in(0x100, 1), 0xffu);
}

using IoBusDeathTest = ::testing::Test;
TEST(IoBusDeathTest, OverlapIsAWiringMistake) {
    IoBus bus;
    Probe a(0), b(0);
    bus.map(0x20, 2, a);
    EXPECT_DEATH(bus.map(0x21, 1, b), "internal error");
}

} // namespace
} // namespace dragoman::hw
