// System instructions as guest programs, through translator and interpreter.
#include "system_machine.h"

#include <set>

namespace dragoman::test {
namespace {

void real_mode_at_code(SystemMachine& m) {
    m.cpu.seg[1].base = kCode;
    m.cpu.seg[1].selector = kCode >> 4;
    m.cpu.rip = 0;
    m.cpu.gpr[4] = 0x7000;
}

// From reset-like real mode to 64-bit mode by the guest's own instructions.
TEST(SystemBoot, RealToProtectedToLong) {
    SystemMachine m;
    m.long64(); // builds tables and pages
    reset(m.cpu);
    m.put<u16>(0x500, 0xff);
    m.put<u32>(0x502, kGdt);
    real_mode_at_code(m);
    m.code(kCode, {
                      0xfa,                                           // cli
                      0x0f, 0x01, 0x16, 0x00, 0x05,                   // lgdt [0x500]
                      0x0f, 0x20, 0xc0, 0x66, 0x83, 0xc8, 0x01,       // mov eax, cr0; or eax, 1
                      0x0f, 0x22, 0xc0,                               // mov cr0, eax
                      0x66, 0xea, 0x00, 0x81, 0,    0,    0x08, 0x00, // jmp dword 8:0x8100
                  });
    m.code(0x8100, {
                       0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xd0, // mov ax, 0x10; mov ds, ax; mov ss, ax
                       0xbc, 0x00, 0x70, 0x00, 0x00,                   // mov esp, 0x7000
                       0xb8, 0x20, 0x00, 0x00, 0x00, 0x0f, 0x22, 0xe0, // mov eax, CR4.PAE; mov cr4, eax
                       0xb8, 0x00, 0x00, 0x10, 0x00, 0x0f, 0x22, 0xd8, // mov eax, kPages; mov cr3, eax
                       0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32,       // mov ecx, EFER; rdmsr
                       0x0d, 0x00, 0x01, 0x00, 0x00, 0x0f, 0x30,       // or eax, LME; wrmsr
                       0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80,
                       0x0f, 0x22, 0xc0,                         // mov eax, cr0; or eax, PG; mov cr0, eax
                       0xea, 0x00, 0x82, 0,    0,    0x58, 0x00, // jmp 0x58:0x8200
                   });
    m.code(0x8200, {
                       0x48,
                       0xb8,
                       1,
                       2,
                       3,
                       4,
                       5,
                       6,
                       7,
                       8, // mov rax, imm64
                       0x0f,
                       0x01,
                       0xf8, // swapgs
                       0xf4,
                   });
    m.cpu.kernel_gs_base = 0x1234;
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_TRUE(m.cpu.long_mode());
    EXPECT_TRUE(m.cpu.code64());
    EXPECT_EQ(m.cpu.gpr[0], 0x0807060504030201u);
    EXPECT_EQ(m.cpu.seg[5].base, 0x1234u);
    EXPECT_EQ(m.cpu.gdtr.base, kGdt);
    EXPECT_TRUE(m.cpu.efer & kEferLMA);
}

TEST(SystemFlagInstructions, PushfAndPopf) {
    SystemMachine m;
    m.flat();
    m.cpu.set_eflags(2 | kIF | kDF | ir::kCF | ir::kOF | kIOPL | kID);
    const u32 flags = m.cpu.eflags();
    m.code(kCode, {0x9c, 0x58, 0xfa, 0x9c, 0x5b, 0x50, 0x9d,
                   0xf4}); // pushf;pop eax;cli;pushf;pop ebx;push eax;popf;hlt
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[0], flags);
    EXPECT_EQ(m.cpu.gpr[3], flags & ~u32(kIF));
    EXPECT_EQ(m.cpu.eflags(), flags);
}

// What POPF changes of all flags set, from none set, by CPL and IOPL (SDM vol. 2, table of POPF).
TEST(SystemFlagInstructions, PopfByPrivilege) {
    const u32 always = ir::kAllFlags | kDF | kNT | kAC | kID | 2;
    const struct {
        unsigned cpl, iopl;
        u32 expected;
    } cases[] = {{0, 0, always | kIF | kIOPL}, {3, 0, always}, {3, 3, always | kIF | kIOPL}};
    for (const auto& c : cases) {
        SystemMachine m;
        if (c.cpl == 0)
            m.flat();
        else
            m.flat_user();
        m.cpu.set_eflags(2 | c.iopl << 12);
        m.put<u32>(m.cpu.gpr[4], ~u32{kTF});
        m.code(kCode, {0x9d, 0xeb, 0xfe});
        m.run(1, false);
        EXPECT_EQ(m.cpu.eflags(), c.expected) << "CPL " << c.cpl << " IOPL " << c.iopl;
    }
}

TEST(SystemFlagInstructions, CliAtRing3) {
    SystemMachine m;
    m.flat_user();
    m.code(kCode, {0xfa, 0xeb, 0xfe});
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
    m.cpu.rip = kCode;
    m.cpu.set_eflags(2 | kIF | kIOPL);
    m.run(1, false);
    EXPECT_EQ(m.cpu.interrupt_flag, 0);
    m.cpu.set_eflags(2 | kIF);
    m.cpu.cr4 |= kCr4PVI;
    m.cpu.rip = kCode;
    m.code(kCode, {0xfb, 0x90, 0xeb, 0xfe});
    m.run(1, false);
    EXPECT_NE(m.cpu.exit, ir::Exit::Fault);
    EXPECT_TRUE(m.cpu.system_flags & kVIF);
}

TEST(SystemFlagInstructions, StiShadowsOneInstruction) {
    SystemMachine m;
    m.flat();
    m.code(kCode, {0xfb, 0x40, 0x40, 0xf4}); // sti; inc eax; inc eax; hlt
    m.cpu.interrupt_line = 1;
    m.run(1, false);
    EXPECT_EQ(m.cpu.exit, ir::Exit::Event);
    EXPECT_EQ(m.cpu.rip, kCode + 2u);
    EXPECT_EQ(m.cpu.gpr[0], 1u);
}

TEST(SystemPorts, InOutAndPermission) {
    SystemMachine m;
    m.flat_user();
    m.cpu.gpr[2] = 0x3f8;
    m.code(kCode, {0xec, 0xef, 0xe4, 0x60, 0xeb, 0xfe}); // in al, dx; out dx, eax; in al, 0x60
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << "no bitmap";
    m.cpu.tr.limit = 0x68 + 0x2000;
    m.descriptor(kTask, SystemMachine::segment(kTss, 0x67, kTss32, 0, 0));
    for (unsigned i = 0; i < 0x80; ++i)
        m.put<u8>(kTss + 0x68 + i, 0xff);
    m.put<u8>(kTss + 0x68 + 0x3f8 / 8, 0xf0); // 0x3f8 to 0x3fb
    m.put<u8>(kTss + 0x68 + 0x60 / 8, 0xfe);
    m.run(2, false);
    EXPECT_NE(m.cpu.exit, ir::Exit::Fault);
    ASSERT_EQ(m.platform.writes.size(), 1u);
    EXPECT_EQ(m.platform.writes[0].size, 4u);
    EXPECT_EQ(m.platform.writes[0].value, 0x44u);
    ASSERT_EQ(m.platform.reads.size(), 2u);
    EXPECT_EQ(m.platform.reads[1].port, 0x60);
    m.put<u8>(kTss + 0x68 + 0x3f8 / 8, 0xf8); // one of the four
    m.cpu.rip = kCode + 1;
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
}

TEST(SystemPorts, RepInsAndOuts) {
    SystemMachine m;
    m.flat();
    m.cpu.gpr[1] = 3;
    m.cpu.gpr[2] = 0x1f0;
    m.cpu.gpr[7] = kData;
    m.cpu.gpr[6] = kData + 0x100;
    m.put<u8>(kData + 0x100, 0x5a);
    m.code(kCode, {0xf3, 0x66, 0x6d, 0x6e, 0xf4}); // rep insw; outsb; hlt
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[1], 0u);
    EXPECT_EQ(m.cpu.gpr[7], kData + 6u);
    EXPECT_EQ(m.get<u16>(kData), 0x3344);
    EXPECT_EQ(m.get<u16>(kData + 4), 0x3346);
    ASSERT_EQ(m.platform.writes.size(), 1u);
    EXPECT_EQ(m.platform.writes[0].value, 0x5au);
    // A fault in the middle leaves the count and the pointer where they are.
    m.paging32();
    m.unmap32(kData + 0x1000);
    m.cpu.gpr[1] = 4;
    m.cpu.gpr[7] = kData + 0xffc;
    m.cpu.rip = kCode;
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kPF, 2));
    EXPECT_EQ(m.cpu.gpr[1], 2u);
    EXPECT_EQ(m.cpu.gpr[7], kData + 0x1000u);
    EXPECT_EQ(m.cpu.rip, kCode);
}

