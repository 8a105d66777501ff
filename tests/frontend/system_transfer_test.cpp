// Segment loads, far transfers, gates and tasks.
#include "system_machine.h"

namespace dragoman::test {
namespace {

struct SegmentCase {
    ir::Seg seg;
    u16 selector;
    int vector; // -1: loads
    u32 error;
};

TEST(SystemSegments, ChecksOfLoads) {
    using ir::Seg;
    const SegmentCase cases[] = {
        {Seg::DS, kData0, -1, 0},
        {Seg::DS, kData3, -1, 0},
        {Seg::DS, 0, -1, 0},
        {Seg::ES, 3, -1, 0},
        {Seg::DS, kReadOnly, -1, 0},
        {Seg::DS, kConforming, -1, 0},
        {Seg::DS, kCode0, -1, 0},
        {Seg::DS, kExecOnly, kGP, kExecOnly},
        {Seg::DS, kTask, kGP, kTask},
        {Seg::DS, kAbsent, kNP, kAbsent},
        {Seg::DS, kData0 | 3, kGP, kData0},
        {Seg::DS, 0x7f8, kGP, 0x7f8},
        {Seg::DS, kData0 | 4, kGP, kData0 | 4}, // no LDT
        {Seg::SS, kData0, -1, 0},
        {Seg::SS, 0, kGP, 0},
        {Seg::SS, kData3, kGP, kData3 & 0xfffc},
        {Seg::SS, kReadOnly, kGP, kReadOnly},
        {Seg::SS, kCode0, kGP, kCode0},
        {Seg::SS, kAbsent, kSS, kAbsent},
        {Seg::SS, kData0 | 1, kGP, kData0},
    };
    for (const SegmentCase& c : cases) {
        SCOPED_TRACE(testing::Message()
                     << "segment " << unsigned(c.seg) << " selector " << std::hex << c.selector);
        SystemMachine m;
        m.flat();
        const ir::Segment before = m.cpu.seg[unsigned(c.seg)];
        const bool ok = load_segment(m.cpu, c.seg, c.selector);
        EXPECT_EQ(ok, c.vector < 0);
        const ir::Segment& after = m.cpu.seg[unsigned(c.seg)];
        if (ok) {
            EXPECT_EQ(after.selector, c.selector);
            EXPECT_EQ(bool(after.attributes & kSegP), (c.selector & 0xfffc) != 0);
            if (c.selector & 0xfffc) {
                EXPECT_TRUE(bit(m.get<u8>(kGdt + (c.selector & 0xfff8) + 5), 0)) << "accessed";
            }
        } else {
            EXPECT_TRUE(faulted(m.cpu, unsigned(c.vector), c.error));
            EXPECT_EQ(after.selector, before.selector);
        }
    }
}

TEST(SystemSegments, LimitsAndLdt) {
    SystemMachine m;
    m.flat();
    m.put<u64>(kLdtAt + 8, SystemMachine::segment(0x1234, 0xff, 0x12, 0, 4));
    ASSERT_TRUE(load_ldtr(m.cpu, kLdtSel));
    ASSERT_TRUE(load_segment(m.cpu, ir::Seg::FS, 0x0c));
    EXPECT_EQ(m.cpu.seg[4].base, 0x1234u);
    EXPECT_EQ(m.cpu.seg[4].limit, 0xffu);
    EXPECT_EQ(m.cpu.seg[1].limit, 0xffffffffu) << "granularity";
    EXPECT_FALSE(load_ldtr(m.cpu, kTask2));
    EXPECT_TRUE(faulted(m.cpu, kGP, kTask2));
    EXPECT_FALSE(load_tr(m.cpu, kTask)) << "busy";
    EXPECT_TRUE(faulted(m.cpu, kGP, kTask));
    const ir::Segment down{.base = 0,
                           .limit = 0xfff,
                           .selector = 0,
                           .attributes = kSegP | kSegS | kSegWritable | kSegExpandDown | kSegDB};
    EXPECT_FALSE(inside_limit(down, 0xfff, 1));
    EXPECT_TRUE(inside_limit(down, 0x1000, 4));
    EXPECT_TRUE(inside_limit(down, 0xfffffffc, 4));
    EXPECT_FALSE(inside_limit(down, 0xfffffffd, 4));
}

TEST(SystemSegments, LongMode) {
    SystemMachine m;
    m.long64();
    EXPECT_TRUE(load_segment(m.cpu, ir::Seg::SS, 0)) << "null SS at CPL 0 of 64-bit mode";
    m.cpu.seg[4].base = 0x123456789000;
    EXPECT_TRUE(load_segment(m.cpu, ir::Seg::FS, 0));
    EXPECT_EQ(m.cpu.seg[4].base, 0u);
    SystemMachine u;
    u.long64_user();
    EXPECT_FALSE(load_segment(u.cpu, ir::Seg::SS, 0));
    EXPECT_TRUE(faulted(u.cpu, kGP, 0));
}

TEST(SystemFar, JumpsToCode) {
    SystemMachine m;
    m.flat();
    EXPECT_TRUE(far_jump(m.cpu, kCode0, kHandler, 4, 0));
    EXPECT_EQ(m.cpu.rip, kHandler);
    EXPECT_TRUE(far_jump(m.cpu, kConforming | 3, kHandler, 4, 0));
    EXPECT_EQ(m.cpu.seg[1].selector, kConforming) << "RPL is the CPL";
    EXPECT_FALSE(far_jump(m.cpu, kCode3, kHandler, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kGP, kCode3 & 0xfffc));
    EXPECT_FALSE(far_jump(m.cpu, 0, kHandler, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
    EXPECT_FALSE(far_jump(m.cpu, kData0, kHandler, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kGP, kData0));
}

TEST(SystemFar, CallGateToRing0WithParametersAndBack) {
    SystemMachine m;
    m.flat_user();
    m.descriptor(kGateSel, SystemMachine::gate(kCallGate32, kCode0, kHandler, 3, 2));
    m.cpu.gpr[4] = kStack3 - 8;
    m.put<u32>(kStack3 - 8, 0xaaaa);
    m.put<u32>(kStack3 - 4, 0xbbbb);
    m.code(kCode, {0x9a, 0, 0, 0, 0, kGateSel | 3, 0, 0xfa}); // call far gate; cli (#GP)
    m.code(kHandler, {0x8b, 0x44, 0x24, 8, 0xca, 8, 0});      // mov eax, [esp+8]; retf 8
    m.idt_gate(kGP, kInterruptGate32, kCode0, kHandler + 0x100);
    m.code(kHandler + 0x100, {0xf4});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[0], 0xaaaau);
    EXPECT_EQ(m.get<u32>(kStack0 - 20), kCode + 7) << "the CLI after the call";
    EXPECT_EQ(m.get<u32>(kStack0 - 16), kCode3);
    EXPECT_EQ(m.get<u32>(kStack0 - 8), kStack3) << "parameters released on both stacks";
}

TEST(SystemFar, CallGateChecks) {
    SystemMachine m;
    m.flat_user();
    m.descriptor(kGateSel, SystemMachine::gate(kCallGate32, kCode0, kHandler, 0));
    EXPECT_FALSE(far_call(m.cpu, kGateSel | 3, 0, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kGP, kGateSel)) << "gate DPL";
    m.descriptor(kGateSel, SystemMachine::gate(kCallGate32, kCode0, kHandler, 3));
    EXPECT_FALSE(far_jump(m.cpu, kGateSel | 3, 0, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kGP, kCode0)) << "JMP does not change the level";
    m.cpu.tr.limit = 8;
    EXPECT_FALSE(far_call(m.cpu, kGateSel | 3, 0, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kTS, kTask));
    EXPECT_EQ(m.cpu.gpr[4], kStack3);
}

TEST(SystemFar, LongModeCallGate) {
    SystemMachine m;
    m.long64_user();
    m.descriptor(kGateSel, SystemMachine::gate(kCallGate32, kCode64, kHandler, 3));
    m.put<u64>(kGdt + kGateSel + 8, 0);
    ASSERT_TRUE(far_call(m.cpu, kGateSel | 3, 0, 4, kCode + 9));
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.rip, kHandler);
    EXPECT_EQ(m.get<u64>(kStack0 - 8), kData3);
    EXPECT_EQ(m.get<u64>(kStack0 - 32), kCode + 9u);
    ASSERT_TRUE(far_return(m.cpu, 8, 0));
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.gpr[4], kStack3);
}

TEST(SystemFar, RealModeWrapsTheStack) {
    SystemMachine m;
    m.cpu.seg[1].base = kCode;
    m.cpu.seg[1].selector = kCode >> 4;
    m.cpu.seg[2].base = kStack3;
    m.cpu.gpr[4] = 2;
    ASSERT_TRUE(far_call(m.cpu, kHandler >> 4, 0x10, 2, 5));
    EXPECT_EQ(m.get<u16>(kStack3), kCode >> 4);
    EXPECT_EQ(m.get<u16>(kStack3 + 0xfffe), 5);
    EXPECT_EQ(m.cpu.gpr[4], 0xfffeu);
    ASSERT_TRUE(far_return(m.cpu, 2, 0));
    EXPECT_EQ(m.cpu.gpr[4], 2u);
    EXPECT_EQ(m.cpu.rip, 5u);
    m.cpu.gpr[4] = 1;
    EXPECT_FALSE(far_call(m.cpu, kHandler >> 4, 0x10, 2, 5)) << "a word across the end of the segment";
    EXPECT_TRUE(faulted(m.cpu, kSS, 0));
}

// What a code segment of protected mode left behind is writable after the far jump to real mode.
TEST(SystemFar, RealModeWritesThroughCs) {
    SystemMachine m;
    m.cpu.seg[1].attributes = kSegP | kSegS | kSegCode | kSegReadable | kSegG;
    m.cpu.seg[1].limit = 0xffffffff;
    m.cpu.seg[3].attributes = kSegP | kSegS | kSegExpandDown;
    m.code(kCode, {0xea, 0x10, 0x00, 0x00, 0x08}); // jmp 0x800:0x10
    m.code(kCode + 0x10,
           {0x31, 0xc0, 0x8e, 0xd8, 0x2e, 0xc6, 0x06, 0x40, 0x00, 0x5a, // mov byte cs:[0x40], 0x5a
            0xa2, 0x00, 0x07, 0xf4});                                   // mov [0x700], al; hlt
    m.cpu.seg[1].base = kCode;
    m.cpu.seg[1].selector = kCode >> 4;
    m.cpu.rip = 0;
    m.put<u8>(0x700, 1);
    EXPECT_EQ(m.run(50, false), ir::Exit::Halt);
    EXPECT_EQ(m.get<u8>(kCode + 0x40), 0x5a);
    EXPECT_EQ(m.get<u8>(0x700), 0);
    EXPECT_EQ(m.cpu.seg[1].limit, 0xffffffffu) << "real mode keeps the limit";
}

// ---- tasks
void make_task(SystemMachine& m) {
    m.put<u32>(kTss2 + 0x20, kHandler);
    m.put<u32>(kTss2 + 0x24, 2 | ir::kCF);
    m.put<u32>(kTss2 + 0x28, 0x1111); // EAX
    m.put<u32>(kTss2 + 0x38, kStack3);
    constexpr u16 selectors[6] = {kData0, kCode0, kData0, kData0, 0, 0};
    for (unsigned i = 0; i < 6; ++i)
        m.put<u16>(kTss2 + 0x48 + i * 4, selectors[i]);
}

TEST(SystemTask, CallAndReturn) {
    SystemMachine m;
    m.flat();
    make_task(m);
    m.cpu.gpr[0] = 0x2222;
    m.code(kCode, {0x9a, 0, 0, 0, 0, kTask2, 0, 0xf4}); // call far TSS; hlt
    m.code(kHandler, {0x89, 0xc3, 0xcf});               // mov ebx, eax; iret
    EXPECT_EQ(m.run(2), ir::Exit::Lookup);
    EXPECT_EQ(m.cpu.rip, kCode + 7u) << "back in the first task";
    EXPECT_EQ(m.cpu.gpr[0], 0x2222u);
    EXPECT_EQ(m.cpu.tr.selector, kTask);
    EXPECT_EQ(m.get<u32>(kTss2 + 0x34), 0x1111u) << "EBX saved in the second";
    EXPECT_EQ(m.get<u16>(kTss2), kTask) << "link";
    EXPECT_TRUE(m.cpu.cr0 & kCr0TS);
    EXPECT_EQ(m.get<u8>(kGdt + kTask + 5) & 0xf, kTss32Busy);
    EXPECT_EQ(m.get<u8>(kGdt + kTask2 + 5) & 0xf, kTss32);
    EXPECT_FALSE(m.cpu.system_flags & kNT);
    EXPECT_FALSE(m.get<u32>(kTss2 + 0x24) & kNT) << "IRET clears NT in the image";
}

TEST(SystemTask, JumpThroughATaskGate) {
    SystemMachine m;
    m.flat();
    make_task(m);
    m.descriptor(kTaskGateSel, SystemMachine::gate(kTaskGate, kTask2, 0, 0));
    ASSERT_TRUE(far_jump(m.cpu, kTaskGateSel, 0, 4, kCode + 7));
    EXPECT_EQ(m.cpu.rip, kHandler);
    EXPECT_EQ(m.cpu.eflags(), 2u | ir::kCF);
    EXPECT_EQ(m.get<u32>(kTss + 0x20), kCode + 7u);
    EXPECT_EQ(m.get<u8>(kGdt + kTask + 5) & 0xf, kTss32) << "JMP frees the old task";
    EXPECT_EQ(m.get<u8>(kGdt + kTask2 + 5) & 0xf, kTss32Busy);
    EXPECT_EQ(m.cpu.seg[4].selector, 0);
}

TEST(SystemTask, InterruptTaskGatePushesTheError) {
    SystemMachine m;
    m.flat();
    make_task(m);
    m.put(kIdt + kTS * 8, SystemMachine::gate(kTaskGate, kTask2, 0, 0));
    raise(m.cpu, kTS, 0x5678);
    deliver_fault(m.cpu);
    ASSERT_EQ(m.cpu.exit, ir::Exit::None);
    EXPECT_EQ(m.cpu.gpr[4], kStack3 - 4u);
    EXPECT_EQ(m.get<u32>(kStack3 - 4), 0x5678u);
    EXPECT_TRUE(m.cpu.system_flags & kNT);
    EXPECT_TRUE(m.get<u32>(kTss + 0x24) & kRF);
}

TEST(SystemTask, Faults) {
    SystemMachine m;
    m.flat();
    make_task(m);
    EXPECT_FALSE(far_jump(m.cpu, kTask, 0, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kGP, kTask)) << "busy";
    m.descriptor(kTask2, SystemMachine::segment(kTss2, 0x66, kTss32, 0, 0));
    EXPECT_FALSE(far_jump(m.cpu, kTask2, 0, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kTS, kTask2)) << "limit";
    EXPECT_EQ(m.cpu.tr.selector, kTask);
    m.descriptor(kTask2, SystemMachine::segment(kTss2, 0x67, kTss32, 0, 0));
    m.put<u16>(kTss2 + 0x50, kReadOnly); // SS
    EXPECT_FALSE(far_jump(m.cpu, kTask2, 0, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kTS, kReadOnly));
    EXPECT_EQ(m.cpu.tr.selector, kTask2) << "the fault is the new task's";
    EXPECT_EQ(m.cpu.rip, kHandler);
    m.cpu.system_flags |= kNT;
    m.put<u16>(kTss2, kTask16);
    EXPECT_FALSE(interrupt_return(m.cpu, 4, 0));
    EXPECT_TRUE(faulted(m.cpu, kTS, kTask16)) << "IRET to a task that is not busy";
}

TEST(SystemTask, SixteenBit) {
    SystemMachine m;
    m.flat();
    m.put<u16>(kTss2 + 0x0e, 0x9000);
    m.put<u16>(kTss2 + 0x10, 2);
    m.put<u16>(kTss2 + 0x12, 0x4444);
    m.put<u16>(kTss2 + 0x1a, 0x2000); // SP
    constexpr u16 selectors[4] = {kData0, kCode0, kSmallStack, kData0};
    for (unsigned i = 0; i < 4; ++i)
        m.put<u16>(kTss2 + 0x22 + i * 2, selectors[i]);
    ASSERT_TRUE(far_call(m.cpu, kTask16, 0, 4, kCode + 7));
    EXPECT_EQ(m.cpu.rip, 0x9000u);
    EXPECT_EQ(m.cpu.gpr[0] & 0xffff, 0x4444u);
    EXPECT_EQ(current_mode(m.cpu).stack_bits, 16);
    ASSERT_TRUE(interrupt_return(m.cpu, 4, 0x9002));
    EXPECT_EQ(m.cpu.rip, kCode + 7u);
    EXPECT_EQ(m.get<u16>(kTss2 + 0x0e), 0x9002);
}

// ---- fast system calls
TEST(SystemCall, SyscallAndSysret) {
    SystemMachine m;
    m.long64_user();
    m.cpu.star = u64{0x53} << 48 | u64{kCode64} << 32; // SYSRET: 0x63 and 0x5b
    m.cpu.lstar = kHandler;
    m.cpu.sfmask = kIF | kTF | kDF;
    m.cpu.set_eflags(2 | kIF | ir::kCF);
    m.code(kCode, {0x0f, 0x05, 0xf4}); // syscall; hlt (#GP)
    m.code(kHandler,
           {0x48, 0x89, 0xe3, 0x9c, 0x58, 0x48, 0x0f, 0x07}); // mov rbx, rsp; pushfq; pop rax; sysretq
    m.idt_gate64(kGP, kInterruptGate32, kHandler + 0x100);
    m.code(kHandler + 0x100, {0xf4});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[0], 2u | ir::kCF) << "RFLAGS masked by IA32_FMASK";
    EXPECT_EQ(m.cpu.gpr[3], kStack3);
    EXPECT_EQ(m.cpu.gpr[1], kCode + 2u);
    EXPECT_EQ(m.get<u64>(kStack0 - 40), kCode + 2u);
    EXPECT_EQ(m.get<u64>(kStack0 - 32), 0x63u);
    EXPECT_EQ(m.get<u64>(kStack0 - 8), 0x5bu);
    EXPECT_TRUE(m.get<u64>(kStack0 - 24) & kIF);
    m.cpu.exit = ir::Exit::None;
    m.cpu.gpr[1] = u64{1} << 47;
    EXPECT_FALSE(sysret(m.cpu, 8));
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
    m.cpu.efer &= ~u64{kEferSCE};
    EXPECT_FALSE(syscall(m.cpu, 0));
    EXPECT_TRUE(faulted(m.cpu, kUD, 0));
}

