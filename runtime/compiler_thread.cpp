#include "runtime/compiler_thread.h"

#include "base/assert.h"
#include "base/bits.h"

#include <csignal>
#include <pthread.h>
#include <sched.h>
#include <system_error>

namespace dragoman::runtime {

namespace {

constexpr u64 kRoom = 64 * KiB; // for the block being compiled, behind the stubs
constexpr u64 kBufferBytes = MiB;
constexpr unsigned kLooks = 256; // for another block before the thread sleeps: about 100 us

unsigned processors() {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? unsigned(CPU_COUNT(&set)) : 1;
}

} // namespace

std::unique_ptr<CompilerThread> CompilerThread::start(const backend::Backend& like,
                                                      backend::CodeBuffer& target,
                                                      const backend::Options& options,
                                                      ir::PassSwitches passes, Log& log) {
    if (processors() < 2) return nullptr;
    auto buffer = backend::CodeBuffer::create(kBufferBytes);
    if (!buffer) return nullptr;
    auto backend = backend::Backend::create(**buffer, options, log);
    if (!backend || (*backend)->identity() != like.identity() ||
        (*backend)->stub_bytes() + kRoom > kBufferBytes)
        return nullptr;
    std::unique_ptr<CompilerThread> made(
        new CompilerThread(target, std::move(*buffer), std::move(*backend), passes));
    // Signals are for the threads that were there before.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        made->thread_ = std::thread([&thread = *made] { thread.run(); });
        pthread_setname_np(made->thread_.native_handle(), "compiler");
    } catch (const std::system_error&) { // the host has no more of them
        made.reset();
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return made;
}

CompilerThread::CompilerThread(backend::CodeBuffer& target, std::unique_ptr<backend::CodeBuffer> buffer,
                               std::unique_ptr<backend::Backend> backend, ir::PassSwitches passes)
    : target_(target), buffer_(std::move(buffer)), backend_(std::move(backend)), passes_(passes) {}

CompilerThread::~CompilerThread() {
    stopping_.store(true, std::memory_order_relaxed);
    submitted_.fetch_add(1, std::memory_order_release);
    submitted_.notify_one();
    if (thread_.joinable()) thread_.join();
}

void CompilerThread::submit(Job& job) {
    const u32 number = submitted_.load(std::memory_order_relaxed);
    DRAGOMAN_ASSERT(has_room() && !underway(job));
    job.state.store(Job::State::Underway, std::memory_order_relaxed);
    queue_[number % kJobs] = &job;
    submitted_.store(number + 1, std::memory_order_release);
    submitted_.notify_one();
}

CompilerThread::Job* CompilerThread::next_done() {
    if (seen_done_ == submitted_.load(std::memory_order_relaxed)) return nullptr;
    Job* const job = queue_[seen_done_ % kJobs];
    if (underway(*job)) return nullptr;
    ++seen_done_;
    return job;
}

// To wake a thread takes the vCPU a system call and mostly an interrupt of another processor, as long as to
// interpret a few blocks; new code comes in bursts.
bool CompilerThread::wait(u32 done) {
    for (unsigned n = 0; n < kLooks && submitted_.load(std::memory_order_acquire) == done; ++n)
        std::this_thread::yield();
    submitted_.wait(done, std::memory_order_acquire);
    return !stopping_.load(std::memory_order_relaxed);
}

void CompilerThread::run() {
    for (u32 done = 0; wait(done); ++done) {
        compile(*queue_[done % kJobs]);
        target_.make_ready();
    }
}

void CompilerThread::compile(Job& job) {
    ir::run_passes(job.block, passes_);
    const u8* const at = buffer_->executable() + align_up(backend_->stub_bytes(), 64);
    const u8* parts[x86::Translator::Source::Parts] = {};
    const u8* guest = job.guest.data();
    for (unsigned part = 0; part < std::size(parts); guest += job.header.guest[part++])
        parts[part] = guest;
    backend::PortableCode code;
    job.record.clear();
    if (backend_->compile(job.block, at, kRoom, compiled_) &&
        backend_->portable(at, compiled_, compiled_.kept, code))
        make_record(job.record, job.header, parts, code);
    job.state.store(Job::State::Done, std::memory_order_release);
}

} // namespace dragoman::runtime