TEST(SystemInstructions, LookingAtDescriptors) {
    SystemMachine m;
    m.flat_user();
    m.cpu.gpr[0] = kData3;
    m.cpu.gpr[1] = kData0;
    m.cpu.gpr[6] = 0x77;
    // lar ebx, eax; lsl edx, eax; lar esi, ecx (not visible); verr ax; verw cx
    m.code(kCode, {0x0f, 0x02, 0xd8, 0x0f, 0x03, 0xd0, 0x0f, 0x02, 0xf1, 0x0f, 0x00, 0xe0, 0xeb, 0xfe});
    m.run(1, false);
    EXPECT_EQ(m.cpu.gpr[3], 0x00cff200u) << "with bits 19:16 of the limit, which the manual leaves undefined";
    EXPECT_EQ(m.cpu.gpr[2], 0xffffffffu);
    EXPECT_EQ(m.cpu.gpr[6], 0x77u);
    EXPECT_TRUE(m.cpu.flags & ir::kZF) << "VERR of its own data segment";
    m.cpu.rip = kCode;
    m.code(kCode, {0x0f, 0x00, 0xe9, 0xeb, 0xfe}); // verw cx
    m.run(1, false);
    EXPECT_FALSE(m.cpu.flags & ir::kZF);
    m.cpu.gpr[0] = 0x10;
    m.cpu.gpr[3] = 3;
    m.cpu.rip = kCode;
    m.code(kCode, {0x63, 0xd8, 0xeb, 0xfe}); // arpl ax, bx
    m.run(1, false);
    EXPECT_EQ(m.cpu.gpr[0], 0x13u);
    EXPECT_TRUE(m.cpu.flags & ir::kZF);
}

