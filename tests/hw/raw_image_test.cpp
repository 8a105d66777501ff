// Raw image files: contents, errors, the lock.
#include "hw/core/raw_image.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/resource.h>

namespace dragoman::hw::test {
namespace {

namespace fs = std::filesystem;

class RawImageTest : public ::testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/dragoman-raw-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        dir = name;
    }
    void TearDown() override {
        fs::remove_all(dir);
        if (quiet != nullptr) std::fclose(quiet);
    }
    std::string file(const std::string& name, std::size_t bytes) {
        std::ofstream out(dir / name, std::ios::binary);
        for (std::size_t i = 0; i < bytes; ++i)
            out.put(static_cast<char>(i / 512 + i));
        return (dir / name).string();
    }
    std::string error_of(const std::string& path, bool read_only = true) {
        auto image = RawImage::open(path, read_only, log);
        return image ? "" : image.error().message;
    }
    fs::path dir;
    std::FILE* quiet = std::fopen("/dev/null", "w");
    Log log{quiet};
};

TEST_F(RawImageTest, ReadsAndWrites) {
    const std::string path = file("disk", 8 * 512);
    BlockStatus status{};
    const auto note = [&status](BlockStatus s) { status = s; };
    {
        auto image = RawImage::open(path, false, log);
        ASSERT_TRUE(image) << image.error().message;
        RawImage& disk = **image;
        EXPECT_EQ(disk.sectors(), 8u);
        std::vector<u8> data(1024, 0xa5), back(1024);
        disk.write(3, 2, data.data(), note);
        EXPECT_EQ(status, BlockStatus::Ok);
        disk.flush(note);
        EXPECT_EQ(status, BlockStatus::Ok);
        disk.read(3, 2, back.data(), note);
        EXPECT_EQ(status, BlockStatus::Ok);
        EXPECT_EQ(back, data);
        disk.read(7, 2, back.data(), note);
        EXPECT_EQ(status, BlockStatus::OutOfRange);
        disk.write(~u64{0}, 2, back.data(), note);
        EXPECT_EQ(status, BlockStatus::OutOfRange);
        fs::resize_file(path, 512);
        disk.read(3, 1, back.data(), note);
        EXPECT_EQ(status, BlockStatus::IoError) << "the file was shortened under us";
    }
    auto image = RawImage::open(path, true, log);
    ASSERT_TRUE(image);
    std::vector<u8> data(512);
    (*image)->write(0, 1, data.data(), note);
    EXPECT_EQ(status, BlockStatus::ReadOnly);
}

TEST_F(RawImageTest, ErrorsNameTheFile) {
    const std::string missing = (dir / "nothing").string();
    EXPECT_EQ(error_of(missing),
              "disk image '" + missing + "': no such file (expected an existing raw image)");
    EXPECT_NE(error_of(dir.string()).find("is a directory"), std::string::npos);
    EXPECT_NE(error_of(dir.string(), false).find("is a directory"), std::string::npos);
    EXPECT_NE(error_of(file("small", 511)).find("holds 511 bytes"), std::string::npos);
    EXPECT_NE(error_of("/dev/null").find("neither a file nor a block device"), std::string::npos);
    EXPECT_NE(error_of(file("x", 512) + "/y").find("cannot be opened"), std::string::npos);
}

TEST_F(RawImageTest, RoundsDownAndSaysSo) {
    const std::string out = (dir / "log").string();
    std::FILE* f = std::fopen(out.c_str(), "w");
    Log loud{f};
    auto image = RawImage::open(file("odd", 1500), true, loud);
    std::fclose(f);
    ASSERT_TRUE(image);
    EXPECT_EQ((*image)->sectors(), 2u);
    std::ifstream in(out);
    std::string line;
    std::getline(in, line);
    EXPECT_NE(line.find("the last 476 bytes are not used"), std::string::npos) << line;
}

TEST_F(RawImageTest, OneWriterOrManyReaders) {
    const std::string path = file("disk", 512);
    {
        auto writer = RawImage::open(path, false, log);
        ASSERT_TRUE(writer);
        EXPECT_NE(error_of(path, false).find("in use by another process"), std::string::npos);
        EXPECT_NE(error_of(path, true).find("being written"), std::string::npos);
    }
    auto reader = RawImage::open(path, true, log);
    ASSERT_TRUE(reader);
    EXPECT_EQ(error_of(path, true), "");
    EXPECT_NE(error_of(path, false), "");
}

TEST_F(RawImageTest, FullStorageIsReported) {
    const std::string path = file("disk", 4096);
    auto image = RawImage::open(path, false, log);
    ASSERT_TRUE(image);
    // A file size limit stands for full storage.
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    getrlimit(RLIMIT_FSIZE, &old);
    rlimit tight{1024, old.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
    std::vector<u8> data(512, 1);
    BlockStatus status{};
    (*image)->write(4, 1, data.data(), [&status](BlockStatus s) { status = s; });
    setrlimit(RLIMIT_FSIZE, &old);
    EXPECT_EQ(status, BlockStatus::NoSpace);
}

} // namespace
} // namespace dragoman::hw::test
