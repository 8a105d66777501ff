#include "runtime/alarm.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

void handle(int, siginfo_t* info, void*) {
    const int saved = errno;
    if (info->si_code == SI_TIMER) (*static_cast<std::function<void()>*>(info->si_value.sival_ptr))();
    errno = saved;
}

} // namespace

Alarm::Alarm(std::function<void()> ring)
    : ring_([this, ring = std::move(ring)] {
          rung_.store(true, std::memory_order_relaxed);
          ring();
      }) {
    struct sigaction action {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGALRM;
    event.sigev_value.sival_ptr = &ring_;
    event._sigev_un._tid = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0) return;
    std::fprintf(stderr, "dragoman: the host gives no timer: %s\n",
                 std::strerror(errno)); // RLIMIT_SIGPENDING
    std::exit(1);
}

Alarm::~Alarm() {
    timer_delete(timer_);
}

void Alarm::set_deadline(u64 now, u64 deadline) {
    if (deadline == deadline_ && deadline > now && !rung_.load(std::memory_order_relaxed)) return;
    set(deadline == never ? never : deadline > now ? deadline - now : 0);
    deadline_ = deadline;
}

void Alarm::set(u64 ns) {
    deadline_ = never;
    rung_.store(false, std::memory_order_relaxed);
    itimerspec spec{};
    if (ns != never) {
        if (ns == 0) ns = 1;
        spec.it_value.tv_sec = time_t(ns / 1'000'000'000);
        spec.it_value.tv_nsec = long(ns % 1'000'000'000);
    }
    timer_settime(timer_, 0, &spec, nullptr);
}

} // namespace dragoman::runtime
