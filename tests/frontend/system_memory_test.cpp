// Memory accesses of instructions by paging's rules: canonical addresses, page crossings, A and D, protection
// keys, implicit supervisor accesses (SDM vol. 1, 3.3.7.1; vol. 3, 4.5-4.8).
#include "system_machine.h"

namespace dragoman::test {
namespace {

constexpr u64 P = 1, RW = 2, US = 4, A = 0x20, D = 0x40;
constexpr u64 kNotCanonical = 0x0000'9000'0000'0000;

// 64-bit mode whose first 2 MiB and those from 4 MiB on are as long64() makes them, and 2-4 MiB 4 KiB pages.
class Paged : public SystemMachine {
  public:
    static constexpr u64 kTable = kPages + 0x3000, kBase = 0x200000;

    explicit Paged(bool user = false) {
        if (user)
            long64_user();
        else
            long64();
        put<u64>(kPages + 0x2000 + 8, kTable | P | RW | US);
        for (u64 i = 0; i < 512; ++i)
            pte(i) = (kBase + i * 4096) | P | RW | US;
        mmu->flush(false);
    }
    u64& pte(u64 page) { return *reinterpret_cast<u64*>(map->ram() + kTable + page * 8); }
    // Runs one instruction with RBX = `rbx`.
    ir::Exit one(u64 rbx, std::initializer_list<int> bytes) {
        code(kCode, bytes);
        code(kCode + bytes.size(), {0xf4});
        cpu.gpr[3] = rbx;
        cpu.rip = kCode;
        cpu.halted = false;
        return run(1, false);
    }
};

TEST(SystemMemory, WhichHalfOfACrossingAccessFaults) {
    constexpr u64 at = Paged::kBase + 0x1ffe, second = Paged::kBase + 0x2000;
    struct Case {
        const char* what;
        u64 first, then; // flags taken away
        std::initializer_list<int> code;
        u64 cr2;
        u32 error;
    };
    const Case cases[] = {
        {"read, both missing", P, P, {0x8b, 0x03}, at, 0},
        {"read, the second missing", 0, P, {0x8b, 0x03}, second, 0},
        {"read, the first missing", P, 0, {0x8b, 0x03}, at, 0},
        {"write, the second read-only", 0, RW, {0x89, 0x03}, second, 3},
        {"write, the first read-only and the second missing", RW, P, {0x89, 0x03}, at, 3},
        {"add [rbx], eax: a write from the start", 0, P, {0x01, 0x03}, second, 2},
        {"add [rbx], eax: both read-only", RW, RW, {0x01, 0x03}, at, 3},
        {"lock cmpxchg [rbx], ecx, not equal: writes all the same",
         0,
         RW,
         {0xf0, 0x0f, 0xb1, 0x0b},
         second,
         3},
        {"16 bytes", 0, P, {0x0f, 0x10, 0x03}, second, 0},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.what);
        Paged m;
        m.pte(1) &= ~c.first;
        m.pte(2) &= ~c.then;
        EXPECT_EQ(m.one(at, c.code), ir::Exit::Fault);
        EXPECT_TRUE(faulted(m.cpu, kPF, c.error));
        EXPECT_EQ(m.cpu.fault.address, c.cr2);
        EXPECT_EQ((m.pte(1) | m.pte(2)) & (A | D), 0u) << "an access that faults sets neither A nor D (4.8)";
    }
}

TEST(SystemMemory, AccessedAndDirtyOfBothPages) {
    Paged m;
    const u64 at = Paged::kBase + 0x1ffe;
    EXPECT_EQ(m.one(at, {0x8b, 0x03}), ir::Exit::Halt);
    EXPECT_EQ(m.pte(1) & (A | D), A);
    EXPECT_EQ(m.pte(2) & (A | D), A);
    EXPECT_EQ(m.one(at, {0x89, 0x03}), ir::Exit::Halt);
    EXPECT_EQ(m.pte(1) & (A | D), A | D);
    EXPECT_EQ(m.pte(2) & (A | D), A | D);
    EXPECT_EQ(m.pte(3) & (A | D), 0u);
}

TEST(SystemMemory, ReadModifyWriteReportsAWrite) {
    Paged m(true);
    m.pte(4) = 0;
    EXPECT_EQ(m.one(Paged::kBase + 0x4000, {0x01, 0x03}), ir::Exit::Fault); // add [rbx], eax
    EXPECT_TRUE(faulted(m.cpu, kPF, 6));
    EXPECT_EQ(m.one(Paged::kBase + 0x4000, {0x87, 0x03}), ir::Exit::Fault); // xchg
    EXPECT_TRUE(faulted(m.cpu, kPF, 6));
    EXPECT_EQ(m.one(Paged::kBase + 0x4000, {0x3b, 0x03}), ir::Exit::Fault); // cmp eax, [rbx]
    EXPECT_TRUE(faulted(m.cpu, kPF, 4));
}

// ---- canonical addresses
TEST(SystemMemory, StackReferencesRaiseStackFaults) {
    struct Case {
        const char* what;
        std::initializer_list<int> code;
        bool rsp, rbp; // which are not canonical; RBX always is not
        Vector vector;
    };
    const Case cases[] = {
        {"mov eax, [rbx]", {0x8b, 0x03}, false, false, kGP},
        {"mov eax, [rbp]", {0x8b, 0x45, 0x00}, false, true, kSS},
        {"mov eax, [rbp+rbx]: only the base counts", {0x8b, 0x44, 0x1d, 0x00}, false, false, kSS},
        {"mov eax, [rbx+rbp]: an index does not", {0x8b, 0x04, 0x2b}, false, false, kGP},
        {"mov [rsp], eax", {0x89, 0x04, 0x24}, true, false, kSS},
        {"mov eax, fs:[rbp]", {0x64, 0x8b, 0x45, 0x00}, false, true, kGP},
        {"mov eax, [r13]", {0x41, 0x8b, 0x45, 0x00}, false, false, kGP},
        {"push rax", {0x50}, true, false, kSS},
        {"pop rax", {0x58}, true, false, kSS},
        {"push [rbx]: reads first", {0xff, 0x33}, false, false, kGP},
        {"pop [rbx]: the store", {0x8f, 0x03}, false, false, kGP},
        {"ret", {0xc3}, true, false, kSS},
        {"call", {0xe8, 0, 0, 0, 0}, true, false, kSS},
        {"leave", {0xc9}, false, true, kSS},
        {"lodsb", {0xac}, false, false, kGP},
        {"add [rbp], eax", {0x01, 0x45, 0x00}, false, true, kSS},
        {"movups xmm0, [rsp]", {0x0f, 0x10, 0x04, 0x24}, true, false, kSS},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.what);
        SystemMachine m;
        m.long64();
        m.idt_gate64(kGP, 14, kHandler);
        m.idt_gate64(kSS, 14, kHandler + 0x100);
        // The handler needs a stack of its own.
        m.idt_gate64(kGP, 14, kHandler, 0, 1);
        m.idt_gate64(kSS, 14, kHandler + 0x100, 0, 1);
        m.code(kHandler, {0xf4});
        m.code(kHandler + 0x100, {0xf4});
        m.code(kCode, c.code);
        m.cpu.gpr[3] = m.cpu.gpr[6] = m.cpu.gpr[13] = kNotCanonical;
        if (c.rsp) m.cpu.gpr[4] = kNotCanonical;
        m.cpu.gpr[5] = c.rbp ? kNotCanonical : 0;
        m.cpu.rip = kCode;
        EXPECT_EQ(m.run(4), ir::Exit::Halt);
        EXPECT_EQ(m.cpu.rip, (c.vector == kSS ? kHandler + 0x101 : kHandler + 1));
        EXPECT_EQ(m.get<u64>(m.cpu.gpr[4]), 0u) << "the error code";
        EXPECT_EQ(m.get<u64>(m.cpu.gpr[4] + 8), kCode) << "a fault: rip is the instruction's";
    }
}