TEST(SystemInstructions, PrivilegedAtRing3) {
    const std::initializer_list<int> privileged[] = {
        {0xf4},
        {0x0f, 0x01, 0x15, 0, 0, 4, 0},
        {0x0f, 0x01, 0x1d, 0, 0, 4, 0},
        {0x0f, 0x00, 0xd0},
        {0x0f, 0x00, 0xd8},
        {0x0f, 0x01, 0xf0},
        {0x0f, 0x06},
        {0x0f, 0x20, 0xc0},
        {0x0f, 0x22, 0xc0},
        {0x0f, 0x21, 0xc0},
        {0x0f, 0x23, 0xc0},
        {0x0f, 0x32},
        {0x0f, 0x30},
        {0x0f, 0x01, 0x38},
        {0x0f, 0x08},
        {0x0f, 0x09},
        {0x0f, 0x33},
        {0x0f, 0x35},
    };
    for (const auto& bytes : privileged) {
        SystemMachine m;
        m.flat_user();
        m.code(kCode, bytes);
        m.run(1, false);
        EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << std::hex << *bytes.begin() << ' ' << *(bytes.end() - 1);
    }
}

TEST(SystemInstructions, UmipAndTables) {
    SystemMachine m;
    m.flat_user();
    m.code(kCode, {0x0f, 0x01, 0x05, 0, 0, 4, 0, 0x0f, 0x00, 0xc8, 0xeb, 0xfe}); // sgdt [kData]; str eax
    m.run(1, false);
    EXPECT_EQ(m.get<u16>(kData), 0xff);
    EXPECT_EQ(m.get<u32>(kData + 2), kGdt);
    EXPECT_EQ(m.cpu.gpr[0], kTask);
    m.cpu.cr4 |= kCr4UMIP;
    m.cpu.rip = kCode;
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
}

TEST(SystemInstructions, DebugRegisters) {
    SystemMachine m;
    m.flat();
    m.cpu.gpr[0] = 0x1ff;
    m.code(kCode, {0x0f, 0x23, 0xf8, 0x0f, 0x21, 0xeb, 0x0f, 0x21, 0xe1,
                   0xf4}); // mov dr7,eax; mov ebx,dr5; mov ecx,dr4; hlt
    m.cpu.gpr[0] = 0x100;
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[3], 0x500u) << "DR5 is DR7; bit 10 is fixed";
    EXPECT_EQ(m.cpu.gpr[1], 0xffff0ff0u);
    m.cpu.cr4 |= kCr4DE;
    m.cpu.rip = kCode;
    m.cpu.halted = false;
    m.run(2, false);
    EXPECT_TRUE(faulted(m.cpu, kUD, 0));
    m.cpu.cr4 &= ~u64{kCr4DE};
    m.cpu.dr[7] |= 1 << 13;
    m.idt_gate(kDB, kInterruptGate32, kCode0, kHandler);
    m.code(kHandler, {0xf4});
    m.cpu.rip = kCode;
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_TRUE(bit(m.cpu.dr[6], 13));
    EXPECT_FALSE(bit(m.cpu.dr[7], 13)) << "GD is cleared for the handler";
}

