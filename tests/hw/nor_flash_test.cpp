// The flash: its commands, in the order in which UEFI firmware and operating systems give them.
#include "hw/nor_flash.h"

#include "chip_test_support.h"
#include "memory_test_support.h"

namespace dragoman::hw::test {
namespace {

class NorFlashTest : public ::testing::Test {
  protected:
    void say(u64 offset, std::initializer_list<u8> bytes) {
        for (const u8 byte : bytes)
            flash.write(offset, 1, byte);
    }
    std::vector<u8> cells = std::vector<u8>(64 * KiB, 0xff);
    static constexpr u64 base = 0xffff0000;
    FakeMemoryMap memory;
    NorFlash flash{memory, base, cells, false};
};

TEST_F(NorFlashTest, IsFoundByItsAnswers) {
    cells[0] = 0x5f;
    EXPECT_EQ(flash.read(0, 1), 0x5fu);
    say(0, {0x50});
    EXPECT_EQ(flash.read(0, 1), 0x5fu) << "no memory: the byte does not stay";
    say(0, {0x70});
    EXPECT_EQ(flash.read(0, 1), 0u) << "no ROM: it has a status, which is clear";
    say(0, {0xff});
    EXPECT_EQ(flash.read(0, 1), 0x5fu);
    say(0, {0x98});
    EXPECT_EQ(flash.read(0x10, 1), u64('Q'));
    EXPECT_EQ(flash.read(0x27, 1), 16u) << "64 KiB";
    EXPECT_EQ(flash.read(0x2d, 2) + 1, 16u) << "blocks";
    EXPECT_EQ(flash.read(0x2f, 2) * 256, NorFlash::block_bytes);
}

TEST_F(NorFlashTest, ProgramsAndErases) {
    say(0x1234, {0x10, 0x0f});
    EXPECT_EQ(flash.read(0, 1), 0x80u);
    say(0x1234, {0x10, 0xf1, 0xff});
    EXPECT_EQ(flash.read(0x1234, 1), 0x01u) << "ones need an erase";
    cells[0xfff] = cells[0x2000] = 0;
    say(0x1800, {0x20, 0xd0, 0xff});
    EXPECT_EQ(flash.read(0x1234, 1), 0xffu);
    EXPECT_EQ(cells[0xfff] | cells[0x2000], 0) << "one block";
    flash.write(0x40, 1, 0x40);
    flash.write(0x40, 4, 0x04030201);
    EXPECT_EQ(cells[0x43], 4);
}

TEST_F(NorFlashTest, WritesABuffer) {
    say(0x100, {0xe8, 2});
    for (u8 n = 0; n < 3; ++n)
        flash.write(0x100u + n, 1, 10u + n);
    EXPECT_EQ(cells[0x100], 0xff) << "not before it is confirmed";
    say(0x100, {0xd0, 0xff});
    EXPECT_EQ(cells[0x100], 10);
    EXPECT_EQ(cells[0x102], 12);
    EXPECT_EQ(cells[0x103], 0xff);
}

TEST_F(NorFlashTest, Refusals) {
    say(0, {0x20, 0x00});
    EXPECT_EQ(flash.read(0, 1), 0xb0u) << "not confirmed";
    say(0, {0x50, 0x70});
    EXPECT_EQ(flash.read(0, 1), 0u);
    say(64 * KiB, {0x10, 0x00});
    EXPECT_EQ(flash.read(0, 1) & 0x10, 0x10u) << "behind the end";
    NorFlash locked(memory, 0xfffe0000, cells, true);
    for (const u8 byte : {0x10, 0x00})
        locked.write(5, 1, byte);
    EXPECT_EQ(cells[5], 0xff);
    EXPECT_EQ(locked.read(0, 1), 0x92u);
}

// Firmware runs from the flash that it programs.
TEST_F(NorFlashTest, IsMemoryWhileItShowsItsArray) {
    const auto is_memory = [&] { return memory.at(base)->host == cells.data(); };
    ASSERT_EQ(memory.regions.size(), 1u);
    EXPECT_EQ(memory.at(base)->bytes, cells.size());
    EXPECT_TRUE(is_memory());
    memory.store(base + 7, 0x10);
    EXPECT_FALSE(is_memory());
    EXPECT_EQ(memory.load(base + 7), 0x80) << "its status";
    memory.store(base + 7, 0x5a);
    EXPECT_FALSE(is_memory());
    memory.store(base + 7, 0xff);
    EXPECT_TRUE(is_memory());
    EXPECT_EQ(memory.load(base + 7), 0x5a);
    memory.store(base, 0x98);
    EXPECT_EQ(memory.load(base + 0x10), 'Q');
    flash.reset();
    EXPECT_TRUE(is_memory());
    memory.store(base, 0x50);
    EXPECT_TRUE(is_memory()) << "the status is cleared, and not shown";
    EXPECT_EQ(memory.regions.size(), 1u);
}

TEST_F(NorFlashTest, StateComesBack) {
    say(0, {0xe8, 7, 1, 2});
    StateImage status;
    StateImage::Saver saver(status);
    flash.visit(saver);
    check_round_trip(flash, [&] { say(0, {3, 4, 5}); });
    flash.reset();
    StateImage::Loader loader(status);
    flash.visit(loader);
    EXPECT_EQ(memory.at(base)->host, nullptr) << "shows its status, as it did";
}

} // namespace
} // namespace dragoman::hw::test
