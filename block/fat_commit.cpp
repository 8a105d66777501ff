// The way back: what the guest left on the volume, and from there into the folder. The volume is the guest's:
// all that is read of it is checked. The folder is changed below its descriptor only, and no link is
// followed.
#include "base/bits.h"
#include "block/fat_volume.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <linux/openat2.h>
#include <set>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace dragoman::block {

namespace {

constexpr u32 kSector = 512;
constexpr unsigned kDeepest = 64;
constexpr std::size_t kMostNodes = 262144;
constexpr u8 kReadOnly = 1, kLabel = 8, kFolder = 0x10, kLong = 0x0f, kFree = 0xe5;

template <class T> T get(const u8* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

bool is_name(const std::string& name) {
    return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
           std::none_of(name.begin(), name.end(), [](char c) { return c == '/' || (u8(c) < 0x20); });
}

class Reader {
  public:
    Reader(const FatGeometry& g, Image& disk) : g_(g), disk_(disk), used_(g.clusters + 2) {}

    Result<FatNode> all() {
        std::vector<u8> boot, root_bytes;
        if (auto s = load(g_.start, 1, boot); !s) return s.error();
        const u32 tables = g_.bits == 32 ? get<u32>(&boot[36]) : get<u16>(&boot[22]);
        if (get<u16>(&boot[11]) != kSector || boot[13] != g_.cluster_sectors ||
            get<u16>(&boot[14]) != g_.reserved || boot[16] != 2 || get<u16>(&boot[17]) != g_.root_entries ||
            tables != g_.fat_sectors)
            return Error{"the guest made another file system"};
        if (auto s = load(g_.fat_at(), g_.fat_sectors, fat_); !s) return s.error();
        FatNode root;
        root.folder = true;
        if (g_.bits == 32) {
            if (auto s = follow(get<u32>(&boot[44]), root, "/"); !s) return s.error();
            if (auto s = contents(root, root_bytes); !s) return s.error();
        } else if (auto s = load(g_.root_at(), u32(g_.data_at() - g_.root_at()), root_bytes); !s) {
            return s.error();
        }
        if (auto s = entries(root, root_bytes, "", 0); !s) return s.error();
        return root;
    }

  private:
    Status load(u64 sector, u32 count, std::vector<u8>& to) {
        const std::size_t before = to.size();
        to.resize(before + std::size_t{count} * kSector);
        const Outcome o = disk_.read(sector * kSector, to.data() + before, u64{count} * kSector);
        return o.failed() ? Status(Error{o.message}) : Status(Ok{});
    }
    Status contents(const FatNode& node, std::vector<u8>& to) {
        for (const u32 cluster : node.clusters)
            if (auto s = load(g_.cluster_at(cluster), g_.cluster_sectors, to); !s) return s;
        return Ok{};
    }
    u32 next(u32 cluster) const {
        if (g_.bits == 32) return get<u32>(&fat_[cluster * 4u]) & 0x0fffffff;
        if (g_.bits == 16) return get<u16>(&fat_[cluster * 2u]);
        const u16 pair = get<u16>(&fat_[cluster + cluster / 2]);
        return cluster & 1 ? pair >> 4 : pair & 0xfff;
    }
    // Each cluster belongs to one chain: so every chain ends.
    Status follow(u32 cluster, FatNode& node, const std::string& path) {
        while (cluster < (g_.end_mark() & ~7u)) {
            if (cluster < 2 || cluster >= used_.size() || used_[cluster])
                return Error{"'" + path + "' is damaged"};
            used_[cluster] = true;
            node.clusters.push_back(cluster);
            cluster = next(cluster);
        }
        return Ok{};
    }
    // One part of a long name; the parts come last first.
    void take_long(const u8* entry) {
        const unsigned part = entry[0] & 0x3f;
        if (entry[0] & 0x40) long_.assign(part * 13u, 0), missing_ = part, sum_ = entry[13];
        if (part == 0 || part != missing_ || sum_ != entry[13]) {
            missing_ = ~0u;
            return;
        }
        for (unsigned n = 0; n < 13; ++n)
            long_[(part - 1) * 13u + n] = get<char16_t>(entry + (n < 5    ? 1 + 2 * n
                                                                 : n < 11 ? 4 + 2 * n
                                                                          : 6 + 2 * n));
        --missing_;
    }
    Status name(const u8* entry, FatNode& node, const std::string& path) {
        std::copy_n(entry, 11, node.short_name.begin());
        bool good = true;
        node.name = short_name_text(entry, entry[12]);
        if (missing_ == 0 && sum_ == fat_checksum(node.short_name)) {
            node.long_name = long_.substr(0, long_.find(u'\0'));
            node.name = to_utf8(node.long_name, good);
        }
        missing_ = ~0u;
        if (!good || !is_name(node.name))
            return Error{"'" + path + "' has a name in it that no file can have"};
        return Ok{};
    }
    Status entries(FatNode& folder, const std::vector<u8>& bytes, const std::string& path, unsigned depth) {
        if (depth > kDeepest) return Error{"folders more than 64 deep"};
        std::set<std::string> names;
        missing_ = ~0u;
        for (std::size_t at = 0; at + kFatEntryBytes <= bytes.size() && bytes[at]; at += kFatEntryBytes) {
            const u8* entry = &bytes[at];
            const u8 attributes = entry[11] & 0x3f;
            if (entry[0] == kFree) {
                missing_ = ~0u;
                continue;
            }
            if (attributes == kLong) {
                take_long(entry);
                continue;
            }
            if ((attributes & kLabel) || (entry[0] == '.' && depth && at < 2 * kFatEntryBytes)) continue;
            if (++count_ > kMostNodes) return Error{"too many files"};
            FatNode node;
            if (auto s = name(entry, node, path + "/"); !s) return s;
            const std::string below = path + "/" + node.name;
            if (!names.insert(node.name).second) return Error{"'" + below + "' is there twice"};
            node.folder = attributes & kFolder;
            node.read_only = attributes & kReadOnly;
            node.bytes = node.folder ? 0 : get<u32>(entry + 28);
            const u32 first = get<u16>(entry + 26) | (g_.bits == 32 ? u32{get<u16>(entry + 20)} << 16 : 0);
            if (first != 0 || node.folder)
                if (auto s = follow(first, node, below); !s) return s;
            if (node.bytes > u64{node.clusters.size()} * g_.cluster_bytes())
                return Error{"'" + below + "' is damaged"};
            folder.children.push_back(std::move(node));
        }
        for (FatNode& child : folder.children) {
            if (!child.folder) continue;
            std::vector<u8> inside;
            if (auto s = contents(child, inside); !s) return s;
            if (auto s = entries(child, inside, path + "/" + child.name, depth + 1); !s) return s;
        }
        return Ok{};
    }

    const FatGeometry& g_;
    Image& disk_;
    std::vector<u8> fat_;
    std::vector<bool> used_;
    std::size_t count_ = 0;
    std::u16string long_;
    unsigned missing_ = ~0u; // parts of the long name that are to come; ~0: there is none
    u8 sum_ = 0;
};

// --- into the folder

int open_below(int folder, const std::string& name, u64 flags, u64 mode = 0) {
    open_how how{};
    how.flags = flags | O_CLOEXEC | O_NOFOLLOW;
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    return int(syscall(SYS_openat2, folder, name.c_str(), &how, sizeof how));
}

const FatNode* find(const FatNode& folder, const std::string& name) {
    const auto at = std::find_if(folder.children.begin(), folder.children.end(),
                                 [&](const FatNode& n) { return n.name == name; });
    return at == folder.children.end() ? nullptr : &*at;
}

class Committer {
  public:
    Committer(const FatGeometry& g, Image& disk, const std::function<bool(const FatNode&)>& written)
        : g_(g), disk_(disk), written_(written) {}

    void folder(int fd, const FatNode& before, const FatNode& now, const std::string& path) {
        for (const FatNode& node : now.children) {
            const FatNode* old = find(before, node.name);
            const std::string below = path + node.name;
            if (old && old->folder != node.folder)
                complain(below, "was a file and is a folder, or the other way round");
            else if (node.folder)
                subfolder(fd, old, node, below);
            else if (!old || old->bytes != node.bytes || old->clusters != node.clusters || written_(node))
                file(fd, old, node, below);
        }
        for (const FatNode& old : before.children)
            if (!find(now, old.name)) remove(fd, old, path + old.name);
    }
    Status result() const {
        if (complaints_.empty()) return Ok{};
        return Error{complaints_ + (more_ ? " (and " + std::to_string(more_) + " more)" : "")};
    }

  private:
    void complain(const std::string& path, const std::string& what) {
        if (!complaints_.empty())
            ++more_;
        else
            complaints_ = "'" + path + "': " + what;
    }
    // Nobody changed on the host what the guest had a copy of; without `old`: nothing is there.
    bool as_before(int fd, const FatNode* old, const std::string& name, u16& mode) {
        struct statx s {};
        if (statx(fd, name.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &s) != 0)
            return errno == ENOENT && !old;
        mode = s.stx_mode;
        return old && S_ISREG(s.stx_mode) && s.stx_size == old->bytes &&
               s.stx_mtime.tv_sec == old->modified.tv_sec &&
               s.stx_mtime.tv_nsec == u32(old->modified.tv_nsec);
    }
    void subfolder(int fd, const FatNode* old, const FatNode& now, const std::string& path) {
        if (!old && mkdirat(fd, now.name.c_str(), 0777) != 0 && errno != EEXIST)
            return complain(path, std::strerror(errno));
        const int inside = open_below(fd, now.name, O_RDONLY | O_DIRECTORY);
        if (inside < 0) return complain(path, std::strerror(errno));
        const FatNode nothing;
        folder(inside, old ? *old : nothing, now, path + "/");
        ::close(inside);
    }
    void file(int fd, const FatNode* old, const FatNode& now, const std::string& path) {
        u16 mode = 0666;
        if (!as_before(fd, old, now.name, mode))
            return complain(path, "changed on the host meanwhile, and is left as it is");
        const std::string temporary = ".dragoman-" + std::to_string(getpid()) + "~";
        unlinkat(fd, temporary.c_str(), 0);
        const int out = open_below(fd, temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (out < 0) return complain(path, std::strerror(errno));
        bool good = write_to(out, now, path);
        if (old) (void)!fchmod(out, mode & 0777);
        if (good && (fsync(out) != 0 ||
                     syscall(SYS_renameat2, fd, temporary.c_str(), fd, now.name.c_str(), 0) != 0)) {
            complain(path, std::strerror(errno));
            good = false;
        }
        ::close(out);
        if (!good) unlinkat(fd, temporary.c_str(), 0);
    }
    bool write_to(int out, const FatNode& node, const std::string& path) {
        std::vector<u8> piece(g_.cluster_bytes());
        u64 left = node.bytes;
        for (const u32 cluster : node.clusters) {
            if (left == 0) break;
            const Outcome o = disk_.read(g_.cluster_at(cluster) * kSector, piece.data(), piece.size());
            if (o.failed()) return complain(path, o.message), false;
            const u64 part = std::min<u64>(left, piece.size());
            for (u64 done = 0; done < part;) {
                const ssize_t n = ::write(out, piece.data() + done, part - done);
                if (n < 0 && errno != EINTR) return complain(path, std::strerror(errno)), false;
                if (n > 0) done += u64(n);
            }
            left -= part;
        }
        return true;
    }
    void remove(int fd, const FatNode& old, const std::string& path) {
        u16 mode = 0;
        if (!old.folder) {
            if (!as_before(fd, &old, old.name, mode))
                return complain(path, "changed on the host meanwhile, and is left as it is");
            if (unlinkat(fd, old.name.c_str(), 0) != 0) complain(path, std::strerror(errno));
            return;
        }
        const int inside = open_below(fd, old.name, O_RDONLY | O_DIRECTORY);
        if (inside < 0) return complain(path, std::strerror(errno));
        folder(inside, old, {}, path + "/");
        ::close(inside);
        // What the guest never saw keeps it.
        if (unlinkat(fd, old.name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOTEMPTY && errno != EEXIST)
            complain(path, std::strerror(errno));
    }

    const FatGeometry& g_;
    Image& disk_;
    const std::function<bool(const FatNode&)>& written_;
    std::string complaints_;
    unsigned more_ = 0;
};

} // namespace

Result<FatNode> read_volume(const FatGeometry& geometry, Image& disk) {
    return Reader(geometry, disk).all();
}

Status commit_folder(int fd, const FatGeometry& geometry, Image& disk, const FatNode& before,
                     const FatNode& now, const std::function<bool(const FatNode&)>& written) {
    Committer committer(geometry, disk, written);
    committer.folder(fd, before, now, "");
    return committer.result();
}

} // namespace dragoman::block
