// Files that were opened before the sandbox shut, for those who ask for them by name later.
#pragma once

#include "base/result.h"

#include <string>
#include <vector>

namespace dragoman::runtime {

class KnownFiles {
  public:
    static constexpr std::size_t most = 4096; // each takes a descriptor

    KnownFiles() = default;
    ~KnownFiles();
    KnownFiles(const KnownFiles&) = delete;
    KnownFiles& operator=(const KnownFiles&) = delete;

    // What cannot be opened for reading is not known afterwards.
    void add(const std::string& path);
    // The files below it, links followed, as they are now. Error: there are more than can be kept.
    Status add_folder(const std::string& path);

    // A descriptor for reading of its own (the offset is shared), or -ENOENT or another error of dup().
    // Spellings of a path with more slashes, and with "." as a part, count as the same. May be called by a
    // signal's handler.
    int open(const char* path) const;

  private:
    struct File {
        std::string path;
        int fd;
    };
    std::vector<File> files_;
};

} // namespace dragoman::runtime
