// The slow path: TLB filling, page crossing, MMIO, code pages, watchpoints, fetching.
#include "softmmu/mmu.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

namespace dragoman::softmmu {
namespace {

constexpr auto R = AccessKind::Read, W = AccessKind::Write, M = AccessKind::ReadWrite;
constexpr auto S = View::Supervisor, U = View::User;

class Chip final : public IoHandler {
  public:
    u64 read(u64 offset, unsigned size) override {
        log += "r" + std::to_string(offset) + "/" + std::to_string(size) + " ";
        return 0x8877665544332211 >> (offset % 8 * 8);
    }
    void write(u64 offset, unsigned size, u64 value) override {
        log += "w" + std::to_string(offset) + "/" + std::to_string(size) + "=" + std::to_string(value) + " ";
        if (on_write) on_write();
    }
    std::string log;
    std::function<void()> on_write;
};

struct Watcher final : CodeWatcher {
    bool may_write(u64, u64) override {
        ++asked;
        return allow;
    }
    void written(u64 gpa, u64 size) override { hits.push_back({gpa, size}); }
    bool allow = true;
    unsigned asked = 0;
    std::vector<std::pair<u64, u64>> hits;
};

// 32-bit paging: pages 0..1023 map to themselves; tables at 0x100000.
class SlowPath : public ::testing::Test {
  protected:
    void SetUp() override {
        put<u32>(0x100000, 0x101007);
        for (u32 i = 0; i < 1024; ++i)
            page(i, i << 12 | 7);
        map->map_io(0x80000, 0x1000, chip, 1);
        map->set_watcher(&watcher);
        mmu.set_paging({.cr3 = 0x100000, .paging = true, .write_protect = true});
    }
    template <class T> void put(u64 at, T value) { std::memcpy(map->ram() + at, &value, sizeof value); }
    void page(u32 n, u32 entry) { put<u32>(0x101000 + n * 4, entry); }
    u8* at(u64 gpa) { return map->ram() + gpa; }
    const TlbEntry& entry(u64 linear, View view = U) { return tlb->entry(view, linear); }
    bool in_ram(const u8* host) { return map->is_ram(host); }