TEST(SystemInstructions, ControlRegisterChecks) {
    SystemMachine m;
    m.flat();
    EXPECT_FALSE(write_cr0(m.cpu, kCr0PG));
    EXPECT_FALSE(write_cr0(m.cpu, kCr0PE | kCr0NW));
    EXPECT_FALSE(write_cr0(m.cpu, u64{1} << 32));
    EXPECT_FALSE(write_cr4(m.cpu, 1 << 15));
    EXPECT_FALSE(write_cr4(m.cpu, kCr4PCIDE)) << "not offered";
    ASSERT_TRUE(write_efer(m.cpu, kEferLME));
    EXPECT_FALSE(write_cr0(m.cpu, kCr0PE | kCr0PG)) << "long mode without PAE";
    EXPECT_FALSE(write_efer(m.cpu, 2)) << "reserved";
    SystemMachine l;
    l.long64();
    EXPECT_FALSE(write_cr4(l.cpu, 0)) << "PAE in long mode";
    EXPECT_FALSE(write_cr0(l.cpu, kCr0PE)) << "PG in 64-bit mode";
    EXPECT_FALSE(write_efer(l.cpu, 0)) << "LME while paging";
    EXPECT_FALSE(write_cr3(l.cpu, u64{1} << 60));
    EXPECT_TRUE(l.cpu.long_mode());
    EXPECT_TRUE(l.mmu->paging().long_mode);
}

TEST(SystemInstructions, PdptesAreLoadedAndChecked) {
    SystemMachine m;
    m.flat();
    m.put<u64>(kPages, 0x5001);
    m.cpu.cr3 = kPages;
    ASSERT_TRUE(write_cr4(m.cpu, kCr4PAE));
    ASSERT_TRUE(write_cr0(m.cpu, kCr0PE | kCr0PG));
    EXPECT_EQ(m.mmu->paging().pdpte[0], 0x5001u);
    m.put<u64>(kPages + 0x20, 0x5007);
    EXPECT_FALSE(write_cr3(m.cpu, kPages + 0x20)) << "reserved bits";
    EXPECT_TRUE(faulted(m.cpu, kGP, 0));
    EXPECT_EQ(m.cpu.cr3, kPages);
}

TEST(SystemInstructions, SmapViewFollowsAc) {
    SystemMachine m;
    m.long64();
    ASSERT_TRUE(write_cr4(m.cpu, m.cpu.cr4 | kCr4SMAP));
    EXPECT_EQ(softmmu::View(m.cpu.view), softmmu::View::SupervisorSmap);
    m.code(kCode, {0x0f, 0x01, 0xcb, 0x48, 0x8b, 0x04, 0x25, 0, 0, 4, 0, 0x0f, 0x01, 0xca,
                   0xf4});                                              // stac; mov rax,[kData]; clac; hlt
    m.put<u64>(kPages + 0x2000, m.get<u64>(kPages + 0x2000) & ~u64{4}); // the code's own 2 MiB: supervisor
    m.mmu->flush(false);
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(softmmu::View(m.cpu.view), softmmu::View::SupervisorSmap);
}

TEST(SystemInstructions, MovSsKeepsTheNextInstructionTogether) {
    SystemMachine m;
    m.flat();
    m.cpu.set_eflags(2 | kIF);
    m.cpu.interrupt_line = 1;
    m.cpu.gpr[0] = kSmallStack;
    m.code(kCode, {0x8e, 0xd0, 0xbc, 0x34, 0x12, 0, 0, 0x90, 0xf4}); // mov ss, ax; mov esp, 0x1234; nop; hlt
    m.run(1, false);
    EXPECT_EQ(m.cpu.rip, kCode + 2u) << "the stack's width changed: the block ends";
    EXPECT_EQ(m.cpu.interrupt_shadow, kShadowMovSs) << "and the shadow outlives it";
    m.run(1, false);
    EXPECT_EQ(m.cpu.rip, kCode + 7u);
    EXPECT_EQ(m.cpu.gpr[4], 0x1234u);
}

