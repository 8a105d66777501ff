// The file of -tb-cache: what is written is found again, and what is damaged, cut off or somebody else's is
// not.
#include "runtime/tb_cache_file.h"

#include "child.h"
#include "runtime/sandbox.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sys/stat.h>
#include <unistd.h>

namespace dragoman::runtime {
namespace {

namespace fs = std::filesystem;
constexpr const char* kIdentity = "build 1\n";

template <class Take> const TbRecord* find(const TbCacheFile& file, const TbKey& key, Take take) {
    return file.find(key, hash_value(key), take);
}

class File : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = fs::temp_directory_path() / "dragoman-tb.XXXXXX";
        directory = ::mkdtemp(name.data());
    }
    void TearDown() override { fs::remove_all(directory); }
    std::string path() const { return directory / "file"; }

    // A block at `rip`, of which byte and code say `version`.
    void add(u64 rip, u8 version) {
        std::vector<u8> guest(5, version), followed(3, u8(version + 1));
        std::vector<u8> code(40, u8(version + 2));
        const std::vector<backend::LinkSite> links = {{.jump_offset = 4,
                                                       .stub_offset = 20,
                                                       .return_offset = 30,
                                                       .saved_flags = true,
                                                       .target = rip + 9}};
        const std::vector<backend::SidePoint> points = {{12, 0, 0}, {16, 3, 1}};
        const std::vector<u32> jumps = {26};
        const std::vector<backend::PcNumber> numbers = {{33, backend::PcForm::Eight, 9}};
        TbRecord header{.key = {.place = rip, .mode = 7},
                        .pc = rip,
                        .guest = {5, 0, 3},
                        .followed = 100,
                        .end = 5,
                        .guest_instructions = 2};
        const u8* const parts[] = {guest.data(), guest.data(), followed.data()};
        make_record(records.emplace_back(), header, parts,
                    {.movable = true,
                     .pc_numbers = numbers,
                     .saved_entry = 2,
                     .host_instructions = 9,
                     .links = links,
                     .points = points,
                     .stub_jumps = jumps,
                     .code = code});
        seal(*reinterpret_cast<TbRecord*>(records.back().data()));
    }
    Status write() {
        std::vector<const TbRecord*> all;
        for (const auto& r : records)
            all.push_back(reinterpret_cast<const TbRecord*>(r.data()));
        return TbCacheFile::write(**ReplacedFile::open(path()), kIdentity, all);
    }
    std::vector<u8> bytes() {
        std::ifstream in(path(), std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    // Byte for byte one of those that were written.
    bool is_one(const TbRecord& found) const {
        for (const auto& r : records)
            if (r.size() * 8 == found.bytes && !std::memcmp(r.data(), &found, found.bytes)) return true;
        return false;
    }
    std::string refusal() {
        auto opened = TbCacheFile::open(path(), kIdentity);
        return opened ? "" : opened.error().message;
    }

    fs::path directory;
    std::vector<std::vector<u64>> records;
};

const auto any = [](const TbRecord&) { return true; };

TEST_F(File, WhatIsWrittenIsFound) {
    for (u64 n = 0; n < 100; ++n)
        add(0x1000 + n / 2 * 16, u8(n)); // two versions of each
    ASSERT_TRUE(write());
    auto file = TbCacheFile::open(path(), kIdentity);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ((*file)->records(), 100u);
    for (u64 n = 0; n < 100; ++n) {
        const TbKey key{.place = 0x1000 + n / 2 * 16, .mode = 7};
        const TbRecord* r =
            find(**file, key, [&](const TbRecord& record) { return record.guest_at(0)[0] == u8(n); });
        ASSERT_TRUE(r) << n;
        EXPECT_TRUE(is_one(*r));
        EXPECT_EQ(r->guest_at(2)[2], u8(n + 1));
        const backend::PortableCode code = r->portable(key.place);
        EXPECT_EQ(code.links[0].target, key.place + 9);
        EXPECT_EQ(code.points[1].guest_offset, 3);
        EXPECT_EQ(code.stub_jumps[0], 26u);
        EXPECT_TRUE(code.movable);
        EXPECT_EQ(code.pc_numbers[0].offset, 33u);
        EXPECT_EQ(code.pc_numbers[0].distance, 9);
        EXPECT_EQ(code.code[39], u8(n + 2));
    }
    EXPECT_FALSE(find(**file, {.place = 0x1000, .mode = 8}, any));
    EXPECT_FALSE(find(**file, {.place = 0x1008, .mode = 7}, any));
    struct stat facts {};
    ASSERT_EQ(::stat(path().c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0600u);
    EXPECT_EQ(std::distance(fs::directory_iterator(directory), {}), 1) << "a temporary file is left";
}

TEST_F(File, WhatIsNotThereIsEmpty) {
    EXPECT_EQ(refusal(), "");
    auto file = TbCacheFile::open(path(), kIdentity);
    EXPECT_EQ((*file)->records(), 0u);
    EXPECT_FALSE(find(**file, {.place = 1}, any));
}

TEST_F(File, CutOffAnywhereItIsRefused) {
    add(0x1000, 1), add(0x2000, 2);
    ASSERT_TRUE(write());
    const std::vector<u8> whole = bytes();
    for (u64 n = 0; n < whole.size(); ++n)
        EXPECT_FALSE(TbCacheFile::read({whole.data(), n}, kIdentity)) << n << " bytes";
    EXPECT_TRUE(TbCacheFile::read(whole, kIdentity));
}

TEST_F(File, WithAnyByteChangedNothingElseIsFound) {
    add(0x1000, 1), add(0x1000, 2), add(0x2000, 3);
    ASSERT_TRUE(write());
    std::vector<u8> changed = bytes();
    u64 refused = 0;
    for (u8& byte : changed) {
        for (const u8 change : {0x01, 0x80, 0xff}) {
            byte ^= change;
            auto file = TbCacheFile::read(changed, kIdentity);
            if (file) {
                const auto check = [&](const TbRecord& r) {
                    EXPECT_TRUE(is_one(r)) << "byte " << &byte - changed.data();
                    return false;
                };
                for (const u64 rip : {0x1000, 0x2000})
                    find(**file, {.place = rip, .mode = 7}, check);
                (*file)->for_each(check);
            }
            refused += !file;
            byte ^= change;
        }
    }
    EXPECT_GT(refused, 3 * 64u);
}

TEST_F(File, IsForOneIdentity) {
    add(0x1000, 1);
    ASSERT_TRUE(write());
    auto file = TbCacheFile::open(path(), "build 2\n");
    ASSERT_FALSE(file);
    EXPECT_NE(file.error().message.find("another build"), std::string::npos) << file.error().message;
}

TEST_F(File, OnlyItsOwnerMayHaveWrittenIt) {
    add(0x1000, 1);
    ASSERT_TRUE(write());
    EXPECT_EQ(refusal(), "");
    ASSERT_EQ(::chmod(path().c_str(), 0620), 0);
    EXPECT_EQ(refusal(), "may be written by others than its owner");
    ASSERT_EQ(::chmod(path().c_str(), 0602), 0);
    EXPECT_EQ(refusal(), "may be written by others than its owner");
    ASSERT_EQ(::chmod(path().c_str(), 0600), 0);
    if (::chown(path().c_str(), 1, 1) == 0) { // only root can give it away
        EXPECT_EQ(refusal(), "belongs to another user");
    }
}

TEST_F(File, OtherThingsOfThatNameAreRefused) {
    ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
    EXPECT_EQ(refusal(), "is not a file");
    fs::remove(path());
    std::ofstream(path())
        << "a text that is long enough to hold a header, and then some more of it, so that it is read\n";
    EXPECT_EQ(refusal(), "is not a file of translations");
}

TEST_F(File, AFailedWriteLeavesTheOldOne) {
    add(0x1000, 1);
    ASSERT_TRUE(write());
    const std::vector<u8> before = bytes();
    EXPECT_FALSE(ReplacedFile::open(directory / "none" / "file"));
    EXPECT_EQ(bytes(), before);
}

// --- files that take another's place

bool wait_until(const std::function<bool()>& holds) { // the keeper is a process of its own
    for (unsigned n = 0; n < 1000 && !holds(); ++n)
        ::usleep(10000);
    return holds();
}

TEST_F(File, TakesItsPlaceOnlyWhenItIsWhole) {
    for (const auto open : {ReplacedFile::open, ReplacedFile::open_for_sandbox}) {
        std::ofstream(path()) << "old";
        {
            auto file = open(path());
            ASSERT_TRUE(file) << file.error().message;
            ASSERT_EQ(::write((*file)->fd(), "new", 3), 3);
        }
        const auto alone = [&] { return std::distance(fs::directory_iterator(directory), {}) == 1; };
        EXPECT_TRUE(wait_until(alone)) << "what was not committed stays beside it";
        EXPECT_EQ(bytes(), (std::vector<u8>{'o', 'l', 'd'}));
        auto file = open(path());
        ASSERT_EQ(::write((*file)->fd(), "new", 3), 3);
        EXPECT_TRUE((*file)->commit());
        EXPECT_EQ(bytes(), (std::vector<u8>{'n', 'e', 'w'}));
        file->reset();
        EXPECT_TRUE(wait_until(alone));
        EXPECT_EQ(ReplacedFile::from_sandbox(path()), open == ReplacedFile::open_for_sandbox);
    }
}

TEST_F(File, ComesOutOfTheSandbox) {
    std::ofstream(path()) << "old";
    EXPECT_EQ(in_child([&] {
                  auto file = ReplacedFile::open_for_sandbox(path());
                  if (!file) return 1;
                  if (!enter_sandbox({})) return 2;
                  if (::write((*file)->fd(), "new", 3) != 3) return 3;
                  if (::fchmod((*file)->fd(), 0600) == 0) return 4;
                  return (*file)->commit() ? 0 : 5;
              }),
              0);
    EXPECT_EQ(bytes(), (std::vector<u8>{'n', 'e', 'w'}));
    EXPECT_TRUE(ReplacedFile::from_sandbox(path()));
}

} // namespace
} // namespace dragoman::runtime
