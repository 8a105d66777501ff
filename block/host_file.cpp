#include "block/host_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace dragoman::block {

namespace {

Error about(const std::string& path, const std::string& what) {
    return Error{"disk image '" + path + "': " + what};
}

std::string reason(int error) {
    return std::strerror(error);
}

bool take_lock(int fd, bool read_only) {
    struct flock range {};
    range.l_type = read_only ? F_RDLCK : F_WRLCK;
    range.l_whence = SEEK_SET;
    if (::fcntl(fd, F_OFD_SETLK, &range) == 0) return true;
    return errno != EAGAIN && errno != EACCES;
}

Error locked(const std::string& path, bool read_only) {
    return about(path, read_only ? "is being written by another process"
                                 : "is in use by another process (expected to be its only writer)");
}

} // namespace

Result<std::unique_ptr<HostFile>> HostFile::open(const std::string& path, bool read_only, bool lock,
                                                 bool write_through) {
    // Non-blocking, so that naming a FIFO does not wait for its other end; files and disks do not care.
    const int flags =
        (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | (write_through ? O_DSYNC : 0);
    std::unique_ptr<HostFile> file(new HostFile(path, ::open(path.c_str(), flags)));
    if (file->fd_ < 0) {
        const int error = errno;
        switch (error) {
        case ENOENT: return about(path, "no such file (expected an existing image)");
        case EISDIR: return about(path, "is a directory (expected a file)");
        case EACCES:
        case EPERM:
        case EROFS:
            return about(path, read_only ? "cannot be read: " + reason(error)
                                         : "cannot be opened for writing: " + reason(error) +
                                               " (read-only use is possible)");
        default: return about(path, "cannot be opened: " + reason(error));
        }
    }
    struct stat info {};
    if (::fstat(file->fd_, &info) != 0) return about(path, "cannot be examined: " + reason(errno));
    if (S_ISDIR(info.st_mode)) return about(path, "is a directory (expected a file)");
    if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
        return about(path, "is neither a file nor a block device");
    file->block_device_ = S_ISBLK(info.st_mode);
    const off_t bytes = ::lseek(file->fd_, 0, SEEK_END);
    if (bytes < 0) return about(path, "has no size: " + reason(errno));
    file->bytes_ = u64(bytes);
    if (lock && !take_lock(file->fd_, read_only)) return locked(path, read_only);
    return file;
}

Result<std::unique_ptr<HostFile>> HostFile::create(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0 && S_ISBLK(info.st_mode)) return open(path, false, true, false);
    // Not O_TRUNC: another process may be using it, which only the lock tells.
    std::unique_ptr<HostFile> file(
        new HostFile(path, ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)));
    if (file->fd_ < 0) return about(path, "cannot be created: " + reason(errno));
    if (!take_lock(file->fd_, false)) return locked(path, false);
    if (::ftruncate(file->fd_, 0) != 0) return about(path, "cannot be emptied: " + reason(errno));
    return file;
}

Result<std::unique_ptr<HostFile>> HostFile::create_temporary() {
    const char* wanted = std::getenv("TMPDIR");
    std::string path = std::string(wanted && *wanted ? wanted : "/var/tmp") + "/dragoman-XXXXXX";
    const int fd = ::mkostemp(path.data(), O_CLOEXEC);
    if (fd < 0) return Error{"temporary file " + path + ": cannot be created: " + reason(errno)};
    ::unlink(path.c_str());
    return std::unique_ptr<HostFile>(new HostFile(path, fd));
}

HostFile::~HostFile() {
    if (fd_ >= 0) ::close(fd_);
}

Outcome HostFile::failure(const char* doing, int error) const {
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    return {full ? BlockStatus::NoSpace : BlockStatus::IoError,
            "disk image '" + path_ + "': " + doing + " failed: " + reason(error)};
}

Outcome HostFile::read(u64 at, void* to, u64 count, PastEnd past_end) {
    u8* p = static_cast<u8*>(to);
    while (count != 0) {
        const ssize_t n = ::pread(fd_, p, count, off_t(at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return failure("read", errno);
        if (n == 0) {
            if (past_end == PastEnd::Error)
                return {BlockStatus::IoError,
                        "disk image '" + path_ + "': the file became shorter while in use"};
            std::memset(p, 0, count);
            return {};
        }
        p += n;
        at += u64(n);
        count -= u64(n);
    }
    return {};
}

Outcome HostFile::write(u64 at, const void* from, u64 count) {
    const u8* p = static_cast<const u8*>(from);
    while (count != 0) {
        const ssize_t n = ::pwrite(fd_, p, count, off_t(at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return failure("write", n == 0 ? EIO : errno);
        p += n;
        at += u64(n);
        count -= u64(n);
    }
    u64 size = bytes_;
    while (at > size && !bytes_.compare_exchange_weak(size, at)) {
    }
    return {};
}

Outcome HostFile::sync() {
    if (::fdatasync(fd_) != 0 && errno != EINVAL) return failure("flush", errno);
    return {};
}

Outcome HostFile::punch(u64 at, u64 count) {
    if (block_device_) {
        u64 range[2] = {at, count};
        (void)::ioctl(fd_, BLKDISCARD, range); // a hint: a device that cannot is no error
        return {};
    }
    if (::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off_t(at), off_t(count)) != 0 &&
        errno != EOPNOTSUPP && errno != ENOSYS)
        return failure("discard", errno);
    return {};
}

Outcome HostFile::zero(u64 at, u64 count, bool unmap) {
    if (count == 0) return {};
    if (block_device_) {
        u64 range[2] = {at, count};
        if (::ioctl(fd_, BLKZEROOUT, range) == 0) return {};
    } else {
        const int mode = unmap ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE;
        const bool beyond = at + count > bytes_;
        if (!beyond && ::fallocate(fd_, mode, off_t(at), off_t(count)) == 0) return {};
    }
    const std::vector<u8> zeroes(std::min<u64>(count, MiB));
    while (count != 0) {
        const u64 now = std::min<u64>(count, zeroes.size());
        if (Outcome o = write(at, zeroes.data(), now); o.failed()) return o;
        at += now;
        count -= now;
    }
    return {};
}

Outcome HostFile::resize(u64 new_bytes) {
    if (block_device_) {
        if (new_bytes <= bytes_) return {};
        return {BlockStatus::NoSpace, "disk image '" + path_ + "': a block device cannot grow"};
    }
    if (::ftruncate(fd_, off_t(new_bytes)) != 0) return failure("resize", errno);
    bytes_ = new_bytes;
    return {};
}

u64 HostFile::host_bytes() const {
    struct stat info {};
    return ::fstat(fd_, &info) == 0 ? u64(info.st_blocks) * 512 : 0;
}

u64 HostFile::next_data(u64 at) const {
    const off_t found = ::lseek(fd_, off_t(at), SEEK_DATA);
    if (found >= 0) return u64(found);
    return errno == ENXIO ? u64(bytes_) : at;
}

u64 HostFile::next_hole(u64 at) const {
    const off_t found = ::lseek(fd_, off_t(at), SEEK_HOLE);
    return found > off_t(at) ? u64(found) : bytes_.load();
}

} // namespace dragoman::block
