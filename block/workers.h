// Threads and the kernel's ring wait for the host's storage, so that the guest's processor does not.
#pragma once

#include "base/types.h"
#include "block/ring.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace dragoman::block {

class Workers {
  public:
    // `notify` is called on any thread when there is something to deliver. `ring` may be null.
    Workers(unsigned threads, std::function<void()> notify, std::unique_ptr<Ring> ring = nullptr)
        : most_(threads), notify_(std::move(notify)), ring_(std::move(ring)) {}
    ~Workers();
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    // Runs `work` on some thread; `done` is called by deliver() on the caller's.
    void run(std::function<void()> work, std::function<void()> done);
    // A read without a thread; see Ring. False: run() it.
    bool read(Place place, u8* to, u32 bytes, std::function<void(i64)> done);
    // Calls what is done, in the order in which the work ended.
    void deliver();
    // Is there anything that deliver() has not called yet? On the caller's thread.
    bool under_way() const { return under_way_ != 0 || (ring_ && ring_->under_way()); }
    Ring* ring() const { return ring_.get(); }
    // Waits until all work is done; deliver() still has to be called.
    void drain();

  private:
    struct Job {
        std::function<void()> work, done;
    };
    void loop();

    const unsigned most_;
    std::function<void()> notify_;
    std::unique_ptr<Ring> ring_;
    std::mutex lock_;
    std::condition_variable wanted_, idle_;
    std::deque<Job> waiting_;
    std::deque<std::function<void()>> finished_;
    unsigned sleeping_ = 0, busy_ = 0;
    unsigned under_way_ = 0; // the caller's
    bool stop_ = false;
    std::vector<std::thread> threads_; // started as they are needed
};

} // namespace dragoman::block
