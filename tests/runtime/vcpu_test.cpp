// The run loop with guests of a few bytes: interrupts, precise faults, halting, stepping, breakpoints,
// shutdown. Everything runs in each way that blocks can be run. Code that changes: vcpu_blocks_test.cpp.
#include "vcpu_machine.h"

#include "frontend/x86/exception.h"

#include <thread>

namespace dragoman::test {
namespace {

using runtime::StopReason;

class Run : public ::testing::TestWithParam<Way> {
  protected:
    VcpuMachine m{GetParam()};
    static constexpr unsigned ax = 0, cx = 1, dx = 2, bx = 3, sp = 4, si = 6, di = 7;
};

INSTANTIATE_TEST_SUITE_P(Ways, Run, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(Run, StopsAtHltWithExactState) {
    m.code(0x7c00, {0xb8, 0x34, 0x12, 0x40, 0xf4}); // mov ax,0x1234; inc ax; hlt
    EXPECT_EQ(m.run(), StopReason::Requested);
    EXPECT_EQ(m.reg(ax), 0x1235u);
    EXPECT_EQ(m.vcpu->linear_pc(), 0x7c05u);
    m.expect_retired(3);
    EXPECT_TRUE(m.cpu().halted);
    EXPECT_EQ(m.vcpu->counters().halts, 1u);
}

// Left for an event again and again, also by a single step.
TEST_P(Run, RepeatedStringInstructionsCountOnce) {
    m.protected32();
    m.code(0x7c00, {0x90, 0xf3, 0xaa, 0x40, 0xf3, 0xa4, 0xf3, 0xae,
                    0xf4}); // nop; rep stosb; inc eax; rep movsb; repe scasb; hlt
    m.reg(cx) = 50'000;
    m.reg(di) = 0x20000;
    unsigned turns = 0;
    m.vcpu->on_service([&] {
        if (++turns < 10'000) m.vcpu->kick();
    });
    m.vcpu->kick();
    m.run();
    m.vcpu->on_service({});
    EXPECT_EQ(m.reg(di), 0x20000u + 50'000 + 0);
    EXPECT_GT(turns, 5u);
    m.expect_retired(6);
}

// More than one page, than what is done at once, and than the pages that are hot.
TEST_P(Run, RepeatedMovesOverManyPages) {
    for (const bool wide : {false, true}) {
        VcpuMachine v(GetParam());
        wide ? v.long64() : v.protected32();
        // L: mov ecx,200001; mov esi,200000H; mov edi,400003H; rep movsb; mov ecx,30000; mov edi,500000H; rep
        // stosd; dec edx; jnz L; hlt
        v.code(0x7c00, {0xb9, 0x41, 0x0d, 0x03, 0x00, 0xbe, 0x00, 0x00, 0x20, 0x00, 0xbf, 0x03,
                        0x00, 0x40, 0x00, 0xf3, 0xa4, 0xb9, 0x30, 0x75, 0x00, 0x00, 0xbf, 0x00,
                        0x00, 0x50, 0x00, 0xf3, 0xab, 0xff, 0xca, 0x75, 0xdf, 0xf4});
        for (u64 n = 0; n < 200'001; ++n)
            v.put<u8>(0x200000 + n, u8(n * 7 >> 3));
        v.reg(ax) = 0x12345678;
        v.reg(dx) = 20;
        v.run();
        EXPECT_EQ(v.reg(cx), 0u);
        EXPECT_EQ(v.reg(si), 0x200000u + 200'001);
        EXPECT_EQ(v.reg(di), 0x500000u + 120'000);
        EXPECT_EQ(std::memcmp(v.map->ram() + 0x200000, v.map->ram() + 0x400003, 200'001), 0);
        EXPECT_EQ(v.get<u8>(0x400003 + 200'001), 0u);
        for (u64 n = 0; n < 120'000; n += 4)
            ASSERT_EQ(v.get<u32>(0x500000 + n), 0x12345678u) << n;
        EXPECT_EQ(v.get<u32>(0x500000 + 120'000), 0u);
        v.expect_retired(20 * 9 + 1);
    }
}

// The manual leaves OF undefined after a rotation by more than one; a processor may give it differently for
// a count in CL and one in the instruction. A guest that looks is no difference for -verify.
TEST_P(Run, UndefinedFlagsMayBeLookedAt) {
    m.protected32();
    m.code(0x7c00,
           {0xc1, 0xc1, 0x0f, 0x9c, 0x58, 0x0f, 0x90, 0xc2, 0x81, 0xc1, 0x95, 0x3c, 0x6e, 0x9e, 0x4f, 0x75,
            0xef, 0xf4}); // rol ecx,15; pushf; pop eax; seto dl; add ecx,0x9e6e3c95; dec edi; jnz; hlt
    m.reg(sp) = 0x8000;
    m.reg(di) = 64;
    EXPECT_EQ(m.run(), StopReason::Requested); // not Difference
    EXPECT_EQ(m.reg(di), 0u);
}

TEST_P(Run, LoopsCountEveryInstruction) {
    m.code(0x7c00, {0xb9, 0xe8, 0x03, 0x40, 0xe2, 0xfd, 0xf4}); // mov cx,1000; L: inc ax; loop L; hlt
    m.run();
    EXPECT_EQ(m.reg(ax), 1000u);
    m.expect_retired(1 + 2 * 1000 + 1);
}

TEST_P(Run, AnInterruptWaitsForTheInstructionAfterSti) {
    m.real_vector(0x20, 0x9000);
    m.code(0x9000, {0x89, 0xcb, 0xcf});                         // mov bx,cx; iret
    m.code(0x7c00, {0xfa, 0x41, 0xfb, 0x41, 0x41, 0xfa, 0xf4}); // cli; inc cx; sti; inc cx; inc cx; cli; hlt
    m.cpu().interrupt_line = 1;
    m.vcpu->kick();
    m.run();
    EXPECT_EQ(m.reg(bx), 2u) << "one instruction after STI, no more";
    EXPECT_EQ(m.reg(cx), 3u);
    EXPECT_EQ(m.platform.acknowledged, 1u);
    EXPECT_EQ(m.vcpu->counters().interrupts, 1u);
    m.expect_retired(7 + 2);
}

TEST_P(Run, StiThenCliLetsNothingIn) {
    m.code(0x7c00, {0xfb, 0xfa, 0xfb, 0xfa, 0xf4});
    m.cpu().interrupt_line = 1;
    m.vcpu->kick();
    m.run();
    EXPECT_EQ(m.platform.acknowledged, 0u);
}

TEST_P(Run, MovSsHoldsInterruptsOffToo) {
    m.real_vector(0x20, 0x9000);
    m.code(0x9000, {0x89, 0xcb, 0xcf});
    // sti; nop; out 0x80,al (the line rises); mov ss,dx; mov sp,0x5000; inc cx; cli; hlt
    m.code(0x7c00, {0xfb, 0x90, 0xe6, 0x80, 0x8e, 0xd2, 0xbc, 0x00, 0x50, 0x41, 0xfa, 0xf4});
    m.platform.on_out = [&](u16, unsigned, u32) {
        m.cpu().interrupt_line = 1;
        m.vcpu->kick();
    };
    m.run();
    EXPECT_EQ(m.platform.acknowledged, 1u);
    const u16 before = m.get<u16>(VcpuMachine::kStack - 6); // pushed on the stack of the time
    const u16 at = before ? before : m.get<u16>(0x5000 - 6);
    EXPECT_TRUE(at == 0x7c04 || at >= 0x7c09) << "between MOV SS and MOV SP: " << std::hex << at;
}

TEST_P(Run, HltWakesForAnInterrupt) {
    m.real_vector(0x20, 0x9000);
    m.code(0x9000, {0x43, 0xcf});                   // inc bx; iret
    m.code(0x7c00, {0xfb, 0xf4, 0x41, 0xfa, 0xf4}); // sti; hlt; inc cx; cli; hlt
    unsigned idle = 0;
    m.on_idle = [&] {
        if (++idle == 1) {
            EXPECT_EQ(m.reg(bx), 0u);
            m.cpu().interrupt_line = 1;
            m.vcpu->kick();
        } else {
            m.vcpu->request_stop();
        }
    };
    m.run();
    EXPECT_EQ(m.reg(bx), 1u);
    EXPECT_EQ(m.reg(cx), 1u);
    EXPECT_EQ(m.get<u16>(VcpuMachine::kStack - 6), 0x7c02) << "the return address is behind HLT";
    EXPECT_EQ(idle, 2u);
}

TEST_P(Run, AKickFromAnotherThreadEndsALoop) {
    m.code(0x7c00, {0xeb, 0xfe}); // jmp $
    std::thread other([&] { m.vcpu->request_stop(); });
    EXPECT_EQ(m.run(), StopReason::Requested);
    other.join();
    EXPECT_EQ(m.vcpu->linear_pc(), 0x7c00u);
}

TEST_P(Run, EveryKickFromAnotherThreadIsServed) {
    m.code(0x7c00, {0x40, 0x01, 0xc3, 0xeb, 0xfb}); // L: inc ax; add bx,ax; jmp L
    // The other thread sleeps while it waits: on a busy host it takes none of the time of this one.
    std::atomic<unsigned> served = 0;
    m.vcpu->on_service([&] {
        ++served;
        served.notify_one();
    });
    std::atomic<bool> ended = false;
    std::thread other([&] {
        for (unsigned i = 0; i < 300 && !ended; ++i) {
            const unsigned before = served;
            m.vcpu->kick();
            served.wait(before);
        }
        m.vcpu->request_stop();
    });
    EXPECT_EQ(m.run(), StopReason::Requested);
    ended = true;
    ++served;
    served.notify_one();
    other.join();
    EXPECT_GE(served, 300u);
}

// Their kicks meet each other and the run loop's taking them back.
TEST_P(Run, WhatTwoThreadsAskForIsServed) {
    m.code(0x7c00, {0xb8, 0x00, 0x7c, 0xff, 0xe0}); // L: mov ax,L; jmp ax
    std::atomic<unsigned> asked[2] = {}, asking = 2;
    m.vcpu->on_service([&] {
        for (std::atomic<unsigned>& a : asked)
            if (a.exchange(0)) a.notify_one();
    });
    const auto ask = [&](std::atomic<unsigned>& mine) {
        for (unsigned i = 0; i < 300; ++i) {
            mine = 1;
            m.vcpu->kick();
            mine.wait(1);
        }
        if (--asking == 0) m.vcpu->request_stop();
    };
    std::thread first(ask, std::ref(asked[0])), second(ask, std::ref(asked[1]));
    EXPECT_EQ(m.run(), StopReason::Requested);
    first.join();
    second.join();
    EXPECT_EQ(m.vcpu->linear_pc(), 0x7c00u);
}

TEST_P(Run, SwapgsSwapsOnce) {
    m.long64();
    m.cpu().seg[unsigned(ir::Seg::GS)].base = 0x1000;
    m.cpu().kernel_gs_base = 0x2000;
    m.code(0x7c00, {0x0f, 0x01, 0xf8, 0xff, 0xc0, 0xf4}); // swapgs; inc eax; hlt
    m.run();
    EXPECT_EQ(m.reg(ax), 1u);
    EXPECT_EQ(m.cpu().seg[unsigned(ir::Seg::GS)].base, 0x2000u);
    EXPECT_EQ(m.cpu().kernel_gs_base, 0x1000u);
}

TEST_P(Run, NmiIsTakenOnceUntilIret) {
    m.real_vector(2, 0x9000);
    m.code(0x9000, {0x43, 0xcf}); // inc bx; iret
    m.code(0x7c00, {0x90, 0x90, 0xf4});
    m.cpu().nmi_pending = true;
    m.vcpu->kick();
    m.run();
    EXPECT_EQ(m.reg(bx), 1u);
    EXPECT_FALSE(m.cpu().nmi_blocked);
}

// A kernel's block with vectors, one without, and both call C++.
TEST_P(Run, VectorsLiveThroughCalls) {
    m.protected32();
    m.cpu().cr4 |= x86::kCr4OSFXSR;
    for (unsigned i = 0; i < 16; ++i)
        m.put<u8>(0x10000 + i, 3);
    // movups xmm0,[0x10000]; pushf; popf; paddb xmm0,xmm0; mov ecx,3; 1: pushf; popf; dec ecx; jnz 1b
    u64 at = m.code(0x7c00, {0x0f, 0x10, 0x05, 0, 0, 1, 0, 0x9c, 0x9d, 0x66, 0x0f, 0xfc, 0xc0});
    at = m.code(at, {0xb9, 3, 0, 0, 0, 0x9c, 0x9d, 0x49, 0x75, 0xfb});
    // paddb xmm0,xmm0; movups [0x10010],xmm0; hlt
    m.code(at, {0x66, 0x0f, 0xfc, 0xc0, 0x0f, 0x11, 0x05, 0x10, 0, 1, 0, 0xf4});
    m.run();
    for (unsigned i = 0; i < 16; ++i)
        EXPECT_EQ(m.get<u8>(0x10010 + i), 12u) << i;
}

TEST_P(Run, PageFaultsArePreciseAndRetried) {
    m.protected32();
    m.paging32();
    m.put<u32>(VcpuMachine::pte(0x80000), 0);
    m.put<u32>(0x90000, 5);
    m.vector32(14, 0x9000);
    // Keeps what it was given, maps the page and goes back.
    u64 at = m.code(0x9000, {0x89, 0xc6, 0x0f, 0x20, 0xd7, 0x5a}); // mov esi,eax; mov edi,cr2; pop edx
    at = m.code(at, {0xc7, 0x05, 0x00, 0x12, 0x10, 0x00, 0x07, 0x00, 0x09, 0x00}); // mov [pte],0x90007
    m.code(at, {0x8b, 0x2c, 0x24, 0xcf});                                          // mov ebp,[esp]; iret
    // mov eax,0x80000; cmp eax,eax; adc [eax],ebx; setc cl; hlt
    m.code(0x7c00, {0xb8, 0x00, 0x00, 0x08, 0x00, 0x39, 0xc0, 0x11, 0x18, 0x0f, 0x92, 0xc1, 0xf4});
    m.reg(bx) = 0xffffffff;
    m.run();
    EXPECT_EQ(m.get<u32>(0x90000), 4u) << "added once, without a stray carry";
    EXPECT_EQ(m.reg(cx), 1u);
    EXPECT_EQ(m.reg(si), 0x80000u) << "EAX in the handler: the instruction before was complete";
    EXPECT_EQ(m.reg(di), 0x80000u) << "CR2";
    EXPECT_EQ(m.reg(dx), 2u) << "error code: a write at CPL 0, not present";
    EXPECT_EQ(m.reg(5), 0x7c07u) << "EIP of the faulting instruction";
    EXPECT_EQ(m.vcpu->counters().faults, 1u);
    m.expect_retired(5 + 6); // the faulting attempt does not count
}

TEST_P(Run, AFaultingPushAndPopLeaveEspAlone) {
    m.protected32();
    m.paging32();
    m.put<u32>(VcpuMachine::pte(0x80000), 0);
    m.vector32(14, 0x9000);
    m.code(0x9000, {0xf4});
    m.code(0x7c00, {0x6a, 0x11, 0x8f, 0x05, 0x00, 0x00, 0x08, 0x00}); // push 0x11; pop dword [0x80000]
    m.run();
    EXPECT_EQ(m.reg(sp), VcpuMachine::kStack - 4 - 16) << "the frame lies under what was not popped";
    EXPECT_EQ(m.get<u32>(VcpuMachine::kStack - 4), 0x11u);
    EXPECT_EQ(m.get<u32>(u32(m.reg(sp)) + 4), 0x7c02u);
}

TEST_P(Run, AFaultInTheSecondPageOfAnInstruction) {
    m.protected32();
    m.paging32();
    m.put<u32>(VcpuMachine::pte(0x8000), 0);
    m.vector32(14, 0x9000);
    m.code(0x9000, {0xf4});
    m.code(0x7ffc, {0x41, 0x41, 0xb8, 0x12}); // inc ecx; inc ecx; mov eax,imm32 across the page
    m.cpu().rip = 0x7ffc;
    m.run();
    EXPECT_EQ(m.reg(cx), 2u);
    EXPECT_EQ(m.cpu().cr2, 0x8000u);
    EXPECT_EQ(m.get<u32>(u32(m.reg(sp)) + 4), 0x7ffeu);
}

TEST_P(Run, TheTrapFlagStepsEveryInstruction) {
    m.real_vector(1, 0x9000);
    m.code(0x9000, {0x46, 0xcf}); // inc si; iret
    // nop; inc cx; pushf; pop ax; and ah,0xfe; push ax; popf; nop; hlt
    m.code(0x7c00, {0x90, 0x41, 0x9c, 0x58, 0x80, 0xe4, 0xfe, 0x50, 0x9d, 0x90, 0xf4});
    m.cpu().set_eflags(m.cpu().eflags() | x86::kTF);
    m.run();
    EXPECT_EQ(m.reg(si), 7u) << "after each up to POPF, which began with TF set";
    EXPECT_EQ(m.reg(cx), 1u);
    EXPECT_TRUE(m.cpu().dr[6] & 1u << 14) << "DR6.BS";
}

TEST_P(Run, ADebuggersStepIsOneInstruction) {
    m.real_vector(0x20, 0x9000);
    m.code(0x7c00, {0xfb, 0x41, 0x41, 0xe2, 0xfc, 0xf4}); // sti; inc cx; inc cx; loop; hlt
    m.cpu().interrupt_line = 1;
    const u64 expected[] = {0x7c01, 0x7c02, 0x7c03, 0x7c01};
    for (const u64 pc : expected) {
        EXPECT_EQ(m.vcpu->step(), StopReason::Step);
        EXPECT_EQ(m.vcpu->linear_pc(), pc);
    }
    EXPECT_EQ(m.platform.acknowledged, 0u) << "interrupts wait while stepping";
    m.expect_retired(4);
}

TEST_P(Run, Breakpoints) {
    m.code(0x7c00, {0xb9, 3, 0, 0x40, 0x43, 0xe2, 0xfc, 0xf4}); // mov cx,3; L: inc ax; inc bx; loop L; hlt
    m.vcpu->set_breakpoints({0x7c04});
    for (unsigned pass = 1; pass <= 3; ++pass) {
        ASSERT_EQ(m.run(), StopReason::Breakpoint);
        EXPECT_EQ(m.vcpu->linear_pc(), 0x7c04u);
        EXPECT_EQ(m.reg(ax), pass);
        EXPECT_EQ(m.reg(bx), pass - 1);
    }
    EXPECT_EQ(m.run(), StopReason::Requested);
    EXPECT_EQ(m.reg(bx), 3u);
    m.cpu().rip = 0x7c00;
    m.cpu().halted = false;
    m.vcpu->set_breakpoints({});
    EXPECT_EQ(m.run(), StopReason::Requested) << "one that is gone stops nothing";
}

TEST_P(Run, Watchpoints) {
    // mov [0x8000],ax; mov [0x8002],ax; hlt
    m.code(0x7c00, {0xa3, 0x00, 0x80, 0xa3, 0x02, 0x80, 0xf4});
    m.vcpu->set_watchpoints({{.linear = 0x8002, .bytes = 2}});
    EXPECT_EQ(m.run(), StopReason::Watchpoint);
    EXPECT_EQ(m.vcpu->watch_hit().linear, 0x8002u);
    EXPECT_EQ(m.vcpu->linear_pc(), 0x7c06u);
    m.vcpu->set_watchpoints({});
    EXPECT_EQ(m.run(), StopReason::Requested);
}

TEST_P(Run, ATripleFaultIsReported) {
    m.protected32();
    m.cpu().idtr = {0, 0};
    m.code(0x7c00, {0x40, 0x0f, 0x0b}); // inc eax; ud2
    EXPECT_EQ(m.run(), StopReason::Shutdown);
    const std::string text = m.vcpu->describe_shutdown();
    EXPECT_EQ(text.rfind("triple fault: ", 0), 0u) << text;
    EXPECT_NE(text.find("exception  6 error 0000 rip 0000000000007c01"), std::string::npos) << text;
    EXPECT_NE(text.find("exception 13"), std::string::npos) << text;
    EXPECT_NE(text.find("double fault"), std::string::npos) << text;
    EXPECT_NE(text.find("run loop: 0 0"), std::string::npos) << text;
    EXPECT_NE(text.find(" 7c00"), std::string::npos) << "the last blocks: " << text;
}

TEST_P(Run, ATripleFaultOnAPageSaysWhatTheWalkFound) {
    m.protected32();
    m.paging32();
    m.put<u32>(VcpuMachine::pte(0x80000), 0);
    m.put<u32>(VcpuMachine::pte(VcpuMachine::kIdt), 0);
    m.code(0x7c00, {0xa1, 0x00, 0x00, 0x08, 0x00}); // mov eax,[0x80000]
    EXPECT_EQ(m.run(), StopReason::Shutdown);
    const std::string text = m.vcpu->describe_shutdown();
    EXPECT_NE(text.find("cr2 0000000000080000\n    page walk of 0000000000080000: PTE"), std::string::npos)
        << text;
}

TEST_P(Run, ResetStartsAtTheResetVector) {
    m.code(0x7c00, {0xf4});
    m.run();
    m.vcpu->reset();
    EXPECT_EQ(m.vcpu->linear_pc(), 0xfffffff0u);
    EXPECT_FALSE(m.cpu().halted);
}

} // namespace
} // namespace dragoman::test