// Long mode with five levels (SDM vol. 3, 4.5.2): PML5E n leads to the same PML4 for every n of the test.
TEST(SystemMemory, FiveLevelPaging) {
    SystemMachine m;
    m.long64();
    reset(m.cpu);
    m.flat();
    m.put<u64>(kPages + 0x8000, kPages | P | RW | US);
    m.put<u64>(kPages + 0x8000 + 8 * 1, kPages | P | RW | US);
    m.put<u64>(kPages + 0x8000 + 8 * 0x1ff, kPages | P | RW | US);
    ASSERT_TRUE(write_cr4(m.cpu, kCr4PAE | kCr4OSFXSR | kCr4LA57));
    ASSERT_TRUE(write_cr3(m.cpu, kPages + 0x8000));
    ASSERT_TRUE(write_efer(m.cpu, kEferLME | kEferNXE));
    ASSERT_TRUE(write_cr0(m.cpu, kCr0PE | kCr0PG | kCr0WP | kCr0NE));
    m.cpu.seg[1].attributes = (m.cpu.seg[1].attributes & ~u32(kSegDB)) | kSegL;
    EXPECT_FALSE(write_cr4(m.cpu, m.cpu.cr4 & ~u64{kCr4LA57})) << "not in IA-32e mode";
    EXPECT_EQ(cpuid(m.cpu, 0x80000008, 0).eax >> 8 & 0xff, 57u);
    const auto load = [&](u64 at) { // mov rax, [rbx]
        m.code(kCode, {0x48, 0x8b, 0x03, 0xf4});
        m.cpu.gpr[3] = at;
        m.cpu.rip = kCode;
        m.cpu.halted = false;
        m.run(2, false);
        return m.cpu.exit;
    };
    m.put<u64>(kData, 0x1122334455667788);
    EXPECT_EQ(load(kData), ir::Exit::Halt);
    EXPECT_EQ(load(u64{1} << 48 | kData), ir::Exit::Halt) << "canonical with 57 bits";
    EXPECT_EQ(m.cpu.gpr[0], 0x1122334455667788u);
    EXPECT_EQ(load(0xffff'0000'0000'0000 | kData), ir::Exit::Halt);
    EXPECT_EQ(load(u64{2} << 48 | kData), ir::Exit::Fault);
    EXPECT_TRUE(faulted(m.cpu, kPF, 0)) << "PML5E 2 is empty";
    EXPECT_EQ(load(u64{1} << 56 | kData), ir::Exit::Fault);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << "not canonical";

    Paged four; // with four levels the same address is not canonical
    EXPECT_EQ(four.one(u64{1} << 48 | kData, {0x8b, 0x03}), ir::Exit::Fault);
    EXPECT_TRUE(faulted(four.cpu, kGP, 0));
}

// ---- protection keys (SDM vol. 3, 4.6.2)
TEST(SystemProtectionKeys, Instructions) {
    SystemMachine m;
    m.long64_user();
    m.code(kCode, {0x0f, 0x01, 0xee, 0x0f, 0x01, 0xef, 0xf4}); // rdpkru; wrpkru
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kUD, 0)) << "without CR4.PKE";
    EXPECT_FALSE(cpuid(m.cpu, 7, 0).ecx & 1 << 4);
    m.cpu.cr4 |= kCr4PKE;
    EXPECT_TRUE(cpuid(m.cpu, 7, 0).ecx & 1 << 4) << "OSPKE";
    m.cpu.pkru = 0x1234;
    m.cpu.gpr[2] = ~u64{0};
    m.cpu.gpr[1] = u64{1} << 32; // ECX is what counts
    m.cpu.rip = kCode;
    m.run(1, false);
    EXPECT_EQ(m.cpu.gpr[0], 0x1234u);
    EXPECT_EQ(m.cpu.gpr[2], 0u);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << "HLT at CPL 3; WRPKRU went well";
    for (const unsigned reg : {1, 2}) {
        m.cpu.gpr[1] = m.cpu.gpr[2] = 0;
        m.cpu.gpr[reg] = 1;
        m.cpu.gpr[0] = 0x5678;
        m.cpu.rip = kCode + 3;
        m.run(1, false);
        EXPECT_TRUE(faulted(m.cpu, kGP, 0));
        EXPECT_EQ(m.cpu.pkru, 0x1234u);
    }
}

