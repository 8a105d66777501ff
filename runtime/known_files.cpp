#include "runtime/known_files.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

constexpr int kMostDepth = 16; // links may lead in circles

// Behind slashes and parts that are only a dot.
const char* next_part(const char* path) {
    while (*path == '/' || (*path == '.' && (path[1] == '/' || path[1] == 0)))
        ++path;
    return path;
}

bool same_path(const char* a, const char* b) {
    if ((*a == '/') != (*b == '/')) return false;
    for (;;) {
        a = next_part(a), b = next_part(b);
        for (; *a && *a == *b && *a != '/'; ++a, ++b) {
        }
        if ((*a && *a != '/') || (*b && *b != '/')) return false;
        if (*a == 0 || *b == 0) return *next_part(a) == *next_part(b);
    }
}

} // namespace

KnownFiles::~KnownFiles() {
    for (const File& file : files_)
        ::close(file.fd);
}

void KnownFiles::add(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) files_.push_back({path, fd});
}

Status KnownFiles::add_folder(const std::string& path) {
    using Walk = std::filesystem::recursive_directory_iterator;
    constexpr auto how = std::filesystem::directory_options::follow_directory_symlink |
                         std::filesystem::directory_options::skip_permission_denied;
    std::error_code error;
    for (Walk at(path, how, error), end; !error && at != end; at.increment(error)) {
        std::error_code ignored;
        if (at.depth() >= kMostDepth) at.disable_recursion_pending();
        if (!at->is_regular_file(ignored)) continue;
        errno = 0;
        if (files_.size() < most) add(at->path().string());
        if (files_.size() >= most || errno == EMFILE || errno == ENFILE)
            return Error{path + ": expected a folder with fewer files than " + std::to_string(files_.size()) +
                         ", which are all opened at the start"};
    }
    if (error) return Error{path + ": " + error.message()};
    return Ok{};
}

int KnownFiles::open(const char* path) const {
    for (const File& file : files_) {
        if (!same_path(path, file.path.c_str())) continue;
        if (::lseek(file.fd, 0, SEEK_SET) != 0) return -errno;
        const int fd = ::dup(file.fd);
        return fd >= 0 ? fd : -errno;
    }
    return -ENOENT;
}

} // namespace dragoman::runtime
