// Debug registers, single-stepping, RF and the shadow of MOV SS (SDM vol. 3, ch. 18), in each way that blocks
// can be run. The guest's #DB handler writes down DR6, EIP and EFLAGS of every one, sets RF and returns.
#include "vcpu_machine.h"

#include "frontend/x86/debug.h"

namespace dragoman::test {
namespace {

using namespace x86;

class Debug : public ::testing::TestWithParam<Way> {
  protected:
    static constexpr u32 kHandler = 0x5000, kLog = 0x9000, kData = 0x8000;
    static constexpr unsigned ax = 0, cx = 1, sp = 4, di = 7;

    struct Entry {
        u32 dr6, eip;
        friend bool operator==(const Entry&, const Entry&) = default;
        friend std::ostream& operator<<(std::ostream& out, const Entry& e) {
            return out << std::hex << "dr6 " << e.dr6 << " eip " << e.eip;
        }
    };

    Debug() {
        m.protected32();
        m.vector32(1, kHandler);
        m.reg(sp) = VcpuMachine::kStack;
        m.put<u32>(kLog, kLog + 4);
        m.code(kHandler, {0x60, 0x89, 0xe5,                    // pusha; mov ebp,esp
                          0x8b, 0x3d, 0,    0x90, 0,    0,     // mov edi,[kLog]
                          0x0f, 0x21, 0xf0, 0x89, 0x07,        // mov eax,dr6; mov [edi],eax
                          0x8b, 0x45, 0x20, 0x89, 0x47, 4,     // mov eax,[ebp+32]; mov [edi+4],eax
                          0x8b, 0x45, 0x28, 0x89, 0x47, 8,     // mov eax,[ebp+40]; mov [edi+8],eax
                          0x83, 0x05, 0,    0x90, 0,    0, 12, // add dword [kLog],12
                          0x31, 0xc0, 0x0f, 0x23, 0xf0,        // xor eax,eax; mov dr6,eax
                          0x81, 0x4d, 0x28, 0,    0,    1, 0,  // or dword [ebp+40],RF
                          0x61, 0xcf});                        // popa; iret
    }
    void set(unsigned n, u64 address, Breakpoint::Kind kind, unsigned len, bool enable = true) {
        m.cpu().dr[n] = address;
        m.cpu().dr[7] |= u64(kind) << (16 + n * 4) | u64(len) << (18 + n * 4) | u64(enable) << n * 2;
        breakpoints_changed(m.cpu());
    }
    void start(std::initializer_list<int> bytes) {
        m.code(0x7c00, bytes);
        m.cpu().rip = 0x7c00;
        m.run();
    }
    std::vector<Entry> log() {
        std::vector<Entry> entries;
        for (u32 at = kLog + 4; at < m.get<u32>(kLog); at += 12)
            entries.push_back({m.get<u32>(at) & 0xe00f, m.get<u32>(at + 4)});
        return entries;
    }
    u32 flags_of(unsigned n) { return m.get<u32>(kLog + 4 + n * 12 + 8); }
    using Log = std::vector<Entry>;

