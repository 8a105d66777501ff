#include "hw/core/raw_image.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dragoman::hw {

namespace {

// Owns a descriptor until it is handed on.
struct Descriptor {
    int fd;
    ~Descriptor() {
        if (fd >= 0) ::close(fd);
    }
    int release() { return std::exchange(fd, -1); }
};

Error about(const std::string& path, const std::string& what) {
    return Error{"disk image '" + path + "': " + what};
}

std::string reason(int error) {
    return std::strerror(error);
}

// Takes the lock that keeps a second writer away. File systems without locks are let through.
bool lock(int fd, bool read_only) {
    struct flock range {};
    range.l_type = read_only ? F_RDLCK : F_WRLCK;
    range.l_whence = SEEK_SET;
    if (::fcntl(fd, F_OFD_SETLK, &range) == 0) return true;
    return errno != EAGAIN && errno != EACCES;
}

} // namespace

Result<std::unique_ptr<RawImage>> RawImage::open(const std::string& path, bool read_only, Log& log) {
    // Non-blocking, so that naming a FIFO does not wait for its other end; files and disks do not care.
    const int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK;
    Descriptor file{::open(path.c_str(), flags)};
    if (file.fd < 0) {
        const int error = errno;
        switch (error) {
        case ENOENT: return about(path, "no such file (expected an existing raw image)");
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
    if (::fstat(file.fd, &info) != 0) return about(path, "cannot be examined: " + reason(errno));
    if (S_ISDIR(info.st_mode)) return about(path, "is a directory (expected a file)");
    if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
        return about(path, "is neither a file nor a block device");

    const off_t bytes = ::lseek(file.fd, 0, SEEK_END);
    if (bytes < 0) return about(path, "has no size: " + reason(errno));
    if (bytes < off_t{sector_bytes})
        return about(path, "holds " + std::to_string(bytes) + " bytes (expected at least one sector of 512)");
    if (!lock(file.fd, read_only))
        return about(path, read_only ? "is being written by another process"
                                     : "is in use by another process (expected to be its only writer)");
    if (bytes % sector_bytes != 0)
        log.once("disk image '%s': size %lld is not a multiple of 512; the last %lld bytes are not used",
                 path.c_str(), static_cast<long long>(bytes), static_cast<long long>(bytes % sector_bytes));
    const u64 sectors = static_cast<u64>(bytes) / sector_bytes;
    return std::unique_ptr<RawImage>(new RawImage(path, file.release(), sectors, read_only, log));
}

RawImage::~RawImage() {
    ::close(fd_);
}

BlockStatus RawImage::failed(const char* doing, int error) {
    log_.once("disk image '%s': %s failed: %s", path_.c_str(), doing, std::strerror(error));
    return error == ENOSPC || error == EDQUOT || error == EFBIG ? BlockStatus::NoSpace : BlockStatus::IoError;
}

void RawImage::read(u64 sector, u32 count, u8* to, Completion done) {
    if (!in_range(sector, count)) return done(BlockStatus::OutOfRange);
    u64 at = sector * sector_bytes, left = u64{count} * sector_bytes;
    while (left != 0) {
        const ssize_t n = ::pread(fd_, to, left, static_cast<off_t>(at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return done(failed("read", errno));
        if (n == 0) { // someone shortened the file
            log_.once("disk image '%s': the file became shorter while in use", path_.c_str());
            return done(BlockStatus::IoError);
        }
        to += n;
        at += static_cast<u64>(n);
        left -= static_cast<u64>(n);
    }
    done(BlockStatus::Ok);
}

void RawImage::write(u64 sector, u32 count, const u8* from, Completion done) {
    if (read_only_) return done(BlockStatus::ReadOnly);
    if (!in_range(sector, count)) return done(BlockStatus::OutOfRange);
    u64 at = sector * sector_bytes, left = u64{count} * sector_bytes;
    while (left != 0) {
        const ssize_t n = ::pwrite(fd_, from, left, static_cast<off_t>(at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return done(failed("write", n == 0 ? EIO : errno));
        from += n;
        at += static_cast<u64>(n);
        left -= static_cast<u64>(n);
    }
    done(BlockStatus::Ok);
}

void RawImage::flush(Completion done) {
    if (read_only_) return done(BlockStatus::Ok);
    if (::fdatasync(fd_) != 0) return done(failed("flush", errno));
    done(BlockStatus::Ok);
}

} // namespace dragoman::hw
