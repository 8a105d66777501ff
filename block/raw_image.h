// An image that holds the bytes as they are, without any header.
#pragma once

#include "block/host_file.h"

namespace dragoman::block {

class RawImage final : public Image {
  public:
    // `guarded`: the format was guessed. The guest must not turn the image into one of another format, whose
    // header could name files of the host: such a write to the first sector is refused.
    RawImage(std::unique_ptr<HostFile> file, bool read_only, bool guarded)
        : file_(std::move(file)), read_only_(read_only), guarded_(guarded) {}

    const char* format() const override { return "raw"; }
    u64 bytes() const override { return file_->bytes(); }
    bool read_only() const override { return read_only_; }
    Outcome read(u64 at, u8* to, u64 count) override;
    Outcome write(u64 at, const u8* from, u64 count) override;
    Outcome flush() override;
    Outcome discard(u64 at, u64 count) override { return file_->punch(at, count); }
    Outcome write_zeroes(u64 at, u64 count, bool unmap) override { return file_->zero(at, count, unmap); }
    Outcome resize(u64 new_bytes) override { return file_->resize(new_bytes); }
    Result<Extent> extent(u64 at, u64 limit) override;
    std::optional<Place> place(u64 at, u64 count) override;
    HostFile& file() { return *file_; }

  private:
    std::unique_ptr<HostFile> file_;
    bool read_only_, guarded_;
};

} // namespace dragoman::block
