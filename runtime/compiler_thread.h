// A second host thread that compiles blocks which the vCPU interprets meanwhile, so that code which runs for
// the first time does not wait for its translation. What it makes is the record of a block (tb_cache_file.h),
// which the vCPU places in its own code buffer.
#pragma once

#include "backend/x64/backend.h"
#include "ir/block.h"
#include "ir/passes.h"
#include "runtime/tb_cache_file.h"

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace dragoman::runtime {

// All of it is to be called by one thread, the vCPU's.
class CompilerThread {
  public:
    // One block to be compiled.
    struct Job {
        // Given with it; not to be touched while it is underway:
        ir::Block block;       // before the passes
        TbRecord header;       // all of the record but the code
        std::vector<u8> guest; // the guest's bytes, one part after the other
        // The caller's own:
        u64 ticket = ~u64{0}; // what it is known by
        bool keep = false;    // its record is of use elsewhere
        u32 asked = 0;        // so often its code was asked for and not there

      private:
        friend class CompilerThread;
        enum class State : u32 { Taken, Underway, Done };
        std::atomic<State> state = State::Taken;
        std::vector<u64> record; // empty: none could be made
    };
    // Tickets that differ by a multiple of this share a job.
    static constexpr u32 kJobs = 128, kMostUnderway = 32;

    // With a backend of its own that makes the same code as `like`, which has these options. `target`: where
    // the vCPU places it; borrowed, and made ready ahead. Null: there is no such thread, as the process has
    // one processor only, which is the vCPU's, or the host gives none.
    static std::unique_ptr<CompilerThread> start(const backend::Backend& like, backend::CodeBuffer& target,
                                                 const backend::Options& options, ir::PassSwitches passes,
                                                 Log& log);
    ~CompilerThread(); // what was not begun is dropped

    CompilerThread(const CompilerThread&) = delete;
    CompilerThread& operator=(const CompilerThread&) = delete;

    Job& job(u64 ticket) { return jobs_[ticket % kJobs]; }
    static bool underway(const Job& job) {
        return job.state.load(std::memory_order_acquire) == Job::State::Underway;
    }
    // False: the thread is behind, perhaps as it gets no processor.
    bool has_room() const { return submitted_.load(std::memory_order_relaxed) - seen_done_ < kMostUnderway; }
    void submit(Job& job); // one that is not underway; there is room
    // Of those submitted the next one, in their order, if it is done. Null: it is not, or there is none.
    Job* next_done();
    // Of a job that is not underway: the record that was made, for the first who asks, as long as nothing
    // else is submitted as that job. Null: there is none.
    static const std::vector<u64>* take(Job& job) {
        const bool done =
            job.state.exchange(Job::State::Taken, std::memory_order_relaxed) == Job::State::Done;
        return done && !job.record.empty() ? &job.record : nullptr;
    }

  private:
    CompilerThread(backend::CodeBuffer& target, std::unique_ptr<backend::CodeBuffer> buffer,
                   std::unique_ptr<backend::Backend> backend, ir::PassSwitches passes);
    void run();
    bool wait(u32 done); // until more than so many were submitted; false: it is to stop
    void compile(Job& job);

    backend::CodeBuffer& target_;
    std::unique_ptr<backend::CodeBuffer> buffer_;
    std::unique_ptr<backend::Backend> backend_;
    ir::PassSwitches passes_;
    backend::Compiled compiled_;
    std::array<Job, kJobs> jobs_;
    std::array<Job*, kJobs> queue_{}; // has room: none is in it twice
    std::atomic<u32> submitted_ = 0;  // so many since the start
    u32 seen_done_ = 0;               // and of these by next_done()
    std::atomic<bool> stopping_ = false;
    std::thread thread_;
};

} // namespace dragoman::runtime
