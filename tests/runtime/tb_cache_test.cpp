// Guests that run again with the translations of the last run: the same results, nearly everything from the
// file, and nothing from it when anything that translations depend on is different.
#include "runtime/tb_cache.h"
#include "vcpu_machine.h"

#include <cstdlib>
#include <filesystem>

namespace dragoman::test {
namespace {

namespace fs = std::filesystem;

class TbCacheRun : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = fs::temp_directory_path() / "dragoman-tb.XXXXXX";
        directory = ::mkdtemp(name.data());
        way.tb_cache = directory / "file";
    }
    void TearDown() override { fs::remove_all(directory); }

    struct Outcome {
        std::vector<u64> registers;
        std::vector<u8> memory;
        u64 instructions = 0, blocks = 0;
        runtime::TbCache::Counters kept;
        friend bool operator==(const Outcome& a, const Outcome& b) {
            return a.registers == b.registers && a.memory == b.memory && a.instructions == b.instructions;
        }
    };

    // A program with calls into C++ and into the interpreter, x87 and vector code, code that is rewritten, a
    // call that is followed, an instruction that crosses its page, a loop. `last`: a byte of one of its
    // blocks.
    static void load(VcpuMachine& m, u8 last) {
        m.long64();
        ASSERT_TRUE(x86::write_cr4(m.cpu(), m.cpu().cr4 | x86::kCr4OSFXSR));
        m.cpu().exit = ir::Exit::None;
        u64 at = VcpuMachine::kCode;
        at = m.code(at, {0x0f, 0xa2});                            // cpuid
        at = m.code(at, {0xb9, 20, 0, 0, 0});                     // mov ecx, 20
        const u64 loop = at;                                      // loop:
        at = m.code(at, {0x48, 0x01, 0xc8});                      // add rax, rcx
        at = m.code(at, {0x48, 0x89, 0x04, 0xcd, 0, 0x50, 0, 0}); // mov [rcx*8 + 0x5000], rax
        at = m.code(at, {0xe8, 0, 0, 0, 0});                      // call subroutine
        const u64 call = at;
        at = m.code(at, {0xff, 0xc9});                   // dec ecx
        at = m.code(at, {0x75, int(u8(loop - at - 2))}); // jnz loop
        at = m.code(at, {0xdb, 0xe3, 0xd9, 0xe8, 0xd9, 0xeb, 0xde, 0xc1, 0xdd, 0x1c, 0x25, 0, 0x40, 0,
                         0}); // fld1, fldpi, faddp, fstp [0x4000]
        at = m.code(at, {0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xfe, 0xc0, 0x66, 0x0f, 0x7e,
                         0xc2});                                // movd, paddd, movd
        at = m.code(at, {0xc6, 0x04, 0x25, 1, 0x80, 0, 0, 33}); // mov byte [0x8001], 33
        at = m.code(at, {0xe8, 0, 0, 0, 0});                    // call the rewritten
        const u64 second = at;
        at = m.code(at, {0xe9, 0, 0, 0, 0}); // jmp to the end of the page
        m.put<u32>(at - 4, u32(0x8ffe - at));
        const u64 subroutine = 0x7d00;
        m.put<u32>(call - 4, u32(subroutine - call));
        m.put<u32>(second - 4, u32(0x8000 - second));
        m.code(subroutine, {0x48, 0x0f, 0xaf, 0xd9, 0x48, 0x83, 0xc3, int(last),
                            0xc3});                     // imul rbx, rcx; add rbx, last; ret
        m.code(0x8000, {0x04, 11, 0xc3});               // add al, 11 (33); ret
        m.code(0x8ffe, {0xbe, 0x78, 0x56, 0x34, 0x12}); // mov esi, 0x12345678, in two pages
        m.code(0x9003, {0xf4});                         // hlt
    }
    Outcome run(u8 last = 7) {
        VcpuMachine m(way);
        load(m, last);
        EXPECT_EQ(m.run(), runtime::StopReason::Requested);
        Outcome o;
        o.registers.assign(std::begin(m.cpu().gpr), std::end(m.cpu().gpr));
        o.registers.push_back(m.cpu().rip);
        EXPECT_EQ(m.reg(6), 0x12345678u);
        o.memory.assign(m.map->ram(), m.map->ram() + 0x10000);
        o.instructions = m.vcpu->instructions_retired();
        o.blocks = m.vcpu->cache().counters().blocks;
        o.kept = m.vcpu->tb_cache()->counters();
        said = m.vcpu->tb_cache()->complaint();
        const auto saved = m.vcpu->tb_cache()->save();
        EXPECT_TRUE(saved) << saved.error().message;
        return o;
    }
    void runs_again() {
        const Outcome cold = run(), warm = run();
        EXPECT_EQ(said, "");
        EXPECT_EQ(cold, warm);
        EXPECT_EQ(cold.kept.from_file, 0u);
        EXPECT_EQ(cold.kept.kept + cold.kept.of_this_run, cold.blocks);
        EXPECT_EQ(warm.kept.in_file, cold.kept.kept);
        EXPECT_EQ(warm.kept.from_file, warm.blocks);
        EXPECT_GE(warm.blocks, 8u);
    }

