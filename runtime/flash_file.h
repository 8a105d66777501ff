// What a flash holds: a file, mapped, so that what the guest programs is in it.
#pragma once

#include "block/host_file.h"

#include <memory>
#include <span>

namespace dragoman::runtime {

class FlashFile {
  public:
    // Up to 16 MiB, a multiple of 4 KiB. With `read_only` what is written is forgotten.
    static Result<std::unique_ptr<FlashFile>> open(const std::string& path, bool read_only);
    ~FlashFile();
    FlashFile(const FlashFile&) = delete;
    FlashFile& operator=(const FlashFile&) = delete;

    std::span<u8> cells() const { return cells_; }

  private:
    FlashFile(std::unique_ptr<block::HostFile> file, std::span<u8> cells)
        : file_(std::move(file)), cells_(cells) {}
    std::unique_ptr<block::HostFile> file_; // holds its lock
    std::span<u8> cells_;
};

} // namespace dragoman::runtime
