// The waker's thread, the alarm and the host clock: descriptors, quiet while nobody dispatches, stopping.
#include "runtime/alarm.h"
#include "runtime/waker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
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
    waker.watch(ends[0], [] {});
    waker.stop();
    forget();
    send();
    EXPECT_FALSE(kicked(1, 30ms));
}

TEST(AlarmTest, RingsInTheMiddleOfALoop) {
    std::atomic<unsigned> rings{0};
    Alarm alarm([&] { ++rings; });
    const auto start = std::chrono::steady_clock::now();
    alarm.set(20'000'000);
    while (rings == 0 && std::chrono::steady_clock::now() - start < 10s) {
    }
    EXPECT_EQ(rings, 1u);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 20ms);
    alarm.set(0);
    while (rings == 1 && std::chrono::steady_clock::now() - start < 10s) {
    }
    EXPECT_EQ(rings, 2u) << "0 rings at once";
}

TEST(AlarmTest, ADeadlineThatPassedRingsAgain) {
    std::atomic<unsigned> rings{0};
    Alarm alarm([&] { ++rings; });
    for (unsigned n = 1; n <= 3; ++n) { // as for a timer that arms itself into the past
        alarm.set_deadline(1000, 900);
        for (int i = 0; i < 1000 && rings < n; ++i)
            usleep(10'000);
        ASSERT_EQ(rings, n);
    }
    alarm.set_deadline(1000, 20'001'000);
    alarm.set_deadline(1000, 20'001'000);
    alarm.set_deadline(1000, Alarm::never);
    usleep(60'000);
    EXPECT_EQ(rings, 3u);
}

TEST(AlarmTest, RingsOnTheThreadThatMadeIt) {
    std::atomic<bool> rung{false};
    std::thread::id where;
    Alarm alarm([&] {
        where = std::this_thread::get_id();
        rung = true;
    });
    std::thread([&] { alarm.set(1'000'000); }).join();
    for (int i = 0; i < 1000 && !rung; ++i)
        usleep(10'000);
    ASSERT_TRUE(rung);
    EXPECT_EQ(where, std::this_thread::get_id());
}

TEST(AlarmTest, ALaterSettingReplacesTheEarlier) {
    std::atomic<unsigned> rings{0};
    {
        Alarm alarm([&] { ++rings; });
        alarm.set(30'000'000);
        alarm.set(Alarm::never);
        usleep(80'000);
        EXPECT_EQ(rings, 0u);
        alarm.set(30'000'000);
    }
    usleep(80'000);
    EXPECT_EQ(rings, 0u) << "after its end";
}

// It may ring before a slow clock shows the deadline: then it is asked again.
TEST(AlarmTest, RingsAgainForAClockThatIsNotThereYet) {
    std::atomic<unsigned> rings{0};
    Alarm alarm([&] { ++rings; });
    for (unsigned n = 1; n <= 3; ++n) {
        alarm.set_deadline(1000, 2000);
        for (int i = 0; i < 1000 && rings < n; ++i)
            usleep(10'000);
        ASSERT_EQ(rings, n);
    }
}

} // namespace
} // namespace dragoman::runtime
