// Where virtual time comes from (design: one scheduler, two clocks).
#pragma once

#include "base/time_line.h"
#include "hw/core/scheduler.h"

#include <memory>

namespace dragoman::runtime {

// What HostClock reads.
class TimeSource {
  public:
    virtual ~TimeSource() = default;
    virtual u64 monotonic() const = 0;                     // nanoseconds
    virtual u64 counter() const { return host_counter(); } // the host's time-stamp counter
    virtual bool counter_even() const = 0;                 // the counter runs evenly, whatever the host does
};
std::unique_ptr<TimeSource> make_host_time();

// Follows the host's monotonic clock, and stands still while the machine is stopped. Where the host's
// time-stamp counter runs evenly, and faster than 1 GHz, time is a linear function of it, which generated
// code computes by itself. The function's slope is that of the monotonic clock over the last second.
class HostClock final : public hw::Clock {
  public:
    explicit HostClock(std::unique_ptr<TimeSource> source = make_host_time());

    u64 now() const override;
    void stop();
    void go();

    // Null: the counter is of no use. Changed by stop(), go() and follow().
    const TimeLine* line() const { return by_counter_ ? &line_ : nullptr; }
    // To be called every now and then. True: the line has changed, but not what it shows now.
    bool follow();

  private:
    struct Reading { // of both at one time
        u64 count = 0, ns = 0;
    };
    Reading read() const;
    void measure(const Reading& from, const Reading& to);
    void run_from(const Reading& at, u64 shown, u64 ns); // for so long

    std::unique_ptr<TimeSource> source_;
    bool by_counter_ = false;
    bool stopped_ = false;
    u64 at_stop_ = 0;
    u64 offset_ = 0; // monotonic() - now(), without a line

    TimeLine line_;
    u64 rate_ = 0;     // its scale while time goes on
    Reading last_;     // when it was made,
    u64 shown_ = 0;    // and what it showed then
    u64 interval_ = 0; // ticks from then on for which it is good
};

} // namespace dragoman::runtime