TEST(SystemCall, SysenterAndSysexit) {
    SystemMachine m;
    m.flat_user();
    EXPECT_FALSE(sysenter(m.cpu));
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
    m.cpu.sysenter_cs = kCode0;
    m.cpu.sysenter_esp = 0x7000;
    m.cpu.sysenter_eip = kHandler;
    m.cpu.set_eflags(2 | kIF);
    ASSERT_TRUE(sysenter(m.cpu));
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_EQ(m.cpu.interrupt_flag, 0);
    EXPECT_EQ(m.cpu.seg[2].selector, kData0);
    m.cpu.gpr[1] = kStack3;
    m.cpu.gpr[2] = kCode;
    ASSERT_TRUE(sysexit(m.cpu, 4));
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.seg[1].selector, kCode3);
    EXPECT_EQ(m.cpu.seg[2].selector, kData3);
    EXPECT_EQ(m.cpu.gpr[4], kStack3);
}

// ---- the same on AMD's processors (APM vol. 3, SYSCALL, SYSRET, SYSENTER, SYSEXIT; vol. 2, 6.1)
constexpr const char* kAmdModels[] = {"EPYC", "phenom", "Dhyana", "max,vendor=AuthenticAMD"};

// From 32-bit code of long mode to CSTAR, and back by a 32-bit SYSRET.
TEST(SystemCallAmd, SyscallInCompatibilityMode) {
    for (const char* model : kAmdModels) {
        SCOPED_TRACE(model);
        SystemMachine m(model);
        m.long64_user();
        ASSERT_TRUE(load_segment(m.cpu, ir::Seg::SS, kData3));
        m.descriptor(0x50, SystemMachine::segment(0, 0xfffff, 0xb, 3, 0xc));
        m.cpu.seg[1] = m.cpu.seg[2];
        m.cpu.seg[1].selector = 0x53;
        m.cpu.seg[1].attributes =
            u16(kSegG | kSegP | 3 << 5 | kSegS | kSegAccessed | kSegCode | kSegReadable | kSegDB);
        m.cpu.star = u64{0x53} << 48 | u64{kCode64} << 32 | 0x1111;
        m.cpu.lstar = 0x1111;
        m.cpu.cstar = kHandler;
        m.cpu.sfmask = kIF;
        m.cpu.set_eflags(2 | kIF | ir::kCF);
        const u64 stack = m.cpu.gpr[4];
        m.code(kCode, {0x0f, 0x05, 0x54, 0xf4});    // syscall; push esp; hlt (#GP)
        m.code(kHandler, {0x9c, 0x58, 0x0f, 0x07}); // pushfq; pop rax; sysretl
        m.idt_gate64(kGP, kInterruptGate32, kHandler + 0x100);
        m.code(kHandler + 0x100, {0xf4});
        ASSERT_EQ(m.run(), ir::Exit::Halt);
        EXPECT_EQ(m.cpu.gpr[0], 2u | ir::kCF) << "RFLAGS masked by SFMASK, in 64-bit code";
        EXPECT_EQ(m.cpu.gpr[1], kCode + 2u);
        EXPECT_EQ(m.get<u32>(stack - 4), u32(stack)) << "32-bit code again";
        EXPECT_EQ(m.get<u64>(kStack0 - 40), kCode + 3u);
        EXPECT_EQ(m.get<u64>(kStack0 - 32), 0x53u);
        EXPECT_EQ(m.get<u64>(kStack0 - 8), 0x5bu);
        EXPECT_TRUE(m.get<u64>(kStack0 - 24) & kIF) << "from R11";
    }
}