    Log log;
    Chip chip;
    Watcher watcher;
    std::unique_ptr<PhysicalMap> map = std::move(*PhysicalMap::create(16 * MiB));
    std::unique_ptr<Tlb> tlb = std::make_unique<Tlb>();
    Mmu mmu{*map, *tlb, log};
};

TEST_F(SlowPath, FillsTheTlbForWhatWasAskedFor) {
    auto got = mmu.acquire(0x5010, 4, R, U);
    EXPECT_EQ(got.host, at(0x5010));
    EXPECT_EQ(entry(0x5000).read_tag, 0x5000u);
    EXPECT_NE(entry(0x5000).write_tag, 0x5000u) << "D is clear: the first store must take the slow path";
    EXPECT_EQ(0x5010 + entry(0x5000).addend, u64(at(0x5010)));
    got = mmu.acquire(0x5010, 4, W, U);
    EXPECT_EQ(got.host, at(0x5010));
    EXPECT_EQ(entry(0x5000).write_tag, 0x5000u);
    EXPECT_NE(entry(0x5000, S).read_tag, 0x5000u);
}

TEST_F(SlowPath, FaultsSayWhereAndChangeNothing) {
    page(6, 0);
    auto got = mmu.acquire(0x6ff0, 4, W, U);
    EXPECT_EQ(got.host, nullptr);
    EXPECT_FALSE(got.restart);
    EXPECT_EQ(got.fault.address, 0x6ff0u);
    EXPECT_EQ(got.fault.error, 6u);
}

TEST_F(SlowPath, CrossingReadsAndWritesBothPages) {
    page(7, 0x9007); // not beside page 6
    put<u32>(0x6ffe, 0x44332211);
    put<u32>(0x9000, 0x88776655);
    auto got = mmu.acquire(0x6ffe, 4, R, U);
    ASSERT_NE(got.host, nullptr);
    EXPECT_FALSE(in_ram(got.host));
    u32 value;
    std::memcpy(&value, got.host, 4);
    EXPECT_EQ(value, 0x66552211u);

    got = mmu.acquire(0x6ffe, 4, W, U);
    ASSERT_NE(got.host, nullptr);
    value = 0xaabbccdd;
    std::memcpy(got.host, &value, 4);
    EXPECT_EQ(at(0x6ffe)[0], 0x11) << "nothing is stored before commit()";
    mmu.commit();
    EXPECT_EQ(at(0x6ffe)[0], 0xdd);
    EXPECT_EQ(at(0x6ffe)[1], 0xcc);
    EXPECT_EQ(at(0x9000)[0], 0xbb);
    EXPECT_EQ(at(0x9000)[1], 0xaa);
    EXPECT_EQ(at(0x9000)[2], 0x77);
    mmu.commit(); // nothing is open any more
    EXPECT_EQ(at(0x7000)[0], 0x33) << "the page that is mapped elsewhere";
}

TEST_F(SlowPath, CrossingFindsBothPagesInTheTlb) {
    page(7, 0x9007);
    put<u32>(0x6ffd, 0x44332211);
    put<u32>(0x9000, 0x88776655);
    for (const u64 linear : {0x6000, 0x7000})
        ASSERT_NE(mmu.acquire(linear, 4, W, U).host, nullptr);
    page(6, 0), page(7, 0); // not walked any more
    auto got = mmu.acquire(0x6ffd, 8, M, U);
    ASSERT_NE(got.host, nullptr);
    EXPECT_FALSE(in_ram(got.host));
    u64 value;
    std::memcpy(&value, got.host, 8);
    EXPECT_EQ(value & 0xffffffffffffff, 0x88776655332211u);
    value = 0x1122334455667788;
    std::memcpy(got.host, &value, 8);
    EXPECT_EQ(at(0x6ffd)[0], 0x11) << "nothing is stored before commit()";
    mmu.commit();
    EXPECT_EQ(std::memcmp(at(0x6ffd), "\x88\x77\x66\x44", 4), 0) << "0x7000 of RAM is another page's";
    EXPECT_EQ(std::memcmp(at(0x9000), "\x55\x44\x33\x22\x11", 5), 0);

    page(6, 0x6007), page(7, 0x9007);
    map->mark_code(0x9000, 1); // takes the write tag of the second page
    watcher.allow = false;
    EXPECT_TRUE(mmu.acquire(0x6ffd, 8, W, U).restart);
    EXPECT_NE(mmu.acquire(0x6ffd, 8, R, U).host, nullptr);
}

TEST_F(SlowPath, CrossingFillsTheTlbForBothPages) {
    ASSERT_NE(mmu.acquire(0x6ffe, 4, R, U).host, nullptr);
    for (const u64 linear : {0x6000, 0x7000})
        EXPECT_EQ(entry(linear).read_tag, linear) << "or every access over them would walk";
    ASSERT_NE(mmu.acquire(0x6ffe, 4, W, U).host, nullptr);
    mmu.commit();
    for (const u64 linear : {0x6000, 0x7000})
        EXPECT_EQ(entry(linear).write_tag, linear);
}

TEST_F(SlowPath, CrossingIntoAChipTouchesNoTlbEntryOfIt) {
    ASSERT_NE(mmu.acquire(0x7fffe, 4, W, U).host, nullptr);
    mmu.commit();
    EXPECT_EQ(chip.log, "w0/2=0 ");
    EXPECT_EQ(entry(0x7f000).write_tag, 0x7f000u);
    EXPECT_NE(entry(0x80000).write_tag, 0x80000u);
    EXPECT_NE(entry(0x80000).read_tag, 0x80000u);
}

TEST_F(SlowPath, CrossingFaultsNameTheSecondPage) {
    page(7, 0x7005); // read-only
    const auto got = mmu.acquire(0x6ffe, 4, M, U);
    EXPECT_EQ(got.host, nullptr);
    EXPECT_EQ(got.fault.address, 0x7000u);
    EXPECT_EQ(got.fault.error, 7u);
}

TEST_F(SlowPath, LegacyAddressesWrapAt4GiB) {
    put<u32>(0x100000 + 1023 * 4, 0x102007);
    put<u32>(0x102000 + 1023 * 4, 0x8007);
    put<u16>(0x8ffe, 0x2211);
    put<u16>(0x0000, 0x4433);
    const auto got = mmu.acquire(0xfffffffe, 4, R, U);
    ASSERT_NE(got.host, nullptr);
    u32 value;
    std::memcpy(&value, got.host, 4);
    EXPECT_EQ(value, 0x44332211u);
}

TEST_F(SlowPath, MmioIsOneAccessOfItsSize) {
    auto got = mmu.acquire(0x80008, 4, R, S);
    ASSERT_NE(got.host, nullptr);
    u32 value;
    std::memcpy(&value, got.host, 4);
    EXPECT_EQ(value, 0x44332211u);
    EXPECT_EQ(chip.log, "r8/4 ");
    EXPECT_NE(entry(0x80000, S).read_tag, 0x80000u) << "never in the TLB";

    chip.log.clear();
    got = mmu.acquire(0x80010, 2, W, S);
    EXPECT_EQ(chip.log, "") << "a store does not read";
    value = 0x1234;
    std::memcpy(got.host, &value, 2);
    mmu.commit();
    EXPECT_EQ(chip.log, "w16/2=4660 ");

    chip.log.clear();
    mmu.acquire(0x80000, 4, M, S);
    mmu.commit();
    EXPECT_EQ(chip.log, "r0/4 w0/4=1144201745 ");

    chip.log.clear();
    mmu.acquire(0x80000, 16, R, S);
    EXPECT_EQ(chip.log, "r0/8 r8/8 ");
}

TEST_F(SlowPath, AChipMayAccessMemoryWhileItIsWrittenTo) {
    chip.on_write = [&] {
        auto inner = mmu.acquire(0x6ffe, 4, W, S); // another bounce buffer
        std::memset(inner.host, 0x5a, 4);
        mmu.commit();
    };
    auto got = mmu.acquire(0x80000, 16, W, S);
    for (u8 i = 0; i < 16; ++i)
        got.host[i] = i;
    mmu.commit();
    EXPECT_EQ(chip.log, "w0/8=506097522914230528 w8/8=1084818905618843912 ");
    EXPECT_EQ(at(0x7001)[0], 0x5a);
}

TEST_F(SlowPath, RomIsReadDirectlyAndNotWritten) {
    alignas(4096) static u8 rom[4096] = {0x55};
    map->map_memory(0xc0000, 4096, rom, true, 1);
    EXPECT_EQ(mmu.acquire(0xc0000, 1, R, S).host, rom);
    auto got = mmu.acquire(0xc0000, 1, W, S);
    ASSERT_NE(got.host, nullptr);
    EXPECT_NE(got.host, rom);
    *got.host = 0;
    mmu.commit();
    EXPECT_EQ(rom[0], 0x55);
    EXPECT_NE(entry(0xc0000, S).write_tag, 0xc0000u);
}

TEST_F(SlowPath, StoresBesideCodeNeedNoCxx) {
    const auto& beside = mmu.tlb().tables().beside[unsigned(U)][tlb_index(0x5000)];
    map->mark_code(0x5000, 64);
    mmu.acquire(0x5800, 4, R, U);
    EXPECT_NE(beside.tag, 0x5000u) << "D is clear";
    mmu.acquire(0x5800, 4, W, U);
    ASSERT_EQ(beside.tag, 0x5000u);
    EXPECT_EQ(*beside.lines, 1u);
    map->mark_code(0x5840, 1);
    EXPECT_EQ(*beside.lines, 1u | u64{1} << 0x21) << "what is marked later counts at once";
    map->clear_code(0x5000);
    map->mark_code(0x5000, 64);
    EXPECT_EQ(beside.tag, 0x5000u) << "code that comes again takes nothing away";
    map->clear_code(0x5000);
    mmu.acquire(0x5800, 4, W, U);
    EXPECT_NE(beside.tag, 0x5000u);
    EXPECT_EQ(entry(0x5000).write_tag, 0x5000u);
    map->mark_code(0x5000, 64);
    mmu.acquire(0x5800, 4, W, U);
    ASSERT_EQ(beside.tag, 0x5000u);
    mmu.invlpg(0x5000);
    EXPECT_NE(beside.tag, 0x5000u);
}

TEST_F(SlowPath, StoresBesideCodeAreDirectAndOntoItGoThroughTheWatcher) {
    mmu.acquire(0x5000, 4, W, U);
    ASSERT_EQ(entry(0x5000).write_tag, 0x5000u);
    map->mark_code(0x5100, 16);
    EXPECT_NE(entry(0x5000).write_tag, 0x5000u) << "marking takes the write tag away";
    EXPECT_EQ(mmu.acquire(0x5000, 4, W, U).host, at(0x5000));
    EXPECT_NE(entry(0x5000).write_tag, 0x5000u) << "and it stays away";
    EXPECT_EQ(watcher.asked, 0u);

    auto got = mmu.acquire(0x5104, 4, W, U);
    ASSERT_NE(got.host, nullptr);
    EXPECT_FALSE(in_ram(got.host));
    EXPECT_EQ(watcher.asked, 1u);
    EXPECT_TRUE(watcher.hits.empty()) << "not before commit()";
    std::memset(got.host, 0x77, 4);
    mmu.commit();
    ASSERT_EQ(watcher.hits.size(), 1u);
    EXPECT_EQ(watcher.hits[0], (std::pair<u64, u64>{0x5104, 4}));
    EXPECT_EQ(at(0x5104)[0], 0x77);

    watcher.allow = false; // the running block
    got = mmu.acquire(0x5104, 4, W, U);
    EXPECT_EQ(got.host, nullptr);
    EXPECT_TRUE(got.restart);
    got = mmu.acquire(0x5104, 4, R, U);
    EXPECT_EQ(got.host, at(0x5104)) << "reading code is nobody's concern";
    EXPECT_TRUE(mmu.acquire(0x4ffe, 0x10, W, U).host) << "a crossing store that ends before the code";
    mmu.commit();
    map->mark_code(0x5000, 1);
    EXPECT_TRUE(mmu.acquire(0x4ffe, 4, M, U).restart) << "one whose second page is hit";

    map->clear_code(0x5000);
    EXPECT_EQ(mmu.acquire(0x5104, 4, W, U).host, at(0x5104));
    EXPECT_EQ(entry(0x5000).write_tag, 0x5000u);
}

TEST_F(SlowPath, DirtyLoggedPagesTakeOneSlowStore) {
    alignas(4096) static u8 video[4096];
    const auto handle = map->map_memory(0xa0000, 4096, video, false, 1);
    EXPECT_TRUE(map->take_dirty(handle, 0));
    EXPECT_EQ(mmu.acquire(0xa0000, 1, W, S).host, video);
    EXPECT_TRUE(map->take_dirty(handle, 0));
    EXPECT_NE(entry(0xa0000, S).write_tag, 0xa0000u) << "asking protects the page again";
    mmu.acquire(0xa0000, 1, R, S);
    EXPECT_NE(entry(0xa0000, S).write_tag, 0xa0000u) << "reading does not unprotect it";
    EXPECT_FALSE(map->take_dirty(handle, 0));
    mmu.acquire(0xa0000, 1, W, S);
    EXPECT_EQ(entry(0xa0000, S).write_tag, 0xa0000u);
    EXPECT_TRUE(map->take_dirty(handle, 0));
}

TEST_F(SlowPath, WatchpointsSeeEveryTouch) {
    std::vector<u64> hits;
    mmu.acquire(0x5000, 4, W, U); // in the TLB before
    mmu.set_watches({{.linear = 0x5010, .bytes = 4, .on_read = false, .on_write = true},
                     {.linear = 0x5ffe, .bytes = 4, .on_read = true, .on_write = false}},
                    [&](const Mmu::Watch& w, u64, u32, AccessKind) {
                        hits.push_back(w.linear);
                        return true;
                    });
    mmu.acquire(0x5010, 4, R, U);
    mmu.acquire(0x500c, 4, W, U);
    EXPECT_TRUE(hits.empty());
    mmu.acquire(0x500c, 8, W, U);
    mmu.acquire(0x5013, 1, M, U);
    EXPECT_EQ(hits, (std::vector<u64>{0x5010, 0x5010}));
    mmu.acquire(0x6000, 1, R, U); // the second page of the second one
    EXPECT_EQ(hits.back(), 0x5ffeu);
    EXPECT_NE(entry(0x5000).read_tag, 0x5000u);
    EXPECT_NE(entry(0x6000).read_tag, 0x6000u);
    EXPECT_EQ(mmu.acquire(0x7000, 1, R, U).host, at(0x7000));
    EXPECT_EQ(entry(0x7000).read_tag, 0x7000u) << "other pages are as fast as ever";
}

TEST_F(SlowPath, InvlpgAndFlushes) {
    mmu.acquire(0x5000, 4, R, U);
    page(5, 0x8007);
    EXPECT_EQ(mmu.acquire(0x5000, 4, R, U).host, at(0x5000)) << "a TLB may keep what nobody invalidated";
    mmu.invlpg(0x5abc);
    EXPECT_EQ(mmu.acquire(0x5000, 4, R, U).host, at(0x8000));
    page(5, 0x9007);
    mmu.flush(true);
    EXPECT_EQ(mmu.acquire(0x5000, 4, R, U).host, at(0x9000));
    map->set_a20(false);
    map->set_a20(true);
    EXPECT_NE(entry(0x5000).read_tag, 0x5000u) << "a changed map empties the TLB";
}

TEST_F(SlowPath, OneEntryNeverMixesTwoMappings) {
    EXPECT_EQ(mmu.acquire(0x5000, 4, W, U).host, at(0x5000));
    page(5, 0x8025); // another page, read-only; no INVLPG yet
    const auto fetched = mmu.fetch(0x5000, U);
    ASSERT_TRUE(fetched.ok);
    EXPECT_EQ(fetched.gpa, 0x8000u) << "not in the TLB for execution: walked";
    const TlbEntry& e = entry(0x5000);
    if (e.write_tag == 0x5000) {
        EXPECT_EQ(0x5000 + e.addend, u64(at(0x5000)))
            << "the permission of the old mapping with the address of the new one";
    }
}

TEST_F(SlowPath, Fetching) {
    auto got = mmu.fetch(0x5123, U);
    ASSERT_TRUE(got.ok);
    EXPECT_EQ(got.host, at(0x5123));
    EXPECT_EQ(got.gpa, 0x5123u);
    const u32 number = got.number;
    EXPECT_NE(entry(0x5000).read_tag, 0x5000u) << "each way of access is filled by itself";
    page(5, 0x8025); // another page; no INVLPG yet
    got = mmu.fetch(0x5fff, U);
    EXPECT_EQ(got.host, at(0x5fff));
    EXPECT_EQ(got.gpa, 0x5fffu);
    EXPECT_EQ(got.number, number);
    mmu.invlpg(0x5000);
    got = mmu.fetch(0x5fff, U);
    EXPECT_EQ(got.gpa, 0x8fffu);
    EXPECT_NE(got.number, number);
    got = mmu.fetch(0x80004, S);
    EXPECT_TRUE(got.ok);
    EXPECT_EQ(got.host, nullptr) << "a chip's registers: byte by byte";
    EXPECT_EQ(got.gpa, 0x80004u);
    page(6, 0x6003);
    got = mmu.fetch(0x6000, U);
    EXPECT_FALSE(got.ok);
    EXPECT_EQ(got.fault.error, 5u);
}

} // namespace
} // namespace dragoman::softmmu
