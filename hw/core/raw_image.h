// A block device in a file (or host block device) that holds the sectors as they are, without any header.
#pragma once

#include "base/log.h"
#include "base/result.h"
#include "hw/core/block.h"

#include <memory>
#include <string>

namespace dragoman::hw {

class RawImage final : public BlockDevice {
  public:
    // Opens an existing image. Writable images are locked against other writers, read-only ones against any
    // writer, for as long as they are open (open file description locks, fcntl(2)). A size that is not a
    // multiple of 512 is rounded down, with a line in the log. The error names the file and what was
    // expected. `log` is borrowed.
    static Result<std::unique_ptr<RawImage>> open(const std::string& path, bool read_only, Log& log);

    ~RawImage() override;
    RawImage(const RawImage&) = delete;
    RawImage& operator=(const RawImage&) = delete;

    u64 sectors() const override { return sectors_; }
    bool read_only() const override { return read_only_; }
    void read(u64 sector, u32 count, u8* to, Completion done) override;
    void write(u64 sector, u32 count, const u8* from, Completion done) override;
    void flush(Completion done) override;
    const std::string& path() const { return path_; }

  private:
    RawImage(std::string path, int fd, u64 sectors, bool read_only, Log& log)
        : path_(std::move(path)), fd_(fd), sectors_(sectors), read_only_(read_only), log_(log) {}
    bool in_range(u64 sector, u32 count) const { return sector <= sectors_ && count <= sectors_ - sector; }
    BlockStatus failed(const char* doing, int error);

    std::string path_;
    int fd_;
    u64 sectors_;
    bool read_only_;
    Log& log_;
};

} // namespace dragoman::hw
