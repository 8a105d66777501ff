// Slots of the running machine: what the guest is told, and what it may do.
#include "hw/pci_hotplug.h"

#include <gtest/gtest.h>
#include <vector>

namespace dragoman::hw::test {
namespace {

struct PciHotplugTest : ::testing::Test {
    unsigned told = 0;
    std::vector<unsigned> ejected;
    PciHotplug hotplug{{[this] { ++told; }, [this](unsigned slot) { ejected.push_back(slot); }}};
    enum : u64 { kInserted = 0, kAsked = 4, kEject = 8, kRemovable = 12 };
    u32 read(u64 offset) { return u32(hotplug.read(offset, 4)); }
};

TEST_F(PciHotplugTest, A_new_card_is_told_once) {
    hotplug.inserted(5);
    hotplug.inserted(31);
    EXPECT_EQ(told, 2u);
    EXPECT_EQ(read(kInserted), 1u << 5 | 1u << 31);
    EXPECT_EQ(read(kInserted), 0u);
}

TEST_F(PciHotplugTest, A_card_that_is_asked_for_stays_so_until_it_is_ejected) {
    hotplug.ask_removal(4);
    hotplug.ask_removal(6);
    EXPECT_EQ(told, 2u);
    EXPECT_EQ(read(kAsked), 1u << 4 | 1u << 6);
    EXPECT_EQ(read(kAsked), 1u << 4 | 1u << 6);
    hotplug.write(kEject, 4, 1u << 6);
    EXPECT_EQ(ejected, std::vector<unsigned>{6});
    EXPECT_EQ(read(kAsked), 1u << 4);
    hotplug.eject_pending();
    EXPECT_EQ(ejected, (std::vector<unsigned>{6, 4}));
    EXPECT_EQ(read(kAsked), 0u);
}

TEST_F(PciHotplugTest, The_boards_own_slots_cannot_be_ejected) {
    EXPECT_EQ(read(kRemovable), 0xfffffffcu);
    hotplug.write(kEject, 4, 0x3);
    EXPECT_TRUE(ejected.empty());
    for (const u64 offset : {kInserted, kAsked, kRemovable})
        hotplug.write(offset, 4, ~u32{0});
    EXPECT_TRUE(ejected.empty());
}

} // namespace
} // namespace dragoman::hw::test
