// Code that a second thread makes: the same as the vCPU's own, and what becomes of jobs that nobody waits
// for.
#include "runtime/compiler_thread.h"
#include "vcpu_machine.h"

#include "base/bits.h"

#include <algorithm>
#include <array>
#include <thread>

namespace dragoman::test {
namespace {

using runtime::CompilerThread;
using runtime::TbRecord;

class CompilerThreadTest : public ::testing::Test {
  protected:
    void SetUp() override {
        buffer = std::move(*backend::CodeBuffer::create(4 * MiB));
        backend = std::move(*backend::Backend::create(*buffer, options, log));
        thread = CompilerThread::start(*backend, *buffer, options, {}, log);
        if (thread) return;
        ASSERT_LT(std::thread::hardware_concurrency(), 2u);
        GTEST_SKIP() << "this process has one processor only";
    }

    // A block that adds `n` and stores the sum; its "guest bytes" are two.
    static void fill(CompilerThread::Job& job, u64 n) {
        job.ticket = n;
        job.block = {};
        job.block.pc = job.block.linear_pc = 0x1000 + n * 16;
        job.block.guest_bytes = 2;
        job.block.guest_instructions = 1;
        const ir::Inst add{
            .op = ir::Op::Add, .d = ir::kRax, .a = ir::kRax, .b = ir::Ref::imm(), .imm = i64(n)};
        const ir::Inst jump{.op = ir::Op::Jump, .imm = i64(job.block.pc + 2)};
        job.block.insts = {ir::Inst{}, add, jump};
        job.header = {.pc = job.block.pc, .guest_instructions = 1};
        job.header.guest[0] = 2;
        job.guest = {u8(n), u8(n >> 8)};
    }
    const std::vector<u64>* wait_for(CompilerThread::Job& job) {
        while (thread->underway(job))
            std::this_thread::yield();
        return thread->take(job);
    }
    // What this thread makes of it.
    std::vector<u64> expected(u64 n) {
        CompilerThread::Job job;
        fill(job, n);
        ir::run_passes(job.block);
        backend::Compiled made;
        const u8* const at = buffer->executable() + align_up(backend->stub_bytes(), 64) + 4096;
        backend::PortableCode code;
        EXPECT_TRUE(backend->compile(job.block, at, 32 * KiB, made));
        EXPECT_TRUE(backend->portable(at, made, made.kept, code));
        const u8* const parts[x86::Translator::Source::Parts] = {job.guest.data(), nullptr, nullptr};
        std::vector<u64> record;
        make_record(record, job.header, parts, code);
        return record;
    }

    // Field by field: numbers have padding.
    static bool same(const std::vector<u64>& a, const std::vector<u64>& b) {
        const auto& first = *reinterpret_cast<const TbRecord*>(a.data());
        const auto& second = *reinterpret_cast<const TbRecord*>(b.data());
        const backend::PortableCode one = first.portable(first.pc), other = second.portable(second.pc);
        const auto links = [](const backend::LinkSite& x, const backend::LinkSite& y) {
            return x.jump_offset == y.jump_offset && x.target == y.target;
        };
        const auto numbers = [](const TbRecord& r) {
            return std::array{
                r.pc,         u64{r.guest_instructions}, u64{r.entry}, u64{r.saved_entry}, u64{r.far_entry},
                u64{r.calls}, u64{r.host_instructions}};
        };
        return numbers(first) == numbers(second) && std::ranges::equal(one.code, other.code) &&
               std::ranges::equal(one.stub_jumps, other.stub_jumps) &&
               std::ranges::equal(one.links, other.links, links) &&
               std::equal(first.guest_at(0), first.guest_at(0) + first.guest[0], second.guest_at(0));
    }

    Log log;
    backend::Options options;
    std::unique_ptr<backend::CodeBuffer> buffer;
    std::unique_ptr<backend::Backend> backend;
    std::unique_ptr<CompilerThread> thread;
};

TEST_F(CompilerThreadTest, MakesWhatTheVcpuWouldHaveMade) {
    for (u64 n = 0; n < 3 * CompilerThread::kJobs; ++n) {
        CompilerThread::Job& job = thread->job(n);
        fill(job, n);
        ASSERT_TRUE(thread->has_room()) << n;
        thread->submit(job);
        const std::vector<u64>* const made = wait_for(job);
        ASSERT_TRUE(made) << n;
        ASSERT_TRUE(same(*made, expected(n))) << n;
        EXPECT_FALSE(thread->take(job)) << "a record is taken once";
        EXPECT_EQ(thread->next_done(), &job);
        EXPECT_FALSE(thread->next_done());
    }
}

TEST_F(CompilerThreadTest, TellsWhatIsDoneInOrderAndTakesNoMoreThanSoMany) {
    u64 submitted = 0, done = 0;
    while (done < 1000) {
        for (; thread->has_room(); ++submitted) {
            CompilerThread::Job& job = thread->job(submitted);
            fill(job, submitted);
            thread->submit(job);
            ASSERT_LT(submitted - done, CompilerThread::kMostUnderway);
        }
        EXPECT_EQ(submitted - done, CompilerThread::kMostUnderway);
        CompilerThread::Job* job;
        while (!(job = thread->next_done()))
            std::this_thread::yield();
        for (; job; job = thread->next_done(), ++done) {
            EXPECT_EQ(job->ticket, done);
            const std::vector<u64>* const made = thread->take(*job);
            ASSERT_TRUE(made);
            EXPECT_EQ(reinterpret_cast<const TbRecord*>(made->data())->pc, 0x1000 + done * 16);
        }
    }
}

TEST_F(CompilerThreadTest, EndsWithJobsUnderway) {
    for (u64 n = 0; n < CompilerThread::kMostUnderway; ++n) {
        fill(thread->job(n), n);
        ASSERT_TRUE(thread->has_room());
        thread->submit(thread->job(n));
    }
    thread.reset();
}

// Code that is new again and again, each block of which runs a few times: all of it has the right result, and
// in the end some of it was compiled by the thread, however little of the processors this process gets.
TEST(CompilerThreadVcpu, NewCodeRunsBeforeAndAfterItIsCompiled) {
    VcpuMachine m(Way{.name = "CompilerThread", .cold = true, .compiler_thread = true});
    m.long64();
    u64 at = VcpuMachine::kCode;
    at = m.code(at, {0xb9, 40, 0, 0, 0}); // mov ecx, 40
    const u64 loop = at;
    u64 sum = 0;
    for (int n = 0; n < 200; ++n) {
        at = m.code(at, {0x48, 0x83, 0xc0, n & 63, 0xeb, 0}); // add rax, n & 63; jmp to what follows
        sum += 40 * u64(n & 63);
    }
    at = m.code(at, {0xff, 0xc9, 0x0f, 0x85, 0, 0, 0, 0}); // dec ecx; jnz loop
    m.put<u32>(at - 4, u32(loop - at));
    m.code(at, {0xf4}); // hlt
    do {
        m.reg(0) = 0;
        m.cpu().rip = VcpuMachine::kCode;
        m.cpu().halted = false;
        m.vcpu->cache().invalidate_all();
        ASSERT_EQ(m.run(), runtime::StopReason::Requested);
        ASSERT_EQ(m.reg(0), sum);
    } while (m.vcpu->has_compiler_thread() && !m.vcpu->counters().compiled_beside);
}

} // namespace
} // namespace dragoman::test
