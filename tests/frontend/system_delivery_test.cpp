// Exceptions, interrupts and their returns, in every mode.
#include "system_machine.h"

namespace dragoman::test {
namespace {

TEST(SystemReset, IsTheStateOfTheManual) {
    SystemMachine m;
    EXPECT_EQ(m.cpu.seg[1].selector, 0xf000);
    EXPECT_EQ(m.cpu.seg[1].base, 0xffff0000u);
    EXPECT_EQ(m.cpu.rip, 0xfff0u);
    EXPECT_EQ(m.cpu.cr0, 0x60000010u);
    EXPECT_EQ(m.cpu.eflags(), 2u);
    EXPECT_EQ(m.cpu.dr[6], 0xffff0ff0u);
    EXPECT_EQ(m.cpu.dr[7], 0x400u);
    EXPECT_EQ(m.cpu.gpr[2], cpuid(m.cpu, 1, 0).eax);
    EXPECT_EQ(m.cpu.tsc_offset + m.platform.tsc, 0u);
    m.flat_user();
    m.cpu.cr4 = 0;
    reset(m.cpu);
    EXPECT_EQ(m.cpu.cpl, 0);
    EXPECT_TRUE(m.cpu.real_mode());
    EXPECT_EQ(m.cpu.platform, &m.platform);
}

TEST(SystemFlags, EflagsIsComposedAndSplit) {
    SystemMachine m;
    const u32 all = ir::kAllFlags | kTF | kIF | kDF | kIOPL | kNT | kAC | kVIF | kVIP | kID | 2;
    m.cpu.set_eflags(all);
    EXPECT_EQ(m.cpu.eflags(), all);
    EXPECT_EQ(m.cpu.interrupt_flag, 1);
    m.cpu.set_eflags(0xffffffff & ~u32(kVM | kRF));
    EXPECT_EQ(m.cpu.eflags(), all);
    m.cpu.set_eflags(0);
    EXPECT_EQ(m.cpu.eflags(), 2u);
    m.cpu.interrupt_line = 1;
    EXPECT_EQ(m.cpu.poll, 0u);
    m.cpu.set_eflags(kIF);
    EXPECT_EQ(m.cpu.poll, 1u);
}

TEST(SystemMode, PackIsReversible) {
    for (u32 v = 0; v < 1u << 22; v += 1237) {
        const Mode a = unpack(v);
        if ((v & 3) == 3 || (v >> 2 & 3) == 3) continue; // no such width
        ASSERT_EQ(pack(a), v);
    }
    SystemMachine m;
    m.flat();
    const Mode mode = current_mode(m.cpu);
    EXPECT_EQ(mode.code_bits, 32);
    EXPECT_TRUE(mode.flat[0] && mode.flat[1] && mode.flat[2] && mode.flat[3] && mode.fs_gs_flat[0]);
    update_key(m.cpu);
    EXPECT_EQ(m.cpu.key, pack(mode)) << "a flat code segment has number 0";
}

TEST(SystemReal, InterruptThroughTheVectorTable) {
    SystemMachine m;
    m.cpu.seg[1].base = kCode;
    m.cpu.seg[1].selector = kCode >> 4;
    m.cpu.rip = 0;
    m.cpu.gpr[4] = 0x7000;
    m.cpu.set_eflags(2 | kIF | ir::kCF);
    m.put<u32>(0x21 * 4, u32(kHandler >> 4) << 16 | 5);
    m.code(kCode, {0xcd, 0x21, 0xf4});              // int 0x21; hlt
    m.code(kHandler + 5, {0xb8, 0x34, 0x12, 0xcf}); // mov ax, 0x1234; iret
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[0] & 0xffff, 0x1234u);
    EXPECT_EQ(m.cpu.seg[1].selector, kCode >> 4);
    EXPECT_EQ(m.cpu.gpr[4], 0x7000u);
    EXPECT_EQ(m.get<u16>(0x6ffe), 2 | kIF | ir::kCF) << "the image of FLAGS";
    EXPECT_EQ(m.get<u16>(0x6ffa), 2) << "the return IP";
    EXPECT_EQ(m.cpu.eflags(), 2u | kIF | ir::kCF);
}

TEST(SystemReal, VectorBeyondTheLimitShutsDown) {
    SystemMachine m;
    m.cpu.idtr.limit = 3;
    raise(m.cpu, kUD);
    deliver_fault(m.cpu);
    EXPECT_EQ(m.cpu.exit, ir::Exit::Shutdown);
    EXPECT_STRNE(m.cpu.shutdown_why, "");
}

TEST(SystemProtected, FaultAtTheSameLevel) {
    SystemMachine m;
    m.flat();
    m.idt_gate(kGP, kInterruptGate32, kCode0, kHandler);
    m.cpu.set_eflags(2 | kIF | kNT | kTF);
    const u64 sp = m.cpu.gpr[4];
    raise(m.cpu, kGP, 0x1234);
    deliver_fault(m.cpu);
    ASSERT_EQ(m.cpu.exit, ir::Exit::None);
    EXPECT_EQ(m.cpu.rip, kHandler);
    EXPECT_EQ(m.cpu.gpr[4], sp - 16);
    EXPECT_EQ(m.get<u32>(sp - 16), 0x1234u);
    EXPECT_EQ(m.get<u32>(sp - 12), kCode);
    EXPECT_EQ(m.get<u32>(sp - 8), kCode0);
    EXPECT_EQ(m.get<u32>(sp - 4), 2u | kIF | kNT | kTF | kRF);
    EXPECT_EQ(m.cpu.eflags(), 2u);
}

TEST(SystemProtected, TrapGateKeepsIf) {
    SystemMachine m;
    m.flat();
    m.idt_gate(0x30, kTrapGate32, kCode0, kHandler);
    m.cpu.set_eflags(2 | kIF);
    deliver_interrupt(m.cpu, 0x30, EventKind::External);
    EXPECT_EQ(m.cpu.eflags(), 2u | kIF);
    EXPECT_EQ(m.cpu.rip, kHandler);
    EXPECT_EQ(m.get<u32>(m.cpu.gpr[4] + 8), 2u | kIF) << "an interrupt does not set RF";
}

TEST(SystemProtected, InterruptFromRing3AndBack) {
    SystemMachine m;
    m.flat_user();
    m.idt_gate(0x80, kInterruptGate32, kCode0, kHandler, 3);
    m.cpu.set_eflags(2 | kIF);
    m.code(kCode, {0xcd, 0x80, 0x90, 0xfa}); // int 0x80; nop; cli (#GP: the end)
    m.code(kHandler, {0x0e, 0x58, 0x66, 0xb9, 0x10, 0x00, 0x8e, 0xd9,
                      0xcf}); // push cs; pop eax; mov cx,0x10; mov ds,cx; iret
    m.idt_gate(kGP, kInterruptGate32, kCode0, kHandler + 0x100);
    m.code(kHandler + 0x100, {0xf4});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[0], kCode0);
    EXPECT_EQ(m.get<u32>(kStack0 - 4), kData3);
    EXPECT_EQ(m.get<u32>(kStack0 - 8), kStack3);
    EXPECT_EQ(m.get<u32>(kStack0 - 16), kCode3);
    EXPECT_EQ(m.get<u32>(kStack0 - 20), kCode + 3) << "cli at CPL 3";
    EXPECT_EQ(m.cpu.seg[3].selector, 0) << "a ring 0 DS is dropped on the way to ring 3";
}