// In legacy mode the target is STAR[31:0]; IF is cleared on the way in and set on the way out, R11 is not
// there.
TEST(SystemCallAmd, SyscallInLegacyMode) {
    for (const char* model : kAmdModels) {
        SCOPED_TRACE(model);
        SystemMachine m(model);
        m.flat_user();
        m.cpu.efer |= kEferSCE;
        m.cpu.star = u64{0x13} << 48 | u64{kCode0} << 32 | kHandler; // SYSRET: 0x13 and 0x1b
        m.cpu.sfmask = ir::kCF;
        m.cpu.lstar = m.cpu.cstar = 0x1111;
        m.cpu.gpr[11] = 0x1234;
        m.cpu.set_eflags(2 | kIF | ir::kCF);
        m.code(kCode, {0x0f, 0x05, 0xf4}); // syscall
        m.run(1);
        EXPECT_EQ(m.cpu.rip, kHandler);
        EXPECT_EQ(m.cpu.cpl, 0);
        EXPECT_EQ(m.cpu.gpr[1], kCode + 2u);
        EXPECT_EQ(m.cpu.gpr[11], 0x1234u);
        EXPECT_EQ(m.cpu.eflags(), 2u | ir::kCF);
        EXPECT_EQ(m.cpu.seg[1].selector, kCode0);
        EXPECT_EQ(m.cpu.seg[2].selector, kData0);
        m.code(kHandler, {0x0f, 0x07}); // sysret
        m.run(1);
        EXPECT_EQ(m.cpu.rip, kCode + 2u);
        EXPECT_EQ(m.cpu.cpl, 3);
        EXPECT_EQ(m.cpu.seg[1].selector, 0x13);
        EXPECT_EQ(m.cpu.eflags(), 2u | ir::kCF | kIF);
        EXPECT_FALSE(sysret(m.cpu, 4));
        EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << "above CPL 0";
        m.cpu.efer &= ~u64{kEferSCE};
        EXPECT_FALSE(syscall(m.cpu, 0));
        EXPECT_TRUE(faulted(m.cpu, kUD, 0));
    }
}

