// The waker's thread and the host clock: timeouts, descriptors, quiet while nobody dispatches, stopping.
#include "runtime/clock.h"
#include "runtime/waker.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <unistd.h>

namespace dragoman::runtime {
namespace {

using namespace std::chrono_literals;

class WakerTest : public ::testing::Test {
  protected:
    void SetUp() override { ASSERT_EQ(pipe(ends), 0); }
    void TearDown() override {
        waker.stop();
        close(ends[0]);
        close(ends[1]);
    }
    bool kicked(unsigned times = 1, std::chrono::milliseconds within = 10s) {
        std::unique_lock lock(mutex);
        return changed.wait_for(lock, within, [&] { return kicks >= times; });
    }
    void forget() {
        std::lock_guard lock(mutex);
        kicks = 0;
    }
    void send(char c = 'x') { ASSERT_EQ(write(ends[1], &c, 1), 1); }

    int ends[2] = {-1, -1};
    std::mutex mutex;
    std::condition_variable changed;
    unsigned kicks = 0;
    Waker waker{[this] {
        std::lock_guard lock(mutex);
        ++kicks;
        changed.notify_all();
    }};
};

TEST_F(WakerTest, TimeoutsKick) {
    const auto start = std::chrono::steady_clock::now();
    waker.set_timeout(20'000'000);
    EXPECT_TRUE(kicked());
    EXPECT_GE(std::chrono::steady_clock::now() - start, 20ms);
    forget();
    waker.set_timeout(0);
    EXPECT_TRUE(kicked()) << "0 fires at once";
}

TEST_F(WakerTest, ALaterSettingReplacesTheEarlier) {
    waker.set_timeout(30'000'000);
    waker.set_timeout(~u64{0});
    EXPECT_FALSE(kicked(1, 80ms));
}

TEST_F(WakerTest, InputIsReportedByDispatchOnly) {
    unsigned ready = 0;
    waker.watch(ends[0], [&] { ++ready; });
    waker.dispatch();
    EXPECT_EQ(ready, 0u);
    send();
    ASSERT_TRUE(kicked());
    EXPECT_EQ(ready, 0u) << "not on the waker's thread";
    waker.dispatch();
    EXPECT_EQ(ready, 1u);
}

TEST_F(WakerTest, InputThatNobodyTakesDoesNotSpin) {
    waker.watch(ends[0], [] {});
    send();
    ASSERT_TRUE(kicked());
    EXPECT_FALSE(kicked(2, 50ms)) << "quiet until dispatch()";
    waker.dispatch();
    EXPECT_TRUE(kicked(2)) << "armed again, and still there";
}

TEST_F(WakerTest, UnwatchedDescriptorsAreQuiet) {
    unsigned ready = 0;
    waker.watch(ends[0], [&] {
        ++ready;
        waker.unwatch(ends[0]); // from its own call
    });
    send();
    ASSERT_TRUE(kicked());
    waker.dispatch();
    EXPECT_EQ(ready, 1u);
    send();
    waker.dispatch();
    EXPECT_EQ(ready, 1u);
}

TEST_F(WakerTest, WaitsForWhatItWasAsked) {
    unsigned ready = 0;
    waker.watch(ends[0], [&] { ++ready; });
    waker.wait_for(ends[0], false, false);
    send();
    EXPECT_FALSE(kicked(1, 50ms));
    waker.wait_for(ends[0], true, false);
    EXPECT_TRUE(kicked());
    forget();
    waker.watch(ends[1], [&] { ready += 10; });
    waker.wait_for(ends[1], false, true); // there is room
    EXPECT_TRUE(kicked());
    waker.dispatch();
    EXPECT_GE(ready, 10u);
}

TEST_F(WakerTest, NothingComesAfterStop) {
    waker.set_timeout(1'000'000);
    waker.stop();
    forget();
    EXPECT_FALSE(kicked(1, 30ms));
}

TEST(HostClockTest, StandsStillWhileStopped) {
    HostClock clock;
    const u64 start = clock.now();
    EXPECT_LT(start, 1'000'000'000u) << "begins at 0";
    clock.stop();
    const u64 stopped = clock.now();
    usleep(100'000);
    EXPECT_EQ(clock.now(), stopped);
    clock.stop(); // again: no effect
    clock.go();
    const u64 after = clock.now();
    EXPECT_GE(after, stopped);
    EXPECT_LT(after - stopped, 100'000'000u) << "the pause is not counted";
    usleep(2000);
    EXPECT_GE(clock.now() - after, 2'000'000u);
    clock.go();
    EXPECT_GE(clock.now(), after);
}

} // namespace
} // namespace dragoman::runtime
