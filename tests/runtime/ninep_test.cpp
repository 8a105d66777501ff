// The shared folder's server: what it does, and that nothing leads out of the folder.
#include "runtime/ninep.h"

#include "runtime/ninep_wire.h"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <sys/stat.h>

namespace dragoman::runtime {
namespace {

namespace fs = std::filesystem;

enum : u8 {
    kStatfs = 8,
    kOpen = 12,
    kCreate = 14,
    kSymlink = 16,
    kMknod = 18,
    kRename = 20,
    kReadlink = 22,
    kGetattr = 24,
    kSetattr = 26,
    kReaddir = 40,
    kLink = 70,
    kMkdir = 72,
    kRenameat = 74,
    kUnlinkat = 76,
    kVersion = 100,
    kAttach = 104,
    kWalk = 110,
    kRead = 116,
    kWrite = 118,
    kClunk = 120,
};

class NinePTest : public testing::Test {
  protected:
    NinePTest() {
        char name[] = "/tmp/dragoman-9p-XXXXXX";
        top = mkdtemp(name);
        fs::create_directory(top / "shared");
        std::ofstream(top / "secret") << "secret";
    }
    ~NinePTest() override { fs::remove_all(top); }

    void begin(FolderOption::Security security = FolderOption::Security::None, bool read_only = false) {
        auto folder = Folder::open({"id", (top / "shared").string(), security, read_only, ""});
        ASSERT_TRUE(folder) << folder.error().message;
        server = std::make_unique<NineP>(std::move(*folder));
        NinePWriter hello;
        hello.put(u32(65536));
        hello.text("9P2000.L");
        ASSERT_EQ(ask(kVersion, hello), 0);
        NinePWriter root;
        root.put(u32(0));
        root.put(u32(~0u));
        root.text("user");
        root.text("");
        root.put(u32(0));
        ASSERT_EQ(ask(kAttach, root), 0);
    }
    // 0, or the errno that came; `body` is the answer's.
    int ask(u8 type, NinePWriter& arguments) {
        NinePWriter message;
        message.put(u32(7 + arguments.bytes().size()));
        message.put(type);
        message.put(u16(0x1234));
        for (const u8 byte : arguments.bytes())
            message.put(byte);
        const auto answer = server->answer(message.bytes(), 65536);
        NinePReader in(answer);
        EXPECT_EQ(in.get<u32>(), answer.size());
        const u8 kind = in.get<u8>();
        EXPECT_EQ(in.get<u16>(), 0x1234);
        body.assign(answer.begin() + 7, answer.end());
        if (kind == 7) return int(NinePReader(body).get<u32>());
        EXPECT_EQ(kind, type + 1);
        return 0;
    }
    template <class... T> int call(u8 type, const T&... arguments) {
        NinePWriter out;
        const auto put = [&](const auto& a) {
            if constexpr (std::is_convertible_v<decltype(a), std::string>)
                out.text(a);
            else
                out.put(a);
        };
        (put(arguments), ...);
        return ask(type, out);
    }
    int walk(u32 to, const std::vector<std::string>& names, u32 from = 0) {
        (void)call(kClunk, to);
        NinePWriter out;
        out.put(from);
        out.put(to);
        out.put(u16(names.size()));
        for (const std::string& name : names)
            out.text(name);
        const int bad = ask(kWalk, out);
        if (!bad && NinePReader(body).get<u16>() != names.size()) return ENOENT; // a part of the way
        return bad;
    }
    int open(const std::vector<std::string>& names, u32 flags = O_RDONLY, u32 fid = 1) {
        const int bad = walk(fid, names);
        return bad ? bad : call(kOpen, fid, flags);
    }
    std::string content(u32 fid = 1) {
        if (call(kRead, fid, u64(0), u32(4096))) return "error";
        return {body.begin() + 4, body.end()};
    }
    std::vector<std::string> names(u32 fid = 1) {
        std::vector<std::string> result;
        for (u64 offset = 0;;) {
            EXPECT_EQ(call(kReaddir, fid, offset, u32(200)), 0);
            NinePReader in(body);
            if (in.get<u32>() == 0) break;
            while (in.good()) {
                in.take(13);
                offset = in.get<u64>();
                (void)in.get<u8>();
                result.push_back(in.text());
                if (NinePReader(in).take(1).empty()) break;
            }
        }
        std::sort(result.begin(), result.end());
        return result;
    }
    fs::path top;
    std::unique_ptr<NineP> server;
    std::vector<u8> body;
};

TEST_F(NinePTest, FilesAndFolders) {
    begin();
    EXPECT_EQ(call(kMkdir, u32(0), "sub", u32(0755), u32(0)), 0);
    ASSERT_EQ(walk(1, {"sub"}), 0);
    ASSERT_EQ(call(kCreate, u32(1), "file", u32(O_RDWR), u32(04640), u32(0)), 0);
    NinePWriter write;
    write.put(u32(1));
    write.put(u64(2));
    write.put(u32(5));
    for (const char c : std::string("hello"))
        write.put(c);
    ASSERT_EQ(ask(kWrite, write), 0);
    EXPECT_EQ(content(), std::string("\0\0hello", 7));
    struct stat s;
    ASSERT_EQ(::stat((top / "shared/sub/file").c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 07777, 0640u) << "no rights lent to others";
    EXPECT_EQ(call(kGetattr, u32(1), u64(0x7ff)), 0);
    EXPECT_EQ(call(kRenameat, u32(0), "sub", u32(0), "moved"), 0);
    EXPECT_EQ(walk(2, {"moved", "file"}), 0);
    EXPECT_EQ(
        call(kSetattr, u32(2), u32(1 | 8), u32(0600), u32(0), u32(0), u64(3), u64(0), u64(0), u64(0), u64(0)),
        0);
    EXPECT_EQ(fs::file_size(top / "shared/moved/file"), 3u);
    EXPECT_EQ(walk(3, {"moved"}), 0);
    EXPECT_EQ(call(kLink, u32(3), u32(2), "second"), 0);
    EXPECT_EQ(call(kSymlink, u32(3), "link", "file", u32(0)), 0);
    EXPECT_EQ(walk(4, {"moved", "link"}), 0);
    EXPECT_EQ(call(kReadlink, u32(4)), 0);
    EXPECT_EQ(NinePReader(body).text(), "file");
    ASSERT_EQ(open({"moved"}), 0);
    EXPECT_EQ(names(), (std::vector<std::string>{".", "..", "file", "link", "second"}));
    EXPECT_EQ(call(kUnlinkat, u32(0), "moved", u32(AT_REMOVEDIR)), ENOTEMPTY);
    for (const char* name : {"file", "link", "second"})
        EXPECT_EQ(call(kUnlinkat, u32(3), name, u32(0)), 0);
    EXPECT_EQ(call(kUnlinkat, u32(0), "moved", u32(AT_REMOVEDIR)), 0);
    EXPECT_EQ(call(kStatfs, u32(0)), 0);
}

TEST_F(NinePTest, ManyNamesInSmallPieces) {
    begin();
    std::vector<std::string> wanted = {".", ".."};
    for (unsigned n = 0; n < 200; ++n) {
        wanted.push_back("name-" + std::to_string(n));
        std::ofstream(top / "shared" / wanted.back());
    }
    std::sort(wanted.begin(), wanted.end());
    ASSERT_EQ(open({}), 0);
    EXPECT_EQ(names(), wanted);
}

TEST_F(NinePTest, NothingLeadsOut) {
    begin();
    fs::create_directory(top / "shared/sub");
    fs::create_symlink("../secret", top / "shared/link");
    fs::create_symlink(top / "secret", top / "shared/absolute");
    fs::create_directory_symlink("..", top / "shared/up");
    fs::create_directory_symlink("/proc/self/root", top / "shared/magic");
    EXPECT_EQ(open({"..", "secret"}), ENOENT) << "the folder's parent is the folder";
    EXPECT_EQ(open({"sub", "..", "..", "secret"}), ENOENT);
    EXPECT_NE(open({"../secret"}), 0);
    EXPECT_NE(open({"/etc/passwd"}), 0);
    EXPECT_NE(open({"sub/../../secret"}), 0);
    EXPECT_NE(open({""}), 0);
    EXPECT_NE(open({std::string("x\0y", 3)}), 0);
    for (const char* link : {"link", "absolute", "up", "magic"})
        EXPECT_EQ(open({link}), ELOOP) << link << ": links are the guest's to follow";
    EXPECT_NE(open({"up", "secret"}), 0);
    EXPECT_NE(open({"magic", "etc", "passwd"}), 0);
    ASSERT_EQ(walk(5, {"up"}), 0) << "the link itself";
    EXPECT_NE(call(kMkdir, u32(5), "made", u32(0755), u32(0)), 0);
    EXPECT_NE(call(kUnlinkat, u32(5), "secret", u32(0)), 0);
    EXPECT_NE(call(kRenameat, u32(0), "sub", u32(5), "out"), 0);
    EXPECT_NE(call(kRenameat, u32(5), "secret", u32(0), "in"), 0);
    for (const char* name : {"..", ".", "", "../x", "a/b", "/x"}) {
        EXPECT_NE(call(kMkdir, u32(0), name, u32(0755), u32(0)), 0) << name;
        EXPECT_NE(call(kUnlinkat, u32(0), name, u32(0)), 0) << name;
        EXPECT_NE(call(kRenameat, u32(0), "sub", u32(0), name), 0) << name;
        EXPECT_NE(call(kSymlink, u32(0), name, "x", u32(0)), 0) << name;
    }
    EXPECT_EQ(call(kMknod, u32(0), "disk", u32(S_IFBLK | 0666), u32(8), u32(0), u32(0)), EPERM);
    ASSERT_EQ(mkfifo((top / "shared/pipe").c_str(), 0600), 0);
    EXPECT_EQ(open({"pipe"}), ENXIO) << "does not wait for a writer";
    // A folder that becomes a link while a number stands for it.
    ASSERT_EQ(walk(6, {"sub"}), 0);
    fs::remove(top / "shared/sub");
    fs::create_directory_symlink("..", top / "shared/sub");
    EXPECT_NE(call(kMkdir, u32(6), "made", u32(0755), u32(0)), 0);
    EXPECT_EQ(std::distance(fs::directory_iterator(top), {}), 2) << "nothing came or went outside";
    std::string text;
    std::ifstream(top / "secret") >> text;
    EXPECT_EQ(text, "secret");
}

TEST_F(NinePTest, ReadOnly) {
    std::ofstream(top / "shared/file") << "text";
    begin(FolderOption::Security::None, true);
    EXPECT_EQ(open({"file"}), 0);
    EXPECT_EQ(content(), "text");
    EXPECT_EQ(open({"file"}, O_RDWR), EROFS);
    EXPECT_EQ(open({"file"}, O_TRUNC), EROFS);
    EXPECT_EQ(call(kMkdir, u32(0), "x", u32(0755), u32(0)), EROFS);
    EXPECT_EQ(call(kUnlinkat, u32(0), "file", u32(0)), EROFS);
    EXPECT_EQ(call(kRenameat, u32(0), "file", u32(0), "x"), EROFS);
    EXPECT_EQ(call(kSymlink, u32(0), "x", "y", u32(0)), EROFS);
    EXPECT_EQ(call(kMknod, u32(0), "x", u32(S_IFIFO), u32(0), u32(0), u32(0)), EROFS);
    ASSERT_EQ(walk(2, {"file"}), 0);
    EXPECT_EQ(call(kSetattr, u32(2), u32(8), u32(0), u32(0), u32(0), u64(0), u64(0), u64(0), u64(0), u64(0)),
              EROFS);
    EXPECT_EQ(call(kLink, u32(0), u32(2), "x"), EROFS);
}

TEST_F(NinePTest, MappedOwners) {
    begin(FolderOption::Security::Mapped);
    ASSERT_EQ(walk(1, {}), 0);
    ASSERT_EQ(call(kCreate, u32(1), "file", u32(O_RDWR), u32(04755), u32(77)), 0);
    struct stat s;
    ASSERT_EQ(::stat((top / "shared/file").c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 07777, 0600u);
    if (call(kGetattr, u32(1), u64(0x7ff)) == 0) {
        NinePReader in(body);
        in.take(8 + 13);
        EXPECT_EQ(in.get<u32>(), u32(S_IFREG | 04755));
        EXPECT_EQ(in.get<u32>(), 0u);
        EXPECT_EQ(in.get<u32>(), 77u);
    }
    EXPECT_EQ(call(kSymlink, u32(0), "link", "/etc/passwd", u32(0)), 0);
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(top / "shared/link"))) << "no link on the host";
    ASSERT_EQ(walk(2, {"link"}), 0);
    EXPECT_EQ(call(kReadlink, u32(2)), 0);
    EXPECT_EQ(NinePReader(body).text(), "/etc/passwd");
    EXPECT_EQ(call(kMknod, u32(0), "disk", u32(S_IFBLK | 0666), u32(8), u32(1), u32(0)), 0);
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(top / "shared/disk"))) << "nor a device";
}

