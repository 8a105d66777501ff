#include "runtime/flash_file.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace dragoman::runtime {

Result<std::unique_ptr<FlashFile>> FlashFile::open(const std::string& path, bool read_only) {
    auto file = block::HostFile::open(path, read_only, true, false);
    if (!file) return file.error();
    const u64 bytes = (*file)->bytes();
    if (bytes == 0 || bytes % 4096 || bytes > 16 * MiB)
        return Error{path + ": " + std::to_string(bytes) +
                     " bytes, expected a multiple of 4096 up to 16 MiB"};
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, read_only ? MAP_PRIVATE : MAP_SHARED,
                            (*file)->descriptor(), 0);
    if (at == MAP_FAILED) return Error{path + ": cannot be mapped: " + std::strerror(errno)};
    return std::unique_ptr<FlashFile>(new FlashFile(std::move(*file), {static_cast<u8*>(at), bytes}));
}

FlashFile::~FlashFile() {
    ::munmap(cells_.data(), cells_.size());
}

} // namespace dragoman::runtime
