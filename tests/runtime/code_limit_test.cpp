// The limit of the code segment: what it allows is part of what a block was translated for, and a branch
// beyond it faults itself.
#include "vcpu_machine.h"

namespace dragoman::test {
namespace {

class CodeLimit : public ::testing::TestWithParam<Way> {
  protected:
    static constexpr u32 kLimit = 0x8fff, kHandler = 0x5000;
    static constexpr unsigned ax = 0, cx = 1, sp = 4;

    CodeLimit() {
        m.protected32();
        m.vector32(13, kHandler);
        m.code(kHandler, {0xf4});
        set_limit(kLimit);
        m.reg(sp) = VcpuMachine::kStack;
    }
    void set_limit(u32 limit) {
        m.cpu().seg[1].limit = limit;
        m.cpu().seg[1].attributes = 0x409b;
        m.put<u64>(VcpuMachine::kGdt + 8, 0x00cf9b000000ffff); // the handler's: all 4 GiB
    }
    // EIP of the #GP(0) that code at 0x7c00 raised; the stack pointer before it must be `stack`.
    u32 fault_at(std::initializer_list<int> bytes, u32 stack = VcpuMachine::kStack) {
        m.code(0x7c00, bytes);
        m.cpu().rip = 0x7c00;
        m.run();
        EXPECT_EQ(m.cpu().rip, kHandler + 1) << "no #GP";
        EXPECT_EQ(m.reg(sp), stack - 16) << "the frame: error code, EIP, CS, EFLAGS";
        EXPECT_EQ(m.get<u32>(stack - 16), 0u);
        return m.get<u32>(stack - 12);
    }

    VcpuMachine m{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Ways, CodeLimit, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(CodeLimit, ABlockIsNotReusedUnderASmallerOne) {
    m.code(0x7c00, {0x40, 0x40, 0x40, 0xf4}); // inc eax (3 times); hlt
    m.cpu().rip = 0x7c00;
    m.run();
    EXPECT_EQ(m.reg(ax), 3u);
    m.reg(ax) = 0;
    m.cpu().halted = false;
    set_limit(0x7c01);
    EXPECT_EQ(fault_at({0x40, 0x40, 0x40, 0xf4}), 0x7c02u);
    EXPECT_EQ(m.reg(ax), 2u);
}

TEST_P(CodeLimit, NearBranchesBeyondItFaultThemselves) {
    EXPECT_EQ(fault_at({0x40, 0xe9, 0xfa, 0x13, 0, 0}), 0x7c01u); // inc eax; jmp 0x9000
}
TEST_P(CodeLimit, CallLeavesTheStackPointer) {
    EXPECT_EQ(fault_at({0x90, 0x90, 0x90, 0xe8, 0xf8, 0x13, 0, 0}), 0x7c03u);
}
TEST_P(CodeLimit, ConditionalBranchFaultsWhenTaken) {
    // xor eax,eax; jnz 0x9000; jz 0x9000
    EXPECT_EQ(fault_at({0x31, 0xc0, 0x0f, 0x85, 0xf8, 0x13, 0, 0, 0x0f, 0x84, 0xf2, 0x13, 0, 0}), 0x7c08u);
}
TEST_P(CodeLimit, LoopLeavesItsCounter) {
    set_limit(0x7c10);
    m.reg(cx) = 1;
    EXPECT_EQ(fault_at({0xe2, 0x7e, 0x41, 0x41, 0xe2, 0x7a}),
              0x7c04u); // loop +7e; inc ecx; inc ecx; loop +7a
    EXPECT_EQ(m.reg(cx), 2u);
}
TEST_P(CodeLimit, LoopWhileEqualLeavesItsCounter) {
    set_limit(0x7c10);
    m.reg(cx) = 5;
    EXPECT_EQ(fault_at({0x39, 0xc0, 0xe0, 0x7e, 0xe1, 0x7c}), 0x7c04u); // cmp eax,eax; loopne; loope
    EXPECT_EQ(m.reg(cx), 4u);
}
TEST_P(CodeLimit, JumpOnAZeroCounterFaults) {
    set_limit(0x7c10);
    m.reg(cx) = 1;
    EXPECT_EQ(fault_at({0xe3, 0x7e, 0x49, 0xe3, 0x7b}), 0x7c03u); // jecxz; dec ecx; jecxz
}
TEST_P(CodeLimit, IndirectJumpFaultsItself) {
    EXPECT_EQ(fault_at({0xb8, 0x00, 0x90, 0, 0, 0xff, 0xe0}), 0x7c05u); // mov eax,0x9000; jmp eax
}
TEST_P(CodeLimit, IndirectCallLeavesTheStackPointer) {
    EXPECT_EQ(fault_at({0xb8, 0x00, 0x90, 0, 0, 0xff, 0xd0}), 0x7c05u); // mov eax,0x9000; call eax
}
TEST_P(CodeLimit, ReturnLeavesTheStackPointer) {
    EXPECT_EQ(fault_at({0x68, 0x00, 0x90, 0, 0, 0xc3}, VcpuMachine::kStack - 4), 0x7c05u); // push 0x9000; ret
}
TEST_P(CodeLimit, RunningPastItFaultsAtTheNextInstruction) {
    set_limit(0x7c04);
    EXPECT_EQ(fault_at({0x40, 0xb8, 0, 0, 0, 0}), 0x7c01u) << "an instruction half outside";
    EXPECT_EQ(m.reg(ax), 1u);
}

} // namespace
} // namespace dragoman::test
