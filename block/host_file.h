// A file or block device of the host, with errors as lines of text.
#pragma once

#include "block/image.h"

#include <atomic>
#include <memory>
#include <string>

namespace dragoman::block {

class HostFile final {
  public:
    // Writable files are locked against other writers, read-only ones against any writer, for as long as they
    // are open (open file description locks, fcntl(2)). File systems without locks are let through.
    static Result<std::unique_ptr<HostFile>> open(const std::string& path, bool read_only, bool lock,
                                                  bool write_through);
    // A new file, or an old one emptied; locked.
    static Result<std::unique_ptr<HostFile>> create(const std::string& path);
    // A file without a name in $TMPDIR or /var/tmp.
    static Result<std::unique_ptr<HostFile>> create_temporary();

    ~HostFile();
    HostFile(const HostFile&) = delete;
    HostFile& operator=(const HostFile&) = delete;

    const std::string& path() const { return path_; }
    int descriptor() const { return fd_; }
    u64 bytes() const { return bytes_; } // grows with writes
    bool block_device() const { return block_device_; }

    // What lies behind the end of the file reads as zeroes, or is an error.
    enum class PastEnd : u8 { Zeroes, Error };
    Outcome read(u64 at, void* to, u64 count, PastEnd past_end = PastEnd::Zeroes);
    Outcome write(u64 at, const void* from, u64 count);
    Outcome sync();
    Outcome punch(u64 at,
                  u64 count); // gives storage back if the host can; the bytes read as zeroes or as before
    Outcome zero(u64 at, u64 count, bool unmap);
    Outcome resize(u64 bytes);
    u64 host_bytes() const; // storage that it takes
    // The first byte from `at` on that is not in a hole; bytes() if there is none. And the other way round.
    u64 next_data(u64 at) const;
    u64 next_hole(u64 at) const;

    Outcome failure(const char* doing, int error) const;

  private:
    HostFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
    std::string path_;
    int fd_;
    std::atomic<u64> bytes_{0};
    bool block_device_ = false;
};

} // namespace dragoman::block
