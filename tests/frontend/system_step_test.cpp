// Single steps over the instructions that change TF themselves, and the trap of a task's T flag.
#include "system_machine.h"

namespace dragoman::test {
namespace {

constexpr u32 kDebugHandler = 0xa000;

class FastCallStep : public ::testing::Test {
  protected:
    FastCallStep() {
        m.long64();
        m.idt_gate64(kDB, kInterruptGate32, kDebugHandler);
        m.code(kDebugHandler, {0xf4});
        m.code(kHandler, {0x90, 0xf4});
        m.cpu.lstar = kHandler;
        m.cpu.star = u64{kCode64} << 32 | u64{0x4b} << 48;
        m.cpu.system_flags |= kTF;
    }
    u64 pushed_rip() { return m.get<u64>(m.cpu.gpr[4]); }
    SystemMachine m;
};

TEST_F(FastCallStep, SyscallThatMasksTfIsNotStepped) {
    m.cpu.sfmask = kTF;
    m.code(kCode, {0x0f, 0x05});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.rip, kHandler + 2);
}
TEST_F(FastCallStep, SyscallThatKeepsTfStepsIntoTheHandler) {
    m.code(kCode, {0x0f, 0x05});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.rip, kDebugHandler + 1);
    EXPECT_EQ(pushed_rip(), kHandler);
    EXPECT_TRUE(m.cpu.dr[6] & kDr6BS);
}
TEST_F(FastCallStep, SysretThatSetsTfTrapsAtOnce) {
    m.cpu.system_flags &= ~u32(kTF);
    m.cpu.gpr[1] = 0x8800;
    m.cpu.gpr[11] = kTF | 2;
    m.code(kCode, {0x48, 0x0f, 0x07});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.rip, kDebugHandler + 1);
    EXPECT_EQ(pushed_rip(), 0x8800u);
}
TEST_F(FastCallStep, IretThatSetsTfTrapsAfterTheNextInstruction) {
    m.cpu.system_flags &= ~u32(kTF);
    const u64 stack = kStack0 - 0x1000 - 40;
    const u64 frame[5] = {0x8800, kCode64, kTF | 2, kStack0 - 0x3000, kData0};
    for (unsigned i = 0; i < 5; ++i)
        m.put(stack + i * 8, frame[i]);
    m.cpu.gpr[4] = stack;
    m.code(kCode, {0x48, 0xcf});
    m.code(0x8800, {0x90, 0x90});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(pushed_rip(), 0x8801u);
}

void make_task(SystemMachine& m) {
    m.put<u32>(kTss2 + 0x20, 0x8800); // EIP
    m.put<u32>(kTss2 + 0x24, 2);
    m.put<u32>(kTss2 + 0x38, kStack0 - 0x4000); // ESP
    constexpr u16 selectors[6] = {kData0, kCode0, kData0, kData0, kData0, kData0};
    for (unsigned i = 0; i < 6; ++i)
        m.put<u16>(kTss2 + 0x48 + i * 4, selectors[i]);
    m.put<u16>(kTss2 + 0x64, 1); // T
    m.code(0x8800, {0x90, 0xf4});
    m.idt_gate(kDB, kInterruptGate32, kCode0, kDebugHandler);
    m.code(kDebugHandler, {0xf4});
}

TEST(TaskTrap, ComesBeforeTheFirstInstructionOfTheNewTask) {
    SystemMachine m;
    m.flat();
    make_task(m);
    m.code(kCode, {0xea, 0, 0, 0, 0, kTask2, 0}); // jmp kTask2:0
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.rip, kDebugHandler + 1);
    EXPECT_EQ(m.get<u32>(u32(m.cpu.gpr[4])), 0x8800u);
    EXPECT_EQ(m.cpu.dr[6] & 0xe00f, kDr6BT);
}
TEST(TaskTrap, AlsoThroughTheTaskGateOfAnInterrupt) {
    SystemMachine m;
    m.flat();
    make_task(m);
    m.idt_gate(0x30, kTaskGate, kTask2, 0);
    m.code(kCode, {0xcd, 0x30});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.get<u32>(u32(m.cpu.gpr[4])), 0x8800u);
    EXPECT_EQ(m.cpu.dr[6] & 0xe00f, kDr6BT);
}
TEST(TaskTrap, LocalBreakpointsEndWithTheTask) {
    SystemMachine m;
    m.flat();
    make_task(m);
    m.put<u16>(kTss2 + 0x64, 0);
    m.cpu.dr[7] |= 0x3ff;
    const u32 version = m.cpu.debug_version;
    m.code(kCode, {0xea, 0, 0, 0, 0, kTask2, 0});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.dr[7] & 0x3ff, 0x2aau);
    EXPECT_NE(m.cpu.debug_version, version);
}

} // namespace
} // namespace dragoman::test
