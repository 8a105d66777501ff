// Where virtual time comes from (design: one scheduler, two clocks).
#pragma once

#include "hw/core/scheduler.h"

#include <ctime>

namespace dragoman::runtime {

// Follows the host's monotonic clock, and stands still while the machine is stopped.
class HostClock final : public hw::Clock {
  public:
    u64 now() const override { return stopped_ ? at_stop_ : host() - offset_; }
    void stop() {
        if (stopped_) return;
        at_stop_ = now();
        stopped_ = true;
    }
    void go() {
        if (!stopped_) return;
        offset_ = host() - at_stop_;
        stopped_ = false;
    }

  private:
    static u64 host() {
        timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return u64(t.tv_sec) * 1'000'000'000 + u64(t.tv_nsec);
    }
    u64 offset_ = host();
    u64 at_stop_ = 0;
    bool stopped_ = false;
};

} // namespace dragoman::runtime