TEST(SystemProtectionKeys, RightsByKey) {
    const auto key = [](u64 n) { return n << 59; };
    struct Case {
        const char* what;
        bool user, user_page, write, wp;
        u32 rights; // of key 3: 1 AD, 2 WD
        bool pke, pks, ok;
        u32 error;
    };
    const Case cases[] = {
        {"AD: user reads", true, true, false, true, 1, true, false, false, 0x25},
        {"AD: user writes", true, true, true, true, 1, true, false, false, 0x27},
        {"AD: supervisor reads a user page", false, true, false, true, 1, true, false, false, 0x21},
        {"WD: user reads", true, true, false, true, 2, true, false, true, 0},
        {"WD: user writes", true, true, true, true, 2, true, false, false, 0x27},
        {"WD: user writes without WP", true, true, true, false, 2, true, false, false, 0x27},
        {"WD: supervisor writes with WP", false, true, true, true, 2, true, false, false, 0x23},
        {"WD: supervisor writes without WP", false, true, true, false, 2, true, false, true, 0},
        {"no CR4.PKE", true, true, true, true, 3, false, false, true, 0},
        {"a supervisor page is none of PKRU's", false, false, true, true, 3, true, false, true, 0},
        {"PKS: AD", false, false, false, true, 1, false, true, false, 0x21},
        {"PKS: WD", false, false, true, true, 2, false, true, false, 0x23},
        {"PKS: WD without WP", false, false, true, false, 2, false, true, true, 0},
        {"PKS: a user page is none of IA32_PKRS's", false, true, true, true, 3, false, true, true, 0},
        {"the user has no right to the page: the key is not asked", true, false, false, true, 1, true, false,
         false, 5},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.what);
        Paged m(c.user);
        m.pte(5) = (m.pte(5) & (c.user_page ? ~u64{0} : ~US)) | key(3);
        ASSERT_TRUE(write_cr0(m.cpu, c.wp ? m.cpu.cr0 | kCr0WP : m.cpu.cr0 & ~u64{kCr0WP}));
        ASSERT_TRUE(write_cr4(m.cpu, m.cpu.cr4 | (c.pke ? u64{kCr4PKE} : 0) | (c.pks ? u64{kCr4PKS} : 0)));
        m.one(Paged::kBase + 0x6000, {0x89, 0x03}); // key 0: always allowed
        EXPECT_NE(m.cpu.fault.vector, kPF);
        m.cpu.fault = {};
        write_protection_keys(m.cpu, c.pks ? 0 : c.rights << 6, c.pks ? c.rights << 6 : 0);
        if (c.write)
            m.one(Paged::kBase + 0x5000, {0x89, 0x03});
        else
            m.one(Paged::kBase + 0x5000, {0x8b, 0x03});
        EXPECT_EQ(m.cpu.fault.vector != kPF, c.ok);
        if (!c.ok) {
            EXPECT_TRUE(faulted(m.cpu, kPF, c.error));
        }
    }
}

