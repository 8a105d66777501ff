// A file descriptor of the host with an owner, who closes it.
#pragma once

#include <unistd.h>
#include <utility>

namespace dragoman::runtime {

class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {} // negative: none
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }
    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_;
};

} // namespace dragoman::runtime