TEST(SystemProtected, GateChecks) {
    SystemMachine m;
    m.flat_user();
    m.cpu.idtr.limit = 0x80 * 8 + 6;
    software_interrupt(m.cpu, 0x80, kCode + 2, EventKind::Software);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0x402)) << "outside the IDT";
    m.cpu.idtr.limit = 0x7ff;
    m.idt_gate(0x80, kInterruptGate32, kCode0, kHandler, 0);
    m.cpu.exit = ir::Exit::None;
    software_interrupt(m.cpu, 0x80, kCode + 2, EventKind::Software);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0x402)) << "gate DPL";
    m.put<u64>(kIdt + 0x80 * 8, SystemMachine::gate(kInterruptGate32, kCode0, kHandler, 3) & ~(u64{1} << 47));
    m.cpu.exit = ir::Exit::None;
    software_interrupt(m.cpu, 0x80, kCode + 2, EventKind::Software);
    EXPECT_TRUE(faulted(m.cpu, kNP, 0x402)) << "gate not present";
    m.idt_gate(0x80, kInterruptGate32, kData0, kHandler, 3);
    m.cpu.exit = ir::Exit::None;
    software_interrupt(m.cpu, 0x80, kCode + 2, EventKind::Software);
    EXPECT_TRUE(faulted(m.cpu, kGP, kData0)) << "not a code segment";
    m.idt_gate(0x80, kInterruptGate32, kCode0, kHandler, 3);
    m.put<u16>(kTss + 8, kReadOnly);
    m.cpu.exit = ir::Exit::None;
    software_interrupt(m.cpu, 0x80, kCode + 2, EventKind::Software);
    EXPECT_TRUE(faulted(m.cpu, kTS, kReadOnly)) << "the TSS's stack";
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.gpr[4], kStack3);
    EXPECT_EQ(m.cpu.rip, kCode);
}

