// The TLB alone: the inline check's arithmetic, claiming, flushing, protecting.
#include "softmmu/tlb.h"

#include <gtest/gtest.h>

#include <memory>

namespace dragoman::softmmu {
namespace {

// What generated code computes (softmmu/tlb.h).
bool hits(u64 tag, u64 linear, u64 size) {
    return linear - tag <= kPageSize - size;
}

class TlbTest : public ::testing::Test {
  protected:
    TlbEntry& fill(View view, u64 page, bool global = false, u8 page_bits = 12, u64 host = 0x7000000) {
        TlbEntry& e = tlb.claim(view, page, {.global = global, .page_bits = page_bits});
        e = {.read_tag = page, .write_tag = page, .unused = 0, .addend = host - page};
        tlb.allow_writes(view, page);
        return e;
    }
    bool holds(View view, u64 page) { return tlb.entry(view, page).read_tag == page; }

    std::unique_ptr<Tlb> storage = std::make_unique<Tlb>();
    Tlb& tlb = *storage;
};

TEST_F(TlbTest, EmptyEntriesMatchNoAddress) {
    for (u64 index = 0; index < kTlbEntries; ++index)
        for (const u64 above : {u64{0}, u64{1} << 22, u64{1} << 47, ~u64{0} << 22})
            for (const u64 offset : {u64{0}, u64{4095}}) {
                const u64 linear = (index << kPageBits) + above + offset;
                const TlbEntry& e = tlb.entry(View::User, linear);
                EXPECT_FALSE(hits(e.read_tag, linear, 1)) << std::hex << linear;
                EXPECT_FALSE(hits(e.write_tag, linear, 1)) << std::hex << linear;
            }
}

TEST_F(TlbTest, TheLastByteDecides) {
    fill(View::User, 0x5000);
    const u64 tag = tlb.entry(View::User, 0x5000).read_tag;
    for (const u64 size : {1, 2, 4, 8, 16, 64}) {
        EXPECT_TRUE(hits(tag, 0x5000, size)) << size;
        EXPECT_TRUE(hits(tag, 0x6000 - size, size)) << size;
        EXPECT_FALSE(hits(tag, 0x6001 - size, size)) << size;
        EXPECT_FALSE(hits(tag, 0x4fff, size)) << size;
    }
}

TEST_F(TlbTest, ViewsAreApart) {
    fill(View::Supervisor, 0x5000);
    EXPECT_TRUE(holds(View::Supervisor, 0x5000));
    EXPECT_FALSE(holds(View::User, 0x5000));
    EXPECT_FALSE(holds(View::SupervisorSmap, 0x5000));
    EXPECT_EQ(tlb.filled(View::Supervisor), 1u);
    EXPECT_EQ(tlb.filled(View::User), 0u);
}

TEST_F(TlbTest, ClaimingForAnotherPageEmpties) {
    const u64 a = 0x5000, b = a + kTlbEntries * kPageSize; // one index
    fill(View::User, a);
    const TlbEntry& e = tlb.claim(View::User, b, {});
    EXPECT_FALSE(hits(e.read_tag, a, 1));
    EXPECT_FALSE(hits(e.read_tag, b, 1));
    EXPECT_EQ(tlb.filled(View::User), 2u) << "an index is listed once, and the other page is a victim";
}

class Victims : public TlbTest {
  protected:
    static constexpr u64 stride = kTlbEntries * kPageSize; // one index
    bool is_victim(View view, u64 page) {
        const TlbEntry& e = tlb.find(view, page);
        return e.read_tag == page && &e != &tlb.entry(view, page);
    }
    // `page` is one, and what took its entry is there.
    void retire(u64 page, bool global = false, u8 page_bits = 12, u64 host = 0x7000000) {
        fill(View::User, page, global, page_bits, host);
        fill(View::User, page + stride);
        ASSERT_TRUE(is_victim(View::User, page));
        ASSERT_TRUE(holds(View::User, page + stride));
    }
};

TEST_F(Victims, EmptyOnesMatchNoAddress) {
    for (u64 index = 0; index < kTlbEntries; ++index)
        for (const u64 above : {u64{0}, u64{1} << 26, u64{3} << 26, u64{1} << 47, ~u64{0} << 26}) {
            const u64 linear = (index << kPageBits) + above;
            const TlbEntry& e = tlb.tables().victims[unsigned(View::User)][victim_index(linear)];
            EXPECT_FALSE(hits(e.read_tag, linear, 1)) << std::hex << linear;
            EXPECT_FALSE(hits(e.write_tag, linear, 1)) << std::hex << linear;
        }
}

TEST_F(Victims, KeepWhatIsKnown) {
    fill(View::User, 0x5000);
    tlb.claim(View::User, 0x6000, {}).read_tag = 0x6000; // not writable
    fill(View::User, 0x5000 + stride), fill(View::User, 0x6000 + stride);
    EXPECT_TRUE(is_victim(View::User, 0x5000));
    EXPECT_EQ(tlb.find(View::User, 0x5000).write_tag, 0x5000u);
    EXPECT_EQ(tlb.find(View::User, 0x5000).addend, 0x7000000u - 0x5000);
    EXPECT_TRUE(is_victim(View::User, 0x6000));
    EXPECT_FALSE(hits(tlb.find(View::User, 0x6000).write_tag, 0x6000, 1));
    EXPECT_FALSE(is_victim(View::Supervisor, 0x5000));
}

TEST_F(Victims, ChangePlacesWithWhatTookTheirs) {
    retire(0x5000);
    for (const u64 page : {u64{0x5000}, 0x5000 + stride, u64{0x5000}}) {
        tlb.recall(View::User, page);
        EXPECT_TRUE(holds(View::User, page)) << std::hex << page;
        EXPECT_EQ(tlb.entry(View::User, page).write_tag, page);
        EXPECT_EQ(tlb.entry(View::User, page).addend, 0x7000000u - page);
        EXPECT_TRUE(is_victim(View::User, page ^ 0x5000 ^ (0x5000 + stride)));
        EXPECT_EQ(tlb.filled(View::User), 2u);
    }
    tlb.recall(View::User, 0x9000); // is nowhere
    EXPECT_EQ(tlb.filled(View::User), 2u);
}

TEST_F(Victims, FilledAgainAreNone) {
    retire(0x5000);
    fill(View::User, 0x5000, false, 12, 0x8000000);
    EXPECT_EQ(tlb.find(View::User, 0x5000).addend, 0x8000000u - 0x5000);
    EXPECT_FALSE(is_victim(View::User, 0x5000));
    fill(View::User, 0x5000 + 2 * stride);
    EXPECT_EQ(tlb.find(View::User, 0x5000).addend, 0x8000000u - 0x5000) << "not the first address";
}

TEST_F(Victims, AreFlushed) {
    retire(0x5000);
    tlb.flush(true);
    EXPECT_FALSE(is_victim(View::User, 0x5000));
    retire(0x5000, true);
    tlb.flush(true);
    EXPECT_TRUE(is_victim(View::User, 0x5000)) << "global";
    tlb.flush(false);
    EXPECT_FALSE(is_victim(View::User, 0x5000));
    retire(0x5000);
    tlb.flush_page(0x5fff);
    EXPECT_FALSE(is_victim(View::User, 0x5000));
    EXPECT_TRUE(holds(View::User, 0x5000 + stride));
    tlb.flush(false);
    retire(0x400000, false, 21);
    tlb.flush_page(0x5ff000);
    EXPECT_FALSE(is_victim(View::User, 0x400000));
    EXPECT_EQ(tlb.filled(View::User), 1u);
}

TEST_F(Victims, AreProtectedWithTheirHostPage) {
    const u64 host = 0x10000000;
    retire(0x5000, false, 12, host);
    tlb.protect_host_page(reinterpret_cast<const u8*>(host));
    EXPECT_TRUE(is_victim(View::User, 0x5000));
    EXPECT_FALSE(hits(tlb.find(View::User, 0x5000).write_tag, 0x5000, 1));
    EXPECT_TRUE(hits(tlb.find(View::User, 0x5000 + stride).write_tag, 0x5000 + stride, 1));
}

TEST_F(Victims, AreParkedWithTheirAddressSpace) {
    retire(0x5000);
    const auto kept = std::make_unique<Tlb::Kept>();
    tlb.park(*kept);
    EXPECT_EQ(tlb.filled(View::User), 0u);
    const Tlb::Kept::Place* const place = kept->take(0x5000, unsigned(View::User));
    ASSERT_TRUE(place);
    tlb.unpark(*place);
    EXPECT_TRUE(holds(View::User, 0x5000));
    EXPECT_EQ(tlb.entry(View::User, 0x5000).write_tag, 0x5000u);
    EXPECT_EQ(tlb.entry(View::User, 0x5000).addend, 0x7000000u - 0x5000);
}

TEST_F(TlbTest, FlushKeepsGlobalEntriesWhenAsked) {
    fill(View::User, 0x5000);
    fill(View::User, 0x6000, true);
    tlb.flush(true);
    EXPECT_FALSE(holds(View::User, 0x5000));
    EXPECT_TRUE(holds(View::User, 0x6000));
    tlb.flush(false);
    EXPECT_FALSE(holds(View::User, 0x6000));
    EXPECT_EQ(tlb.filled(View::User), 0u);
}

TEST_F(TlbTest, FlushPageDropsTheWholeMappingInEveryView) {
    fill(View::User, 0x400000, false, 21);
    fill(View::Supervisor, 0x5ff000, true, 21); // the same 2 MiB, and global: INVLPG drops those too
    fill(View::User, 0x600000, false, 21);
    fill(View::User, 0x3ff000);
    tlb.flush_page(0x4abcde);
    EXPECT_FALSE(holds(View::User, 0x400000));
    EXPECT_FALSE(holds(View::Supervisor, 0x5ff000));
    EXPECT_TRUE(holds(View::User, 0x600000));
    EXPECT_TRUE(holds(View::User, 0x3ff000));
}

TEST_F(TlbTest, ProtectingAHostPageReachesEveryAlias) {
    const u64 host = 0x10000000;
    fill(View::User, 0x5000, false, 12, host);
    fill(View::Supervisor, 0xffff800000009000, false, 12, host);
    fill(View::User, 0x7000, false, 12, host + kPageSize);
    tlb.protect_host_page(reinterpret_cast<const u8*>(host));
    EXPECT_FALSE(hits(tlb.entry(View::User, 0x5000).write_tag, 0x5000, 1));
    EXPECT_FALSE(hits(tlb.entry(View::Supervisor, 0xffff800000009000).write_tag, 0xffff800000009000, 1));
    EXPECT_TRUE(hits(tlb.entry(View::User, 0x7000).write_tag, 0x7000, 1));
    EXPECT_TRUE(holds(View::User, 0x5000)) << "reads stay fast";
}

TEST_F(TlbTest, ProtectingFindsAnEntryWhereverItLedBefore) {
    const u64 host = 0x10000000,
              far = u64{4096} * kPageSize; // the lists are by the low bits of the host's page
    const auto writable = [&] { return tlb.entry(View::User, 0x5000).write_tag == 0x5000; };
    const auto protect = [&](u64 page) { tlb.protect_host_page(reinterpret_cast<const u8*>(page)); };
    for (const u64 to : {host + far, host + kPageSize, host, host}) {
        fill(View::User, 0x5000, false, 12, host);
        fill(View::User, 0x6000, false, 12, host); // in the same list, before and after
        fill(View::Supervisor, 0x5000, false, 12, to);
        tlb.flush_page(0x5000);
        fill(View::User, 0x5000, false, 12, to);
        if (to != host) protect(host);
        EXPECT_TRUE(writable()) << std::hex << to;
        protect(to);
        EXPECT_FALSE(writable()) << std::hex << to;
        EXPECT_FALSE(hits(tlb.entry(View::User, 0x6000).write_tag, 0x6000, 1));
        if (to == host) tlb.flush(false);
    }
}

TEST_F(TlbTest, NothingIsBesideCodeOnceItsEntryIsAnother) {
    static const u64 lines = 1;
    const auto beside = [&] { return tlb.tables().beside[unsigned(View::User)][5]; };
    EXPECT_EQ(beside().tag, empty_tag(5));
    for (const bool protect : {false, true}) {
        fill(View::User, 0x5000);
        tlb.allow_writes(View::User, 0x5000, &lines);
        EXPECT_EQ(beside().tag, 0x5000u);
        EXPECT_EQ(beside().lines, &lines);
        EXPECT_NE(tlb.entry(View::User, 0x5000).write_tag, 0x5000u);
        EXPECT_EQ(tlb.beside_code(View::User, 0x5008), reinterpret_cast<const u8*>(0x7000008));
        EXPECT_EQ(tlb.beside_code(View::Supervisor, 0x5008), nullptr);
        tlb.protect_code_page(reinterpret_cast<const u8*>(0x7000000));
        EXPECT_EQ(beside().tag, 0x5000u);
        if (protect)
            tlb.protect_host_page(reinterpret_cast<const u8*>(0x7000000));
        else
            tlb.flush(true);
        EXPECT_EQ(beside().tag, empty_tag(5));
        fill(View::User, 0x5000);
        tlb.allow_writes(View::User, 0x5000, &lines);
        tlb.allow_writes(View::User, 0x5000); // its code is gone
        EXPECT_EQ(beside().tag, empty_tag(5));
        EXPECT_EQ(tlb.entry(View::User, 0x5000).write_tag, 0x5000u);
    }
}

TEST_F(TlbTest, ListsWhatIsInUse) {
    fill(View::User, 0x5000, true, 21);
    unsigned n = 0;
    tlb.for_each([&](View view, u64 page, const TlbEntry& e, const Mapping& mapping) {
        ++n;
        EXPECT_EQ(view, View::User);
        EXPECT_EQ(page, 0x5000u);
        EXPECT_EQ(e.read_tag, 0x5000u);
        EXPECT_TRUE(mapping.global);
        EXPECT_EQ(mapping.page_bits, 21);
    });
    EXPECT_EQ(n, 1u);
}

} // namespace
} // namespace dragoman::softmmu
