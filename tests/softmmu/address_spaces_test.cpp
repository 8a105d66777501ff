// Process-context identifiers, and which events drop which translations (SDM vol. 3, 4.10.4.1).
#include "softmmu/mmu.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

namespace dragoman::softmmu {
namespace {

constexpr u64 P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100;

// Four-level paging. Space n has its tables at 0x100000 + n * 0x10000 and its own page at kLocal; all have
// the global page kGlobal and a 2 MiB page at kLarge.
class Spaces : public ::testing::Test {
  protected:
    static constexpr u64 kLocal = 0x5000, kOther = 0x7000, kGlobal = 0x9000, kLarge = 0x600000;
    static u64 tables(unsigned n) { return 0x100000 + n * 0x10000; }

    void SetUp() override {
        for (unsigned n = 0; n < 12; ++n) {
            put(tables(n), (tables(n) + 0x1000) | P | RW | US);
            put(tables(n) + 0x1000, (tables(n) + 0x2000) | P | RW | US);
            put(tables(n) + 0x2000, (tables(n) + 0x3000) | P | RW | US);
            put(tables(n) + 0x2000 + 8 * 3, 0x800000 | P | RW | US | PS);
            pte(n, kLocal, 0x20000 + n * 0x1000);
            pte(n, kOther, 0x40000 + n * 0x1000);
            pte(n, kGlobal, 0x60000, G);
        }
        load(0, false);
        mmu.flush(false);
    }
    void put(u64 at, u64 value) { std::memcpy(map->ram() + at, &value, 8); }
    void pte(unsigned space, u64 linear, u64 frame, u64 flags = 0) {
        put(tables(space) + 0x3000 + linear / 4096 * 8, frame | P | RW | US | A | D | flags);
    }
    void load(u16 pcid, bool keep) { load(pcid, pcid, keep); }
    void load(u16 pcid, unsigned space, bool keep) {
        paging.cr3 = tables(space) | pcid;
        paging.pcid = pcid;
        mmu.set_paging(paging);
        mmu.load_address_space(keep);
    }
    bool in_tlb(u64 linear, View view = View::User) { return tlb->entry(view, linear).read_tag == linear; }
    // Is it known what the tables of the loaded space do not say any more?
    template <class F> auto without_tables(F f) {
        const u64 root = paging.cr3 & ~u64{0xfff};
        const auto keep = *reinterpret_cast<u64*>(map->ram() + root);
        put(root, 0);
        const auto answer = f();
        put(root, keep);
        return answer;
    }
    bool cached(u64 linear, View view = View::User) {
        return without_tables([&] { return mmu.acquire(linear, 1, AccessKind::Read, view).host != nullptr; });
    }
    bool writable(u64 linear) { return cached(linear) && tlb->entry(View::User, linear).write_tag == linear; }
    bool runs(u64 linear) {
        return without_tables([&] { return mmu.fetch(linear, View::User).ok; });
    }
    u64 touch(u64 linear, AccessKind kind = AccessKind::Read) {
        const auto got = mmu.acquire(linear, 1, kind, View::User);
        return got.host ? u64(got.host - map->ram()) : ~u64{0};
    }
    void touch_all() {
        for (const u64 linear : {kLocal, kOther, kGlobal, kLarge})
            touch(linear);
    }