TEST(SystemProtected, ExternalEventsSetExt) {
    SystemMachine m;
    m.flat_user();
    m.idt_gate(0x30, kInterruptGate32, kData0, kHandler);
    m.idt_gate(kGP, kInterruptGate32, kCode0, kHandler);
    deliver_interrupt(m.cpu, 0x30, EventKind::External);
    ASSERT_EQ(m.cpu.rip, kHandler);
    EXPECT_EQ(m.get<u32>(m.cpu.gpr[4]), kData0 | 1u);
}

TEST(SystemProtected, DoubleFaultAndShutdown) {
    SystemMachine m;
    m.flat();
    m.idt_gate(kDoubleFault, kInterruptGate32, kCode0, kHandler);
    raise(m.cpu, kGP, 0); // its gate is empty: #GP while delivering #GP
    deliver_fault(m.cpu);
    ASSERT_EQ(m.cpu.exit, ir::Exit::None);
    EXPECT_EQ(m.cpu.rip, kHandler);
    EXPECT_EQ(m.get<u32>(m.cpu.gpr[4]), 0u);
    ASSERT_EQ(m.cpu.chain_length, 3);
    EXPECT_EQ(m.cpu.chain[1].error, kGP * 8 + 3u);
    EXPECT_EQ(m.cpu.chain[2].vector, kDoubleFault);

    m.put<u64>(kIdt + kDoubleFault * 8, 0);
    raise(m.cpu, kGP, 0);
    deliver_fault(m.cpu);
    EXPECT_EQ(m.cpu.exit, ir::Exit::Shutdown);
    EXPECT_EQ(m.cpu.chain[0].vector, kGP);
}

TEST(SystemProtected, BenignThenContributoryIsNoDoubleFault) {
    SystemMachine m;
    m.flat();
    m.idt_gate(kGP, kInterruptGate32, kCode0, kHandler);
    raise(m.cpu, kUD); // its gate is empty
    deliver_fault(m.cpu);
    ASSERT_EQ(m.cpu.exit, ir::Exit::None);
    EXPECT_EQ(m.cpu.rip, kHandler);
    EXPECT_EQ(m.get<u32>(m.cpu.gpr[4]), kUD * 8 + 3u);
}

