#include "runtime/clock.h"

#include <gtest/gtest.h>

#include <unistd.h>

namespace dragoman::runtime {
namespace {

// A host whose counter runs at so many ticks in a millisecond; each look at either takes 20 ns.
struct FakeHost {
    u64 ns = 5'000'000'000, count = 1'000'000, ticks_per_ms = 2'500'000;
    bool even = true;

    void pass(u64 more) {
        ns += more;
        count += more * ticks_per_ms / 1'000'000;
    }
};
class FakeTime final : public TimeSource {
  public:
    explicit FakeTime(FakeHost& host) : host_(host) {}
    u64 monotonic() const override { return host_.pass(20), host_.ns; }
    u64 counter() const override { return host_.pass(20), host_.count; }
    bool counter_even() const override { return host_.even; }

  private:
    FakeHost& host_;
};

class FakeClock {
  public:
    explicit FakeClock(FakeHost made = {}) : host(made) {}
    FakeHost host;
    HostClock clock{std::make_unique<FakeTime>(host)};
};

TEST(HostClockTest, StandsStillWhileStopped) {
    HostClock clock;
    const u64 start = clock.now();
    EXPECT_LT(start, 1'000'000'000u) << "begins at 0";
    clock.stop();
    const u64 stopped = clock.now();
    usleep(100'000);
    EXPECT_EQ(clock.now(), stopped);
    EXPECT_FALSE(clock.follow());
    clock.stop(); // again: no effect
    clock.go();
    const u64 after = clock.now();
    EXPECT_GE(after, stopped);
    EXPECT_LT(after - stopped, 100'000'000u) << "the pause is not counted";
    usleep(2000);
    EXPECT_GE(clock.now() - after, 1'900'000u);
    clock.go();
    EXPECT_GE(clock.now(), after);
}

TEST(HostClockTest, ShowsWhatItsLineShows) {
    FakeClock f;
    ASSERT_TRUE(f.clock.line());
    for (int n = 0; n < 100; ++n) {
        f.host.pass(1'000'000);
        const u64 before = f.clock.line()->at(f.host.count), now = f.clock.now();
        EXPECT_GE(now, before);
        EXPECT_LE(now, f.clock.line()->at(f.host.count));
        f.clock.follow();
    }
}

// The counter runs at another rate than when it was first measured, by 200 in a million.
TEST(HostClockTest, FollowsTheMonotonicClockWithoutAJump) {
    FakeClock f({.ticks_per_ms = 3'000'000});
    f.host.ticks_per_ms = 3'000'600;
    const u64 began = f.host.ns - f.clock.now();
    unsigned changes = 0;
    for (int n = 0; n < 30'000; ++n) { // half a minute
        f.host.pass(1'000'000);
        const u64 before = f.clock.now();
        changes += f.clock.follow();
        const u64 after = f.clock.now();
        ASSERT_GE(after, before);
        ASSERT_LT(after - before, 1000u);
    }
    EXPECT_GE(changes, 30u);
    EXPECT_LE(changes, 60u) << "once in a second";
    EXPECT_NEAR(double(f.clock.now()), double(f.host.ns - began), 5000.0);
}

TEST(HostClockTest, GoesOnWhenTheCounterBeginsAnew) {
    FakeClock f;
    f.host.pass(10'000'000);
    f.clock.follow();
    const u64 before = f.clock.now();
    f.host.count = 12;
    EXPECT_TRUE(f.clock.follow());
    const u64 after = f.clock.now();
    EXPECT_GE(after, before);
    EXPECT_LT(after - before, 1000u);
}

TEST(HostClockTest, AsksForTheTimeWhereTheCounterIsOfNoUse) {
    FakeHost uneven{.even = false}, slow{.ticks_per_ms = 999'000};
    for (const FakeHost& host : {uneven, slow}) {
        FakeClock f(host);
        EXPECT_EQ(f.clock.line(), nullptr);
        const u64 before = f.clock.now();
        f.host.ns += 1000; // the counter stands
        EXPECT_EQ(f.clock.now(), before + 1020);
        f.clock.stop();
        f.host.ns += 1000;
        f.clock.go();
        EXPECT_EQ(f.clock.now(), before + 1060);
        EXPECT_FALSE(f.clock.follow());
    }
}

} // namespace
} // namespace dragoman::runtime
