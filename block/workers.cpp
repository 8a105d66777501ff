#include "block/workers.h"

namespace dragoman::block {

Workers::~Workers() {
    {
        const std::lock_guard guard(lock_);
        stop_ = true;
    }
    wanted_.notify_all();
    for (std::thread& thread : threads_)
        thread.join();
}

void Workers::run(std::function<void()> work, std::function<void()> done) {
    ++under_way_;
    const std::lock_guard guard(lock_);
    waiting_.push_back({std::move(work), std::move(done)});
    if (sleeping_ < waiting_.size() && threads_.size() < most_) threads_.emplace_back([this] { loop(); });
    wanted_.notify_one();
}

bool Workers::read(Place place, u8* to, u32 bytes, std::function<void(i64)> done) {
    if (!ring_ || !ring_->read(place, to, bytes, std::move(done))) return false;
    if (ring_->ready()) notify_();
    return true;
}

void Workers::loop() {
    std::unique_lock guard(lock_);
    for (;;) {
        while (waiting_.empty() && !stop_) {
            ++sleeping_;
            wanted_.wait(guard);
            --sleeping_;
        }
        if (waiting_.empty()) return;
        Job job = std::move(waiting_.front());
        waiting_.pop_front();
        ++busy_;
        guard.unlock();
        job.work();
        guard.lock();
        --busy_;
        finished_.push_back(std::move(job.done));
        if (busy_ == 0 && waiting_.empty()) idle_.notify_all();
        guard.unlock();
        notify_();
        guard.lock();
    }
}

void Workers::deliver() {
    if (ring_) ring_->deliver();
    for (;;) {
        std::deque<std::function<void()>> finished;
        {
            const std::lock_guard guard(lock_);
            finished.swap(finished_);
        }
        if (finished.empty()) return;
        for (const auto& done : finished) {
            --under_way_;
            done();
        }
    }
}

void Workers::drain() {
    if (ring_) ring_->drain();
    std::unique_lock guard(lock_);
    idle_.wait(guard, [this] { return busy_ == 0 && waiting_.empty(); });
}

} // namespace dragoman::block