TEST(SystemProtected, FaultInDeliveryChangesNothing) {
    SystemMachine m;
    m.flat_user();
    m.paging32();
    m.unmap32(kStack0 - 4);
    m.idt_gate(0x80, kInterruptGate32, kCode0, kHandler, 3);
    const ir::Segment cs = m.cpu.seg[1];
    software_interrupt(m.cpu, 0x80, kCode + 2, EventKind::Software);
    EXPECT_TRUE(faulted(m.cpu, kPF, 2)) << "a supervisor write to a page not present";
    EXPECT_EQ(m.cpu.fault.address & ~u64{0xfff}, u64(kStack0 - 0x1000));
    EXPECT_EQ(m.cpu.cpl, 3);
    EXPECT_EQ(m.cpu.rip, kCode);
    EXPECT_EQ(m.cpu.gpr[4], kStack3);
    EXPECT_EQ(m.cpu.seg[1].selector, cs.selector);
    EXPECT_EQ(m.cpu.cr2, 0u) << "CR2 is loaded when the fault is delivered";
    // No stack for the page fault's handler either: double fault, and that has none: shutdown.
    m.idt_gate(kPF, kInterruptGate32, kCode0, kHandler);
    m.idt_gate(kDoubleFault, kInterruptGate32, kCode0, kHandler);
    deliver_fault(m.cpu);
    EXPECT_EQ(m.cpu.exit, ir::Exit::Shutdown);
    EXPECT_EQ(m.cpu.chain_length, 3);
    EXPECT_EQ(m.cpu.cr2 & ~u64{0xfff}, u64(kStack0 - 0x1000));
}

TEST(SystemProtected, SingleStep) {
    SystemMachine m;
    m.flat();
    m.idt_gate(kDB, kInterruptGate32, kCode0, kHandler);
    m.code(kCode, {0x40, 0x40, 0xf4}); // inc eax; inc eax; hlt
    m.code(kHandler, {0x43, 0xcf});    // inc ebx; iret
    m.cpu.set_eflags(2 | kTF);
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[0], 2u);
    EXPECT_EQ(m.cpu.gpr[3], 2u) << "traps";
    EXPECT_TRUE(bit(m.cpu.dr[6], 14));
}

TEST(SystemLong, InterruptAlignsTheStackAndReturns) {
    SystemMachine m;
    m.long64();
    m.idt_gate64(0x40, kInterruptGate32, kHandler);
    m.cpu.gpr[4] = kStack0 - 0x1005;
    m.cpu.set_eflags(2 | kIF);
    m.code(kHandler, {0x48, 0xcf}); // iretq
    m.code(kCode, {0xf4});
    deliver_interrupt(m.cpu, 0x40, EventKind::External);
    const u64 sp = m.cpu.gpr[4];
    EXPECT_EQ(sp, (u64(kStack0 - 0x1005) & ~u64{15}) - 40);
    EXPECT_EQ(m.get<u64>(sp), kCode);
    EXPECT_EQ(m.get<u64>(sp + 8), kCode64);
    EXPECT_EQ(m.get<u64>(sp + 24), u64(kStack0 - 0x1005));
    EXPECT_EQ(m.cpu.interrupt_flag, 0);
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[4], u64(kStack0 - 0x1005));
    EXPECT_EQ(m.cpu.interrupt_flag, 1);
}

TEST(SystemLong, FromRing3ByTssAndIst) {
    for (const unsigned ist : {0u, 1u}) {
        SystemMachine m;
        m.long64_user();
        m.idt_gate64(kPF, kInterruptGate32, kHandler, 0, ist);
        m.cpu.set_eflags(2 | kIF | kAC);
        raise_page_fault(m.cpu, {.address = 0xdead000, .error = 6});
        deliver_fault(m.cpu);
        ASSERT_EQ(m.cpu.exit, ir::Exit::None);
        const u64 top = ist ? kStack0 - 0x2000 : kStack0;
        EXPECT_EQ(m.cpu.gpr[4], top - 48);
        EXPECT_EQ(m.get<u64>(top - 48), 6u);
        EXPECT_EQ(m.get<u64>(top - 8), kData3);
        EXPECT_EQ(m.get<u64>(top - 16), kStack3);
        EXPECT_EQ(m.cpu.cr2, 0xdead000u);
        EXPECT_EQ(m.cpu.cpl, 0);
        EXPECT_EQ(m.cpu.seg[2].selector, 0);
        EXPECT_EQ(m.cpu.seg[1].selector, kCode64);
        // and back
        m.cpu.gpr[4] += 8;
        EXPECT_TRUE(interrupt_return(m.cpu, 8, 0));
        EXPECT_EQ(m.cpu.cpl, 3);
        EXPECT_EQ(m.cpu.gpr[4], kStack3);
        EXPECT_EQ(m.cpu.seg[2].selector, kData3);
        EXPECT_EQ(m.cpu.eflags(), 2u | kIF | kAC);
    }
}

