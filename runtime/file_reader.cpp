#include "runtime/file_reader.h"

#include "runtime/descriptor.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>

namespace dragoman::runtime {

Result<FileReader> FileReader::open(const std::string& path) {
    const auto fd = std::make_shared<Descriptor>(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat st {};
    if (!*fd || fstat(fd->get(), &st) < 0) return Error{path + ": " + std::strerror(errno)};
    if (S_ISDIR(st.st_mode)) return Error{path + ": is a directory, expected a file"};
    return FileReader{u64(st.st_size), [fd](u64 at, std::span<u8> to) -> Status {
                          while (!to.empty()) {
                              const ssize_t n = pread(fd->get(), to.data(), to.size(), off_t(at));
                              if (n < 0 && errno == EINTR) continue;
                              if (n < 0) return Error{std::string("cannot be read: ") + std::strerror(errno)};
                              if (n == 0) return Error{"cannot be read whole: it became shorter"};
                              to = to.subspan(u64(n));
                              at += u64(n);
                          }
                          return Ok{};
                      }};
}

FileReader FileReader::over(std::span<const u8> file) {
    return {file.size(), [file](u64 at, std::span<u8> to) -> Status {
                std::copy_n(file.data() + at, to.size(), to.data());
                return Ok{};
            }};
}

} // namespace dragoman::runtime
