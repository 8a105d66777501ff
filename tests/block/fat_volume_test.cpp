// Folders as FAT disks: what is in them is on the volume, what a guest does to the volume comes back, and
// what a guest does to harm does not.
#include "block/fat_volume.h"

#include "block_test_support.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <unistd.h>

namespace dragoman::block {
namespace {

namespace fs = std::filesystem;
using Tree = std::map<std::string, std::string>; // path -> contents; folders end with a slash

class FatVolumeTest : public ::testing::Test {
  protected:
    FatVolumeTest() {
        char name[] = "/tmp/dragoman-fat-XXXXXX";
        top = mkdtemp(name);
        fs::create_directory(top + "/a");
        fs::create_directory(top + "/b");
    }
    ~FatVolumeTest() override { fs::remove_all(top); }

    void fill(const std::string& folder, const Tree& tree) {
        for (const auto& [path, text] : tree) {
            if (path.back() == '/')
                fs::create_directories(folder + "/" + path);
            else
                std::ofstream(folder + "/" + path, std::ios::binary) << text;
        }
    }
    static Tree contents(const std::string& folder) {
        Tree tree;
        for (const auto& entry : fs::recursive_directory_iterator(folder)) {
            const std::string path = fs::relative(entry.path(), folder).string();
            std::ostringstream text;
            if (entry.is_directory()) {
                tree[path + "/"];
                continue;
            }
            text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
            tree[path] = text.str();
        }
        return tree;
    }
    struct Built {
        FatGeometry geometry;
        std::unique_ptr<RawImage> disk;
    };
    Built build(const FatFolder& folder) {
        auto root = scan_folder(folder.path);
        EXPECT_TRUE(root) << (root ? "" : root.error().message);
        auto geometry = lay_out(folder, *root);
        EXPECT_TRUE(geometry) << (geometry ? "" : geometry.error().message);
        auto file = HostFile::create_temporary();
        const auto made = build_volume(*geometry, *root, folder.path, **file);
        EXPECT_TRUE(made) << (made ? "" : made.error().message);
        return {*geometry, std::make_unique<RawImage>(std::move(*file), false, false)};
    }
    static void add(const Built& from, const FatNode& folder, const std::string& path, Tree& to) {
        for (const FatNode& node : folder.children) {
            if (node.folder) {
                to[path + node.name + "/"];
                add(from, node, path + node.name + "/", to);
                continue;
            }
            std::string text(node.clusters.size() * from.geometry.cluster_bytes(), 0);
            for (std::size_t n = 0; n < node.clusters.size(); ++n)
                EXPECT_FALSE(
                    from.disk
                        ->read(from.geometry.cluster_at(node.clusters[n]) * 512,
                               reinterpret_cast<u8*>(text.data()) + n * from.geometry.cluster_bytes(),
                               from.geometry.cluster_bytes())
                        .failed());
            text.resize(node.bytes);
            to[path + node.name] = text;
        }
    }
    // Everything of a volume that is not zero, onto another one.
    static void copy(Image& from, Image& to) {
        std::vector<u8> piece(64 * KiB), old(piece.size());
        for (u64 at = 0; at < from.bytes(); at += piece.size()) {
            const u64 n = std::min<u64>(piece.size(), from.bytes() - at);
            EXPECT_FALSE(from.read(at, piece.data(), n).failed());
            EXPECT_FALSE(to.read(at, old.data(), n).failed());
            if (piece != old) {
                EXPECT_FALSE(to.write(at, piece.data(), n).failed());
            }
        }
    }
    std::string top;
    const Tree usual = {{"README.TXT", "short"},
                        {"empty", ""},
                        {"lower.txt", std::string(20000, 'x') + "end"},
                        {"A long name with spaces.html", "html"},
                        {"A long name with others.html", "more"},
                        {"grüße-\xf0\x9f\x90\x89.txt", "utf-8"},
                        {".hidden", "dot"},
                        {"EFI/", ""},
                        {"EFI/BOOT/", ""},
                        {"EFI/BOOT/BOOTX64.EFI", std::string(100000, 'e')},
                        {"EFI/BOOT/startup.nsh", "fs0:"}};
};

TEST_F(FatVolumeTest, Names) {
    EXPECT_FALSE(parse_fat_folder("disk.img"));
    const auto all = parse_fat_folder("fat:32:rw:some/dir");
    ASSERT_TRUE(all);
    EXPECT_EQ(all->bits, 32u);
    EXPECT_TRUE(all->writable);
    EXPECT_EQ(all->path, "some/dir");
    EXPECT_TRUE(parse_fat_folder("fat:floppy:x")->floppy);
    bool good = true;
    EXPECT_EQ(to_utf8(to_utf16("a\xc3\xa9\xf0\x9f\x90\x89", good), good), "a\xc3\xa9\xf0\x9f\x90\x89");
    EXPECT_TRUE(good);
    to_utf16("\xc3", good);
    EXPECT_FALSE(good);
}

TEST_F(FatVolumeTest, HoldsTheFolder) {
    fill(top + "/a", usual);
    for (const unsigned bits : {12u, 16u, 32u}) {
        SCOPED_TRACE(bits);
        const Built built = build({top + "/a", bits == 12, false, bits});
        EXPECT_EQ(built.geometry.bits, bits);
        EXPECT_TRUE(bits == 12   ? built.geometry.clusters < 4085
                    : bits == 16 ? built.geometry.clusters < 65525
                                 : built.geometry.clusters >= 65525);
        auto back = read_volume(built.geometry, *built.disk);
        ASSERT_TRUE(back) << back.error().message;
        Tree tree;
        add(built, *back, "", tree);
        EXPECT_EQ(tree, usual);
    }
}

TEST_F(FatVolumeTest, ManyFilesNeedTheOtherForm) {
    Tree many;
    for (unsigned n = 0; n < 600; ++n)
        many["a file with a number " + std::to_string(n)] = std::to_string(n);
    fill(top + "/a", many);
    const Built built = build({top + "/a"});
    EXPECT_EQ(built.geometry.bits, 32u);
    auto back = read_volume(built.geometry, *built.disk);
    ASSERT_TRUE(back);
    Tree tree;
    add(built, *back, "", tree);
    EXPECT_EQ(tree, many);
    auto root = scan_folder(top + "/a");
    EXPECT_FALSE(lay_out({top + "/a", true}, *root)) << "no floppy holds it";
    EXPECT_FALSE(FatVolume::open({top + "/nowhere"}));
}

// What the guest did is played by another folder's volume.
TEST_F(FatVolumeTest, ChangesComeBack) {
    const std::string a = top + "/a", b = top + "/b";
    fill(a, usual);
    Tree other = usual;
    other.erase("empty"), other.erase("EFI/BOOT/startup.nsh");
    other["README.TXT"] = "sHort"; // of the same size
    other["new folder/"], other["new folder/new file.txt"] = std::string(70000, 'n');
    other["EFI/BOOT/grown"] = "";
    fill(b, other);
    for (const bool writable : {false, true}) {
        auto volume = FatVolume::open({a, false, writable});
        ASSERT_TRUE(volume) << volume.error().message;
        EXPECT_EQ((*volume)->read_only(), !writable);
        copy(*build({b}).disk, **volume);
        const Outcome o = (*volume)->close();
        EXPECT_FALSE(o.failed()) << o.message;
        EXPECT_EQ(contents(a), writable ? other : usual);
    }
    // Nothing was changed: nothing is touched.
    const auto before = fs::last_write_time(a);
    auto volume = FatVolume::open({a, false, true});
    EXPECT_FALSE((*volume)->close().failed());
    EXPECT_EQ(fs::last_write_time(a), before);
}

TEST_F(FatVolumeTest, WhatChangedOnTheHostStays) {
    const std::string a = top + "/a", b = top + "/b";
    fill(a, {{"one", "1"}, {"two", "2"}});
    fill(b, {{"one", "guest"}, {"three", "guest"}});
    auto volume = FatVolume::open({a, false, true});
    ASSERT_TRUE(volume);
    fill(a, {{"one", "host!!"}, {"three", "host"}});
    copy(*build({b}).disk, **volume);
    const Outcome o = (*volume)->close();
    EXPECT_NE(o.message.find("changed on the host"), std::string::npos) << o.message;
    EXPECT_EQ(contents(a), (Tree{{"one", "host!!"}, {"three", "host"}}));
}

TEST_F(FatVolumeTest, NothingLeavesTheFolder) {
    const std::string a = top + "/a", b = top + "/b";
    fill(top, {{"secret", "s"}});
    fill(a, {{"sub/", ""}, {"sub/file", "f"}, {"LONGFILE.TXT", "l"}});
    // The name of the short entry, as the guest would write it.
    for (const char* name : {"../SECR TXT", "/ETC    TXT", "..         ", "A\nB     TXT"}) {
        SCOPED_TRACE(name);
        auto volume = FatVolume::open({a, false, true});
        ASSERT_TRUE(volume);
        const Built built = build({a});
        std::vector<u8> root(512);
        ASSERT_FALSE((*volume)->read(built.geometry.root_at() * 512, root.data(), 512).failed());
        const std::string entry = "LONGFILETXT";
        const auto at = std::search(root.begin(), root.end(), entry.begin(), entry.end());
        ASSERT_NE(at, root.end());
        std::memcpy(&*at, name, 11);
        ASSERT_FALSE((*volume)->write(built.geometry.root_at() * 512, root.data(), 512).failed());
        EXPECT_TRUE((*volume)->close().failed());
        EXPECT_EQ(contents(a), (Tree{{"sub/", ""}, {"sub/file", "f"}, {"LONGFILE.TXT", "l"}}));
    }
    // A link where a folder was.
    auto volume = FatVolume::open({a, false, true});
    ASSERT_TRUE(volume);
    fill(b, {{"sub/", ""}, {"sub/file", "guest"}, {"sub/new", "guest"}, {"LONGFILE.TXT", "l"}});
    copy(*build({b}).disk, **volume);
    fs::create_directory(top + "/c");
    fs::rename(a + "/sub", top + "/kept");
    fs::create_directory_symlink(top + "/c", a + "/sub");
    EXPECT_TRUE((*volume)->close().failed());
    EXPECT_TRUE(fs::is_empty(top + "/c"));
    EXPECT_EQ(contents(top + "/kept"), (Tree{{"file", "f"}}));
}

TEST_F(FatVolumeTest, AnythingOnTheVolume) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const std::string a = top + "/a";
    fill(a, {{"sub/", ""},
             {"sub/deep/", ""},
             {"sub/deep/file with a name", std::string(3000, 'f')},
             {"two", "2"}});
    const FatFolder folder{a, true};
    unsigned refused = 0;
    for (unsigned round = 0; round < 150; ++round) {
        const Built built = build(folder);
        const auto& g = built.geometry;
        for (u64 n = random() % 12; n != 0; --n) { // tables, root, the first clusters
            const u64 at = (g.fat_at() + (random() % 2 ? 0 : g.root_at() - g.fat_at())) * 512 +
                           random() % (random() % 2 ? 64 : 2048);
            const u8 byte = u8(random() % 3 ? random() : random() % 8);
            ASSERT_FALSE(built.disk->write(at, &byte, 1).failed());
        }
        auto back = read_volume(g, *built.disk);
        refused += !back;
        if (!back) continue;
        Tree tree;
        add(built, *back, "", tree);
        for (const auto& [path, text] : tree) // a name may have two dots, or more, among others
            for (const fs::path& name : fs::path(path))
                EXPECT_TRUE(name != "." && name != "..") << path;
    }
    EXPECT_GT(refused, 0u);
}

} // namespace
} // namespace dragoman::block
