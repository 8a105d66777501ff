// Model-specific registers by the tables of SDM vol. 4 and the chapters of vol. 3 that they belong to.
#include "system_machine.h"

#include "frontend/x86/machine_check.h"

namespace dragoman::test {
namespace {

constexpr u64 kNotCanonical = 0x0100'0000'0000'0000, kNone = ~u64{0} - 1;

struct MsrCase {
    u32 msr;
    const char* name;
    u64 reset;     // kNone: cannot be read
    u64 good, bad; // kNone: nothing may be written; there is nothing that may not
};
constexpr MsrCase kCases[] = {
    {0x17, "IA32_PLATFORM_ID", 0, kNone, 0},
    {0x79, "IA32_BIOS_UPDT_TRIG", kNone, 0x1000, kNone},
    {0x8b, "IA32_BIOS_SIGN_ID", 0, 0, kNone},
    {0xfe, "IA32_MTRRCAP", 0x508, kNone, 0},
    {0x174, "IA32_SYSENTER_CS", 0, 8, u64{1} << 32},
    {0x175, "IA32_SYSENTER_ESP", 0, 0xffff800000001000, kNotCanonical},
    {0x176, "IA32_SYSENTER_EIP", 0, 0x00ff'ffff'ffff'ffff,
     kNotCanonical}, // by the processor's 57 bits (vol. 1, 3.3.7.1)
    {0x179, "IA32_MCG_CAP", 0x100010a, kNone, 0},
    {0x17a, "IA32_MCG_STATUS", 0, 4, 8},
    {0x17b, "IA32_MCG_CTL", ~u64{0}, 0, kNone},
    {0x1a0, "IA32_MISC_ENABLE", 0x41801, u64{1} << 34 | 0x441801, 0x41803},
    {0x200, "IA32_MTRR_PHYSBASE0", 0, 0x80000006, 0x80000002}, // no such type
    {0x202, "IA32_MTRR_PHYSBASE1", 0, 0x80000000, 0x80000100}, // bits 11:8
    {0x20e, "IA32_MTRR_PHYSBASE7", 0, u64{1} << 39, u64{1} << 40},
    {0x201, "IA32_MTRR_PHYSMASK0", 0, 0xff80000800, 0xff80000801},
    {0x20f, "IA32_MTRR_PHYSMASK7", 0, 0xff80000800, u64{1} << 40},
    {0x250, "IA32_MTRR_FIX64K_00000", 0, 0x0606060606060606, 0x0606060606060603},
    {0x259, "IA32_MTRR_FIX16K_A0000", 0, 0x0001040506050401, 0x0700000000000000},
    {0x26f, "IA32_MTRR_FIX4K_F8000", 0, 5, 2},
    {0x277, "IA32_PAT", 0x0007040600070406, 0x0007010600070106, 0x0207040600070406},
    {0x277, "IA32_PAT", 0x0007040600070406, 0x0504010607000101, 0x0007040600070408},
    {0x2ff, "IA32_MTRR_DEF_TYPE", 0, 0xc06, 0x1000},
    {0x2ff, "IA32_MTRR_DEF_TYPE", 0, 0xc00, 0xc02},
    {0x400, "IA32_MC0_CTL", ~u64{0}, 1, kNone},
    {0x401, "IA32_MC0_STATUS", 0, 0, 1},
    {0x402, "IA32_MC0_ADDR", 0, 0, 1},
    {0x427, "IA32_MC9_MISC", 0, 0, u64{1} << 63},
    {0x6e1, "IA32_PKRS", 0, 0xffffffff, u64{1} << 32},
    {0xc0000080, "IA32_EFER", 0, 0x901, 2},
    {0xc0000081, "IA32_STAR", 0, 0x0023001000000000, kNone},
    {0xc0000082, "IA32_LSTAR", 0, 0xffff800000001000, kNotCanonical},
    {0xc0000083, "IA32_CSTAR", 0, 0x7fffffffffff, kNotCanonical},
    {0xc0000084, "IA32_FMASK", 0, 0x47700, u64{1} << 32},
    {0xc0000100, "IA32_FS_BASE", 0, 0x7fffffffffff, kNotCanonical},
    {0xc0000101, "IA32_GS_BASE", 0, 0xfffffff000000000, kNotCanonical},
    {0xc0000102, "IA32_KERNEL_GS_BASE", 0, 1, kNotCanonical},
    {0xc0000103, "IA32_TSC_AUX", 0, 0xffffffff, u64{1} << 32},
};

TEST(SystemMsr, ResetValuesAndWhatMayBeWritten) {
    for (const MsrCase& c : kCases) {
        SCOPED_TRACE(c.name);
        SystemMachine m;
        u64 v = 0;
        EXPECT_EQ(read_msr(m.cpu, c.msr, v), c.reset != kNone);
        if (c.reset != kNone) {
            EXPECT_EQ(v, c.reset);
        }
        if (c.good != kNone) {
            EXPECT_TRUE(write_msr(m.cpu, c.msr, c.good));
            if (c.reset != kNone) {
                ASSERT_TRUE(read_msr(m.cpu, c.msr, v));
                EXPECT_EQ(v, c.good);
            }
        }
        if (c.bad != kNone) {
            EXPECT_FALSE(write_msr(m.cpu, c.msr, c.bad));
            if (c.good != kNone && c.reset != kNone) {
                ASSERT_TRUE(read_msr(m.cpu, c.msr, v));
                EXPECT_EQ(v, c.good) << "a write that faults changes nothing";
            }
        }
    }
}

// The table is searched from above: no number may be in two rows.
TEST(SystemMsr, RowsDoNotOverlap) {
    for (const MsrRow& a : msr_table())
        for (const MsrRow& b : msr_table())
            if (&a != &b) {
                EXPECT_TRUE(a.last < b.first || b.last < a.first) << a.name << " and " << b.name;
            }
}

TEST(SystemMsr, ModelsWithoutTheFeatureHaveNone) {
    SystemMachine old("486"), three("pentium3");
    u64 v = 0;
    EXPECT_FALSE(read_msr(old.cpu, 0x277, v));
    EXPECT_TRUE(read_msr(three.cpu, 0x277, v));
    EXPECT_FALSE(read_msr(three.cpu, 0xc0000080, v));
    EXPECT_FALSE(write_msr(three.cpu, 0x20f, u64{1} << 36 | 0x800)) << "36 bits of physical address";
    EXPECT_TRUE(write_msr(three.cpu, 0x20f, u64{1} << 35 | 0x800));
    EXPECT_TRUE(write_msr(three.cpu, 0x175, 0xffffffff));
    EXPECT_TRUE(read_msr(three.cpu, 0x1b, v));
    EXPECT_EQ(v, 0xfee00900u);
}

// Each MSR that does not exist is reported once, with its number.
TEST(SystemMsr, UnknownRaisesAndIsLoggedOnce) {
    char* text = nullptr;
    std::size_t bytes = 0;
    std::FILE* out = open_memstream(&text, &bytes);
    SystemMachine m;
    m.log.set_output(out);
    m.flat();
    m.code(kCode, {0x0f, 0x32}); // rdmsr
    for (int i = 0; i < 3; ++i) {
        m.cpu.gpr[1] = 0x12345;
        m.cpu.rip = kCode;
        m.run(1, false);
        EXPECT_TRUE(faulted(m.cpu, kGP, 0));
    }
    m.log.set_output(stderr);
    std::fclose(out);
    const std::string said(text, bytes);
    std::free(text);
    EXPECT_EQ(said, "dragoman: MSR 0x12345 is not emulated: #GP\n");
    m.cpu.gpr[1] = 0xc0000080;
    m.cpu.gpr[0] = 2;
    m.cpu.gpr[2] = 0;
    m.cpu.rip = kCode;
    m.code(kCode, {0x0f, 0x30}); // wrmsr
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
}

// SDM vol. 3, 18.17.3: a write to the counter moves IA32_TSC_ADJUST by as much.
TEST(SystemMsr, TimeStampAndAdjust) {
    SystemMachine m;
    u64 v = 0;
    ASSERT_TRUE(write_msr(m.cpu, 0x10, 5000));
    ASSERT_TRUE(read_msr(m.cpu, 0x10, v));
    EXPECT_EQ(v, 5000u);
    ASSERT_TRUE(read_msr(m.cpu, 0x3b, v));
    EXPECT_EQ(v, 5000u);
    ASSERT_TRUE(write_msr(m.cpu, 0x3b, 0));
    ASSERT_TRUE(read_msr(m.cpu, 0x10, v));
    EXPECT_EQ(v, 0u);
}

// Both count at the time stamp's rate, and not while halted (SDM vol. 3, 15.2).
TEST(SystemMsr, ActualAndMaximumFrequency) {
    SystemMachine m;
    const auto read = [&](u32 msr) {
        u64 v = 0;
        EXPECT_TRUE(read_msr(m.cpu, msr, v));
        return v;
    };
    EXPECT_EQ(read(0xe7), 0u);
    m.platform.tsc += 700;
    EXPECT_EQ(read(0xe7), 700u);
    EXPECT_EQ(read(0xe8), 700u);
    halt(m.cpu);
    m.platform.tsc += 10000;
    wake(m.cpu);
    m.platform.tsc += 300;
    EXPECT_EQ(read(0xe7), 1000u);
    EXPECT_EQ(read(0xe8), 1000u);
    ASSERT_TRUE(write_msr(m.cpu, 0xe7, 0));
    m.platform.tsc += 50;
    EXPECT_EQ(read(0xe7), 50u);
    EXPECT_EQ(read(0xe8), 1050u);
}

TEST(SystemMsr, ExecuteDisableCanBeTakenAway) {
    SystemMachine m;
    EXPECT_TRUE(cpuid(m.cpu, 0x80000001, 0).edx & 1 << 20);
    ASSERT_TRUE(write_msr(m.cpu, 0x1a0, 0x1801 | u64{1} << 34));
    EXPECT_FALSE(cpuid(m.cpu, 0x80000001, 0).edx & 1 << 20);
    EXPECT_FALSE(write_msr(m.cpu, 0xc0000080, kEferNXE));
    EXPECT_GT(cpuid(m.cpu, 0, 0).eax, 2u);
    ASSERT_TRUE(write_msr(m.cpu, 0x1a0, 0x1801 | 1 << 22)); // limit CPUID maxval
    EXPECT_EQ(cpuid(m.cpu, 0, 0).eax, 2u);
    ASSERT_TRUE(write_msr(m.cpu, 0x1a0, 0)) << "what only tells is not written";
    u64 v = 0;
    ASSERT_TRUE(read_msr(m.cpu, 0x1a0, v));
    EXPECT_EQ(v, 0x41800u);
}

// ---- machine checks
constexpr u64 kValid = u64{1} << 63, kOver = u64{1} << 62, kUc = u64{1} << 61, kEn = u64{1} << 60;

u64 msr(SystemMachine& m, u32 number) {
    u64 v = 0;
    EXPECT_TRUE(read_msr(m.cpu, number, v));
    return v;
}

TEST(SystemMachineCheck, CorrectedErrorsAreOnlyLogged) {
    SystemMachine m;
    EXPECT_EQ(report_machine_check(m.cpu, {.bank = 2, .status = kValid | 0x11, .address = 0x1000}), "");
    EXPECT_FALSE(m.cpu.machine_check_pending);
    EXPECT_EQ(msr(m, 0x409), kValid | 0x11);
    EXPECT_EQ(msr(m, 0x40a), 0x1000u);
    EXPECT_EQ(report_machine_check(m.cpu, {.bank = 2, .status = kValid | 0x22}), "");
    EXPECT_EQ(msr(m, 0x409), kValid | kOver | 0x22) << "a second one overwrites, and says so (16.3.2.2.1)";
    EXPECT_TRUE(write_msr(m.cpu, 0x409, 0));
    EXPECT_EQ(msr(m, 0x409), 0u);
    EXPECT_NE(report_machine_check(m.cpu, {.bank = 2, .status = 0x11}), "");
    EXPECT_NE(report_machine_check(m.cpu, {.bank = 10, .status = kValid}), "");
}

TEST(SystemMachineCheck, UncorrectedErrorsRaise) {
    SystemMachine m;
    m.flat();
    m.idt_gate(kMC, 14, kCode0, kHandler);
    m.cpu.cr4 |= kCr4MCE;
    m.cpu.halted = true;
    const u64 status = kValid | kUc | kEn | 0x135;
    EXPECT_EQ(report_machine_check(m.cpu, {.bank = 9, .status = status, .mcg_status = 5, .address = 0xabc0}),
              "");
    ASSERT_TRUE(m.cpu.machine_check_pending);
    deliver_machine_check(m.cpu);
    EXPECT_EQ(m.cpu.exit, ir::Exit::None);
    EXPECT_EQ(m.cpu.rip, kHandler);
    EXPECT_FALSE(m.cpu.halted);
    EXPECT_EQ(m.get<u32>(m.cpu.gpr[4]), kCode) << "no error code";
    EXPECT_EQ(msr(m, 0x17a), 5u);
    EXPECT_EQ(msr(m, 0x425), status);
    EXPECT_EQ(msr(m, 0x426), 0xabc0u);
    // A second one before MCIP is cleared shuts the processor down (16.3.1.2).
    EXPECT_EQ(report_machine_check(m.cpu, {.bank = 1, .status = status}), "");
    deliver_machine_check(m.cpu);
    EXPECT_EQ(m.cpu.exit, ir::Exit::Shutdown);
}

TEST(SystemMachineCheck, WithoutMceItShutsDown) {
    SystemMachine m;
    m.flat();
    EXPECT_EQ(report_machine_check(m.cpu, {.status = kValid | kUc | kEn}), "");
    deliver_machine_check(m.cpu);
    EXPECT_EQ(m.cpu.exit, ir::Exit::Shutdown);
    SystemMachine off;
    ASSERT_TRUE(write_msr(off.cpu, 0x400, 0));
    EXPECT_NE(report_machine_check(off.cpu, {.status = kValid | kUc | kEn}), "");
    EXPECT_FALSE(off.cpu.machine_check_pending);
}

} // namespace
} // namespace dragoman::test
