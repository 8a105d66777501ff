// A directory for images, and QEMU's image tool as the judge of what is written.
#pragma once

#include "block/qcow2.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

namespace dragoman::block::test {

class BlockTest : public ::testing::Test {
  protected:
    void SetUp() override {
        // In memory where that is possible: flushes cost nothing there.
        const bool memory = ::access("/dev/shm", W_OK) == 0;
        std::string name = std::string(memory ? "/dev/shm" : "/tmp") + "/dragoman-block-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        dir = name;
    }
    void TearDown() override { std::filesystem::remove_all(dir); }
    std::string path(const std::string& name) const { return (dir / name).string(); }

    static bool have_qemu_img() { return std::system("command -v qemu-img >/dev/null 2>&1") == 0; }
    // The exit status of a shell command; what it said is in `said`.
    int run(const std::string& command) {
        said.clear();
        std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
        char line[512];
        while (std::fgets(line, sizeof line, pipe))
            said += line;
        const int status = ::pclose(pipe);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

    std::unique_ptr<Qcow2Image> open(const std::string& file, bool read_only = false,
                                     OpenOptions options = {}) {
        options.read_only = read_only;
        options.format = "qcow2";
        auto image = open_image(file, options);
        EXPECT_TRUE(image) << (image ? "" : image.error().message);
        return image ? std::unique_ptr<Qcow2Image>(static_cast<Qcow2Image*>(image->release())) : nullptr;
    }
    std::string error_of(const std::string& file, bool read_only = true, const std::string& format = "") {
        OpenOptions options;
        options.read_only = read_only;
        options.format = format;
        auto image = open_image(file, options);
        return image ? "" : image.error().message;
    }
    void create(const std::string& file, const Qcow2CreateOptions& options) {
        auto host = HostFile::create(file);
        ASSERT_TRUE(host) << host.error().message;
        const auto made = Qcow2Image::create(**host, options);
        ASSERT_TRUE(made) << made.error().message;
    }
    static void expect_clean(Qcow2Image& image) {
        const auto result = image.check(Qcow2Repair::None);
        ASSERT_TRUE(result) << result.error().message;
        std::string all;
        for (const std::string& message : result.value().messages)
            all += message + "\n";
        EXPECT_EQ(result.value().corruptions, 0u) << all;
        EXPECT_EQ(result.value().leaks, 0u) << all;
    }
    std::string contents(const std::string& file) const {
        std::ifstream in(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    void put(const std::string& file, std::size_t at, const std::string& bytes) const {
        std::fstream out(file, std::ios::binary | std::ios::in | std::ios::out);
        out.seekp(std::streamoff(at));
        out.write(bytes.data(), std::streamsize(bytes.size()));
    }

    std::filesystem::path dir;
    std::string said;
};

} // namespace dragoman::block::test