    fs::path directory;
    Way way{.name = "TbCache"};
    std::string said;
};

TEST_F(TbCacheRun, TheSecondRunTakesEverythingFromTheFile) {
    runs_again();
}
TEST_F(TbCacheRun, InterpreterAndKeptCodeInLockstep) {
    way.verify = true;
    runs_again();
}
TEST_F(TbCacheRun, WithoutOptimisations) {
    way.passes = ir::PassSwitches::none();
    way.inline_tlb = way.inline_lookup = way.side_exits = way.inline_x87 = way.window = way.follow_calls =
        way.lazy_vectors = false;
    runs_again();
}

TEST_F(TbCacheRun, OtherBytesOtherBlock) {
    const Outcome cold = run(7), other = run(9);
    EXPECT_NE(cold.registers[3], other.registers[3]);
    EXPECT_LT(other.kept.from_file, other.blocks);
    EXPECT_GT(other.kept.from_file, 0u);
    EXPECT_EQ(run(7), cold);
    const Outcome again = run(9);
    EXPECT_EQ(again, other);
    EXPECT_EQ(again.kept.from_file, again.blocks) << "both versions are kept";
}

TEST_F(TbCacheRun, NothingForAnotherProcessor) {
    run();
    way.cpu = "max,-rdrand";
    EXPECT_EQ(run().kept.from_file, 0u);
    EXPECT_NE(said.find("-cpu"), std::string::npos) << said;
    EXPECT_GT(run().kept.from_file, 0u) << "the file is this processor's now";
}

TEST_F(TbCacheRun, NothingForOtherOptions) {
    run();
    const Way before = way;
    way.passes = ir::PassSwitches::none();
    EXPECT_EQ(run().kept.from_file, 0u);
    way = before;
    way.share_checks = false;
    EXPECT_EQ(run().kept.from_file, 0u);
    way = before;
    way.side_exits = false;
    EXPECT_EQ(run().kept.from_file, 0u);
    way = before;
    way.verify = true;
    EXPECT_EQ(run().kept.from_file, 0u);
}

TEST_F(TbCacheRun, NothingWhereADebuggerStops) {
    run();
    VcpuMachine m(way);
    load(m, 7);
    m.vcpu->set_breakpoints({0x7d04});
    EXPECT_EQ(m.run(), runtime::StopReason::Breakpoint);
    EXPECT_EQ(m.vcpu->linear_pc(), 0x7d04u);
    EXPECT_EQ(m.vcpu->tb_cache()->counters().from_file, 0u);
    EXPECT_EQ(m.vcpu->tb_cache()->counters().kept, 0u);
}

TEST_F(TbCacheRun, ADamagedFileIsReplaced) {
    const Outcome cold = run();
    fs::resize_file(way.tb_cache, fs::file_size(way.tb_cache) / 2);
    const Outcome again = run();
    EXPECT_EQ(again, cold);
    EXPECT_EQ(again.kept.from_file, 0u);
    EXPECT_EQ(said, "is cut off");
    EXPECT_EQ(run().kept.from_file, cold.blocks);
}

} // namespace
} // namespace dragoman::test
