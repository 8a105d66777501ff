// Near branches of 64-bit code to addresses that are not canonical: #GP(0) at the branch, which changes no
// register (SDM vol. 2, JMP, CALL, RET, Jcc, LOOP). Only what the processor stores before it looks at the
// target stays.
#include "vcpu_machine.h"

namespace dragoman::test {
namespace {

constexpr u64 kHandler = 0x9000, kRing0Stack = 0x5000, kBad = u64{1} << 47;
constexpr unsigned rax = 0, rcx = 1, rsp = 4;

class NearBranch : public ::testing::TestWithParam<Way> {
  protected:
    NearBranch() : m(GetParam()) {
        m.long64();
        m.put<u64>(VcpuMachine::kIdt + 13 * 16, (kHandler & 0xffff) | 8 << 16 | u64{0x8e01} << 32); // IST 1
        m.put<u64>(VcpuMachine::kIdt + 13 * 16 + 8, 0);
        m.put<u64>(kTss + 0x24, kRing0Stack);
        m.cpu().tr = {.base = kTss, .limit = 0x67, .selector = 0x40, .attributes = 0x8b};
        m.code(kHandler, {0xf4});
        // The last page of the lower half is the page of the code.
        const u64 tables = VcpuMachine::kTables;
        m.put<u64>(tables + 255 * 8, (tables + 0x2000) | 7);
        m.put<u64>(tables + 0x2000 + 511 * 8, (tables + 0x3000) | 7);
        m.put<u64>(tables + 0x3000 + 511 * 8, (tables + 0x4000) | 7);
        m.put<u64>(tables + 0x4000 + 511 * 8, (VcpuMachine::kCode & ~u64{0xfff}) | 7);
        m.reg(rax) = kBad;
        m.reg(rcx) = 2;
    }
    // The code lies at the end of the lower half of the addresses, so that what is `bytes` long ends it.
    u64 at_edge(std::initializer_list<int> bytes, u64 room = 0) {
        const u64 page = VcpuMachine::kCode & ~u64{0xfff}, offset = 0x1000 - bytes.size() - room;
        m.code(page + offset, bytes);
        m.cpu().rip = kBad - 0x1000 + offset;
        return m.cpu().rip;
    }
    void expect_refused(u64 rip, u64 stack = VcpuMachine::kStack) {
        m.run();
        ASSERT_EQ(m.cpu().rip, kHandler + 1);
        const u64 frame = kRing0Stack - 48;
        EXPECT_EQ(m.reg(rsp), frame);
        EXPECT_EQ(m.get<u64>(frame), 0u); // the error code
        EXPECT_EQ(m.get<u64>(frame + 8), rip);
        EXPECT_EQ(m.get<u64>(frame + 32), stack);
        EXPECT_EQ(m.reg(rcx), 2u);
    }
    static constexpr u64 kTss = 0x3000;
    VcpuMachine m;
};

INSTANTIATE_TEST_SUITE_P(Ways, NearBranch, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(NearBranch, JmpRegister) {
    m.code(0x7c00, {0x90, 0xff, 0xe0});
    expect_refused(0x7c01);
    EXPECT_EQ(m.vcpu->instructions_retired(), 2u); // NOP, HLT
}
TEST_P(NearBranch, JmpMemory) {
    m.code(0x7c00, {0xff, 0x24, 0x25, 0x00, 0xa0, 0x00, 0x00});
    m.put<u64>(0xa000, kBad);
    expect_refused(0x7c00);
}
TEST_P(NearBranch, CallRegister) {
    m.code(0x7c00, {0x90, 0xff, 0xd0});
    expect_refused(0x7c01);
}
TEST_P(NearBranch, CallThroughTheStackPointer) {
    m.code(0x7c00, {0xff, 0x14, 0x24}); // call [rsp]
    m.put<u64>(VcpuMachine::kStack, kBad);
    expect_refused(0x7c00);
}
TEST_P(NearBranch, Ret) {
    m.code(0x7c00, {0x50, 0xc3}); // push rax; ret
    expect_refused(0x7c01, VcpuMachine::kStack - 8);
}
TEST_P(NearBranch, RetWithAnImmediate) {
    m.code(0x7c00, {0x50, 0xc2, 0xf8, 0xff}); // push rax; ret 0xfff8
    expect_refused(0x7c01, VcpuMachine::kStack - 8);
}
TEST_P(NearBranch, FromABlockThatWasLinkedTo) {
    // mov ebx, 3; L: dec ebx; jz out; jmp L; out: jmp rax
    m.code(0x7c00, {0xbb, 0x03, 0x00, 0x00, 0x00, 0xff, 0xcb, 0x74, 0x02, 0xeb, 0xfa, 0xff, 0xe0});
    expect_refused(0x7c0b);
    EXPECT_EQ(m.vcpu->instructions_retired(), 1 + 2 * 3 + 2 + 1u);
}
TEST_P(NearBranch, BehindSti) {
    m.code(0x7c00, {0xfb, 0xff, 0xd0}); // sti; call rax
    expect_refused(0x7c01);
}
TEST_P(NearBranch, WhenSomethingWaits) {
    m.code(0x7c00, {0xff, 0xe0});
    m.vcpu->kick();
    expect_refused(0x7c00);
}
TEST_P(NearBranch, OneStep) {
    m.code(0x7c00, {0xff, 0xd0});
    EXPECT_EQ(m.vcpu->step(), runtime::StopReason::Step);
    EXPECT_EQ(m.cpu().rip, kHandler);
    EXPECT_EQ(m.get<u64>(kRing0Stack - 48 + 32), VcpuMachine::kStack);
}
TEST_P(NearBranch, DirectJmp) {
    expect_refused(at_edge({0xeb, 0x00}));
}
TEST_P(NearBranch, DirectCall) {
    expect_refused(at_edge({0xe8, 0x08, 0x00, 0x00, 0x00}, 4));
}
TEST_P(NearBranch, Jcc) {
    const u64 start = at_edge({0x39, 0xc0, 0x75, 0x7f, 0x74, 0x7f}); // cmp eax, eax; jne beyond; je beyond
    expect_refused(start + 4);
    EXPECT_EQ(m.vcpu->instructions_retired(), 3u);
}
TEST_P(NearBranch, LoopAndJrcxz) {
    expect_refused(at_edge({0x67, 0xe3, 0x7f, 0xe2, 0x7f}) + 3); // jecxz beyond; loop beyond
}
TEST_P(NearBranch, NotTakenItGoesOn) {
    m.reg(rcx) = 1;
    at_edge({0xe2, 0x7f, 0xf4}); // loop beyond; hlt
    m.run();
    EXPECT_EQ(m.cpu().rip, kBad);
    EXPECT_EQ(m.reg(rcx), 0u);
}

} // namespace
} // namespace dragoman::test
