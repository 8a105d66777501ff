// A folder of the host as a guest sees it: files by paths below it, and no way out. Every path is resolved by
// openat2 with RESOLVE_BENEATH and without following symbolic links, so neither "..", nor links, nor a rename
// at the wrong moment leads elsewhere.
#pragma once

#include "base/result.h"
#include "base/types.h"
#include "runtime/card_options.h"
#include "runtime/descriptor.h"

#include <string>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <utility>

namespace dragoman::runtime {

// Paths are relative, without "." and ".."; the empty one is the folder itself. Functions return 0 or a
// negative errno.
class Folder {
  public:
    static Result<Folder> open(const FolderOption& option);

    bool read_only() const { return read_only_; }
    int stat(const std::string& path, struct stat& s) const;
    int statfs(struct statfs& s) const;
    // A regular file or a folder; `flags` as in open(2), of which only access mode, O_TRUNC and O_APPEND
    // count.
    int open_file(const std::string& path, int flags, Descriptor& fd) const;
    int create(const std::string& path, int flags, u32 mode, u32 gid, Descriptor& fd) const;
    int make_folder(const std::string& path, u32 mode, u32 gid) const;
    int make_node(const std::string& path, u32 mode, u64 device, u32 gid) const;
    int make_symlink(const std::string& path, const std::string& target, u32 gid) const;
    int make_link(const std::string& old_path, const std::string& new_path) const;
    int read_link(const std::string& path, std::string& target) const;
    int rename(const std::string& from, const std::string& to) const;
    int remove(const std::string& path, bool folder) const;

    struct Change {
        bool mode = false, uid = false, gid = false, size = false;
        u32 new_mode = 0, new_uid = 0, new_gid = 0;
        u64 new_size = 0;
        bool times = false;
        timespec access{}, modification{};
    };
    int change(const std::string& path, const Change& what) const;

    // What the guest is told about a file that is open.
    int stat(int fd, struct stat& s) const;

  private:
    Folder(Descriptor root, const FolderOption& option);
    bool mapped() const { return security_ == FolderOption::Security::Mapped; }
    Descriptor resolve(const std::string& path, int flags) const;
    Descriptor parent_of(const std::string& path, std::string& name) const;
    u32 host_mode(u32 mode) const;
    int set_view(int fd, const struct stat& view) const;
    int settle(const std::string& path, u32 mode, u64 device, u32 gid) const;
    int make_disguised(const std::string& path, u32 mode, u64 device, u32 gid,
                       const std::string& content) const;

    Descriptor root_;
    FolderOption::Security security_;
    bool read_only_;
};

} // namespace dragoman::runtime
