// The host window: pages in their slots, and window tags that say so (softmmu/host_window.h).
#include "softmmu/host_window.h"

#include "softmmu/mmu.h"

#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

namespace dragoman::softmmu {
namespace {

constexpr auto R = AccessKind::Read, W = AccessKind::Write;
constexpr auto S = View::Supervisor, U = View::User;
constexpr u32 kHeat = 4;

// 4-level paging: a PTE for each linear address that a test asks for.
class Window : public ::testing::Test {
  protected:
    void SetUp() override {
        window = HostWindow::create(*map);
        if (!window) GTEST_SKIP() << "the first 4 GiB of host addresses are not free";
        mmu.set_window(window.get(), kHeat);
        mmu.set_paging(
            {.cr3 = 0x1000, .paging = true, .write_protect = true, .pae = true, .long_mode = true});
    }
    template <class T> void put(u64 at, T value) { std::memcpy(map->ram() + at, &value, sizeof value); }
    u64 get(u64 at) {
        u64 value;
        std::memcpy(&value, map->ram() + at, sizeof value);
        return value;
    }
    // Maps a page (4 KiB, or 2 MiB with PS) to where its PTE (or PDE) says.
    void page(u64 linear, u64 entry) {
        u64 table = 0x1000;
        const unsigned last = entry & 0x80 ? 21 : 12;
        for (unsigned shift = 39; shift > last; shift -= 9) {
            const u64 at = table + (linear >> shift & 511) * 8;
            if (!get(at)) put<u64>(at, (next_table += 0x1000) | 7);
            table = get(at) & ~u64{0xfff};
        }
        put<u64>(table + (linear >> last & 511) * 8, entry);
    }
    bool hit(u64 linear, bool write, View view = U) {
        const auto& w = mmu.tlb().tables().window[unsigned(view)];
        return linear - (write ? w.write_tags : w.read_tags)[tlb_index(linear)] <= kPageSize;
    }
    // As generated code sees it, when the page was hot enough.
    u8 through_window(u64 linear) { return *reinterpret_cast<const u8*>(window->base() + u32(linear)); }
    // As generated code does when it found the page in the TLB often enough.
    void heat(u64 linear, AccessKind kind = R, View view = U) {
        ASSERT_TRUE(mmu.acquire(linear, 1, kind, view).host);
        mmu.promote(linear, view);
    }

