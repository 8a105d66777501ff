// An alarm for one thread, by a signal: it interrupts that thread wherever it runs, however busy the host is.
// A second thread that waited for the time would have to be scheduled first, which on a loaded host takes
// tens of milliseconds, and the guest's clock would tick no faster than that.
#pragma once

#include "base/types.h"

#include <atomic>
#include <ctime>
#include <functional>

namespace dragoman::runtime {

class Alarm {
  public:
    // `ring` is called on the thread that makes the Alarm, in a signal handler (SIGALRM): it may only do what
    // signal-safety(7) allows.
    explicit Alarm(std::function<void()> ring);
    ~Alarm(); // on the same thread; it does not ring after this
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;

    static constexpr u64 never = ~u64{0};
    // Host monotonic time, in nanoseconds from now; 0 rings at once. Replaces the earlier setting.
    void set(u64 ns);
    // Rings when a clock that shows `now` will show `deadline`; at once if it has passed. Asking for it again
    // costs nothing, unless it has rung: for a clock that runs slower than the host's it may have rung early.
    void set_deadline(u64 now, u64 deadline);

  private:
    std::function<void()> ring_;
    std::atomic<bool> rung_{false}; // since it was set
    timer_t timer_{};
    u64 deadline_ = never;
};

} // namespace dragoman::runtime
