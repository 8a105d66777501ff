#include "backend/x64/code_buffer.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace dragoman::backend {

namespace {

constexpr u64 kHugePage = 2 * MiB;
#ifndef MADV_COLLAPSE
constexpr int MADV_COLLAPSE = 25; // Linux 6.1; of its ABI, newer than some C libraries
#endif

// Address space of `bytes` that begins with a huge page.
void* reserve_aligned(u64 bytes) {
    void* const got =
        mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) return got;
    const u64 from = reinterpret_cast<u64>(got), at = (from + kHugePage - 1) & ~(kHugePage - 1);
    if (at > from) munmap(got, at - from);
    munmap(reinterpret_cast<void*>(at + bytes), from + kHugePage - at);
    return reinterpret_cast<void*>(at);
}

Error failed(const char* what, u64 bytes) {
    return {"code buffer of " + std::to_string(bytes) + " bytes: " + what + ": " + std::strerror(errno)};
}

} // namespace

Result<std::unique_ptr<CodeBuffer>> CodeBuffer::create(u64 bytes) {
    const int fd = memfd_create("dragoman-code", MFD_CLOEXEC);
    if (fd < 0) return failed("memfd_create", bytes);
    if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
        const Error error = failed("ftruncate", bytes);
        close(fd);
        return error;
    }
    void* rw = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void* rx = rw == MAP_FAILED ? MAP_FAILED : reserve_aligned(bytes);
    if (rx != MAP_FAILED) rx = mmap(rx, bytes, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
    if (rx == MAP_FAILED) {
        const Error error = failed("mmap", bytes);
        if (rw != MAP_FAILED) munmap(rw, bytes);
        close(fd);
        return error;
    }
    close(fd); // the mappings keep the memory
    return std::unique_ptr<CodeBuffer>(new CodeBuffer(static_cast<u8*>(rw), static_cast<u8*>(rx), bytes));
}

void CodeBuffer::written(const u8* rx_end) {
    const u64 end = u64(rx_end - rx_) & ~(kHugePage - 1);
    if (end < done_) done_ = 0; // the buffer is filled anew
    if (end == done_) return;
    madvise(rw_, bytes_, MADV_DONTNEED);              // a shared mapping: the file keeps the code
    madvise(rx_ + done_, end - done_, MADV_COLLAPSE); // where it can be: fewer misses of the host's TLB
    done_ = end;
}

CodeBuffer::~CodeBuffer() {
    munmap(rw_, bytes_);
    munmap(rx_, bytes_);
}

} // namespace dragoman::backend
