#include "hw/virtio_rng.h"

#include "virtio_test_support.h"

#include <gtest/gtest.h>

namespace dragoman::hw::test {
namespace {

struct Source final : EntropySource {
    std::size_t take(std::span<u8> to) override {
        const std::size_t n = std::min(to.size(), there);
        for (std::size_t i = 0; i < n; ++i)
            to[i] = u8(++next);
        there -= n;
        return n;
    }
    void more(std::size_t bytes) {
        there += bytes;
        ready_();
    }
    std::size_t there = 1 << 20;
    unsigned next = 0;
};

struct Rng {
    explicit Rng(VirtioRng::Options options = {})
        : bench(std::make_unique<VirtioRng>(source, time.scheduler, options, log)), driver(bench) {
        EXPECT_TRUE(driver.start());
    }
    u32 ask(u32 bytes) { // how many came
        const u64 at = driver.allocate(bytes);
        driver.offer(0, {{at, bytes, true}});
        driver.ring(0);
        const auto used = driver.take_used(0);
        if (used && used->written) {
            EXPECT_NE(driver.fetch(at, 1)[0], 0);
            if (bytes > used->written) {
                EXPECT_EQ(driver.fetch(at + used->written, 1)[0], 0) << "nothing behind what it says";
            }
        }
        return used ? used->written : ~0u;
    }
    Source source;
    Bench time;
    QuietLog log;
    VirtioBench bench;
    VirtioDriver driver;
};

TEST(VirtioRng, FillsBuffers) {
    Rng rng;
    EXPECT_EQ(rng.ask(8), 8u);
    EXPECT_EQ(rng.ask(64), 64u);
    EXPECT_EQ(rng.ask(1 << 20), 4096u) << "a piece at a time";
}

TEST(VirtioRng, WaitsForItsSource) {
    Rng rng;
    rng.source.there = 0;
    EXPECT_EQ(rng.ask(16), ~0u);
    rng.source.more(4);
    const auto used = rng.driver.take_used(0);
    ASSERT_TRUE(used);
    EXPECT_EQ(used->written, 4u);
}

TEST(VirtioRng, GivesSoMuchInAPeriod) {
    Rng rng({.max_bytes = 100, .period_ns = 1000});
    EXPECT_EQ(rng.ask(64), 64u);
    EXPECT_EQ(rng.ask(64), 36u);
    EXPECT_EQ(rng.ask(64), ~0u);
    rng.time.run_to(999);
    EXPECT_FALSE(rng.driver.take_used(0));
    rng.time.run_to(1000);
    const auto used = rng.driver.take_used(0);
    ASSERT_TRUE(used);
    EXPECT_EQ(used->written, 64u);
}

TEST(VirtioRng, BuffersOutsideMemoryEndInNeedsReset) {
    Rng rng;
    rng.driver.offer(0, {{u64{1} << 40, 64, true}});
    rng.driver.ring(0);
    EXPECT_TRUE(rng.driver.status() & kVirtioNeedsReset);
    EXPECT_TRUE(rng.driver.start());
    EXPECT_EQ(rng.ask(8), 8u);
}

} // namespace
} // namespace dragoman::hw::test
