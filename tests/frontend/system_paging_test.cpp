// Control registers and TLB instructions by the manual's rules (SDM vol. 2, MOV to control registers,
// INVPCID; vol. 3, 4.10).
#include "system_machine.h"

#include <functional>

namespace dragoman::test {
namespace {

struct Write {
    const char* what;
    std::function<bool(SystemMachine&)> write;
    bool allowed;
};

constexpr u64 kLongCr0 = kCr0PE | kCr0PG | kCr0WP | kCr0NE | kCr0ET;

// Each row on a machine in 64-bit mode of its own.
TEST(SystemControlRegisters, ChecksInLongMode) {
    const Write rows[] = {
        {"CR0: bits 63:32", [](auto& m) { return write_cr0(m.cpu, kLongCr0 | u64{1} << 32); }, false},
        {"CR0: PG without PE", [](auto& m) { return write_cr0(m.cpu, kLongCr0 & ~u64{kCr0PE}); }, false},
        {"CR0: NW without CD", [](auto& m) { return write_cr0(m.cpu, kLongCr0 | kCr0NW); }, false},
        {"CR0: PG off in 64-bit code", [](auto& m) { return write_cr0(m.cpu, kLongCr0 & ~u64{kCr0PG}); },
         false},
        {"CR0: WP off", [](auto& m) { return write_cr0(m.cpu, kLongCr0 & ~u64{kCr0WP}); }, true},
        {"CR3: beyond MAXPHYADDR", [](auto& m) { return write_cr3(m.cpu, kPages | u64{1} << 40); }, false},
        {"CR3: bit 63 without PCIDE", [](auto& m) { return write_cr3(m.cpu, kPages | u64{1} << 63); }, false},
        {"CR3: bits 11:0 without PCIDE", [](auto& m) { return write_cr3(m.cpu, kPages | 0xfff); }, true},
        {"CR4: PAE off", [](auto& m) { return write_cr4(m.cpu, 0); }, false},
        {"CR4: a bit that nothing defines", [](auto& m) { return write_cr4(m.cpu, kCr4PAE | 1 << 15); },
         false},
        {"CR4: bits 63:32", [](auto& m) { return write_cr4(m.cpu, kCr4PAE | u64{1} << 32); }, false},
        {"CR4: LA57 in long mode", [](auto& m) { return write_cr4(m.cpu, kCr4PAE | kCr4LA57); }, false},
        {"CR4: PCIDE", [](auto& m) { return write_cr4(m.cpu, kCr4PAE | kCr4PCIDE); }, true},
        {"CR4: PCIDE while CR3 has bits 11:0",
         [](auto& m) { return write_cr3(m.cpu, kPages | 8) && write_cr4(m.cpu, kCr4PAE | kCr4PCIDE); },
         false},
        {"CR3: bit 63 with PCIDE",
         [](auto& m) {
             return write_cr4(m.cpu, kCr4PAE | kCr4PCIDE) && write_cr3(m.cpu, kPages | 5 | u64{1} << 63) &&
                    m.cpu.cr3 == (kPages | 5);
         },
         true},
        {"CR3: bit 62 with PCIDE",
         [](auto& m) {
             return write_cr4(m.cpu, kCr4PAE | kCr4PCIDE) && write_cr3(m.cpu, kPages | u64{1} << 62);
         },
         false},
        {"EFER: LME off while paging", [](auto& m) { return write_efer(m.cpu, kEferNXE); }, false},
        {"EFER: LMA is kept, not written",
         [](auto& m) { return write_efer(m.cpu, kEferLME) && m.cpu.long_mode(); }, true},
        {"EFER: a reserved bit", [](auto& m) { return write_efer(m.cpu, kEferLME | 2); }, false},
    };
    for (const Write& row : rows) {
        SystemMachine m;
        m.long64();
        EXPECT_EQ(row.write(m), row.allowed) << row.what;
        if (!row.allowed) {
            EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << row.what;
        }
    }
}

TEST(SystemControlRegisters, ChecksOutsideLongMode) {
    SystemMachine m;
    m.flat();
    EXPECT_FALSE(write_cr4(m.cpu, kCr4PAE | kCr4PCIDE)) << "PCIDE needs IA-32e mode";
    EXPECT_TRUE(write_cr4(m.cpu, kCr4PAE));
    EXPECT_TRUE(write_cr3(m.cpu, u64{0xff} << 32 | kPages)) << "32 bits";
    EXPECT_EQ(m.cpu.cr3, kPages);

    // In compatibility mode, where PG may be cleared: not with PCIDE.
    m.long64();
    ASSERT_TRUE(write_cr4(m.cpu, m.cpu.cr4 | kCr4PCIDE));
    m.cpu.seg[1].attributes = (m.cpu.seg[1].attributes & ~u32(kSegL)) | kSegDB;
    EXPECT_FALSE(write_cr0(m.cpu, m.cpu.cr0 & ~u64{kCr0PG}));
    ASSERT_TRUE(write_cr4(m.cpu, m.cpu.cr4 & ~u64{kCr4PCIDE}));
    EXPECT_TRUE(write_cr0(m.cpu, m.cpu.cr0 & ~u64{kCr0PG}));
    EXPECT_FALSE(m.cpu.long_mode());
}

TEST(SystemControlRegisters, ModelsOfferDifferentBits) {
    SystemMachine m("pentium3");
    m.flat();
    EXPECT_TRUE(write_cr4(m.cpu, kCr4PAE | kCr4PSE | kCr4PGE));
    for (const u64 absent : {kCr4PCIDE, kCr4LA57, kCr4SMEP, kCr4SMAP, kCr4UMIP, kCr4FSGSBASE, kCr4PKE})
        EXPECT_FALSE(write_cr4(m.cpu, absent)) << std::hex << absent;
    EXPECT_EQ(m.mmu->paging().physical_bits, 36);
}

// PAE paging: the PDPTEs are checked and loaded at MOV to CR3 and stay until then (SDM vol. 3, 4.4.1).
TEST(SystemControlRegisters, PdptesAreLoadedWithCr3) {
    SystemMachine m;
    m.flat();
    const u64 pdpt = 0x5020; // aligned to 32 bytes
    m.put<u64>(pdpt, 0x6000 | 1);
    for (u64 i = 1; i < 4; ++i)
        m.put<u64>(pdpt + 8 * i, 0xffe); // reserved bits, but not present
    m.put<u64>(0x6000, 0x83);
    ASSERT_TRUE(write_cr4(m.cpu, kCr4PAE));
    ASSERT_TRUE(write_cr3(m.cpu, pdpt));
    ASSERT_TRUE(write_cr0(m.cpu, m.cpu.cr0 | kCr0PG));
    EXPECT_TRUE(m.mmu->probe(0x1000).ok);
    m.put<u64>(pdpt, 0);
    EXPECT_TRUE(write_cr4(m.cpu, m.cpu.cr4 | kCr4MCE)) << "no bit of those that load them";
    EXPECT_TRUE(m.mmu->probe(0x1000).ok) << "memory was changed, the register not";
    for (const u64 reserved : {u64{1} << 1, u64{1} << 8, u64{1} << 40, u64{1} << 63}) {
        m.put<u64>(pdpt, 0x6000 | 1 | reserved);
        EXPECT_FALSE(write_cr3(m.cpu, pdpt)) << std::hex << reserved;
        EXPECT_TRUE(faulted(m.cpu, kGP, 0));
        EXPECT_FALSE(write_cr4(m.cpu, m.cpu.cr4 ^ kCr4PGE));
        EXPECT_TRUE(m.mmu->probe(0x1000).ok) << "a load that faults changes nothing";
    }
    m.put<u64>(pdpt, 0);
    EXPECT_TRUE(write_cr3(m.cpu, pdpt));
    EXPECT_FALSE(m.mmu->probe(0x1000).ok);
}

// INVPCID rcx, [rdx]
struct Invpcid {
    u64 type, low, linear;
    bool pcide, allowed;
};
TEST(SystemInvpcid, Checks) {
    const Invpcid rows[] = {
        {0, 0, 0x5000, false, true},
        {0, 7, 0x5000, true, true},
        {0, 7, 0x5000, false, false}, // a PCID without CR4.PCIDE
        {1, 7, 0, false, false},
        {2, 7, 0, false, true}, // types 2 and 3 do not look at it
        {1, 0xfff, 0, true, true},
        {3, 0, 0, true, true},
        {4, 0, 0, true, false}, // no such type
        {u64{1} << 32, 0, 0, true, false},
        {1, 0x1000, 0, true, false}, // bits 63:12
        {3, u64{1} << 63, 0, true, false},
        {0, 0, 0x0100'0000'0000'0000, true, false}, // not canonical
        {1, 0, 0x0100'0000'0000'0000, true, true},  // and not looked at
    };
    for (const Invpcid& row : rows) {
        SystemMachine m;
        m.long64();
        if (row.pcide) {
            ASSERT_TRUE(write_cr4(m.cpu, m.cpu.cr4 | kCr4PCIDE));
        }
        m.cpu.gpr[1] = row.type;
        m.cpu.gpr[2] = kData;
        m.put<u64>(kData, row.low);
        m.put<u64>(kData + 8, row.linear);
        m.code(kCode, {0x66, 0x0f, 0x38, 0x82, 0x0a, 0xf4});
        m.run(3, false);
        SCOPED_TRACE(::testing::Message() << "type " << row.type << std::hex << " PCID " << row.low);
        if (row.allowed)
            EXPECT_EQ(m.cpu.exit, ir::Exit::Halt);
        else
            EXPECT_TRUE(faulted(m.cpu, kGP, 0));
    }
    SystemMachine m;
    m.long64_user();
    m.code(kCode, {0x66, 0x0f, 0x38, 0x82, 0x0a, 0xf4});
    m.run(1, false);
    EXPECT_TRUE(faulted(m.cpu, kGP, 0)) << "above CPL 0";
    SystemMachine old("core2");
    old.long64();
    old.code(kCode, {0x66, 0x0f, 0x38, 0x82, 0x0a, 0xf4});
    old.run(1, false);
    EXPECT_TRUE(faulted(old.cpu, kUD, 0));
}

// A guest that goes between two address spaces and changes what is not loaded: what it may still see, and
// what not.
TEST(SystemInvpcid, DropsWhatItNames) {
    SystemMachine m;
    m.long64();
    ASSERT_TRUE(write_cr4(m.cpu, m.cpu.cr4 | kCr4PCIDE));
    const u64 linear = 0xa00000, pde = kPages + 0x2000 + 5 * 8, keep = u64{1} << 63;
    m.put<u64>(0x600010, 6);
    m.put<u64>(0x800010, 8);
    const auto see = [&] { // mov rax, [rbx]; hlt
        m.code(kCode, {0x48, 0x8b, 0x03, 0xf4});
        m.cpu.gpr[3] = linear + 0x10;
        m.cpu.rip = kCode;
        EXPECT_EQ(m.run(3, false), ir::Exit::Halt);
        m.cpu.halted = false;
        return m.cpu.gpr[0];
    };
    const auto invpcid = [&](u64 type, u64 pcid) {
        m.put<u64>(kData, pcid);
        m.put<u64>(kData + 8, linear);
        m.cpu.gpr[1] = type;
        m.cpu.gpr[2] = kData;
        m.code(kCode, {0x66, 0x0f, 0x38, 0x82, 0x0a, 0xf4});
        m.cpu.rip = kCode;
        EXPECT_EQ(m.run(3, false), ir::Exit::Halt);
        m.cpu.halted = false;
    };
    for (const u64 type : {0, 1, 2, 3}) {
        ASSERT_TRUE(write_cr3(m.cpu, kPages | 1));
        m.put<u64>(pde, 0x600087);
        EXPECT_EQ(see(), 6u);
        ASSERT_TRUE(write_cr3(m.cpu, kPages | 2 | keep));
        m.put<u64>(pde, 0x800087);
        invpcid(1, 2);
        ASSERT_TRUE(write_cr3(m.cpu, kPages | 1 | keep));
        EXPECT_EQ(see(), 6u) << "another space's invalidation";
        ASSERT_TRUE(write_cr3(m.cpu, kPages | 2 | keep));
        invpcid(type, 1);
        ASSERT_TRUE(write_cr3(m.cpu, kPages | 1 | keep));
        EXPECT_EQ(see(), 8u) << "type " << type;
    }
}

} // namespace
} // namespace dragoman::test
