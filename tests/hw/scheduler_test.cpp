#include "hw/core/scheduler.h"

#include <gtest/gtest.h>
#include <memory>
#include <string>

namespace dragoman::hw {
namespace {

TEST(Scheduler, FiresEarliestFirstAndOnlyWhatIsDue) {
    SteppedClock clock;
    Scheduler scheduler(clock);
    std::string fired;
    Timer a(scheduler, [&] { fired += 'a'; }), b(scheduler, [&] { fired += 'b'; }),
        c(scheduler, [&] { fired += 'c'; });
    EXPECT_EQ(scheduler.next_deadline(), Scheduler::never);
    a.arm(300);
    b.arm(100);
    c.arm(301);
    EXPECT_EQ(scheduler.next_deadline(), 100u);
    clock.set(99);
    scheduler.run_due();
    EXPECT_EQ(fired, "");
    clock.set(300);
    scheduler.run_due();
    EXPECT_EQ(fired, "ba");
    EXPECT_FALSE(a.armed());
    EXPECT_TRUE(c.armed());
    EXPECT_EQ(scheduler.next_deadline(), 301u);
}

TEST(Scheduler, EqualDeadlinesFireInTheOrderOfArming) {
    SteppedClock clock;
    Scheduler scheduler(clock);
    std::string fired;
    Timer a(scheduler, [&] { fired += 'a'; }), b(scheduler, [&] { fired += 'b'; });
    b.arm(5);
    a.arm(5);
    clock.set(5);
    scheduler.run_due();
    EXPECT_EQ(fired, "ba");
}

TEST(Scheduler, CancelAndRearm) {
    SteppedClock clock;
    Scheduler scheduler(clock);
    int fired = 0;
    Timer timer(scheduler, [&] { fired++; });
    timer.arm(10);
    timer.cancel();
    timer.cancel();
    EXPECT_EQ(scheduler.next_deadline(), Scheduler::never);
    timer.arm(10);
    timer.arm(20); // one deadline, not two
    clock.set(15);
    scheduler.run_due();
    EXPECT_EQ(fired, 0);
    clock.set(20);
    scheduler.run_due();
    EXPECT_EQ(fired, 1);
}

TEST(Scheduler, RearmingIntoThePastEndsAndFiresNextTime) {
    SteppedClock clock;
    Scheduler scheduler(clock);
    int fired = 0;
    std::unique_ptr<Timer> timer;
    timer = std::make_unique<Timer>(scheduler, [&] {
        fired++;
        timer->arm(1);
    });
    timer->arm(1);
    clock.set(100);
    scheduler.run_due();
    EXPECT_EQ(fired, 1);
    scheduler.run_due();
    EXPECT_EQ(fired, 2);
}

TEST(Scheduler, AFiringTimerMayCancelOrDestroyAnotherDueOne) {
    SteppedClock clock;
    Scheduler scheduler(clock);
    int fired = 0;
    Timer cancelled(scheduler, [&] { fired += 10; });
    auto destroyed = std::make_unique<Timer>(scheduler, [&] { fired += 100; });
    Timer first(scheduler, [&] {
        fired++;
        cancelled.cancel();
        destroyed.reset();
    });
    first.arm(1);
    cancelled.arm(2);
    destroyed->arm(3);
    clock.set(10);
    scheduler.run_due();
    EXPECT_EQ(fired, 1);
    EXPECT_EQ(scheduler.next_deadline(), Scheduler::never);
}

TEST(Scheduler, TellsWhenTheEarliestDeadlineMovesEarlier) {
    SteppedClock clock;
    Scheduler scheduler(clock);
    int told = 0;
    scheduler.on_earlier([&] { told++; });
    Timer a(scheduler, [] {}), b(scheduler, [] {});
    a.arm(100);
    EXPECT_EQ(told, 1);
    b.arm(200);
    EXPECT_EQ(told, 1);
    b.arm(50);
    EXPECT_EQ(told, 2);
    b.arm(70);
    EXPECT_EQ(told, 3) << "the timer's own former deadline does not count";
    b.arm(150);
    EXPECT_EQ(told, 3);
}

} // namespace
} // namespace dragoman::hw
