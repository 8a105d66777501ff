#include "runtime/waker.h"

#include <cerrno>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dragoman::runtime {

Waker::Waker(std::function<void()> kick)
    : kick_(std::move(kick)), epoll_(epoll_create1(EPOLL_CLOEXEC)), stop_event_(eventfd(0, EFD_CLOEXEC)) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = stop_event_}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_event_, &event);
    thread_ = std::thread([this] { loop(); });
}

void Waker::stop() {
    if (!thread_.joinable()) return;
    const u64 one = 1;
    (void)!write(stop_event_, &one, sizeof one);
    thread_.join();
}

Waker::~Waker() {
    stop();
    close(epoll_);
    close(stop_event_);
}

void Waker::watch(int fd, std::function<void()> ready) {
    watched_[fd] = {std::move(ready), EPOLLIN};
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
    watched_.erase(fd);
}

void Waker::wait_for(int fd, bool input, bool output) {
    const auto it = watched_.find(fd);
    if (it == watched_.end()) return;
    const u32 events = (input ? u32{EPOLLIN} : 0u) | (output ? u32{EPOLLOUT} : 0u);
    const u32 before = std::exchange(it->second.events, events);
    if (events == before) return;
    epoll_event event{.events = events | EPOLLONESHOT, .data = {.fd = fd}};
    epoll_ctl(epoll_, !events ? EPOLL_CTL_DEL : before ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
}

void Waker::dispatch() {
    if (!input_.exchange(false, std::memory_order_acquire)) return;
    std::vector<pollfd> fds;
    for (const auto& [fd, watched] : watched_)
        if (watched.events)
            fds.push_back({.fd = fd,
                           .events = short((watched.events & EPOLLIN ? POLLIN : 0) |
                                           (watched.events & EPOLLOUT ? POLLOUT : 0)),
                           .revents = 0});
    if (poll(fds.data(), fds.size(), 0) > 0)
        for (const pollfd& p : fds)
            if (p.revents)
                if (const auto it = watched_.find(p.fd); it != watched_.end())
                    std::function<void()>(it->second.ready)(); // a copy: it may unwatch itself
    for (const auto& [fd, watched] : watched_) {
        if (!watched.events) continue;
        epoll_event event{.events = watched.events | EPOLLONESHOT, .data = {.fd = fd}};
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
        }
        if (n <= 0) continue;
        input_.store(true, std::memory_order_release);
        kick_();
    }
}

} // namespace dragoman::runtime
