#include "runtime/folder.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

constexpr u64 kConfined = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

int openat2(int folder, const char* path, u64 flags, u64 mode) {
    open_how how{};
    how.flags = flags | O_CLOEXEC;
    how.mode = mode;
    how.resolve = kConfined;
    return int(syscall(SYS_openat2, folder, path, &how, sizeof how));
}

int result_of(int result) {
    return result < 0 ? -errno : 0;
}

// The names under which the guest's view of a file is kept (Security::Mapped); others know them, too.
constexpr const char kUid[] = "user.virtfs.uid", kGid[] = "user.virtfs.gid", kMode[] = "user.virtfs.mode",
                     kDevice[] = "user.virtfs.rdev";

template <class T> bool get_view(int fd, const char* name, T& value) {
    return fgetxattr(fd, name, &value, sizeof value) == ssize_t(sizeof value);
}
template <class T> bool put_view(int fd, const char* name, T value) {
    return fsetxattr(fd, name, &value, sizeof value, 0) == 0;
}

} // namespace

Folder::Folder(Descriptor root, const FolderOption& option)
    : root_(std::move(root)), security_(option.security), read_only_(option.read_only) {}

Result<Folder> Folder::open(const FolderOption& option) {
    Descriptor root(::open(option.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root) return Error{"path=" + option.path + ": " + std::strerror(errno)};
    const Descriptor probe(openat2(root.get(), ".", O_PATH | O_DIRECTORY, 0));
    if (!probe)
        return Error{"path=" + option.path +
                     ": the host's kernel cannot confine it (openat2): " + std::strerror(errno)};
    return Folder(std::move(root), option);
}

Descriptor Folder::resolve(const std::string& path, int flags) const {
    return Descriptor(openat2(root_.get(), path.empty() ? "." : path.c_str(), u64(unsigned(flags)), 0));
}

Descriptor Folder::parent_of(const std::string& path, std::string& name) const {
    const std::size_t slash = path.rfind('/');
    name = slash == std::string::npos ? path : path.substr(slash + 1);
    if (name.empty()) { // the folder itself has none
        errno = EBUSY;
        return Descriptor();
    }
    return resolve(slash == std::string::npos ? "" : path.substr(0, slash), O_PATH | O_DIRECTORY);
}

int Folder::stat(int fd, struct stat& s) const {
    if (fstat(fd, &s) != 0) return -errno;
    if (!mapped()) return 0;
    u32 word = 0;
    u64 device = 0;
    if (get_view(fd, kUid, word)) s.st_uid = word;
    if (get_view(fd, kGid, word)) s.st_gid = word;
    if (get_view(fd, kMode, word)) s.st_mode = word;
    if (get_view(fd, kDevice, device)) s.st_rdev = device;
    return 0;
}

int Folder::stat(const std::string& path, struct stat& s) const {
    const Descriptor at = resolve(path, O_PATH | O_NOFOLLOW);
    if (!at) return -errno;
    if (fstat(at.get(), &s) != 0) return -errno;
    if (!mapped() || (!S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode))) return 0;
    // Attributes want a descriptor that is open for reading; a file that is not ours to read keeps its own.
    const Descriptor fd = resolve(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    return fd ? stat(fd.get(), s) : 0;
}

int Folder::statfs(struct statfs& s) const {
    return result_of(fstatfs(root_.get(), &s));
}

int Folder::open_file(const std::string& path, int flags, Descriptor& fd) const {
    const int access = flags & O_ACCMODE;
    if (access == O_ACCMODE) return -EINVAL;
    if (read_only_ && (access != O_RDONLY || (flags & O_TRUNC))) return -EROFS;
    // Neither devices nor pipes: they would act on the host, or never come back.
    struct stat s;
    const Descriptor at = resolve(path, O_PATH | O_NOFOLLOW);
    if (!at || fstat(at.get(), &s) != 0) return -errno;
    if (S_ISLNK(s.st_mode)) return -ELOOP;
    if (!S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode)) return -ENXIO;
    if (S_ISDIR(s.st_mode) && access != O_RDONLY) return -EISDIR;
    Descriptor opened =
        resolve(path, access | (flags & (O_TRUNC | O_APPEND)) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (!opened) return -errno;
    fd = std::move(opened);
    return 0;
}

// The guest's mode as the host gets it. Without passthrough the file belongs to the emulator's user, and must
// not lend that user's rights to others.
u32 Folder::host_mode(u32 mode) const {
    return security_ == FolderOption::Security::Passthrough ? mode & 07777 : mode & 0777;
}

int Folder::set_view(int fd, const struct stat& view) const {
    if (put_view(fd, kUid, u32(view.st_uid)) && put_view(fd, kGid, u32(view.st_gid)) &&
        put_view(fd, kMode, u32(view.st_mode)) && (!view.st_rdev || put_view(fd, kDevice, u64(view.st_rdev))))
        return 0;
    return -errno;
}

int Folder::create(const std::string& path, int flags, u32 mode, u32 gid, Descriptor& fd) const {
    if (read_only_) return -EROFS;
    const int access = flags & O_ACCMODE;
    if (access == O_ACCMODE) return -EINVAL;
    Descriptor made(openat2(root_.get(), path.c_str(),
                            u64(unsigned(access | (flags & O_APPEND) | O_CREAT | O_EXCL | O_NOFOLLOW)),
                            mapped() ? 0600 : host_mode(mode)));
    if (!made) return -errno;
    if (const int bad = settle(path, S_IFREG | (mode & 07777), 0, gid)) return bad;
    fd = std::move(made);
    return 0;
}

// What is new gets its owner and its mode: the umask is the emulator's, not the guest's.
int Folder::settle(const std::string& path, u32 mode, u64 device, u32 gid) const {
    const Descriptor fd = resolve(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (mapped()) {
        struct stat view {};
        view.st_mode = mode;
        view.st_gid = gid;
        view.st_rdev = device;
        return fd ? set_view(fd.get(), view) : -errno;
    }
    const Descriptor at = resolve(path, O_PATH | O_NOFOLLOW);
    if (!at) return -errno;
    const int owner = fchownat(at.get(), "", uid_t(-1), gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    if (owner != 0 && security_ == FolderOption::Security::Passthrough) return -errno;
    if (fd && (S_ISREG(mode) || S_ISDIR(mode)) && fchmod(fd.get(), host_mode(mode)) != 0) return -errno;
    return 0;
}

int Folder::make_folder(const std::string& path, u32 mode, u32 gid) const {
    if (read_only_) return -EROFS;
    std::string name;
    const Descriptor parent = parent_of(path, name);
    if (!parent || mkdirat(parent.get(), name.c_str(), mapped() ? 0700 : host_mode(mode)) != 0) return -errno;
    return settle(path, S_IFDIR | (mode & 07777), 0, gid);
}

// A file that the guest sees as something else.
int Folder::make_disguised(const std::string& path, u32 mode, u64 device, u32 gid,
                           const std::string& content) const {
    const Descriptor made(openat2(root_.get(), path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    if (!made) return -errno;
    if (::write(made.get(), content.data(), content.size()) != ssize_t(content.size())) return -EIO;
    return settle(path, mode, device, gid);
}

int Folder::make_node(const std::string& path, u32 mode, u64 device, u32 gid) const {
    if (read_only_) return -EROFS;
    if (mapped()) return make_disguised(path, mode, device, gid, "");
    // Devices of the host are not the guest's to name.
    if (S_ISCHR(mode) || S_ISBLK(mode)) return -EPERM;
    std::string name;
    const Descriptor parent = parent_of(path, name);
    if (!parent || mknodat(parent.get(), name.c_str(), (mode & S_IFMT) | host_mode(mode), 0) != 0)
        return -errno;
    return settle(path, mode, 0, gid);
}

int Folder::make_symlink(const std::string& path, const std::string& target, u32 gid) const {
    if (read_only_) return -EROFS;
    if (mapped()) return make_disguised(path, S_IFLNK | 0777, 0, gid, target);
    std::string name;
    const Descriptor parent = parent_of(path, name);
    if (!parent || symlinkat(target.c_str(), parent.get(), name.c_str()) != 0) return -errno;
    return settle(path, S_IFLNK | 0777, 0, gid);
}

int Folder::read_link(const std::string& path, std::string& target) const {
    struct stat s;
    if (const int bad = stat(path, s)) return bad;
    if (!S_ISLNK(s.st_mode)) return -EINVAL;
    char text[4096];
    const Descriptor at = resolve(path, O_PATH | O_NOFOLLOW);
    ssize_t n = at ? readlinkat(at.get(), "", text, sizeof text) : -1;
    if (n < 0 && mapped()) {
        const Descriptor fd = resolve(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        n = fd ? ::read(fd.get(), text, sizeof text) : -1;
    }
    if (n < 0) return -errno;
    target.assign(text, std::size_t(n));
    return 0;
}

int Folder::make_link(const std::string& old_path, const std::string& new_path) const {
    if (read_only_) return -EROFS;
    std::string old_name, new_name;
    const Descriptor from = parent_of(old_path, old_name);
    if (!from) return -errno;
    const Descriptor to = parent_of(new_path, new_name);
    if (!to) return -errno;
    return result_of(linkat(from.get(), old_name.c_str(), to.get(), new_name.c_str(), 0));
}

int Folder::rename(const std::string& from, const std::string& to) const {
    if (read_only_) return -EROFS;
    std::string old_name, new_name;
    const Descriptor old_parent = parent_of(from, old_name);
    if (!old_parent) return -errno;
    const Descriptor new_parent = parent_of(to, new_name);
    if (!new_parent) return -errno;
    // Not the C library's: without flags that takes another call, which the sandbox does not know.
    return result_of(int(
        syscall(SYS_renameat2, old_parent.get(), old_name.c_str(), new_parent.get(), new_name.c_str(), 0)));
}

int Folder::remove(const std::string& path, bool folder) const {
    if (read_only_) return -EROFS;
    std::string name;
    const Descriptor parent = parent_of(path, name);
    return parent ? result_of(unlinkat(parent.get(), name.c_str(), folder ? AT_REMOVEDIR : 0)) : -errno;
}

int Folder::change(const std::string& path, const Change& what) const {
    if (read_only_) return -EROFS;
    const Descriptor at = resolve(path, O_PATH | O_NOFOLLOW);
    if (!at) return -errno;
    struct stat s;
    if (fstat(at.get(), &s) != 0) return -errno;
    const bool plain = S_ISREG(s.st_mode) || S_ISDIR(s.st_mode);
    Descriptor fd;
    if (plain && (what.mode || mapped())) {
        fd = resolve(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (!fd && S_ISREG(s.st_mode)) fd = resolve(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (!fd) return -errno;
    }
    if (mapped() && fd && (what.mode || what.uid || what.gid)) {
        if (const int bad = stat(fd.get(), s)) return bad;
        if (what.mode) s.st_mode = (s.st_mode & S_IFMT) | (what.new_mode & 07777);
        if (what.uid) s.st_uid = what.new_uid;
        if (what.gid) s.st_gid = what.new_gid;
        if (const int bad = set_view(fd.get(), s)) return bad;
    } else if (!mapped()) {
        if (what.uid || what.gid) {
            const int done =
                fchownat(at.get(), "", what.uid ? what.new_uid : uid_t(-1),
                         what.gid ? what.new_gid : gid_t(-1), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
            if (done != 0 && security_ == FolderOption::Security::Passthrough) return -errno;
        }
        if (what.mode && fd && fchmod(fd.get(), host_mode(what.new_mode)) != 0) return -errno;
    }
    if (what.size) {
        if (!S_ISREG(s.st_mode) || what.new_size > u64(INT64_MAX)) return -EINVAL;
        const Descriptor out = resolve(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (!out || ftruncate(out.get(), off_t(what.new_size)) != 0) return -errno;
    }
    if (what.times) {
        const timespec times[2] = {what.access, what.modification};
        if (syscall(SYS_utimensat, at.get(), "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
            return -errno;
    }
    return 0;
}

} // namespace dragoman::runtime