TEST(SystemProtectionKeys, WrpkruTakesEffectAtOnce) {
    Paged m(true);
    m.pte(5) |= u64{3} << 59;
    ASSERT_TRUE(write_cr4(m.cpu, m.cpu.cr4 | kCr4PKE));
    m.cpu.gpr[3] = Paged::kBase + 0x5000;
    m.cpu.gpr[0] = 2u << 6;
    m.cpu.gpr[1] = m.cpu.gpr[2] = 0;
    m.code(kCode, {0x89, 0x0b, 0x0f, 0x01, 0xef, 0x8b, 0x33, 0x89, 0x0b,
                   0xf4}); // mov [rbx], ecx; wrpkru; mov esi, [rbx]; mov [rbx], ecx
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kPF, 0x27));
    EXPECT_EQ(m.cpu.fault.address, Paged::kBase + 0x5000);
}

// Component 9 of the XSAVE area (SDM vol. 1, 13.5.7).
TEST(SystemProtectionKeys, XsaveKeepsPkru) {
    SystemMachine m;
    m.long64();
    m.cpu.cr4 |= kCr4PKE | kCr4OSXSAVE;
    m.cpu.xcr0 = 0x203;
    EXPECT_EQ(cpuid(m.cpu, 0xd, 0).ebx, 2696u);
    EXPECT_EQ(cpuid(m.cpu, 0xd, 9).eax, 8u);
    EXPECT_EQ(cpuid(m.cpu, 0xd, 9).ebx, 2688u);
    m.cpu.pkru = 0x5555;
    m.cpu.gpr[0] = 0x200;
    m.cpu.gpr[2] = 0;
    m.cpu.gpr[3] = kData;
    m.code(kCode, {0x0f, 0xae, 0x23, 0xf4}); // xsave [rbx]
    m.run(2, false);
    EXPECT_EQ(m.get<u32>(kData + 2688), 0x5555u);
    EXPECT_EQ(m.get<u64>(kData + 512), 0x200u);
    m.cpu.pkru = 1;
    m.code(kCode, {0x0f, 0xae, 0x2b, 0xf4}); // xrstor [rbx]
    m.cpu.rip = kCode;
    m.run(2, false);
    EXPECT_EQ(m.cpu.pkru, 0x5555u);
    EXPECT_EQ(m.mmu->paging().pkru, 0x5555u);
    m.put<u64>(kData + 512, 0); // not saved: its initial state
    m.cpu.rip = kCode;
    m.run(2, false);
    EXPECT_EQ(m.cpu.pkru, 0u);
}

