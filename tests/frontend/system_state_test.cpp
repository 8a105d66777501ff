// MONITOR and MWAIT, MOVDIR64B, RDPID, and the extended state that XSAVES and XGETBV see.
#include "system_machine.h"

#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

using namespace x86;

constexpr u64 kArea = kData + 0x1000;

TEST(SystemMonitor, MwaitHaltsUntilAnEvent) {
    SystemMachine m;
    m.flat();
    m.cpu.gpr[0] = kData;
    m.code(kCode, {0x0f, 0x01, 0xc8, 0x0f, 0x01, 0xc9}); // monitor; mwait
    m.run(2, false);
    EXPECT_EQ(m.cpu.exit, ir::Exit::Halt);
    EXPECT_TRUE(m.cpu.halted);
    EXPECT_TRUE(m.cpu.monitor.waiting);
    EXPECT_EQ(m.cpu.rip, kCode + 6);
    wake(m.cpu);
    EXPECT_FALSE(m.cpu.halted);
    m.cpu.rip = kCode + 3; // without another MONITOR it falls through
    m.run(1, false);
    EXPECT_FALSE(m.cpu.halted);
}

TEST(SystemMonitor, MwaitSeesAStoreAndAMaskedInterrupt) {
    SystemMachine m;
    m.flat();
    m.cpu.gpr[0] = kData + 4;
    m.code(kCode, {0x0f, 0x01, 0xc8, 0x80, 0x40, 0x3b, 0x01, 0x0f, 0x01,
                   0xc9}); // monitor; add byte [eax+59], 1; mwait
    m.run(2, false);
    EXPECT_FALSE(m.cpu.halted) << "the last byte of the line was written";
    m.cpu.rip = kCode;
    m.cpu.gpr[0] = kData + 5; // the first byte behind the line
    m.run(2, false);
    EXPECT_TRUE(m.cpu.halted);
    wake(m.cpu);

    m.code(kCode, {0x0f, 0x01, 0xc8, 0xb1, 0x01, 0x0f, 0x01, 0xc9}); // monitor; mov cl, 1; mwait
    m.cpu.rip = kCode;
    m.cpu.interrupt_line = 1;
    m.run(2, false);
    EXPECT_FALSE(m.cpu.halted) << "ECX bit 0: masked interrupts end it, too";
}

TEST(SystemMonitor, Faults) {
    SystemMachine m;
    m.flat();
    m.cpu.gpr[0] = kData;
    m.cpu.gpr[1] = 1;
    m.code(kCode, {0x0f, 0x01, 0xc8});
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
    m.code(kCode, {0x0f, 0x01, 0xc9});
    m.cpu.gpr[1] = 2;
    m.cpu.rip = kCode;
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
    for (const int second : {0xc8, 0xc9}) {
        SystemMachine user;
        user.flat_user();
        user.code(kCode, {0x0f, 0x01, second});
        user.run(1, false);
        EXPECT_EQ(user.cpu.fault.vector, kUD);
    }
}

TEST(SystemMove, Movdir64bWantsAnAlignedDestination) {
    SystemMachine m;
    m.flat();
    for (u32 i = 0; i < 64; ++i)
        m.put(kData + 3 + i, u8(i * 7));
    m.cpu.gpr[0] = kData + 0x100;
    m.cpu.gpr[1] = kData + 3;
    m.code(kCode, {0x66, 0x0f, 0x38, 0xf8, 0x01, 0xf4}); // movdir64b eax, [ecx]
    m.run(1, false);
    for (u32 i = 0; i < 64; ++i)
        ASSERT_EQ(m.get<u8>(kData + 0x100 + i), u8(i * 7));
    m.cpu.rip = kCode;
    m.cpu.gpr[0] = kData + 0x120;
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
}

TEST(SystemMove, RdpidReadsTscAux) {
    SystemMachine m;
    m.long64_user();
    m.cpu.tsc_aux = 0x89abcdef;
    m.cpu.gpr[3] = ~u64{0};
    m.code(kCode, {0xf3, 0x0f, 0xc7, 0xfb}); // rdpid rbx
    m.run(1, false);
    EXPECT_EQ(m.cpu.gpr[3], 0x89abcdefu);
}