TEST(SystemInstructions, TimeAndRandom) {
    SystemMachine m;
    m.flat();
    m.platform.tsc = 0x500000000 + 1000;
    m.cpu.tsc_aux = 7;
    m.code(kCode, {0x0f, 0x01, 0xf9, 0x0f, 0xc7, 0xf3, 0xf4}); // rdtscp; rdrand ebx; hlt
    EXPECT_EQ(m.run(), ir::Exit::Halt);
    EXPECT_EQ(m.cpu.gpr[2], 5u);
    EXPECT_EQ(m.cpu.gpr[0], 0u);
    EXPECT_EQ(m.cpu.gpr[1], 7u);
    EXPECT_EQ(m.cpu.gpr[3], 0x55667788u);
    EXPECT_EQ(m.cpu.flags, ir::Flags{ir::kCF});
}

// What code computes by itself follows the writes of MSRs, and is refused like what it asks for.
TEST(SystemInstructions, InlineTime) {
    SystemMachine m;
    m.platform.line = {.scale = u64{1} << 63, .offset = 1000};
    m.flat();
    m.code(kCode, {0x0f, 0x31, 0xf4}); // rdtsc; hlt
    const auto stamp = [&] {
        m.cpu.rip = kCode;
        m.cpu.halted = false;
        EXPECT_EQ(m.run(), ir::Exit::Halt);
        return m.cpu.gpr[2] << 32 | m.cpu.gpr[0];
    };
    u64 adjust = 0;
    for (const u64 value : {u64{0}, u64{5} << 40, ~u64{0} << 20}) {
        m.platform.tsc = m.platform.line.at(host_counter());
        ASSERT_TRUE(write_msr(m.cpu, 0x10, value));
        const u64 first = stamp(), second = stamp();
        EXPECT_LT(first - value, u64{1} << 32);
        EXPECT_LT(second - first, u64{1} << 32);
        ASSERT_TRUE(read_msr(m.cpu, 0x3b, adjust));
        ASSERT_TRUE(write_msr(m.cpu, 0x3b, adjust + (u64{1} << 50)));
        EXPECT_LT(stamp() - second - (u64{1} << 50), u64{1} << 32);
    }
    m.platform.line = {.scale = 0, .offset = 0}; // no line: asked
    m.platform.tsc = 4711;
    ASSERT_TRUE(write_msr(m.cpu, 0x10, 42));
    EXPECT_EQ(stamp(), 42u);
}

TEST(SystemInstructions, TimeStampDisable) {
    for (const u64 scale : {0, 1})
        for (const unsigned cpl : {0, 3})
            for (const bool disabled : {false, true})
                for (const bool rdtscp : {false, true}) {
                    SystemMachine m;
                    m.platform.line.scale = scale;
                    m.flat();
                    set_cpl(m.cpu, cpl);
                    if (disabled) m.cpu.cr4 |= kCr4TSD;
                    m.code(kCode, {0x0f, rdtscp ? 0x01 : 0x31, 0xf9});
                    m.run(1, false);
                    EXPECT_EQ(faulted(m.cpu, kGP, 0), disabled && cpl) << cpl << disabled;
                }
}

// ---- CPUID and models
u32 vendor_start(const CpuModel& model) {
    u32 four;
    std::memcpy(&four, model.vendor.data(), 4);
    return four;
}

TEST(SystemCpuid, EveryModelReportsItsFeaturesOnly) {
    for (const std::string& name : model_names()) {
        if (!make_model(name)) {
            EXPECT_TRUE(name.starts_with("x86-64-v")) << "only a level may be refused";
            continue;
        }
        SystemMachine m(name.c_str());
        SCOPED_TRACE(name);
        EXPECT_EQ(cpuid(m.cpu, 0, 0).eax, m.model.basic_leaves);
        EXPECT_EQ(cpuid(m.cpu, 0, 0).ebx, vendor_start(m.model));
        const u32 signature = cpuid(m.cpu, 1, 0).eax, family = signature >> 8 & 15;
        EXPECT_EQ(family + (family == 15 ? signature >> 20 & 0xff : 0), m.model.family);
        for (const FeatureInfo& f : feature_table()) {
            EXPECT_TRUE(f.state != FeatureState::Absent || !m.model.has(f.feature)) << f.name;
            const bool extended = f.leaf >= 0x80000000;
            if (f.leaf > (extended ? m.model.extended_leaves : m.model.basic_leaves)) {
                EXPECT_FALSE(m.model.has(f.feature)) << f.name << " has no leaf";
                continue;
            }
            const CpuidRegisters r = cpuid(m.cpu, f.leaf, f.subleaf);
            const u32 regs[4] = {r.eax, r.ebx, r.ecx, r.edx};
            EXPECT_EQ(bit(regs[f.reg], f.bit), m.model.has(f.feature)) << f.name;
        }
    }
}

