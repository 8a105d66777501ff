// The decode loop: where blocks end, fetch faults, shadows, single steps, what is not supported.
#include "differential.h"

#include "frontend/x86/listing.h"
#include "ir/interpreter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace dragoman::test {
namespace {

using namespace x86;

class Decode : public ::testing::Test {
  protected:
    void code(u64 at, std::initializer_list<u8> bytes) {
        std::copy(bytes.begin(), bytes.end(), ram.get() + at);
    }
    bool translate(u64 rip, unsigned limit = 64) {
        cpu.rip = rip;
        cpu.exit = ir::Exit::None;
        return translator.translate(cpu, block, source, limit);
    }
    ir::Op end() const { return block.insts.back().op; }

    void SetUp() override {
        model.features.set();
        cpu.model = &model;
        cpu.mmu = &mmu;
        cpu.log = &log;
        cpu.memory = &memory;
        cpu.cr0 = kCr0PE;
        for (auto& s : cpu.seg)
            s = {.limit = 0xffffffff, .attributes = kSegP | kSegS | kSegWritable | kSegDB};
        cpu.seg[1].attributes = kSegP | kSegS | kSegCode | kSegReadable | kSegDB;
        std::memset(ram.get(), 0x90, 0x10000);
    }

    struct Ram {
        softmmu::PhysicalMap& map;
        u8* get() { return map.ram(); }
    };
    std::FILE* out = std::tmpfile();
    Log log{out};
    std::unique_ptr<softmmu::PhysicalMap> map = std::move(softmmu::PhysicalMap::create(4 * MiB).value());
    Ram ram{*map};
    softmmu::Tlb tlb;
    softmmu::Mmu mmu{*map, tlb, log};
    GuestMemory memory{mmu};
    CpuModel model;
    Cpu cpu;
    Translator translator{mmu, log};
    ir::Block block;
    Translator::Source source;
};

TEST_F(Decode, EndsAtLimitAndPageEnd) {
    ASSERT_TRUE(translate(0x1000, 5));
    EXPECT_EQ(block.guest_instructions, 5u);
    EXPECT_EQ(block.guest_bytes, 5u);
    EXPECT_EQ(end(), ir::Op::Jump);
    EXPECT_EQ(block.insts.back().imm, 0x1005);
    ASSERT_TRUE(translate(0x1ffd));
    EXPECT_EQ(block.guest_instructions, 3u);
    EXPECT_EQ(block.insts.back().imm, 0x2000);
    EXPECT_EQ(source.gpa[0], 0x1ffdu);
    EXPECT_EQ(source.bytes[0], 3u);
    EXPECT_EQ(source.bytes[1], 0u);
}

// Calls into the page are followed if the return comes soon; otherwise the block ends with the call.
TEST_F(Decode, FollowsCallsUpToTheirReturns) {
    constexpr unsigned followed = Translator::Source::Followed;
    code(0x1000, {0x40, 0xe8, 0xfa, 0x00, 0x00, 0x00});       // inc eax; call 0x1100
    code(0x1006, {0xe8, 0x15, 0x01, 0x00, 0x00, 0xeb, 0xfe}); // call 0x1120; jmp to itself
    code(0x1100, {0x41, 0xc3});                               // inc ecx; ret
    code(0x1120, {0x42, 0xc3});                               // inc edx; ret
    ASSERT_TRUE(translate(0x1000));
    EXPECT_TRUE(block.follows);
    EXPECT_EQ(block.guest_instructions, 8u);
    EXPECT_EQ(block.insts.back().imm, 0x100b);
    EXPECT_EQ(source.bytes[0], 13u);
    EXPECT_EQ(source.gpa[followed], 0x1100u);
    EXPECT_EQ(source.bytes[followed], 0x22u);

    const auto ends_with_second_call = [&] {
        ASSERT_TRUE(translate(0x1000));
        EXPECT_TRUE(block.follows);
        EXPECT_EQ(block.guest_instructions, 5u);
        EXPECT_EQ(end(), ir::Op::Jump);
        EXPECT_EQ(block.insts.back().imm, 0x1120);
        EXPECT_EQ(source.bytes[0], 11u);
        EXPECT_EQ(source.end, 11);
        EXPECT_EQ(source.branch, BranchKind::Always);
        EXPECT_EQ(source.bytes[followed], 2u) << "of the first call only";
    };
    code(0x1120, {0x42, 0xeb, 0xfd}); // inc edx; jmp 0x1120
    ends_with_second_call();
    code(0x1120, {0x42, 0xfb, 0xff, 0xe0}); // inc edx; sti; jmp eax
    ends_with_second_call();
    std::memset(ram.get() + 0x1120, 0x90, 40);
    code(0x1120 + 40, {0xc3});
    ends_with_second_call();
    code(0x1100, {0x41, 0xeb, 0xfd});
    ASSERT_TRUE(translate(0x1000));
    EXPECT_FALSE(block.follows);
    EXPECT_EQ(block.guest_instructions, 2u);
    EXPECT_EQ(source.bytes[followed], 0u);
}

TEST_F(Decode, CrossingInstructionIsAlone) {
    code(0x1ffe, {0xb8, 0x78, 0x56, 0x34, 0x12}); // mov eax, imm32
    ASSERT_TRUE(translate(0x1ffc));
    EXPECT_EQ(block.guest_instructions, 2u);
    EXPECT_EQ(block.insts.back().imm, 0x1ffe);
    ASSERT_TRUE(translate(0x1ffe));
    EXPECT_EQ(block.guest_instructions, 1u);
    EXPECT_EQ(block.guest_bytes, 5u);
    EXPECT_EQ(source.gpa[1], 0x2000u);
    EXPECT_EQ(source.bytes[0], 2u);
    EXPECT_EQ(source.bytes[1], 3u);
    ir::interpret(cpu, block);
    EXPECT_EQ(cpu.gpr[0], 0x12345678u);
    EXPECT_EQ(cpu.rip, 0x2003u);
}

TEST_F(Decode, ALoopOverTheEndOfThePageIsOneBlock) {
    // 1ffb: inc eax; nop; nop; add ebx,100H (over the edge); dec ecx; jnz 1ffbH
    code(0x1ffb, {0x40, 0x90, 0x90, 0x81, 0xc3, 0x00, 0x01, 0x00, 0x00, 0x49, 0x75, 0xf4});
    const auto expect_loop = [&](unsigned instructions, u32 first, u32 second) {
        EXPECT_EQ(block.guest_instructions, instructions);
        EXPECT_EQ(block.guest_bytes, first + second);
        EXPECT_EQ(end(), ir::Op::Branch);
        EXPECT_EQ(source.gpa[1], 0x2000u);
        EXPECT_EQ(source.bytes[0], first);
        EXPECT_EQ(source.bytes[1], second);
        EXPECT_EQ(source.end, i32(first + second));
    };
    const auto expect_edge = [&](unsigned instructions, u32 bytes) {
        EXPECT_EQ(block.guest_instructions, instructions);
        EXPECT_EQ(block.guest_bytes, bytes);
        EXPECT_EQ(end(), ir::Op::Jump);
        EXPECT_EQ(block.insts.back().imm, i64(block.pc) + bytes);
        EXPECT_EQ(source.bytes[1], 0u);
        EXPECT_EQ(source.end, i32(bytes));
    };
    ASSERT_TRUE(translate(0x1ffb));
    expect_loop(6, 5, 7);
    cpu.gpr[1] = 2;
    ir::interpret(cpu, block);
    EXPECT_EQ(cpu.rip, 0x1ffbu);
    EXPECT_EQ(cpu.gpr[3], 0x100u);
    ASSERT_TRUE(translate(0x1ffc));
    expect_edge(2, 2); // it jumps somewhere else
    ASSERT_TRUE(translate(0x1ffb, 5));
    expect_edge(3, 3); // too long
    translator.set_edge_loops(false);
    ASSERT_TRUE(translate(0x1ffb));
    expect_edge(3, 3);
    translator.set_edge_loops(true);

    code(0x2004, {0x0f, 0xff, 0x75, 0xf3}); // UD0 before the jump
    ASSERT_TRUE(translate(0x1ffb));
    expect_edge(3, 3);
    code(0x1ffd, {0x90, 0x41, 0x90, 0x83, 0xc3, 0x01, 0x75, 0xf6}); // nothing over the edge: jnz 1ffbH
    ASSERT_TRUE(translate(0x1ffb));
    expect_loop(7, 5, 5);
    code(0x1ffe, {0x83, 0xc3, 0x01, 0x75, 0xfb}); // the first is over the edge: add ebx,1; jnz 1ffeH
    ASSERT_TRUE(translate(0x1ffe));
    expect_loop(2, 2, 3);
    code(0x2002, {0xfc}); // jnz 1fffH
    ASSERT_TRUE(translate(0x1ffe));
    EXPECT_EQ(block.guest_instructions, 1u);
    EXPECT_EQ(source.bytes[1], 1u);
}

TEST_F(Decode, ALoopWithoutItsSecondPageEndsAtTheEdge) {
    const u32 directory = 0x11000 | 7, page = 0x1000 | 7;
    std::memset(ram.get() + 0x10000, 0, 0x2000);
    std::memcpy(ram.get() + 0x10000, &directory, 4);
    std::memcpy(ram.get() + 0x11000 + 4, &page, 4);
    code(0x1ffb, {0x40, 0x90, 0x90, 0x81, 0xc3, 0x00, 0x01, 0x00, 0x00, 0x49, 0x75, 0xf4});
    mmu.set_paging({.cr3 = 0x10000, .paging = true});
    mmu.flush(false);
    ASSERT_TRUE(translate(0x1ffb));
    EXPECT_EQ(block.guest_instructions, 3u);
    EXPECT_EQ(cpu.exit, ir::Exit::None);
}

TEST_F(Decode, SecondPageFaultsWithItsAddress) {
    // A page table at 10000H that maps only the first page of the instruction.
    const u32 directory = 0x11000 | 7, page = 0x1000 | 7;
    std::memset(ram.get() + 0x10000, 0, 0x2000);
    std::memcpy(ram.get() + 0x10000, &directory, 4);
    std::memcpy(ram.get() + 0x11000 + 4, &page, 4);
    code(0x1ffe, {0xb8, 0x78});
    mmu.set_paging({.cr3 = 0x10000, .paging = true});
    mmu.flush(false);
    EXPECT_FALSE(translate(0x1ffe));
    EXPECT_EQ(cpu.exit, ir::Exit::Fault);
    EXPECT_EQ(cpu.fault.vector, kPF);
    EXPECT_EQ(cpu.fault.address, 0x2000u);
    EXPECT_EQ(cpu.rip, 0x1ffeu);
    EXPECT_FALSE(translate(0x2000));
    EXPECT_EQ(cpu.fault.address, 0x2000u);
    ASSERT_TRUE(translate(0x1ffd)) << "what comes before the crossing instruction is not affected";
}

TEST_F(Decode, LimitOfTheCodeSegment) {
    cpu.seg[1].limit = 0x1003;
    code(0x1002, {0xb8, 0, 0, 0, 0});
    ASSERT_TRUE(translate(0x1000));
    EXPECT_EQ(block.guest_instructions, 2u);
    EXPECT_FALSE(translate(0x1002));
    EXPECT_EQ(cpu.fault.vector, kGP);
    EXPECT_FALSE(translate(0x1004));
    EXPECT_EQ(cpu.fault.vector, kGP);
}

TEST_F(Decode, CountsWithoutTheirFeaturesAreScans) {
    code(0x1000, {0xf3, 0x0f, 0xbc, 0xc1, 0xf3, 0x0f, 0xbd, 0xc1}); // tzcnt eax, ecx; lzcnt eax, ecx
    const auto ops = [&] {
        EXPECT_TRUE(translate(0x1000, 2));
        return std::pair(block.insts[1].op, block.insts[3].op);
    };
    EXPECT_EQ(ops(), std::pair(ir::Op::Tzcnt, ir::Op::Lzcnt));
    model.features.reset(std::size_t(Feature::Bmi1));
    model.features.reset(std::size_t(Feature::Lzcnt));
    EXPECT_EQ(ops(), std::pair(ir::Op::Bsf, ir::Op::Bsr));
}

TEST_F(Decode, VexPopcntIsUndefined) { // the decoder knows it from another kind of processor
    code(0x1000, {0xc5, 0xfa, 0xb8, 0xc4});
    ASSERT_TRUE(translate(0x1000, 1));
    ir::interpret(cpu, block);
    EXPECT_EQ(cpu.exit, ir::Exit::Fault);
    EXPECT_EQ(cpu.fault.vector, kUD);
}

TEST_F(Decode, TooLong) {
    std::memset(ram.get() + 0x1000, 0x66, 15);
    EXPECT_FALSE(translate(0x1000));
    EXPECT_EQ(cpu.fault.vector, kGP);
}

TEST_F(Decode, UndefinedRaisesAndIsLoggedOnce) {
    const auto expect_ud = [&](std::initializer_list<u8> bytes) {
        code(0x1000, bytes);
        ASSERT_TRUE(translate(0x1000));
        ir::interpret(cpu, block);
        EXPECT_EQ(cpu.exit, ir::Exit::Fault);
        EXPECT_EQ(cpu.fault.vector, kUD);
        EXPECT_EQ(cpu.rip, 0x1000u);
    };
    expect_ud({0x0f, 0xff, 0x00}); // UD0
    expect_ud({0xf0, 0x90});       // LOCK NOP
    expect_ud({0xf0, 0x01, 0xc0}); // LOCK with a register destination
    EXPECT_GE(std::ftell(out), 0);
    const long before = std::ftell(out);
    expect_ud({0x62, 0xf5, 0x7c, 0x48, 0x58, 0xc2}); // VADDPH: decoded, but not in the table
    const long once = std::ftell(out);
    EXPECT_GT(once, before);
    expect_ud({0x62, 0xf5, 0x7c, 0x48, 0x58, 0xc2});
    EXPECT_EQ(std::ftell(out), once);
    model.features.reset(std::size_t(Feature::Cmov));
    expect_ud({0x0f, 0x44, 0xc1}); // CMOVZ
}

TEST_F(Decode, SingleStepReturnsAfterOneInstruction) {
    cpu.system_flags = kTF;
    ASSERT_TRUE(translate(0x1000));
    EXPECT_EQ(block.guest_instructions, 1u);
    EXPECT_EQ(end(), ir::Op::ExitTo);
    for (const bool zero : {false, true}) {
        code(0x1000, {0x74, 0x10}); // jz
        ASSERT_TRUE(translate(0x1000));
        EXPECT_EQ(end(), ir::Op::ExitHere);
        cpu.flags = zero ? ir::Flags{ir::kZF} : 0;
        ir::interpret(cpu, block);
        EXPECT_EQ(cpu.rip, zero ? 0x1012u : 0x1002u);
        code(0x1000, {0xe2, 0x10}); // loop
        ASSERT_TRUE(translate(0x1000));
        EXPECT_EQ(end(), ir::Op::ExitHere);
        cpu.gpr[1] = zero ? 5 : 1;
        ir::interpret(cpu, block);
        EXPECT_EQ(cpu.rip, zero ? 0x1012u : 0x1002u);
    }
    code(0x1000, {0xff, 0xe0}); // jmp eax
    cpu.gpr[0] = 0x4444;
    ASSERT_TRUE(translate(0x1000));
    ir::interpret(cpu, block);
    EXPECT_EQ(cpu.rip, 0x4444u);
    code(0x1000, {0xf3, 0xaa}); // rep stosb: one unit a step
    cpu.gpr[1] = 3;
    cpu.gpr[7] = 0x5000;
    ASSERT_TRUE(translate(0x1000));
    ir::interpret(cpu, block);
    EXPECT_EQ(cpu.gpr[1], 2u);
    EXPECT_EQ(cpu.rip, 0x1000u);
}

TEST_F(Decode, ShadowKeepsTheNextInstructionInTheBlock) {
    const auto polls = [&] {
        return std::count_if(block.insts.begin(), block.insts.end(),
                             [](const ir::Inst& i) { return i.op == ir::Op::PollIntr; });
    };
    code(0x1000, {0xfb, 0x40}); // sti; inc eax
    ASSERT_TRUE(translate(0x1000, 2));
    EXPECT_EQ(block.guest_instructions, 2u);
    EXPECT_EQ(polls(), 1);
    // A limit is a limit: then, as at the end of the page, the shadow goes to the run loop.
    ASSERT_TRUE(translate(0x1000, 1));
    EXPECT_EQ(block.guest_instructions, 1u);
    EXPECT_EQ(end(), ir::Op::ExitTo);
    code(0x1fff, {0xfb});
    ASSERT_TRUE(translate(0x1fff));
    EXPECT_EQ(end(), ir::Op::ExitTo);
    ir::interpret(cpu, block);
    EXPECT_EQ(cpu.interrupt_shadow, 1);
    cpu.interrupt_shadow = 0;
    // A branch in the shadow returns to the run loop, which looks at interrupts.
    code(0x1000, {0xfb, 0xc3}); // sti; ret
    ASSERT_TRUE(translate(0x1000));
    EXPECT_EQ(end(), ir::Op::ExitHere);
}

TEST_F(Decode, Listing) {
    const u8 bytes[] = {0x89, 0xd8, 0xc3};
    EXPECT_EQ(list_guest(bytes, 0x1000, 32), "00001000  89d8                   mov eax, ebx\n"
                                             "00001002  c3                     ret\n");
}

} // namespace
} // namespace dragoman::test
