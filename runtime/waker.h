// Wakes the run loop: one host thread waits for input on file descriptors, and kicks the vCPU when there is
// some. Everything else happens on the vCPU's own thread, between guest instructions. Deadlines are
// alarm.h's.
#pragma once

#include "base/types.h"

#include <atomic>
#include <functional>
#include <map>
#include <thread>

namespace dragoman::runtime {

class Waker {
  public:
    explicit Waker(std::function<void()> kick); // called on the waker's thread
    ~Waker();
    void stop(); // no kick comes after this

    // Calls `ready` from dispatch() whenever `fd` can be read (or was closed). `fd` is borrowed.
    void watch(int fd, std::function<void()> ready);
    void unwatch(int fd);
    // What `ready` of a watched descriptor is called for: input (as after watch()), room for output, both, or
    // neither.
    void wait_for(int fd, bool input, bool output);
    // A watched descriptor is quiet after it was reported until this: for input that nobody takes yet.
    void dispatch(); // on the vCPU's thread: calls what is ready

  private:
    void loop();
    std::function<void()> kick_;
    int epoll_, stop_event_;
    std::atomic<bool> input_{false};
    struct Watched {
        std::function<void()> ready;
        u32 events; // EPOLLIN, EPOLLOUT; 0: not in the epoll set, because that would report errors all the
                    // time
    };
    std::map<int, Watched> watched_;
    std::thread thread_;
};

} // namespace dragoman::runtime
