// Guest-physical memory: who answers, A20, dirty pages, the code bitmap, DMA.
#include "softmmu/physical_map.h"

#include "base/huge_page.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

namespace dragoman::softmmu {
namespace {

class Chip final : public IoHandler {
  public:
    u64 read(u64 offset, unsigned size) override {
        reads.push_back({offset, size, 0});
        return answer;
    }
    void write(u64 offset, unsigned size, u64 value) override { writes.push_back({offset, size, value}); }
    struct Access {
        u64 offset;
        unsigned size;
        u64 value;
        friend bool operator==(const Access&, const Access&) = default;
    };
    std::vector<Access> reads, writes;
    u64 answer = 0x1122334455667788;
};

struct Listener final : MapListener {
    void mappings_changed() override { ++mappings; }
    void contents_changed(u64 gpa, u64 bytes) override { contents.push_back({gpa, bytes}); }
    void write_protected(const u8* host_page) override { protected_pages.push_back(host_page); }
    void code_came(const u8* host_page) override { code_pages.push_back(host_page); }
    unsigned mappings = 0;
    std::vector<std::pair<u64, u64>> contents;
    std::vector<const u8*> protected_pages, code_pages;
};

struct Watcher final : CodeWatcher {
    bool may_write(u64, u64) override { return allow; }
    void written(u64 gpa, u64 size) override { hits.push_back({gpa, size}); }
    bool allow = true;
    std::vector<std::pair<u64, u64>> hits;
};

class Map : public ::testing::Test {
  protected:
    void SetUp() override {
        map->add_listener(listener);
        map->set_watcher(&watcher);
    }
    void TearDown() override {
        map->remove_listener(listener);
        map->set_watcher(nullptr);
    }
    Listener listener;
    Watcher watcher;
    std::unique_ptr<PhysicalMap> map = std::move(*PhysicalMap::create(16 * MiB));
};

TEST_F(Map, RamAndHoles) {
    map->store(0x1234, 4, 0xdeadbeef);
    EXPECT_EQ(map->load(0x1234, 4), 0xdeadbeefu);
    EXPECT_EQ(map->load(0x1235, 1), 0xbeu);
    for (const u64 hole : {u64{16 * MiB}, u64{0xfee00000}, 4 * GiB, u64{0xff'ffff'f000}}) {
        EXPECT_EQ(map->load(hole, 1), 0xffu);
        EXPECT_EQ(map->load(hole, 4), 0xffffffffu);
        EXPECT_EQ(map->load(hole, 8), ~u64{0});
        map->store(hole, 8, 0); // goes nowhere
        EXPECT_EQ(map->lookup(hole).host, nullptr);
        EXPECT_EQ(map->lookup(hole).io, nullptr);
    }
}

TEST_F(Map, MuchRamContinuesAbove4GiB) {
    auto big = std::move(*PhysicalMap::create(5 * GiB)); // costs nothing untouched
    EXPECT_EQ(big->ram_below_4g(), 3 * GiB);
    big->store(4 * GiB + 0x10, 8, 0x1234);
    EXPECT_EQ(big->gpa_of_ram(big->ram() + 3 * GiB + 0x10), 4 * GiB + 0x10);
    u64 value;
    std::memcpy(&value, big->ram() + 3 * GiB + 0x10, 8);
    EXPECT_EQ(value, 0x1234u);
    EXPECT_EQ(big->lookup(3 * GiB).host, nullptr);
    EXPECT_EQ(big->lookup(6 * GiB).host, nullptr) << "the end: 4 GiB + 2 GiB";
}

// "hg" in the flags that the kernel keeps for its mapping (proc(5), smaps).
TEST_F(Map, RamLiesInHugePagesWhereTheHostOffersThem) {
    if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage"))
        GTEST_SKIP() << "this host's kernel knows no huge pages for it";
    const u64 ram = reinterpret_cast<u64>(map->ram());
    EXPECT_EQ(ram % kHugePage, 0u);
    std::ifstream smaps("/proc/self/smaps");
    std::string flags;
    bool here = false;
    for (std::string line; std::getline(smaps, line);) {
        u64 begin = 0, end = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) here = begin <= ram && ram < end;
        if (here && line.starts_with("VmFlags:")) flags = line + ' ';
    }
    EXPECT_NE(flags.find(" hg "), flags.npos) << "the mapping of RAM has " << flags;
}

TEST_F(Map, TheHigherPriorityAnswers) {
    Chip low, high;
    const auto a = map->map_io(0xa0000, 0x20000, low, 1);
    EXPECT_EQ(map->lookup(0xa0000).io, &low);
    const auto b = map->map_io(0xb8000, 0x1000, high, 2);
    EXPECT_EQ(map->lookup(0xb8000).io, &high);
    EXPECT_EQ(map->lookup(0xb7000).io, &low);
    EXPECT_EQ(map->lookup(0xb9000).io_offset, 0x19000u);
    map->unmap(b);
    EXPECT_EQ(map->lookup(0xb8000).io, &low);
    map->unmap(a);
    EXPECT_EQ(map->lookup(0xb8000).host, map->ram() + 0xb8000);
    map->unmap(a); // a handle that is no more
    map->unmap(0);
    map->unmap(12345);
}

TEST_F(Map, IoSeesOffsetAndSizeAndOnlyItsRange) {
    Chip chip;
    map->map_io(0xfed00000, 0x400, chip, 0);
    EXPECT_EQ(map->load(0xfed00010, 4), 0x55667788u) << "cut to the size";
    map->store(0xfed000f0, 2, 0xabcdef);
    EXPECT_EQ(chip.reads, (std::vector<Chip::Access>{{0x10, 4, 0}}));
    EXPECT_EQ(chip.writes, (std::vector<Chip::Access>{{0xf0, 2, 0xcdef}}));
    EXPECT_EQ(map->load(0xfed00400, 4), 0xffffffffu) << "the rest of the page is nobody's";
    EXPECT_EQ(map->load(0xfed003fe, 4), 0xffffffffu) << "an access that leaves the range";
    EXPECT_EQ(chip.reads.size(), 1u);
}

TEST_F(Map, ReadOnlyMemoryIgnoresWrites) {
    alignas(4096) static u8 rom[4096] = {0x55, 0xaa};
    map->map_memory(0xc0000, 4096, rom, true, 5);
    map->store(0xc0000, 1, 0);
    EXPECT_FALSE(map->write(0xc0000, "x", 1));
    EXPECT_EQ(rom[0], 0x55);
    EXPECT_EQ(map->load(0xc0000, 2), 0xaa55u);
    EXPECT_FALSE(map->lookup(0xc0000).writable);
}

TEST_F(Map, FlashIsReadDirectlyAndWrittenThroughItsChip) {
    alignas(4096) static u8 cells[4096] = {0x55, 0xaa};
    Chip chip;
    map->map_flash(0xfffff000, 4096, cells, chip, 5);
    EXPECT_EQ(map->lookup(0xfffff000).host, cells);
    EXPECT_FALSE(map->lookup(0xfffff000).writable);
    EXPECT_EQ(map->load(0xfffff000, 2), 0xaa55u);
    map->store(0xfffff010, 2, 0x12345);
    EXPECT_EQ(chip.writes, (std::vector<Chip::Access>{{0x10, 2, 0x2345}}));
    EXPECT_FALSE(map->write(0xfffff000, "x", 1)) << "bus masters do not program it";
    EXPECT_EQ(chip.writes.size(), 1u);
    EXPECT_TRUE(chip.reads.empty());
    EXPECT_EQ(cells[0], 0x55);
}

TEST_F(Map, A20) {
    EXPECT_EQ(map->a20_mask(), ~u64{0});
    const unsigned before = listener.mappings;
    map->set_a20(false);
    EXPECT_EQ(map->a20_mask(), ~u64{1 << 20});
    EXPECT_EQ(listener.mappings, before + 1) << "TLBs must hear of it";
    map->set_a20(false);
    EXPECT_EQ(listener.mappings, before + 1);
    u8 byte = 7;
    EXPECT_TRUE(map->write(0x100000, &byte, 1));
    EXPECT_EQ(map->ram()[0x100000], 7) << "DMA does not pass the gate";
}

TEST_F(Map, ListenersHearOfChanges) {
    Chip chip;
    const auto handle = map->map_io(0xe0000, 0x4000, chip, 3);
    EXPECT_EQ(listener.mappings, 1u);
    ASSERT_EQ(listener.contents.size(), 1u);
    EXPECT_EQ(listener.contents[0], (std::pair<u64, u64>{0xe0000, 0x4000}));
    map->unmap(handle);
    EXPECT_EQ(listener.mappings, 2u);
    EXPECT_EQ(listener.contents.size(), 2u);
}

TEST_F(Map, DirtyLog) {
    alignas(4096) static u8 video[2 * 4096];
    const auto handle = map->map_memory(0xe0000000, sizeof video, video, false, 0);
    EXPECT_FALSE(map->lookup(0xe0000000).dirty_logged) << "nobody asked yet";
    EXPECT_TRUE(map->take_dirty(handle, 0)) << "all is dirty at first";
    ASSERT_EQ(listener.protected_pages.size(), 1u);
    EXPECT_EQ(listener.protected_pages[0], video);
    EXPECT_FALSE(map->take_dirty(handle, 0));
    EXPECT_TRUE(map->take_dirty(handle, 4096));
    EXPECT_TRUE(map->lookup(0xe0000000).dirty_logged);
    map->store(0xe0000008, 4, 1);
    EXPECT_FALSE(map->lookup(0xe0000000).dirty_logged);
    EXPECT_TRUE(map->take_dirty(handle, 0));
    EXPECT_FALSE(map->take_dirty(handle, 4096));
    EXPECT_TRUE(map->write(0xe0001000, "x", 1));
    EXPECT_TRUE(map->take_dirty(handle, 4096));
    map->mark_dirty(0xe0001fff);
    EXPECT_TRUE(map->take_dirty(handle, 4096));
}

TEST_F(Map, CodeBitmapHasLinesOf64Bytes) {
    map->mark_code(0x3040, 1);
    EXPECT_EQ(listener.code_pages, (std::vector<const u8*>{map->ram() + 0x3000}));
    EXPECT_TRUE(map->lookup(0x3000).has_code);
    EXPECT_FALSE(map->hits_code(0x3000, 0x40));
    EXPECT_TRUE(map->hits_code(0x3000, 0x41));
    EXPECT_TRUE(map->hits_code(0x307f, 1));
    EXPECT_FALSE(map->hits_code(0x3080, 0xf80));
    map->mark_code(0x3fff, 1);
    EXPECT_EQ(listener.code_pages.size(), 1u) << "told once for each page";
    EXPECT_TRUE(map->hits_code(0x3ff8, 8));
    map->mark_code(0x5000, 4096);
    EXPECT_TRUE(map->hits_code(0x5fff, 1));
    map->clear_code(0x3abc);
    EXPECT_FALSE(map->lookup(0x3000).has_code);
    EXPECT_TRUE(map->lookup(0x5000).has_code);
}

TEST_F(Map, WritesToCodeReachTheWatcher) {
    map->mark_code(0x3040, 16);
    map->store(0x3000, 8, 0);
    EXPECT_TRUE(watcher.hits.empty());
    map->store(0x3040, 4, 0);
    EXPECT_TRUE(map->write(0x2f00, std::vector<u8>(0x400).data(), 0x400)); // DMA over both pages
    ASSERT_EQ(watcher.hits.size(), 2u);
    EXPECT_EQ(watcher.hits[0], (std::pair<u64, u64>{0x3040, 4}));
    EXPECT_EQ(watcher.hits[1], (std::pair<u64, u64>{0x3000, 0x300}));
}

TEST_F(Map, DmaReadsOnesOutsideMemoryAndSaysSo) {
    Chip chip;
    map->map_io(0xa0000, 0x1000, chip, 1);
    std::memset(map->ram() + 0x9f000, 0x11, 0x1000);
    u8 buffer[0x2000];
    EXPECT_FALSE(map->read(0x9f000, buffer, sizeof buffer));
    EXPECT_EQ(buffer[0xfff], 0x11);
    EXPECT_EQ(buffer[0x1000], 0xff);
    EXPECT_TRUE(chip.reads.empty()) << "a bus master reaches memory only";
    EXPECT_FALSE(map->write(16 * MiB - 4, buffer, 8));
    EXPECT_EQ(std::memcmp(map->ram() + 16 * MiB - 4, buffer, 4), 0);
    EXPECT_FALSE(map->write(~u64{0} - 3, buffer, 4));
    EXPECT_TRUE(map->read(0, buffer, 0));
}

// Addresses end at 2^64: what a device reads or writes beyond them does not come out at 0.
TEST_F(Map, DmaDoesNotWrapAround) {
    u8 data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    map->ram()[0] = 0x5a;
    EXPECT_FALSE(map->write(~u64{0} - 3, data, sizeof data));
    EXPECT_EQ(map->ram()[0], 0x5a);
    EXPECT_FALSE(map->read(~u64{0} - 3, data, sizeof data));
    for (const u8 byte : data)
        EXPECT_EQ(byte, 0xff);
}

} // namespace
} // namespace dragoman::softmmu