// SYSCALL asks for no protected mode, SYSRET does.
TEST(SystemCallAmd, SyscallInOtherModes) {
    for (const bool v86 : {true, false}) {
        SystemMachine m("EPYC");
        if (v86) m.v86(3);
        m.cpu.efer |= kEferSCE;
        m.cpu.star = u64{kCode0} << 32 | kHandler;
        EXPECT_FALSE(sysret(m.cpu, 4));
        EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << v86;
        m.cpu.exit = ir::Exit::None;
        ASSERT_TRUE(syscall(m.cpu, 0x1234)) << v86;
        EXPECT_EQ(m.cpu.rip, kHandler);
        EXPECT_EQ(m.cpu.gpr[1], 0x1234u);
        EXPECT_EQ(m.cpu.cpl, 0);
        EXPECT_FALSE(m.cpu.v86());
        EXPECT_EQ(m.cpu.seg[1].selector, kCode0);
    }
}

// "SS base, limit, attributes unchanged", its selector as STAR has it; an RCX that is not canonical faults
// where it leads.
TEST(SystemCallAmd, SysretLeavesTheStackSegment) {
    for (const bool amd : {true, false}) {
        SystemMachine m(amd ? "EPYC" : "max");
        m.long64();
        m.cpu.star = u64{0x50} << 48;
        m.cpu.seg[2] = null_segment(0);
        m.cpu.gpr[1] = kCode;
        ASSERT_TRUE(sysret(m.cpu, 4));
        EXPECT_EQ(m.cpu.cpl, 3);
        EXPECT_EQ(m.cpu.seg[1].selector, 0x53);
        EXPECT_EQ(m.cpu.seg[2].selector, amd ? 0x58 : 0x5b);
        EXPECT_EQ(bool(m.cpu.seg[2].attributes & kSegP), !amd);
        EXPECT_EQ(m.cpu.seg[2].limit, amd ? 0u : 0xffffffffu);
        SystemMachine far(amd ? "EPYC" : "max");
        far.long64();
        far.cpu.gpr[1] = u64{1} << 47;
        EXPECT_EQ(sysret(far.cpu, 8), amd);
        EXPECT_EQ(far.cpu.cpl, amd ? 3 : 0);
    }
}