// Messages of any bytes: an answer each, and neither crash nor a way out.
TEST_F(NinePTest, RandomMessages) {
    begin();
    const u32 seed = u32(testing::UnitTest::GetInstance()->random_seed());
    std::mt19937 random(seed);
    SCOPED_TRACE("seed " + std::to_string(seed));
    const u8 types[] = {8,  12, 14, 16, 18, 20,  22,  24,  26,  30,  32,  40,  50, 52,
                        54, 70, 72, 74, 76, 102, 104, 108, 110, 116, 118, 120, 122};
    for (unsigned n = 0; n < 20000; ++n) {
        NinePWriter out;
        for (unsigned left = random() % 12; left; --left) {
            switch (random() % 4) {
            case 0: out.put(u32(random() % 4)); break;
            case 1: out.put(u32(random())); break;
            case 2: out.put(u16(random() % 5)); break;
            default: out.text(std::array{"a", "b", "..", ".", "", "a/b", "../secret"}[random() % 7]); break;
            }
        }
        NinePWriter message;
        message.put(u32(7 + out.bytes().size()));
        message.put(random() % 50 ? types[random() % std::size(types)] : u8(random()));
        message.put(u16(1));
        for (const u8 byte : out.bytes())
            message.put(byte);
        const auto answer = server->answer(message.bytes(), 8192);
        ASSERT_GE(answer.size(), 7u);
        ASSERT_LE(answer.size(), 8192u);
    }
    for (unsigned n = 0; n < 16; ++n) { // shorter than a header
        std::vector<u8> bytes(n, 0xff);
        EXPECT_EQ(server->answer(bytes, 8192).size(), 11u);
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(top), {}), 2);
}

} // namespace
} // namespace dragoman::runtime
