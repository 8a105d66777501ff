// System management mode as the processor keeps it: what tests/baremetal/cases_smm.py cannot time.
#include "system_machine.h"

#include "frontend/x86/smm.h"

namespace dragoman::test {
namespace {

constexpr u32 kArea = 0x30000; // SMBASE after reset

TEST(SystemManagement, HaltIsTakenUpAgain) {
    for (const bool again : {true, false}) {
        SystemMachine m;
        m.flat();
        m.cpu.halted = true;
        enter_smm(m.cpu);
        EXPECT_FALSE(m.cpu.halted);
        EXPECT_EQ(m.get<u8>(kArea + 0xfec9), 1);
        if (!again) m.put<u8>(kArea + 0xfec9, 0);
        leave_smm(m.cpu);
        EXPECT_EQ(m.cpu.halted, again);
        EXPECT_EQ(m.cpu.exit, again ? ir::Exit::Halt : ir::Exit::Event);
        EXPECT_EQ(m.cpu.rip, kCode);
    }
}

// NMIs wait for RSM, or for an IRET in the handler; RSM brings back whether they were held off before.
TEST(SystemManagement, NmisWait) {
    for (const bool blocked : {false, true}) {
        SystemMachine m;
        m.flat();
        m.cpu.nmi_blocked = blocked;
        enter_smm(m.cpu);
        EXPECT_TRUE(m.cpu.nmi_blocked);
        m.cpu.nmi_blocked = false; // IRET
        leave_smm(m.cpu);
        EXPECT_EQ(m.cpu.nmi_blocked, blocked);
    }
}

TEST(SystemManagement, ShadowedInterruptStateIsKept) {
    SystemMachine m;
    m.long64_user();
    m.cpu.set_eflags(2 | kIF | kIOPL | kID | ir::kCF);
    const u64 cr0 = m.cpu.cr0, cr4 = m.cpu.cr4;
    enter_smm(m.cpu);
    EXPECT_EQ(m.cpu.eflags(), 2u);
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_FALSE(m.cpu.long_mode());
    EXPECT_EQ(m.cpu.seg[1].base, kArea);
    EXPECT_EQ(m.cpu.rip, 0x8000u);
    leave_smm(m.cpu);
    EXPECT_EQ(m.cpu.eflags(), 2 | kIF | kIOPL | kID | ir::kCF);
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_TRUE(m.cpu.code64());
    EXPECT_EQ(m.cpu.cr0, cr0);
    EXPECT_EQ(m.cpu.cr4, cr4);
    EXPECT_EQ(m.cpu.seg[1].selector, kCode64User);
}

// Whatever the area holds, RSM ends in a state or in shutdown.
TEST(SystemManagement, AnyAreaIsSurvived) {
    u64 state = 12345;
    for (unsigned i = 0; i < 700; ++i) {
        SystemMachine m;
        m.flat();
        enter_smm(m.cpu);
        for (u32 at = 0xfe00; at < 0x10000; at += 8) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            const bool control = at >= 0xff48 && at < 0xff60;
            if (at != 0xfed0 && !(control && i % 4)) m.put<u64>(kArea + at, state ^ state >> 29);
        }
        leave_smm(m.cpu);
        EXPECT_TRUE(m.cpu.exit == ir::Exit::Shutdown || !m.cpu.smm) << "area " << i;
        if (m.cpu.exit != ir::Exit::Shutdown) m.run(2);
    }
}

} // namespace
} // namespace dragoman::test
