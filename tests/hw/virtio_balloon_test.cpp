#include "hw/virtio_balloon.h"

#include "virtio_test_support.h"

#include <gtest/gtest.h>

namespace dragoman::hw::test {
namespace {

struct Giver final : MemoryGiver {
    void give_back(u64 gpa, u64 bytes) override { given.emplace_back(gpa, bytes); }
    std::vector<std::pair<u64, u64>> given;
};

constexpr u64 kStatsFeature = 2, kReportingFeature = 32;

struct Balloon {
    explicit Balloon(VirtioBalloon::Options options = {}, u64 features = kStatsFeature)
        : bench(std::make_unique<VirtioBalloon>(
              giver, 64 * MiB, options, [this] { ++changes; }, time.scheduler, log)),
          driver(bench) {
        EXPECT_TRUE(driver.start(features));
    }
    VirtioBalloon& device() { return static_cast<VirtioBalloon&>(bench.pci.device()); }
    void pages(unsigned queue, const std::vector<u32>& numbers) {
        std::vector<u8> bytes(numbers.size() * 4);
        std::memcpy(bytes.data(), numbers.data(), bytes.size());
        driver.offer(queue, {{driver.place(bytes), u32(bytes.size()), false}});
        driver.ring(queue);
        EXPECT_TRUE(driver.take_used(queue));
    }
    Giver giver;
    unsigned changes = 0;
    Bench time;
    QuietLog log;
    VirtioBench bench;
    VirtioDriver driver;
};

TEST(VirtioBalloon, TellsItsSizeAndHearsTheGuests) {
    Balloon b;
    b.device().set_target(48 * MiB);
    EXPECT_EQ(b.driver.config(0, 4), 16 * MiB / 4096);
    EXPECT_TRUE(b.driver.isr() & 2) << "the configuration has changed";
    EXPECT_EQ(b.device().guest_bytes(), 64 * MiB);
    b.driver.set_config(4, 4, 16 * MiB / 4096);
    EXPECT_EQ(b.device().guest_bytes(), 48 * MiB);
    EXPECT_EQ(b.changes, 1u);
    b.driver.set_config(0, 4, 1);
    EXPECT_EQ(b.driver.config(0, 4), 16 * MiB / 4096) << "the host's word";
    b.driver.set_config(4, 4, 0xffffffff);
    EXPECT_EQ(b.device().guest_bytes(), 0u) << "not less than nothing";
}

TEST(VirtioBalloon, GivesPagesBack) {
    Balloon b;
    b.pages(0, {7, 6, 5, 9, 9, 0xffffffff});
    const std::vector<std::pair<u64, u64>> wanted = {
        {5 * 4096, 3 * 4096}, {9 * 4096, 4096}, {u64{0xffffffff} * 4096, 4096}};
    EXPECT_EQ(b.giver.given, wanted) << "neighbours together";
    b.giver.given.clear();
    b.pages(1, {5, 6});
    EXPECT_TRUE(b.giver.given.empty()) << "deflating needs nothing";
}

TEST(VirtioBalloon, TakesReports) {
    Balloon b({.free_page_reporting = true}, kStatsFeature | kReportingFeature);
    b.driver.offer(3, {{2 * MiB, 2 * MiB, true}, {u64{1} << 60, 4096, true}});
    b.driver.ring(3);
    EXPECT_TRUE(b.driver.take_used(3));
    const std::vector<std::pair<u64, u64>> wanted = {{2 * MiB, 2 * MiB}, {u64{1} << 60, 4096}};
    EXPECT_EQ(b.giver.given, wanted);
    Balloon without({.free_page_reporting = true}, kReportingFeature);
    without.driver.offer(2, {{4096, 4096, true}});
    without.driver.ring(2);
    EXPECT_EQ(without.giver.given.size(), 1u) << "its queue moves down when there are no statistics";
    EXPECT_FALSE(Balloon({}, kStatsFeature).driver.offered() & kReportingFeature);
}

TEST(VirtioBalloon, HoldsStatistics) {
    Balloon b;
    std::vector<u8> bytes;
    for (const auto& [tag, value] : {std::pair<u16, u64>{4, 1000}, {5, 64 * MiB}, {77, 1}}) {
        bytes.insert(bytes.end(), {u8(tag), u8(tag >> 8)});
        for (unsigned i = 0; i < 8; ++i)
            bytes.push_back(u8(value >> 8 * i));
    }
    b.driver.offer(2, {{b.driver.place(bytes), u32(bytes.size()), false}});
    b.driver.ring(2);
    EXPECT_FALSE(b.driver.take_used(2)) << "kept until somebody asks";
    const auto stats = b.device().stats();
    EXPECT_EQ(stats[4], 1000u);
    EXPECT_EQ(stats[5], 64 * MiB);
    EXPECT_FALSE(stats[0]);
    EXPECT_TRUE(b.driver.take_used(2));
    (void)b.device().stats();
    EXPECT_FALSE(b.driver.take_used(2));
}

TEST(VirtioBalloon, HostileDrivers) {
    Balloon b;
    b.driver.offer(0, {{0x10000, 1 << 20, false}});
    b.driver.ring(0);
    EXPECT_TRUE(b.driver.status() & kVirtioNeedsReset) << "more pages than there can be in one piece";
    EXPECT_TRUE(b.driver.start(kStatsFeature));
    b.driver.offer(0, {{u64{1} << 40, 64, false}});
    b.driver.ring(0);
    EXPECT_TRUE(b.driver.status() & kVirtioNeedsReset);
    (void)b.device().stats();
    b.device().set_target(0);
}

} // namespace
} // namespace dragoman::hw::test
