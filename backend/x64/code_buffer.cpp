#include "backend/x64/code_buffer.h"

#include "base/huge_page.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace dragoman::backend {

namespace {

#ifndef MADV_COLLAPSE
constexpr int MADV_COLLAPSE = 25; // Linux 6.1; of its ABI, newer than some C libraries
#endif
#ifndef MADV_POPULATE_READ
constexpr int MADV_POPULATE_READ = 22; // Linux 5.14
#endif

constexpr u64 kNearlyFull = kHugePage / 4;

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
    void* const rw = map_where_huge_pages_begin(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    void* const rx = rw == MAP_FAILED
                         ? MAP_FAILED
                         : map_where_huge_pages_begin(bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd);
    if (rx == MAP_FAILED) {
        const Error error = failed("mmap", bytes);
        if (rw != MAP_FAILED) munmap(rw, bytes);
        close(fd);
        return error;
    }
    close(fd); // the mappings keep the memory
    return std::unique_ptr<CodeBuffer>(new CodeBuffer(static_cast<u8*>(rw), static_cast<u8*>(rx), bytes));
}

// Before more than the end of a block is written there: the host then clears a huge page, where it would
// otherwise take a page fault for each 4 KiB and copy them all later. It wants one of these to be there.
// Where two threads make the same page ready, the second finds nothing left to do.
void CodeBuffer::make_ready(u64 until) {
    for (u64 at = ready_; at < until && at + kHugePage <= bytes_; at += kHugePage) {
        madvise(rx_ + at, 1, MADV_POPULATE_READ);
        madvise(rx_ + at, kHugePage, MADV_COLLAPSE);
        ready_ = at + kHugePage;
    }
}

void CodeBuffer::make_ready() {
    make_ready(end_ + kNearlyFull);
}

void CodeBuffer::written(const u8* rx_end) {
    const u64 end = u64(rx_end - rx_), before = end_.exchange(end);
    if (end / kHugePage == before / kHugePage) return;
    madvise(rw_, bytes_, MADV_DONTNEED); // a shared mapping: the file keeps the code
    make_ready(end);
}

CodeBuffer::~CodeBuffer() {
    munmap(rw_, bytes_);
    munmap(rx_, bytes_);
}

} // namespace dragoman::backend
