#include "runtime/waker.h"

#include <cerrno>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <vector>

namespace dragoman::runtime {

Waker::Waker(std::function<void()> kick)
    : kick_(std::move(kick)), epoll_(epoll_create1(EPOLL_CLOEXEC)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)),
      stop_event_(eventfd(0, EFD_CLOEXEC)) {
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.fd = timer_}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, timer_, &event);
    event = {.events = EPOLLIN, .data = {.fd = stop_event_}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_event_, &event);
    thread_ = std::thread([this] { loop(); });
}

Waker::~Waker() {
    const u64 one = 1;
    (void)!write(stop_event_, &one, sizeof one);
    thread_.join();
    close(epoll_);
    close(timer_);
    close(stop_event_);
}

void Waker::set_timeout(u64 ns) {
    itimerspec spec{};
    if (ns != ~u64{0}) {
        if (ns == 0) ns = 1;
        spec.it_value.tv_sec = time_t(ns / 1'000'000'000);
        spec.it_value.tv_nsec = long(ns % 1'000'000'000);
    }
    timerfd_settime(timer_, 0, &spec, nullptr);
}

void Waker::watch(int fd, std::function<void()> ready) {
    ready_[fd] = std::move(ready);
    // One shot: dispatch() arms it again, so that input which waits for the guest does not make the thread
    // spin.
    epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.fd = fd}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0 &&
        errno == EPERM) { // a regular file is always ready
        input_ = true;
        kick_();
    }
}

void Waker::unwatch(int fd) {
    epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
    ready_.erase(fd);
}

void Waker::dispatch() {
    if (!input_.exchange(false, std::memory_order_acquire)) return;
    std::vector<pollfd> fds;
    for (const auto& [fd, ready] : ready_)
        fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    if (poll(fds.data(), fds.size(), 0) > 0)
        for (const pollfd& p : fds)
            if (p.revents)
                if (const auto it = ready_.find(p.fd); it != ready_.end())
                    std::function<void()>(it->second)();
    for (const auto& [fd, ready] : ready_) {
        epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.fd = fd}};
        epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
    }
}

void Waker::loop() {
    for (;;) {
        epoll_event events[16];
        const int n = epoll_wait(epoll_, events, 16, -1);
        if (n < 0 && errno != EINTR) return;
        for (int i = 0; i < n; ++i) {
            if (events[i].data.fd == stop_event_) return;
            if (events[i].data.fd != timer_) input_.store(true, std::memory_order_release);
        }
        if (n > 0) kick_();
    }
}

} // namespace dragoman::runtime
