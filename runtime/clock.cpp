#include "runtime/clock.h"

#include <algorithm>
#include <cpuid.h>
#include <ctime>
#include <fstream>
#include <string>
#include <sys/prctl.h>

namespace dragoman::runtime {

namespace {

constexpr u64 kFirstLook = 100'000, kLongest = 1'000'000'000; // ns between two readings

class HostTime final : public TimeSource {
  public:
    u64 monotonic() const override {
        timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return u64(t.tv_sec) * 1'000'000'000 + u64(t.tv_nsec);
    }
    bool counter_even() const override {
        u32 eax, ebx, ecx, edx;
        constexpr u32 invariant = 1 << 8; // SDM vol. 3, 18.17.1
        if (!__get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) || !(edx & invariant)) return false;
        int mode = PR_TSC_ENABLE;
        if (prctl(PR_GET_TSC, &mode) == 0 && mode != PR_TSC_ENABLE) return false; // RDTSC traps
        // Linux strikes it off if its processors disagree.
        std::ifstream file("/sys/devices/system/clocksource/clocksource0/available_clocksource");
        std::string name;
        bool any = false;
        while (file >> name) {
            if (name == "tsc") return true;
            any = true;
        }
        return !any;
    }
};

} // namespace

std::unique_ptr<TimeSource> make_host_time() {
    return std::make_unique<HostTime>();
}

HostClock::HostClock(std::unique_ptr<TimeSource> source)
    : source_(std::move(source)), offset_(source_->monotonic()) {
    if (!source_->counter_even()) return;
    const Reading first = read();
    Reading second = first;
    while (second.ns - first.ns < kFirstLook)
        second = read();
    measure(first, second);
    by_counter_ = rate_ != 0;
    if (by_counter_) run_from(second, 0, kFirstLook * 2);
}

u64 HostClock::now() const {
    if (by_counter_) return line_.at(source_->counter());
    return stopped_ ? at_stop_ : source_->monotonic() - offset_;
}

void HostClock::stop() {
    if (stopped_) return;
    at_stop_ = now();
    stopped_ = true;
    line_ = {.scale = 0, .offset = at_stop_};
}

void HostClock::go() {
    if (!stopped_) return;
    stopped_ = false;
    offset_ = source_->monotonic() - at_stop_;
    if (by_counter_) run_from(read(), at_stop_, kFirstLook);
}

bool HostClock::follow() {
    // A counter that has gone back, as one does that began anew when the host was suspended, is looked at
    // too.
    if (!by_counter_ || stopped_ || source_->counter() - last_.count < interval_) return false;
    const Reading now = read();
    const bool forward = now.count > last_.count;
    const u64 ns = now.ns - last_.ns, shown = forward ? line_.at(now.count) : shown_ + ns;
    if (forward) measure(last_, now);
    run_from(now, shown, std::clamp(ns * 2, kFirstLook, kLongest));
    return true;
}

// The reading between whose neighbours there was the least time.
HostClock::Reading HostClock::read() const {
    Reading best;
    u64 least = ~u64{0};
    for (int n = 0; n < 3; ++n) {
        const u64 before = source_->counter(), ns = source_->monotonic(), after = source_->counter();
        if (after - before >= least) continue;
        least = after - before;
        best = {before + least / 2, ns};
    }
    return best;
}

// Keeps the old rate if the two do not fit together: less than 1 GHz, or more than there is.
void HostClock::measure(const Reading& from, const Reading& to) {
    const u64 ticks = to.count - from.count, ns = to.ns - from.ns;
    if (ns == 0 || ns >= ticks || ticks / ns > 100) return;
    rate_ = u64((static_cast<unsigned __int128>(ns) << 64) / ticks);
}

void HostClock::run_from(const Reading& at, u64 shown, u64 ns) {
    line_ = {.scale = rate_, .offset = 0};
    line_.offset = shown - line_.at(at.count);
    last_ = at;
    shown_ = shown;
    interval_ = u64((static_cast<unsigned __int128>(ns) << 64) / rate_);
}

} // namespace dragoman::runtime