TEST(SystemCpuid, SpecsAndTheirErrors) {
    const auto message = [](const char* spec) {
        const auto r = make_model(spec);
        return r ? std::string("accepted") : r.error().message;
    };
    EXPECT_NE(message("nosuch").find("unknown model \"nosuch\""), std::string::npos);
    EXPECT_NE(message("max,+nosuch").find("unknown feature \"nosuch\""), std::string::npos);
    EXPECT_NE(message("max,+vmx").find("feature vmx is not emulated"), std::string::npos);
    EXPECT_NE(message("max,nx=maybe").find("expected on or off"), std::string::npos);
    EXPECT_NE(message("pentium,+sse2").find("needs sse"), std::string::npos);
    auto m = make_model("max,-sse2,nx=off,smap=on");
    ASSERT_TRUE(m);
    EXPECT_FALSE(m->has(Feature::Sse2));
    EXPECT_FALSE(m->has(Feature::Sse42)) << "needs SSE2";
    EXPECT_FALSE(m->has(Feature::Nx));
    EXPECT_TRUE(m->has(Feature::Smap));
}

TEST(SystemCpuid, NamesPropertiesAndLevels) {
    EXPECT_TRUE(make_model("max,sse4_1=on,+sse4-2,+sse4.1,lzcnt=on,-pni"));
    EXPECT_TRUE(make_model("Haswell-noTSX-IBRS"));
    EXPECT_TRUE(make_model("Skylake-Client-v3"));
    EXPECT_FALSE(make_model("x86-64-v9"));
    const auto m = make_model("pentium3,family=7,model=0x1e,stepping=9,model-id=Test,+bmi1,level=7");
    ASSERT_TRUE(m);
    SystemMachine machine("pentium3,family=7,model=0x1e,stepping=9,model-id=Test,+bmi1,vendor=AuthenticAMD");
    EXPECT_EQ(cpuid(machine.cpu, 1, 0).eax, 0x107e9u);
    EXPECT_EQ(cpuid(machine.cpu, 0, 0).eax, 7u) << "the leaf of BMI1 has to be there";
    EXPECT_EQ(cpuid(machine.cpu, 0, 0).ebx, 0x68747541u);
    auto cut = make_model("max,level=1");
    ASSERT_TRUE(cut);
    EXPECT_FALSE(cut->has(Feature::Bmi1)) << "its leaf is not there";
    EXPECT_FALSE(make_model("max,family=999"));
    EXPECT_FALSE(make_model("max,level=many"));
    EXPECT_TRUE(make_model("x86-64-v1")->has(Feature::LongMode));
    for (const char* level : {"x86-64-v3", "x86-64-v4"}) // all of it, or an error that says what is missing
        if (auto r = make_model(level); !r) {
            EXPECT_NE(r.error().message.find(level), std::string::npos);
            EXPECT_NE(r.error().message.find("avx"), std::string::npos) << r.error().message;
        } else {
            EXPECT_TRUE(r->has(Feature::Avx2));
        }
}

