// Virtual time. There is one scheduler of absolute virtual nanoseconds; chips hold deadlines in it and compute their
// counters from now() when they are read. No chip reads the host's clock and none owns a thread.
#pragma once

#include "base/types.h"

#include <boost/intrusive/set.hpp>
#include <functional>
#include <limits>
#include <utility>

namespace dragoman::hw {

// Nanoseconds since the machine was made. Never goes back.
class Clock {
  public:
    virtual ~Clock() = default;
    virtual u64 now() const = 0;
};

// A clock that moves only when told: for tests.
class SteppedClock final : public Clock {
  public:
    u64 now() const override { return ns_; }
    void set(u64 ns) { ns_ = ns; }

  private:
    u64 ns_ = 0;
};

class Scheduler;

// One deadline. Owned by its chip; disarms itself when destroyed.
class Timer : public boost::intrusive::set_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
  public:
    Timer(Scheduler& scheduler, std::function<void()> fire) : scheduler_(scheduler), fire_(std::move(fire)) {}
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    void arm(u64 deadline); // absolute ns; a past deadline fires at the next run_due()
    void cancel() {
        if (is_linked()) unlink();
    }
    bool armed() const { return is_linked(); }
    u64 deadline() const { return deadline_; } // valid while armed

    friend bool operator<(const Timer& a, const Timer& b) { return a.deadline_ < b.deadline_; }

  private:
    friend class Scheduler;
    Scheduler& scheduler_;
    std::function<void()> fire_;
    u64 deadline_ = 0;
};

class Scheduler {
  public:
    static constexpr u64 never = std::numeric_limits<u64>::max();

    explicit Scheduler(const Clock& clock) : clock_(clock) {}

    u64 now() const { return clock_.now(); }
    u64 next_deadline() const { return timers_.empty() ? never : timers_.begin()->deadline_; }

    // Fires every timer whose deadline is not after now(), earliest first. A timer that rearms itself into the past
    // fires again in the next call, so this always ends.
    void run_due() {
        const u64 limit = now();
        Set due;
        while (!timers_.empty() && timers_.begin()->deadline_ <= limit) {
            Timer& timer = *timers_.begin();
            timers_.erase(timers_.begin());
            due.insert(timer);
        }
        while (!due.empty()) {
            Timer& timer = *due.begin();
            due.erase(due.begin());
            timer.fire_();
        }
    }

    // Called when the earliest deadline moved earlier, so that the runtime can shorten its wait.
    void on_earlier(std::function<void()> notify) { notify_ = std::move(notify); }

  private:
    friend class Timer;
    using Set = boost::intrusive::multiset<Timer, boost::intrusive::constant_time_size<false>>;
    const Clock& clock_;
    Set timers_;
    std::function<void()> notify_;
};

inline void Timer::arm(u64 deadline) {
    cancel();
    deadline_ = deadline;
    const u64 before = scheduler_.next_deadline();
    scheduler_.timers_.insert(*this);
    if (deadline < before && scheduler_.notify_) scheduler_.notify_();
}

} // namespace dragoman::hw