    VcpuMachine m{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Ways, Debug, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(Debug, InstructionBreakpointFaultsOnceForEachPass) {
    set(0, 0x7c06, Breakpoint::Execute, 0);
    start({0xb9, 3, 0, 0, 0, 0x40, 0x40, 0xe2, 0xfc, 0xf4}); // mov ecx,3; L: inc eax; inc eax; loop L; hlt
    EXPECT_EQ(log(), (Log{{1, 0x7c06}, {1, 0x7c06}, {1, 0x7c06}}));
    EXPECT_EQ(m.reg(ax), 6u);
    EXPECT_FALSE(flags_of(0) & kRF) << "the handler has to set it";
}
TEST_P(Debug, InstructionBreakpointOnTheFirstInstructionOfABlock) {
    set(3, 0x7c05, Breakpoint::Execute, 0);
    start({0xb9, 3, 0, 0, 0, 0x40, 0x40, 0xe2, 0xfc, 0xf4});
    EXPECT_EQ(log(), (Log{{8, 0x7c05}, {8, 0x7c05}, {8, 0x7c05}}));
    EXPECT_EQ(m.reg(ax), 6u);
}
TEST_P(Debug, SetByTheGuestItselfInCodeThatRanBefore) {
    // inc eax; jmp L; (7c03) mov eax,7c0c; mov dr0,eax ... written out: run the loop once, then set DR0 on it
    start({0x40, 0x40, 0x83, 0xf8, 0x04, 0x72, 0xf9, 0xf4}); // L: inc eax; inc eax; cmp eax,4; jb L; hlt
    EXPECT_TRUE(log().empty());
    m.reg(ax) = 0;
    m.cpu().halted = false;
    // mov ebx,0x7c01; mov dr0,ebx; mov ebx,1; mov dr7,ebx; jmp 0x7c00
    m.code(0x7b00,
           {0xbb, 1, 0x7c, 0, 0, 0x0f, 0x23, 0xc3, 0xbb, 1, 0, 0, 0, 0x0f, 0x23, 0xfb, 0xe9, 0xeb, 0, 0, 0});
    m.cpu().rip = 0x7b00;
    m.run();
    EXPECT_EQ(log(), (Log{{1, 0x7c01}, {1, 0x7c01}}));
    EXPECT_EQ(m.reg(ax), 4u);
}
TEST_P(Debug, ConditionsMetButNotEnabledAreReportedWithThose) {
    set(0, 0x7c01, Breakpoint::Execute, 0);
    set(1, 0x7c01, Breakpoint::Execute, 0, false);
    set(2, 0x7c02, Breakpoint::Execute, 0, false);
    start({0x40, 0x40, 0x40, 0xf4});
    EXPECT_EQ(log(), (Log{{3, 0x7c01}}));
}
TEST_P(Debug, WriteBreakpointTrapsAfterTheWrite) {
    set(0, kData + 2, Breakpoint::Write, 3); // four bytes: the address is taken as 0x8000
    // mov eax,[0x8000]; mov [0x8004],al; mov [0x8003],al; inc ecx; mov [0x7fff],eax; hlt
    start(
        {0xa1, 0, 0x80, 0, 0, 0xa2, 4, 0x80, 0, 0, 0xa2, 3, 0x80, 0, 0, 0x41, 0xa3, 0xff, 0x7f, 0, 0, 0xf4});
    EXPECT_EQ(log(), (Log{{1, 0x7c0f}, {1, 0x7c15}}));
    EXPECT_EQ(m.reg(cx), 1u);
}
TEST_P(Debug, AccessBreakpointSeesReadsToo) {
    set(1, kData, Breakpoint::Access, 1);
    set(2, kData + 1, Breakpoint::Write, 0);
    // inc ecx; add eax,[0x8001]; add [0x8000],eax; hlt
    start({0x41, 0x03, 0x05, 1, 0x80, 0, 0, 0x01, 0x05, 0, 0x80, 0, 0, 0xf4});
    EXPECT_EQ(log(), (Log{{2, 0x7c07}, {6, 0x7c0d}}));
    EXPECT_EQ(m.reg(cx), 1u);
}
TEST_P(Debug, OtherPagesStayFast) {
    set(0, kData, Breakpoint::Write, 0);
    start({0xa1, 0, 0x80, 0, 0, 0xa1, 0, 0xa0, 0, 0, 0xf4}); // mov eax,[0x8000]; mov eax,[0xa000]; hlt
    EXPECT_NE(m.vcpu->tlb().entry(softmmu::View::Supervisor, kData).read_tag, kData);
    EXPECT_EQ(m.vcpu->tlb().entry(softmmu::View::Supervisor, 0xa000).read_tag, 0xa000u);
}
TEST_P(Debug, RepeatedStoresTrapBetweenIterations) {
    set(0, kData + 2, Breakpoint::Write, 0);
    m.reg(cx) = 5;
    m.reg(di) = kData;
    start({0xf3, 0xaa, 0xf4}); // rep stosb; hlt
    ASSERT_EQ(log(), (Log{{1, 0x7c00}}));
    EXPECT_TRUE(flags_of(0) & kRF) << "it goes on in the middle of an instruction";
    EXPECT_EQ(m.reg(cx), 0u);
}
TEST_P(Debug, RepeatedStoresTrapAfterTheLastIteration) {
    set(0, kData + 4, Breakpoint::Write, 0);
    m.reg(cx) = 5;
    m.reg(di) = kData;
    start({0xf3, 0xaa, 0xf4});
    ASSERT_EQ(log(), (Log{{1, 0x7c02}}));
    EXPECT_FALSE(flags_of(0) & kRF);
}
TEST_P(Debug, PortsOnlyWithDe) {
    set(0, 0x80, Breakpoint::Io, 1); // two ports
    m.code(0x7b00, {0xe6, 0x81, 0xf4});
    m.cpu().rip = 0x7b00;
    m.run();
    EXPECT_TRUE(log().empty());
    m.cpu().halted = false;
    ASSERT_TRUE(write_cr4(m.cpu(), kCr4DE));
    start({0xe6, 0x81, 0x41, 0xe4, 0x7f, 0x41, 0xe5, 0x7f, 0x41,
           0xf4}); // out; inc ecx; in al; inc; in eax; inc; hlt
    EXPECT_EQ(log(), (Log{{1, 0x7c02}, {1, 0x7c08}}));
}
TEST_P(Debug, GeneralDetect) {
    m.cpu().dr[7] |= kDr7GD;
    start({0x40, 0x0f, 0x21, 0xc3, 0xf4}); // inc eax; mov ebx,dr0; hlt
    ASSERT_EQ(log(), (Log{{0x2000, 0x7c01}}));
    EXPECT_TRUE(flags_of(0) & kRF);
    EXPECT_FALSE(m.cpu().dr[7] & kDr7GD);
}
TEST_P(Debug, IcebpIsATrapWithoutABit) {
    start({0x40, 0xf1, 0x40, 0xf4});
    EXPECT_EQ(log(), (Log{{0, 0x7c02}}));
    EXPECT_EQ(m.reg(ax), 2u);
}

// ---- single step
TEST_P(Debug, StepsBeginAfterPopfAndEndWithIt) {
    // push 0x102; popf; inc eax; inc eax; push 2; popf; inc eax; hlt
    start({0x68, 2, 1, 0, 0, 0x9d, 0x40, 0x40, 0x6a, 2, 0x9d, 0x40, 0xf4});
    EXPECT_EQ(log(), (Log{{0x4000, 0x7c07}, {0x4000, 0x7c08}, {0x4000, 0x7c0a}, {0x4000, 0x7c0b}}));
    EXPECT_FALSE(flags_of(3) & kTF) << "the last step is POPF's own";
}
TEST_P(Debug, SoftwareInterruptsAreNotStepped) {
    m.vector32(0x30, 0x6800);
    m.code(0x6800, {0x41, 0xcf});                                  // inc ecx; iret
    start({0x68, 2, 1, 0, 0, 0x9d, 0xcd, 0x30, 0x40, 0x40, 0xf4}); // push 0x102; popf; int 0x30; inc eax ...
    // Nothing in the handler; IRET sets TF again, which counts from the next instruction on.
    ASSERT_GE(log().size(), 2u);
    EXPECT_EQ(log()[0], (Entry{0x4000, 0x7c09}));
    EXPECT_EQ(log()[1], (Entry{0x4000, 0x7c0a}));
    EXPECT_EQ(m.reg(cx), 1u);
}
TEST_P(Debug, RepeatedInstructionsStepByIteration) {
    m.reg(cx) = 2;
    m.reg(di) = kData;
    start({0x68, 2, 1, 0, 0, 0x9d, 0xf3, 0xaa, 0x40, 0x6a, 2, 0x9d, 0xf4});
    const Log expected{
        {0x4000, 0x7c06}, {0x4000, 0x7c08}, {0x4000, 0x7c09}, {0x4000, 0x7c0b}, {0x4000, 0x7c0c}};
    EXPECT_EQ(log(), expected);
    EXPECT_TRUE(flags_of(0) & kRF);
    EXPECT_FALSE(flags_of(1) & kRF);
}
TEST_P(Debug, MovSsHoldsTheStepOff) {
    // push 0x102; popf; mov eax,ss; mov ss,ax; inc eax; inc eax; hlt
    start({0x68, 2, 1, 0, 0, 0x9d, 0x8c, 0xd0, 0x8e, 0xd0, 0x40, 0x40, 0x6a, 2, 0x9d, 0xf4});
    ASSERT_GE(log().size(), 3u);
    EXPECT_EQ(log()[0], (Entry{0x4000, 0x7c08}));
    EXPECT_EQ(log()[1], (Entry{0x4000, 0x7c0b})) << "not between MOV SS and INC";
    EXPECT_EQ(log()[2], (Entry{0x4000, 0x7c0c}));
}
TEST_P(Debug, StepsFromBranchToBranch) {
    m.cpu().debugctl = kDebugCtlBTF;
    // push 0x102; popf; inc eax; jz +0; jnz +1; nop; inc eax; hlt
    start({0x68, 2, 1, 0, 0, 0x9d, 0x40, 0x74, 0, 0x75, 1, 0x90, 0x6a, 2, 0x9d, 0xf4});
    ASSERT_GE(log().size(), 1u);
    EXPECT_EQ(log()[0], (Entry{0x4000, 0x7c0c}));
    EXPECT_EQ(m.cpu().debugctl, 0u) << "#DB clears BTF";
    EXPECT_EQ(log().size(), 3u) << "PUSH and POPF, stepped one by one";
}

// ---- MOV SS
TEST_P(Debug, ADataBreakpointOfMovSsWaitsForTheNextInstruction) {
    m.put<u16>(kData, 16);
    set(0, kData, Breakpoint::Access, 1);
    start({0x8e, 0x15, 0, 0x80, 0, 0, 0x40, 0x40, 0xf4}); // mov ss,[0x8000]; inc eax; inc eax; hlt
    EXPECT_EQ(log(), (Log{{1, 0x7c07}}));
}
TEST_P(Debug, ADataBreakpointOfMovSsComesAfterTheInterruptBehindIt) {
    m.put<u16>(kData, 16);
    m.vector32(0x30, 0x6800);
    m.code(0x6800, {0x41, 0xcf}); // inc ecx; iret
    set(0, kData, Breakpoint::Access, 1);
    start({0x8e, 0x15, 0, 0x80, 0, 0, 0xcd, 0x30, 0x40, 0xf4});
    EXPECT_EQ(log(), (Log{{1, 0x6800}}));
    EXPECT_EQ(m.reg(cx), 1u);
}
TEST_P(Debug, AnInstructionBreakpointBehindMovSsIsLost) {
    set(0, 0x7c04, Breakpoint::Execute, 0);
    start({0x8c, 0xd0, 0x8e, 0xd0, 0x40, 0x40, 0xf4}); // mov eax,ss; mov ss,ax; inc eax; inc eax; hlt
    EXPECT_TRUE(log().empty());
}
TEST_P(Debug, StiHoldsNoBreakpointOff) {
    set(0, 0x7c01, Breakpoint::Execute, 0);
    start({0xfb, 0x40, 0xfa, 0xf4}); // sti; inc eax; cli; hlt
    EXPECT_EQ(log(), (Log{{1, 0x7c01}}));
}

// ---- what the processor itself accesses
TEST_P(Debug, AFramePushedOntoAWatchedStackTrapsInTheHandler) {
    m.vector32(0x30, 0x6800);
    m.code(0x6800, {0x41, 0xcf});
    set(0, VcpuMachine::kStack - 12, Breakpoint::Write, 3);
    start({0x40, 0xcd, 0x30, 0x40, 0xf4}); // inc eax; int 0x30; inc eax; hlt
    EXPECT_EQ(log(), (Log{{1, 0x6800}}));
    EXPECT_EQ(m.reg(ax), 2u);
    EXPECT_EQ(m.reg(cx), 1u);
}

} // namespace
} // namespace dragoman::test
