// The vCPU's use of a second host thread (compiler_thread.h). A block that was met for the first time lies
// among the cold ones, without code, and is interpreted each time it is asked for until its code is there.
#include "runtime/compiler_thread.h"
#include "runtime/tb_cache.h"
#include "runtime/vcpu.h"

namespace dragoman::runtime {

static_assert(CompilerThread::kJobs == TranslationCache::kColdBlocks, "each cold block has a job");

namespace {

// So often a block is interpreted while its code is being made: that takes a few times as long as making it
// here would.
constexpr u32 kPatience = 64;

} // namespace

// What is counted is to be the same in every run, whatever another thread does.
void Vcpu::start_compiler() {
    if (options_.compiler_thread && options_.cold && !counts_instructions())
        compiler_ = CompilerThread::start(*backend_, *buffer_, options_.backend, options_.passes, log_);
}

bool Vcpu::may_wait_for_code() const {
    return compiler_ && !wants_ir() && !log_.enabled(LogItem::OutAsm);
}

bool Vcpu::ask_for_code(const CachedBlock& cold, const u8* host) {
    CompilerThread::Job& job = compiler_->job(cold.position);
    while (CompilerThread::Job* const done = compiler_->next_done())
        collect(*done);
    // The job may be that of a block that was in its place before.
    if (compiler_->underway(job) || !compiler_->has_room()) return false;
    const u8* parts[x86::Translator::Source::Parts];
    if (!describe(cold, host, job.header, parts)) return false;
    job.guest.clear();
    for (unsigned part = 0; part < std::size(parts); ++part)
        job.guest.insert(job.guest.end(), parts[part], parts[part] + job.header.guest[part]);
    job.keep = may_be_kept(host) && cold.has_numbers() && tb_cache_->wants(cold.key.gpa);
    job.block = *cold.ir;
    job.ticket = cold.position;
    job.asked = 0;
    compiler_->submit(job);
    return true;
}

// False also where the block is gone.
bool Vcpu::collect(CompilerThread::Job& job) {
    const std::vector<u64>* const made = CompilerThread::take(job);
    if (!made) return false;
    const auto* const record = reinterpret_cast<const TbRecord*>(made->data());
    if (job.keep && (tb_cache_->has_file() || record->movable)) tb_cache_->keep(*made);
    CachedBlock* const cold = cache_->cold(job.ticket);
    if (!cold) return false;
    const backend::PortableCode code = record->portable(cold->key.rip);
    if (!cache_->warm(*cold, &code)) return false;
    ++counters_.compiled_beside;
    return true;
}

bool Vcpu::waits_for_code(const CachedBlock& cold) {
    if (!may_wait_for_code()) return false;
    CompilerThread::Job& job = compiler_->job(cold.position);
    return job.ticket == cold.position && compiler_->underway(job) && job.asked++ < kPatience;
}

bool Vcpu::code_asked_for(CachedBlock& cold, const u8* host) {
    if (!may_wait_for_code()) return false;
    CompilerThread::Job& job = compiler_->job(cold.position);
    if (job.ticket != cold.position) return ask_for_code(cold, host);
    return !compiler_->underway(job) && collect(job);
}

} // namespace dragoman::runtime
