#include "runtime/replaced_file.h"

#include "base/types.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

// No other use on a file; who is in the sandbox may not change modes.
constexpr mode_t kMark = S_ISVTX;

std::string why() {
    return std::strerror(errno);
}

bool read_byte(int fd, u8& byte) {
    ssize_t n;
    do
        n = ::read(fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

// In a process of its own: only calls that are safe after a fork.
[[noreturn]] void keep(int owner, const char* aside, const char* path) {
    ::setsid(); // a terminal's signals are not for it
    for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGPIPE})
        std::signal(signal, SIG_IGN);
    if (owner > 0) ::close_range(0, unsigned(owner) - 1, 0);
    ::close_range(unsigned(owner) + 1, ~0u, 0);
    u8 byte;
    if (!read_byte(owner, byte)) {
        ::unlink(aside);
    } else {
        byte = ::rename(aside, path) == 0 ? u8{0} : u8(errno);
        if (byte) ::unlink(aside);
        (void)!::write(owner, &byte, 1);
    }
    ::_exit(0);
}

} // namespace

Status ReplacedFile::make() {
    fd_ = ::mkostemp(aside_.data(), O_CLOEXEC); // 0600
    if (fd_ < 0) return Error{"cannot be made: " + why()};
    return Ok{};
}

Status ReplacedFile::leave_keeper() {
    struct stat facts {};
    if (::fchmod(fd_, 0600 | kMark) != 0 || ::fstat(fd_, &facts) != 0 || !(facts.st_mode & kMark))
        return Error{"cannot get the mark of the sandbox: " + why()};
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return Error{why()};
    const pid_t child = ::fork();
    if (child == 0) keep(ends[1], aside_.c_str(), path_.c_str());
    ::close(ends[1]);
    keeper_ = ends[0];
    if (child < 0) return Error{why()};
    return Ok{};
}

Result<std::unique_ptr<ReplacedFile>> ReplacedFile::open(const std::string& path) {
    std::unique_ptr<ReplacedFile> file(new ReplacedFile(path));
    if (auto s = file->make(); !s) return s.error();
    return file;
}

Result<std::unique_ptr<ReplacedFile>> ReplacedFile::open_for_sandbox(const std::string& path) {
    std::unique_ptr<ReplacedFile> file(new ReplacedFile(path));
    if (auto s = file->make(); !s) return s.error();
    if (auto s = file->leave_keeper(); !s) return s.error();
    return file;
}

bool ReplacedFile::from_sandbox(const std::string& path) {
    struct stat facts {};
    return ::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) && (facts.st_mode & kMark);
}

ReplacedFile::~ReplacedFile() {
    if (keeper_ >= 0)
        ::close(keeper_); // it cleans up
    else if (fd_ >= 0 && !done_)
        ::unlink(aside_.c_str());
    if (fd_ >= 0) ::close(fd_);
}

Status ReplacedFile::commit() {
    if (::fsync(fd_) != 0) return Error{"cannot be written: " + why()};
    if (keeper_ < 0) {
        if (::rename(aside_.c_str(), path_.c_str()) != 0) return Error{"cannot be replaced: " + why()};
        done_ = true;
        return Ok{};
    }
    u8 byte = 0;
    if (::write(keeper_, &byte, 1) != 1 || !read_byte(keeper_, byte))
        return Error{"cannot be replaced: the process that was to do it is gone"};
    if (byte) return Error{"cannot be replaced: " + std::string(std::strerror(byte))};
    return Ok{};
}

} // namespace dragoman::runtime
