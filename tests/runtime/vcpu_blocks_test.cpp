// Blocks and the code they were made of, with guests of a few bytes: stores into code, what a block has
// followed, blocks of two pages, a translation cache that comes round. Everything runs in each way that
// blocks can be run.
#include "vcpu_machine.h"

namespace dragoman::test {
namespace {

using runtime::StopReason;

class Blocks : public ::testing::TestWithParam<Way> {
  protected:
    VcpuMachine m{GetParam()};
    static constexpr unsigned ax = 0, cx = 1, dx = 2, bx = 3, sp = 4, si = 6, di = 7;
};

INSTANTIATE_TEST_SUITE_P(Ways, Blocks, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

// Pages of code that are filled anew, as a kernel clears them.
TEST_P(Blocks, RepeatedStoresOverCodeAreSeen) {
    m.protected32();
    // xor edx,edx; call [ebx] x 2; mov edi,ebx; rep stosb; call [ebx]; call [ebx]; hlt
    m.code(0x7c00,
           {0x31, 0xd2, 0xff, 0xd3, 0xff, 0xd3, 0x89, 0xdf, 0xf3, 0xaa, 0xff, 0xd3, 0xff, 0xd6, 0xf4});
    m.reg(bx) = 0x20000;
    m.reg(si) = 0x20ffe;
    m.reg(cx) = 4096;
    m.reg(ax) = 0xc3; // RET
    m.reg(sp) = 0x7000;
    m.code(0x20000, {0x42, 0xc3}); // inc edx; ret
    m.code(0x20ffe, {0x42, 0xc3});
    m.run();
    EXPECT_EQ(m.reg(dx), 2u);
    EXPECT_EQ(m.reg(di), 0x21000u);
    EXPECT_EQ(m.reg(cx), 0u);
}

TEST_P(Blocks, RepeatedStoresOverThemselvesAreSeen) {
    m.protected32();
    // mov edi,0x7c07; rep stosb; inc edx x 4, of which the first three become NOP; hlt
    m.code(0x7c00, {0xbf, 0x07, 0x7c, 0x00, 0x00, 0xf3, 0xaa, 0x42, 0x42, 0x42, 0x42, 0xf4});
    m.reg(cx) = 3;
    m.reg(ax) = 0x90;
    m.reg(dx) = 0;
    m.run();
    EXPECT_EQ(m.reg(dx), 1u);
}

TEST_P(Blocks, CodeIsTranslatedOnce) {
    m.code(0x7c00, {0xb9, 0xe8, 0x03, 0x49, 0x75, 0xfd, 0xf4}); // mov cx,1000; dec cx; jnz; hlt
    m.run();
    EXPECT_EQ(m.reg(cx), 0u);
    EXPECT_LE(m.vcpu->cache().counters().blocks, 5u);
}

// Blocks that are met for the first time, in more numbers than are kept without code, then once more and
// after they were changed.
TEST_P(Blocks, CodeThatComesSeldom) {
    constexpr unsigned blocks = 3 * runtime::TranslationCache::kColdBlocks, bytes = 8;
    m.protected32();
    const auto write = [&](int add) { // add ebx,imm8; jmp to the next
        for (u64 n = 0; n < blocks; ++n)
            m.code(0x10000 + n * bytes, {0x83, 0xc3, add, 0xeb, bytes - 5});
        m.code(0x10000 + u64{blocks} * bytes, {0xf4});
    };
    unsigned wanted = 0;
    int now = 0;
    for (const int add : {1, 5, 5, 5, 1, 1}) {
        if (add != now) {
            write(now = add);
            m.map->write(0x10000, m.map->ram() + 0x10000, u64{blocks} * bytes); // as a device does
        }
        m.cpu().rip = 0x10000;
        m.cpu().halted = false;
        m.run();
        EXPECT_EQ(m.reg(bx), wanted += unsigned(add) * blocks);
    }
}

TEST_P(Blocks, AStoreIntoTheRunningBlockCountsAtOnce) {
    // mov byte [0x7c08],0x42; inc cx; mov al,0 (its immediate is at 0x7c07); hlt
    m.code(0x7c00, {0xc6, 0x06, 0x07, 0x7c, 0x42, 0x41, 0xb0, 0x00, 0xf4});
    m.run();
    EXPECT_EQ(m.reg(ax) & 0xff, 0x42u);
    EXPECT_EQ(m.reg(cx), 1u);
    m.expect_retired(4);
}

TEST_P(Blocks, CodeThatRewritesItselfInALoop) {
    // mov cx,200; L: inc byte [0x7c09]; mov al,0 (0x7c08); add dx,ax; loop L; hlt
    m.code(0x7c00, {0xb9, 200, 0, 0xfe, 0x06, 0x08, 0x7c, 0xb0, 0x00, 0x01, 0xc2, 0xe2, 0xf6, 0xf4});
    m.run();
    EXPECT_EQ(m.reg(ax) & 0xff, 200u);
    EXPECT_EQ(m.reg(dx) & 0xffff, 200u * 201 / 2);
    m.expect_retired(1 + 4 * 200 + 1);
}

TEST_P(Blocks, AStoreIntoAnotherBlockTakesItsTranslationAway) {
    // call f; mov byte [f+1],7; call f; hlt     f: mov al,3; add dl,al; ret
    m.code(0x7c00, {0xe8, 0xfd, 0x03, 0xc6, 0x06, 0x01, 0x80, 7, 0xe8, 0xf5, 0x03, 0xf4});
    m.code(0x8000, {0xb0, 3, 0x00, 0xc2, 0xc3});
    m.run();
    EXPECT_EQ(m.reg(dx), 10u);
    EXPECT_GE(m.vcpu->cache().counters().invalidated, 1u);
}

TEST_P(Blocks, ABlockFollowsItsCall) {
    m.protected32();
    // f: inc eax; ret   start: mov ecx,100; L: call f; add edx,eax; dec ecx; jnz L; hlt
    m.code(0x7b00, {0x40, 0xc3});
    m.code(0x7c00, {0xb9, 100, 0, 0, 0, 0xe8, 0xf6, 0xfe, 0xff, 0xff, 0x01, 0xc2, 0x49, 0x75, 0xf6, 0xf4});
    m.run();
    EXPECT_EQ(m.reg(ax), 100u);
    EXPECT_EQ(m.reg(dx), 5050u);
    EXPECT_EQ(m.reg(sp), VcpuMachine::kStack);
    m.expect_retired(2 + 6 * 100);
}

TEST_P(Blocks, AReturnElsewhereLeavesTheBlockThatFollowedItsCall) {
    m.protected32();
    // f: add dword [esp],1; ret   start: call f; hlt; inc ecx; hlt
    m.code(0x7b00, {0x83, 0x04, 0x24, 0x01, 0xc3});
    m.code(0x7c00, {0xe8, 0xfb, 0xfe, 0xff, 0xff, 0xf4, 0x41, 0xf4});
    m.run();
    EXPECT_EQ(m.reg(cx), 1u);
    EXPECT_EQ(m.vcpu->linear_pc(), 0x7c08u);
    m.expect_retired(5);
}

TEST_P(Blocks, AStoreIntoWhatTheRunningBlockCalls) {
    m.protected32();
    // f: mov al,3; add dl,al; ret   start: call f; mov byte [f+1],7; call f; hlt
    m.code(0x7b00, {0xb0, 3, 0x00, 0xc2, 0xc3});
    m.code(0x7c00, {0xe8, 0xfb, 0xfe, 0xff, 0xff, 0xc6, 0x05, 0x01, 0x7b, 0, 0, 7, 0xe8, 0xef, 0xfe, 0xff,
                    0xff, 0xf4});
    m.run();
    EXPECT_EQ(m.reg(dx), 10u);
    m.expect_retired(10);
}

TEST_P(Blocks, ABreakpointInWhatABlockHasFollowed) {
    m.protected32();
    m.code(0x7b00, {0x40, 0x42, 0xc3});                         // f: inc eax; inc edx; ret
    m.code(0x7c00, {0xe8, 0xfb, 0xfe, 0xff, 0xff, 0xeb, 0xf9}); // L: call f; jmp L
    m.cpu().poll = 0;
    m.vcpu->set_breakpoints({0x7c05});
    EXPECT_EQ(m.vcpu->run(), StopReason::Breakpoint);
    m.vcpu->set_breakpoints({});
    EXPECT_EQ(m.vcpu->step(), StopReason::Step);
    m.vcpu->set_breakpoints({0x7c00});
    EXPECT_EQ(m.vcpu->linear_pc(), 0x7c00u);
    m.vcpu->set_breakpoints({0x7b01}); // the block is there already
    EXPECT_EQ(m.vcpu->run(), StopReason::Breakpoint);
    EXPECT_EQ(m.vcpu->linear_pc(), 0x7b01u);
    EXPECT_EQ(m.reg(ax), 2u);
    EXPECT_EQ(m.reg(dx), 1u);
}

TEST_P(Blocks, RepeatedStoresOverTheRunningCode) {
    // mov di,0x7c08; mov cx,4; rep stosb writes 0x41 (inc cx) over the four bytes behind it; hlt
    m.code(0x7c00, {0xbf, 0x08, 0x7c, 0xb9, 4, 0, 0xf3, 0xaa, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4});
    m.reg(ax) = 0x41;
    m.run();
    EXPECT_EQ(m.reg(cx), 4u);
    EXPECT_EQ(m.reg(di), 0x7c0cu);
    EXPECT_EQ(m.vcpu->linear_pc(), 0x7c0du);
}

// A loop at 0x7ff8 that lies over the end of its page: L: mov [ecx*4+0x90000],eax; add edx,`step` (over the
// edge); dec ecx; jnz L; jmp esi
void loop_over_edge(VcpuMachine& m, u64 second_frame, u32 step) {
    m.code(0x7ff8, {0x89, 0x04, 0x8d, 0x00, 0x00, 0x09, 0x00, 0x81});
    m.code(second_frame, {0xc2});
    m.put<u32>(second_frame + 1, step);
    m.code(second_frame + 5, {0x49, 0x75, 0xf0, 0xff, 0xe6});
}

TEST_P(Blocks, ALoopOverTheEndOfAPage) {
    m.protected32();
    loop_over_edge(m, 0x8000, 3);
    m.code(0x9000, {0xf4});
    m.cpu().rip = 0x7ff8;
    m.reg(ax) = 0x12345678;
    m.reg(cx) = 3000;
    m.reg(si) = 0x9000;
    m.run();
    EXPECT_EQ(m.reg(dx), 9000u);
    EXPECT_EQ(m.get<u32>(0x90000), 0u);
    EXPECT_EQ(m.get<u32>(0x90004), 0x12345678u);
    EXPECT_EQ(m.get<u32>(0x90000 + 3000 * 4), 0x12345678u);
    m.expect_retired(4 * 3000 + 2);
}

TEST_P(Blocks, AStoreIntoTheSecondPageOfALoop) {
    m.protected32();
    // L: inc byte [8003H]; (the edge) nop; nop; mov al,0 (8003H); add edx,eax; dec ecx; jnz L; hlt
    m.code(0x7ffa,
           {0xfe, 0x05, 0x03, 0x80, 0x00, 0x00, 0x90, 0x90, 0xb0, 0x00, 0x01, 0xc2, 0x49, 0x75, 0xf1, 0xf4});
    m.cpu().rip = 0x7ffa;
    m.reg(cx) = 200;
    m.run();
    EXPECT_EQ(m.reg(dx), 200u * 201 / 2);
    m.expect_retired(7 * 200 + 1);
}

TEST_P(Blocks, ALoopWhoseSecondPageChangesAndGoes) {
    m.protected32();
    m.paging32();
    m.vector32(14, 0x9000);
    m.code(0x9000, {0xf4});
    loop_over_edge(m, 0x8000, 1);
    loop_over_edge(m, 0x80000, 0x100);
    u64 at = 0x7c00;
    const auto run_loop = [&] { // mov ecx,80; mov esi,next; jmp the loop
        at = m.code(at, {0xb9, 80, 0, 0, 0, 0xbe});
        m.put<u32>(at, u32(at + 9));
        at = m.code(at + 4, {0xe9});
        m.put<u32>(at, u32(0x7ff8 - (at + 4)));
        at += 4;
    };
    const auto map_second = [&](u32 entry) { // mov [pte of 8000H],entry; invlpg [8000H]
        at = m.code(at, {0xc7, 0x05});
        m.put<u32>(at, u32(VcpuMachine::pte(0x8000)));
        m.put<u32>(at + 4, entry);
        at = m.code(at + 8, {0x0f, 0x01, 0x3d, 0x00, 0x80, 0x00, 0x00});
    };
    run_loop();
    run_loop();
    map_second(0x80007);
    run_loop();
    map_second(0);
    run_loop();
    m.run();
    EXPECT_EQ(m.reg(dx), 160u + 80 * 0x100);
    EXPECT_EQ(m.reg(cx), 80u);
    EXPECT_EQ(m.cpu().cr2, 0x8000u);
    EXPECT_EQ(m.get<u32>(u32(m.reg(sp)) + 4), 0x7fffu);
}

TEST_P(Blocks, CodeFollowsItsPageToAnotherFrame) {
    m.protected32();
    m.paging32();
    // mov [pte of 0x80000], 0x81007; invlpg [0x80000]; call 0x80000; hlt   first with frame 0x80000 itself
    m.code(0x80000, {0xb3, 0x01, 0xc3});                     // mov bl,1; ret
    m.code(0x81000, {0xb7, 0x02, 0xc3});                     // mov bh,2; ret
    u64 at = m.code(0x7c00, {0xe8, 0xfb, 0x83, 0x07, 0x00}); // call 0x80000
    at = m.code(at, {0xc7, 0x05, 0x00, 0x12, 0x10, 0x00, 0x07, 0x10, 0x08, 0x00});
    at = m.code(at, {0x0f, 0x01, 0x3d, 0x00, 0x00, 0x08, 0x00}); // invlpg
    const u32 next = u32(at + 5);
    at = m.code(at, {0xe8});
    m.put<u32>(at, 0x80000 - next);
    m.code(at + 4, {0xf4});
    m.run();
    EXPECT_EQ(m.reg(bx) & 0xffff, 0x0201u);
}

// The last byte below 4 GiB, which nobody answers for, reads as FFH: inc dword [0x3000], the rest of it at 0.
TEST_P(Blocks, ABlockGoesOnAtZeroBehindFourGigabytes) {
    m.protected32();
    m.code(0, {0x05, 0x00, 0x30, 0x00, 0x00, 0x49, 0x75, 0xf7, 0xf4}); // dec ecx; jnz -1; hlt
    m.put<u32>(0x3000, 0);
    m.cpu().rip = 0xffffffff;
    m.reg(cx) = 1000;
    EXPECT_EQ(m.run(), StopReason::Requested);
    EXPECT_EQ(m.get<u32>(0x3000), 1000u);
    if (!GetParam().interpret) {
        EXPECT_LT(m.vcpu->cache().counters().blocks, 20u) << "made once";
    }
}

TEST_P(Blocks, TheCacheComesRoundUnderAGuestThatGoesOn) {
    // So many blocks of three bytes, twice: inc eax; jmp $+2. Then dec ebx; jnz start; hlt.
    constexpr unsigned kBlocks = 40000;
    VcpuMachine small(GetParam(), 1 * MiB);
    small.protected32();
    u64 at = 0x200000;
    for (unsigned i = 0; i < kBlocks; ++i)
        at = small.code(at, {0x40, 0xeb, 0x00});
    at = small.code(at, {0x4b, 0x0f, 0x85});
    small.put<u32>(at, u32(0x200000 - (at + 4)));
    small.code(at + 4, {0xf4});
    small.cpu().rip = 0x200000;
    small.reg(bx) = 2;
    small.run();
    EXPECT_EQ(small.reg(ax), 2 * kBlocks);
    small.expect_retired(2 * 2 * kBlocks + 2 * 2 + 1);
    if (!GetParam().interpret) {
        EXPECT_GT(small.vcpu->cache().counters().evicted, 0u);
    }
}

// The block that was left last may be the oldest, whose room its successor takes.
TEST_P(Blocks, TheSuccessorMayTakeThePlaceOfTheBlockItComesFrom) {
    constexpr u32 kBig = 0x200000, kTable = 0x300000;
    struct Used {
        u64 bytes, total, evicted;
    };
    // D: dec ecx; jz X; jmp [esi]    X: inc edx; hlt
    // Each of so many blocks: add esi,4; 60 times inc dword [edi]; jmp D
    const auto run = [&](unsigned blocks) -> Used {
        VcpuMachine small(GetParam(), 1 * MiB);
        small.protected32();
        small.code(0x7c00, {0x49, 0x74, 0x02, 0xff, 0x26, 0x42, 0xf4});
        u64 at = kBig;
        for (unsigned i = 0; i < blocks; ++i) {
            small.put<u32>(kTable + i * 4, u32(at));
            at = small.code(at, {0x83, 0xc6, 0x04});
            for (unsigned n = 0; n < 60; ++n)
                at = small.code(at, {0xff, 0x07});
            at = small.code(at, {0xe9});
            small.put<u32>(at, u32(0x7c00 - (at + 4)));
            at = (at + 4 + 0xff) & ~u64{0xff};
        }
        small.reg(si) = kTable;
        small.reg(di) = 0x400000;
        small.reg(cx) = blocks + 1;
        small.run();
        EXPECT_EQ(small.reg(dx), 1u) << blocks;
        EXPECT_EQ(small.get<u32>(0x400000), 60 * blocks) << blocks;
        const runtime::TranslationCache& cache = small.vcpu->cache();
        return {cache.bytes_used(), cache.bytes_total(), cache.counters().evicted};
    };
    if (GetParam().verify || GetParam().interpret || GetParam().cold) return void(run(8)); // each runs once
    // From before the cache is full, whose last block may need 32 KiB, to behind.
    const u64 each = (run(16).bytes - run(8).bytes) / 8;
    ASSERT_GT(each, 0u);
    const unsigned full = unsigned(run(8).total / each), room = unsigned(32 * KiB / each);
    EXPECT_EQ(run(full - 2 * room - 8).evicted, 0u);
    u64 evicted = 0;
    for (unsigned blocks = full - room - 4; blocks <= full + 8; ++blocks)
        evicted = run(blocks).evicted;
    EXPECT_GT(evicted, 0u);
}

} // namespace
} // namespace dragoman::test