// An instruction of a feature that the model lacks is undefined.
TEST(SystemCpuid, InstructionsOfOtherModelsAreUndefined) {
    const struct {
        const char* model;
        std::vector<u8> code;
        bool exists;
    } cases[] = {
        {"486", {0x0f, 0xc8}, true},                    // bswap eax
        {"486", {0x0f, 0x31}, false},                   // rdtsc
        {"486", {0x0f, 0x20, 0xe0}, true},              // mov eax, cr4
        {"486", {0x0f, 0xc7, 0x0e, 0x00, 0x10}, false}, // cmpxchg8b
        {"486", {0x0f, 0x77}, false},                   // emms
        {"486", {0x0f, 0x57, 0xc0}, false},             // xorps
        {"486", {0xf3, 0x90}, true},                    // pause: a NOP
        {"486", {0xd9, 0xee}, true},                    // fldz
        {"pentium", {0x0f, 0x31}, true},
        {"pentium", {0x0f, 0x77}, true},
        {"pentium", {0x0f, 0x44, 0xc1}, false},       // cmovz
        {"pentium", {0xda, 0xc1}, false},             // fcmovb
        {"pentium", {0xdb, 0xf1}, false},             // fcomi
        {"pentium", {0x0f, 0x1f, 0xc0}, false},       // nop eax
        {"pentium", {0xf3, 0x0f, 0x1e, 0xfa}, false}, // endbr64
        {"pentium", {0x0f, 0x34}, false},             // sysenter
        {"pentium2", {0x0f, 0x44, 0xc1}, true},
        {"pentium2", {0xdb, 0xf1}, true},
        {"pentium2", {0x0f, 0x1f, 0xc0}, true},
        {"pentium2", {0x0f, 0xae, 0x06, 0x00, 0x10}, true}, // fxsave
        {"pentium2", {0x0f, 0x57, 0xc0}, false},
        {"pentium2", {0x0f, 0xae, 0xf8}, false}, // sfence
        {"pentium3", {0x0f, 0xae, 0xf8}, true},
        {"pentium3", {0x0f, 0xae, 0xe8}, false},             // lfence
        {"pentium3", {0x0f, 0xae, 0x3e, 0x00, 0x10}, false}, // clflush
        {"pentium3", {0xdb, 0x0e, 0x00, 0x10}, false},       // fisttp
        {"pentium3", {0x0f, 0x0d, 0x0e, 0x00, 0x10}, false}, // prefetchw
        {"coreduo", {0xdb, 0x0e, 0x00, 0x10}, true},
        {"coreduo", {0x0f, 0x38, 0x00, 0xc0}, false}, // pshufb
        {"core2duo", {0x0f, 0x0d, 0x0e, 0x00, 0x10}, true},
        {"core2duo", {0xf3, 0x0f, 0xb8, 0xc0}, false}, // popcnt
        {"Nehalem", {0xf3, 0x0f, 0xb8, 0xc0}, true},
        {"Nehalem", {0x0f, 0xc7, 0xf0}, false}, // rdrand
        {"IvyBridge", {0x0f, 0xc7, 0xf0}, true},
        {"IvyBridge", {0x0f, 0x38, 0xf0, 0x06, 0x00, 0x10}, false}, // movbe
        {"IvyBridge", {0xf3, 0x0f, 0xbc, 0xc0}, true},              // tzcnt: BSF
        {"Haswell", {0x0f, 0x38, 0xf0, 0x06, 0x00, 0x10}, true},
        {"Haswell", {0x66, 0x0f, 0x38, 0xf6, 0xc1}, false}, // adcx
        {"Broadwell", {0x66, 0x0f, 0x38, 0xf6, 0xc1}, true},
        {"Broadwell", {0xc4, 0xe2, 0x70, 0xf2, 0xc0}, false}, // andn: no VEX in real mode
    };
    for (const auto& c : cases) {
        SystemMachine m(c.model);
        m.cpu.seg[1].base = 0;
        m.cpu.rip = kCode;
        if (m.model.has(Feature::Sse)) m.cpu.cr4 |= kCr4OSFXSR;
        for (std::size_t i = 0; i < c.code.size(); ++i)
            m.put(kCode + i, c.code[i]);
        m.run(1, false);
        const bool undefined = m.cpu.exit == ir::Exit::Fault && m.cpu.fault.vector == kUD;
        EXPECT_EQ(!undefined, c.exists)
            << c.model << " " << std::hex << unsigned(c.code[0]) << ' ' << unsigned(c.code[1]) << ' '
            << (c.code.size() > 2 ? unsigned(c.code[2]) : 0);
    }
}

// APM vol. 3, E.3 and E.4: AMD's processors have leaves of their own, and leave Intel's 2 and 4 alone.
TEST(SystemCpuid, LeavesOfAmd) {
    for (const char* name : {"EPYC", "phenom", "Opteron_G1", "Dhyana", "max,vendor=AuthenticAMD"}) {
        SystemMachine m(name);
        SCOPED_TRACE(name);
        for (const u32 leaf : {2u, 4u}) {
            const CpuidRegisters r = cpuid(m.cpu, leaf, 0);
            EXPECT_EQ(r.eax | r.ebx | r.ecx | r.edx, 0u) << leaf;
        }
        const CpuidRegisters first = cpuid(m.cpu, 0, 0), extended = cpuid(m.cpu, 0x80000000, 0);
        EXPECT_EQ(extended.ebx, first.ebx);
        EXPECT_EQ(extended.ecx, first.ecx);
        EXPECT_EQ(extended.edx, first.edx);
        const CpuidRegisters one = cpuid(m.cpu, 1, 0), repeated = cpuid(m.cpu, 0x80000001, 0);
        EXPECT_EQ(repeated.eax, one.eax);
        EXPECT_EQ(repeated.edx & 0x183f3ff, one.edx & 0x183f3ff);
        EXPECT_EQ(cpuid(m.cpu, 0x80000005, 0).ecx >> 24, 32u) << "KiB of the data cache";
        u64 value = 0;
        EXPECT_TRUE(read_msr(m.cpu, 0xc0010015, value));
        EXPECT_EQ(value, 1u << 24) << "HWCR";
    }
    SystemMachine intel;
    EXPECT_EQ(cpuid(intel.cpu, 0x80000000, 0).ebx | cpuid(intel.cpu, 0x80000005, 0).ecx, 0u);
    EXPECT_EQ(cpuid(intel.cpu, 0x80000001, 0).edx & 0x3ff, 0u);
    u64 value = 0;
    EXPECT_FALSE(read_msr(intel.cpu, 0xc0010015, value));
}