TEST(SystemLong, ReturnToNullStackOfRing0) {
    SystemMachine m;
    m.long64();
    m.cpu.seg[2] = null_segment(0);
    m.idt_gate64(0x40, kInterruptGate32, kHandler);
    deliver_interrupt(m.cpu, 0x40, EventKind::External);
    EXPECT_TRUE(interrupt_return(m.cpu, 8, 0));
    EXPECT_EQ(m.cpu.rip, kCode);
    m.cpu.system_flags |= kNT;
    EXPECT_FALSE(interrupt_return(m.cpu, 8, 0));
    EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << "no nested tasks in long mode";
}

TEST(SystemV86, InterruptGoesToRing0AndBack) {
    SystemMachine m;
    m.v86(3);
    m.idt_gate(0x10, kInterruptGate32, kCode0, kHandler, 3);
    m.code(kCode, {0xcd, 0x10, 0x40, 0xf4}); // int 0x10; inc ax; hlt (#GP)
    m.code(kHandler, {0xcf});
    m.idt_gate(kGP, kInterruptGate32, kCode0, kHandler + 0x10);
    m.code(kHandler + 0x10, {0xf4});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[0] & 0xffff, 1u);
    EXPECT_EQ(m.get<u32>(kStack0 - 4), 0x4000u) << "GS";
    EXPECT_EQ(m.get<u32>(kStack0 - 20), 0x3000u) << "SS";
    EXPECT_EQ(m.get<u32>(kStack0 - 24), 0x100u) << "SP";
    EXPECT_TRUE(m.get<u32>(kStack0 - 28) & kVM);
    EXPECT_EQ(m.get<u32>(kStack0 - 32), u32(kCode >> 4));
    EXPECT_EQ(m.get<u32>(kStack0 - 36), 3u) << "hlt";
    EXPECT_FALSE(m.cpu.v86());
    EXPECT_EQ(m.cpu.seg[3].selector, 0);
}

TEST(SystemV86, SensitiveInstructionsAndIopl) {
    const std::initializer_list<int> sensitive[] = {{0xfa}, {0xfb}, {0x9c}, {0x9d}, {0xcd, 0x20}, {0xcf}};
    for (const unsigned iopl : {0u, 3u})
        for (const auto& bytes : sensitive) {
            SystemMachine m;
            m.v86(iopl);
            m.code(kCode, bytes);
            m.idt_gate(0x20, kInterruptGate32, kCode0, kHandler, 3);
            m.run(1, false);
            if (iopl == 3)
                EXPECT_NE(m.cpu.exit, ir::Exit::Fault) << "opcode " << std::hex << *bytes.begin();
            else
                EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << "opcode " << std::hex << *bytes.begin();
        }
}

TEST(SystemV86, VirtualInterruptFlagAndRedirection) {
    SystemMachine m;
    m.v86(0);
    m.cpu.cr4 |= kCr4VME;
    m.code(kCode, {0xfb, 0x9c, 0x58, 0xcd, 0x21, 0xf4}); // sti; pushf; pop ax; int 0x21; hlt
    m.put<u16>(kTss + 0x66, 0x60);                       // its redirection bitmap is at 0x40
    m.put<u32>(0x21 * 4, 0x900u << 16 | 7);
    m.code(0x9007, {0x9c, 0x5b, 0xcf}); // pushf; pop bx; iret
    m.idt_gate(kGP, kInterruptGate32, kCode0, kHandler + 0x100);
    m.code(kHandler + 0x100, {0xf4});
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[0] & (kIF | kIOPL), u64(kIF | kIOPL)) << "the program sees VIF as IF";
    EXPECT_EQ(m.cpu.gpr[3] & kIF, 0u) << "its handler runs with VIF clear";
    EXPECT_TRUE(m.get<u32>(kStack0 - 28) & kVIF) << "and IRET sets it again";
}

} // namespace
} // namespace dragoman::test