// ---- implicit supervisor accesses: EFLAGS.AC does not let them through (SDM vol. 3, 4.6.1)
TEST(SystemMemory, SmapHoldsForDescriptorTablesWhateverAcIs) {
    Paged m;
    ASSERT_TRUE(write_cr4(m.cpu, m.cpu.cr4 | kCr4SMAP));
    for (u64 i = 0; i < 256; ++i) // the GDT, in a user page
        m.put<u8>(Paged::kBase + 0x7000 + i, m.get<u8>(kGdt + i));
    // Everything else of the test must be in supervisor pages.
    m.put<u64>(kPages + 0x2000, m.get<u64>(kPages + 0x2000) & ~US);
    m.mmu->flush(false);
    m.cpu.gdtr.base = Paged::kBase + 0x7000;
    m.cpu.set_eflags(m.cpu.eflags() | kAC);
    m.cpu.gpr[0] = kData0;
    EXPECT_EQ(m.one(Paged::kBase + 0x7000, {0x8b, 0x0b}), ir::Exit::Halt)
        << "mov ecx, [rbx]: explicit, with AC";
    EXPECT_EQ(m.one(0, {0x8e, 0xd8}), ir::Exit::Fault); // mov ds, ax
    EXPECT_TRUE(faulted(m.cpu, kPF, 1)) << "a supervisor's read of a user page";
    m.cpu.set_eflags(m.cpu.eflags() & ~u32(kAC));
    EXPECT_EQ(m.one(Paged::kBase + 0x7000, {0x8b, 0x0b}), ir::Exit::Fault);
}

} // namespace
} // namespace dragoman::test