    Log log;
    std::unique_ptr<PhysicalMap> map = std::move(*PhysicalMap::create(32 * MiB));
    std::unique_ptr<HostWindow> window;
    std::unique_ptr<Tlb> tlb = std::make_unique<Tlb>();
    Mmu mmu{*map, *tlb, log};
    u64 next_table = 0x10000;
};

constexpr u64 kHere = 0x7f1234567000, kAlias = 0x551234567000; // the same low 32 bits

TEST_F(Window, AHotPageIsMappedAndAColdOneIsNot) {
    page(kHere, 0x200007);
    put<u8>(0x200123, 42);
    ASSERT_TRUE(mmu.acquire(kHere, 1, R, U).host);
    EXPECT_FALSE(hit(kHere + 0x123, false));
    heat(kHere);
    EXPECT_TRUE(hit(kHere + 0x123, false));
    EXPECT_EQ(through_window(kHere + 0x123), 42);
    EXPECT_EQ(window->counters().calls, 1u);
}

TEST_F(Window, WhatHelpersAccessOftenBecomesHot) {
    page(kHere, 0x200007);
    ASSERT_TRUE(mmu.acquire(kHere, 1, W, U).host);
    mmu.accessed_cold(kHere + 0x123, true, U, kHeat - 1);
    EXPECT_FALSE(hit(kHere, true));
    for (unsigned n = 0; n < 3; ++n)
        mmu.accessed_cold(kHere + 0xfff, true, U, kHeat - 1);
    EXPECT_TRUE(hit(kHere, true));
    EXPECT_TRUE(hit(kHere, false));
    EXPECT_EQ(window->counters().calls, 1u);
}

TEST_F(Window, WhatIsOnlyAccessedWithThePageBesideItBecomesHot) {
    page(kHere, 0x200007), page(kHere + kPageSize, 0x204007);
    for (unsigned n = 0; n < kHeat + 2; ++n)
        ASSERT_TRUE(mmu.acquire(kHere + kPageSize - 2, 4, R, U).host);
    EXPECT_TRUE(hit(kHere, false));
    EXPECT_TRUE(hit(kHere + kPageSize, false));
}

TEST_F(Window, AHotVictimComesBack) {
    const u64 other = kHere + (kTlbEntries << kPageBits); // one index
    page(kHere, 0x200007), page(other, 0x204007);
    for (const u64 linear : {kHere, other})
        ASSERT_TRUE(mmu.acquire(linear, 1, W, U).host);
    mmu.promote(kHere, U);
    EXPECT_TRUE(hit(kHere, true));
    EXPECT_FALSE(hit(other, false));
    EXPECT_EQ(mmu.tlb().find(U, other).write_tag, other);
}

TEST_F(Window, WriteTagsWaitForD) {
    page(kHere, 0x200007);
    heat(kHere);
    EXPECT_FALSE(hit(kHere, true));
    ASSERT_TRUE(mmu.acquire(kHere, 1, W, U).host);
    EXPECT_TRUE(hit(kHere, true));
    EXPECT_FALSE(hit(kHere, true, S));
    mmu.map().mark_code(0x200000, 4);
    EXPECT_FALSE(hit(kHere, true));
    EXPECT_TRUE(hit(kHere, false));
}

TEST_F(Window, AFlushKeepsTheSlot) {
    page(kHere, 0x200007);
    heat(kHere);
    mmu.flush(false);
    EXPECT_FALSE(hit(kHere, false));
    ASSERT_TRUE(mmu.acquire(kHere, 1, R, U).host);
    EXPECT_TRUE(hit(kHere, false));
    EXPECT_EQ(window->counters().calls, 1u);
}

TEST_F(Window, AnotherPageBehindTheSameAddressIsNotTheOneInTheSlot) {
    page(kHere, 0x200007);
    put<u8>(0x200000, 1);
    put<u8>(0x300000, 2);
    heat(kHere);
    page(kHere, 0x300007);
    mmu.invlpg(kHere);
    ASSERT_TRUE(mmu.acquire(kHere, 1, R, U).host);
    EXPECT_FALSE(hit(kHere, false));
    heat(kHere);
    EXPECT_TRUE(hit(kHere, false));
    EXPECT_EQ(through_window(kHere), 2);
}

TEST_F(Window, TwoAddressesOfOneSlotTakeTurns) {
    page(kHere, 0x200007);
    page(kAlias, 0x300007);
    put<u8>(0x200000, 1);
    put<u8>(0x300000, 2);
    heat(kHere, R, U);
    ASSERT_TRUE(mmu.acquire(kAlias, 1, R, S).host); // another view: both are in the TLB
    EXPECT_TRUE(hit(kHere, false, U));
    EXPECT_FALSE(hit(kAlias, false, S));
    heat(kAlias, R, S);
    EXPECT_TRUE(hit(kAlias, false, S));
    EXPECT_FALSE(hit(kHere, false, U));
    EXPECT_EQ(through_window(kAlias), 2);
    // The same page of RAM may answer at both.
    page(kAlias, 0x200007);
    mmu.invlpg(kAlias);
    heat(kAlias, R, S);
    EXPECT_TRUE(hit(kAlias, false, S));
    ASSERT_TRUE(mmu.acquire(kHere, 1, R, U).host);
    mmu.tlb().settle_window(kHere);
    EXPECT_TRUE(hit(kHere, false, U));
}

TEST_F(Window, AKeptAddressSpaceFindsItsSlotTaken) {
    PagingState state = mmu.paging();
    page(kHere, 0x200007);
    heat(kHere);
    state.pcid = 1;
    mmu.set_paging(state);
    mmu.load_address_space(false);
    EXPECT_FALSE(hit(kHere, false));
    page(kHere, 0x300007); // as if its tables were others
    heat(kHere);
    EXPECT_TRUE(hit(kHere, false));
    state.pcid = 0;
    mmu.set_paging(state);
    mmu.load_address_space(true);
    ASSERT_EQ(mmu.acquire(kHere, 1, R, U).host, map->ram() + 0x200000);
    EXPECT_FALSE(hit(kHere, false)); // leads to 0x200000, and the slot holds 0x300000
    state.pcid = 1;
    mmu.set_paging(state);
    mmu.load_address_space(true);
    ASSERT_EQ(mmu.acquire(kHere, 1, R, U).host, map->ram() + 0x300000);
    EXPECT_TRUE(hit(kHere, false));
}

TEST_F(Window, LargePagesAreMappedWhole) {
    constexpr u64 kLarge = 0xffff888001000000;
    page(kLarge, 0x400000 | 0x83);
    put<u8>(0x5ff000, 7);
    heat(kLarge + 0x3000, R, S);
    ASSERT_TRUE(mmu.acquire(kLarge + 0x1ff000, 1, R, S).host);
    EXPECT_TRUE(hit(kLarge + 0x1ff000, false, S));
    EXPECT_EQ(through_window(kLarge + 0x1ff000), 7);
    EXPECT_EQ(window->counters().calls, 1u);
}

// The window ends with the first 4 GiB of host addresses, of which the lowest are the host's.
TEST_F(Window, SlotsOutsideOfItStayEmpty) {
    const u64 beyond = (u64{1} << 32) - window->base(), before = beyond - kPageSize;
    for (const u64 linear : {before, beyond, (u64{1} << 32) - kPageSize}) {
        page(linear, 0x200007);
        heat(linear);
        EXPECT_EQ(hit(linear, false), linear == before) << std::hex << linear;
    }
    if (window->base()) {
        EXPECT_EQ(window->map(beyond, map->ram(), 1).pages, 0u);
    }
    EXPECT_EQ(window->map(before, map->ram(), 2).pages, 1u);
}

TEST_F(Window, SlotsThatTheHostKeepsStayEmpty) {
    if (window->base()) GTEST_SKIP() << "the window does not begin at 0 here";
    page(0x100000000, 0x200007); // the same low 32 bits as a null pointer
    heat(0x100000000);
    EXPECT_FALSE(hit(0x100000000, false));
    EXPECT_EQ(window->map(0x100000000, map->ram(), 1).pages, 0u);
    const u64 large = 0x200000000; // 2 MiB
    page(large, 0x200087), put<u8>(0x200000 + 0x1ff000, 7);
    heat(large + 0x1ff000);
    EXPECT_TRUE(hit(large + 0x1ff000, false));
    EXPECT_EQ(through_window(0x1ff000), 7);
    ASSERT_TRUE(mmu.acquire(large, 1, R, U).host);
    EXPECT_FALSE(hit(large, false)) << "the first page of what was mapped whole";
}

TEST_F(Window, WhatIsNoRamStaysOut) {
    std::vector<u8> memory(8192);
    u8* const host = reinterpret_cast<u8*>((reinterpret_cast<u64>(memory.data()) + 4095) & ~u64{4095});
    map->map_memory(0xa0000, 4096, host, false, 1);
    page(kHere, 0xa0007);
    heat(kHere);
    EXPECT_FALSE(hit(kHere, false));
    EXPECT_EQ(window->counters().calls, 0u);
}

TEST_F(Window, EmptyTagsMatchNothing) {
    const auto& w = mmu.tlb().tables().window[0];
    for (u64 index = 0; index < kTlbEntries; ++index)
        for (const u64 high : {u64{0}, u64{1} << 24, u64{0x7fffff} << 24, ~u64{0} << 24})
            for (const u64 offset : {u64{0}, kPageSize - 1}) {
                const u64 linear = high | index << kPageBits | offset;
                ASSERT_GT(linear - w.read_tags[index], kPageSize) << std::hex << linear;
                ASSERT_GT(linear - w.write_tags[index], kPageSize) << std::hex << linear;
            }
}

// A guest that maps and touches all it can gets no more mappings than the host allows, and no wrong page.
TEST_F(Window, GivesAllSlotsUpNearTheLimit) {
    window.reset();
    window = HostWindow::create(*map, 40);
    ASSERT_TRUE(window);
    mmu.set_window(window.get(), kHeat);
    for (u64 n = 0; n < 64; ++n) {
        const u64 linear = kHere + n * 0x2000; // no two adjacent
        page(linear, (0x200000 + (n * 7 % 64) * 0x1000) | 7);
        put<u8>(0x200000 + (n * 7 % 64) * 0x1000, u8(n));
        heat(linear);
        ASSERT_TRUE(hit(linear, false));
        for (u64 before = 0; before <= n; ++before)
            if (hit(kHere + before * 0x2000, false)) {
                ASSERT_EQ(through_window(kHere + before * 0x2000), before);
            }
    }
    EXPECT_GE(window->counters().clears, 2u);
}

// Pages of RAM that the host's page tables for PhysicalMap::ram() hold.
u64 resident_at_ram(const PhysicalMap& map) {
    std::ifstream maps("/proc/self/smaps");
    std::ostringstream start;
    start << std::hex << reinterpret_cast<u64>(map.ram()) << '-';
    bool here = false;
    for (std::string line; std::getline(maps, line);) {
        if (line.find('-') < line.find(' ')) here = line.starts_with(start.str());
        if (u64 kib = 0; here && std::sscanf(line.c_str(), "Rss: %" SCNu64, &kib) == 1) return kib / 4;
    }
    return ~u64{0};
}

TEST_F(Window, WhatIsMappedTwiceIsNotResidentTwice) {
    for (u64 n = 0; n < 256; ++n)
        put<u64>(0x400000 + n * 0x1000, n + 1);
    ASSERT_GE(resident_at_ram(*map), 256u);
    window->drop_other_mapping();
    EXPECT_EQ(resident_at_ram(*map), 0u);
    for (u64 n = 0; n < 256; ++n)
        ASSERT_EQ(get(0x400000 + n * 0x1000), n + 1) << "lost what RAM held";
    window->drop_other_mapping(); // too soon after the one before
    EXPECT_GE(resident_at_ram(*map), 256u);
}

} // namespace
} // namespace dragoman::softmmu
