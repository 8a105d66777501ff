// Page walks by the manual's rules (SDM vol. 3, ch. 4): each format, each permission, error codes, A and D.
#include "softmmu/mmu.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

namespace dragoman::softmmu {
namespace {

constexpr u64 P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100, XD = u64{1} << 63;
constexpr u32 EP = 1, EW = 2, EU = 4, ER = 8, EI = 16; // error code
constexpr auto R = AccessKind::Read, W = AccessKind::Write, M = AccessKind::ReadWrite,
               X = AccessKind::Execute;
constexpr auto S = View::Supervisor, SM = View::SupervisorSmap, U = View::User;

class Walk : public ::testing::Test {
  protected:
    template <class T> void put(u64 at, T value) { std::memcpy(map->ram() + at, &value, sizeof value); }
    template <class T> T get(u64 at) {
        T value;
        std::memcpy(&value, map->ram() + at, sizeof value);
        return value;
    }
    // Tables from 0x10000 on; the frame of the page at the end is 0x200000 | 0x5000.
    // 4-level: linear 0x12345678 -> PML4E 0, PDPTE 0, PDE 0x91, PTE 0x145.
    static constexpr u64 kLinear = 0x12345678, kFrame = 0x205000;
    static constexpr u64 kPml4e = 0x10000, kPdpte = 0x11000, kPde = 0x12000 + 0x91 * 8,
                         kPte = 0x13000 + 0x145 * 8;
    void four_level(u64 flags_all = P | RW | US) {
        put<u64>(kPml4e, 0x11000 | flags_all);
        put<u64>(kPdpte, 0x12000 | flags_all);
        put<u64>(kPde, 0x13000 | flags_all);
        put<u64>(kPte, kFrame | flags_all);
        paging = {.cr3 = 0x10000,
                  .paging = true,
                  .write_protect = true,
                  .pae = true,
                  .long_mode = true,
                  .nxe = true};
    }
    // 32-bit: PDE 0x48, PTE 0x345.
    static constexpr u64 kPde32 = 0x10000 + 0x48 * 4, kPte32 = 0x11000 + 0x345 * 4;
    void two_level(u32 flags_all = P | RW | US) {
        put<u32>(kPde32, u32(0x11000 | flags_all));
        put<u32>(kPte32, u32(kFrame | flags_all));
        paging = {.cr3 = 0x10000, .paging = true, .write_protect = true, .pse = true};
    }
    Mmu::Translation walk(AccessKind kind, View view, u64 linear = kLinear) {
        mmu.set_paging(paging);
        return mmu.translate(linear, kind, view);
    }