class Xsave : public ::testing::Test {
  protected:
    void SetUp() override {
        m.long64();
        m.cpu.cr4 |= kCr4OSXSAVE | kCr4OSFXSR;
        m.cpu.xcr0 = state_components(m.model);
        m.cpu.gpr[7] = kArea;
        m.cpu.gpr[0] = kX87State | kSseState | kAvxState | kAvx512States | kPkruState;
    }
    void run(std::initializer_list<int> code) {
        m.code(kCode, code);
        m.cpu.rip = kCode;
        m.run(1, false);
    }
    SystemMachine m;
};

TEST_F(Xsave, CpuidTellsTheSizes) {
    const u64 offered = state_components(m.model);
    const CpuidRegisters main = cpuid(m.cpu, 0xd, 0), sub = cpuid(m.cpu, 0xd, 1);
    EXPECT_EQ(main.eax, u32(offered));
    EXPECT_EQ(main.ebx, main.ecx) << "everything is enabled";
    EXPECT_EQ(sub.eax & 0xf, 0xfu) << "XSAVEOPT, XSAVEC, XGETBV with ECX = 1, XSAVES";
    u32 end = 576, compacted = 576;
    for (u32 i = 2; i < 63; ++i) {
        const CpuidRegisters c = cpuid(m.cpu, 0xd, i);
        EXPECT_EQ(c.eax != 0, bool(offered >> i & 1)) << i;
        end = std::max(end, c.ebx + c.eax);
        if (c.eax && (c.ecx & 2)) compacted = (compacted + 63) & ~63u;
        compacted += c.eax;
    }
    EXPECT_EQ(main.ecx, end);
    EXPECT_EQ(sub.ebx, compacted);
    m.cpu.xcr0 = 3;
    EXPECT_EQ(cpuid(m.cpu, 0xd, 0).ebx, 576u);
}

TEST_F(Xsave, XsavesAndXrstorsKeepPkru) {
    if (!m.model.has(Feature::Pku)) GTEST_SKIP() << "no protection keys here";
    m.cpu.pkru = 0x1234;
    run({0x48, 0x0f, 0xc7, 0x2f}); // xsaves64 [rdi]
    ASSERT_EQ(m.cpu.exit, ir::Exit::Lookup);
    EXPECT_EQ(m.get<u64>(kArea + 512), kX87State | kPkruState) << "what is not initial";
    EXPECT_EQ(m.get<u64>(kArea + 520), u64{1} << 63 | state_components(m.model));
    const u32 at =
        576 + (m.model.has(Feature::Avx) ? 256 : 0) + (m.model.has(Feature::Avx512f) ? 64 + 512 + 1024 : 0);
    EXPECT_EQ(m.get<u64>(kArea + at), 0x1234u) << "compacted";
    m.cpu.pkru = 0;
    m.cpu.vec[3][5] = 1;
    run({0x48, 0x0f, 0xc7, 0x1f}); // xrstors64 [rdi]
    ASSERT_EQ(m.cpu.exit, ir::Exit::Lookup);
    EXPECT_EQ(m.cpu.pkru, 0x1234u);
    EXPECT_EQ(m.cpu.vec[3][5], 0) << "not saved: initial";
    m.put(kArea + 520, u64{0});
    run({0x48, 0x0f, 0xc7, 0x1f});
    EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << "XRSTORS knows the compacted form only";
}

TEST_F(Xsave, Xgetbv1TellsWhatIsInUse) {
    m.cpu.gpr[1] = 1;
    run({0x0f, 0x01, 0xd0}); // xgetbv
    EXPECT_EQ(m.cpu.gpr[0], u64{kX87State});
    m.cpu.vec[1][15] = 1;
    m.cpu.gpr[1] = 1;
    run({0x0f, 0x01, 0xd0});
    EXPECT_EQ(m.cpu.gpr[0], u64{kX87State | kSseState});
    m.cpu.gpr[1] = 2;
    run({0x0f, 0x01, 0xd0});
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
}

} // namespace
} // namespace dragoman::test