// SYSENTER and SYSEXIT: not in long mode, neither in 64-bit nor in 32-bit code.
TEST(SystemCallAmd, SysenterIsOfLegacyModeAlone) {
    for (const char* model : kAmdModels) {
        SCOPED_TRACE(model);
        SystemMachine m(model);
        m.long64();
        m.cpu.sysenter_cs = kCode0;
        m.cpu.sysenter_eip = kHandler;
        EXPECT_FALSE(sysenter(m.cpu));
        EXPECT_TRUE(faulted(m.cpu, kUD, 0));
        EXPECT_FALSE(sysexit(m.cpu, 8));
        EXPECT_TRUE(faulted(m.cpu, kUD, 0));
        m.cpu.seg[1].attributes = u16((m.cpu.seg[1].attributes & ~kSegL) | kSegDB);
        EXPECT_FALSE(sysenter(m.cpu));
        EXPECT_TRUE(faulted(m.cpu, kUD, 0));
        SystemMachine legacy(model);
        legacy.flat_user();
        legacy.cpu.sysenter_cs = kCode0;
        legacy.cpu.sysenter_eip = kHandler;
        EXPECT_TRUE(sysenter(legacy.cpu));
        EXPECT_EQ(legacy.cpu.rip, kHandler);
    }
    SystemMachine intel;
    intel.long64_user();
    intel.cpu.sysenter_cs = kCode64;
    intel.cpu.sysenter_eip = kHandler;
    EXPECT_TRUE(sysenter(intel.cpu));
}

// SYSCALL outside 64-bit mode is AMD's alone (SDM vol. 2, SYSCALL).
TEST(SystemCallAmd, IntelHasNoLegacySyscall) {
    SystemMachine m;
    m.flat();
    m.cpu.efer |= kEferSCE;
    for (const int opcode : {0x05, 0x07}) {
        m.cpu.rip = kCode;
        m.code(kCode, {0x0f, opcode});
        m.run(1, false);
        EXPECT_TRUE(faulted(m.cpu, kUD, 0)) << opcode;
        m.cpu.exit = ir::Exit::None;
    }
}

} // namespace
} // namespace dragoman::test