// APM vol. 3, CPUID Fn8000_0021_EAX, NullSelectorClearsBase; Intel's clear it.
TEST(SystemCpuid, NullSelectorsAndBases) {
    const std::pair<const char*, bool> models[] = {{"EPYC", true},
                                                   {"Opteron_G5", true},
                                                   {"Dhyana", true},
                                                   {"EPYC-Rome", false},
                                                   {"EPYC-Milan", false},
                                                   {"max", false},
                                                   {"Skylake-Server", false},
                                                   {"EPYC,+null-sel-clr-base", false}};
    for (const auto& [name, kept] : models) {
        SystemMachine m(name);
        m.long64();
        ir::Segment& fs = m.cpu.seg[unsigned(ir::Seg::FS)];
        fs.base = 0x12345000;
        ASSERT_TRUE(load_segment(m.cpu, ir::Seg::FS, 0));
        EXPECT_EQ(fs.base, kept ? 0x12345000u : 0u) << name;
        EXPECT_EQ(fs.selector, 0);
        EXPECT_EQ(fs.attributes & kSegP, 0);
    }
}

TEST(SystemCpuid, Leaves) {
    SystemMachine m;
    const CpuidRegisters tsc = cpuid(m.cpu, 0x15, 0);
    EXPECT_EQ(u64{tsc.ecx} * tsc.ebx / tsc.eax, m.platform.tsc_hz());
    EXPECT_EQ(cpuid(m.cpu, 0x40000000, 0).ebx, 0x67617244u) << "Drag";
    EXPECT_EQ(cpuid(m.cpu, 0x80000008, 0).eax, 0x3928u);
    EXPECT_FALSE(bit(cpuid(m.cpu, 1, 0).ecx, 27));
    m.cpu.cr4 |= kCr4OSXSAVE;
    EXPECT_TRUE(bit(cpuid(m.cpu, 1, 0).ecx, 27)) << "OSXSAVE follows CR4";
    m.platform.apic_base = 0;
    EXPECT_FALSE(bit(cpuid(m.cpu, 1, 0).edx, 9)) << "the APIC bit follows IA32_APIC_BASE";
    EXPECT_EQ(cpuid(m.cpu, 0x20, 0).ebx, cpuid(m.cpu, 0x1f, 0).ebx) << "beyond the last leaf: the last one";
}

// A model may offer a feature only if the instruction table has its instructions.
TEST(SystemCpuid, OfferedInstructionsExist) {
    std::set<Feature> rows;
    for (const InstructionInfo& info : instruction_table())
        rows.insert(info.feature);
    const Feature with_instructions[] = {
        Feature::Fpu,     Feature::Tsc,      Feature::Msr,      Feature::Cx8,     Feature::Sep,
        Feature::Cmov,    Feature::Mmx,      Feature::Fxsr,     Feature::Sse,     Feature::Sse2,
        Feature::Sse3,    Feature::Ssse3,    Feature::Sse41,    Feature::Sse42,   Feature::Popcnt,
        Feature::Cx16,    Feature::Xsave,    Feature::Syscall,  Feature::Rdtscp,  Feature::Rdrand,
        Feature::Rdseed,  Feature::Fsgsbase, Feature::Smap,     Feature::Monitor, Feature::Movbe,
        Feature::Invpcid, Feature::Aes,      Feature::Pclmulqdq};
    SystemMachine m;
    for (const Feature f : with_instructions)
        EXPECT_TRUE(!m.model.has(f) || rows.count(f)) << "feature " << unsigned(f);
}

} // namespace
} // namespace dragoman::test
