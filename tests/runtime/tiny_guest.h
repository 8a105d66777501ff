// A guest of a few bytes: a firmware image in a file of its own, and an emulator that runs it.
#pragma once

#include "runtime/emulator.h"

#include <cstdio>
#include <cstring>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dragoman::runtime {

class TinyGuest {
  public:
    // `code` starts in real mode at f000:0000.
    explicit TinyGuest(std::span<const u8> code) {
        char name[] = "/tmp/dragoman-rom-XXXXXX";
        const int fd = mkstemp(name);
        path_ = name;
        std::vector<u8> image(64 * KiB, 0xf4);
        std::copy(code.begin(), code.end(), image.begin());
        constexpr u8 reset_vector[] = {0xea, 0x00, 0x00, 0x00, 0xf0}; // jmp f000:0000
        std::memcpy(image.data() + 0xfff0, reset_vector, sizeof reset_vector);
        EXPECT_EQ(write(fd, image.data(), image.size()), ssize_t(image.size()));
        close(fd);
        options.bios = path_;
        options.display = Options::Display::None;
        options.memory_bytes = 16 * MiB;
        options.vcpu.cache_bytes = 16 * MiB;
    }
    ~TinyGuest() {
        emulator.reset();
        unlink(path_.c_str());
    }
    void create() {
        auto made = Emulator::create(options, log);
        ASSERT_TRUE(made) << made.error().message;
        emulator = std::move(*made);
    }

    Options options; // may be changed before create()
    Log log;
    std::unique_ptr<Emulator> emulator;

  private:
    std::string path_;
};

} // namespace dragoman::runtime