    Log log;
    std::unique_ptr<PhysicalMap> map = std::move(*PhysicalMap::create(16 * MiB));
    std::unique_ptr<Tlb> tlb = std::make_unique<Tlb>();
    Mmu mmu{*map, *tlb, log};
    PagingState paging;
};

TEST_F(Walk, WithoutPagingLinearIsPhysicalAndWrapsAt4GiB) {
    EXPECT_EQ(walk(W, U, 0x1'2345'6789).gpa, 0x23456789u);
    map->set_a20(false);
    EXPECT_EQ(walk(R, S, 0x100010).gpa, 0x10u);
}

TEST_F(Walk, EachFormatFindsItsPage) {
    four_level();
    auto t = walk(R, U);
    ASSERT_TRUE(t.ok) << t.why;
    EXPECT_EQ(t.gpa, kFrame | 0x678);
    EXPECT_EQ(t.mapping.page_bits, 12);

    put<u64>(kPde, u64{0x400000} | P | RW | US | PS);
    t = walk(R, U);
    EXPECT_EQ(t.gpa, 0x400000u + (kLinear & 0x1fffff));
    EXPECT_EQ(t.mapping.page_bits, 21);

    put<u64>(kPdpte, (u64{1} << 30) | P | RW | US | PS);
    t = walk(R, U);
    EXPECT_EQ(t.gpa, (u64{1} << 30) + (kLinear & 0x3fffffff));
    EXPECT_EQ(t.mapping.page_bits, 30);

    two_level();
    t = walk(R, U);
    EXPECT_EQ(t.gpa, kFrame | 0x678);
    put<u32>(kPde32, u32(0x400000 | P | RW | US | PS));
    t = walk(R, U);
    EXPECT_EQ(t.gpa, 0x400000u + (kLinear & 0x3fffff));
    EXPECT_EQ(t.mapping.page_bits, 22);
    put<u32>(kPde32,
             u32(0x400000 | 0x2a << 13 | P | RW | US | PS)); // PSE-36: bits 20:13 are address bits 39:32
    EXPECT_EQ(walk(R, U).gpa, (u64{0x2a} << 32) + 0x400000 + (kLinear & 0x3fffff));
    paging.pse = false; // then bit 7 of a PDE is ignored
    put<u32>(kPde32, u32(0x11000 | P | RW | US | PS));
    EXPECT_EQ(walk(R, U).gpa, kFrame | 0x678);
}

TEST_F(Walk, PaeTakesItsPdptesFromTheProcessor) {
    four_level();
    paging.long_mode = false;
    paging.pdpte[0] = 0x12000 | P;
    ASSERT_TRUE(walk(R, U).ok);
    EXPECT_EQ(walk(R, U).gpa, kFrame | 0x678);
    paging.pdpte[0] = 0;
    const auto t = walk(W, U);
    EXPECT_FALSE(t.ok);
    EXPECT_EQ(t.fault.error, EW | EU);
    paging.pdpte[3] = 0x12000 | P;
    EXPECT_EQ(walk(R, U, kLinear | 0xc0000000).gpa, kFrame | 0x678);
}

TEST_F(Walk, FiveLevels) {
    four_level();
    put<u64>(0x14000 + 3 * 8, 0x10000 | P | RW | US);
    paging.cr3 = 0x14000;
    paging.la57 = true;
    EXPECT_EQ(walk(R, U, kLinear | u64{3} << 48).gpa, kFrame | 0x678);
    EXPECT_FALSE(walk(R, U).ok);
}

struct Permission {
    const char* what;
    u64 upper, leaf; // flags of the PDE and of the PTE; P is added
    AccessKind kind;
    View view;
    bool wp, nxe, smep;
    bool ok;
    u32 error; // if not
};

// Every row by itself; write_protect, nxe, smep as given.
constexpr Permission permissions[] = {
    {"user reads a user page", US, US, R, U, true, true, false, true, 0},
    {"user reads a supervisor page", US, 0, R, U, true, true, false, false, EP | EU},
    {"user reads under a supervisor table", 0, US, R, U, true, true, false, false, EP | EU},
    {"user writes a read-only page", US | RW, US, W, U, true, true, false, false, EP | EW | EU},
    {"user writes under a read-only table", US, US | RW, W, U, true, true, false, false, EP | EW | EU},
    {"user's read-modify-write counts as a write", US | RW, US, M, U, true, true, false, false, EP | EW | EU},
    {"user writes where both allow", US | RW, US | RW, W, U, true, true, false, true, 0},
    {"user writes a read-only page without WP", US | RW, US, W, U, false, true, false, false, EP | EW | EU},
    {"supervisor writes a read-only page with WP", RW, 0, W, S, true, true, false, false, EP | EW},
    {"supervisor writes a read-only page without WP", RW, 0, W, S, false, true, false, true, 0},
    {"supervisor reads a user page", US, US, R, S, true, true, false, true, 0},
    {"SMAP: supervisor reads a user page", US, US, R, SM, true, true, false, false, EP},
    {"SMAP: supervisor writes a user page", US | RW, US | RW, W, SM, true, true, false, false, EP | EW},
    {"SMAP: a supervisor page is no matter", 0, 0, R, SM, true, true, false, true, 0},
    {"SMAP: one supervisor table makes it a supervisor page", 0, US, R, SM, true, true, false, true, 0},
    {"SMAP says nothing of fetches", US, US, X, SM, true, true, false, true, 0},
    {"user executes", US, US, X, U, true, true, false, true, 0},
    {"user executes an XD page", US, US | XD, X, U, true, true, false, false, EP | EU | EI},
    {"supervisor executes under an XD table", XD, 0, X, S, true, true, false, false, EP | EI},
    {"XD does not hinder reads", US, US | XD, R, U, true, true, false, true, 0},
    {"XD without NXE is reserved", US, US | XD, R, U, true, false, false, false, EP | ER | EU},
    {"SMEP: supervisor executes a user page", US, US, X, S, true, true, true, false, EP | EI},
    {"SMEP: supervisor executes its own page", 0, US, X, S, true, true, true, true, 0},
    {"SMEP says nothing of user code", US, US, X, U, true, true, true, true, 0},
    {"a fetch without NXE and SMEP has no I/D bit", US, 0, X, U, true, false, false, false, EP | EU},
    {"with SMEP alone it has", US, 0, X, U, true, false, true, false, EP | EU | EI},
};

TEST_F(Walk, Permissions) {
    for (const Permission& p : permissions) {
        SCOPED_TRACE(p.what);
        four_level();
        put<u64>(kPde, 0x13000 | P | p.upper);
        put<u64>(kPte, kFrame | P | p.leaf);
        paging.write_protect = p.wp;
        paging.nxe = p.nxe;
        paging.smep = p.smep;
        const auto t = walk(p.kind, p.view);
        EXPECT_EQ(t.ok, p.ok) << t.why;
        if (!t.ok && !p.ok) {
            EXPECT_EQ(t.fault.error, p.error) << t.why;
            EXPECT_EQ(t.fault.address, kLinear);
            EXPECT_EQ(get<u64>(kPte) & (A | D), 0u) << "a walk that fails must not touch the PTE";
        }
    }
}

TEST_F(Walk, NotPresentAtEachLevel) {
    for (const u64 entry : {kPml4e, kPdpte, kPde, kPte}) {
        four_level();
        put<u64>(entry, get<u64>(entry) & ~P);
        EXPECT_EQ(walk(W, U).fault.error, EW | EU) << std::hex << entry;
        EXPECT_EQ(walk(X, S).fault.error, EI) << std::hex << entry;
        EXPECT_EQ(walk(R, S).fault.error, 0u) << std::hex << entry;
    }
}

TEST_F(Walk, ReservedBits) {
    struct Case {
        u64 entry, bits;
        bool faults;
    };
    const u64 beyond = u64{1} << PhysicalMap::address_bits, ignored = u64{1} << 52;
    for (const Case& c : std::initializer_list<Case>{{kPml4e, PS, true},
                                                     {kPml4e, beyond, true},
                                                     {kPdpte, beyond, true},
                                                     {kPte, beyond, true},
                                                     {kPte, u64{1} << 51, true},
                                                     {kPte, ignored, false},
                                                     {kPte, PS, false},            // PAT
                                                     {kPdpte, PS | 1 << 13, true}, // 1 GiB page: bits 29:13
                                                     {kPde, PS | 1 << 20, true},
                                                     {kPde, PS | 1 << 12, true}}) {
        four_level();
        // A large page: keep of the table's address only what the case says.
        const u64 old = get<u64>(c.entry), flags = P | RW | US;
        put<u64>(c.entry,
                 (c.bits & PS) && c.entry != kPml4e && c.entry != kPte ? flags | c.bits : old | c.bits);
        const auto t = walk(R, U);
        const bool large_pat = c.entry == kPde && c.bits == (PS | 1 << 12); // bit 12 of a large page is PAT
        EXPECT_EQ(!t.ok, c.faults && !large_pat) << std::hex << c.entry << " " << c.bits << " " << t.why;
        if (!t.ok) {
            EXPECT_EQ(t.fault.error, EP | ER | EU) << std::hex << c.bits;
        }
    }
    two_level();
    put<u32>(kPde32, u32(1 << 21 | P | RW | US | PS));
    EXPECT_EQ(walk(W, U).fault.error, EP | EW | ER | EU);
    four_level(); // PAE: bits 62:40, also those that long mode ignores
    paging.long_mode = false;
    paging.pdpte[0] = 0x12000 | P;
    put<u64>(kPte, get<u64>(kPte) | ignored);
    EXPECT_EQ(walk(R, U).fault.error, EP | ER | EU);
}

TEST_F(Walk, AccessedAndDirty) {
    four_level();
    auto t = walk(R, U);
    for (const u64 entry : {kPml4e, kPdpte, kPde, kPte})
        EXPECT_EQ(get<u64>(entry) & (A | D), A) << std::hex << entry;
    EXPECT_FALSE(t.writable) << "the first store must come by to set D";
    t = walk(W, U);
    EXPECT_TRUE(t.writable);
    EXPECT_EQ(get<u64>(kPte) & (A | D), A | D);
    EXPECT_EQ(get<u64>(kPde) & (A | D), A) << "D is a leaf's";
    EXPECT_TRUE(walk(R, U).writable);

    two_level();
    walk(M, U);
    EXPECT_EQ(get<u32>(kPde32) & (A | D), A);
    EXPECT_EQ(get<u32>(kPte32) & (A | D), A | D);
}

TEST_F(Walk, ProbeTouchesNothingAndIgnoresPermissions) {
    four_level(P);
    mmu.set_paging(paging);
    const auto t = mmu.probe(kLinear);
    ASSERT_TRUE(t.ok);
    EXPECT_EQ(t.gpa, kFrame | 0x678);
    EXPECT_EQ(get<u64>(kPte) & A, 0u);
}

TEST_F(Walk, GlobalNeedsPge) {
    four_level(P | RW | US | G);
    EXPECT_FALSE(walk(R, U).mapping.global);
    paging.pge = true;
    EXPECT_TRUE(walk(R, U).mapping.global);
}

TEST_F(Walk, TablesOutsideMemoryFault) {
    four_level();
    paging.cr3 = 0xff'0000'0000; // nobody answers: ones, so bit 7 of the PML4E is set
    EXPECT_EQ(walk(R, S).fault.error, EP | ER);
}

} // namespace
} // namespace dragoman::softmmu