    Log log;
    std::unique_ptr<PhysicalMap> map = std::move(*PhysicalMap::create(16 * MiB));
    std::unique_ptr<Tlb> tlb = std::make_unique<Tlb>();
    Mmu mmu{*map, *tlb, log};
    PagingState paging{.paging = true, .pae = true, .long_mode = true, .nxe = true, .pge = true};
};

TEST_F(Spaces, GoingBackFindsWhatWasThere) {
    load(1, false);
    touch_all();
    load(2, false);
    EXPECT_FALSE(cached(kLocal));
    EXPECT_FALSE(cached(kLarge));
    EXPECT_TRUE(cached(kGlobal)) << "global translations belong to every PCID (4.10.2.4)";
    EXPECT_EQ(touch(kLocal), 0x22000u);
    pte(1, kLocal, 0x50000); // nobody is told: the old translation may be used
    load(1, true);
    EXPECT_TRUE(cached(kLocal));
    EXPECT_EQ(touch(kLocal), 0x21000u);
    load(2, true);
    EXPECT_EQ(touch(kLocal), 0x22000u);
}

TEST_F(Spaces, OnlyWhatIsUsedComesBackAndTheRestStays) {
    load(1, false);
    touch_all();
    for (unsigned turn = 0; turn < 3; ++turn) {
        load(2, true);
        touch(kLocal);
        load(1, true);
        EXPECT_FALSE(in_tlb(kLocal));
        EXPECT_TRUE(cached(kLocal));
        EXPECT_TRUE(in_tlb(kLocal));
        EXPECT_FALSE(in_tlb(kOther));
    }
    EXPECT_TRUE(cached(kOther));
    EXPECT_TRUE(cached(kLarge));
    pte(1, kLocal, 0x50000);
    load(1, false); // neither from the tables nor from what had been kept
    EXPECT_EQ(touch(kLocal), 0x50000u);
    EXPECT_FALSE(cached(kOther));
}

TEST_F(Spaces, ViewsAreKeptApart) {
    load(1, false);
    touch(kLocal);
    mmu.acquire(kOther, 1, AccessKind::Read, View::Supervisor);
    load(2, true);
    load(1, true);
    EXPECT_FALSE(cached(kLocal, View::Supervisor));
    EXPECT_FALSE(cached(kOther));
    EXPECT_TRUE(cached(kLocal));
    EXPECT_TRUE(cached(kOther, View::Supervisor));
}

// Its page was used, and not since the space is loaded again.
class KeptOfTheLoadedSpace : public Spaces {
  protected:
    void SetUp() override {
        Spaces::SetUp();
        paging.pke = true;
        pte(1, kOther, 0x41000, u64{2} << 59);
        load(1, false);
        touch_again();
    }
    void touch_again() {
        for (const u64 linear : {kLocal, kOther, kGlobal, kLarge})
            touch(linear, AccessKind::Write), mmu.fetch(linear, View::User);
        away_and_back();
    }
    void away_and_back() {
        load(2, true);
        load(1, true);
        EXPECT_FALSE(in_tlb(kLocal));
    }
    void expect_gone(u64 linear) {
        EXPECT_FALSE(cached(linear)) << std::hex << linear;
        EXPECT_FALSE(runs(linear)) << std::hex << linear;
    }
    void expect_known(u64 linear) {
        EXPECT_TRUE(cached(linear)) << std::hex << linear;
        EXPECT_TRUE(runs(linear)) << std::hex << linear;
    }
};

TEST_F(KeptOfTheLoadedSpace, IsKnown) {
    for (const u64 linear : {kLocal, kOther, kGlobal, kLarge})
        expect_known(linear);
    EXPECT_TRUE(writable(kLocal));
}

TEST_F(KeptOfTheLoadedSpace, IsFlushed) {
    load(1, false);
    expect_gone(kLocal);
    expect_known(kGlobal);
    touch_again();
    mmu.invalidate_space(1);
    expect_gone(kLocal);
    touch_again();
    mmu.flush(true);
    expect_gone(kLocal);
    expect_known(kGlobal);
    touch_again();
    mmu.flush(false);
    expect_gone(kLocal);
    expect_gone(kGlobal);
}

TEST_F(KeptOfTheLoadedSpace, IsDroppedPageByPage) {
    mmu.invlpg(kLocal + 5);
    expect_gone(kLocal);
    mmu.invalidate_page(2, kOther);
    expect_known(kOther);
    mmu.invlpg(kLarge + 0x12345); // any address of the large page
    expect_gone(kLarge);
    touch_again();
    mmu.invalidate_page(1, kOther + 5);
    mmu.invalidate_page(1, kLarge + 0x12345);
    mmu.invalidate_page(1, kGlobal);
    expect_known(kLocal);
    expect_gone(kOther);
    expect_gone(kLarge);
    expect_known(kGlobal);
    mmu.invalidate_space(1); // nothing large is kept from now on
    touch(kLocal);
    mmu.acquire(kLocal, 1, AccessKind::Read, View::Supervisor);
    away_and_back();
    mmu.invlpg(kLocal);
    EXPECT_FALSE(cached(kLocal));
    EXPECT_FALSE(cached(kLocal, View::Supervisor)) << "in every view";
}

TEST_F(KeptOfTheLoadedSpace, IsProtected) {
    map->mark_code(0x21000, 16);
    EXPECT_TRUE(cached(kLocal));
    EXPECT_FALSE(writable(kLocal));
    touch(kOther, AccessKind::Write);
    EXPECT_TRUE(writable(kOther));
    away_and_back();
    EXPECT_TRUE(writable(kOther)) << "it was written since";
}

TEST_F(KeptOfTheLoadedSpace, GoesWithItsKey) {
    mmu.set_protection_keys(1u << 4, 0); // AD of key 2
    EXPECT_FALSE(cached(kOther));
    EXPECT_TRUE(runs(kOther)) << "keys are not asked about code";
    EXPECT_TRUE(cached(kLocal));
}

TEST_F(KeptOfTheLoadedSpace, IsForgottenWithTheMap) {
    map->set_a20(false);
    map->set_a20(true);
    expect_gone(kLocal);
}

TEST_F(KeptOfTheLoadedSpace, IsWatched) {
    unsigned hits = 0;
    mmu.set_watches({{.linear = kLocal, .on_read = true}},
                    [&](const Mmu::Watch&, u64, u32, AccessKind) { return ++hits; });
    touch(kLocal);
    EXPECT_FALSE(in_tlb(kLocal));
    touch(kLocal);
    EXPECT_EQ(hits, 2u);
}

TEST_F(KeptOfTheLoadedSpace, GivesWayToAGlobalPage) {
    load(2, true);
    pte(2, kLocal, 0x60000, G);
    touch(kLocal);
    mmu.fetch(kLocal, View::User);
    load(1, true);
    EXPECT_EQ(touch(kLocal), 0x60000u);
    EXPECT_EQ(mmu.fetch(kLocal, View::User).gpa, 0x60000u);
    mmu.invlpg(kLocal); // both
    expect_gone(kLocal);
}

TEST_F(Spaces, NumbersOfCodeBeginAgainInEverySpace) {
    load(1, false);
    mmu.fetch(kLocal, View::User);
    load(2, true);
    mmu.restart_code_numbers();
    const u32 other = mmu.fetch(kOther, View::User).number;
    load(1, true);
    EXPECT_NE(mmu.fetch(kLocal, View::User).number, other) << "numbers stand for one page each";
}

TEST_F(Spaces, WithoutBit63TheNewSpacesTranslationsGo) {
    load(1, false);
    touch_all();
    load(2, true);
    touch(kLocal);
    pte(1, kLocal, 0x50000);
    load(1, false);
    EXPECT_FALSE(cached(kLocal));
    EXPECT_TRUE(cached(kGlobal));
    EXPECT_EQ(touch(kLocal), 0x50000u);
    load(2, true);
    EXPECT_TRUE(cached(kLocal)) << "those of the old one stay";
}

TEST_F(Spaces, WithoutPcidsEveryLoadFlushes) {
    touch_all();
    load(0, 3, false);
    EXPECT_FALSE(cached(kLocal));
    EXPECT_TRUE(cached(kGlobal));
    EXPECT_EQ(touch(kLocal), 0x23000u);
    load(0, 0, false);
    EXPECT_EQ(touch(kLocal), 0x20000u);
    paging.pge = false; // then nothing is global
    mmu.set_paging(paging);
    mmu.flush(false);
    touch_all();
    load(0, 0, false);
    EXPECT_FALSE(cached(kGlobal));
}

TEST_F(Spaces, TheOldestMakesRoom) {
    for (u16 pcid = 1; pcid < 12; ++pcid) {
        load(pcid, false);
        touch(kLocal);
    }
    load(10, true);
    EXPECT_TRUE(cached(kLocal));
    load(1, true);
    EXPECT_FALSE(cached(kLocal)) << "a TLB may forget";
    EXPECT_EQ(touch(kLocal), 0x21000u);
}

TEST_F(Spaces, InvlpgDropsThisSpacesAndGlobalTranslations) {
    load(1, false);
    touch_all();
    load(2, true);
    touch_all();
    mmu.invlpg(kLocal + 5);
    mmu.invlpg(kGlobal);
    mmu.invlpg(kLarge + 0x12345); // any address of the large page
    EXPECT_FALSE(cached(kLocal));
    EXPECT_TRUE(cached(kOther));
    EXPECT_FALSE(cached(kGlobal));
    EXPECT_FALSE(cached(kLarge));
    load(1, true);
    EXPECT_TRUE(cached(kLocal)) << "of another PCID";
    EXPECT_TRUE(cached(kLarge));
    EXPECT_FALSE(cached(kGlobal));
}

TEST_F(Spaces, InvalidatingAnAddressInAnySpace) { // INVPCID type 0
    load(1, false);
    touch_all();
    mmu.invalidate_page(1, kLocal);
    mmu.invalidate_page(1, kGlobal);
    EXPECT_FALSE(cached(kLocal));
    EXPECT_TRUE(cached(kGlobal)) << "except global translations";
    EXPECT_TRUE(cached(kOther));
    touch_all();
    load(2, true);
    mmu.invalidate_page(1, kLarge + 0x1f0000);
    mmu.invalidate_page(1, kOther);
    load(1, true);
    EXPECT_TRUE(cached(kLocal));
    EXPECT_FALSE(cached(kLarge));
    EXPECT_FALSE(cached(kOther));
}

TEST_F(Spaces, InvalidatingAWholeSpace) { // INVPCID type 1
    load(1, false);
    touch_all();
    load(2, true);
    touch_all();
    mmu.invalidate_space(2);
    EXPECT_FALSE(cached(kLocal));
    EXPECT_TRUE(cached(kGlobal));
    mmu.invalidate_space(1);
    load(1, true);
    EXPECT_FALSE(cached(kLocal));
}

TEST_F(Spaces, InvalidatingAllSpaces) { // INVPCID types 2 and 3
    for (const bool keep_global : {true, false}) {
        load(1, false);
        touch_all();
        load(2, true);
        touch_all();
        mmu.flush(keep_global);
        EXPECT_FALSE(cached(kLocal));
        EXPECT_EQ(cached(kGlobal), keep_global);
        load(1, true);
        EXPECT_FALSE(cached(kLocal));
    }
}

TEST_F(Spaces, AProtectedPageStaysProtectedInEverySpace) {
    load(1, false);
    touch(kLocal, AccessKind::Write);
    ASSERT_TRUE(writable(kLocal));
    load(2, true);
    map->mark_code(0x21000, 16); // the frame of space 1's page
    load(1, true);
    EXPECT_TRUE(cached(kLocal));
    EXPECT_FALSE(writable(kLocal)) << "a store onto translated code must be seen";
}

TEST_F(Spaces, AChangedMapReachesEverySpace) {
    load(1, false);
    touch(kLocal);
    load(2, true);
    map->set_a20(false);
    map->set_a20(true);
    load(1, true);
    EXPECT_FALSE(cached(kLocal));
}

TEST_F(Spaces, CodeComesBackWithItsSpace) {
    load(1, false);
    const auto first = mmu.fetch(kLocal, View::User);
    ASSERT_TRUE(first.ok && mmu.fetch(kOther, View::User).ok && mmu.fetch(kGlobal, View::User).ok);
    load(2, false);
    EXPECT_FALSE(runs(kLocal));
    EXPECT_TRUE(runs(kGlobal));
    EXPECT_NE(mmu.fetch(kLocal, View::User).number, first.number) << "another page of RAM";
    load(1, true);
    ASSERT_TRUE(runs(kLocal));
    EXPECT_EQ(mmu.fetch(kLocal, View::User).number, first.number);
    load(2, true);
    mmu.invalidate_page(1, kLocal);
    load(1, true);
    EXPECT_FALSE(runs(kLocal));
    EXPECT_TRUE(runs(kOther));
    EXPECT_EQ(mmu.fetch(kLocal, View::User).number, first.number);
    mmu.invalidate_space(1);
    EXPECT_FALSE(runs(kLocal));
    EXPECT_TRUE(runs(kGlobal));
    load(1, false);
    EXPECT_FALSE(runs(kOther));
    mmu.invlpg(kGlobal);
    EXPECT_FALSE(runs(kGlobal));
}

// Keys 1 and 2 change their rights: what was filled under the old ones must go, and nothing else.
TEST_F(Spaces, ChangedProtectionKeysDropTheirPages) {
    const auto key = [](u64 n) { return n << 59; };
    paging.pke = true;
    load(1, false);
    pte(1, kLocal, 0x21000, key(1));
    pte(1, kOther, 0x41000, key(2));
    touch_all();
    mmu.set_protection_keys(1u << 2, 0); // AD of key 1
    EXPECT_FALSE(cached(kLocal));
    EXPECT_TRUE(cached(kOther));
    EXPECT_TRUE(cached(kGlobal));
    paging.pkru = 1u << 2;
    load(2, true);
    mmu.set_protection_keys(1u << 2 | 2u << 4, 0); // WD of key 2 while the space is not loaded
    paging.pkru = 1u << 2 | 2u << 4;
    load(1, true);
    EXPECT_FALSE(cached(kOther));
    EXPECT_TRUE(cached(kLarge));
}

} // namespace
} // namespace dragoman::softmmu
