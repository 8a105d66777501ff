#include "backend/x64/code_buffer.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace dragoman::backend {

namespace {

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
    void* rx = rw == MAP_FAILED ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
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
    constexpr u64 kStep = 2 * MiB;
    const u64 end = u64(rx_end - rx_);
    if (end < dropped_) dropped_ = 0; // the buffer is filled anew
    if (end - dropped_ < kStep) return;
    dropped_ = end;
    madvise(rw_, bytes_, MADV_DONTNEED); // a shared mapping: the file keeps the code
}

CodeBuffer::~CodeBuffer() {
    munmap(rw_, bytes_);
    munmap(rx_, bytes_);
}

} // namespace dragoman::backend
