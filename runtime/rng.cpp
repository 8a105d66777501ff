#include "runtime/rng.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

class KernelEntropy final : public hw::EntropySource {
  public:
    std::size_t take(std::span<u8> to) override {
        const ssize_t n = getrandom(to.data(), to.size(), GRND_NONBLOCK);
        return n > 0 ? std::size_t(n) : 0;
    }
};

class FileEntropy final : public hw::EntropySource {
  public:
    FileEntropy(int fd, Waker& waker) : fd_(fd), waker_(waker) {
        waker_.watch(fd_, [this] {
            waker_.wait_for(fd_, false, false);
            if (ready_) ready_();
        });
        waker_.wait_for(fd_, false, false);
    }
    ~FileEntropy() override {
        waker_.unwatch(fd_);
        close(fd_);
    }
    std::size_t take(std::span<u8> to) override {
        const ssize_t n = read(fd_, to.data(), to.size());
        if (n > 0) return std::size_t(n);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) waker_.wait_for(fd_, true, false);
        return 0; // at the end of a file there is never more
    }

  private:
    int fd_;
    Waker& waker_;
};

} // namespace

Result<std::unique_ptr<hw::EntropySource>> open_entropy(const std::string& file, Waker& waker) {
    using Source = std::unique_ptr<hw::EntropySource>;
    if (file.empty() || file == "/dev/urandom" || file == "/dev/random")
        return Source(std::make_unique<KernelEntropy>());
    const int fd = open(file.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return Error{"'" + file + "': " + std::strerror(errno)};
    return Source(std::make_unique<FileEntropy>(fd, waker));
}

} // namespace dragoman::runtime
