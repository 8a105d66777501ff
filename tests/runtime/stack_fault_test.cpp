// Which exception an address that is not canonical raises: #SS through the stack segment, #GP otherwise.
#include "vcpu_machine.h"

namespace dragoman::test {
namespace {

class StackFault : public ::testing::TestWithParam<Way> {
  protected:
    static constexpr u64 kBad = u64{1} << 63, kHandlers = 0x5000, kKernelStack = 0x6000;
    static constexpr unsigned ax = 0, sp = 4, bp = 5;

    StackFault() {
        m.put<u64>(VcpuMachine::kTables, (VcpuMachine::kTables + 0x1000) | 7);
        m.put<u64>(VcpuMachine::kTables + 0x1000, (VcpuMachine::kTables + 0x2000) | 7);
        m.put<u64>(VcpuMachine::kTables + 0x2000, 0x87);
        m.put<u64>(VcpuMachine::kGdt + 8, 0x00af9b000000ffff);
        m.put<u64>(VcpuMachine::kGdt + 16, 0x00cf93000000ffff);
        x86::Cpu& c = m.cpu();
        c.gdtr = {VcpuMachine::kGdt, 23};
        c.idtr = {VcpuMachine::kIdt, 0xfff};
        c.tr = {.base = 0x3000, .limit = 0x67, .selector = 0x40, .attributes = 0x8b};
        m.put<u64>(0x3024, kKernelStack); // IST 1
        for (u64 v = 0; v < 32; ++v) {
            m.put<u64>(VcpuMachine::kIdt + v * 16,
                       (kHandlers + v * 16) | 8 << 16 | u64{1} << 32 | u64{0x8e} << 40);
            m.put<u8>(kHandlers + v * 16, 0xf4);
        }
        EXPECT_TRUE(x86::write_cr4(c, x86::kCr4PAE));
        EXPECT_TRUE(x86::write_cr3(c, VcpuMachine::kTables));
        EXPECT_TRUE(x86::write_efer(c, x86::kEferLME));
        EXPECT_TRUE(x86::write_cr0(c, x86::kCr0PE | x86::kCr0PG | x86::kCr0NE));
        for (unsigned i = 0; i < 6; ++i)
            c.seg[i] = {.base = 0,
                        .limit = 0xffffffff,
                        .selector = u16(i == 1 ? 8 : 16),
                        .attributes = u16(i == 1 ? 0xa09b : 0xc093)};
        m.reg(sp) = m.reg(bp) = m.reg(ax) = 0x8000;
    }
    unsigned vector_of(std::initializer_list<int> bytes) {
        m.code(0x7c00, bytes);
        m.cpu().rip = 0x7c00;
        m.run();
        EXPECT_EQ(m.get<u64>(kKernelStack - 48), 0u) << "error code";
        EXPECT_EQ(m.get<u64>(kKernelStack - 40), 0x7c00u);
        return unsigned(m.cpu().rip - 1 - kHandlers) / 16;
    }

    VcpuMachine m{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Ways, StackFault, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(StackFault, PushBelowABadStackPointer) {
    m.reg(sp) = kBad;
    EXPECT_EQ(vector_of({0x50}), 12u); // push rax
}
TEST_P(StackFault, PopIntoABadAddress) {
    m.reg(ax) = kBad;
    EXPECT_EQ(vector_of({0x8f, 0x00}), 13u); // pop qword [rax]
}
TEST_P(StackFault, PopFromABadStackPointer) {
    m.reg(sp) = kBad;
    EXPECT_EQ(vector_of({0x8f, 0x00}), 12u);
}
TEST_P(StackFault, CallThroughABadAddress) {
    m.reg(ax) = kBad;
    EXPECT_EQ(vector_of({0xff, 0x10}), 13u); // call [rax]
}
TEST_P(StackFault, ReturnFromABadStackPointer) {
    m.reg(sp) = kBad;
    EXPECT_EQ(vector_of({0xc3}), 12u);
}
TEST_P(StackFault, OperandsByTheirBase) {
    m.reg(bp) = kBad;
    EXPECT_EQ(vector_of({0x8b, 0x45, 0x10}), 12u); // mov eax,[rbp+16]
}
TEST_P(StackFault, OperandsByTheirBaseThroughDs) {
    m.reg(ax) = kBad;
    EXPECT_EQ(vector_of({0x8b, 0x40, 0x10}), 13u); // mov eax,[rax+16]
}

} // namespace
} // namespace dragoman::test
