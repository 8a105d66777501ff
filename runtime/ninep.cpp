#include "runtime/ninep.h"

#include "runtime/ninep_wire.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

constexpr u8 kLerror = 7;          // Rlerror
constexpr std::size_t kHeader = 7; // size, type, tag
constexpr u32 kLeast = 4096, kNoFid = ~0u;

// Open flags, as Linux numbers them.
constexpr u32 kFlags = O_ACCMODE | O_TRUNC | O_APPEND;

enum SetValid : u32 {
    kMode = 1,
    kUid = 2,
    kGid = 4,
    kSize = 8,
    kAtime = 0x10,
    kMtime = 0x20,
    kAtimeSet = 0x80,
    kMtimeSet = 0x100
};

void put_qid(NinePWriter& out, mode_t mode, u64 device, u64 inode, u32 version) {
    out.put(u8(S_ISDIR(mode) ? 0x80 : S_ISLNK(mode) ? 0x02 : 0));
    out.put(version);
    out.put(inode ^ device << 40); // one number for what may lie on several file systems
}
void put_qid(NinePWriter& out, const struct stat& s) {
    put_qid(out, s.st_mode, s.st_dev, s.st_ino, u32(s.st_mtim.tv_sec) ^ u32(s.st_size << 8));
}

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool is_name(const std::string& name) {
    return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
           name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

} // namespace

struct NineP::Call {
    NinePReader in;
    NinePWriter out;
    std::size_t room; // for the answer, without header
};

struct NineP::Row {
    u8 type; // of the request; the answer's is one more
    int (NineP::*run)(Call&);
};

const NineP::Row NineP::rows[] = {
    {8, &NineP::statfs},   {12, &NineP::open},        {14, &NineP::create},      {16, &NineP::symlink},
    {18, &NineP::mknod},   {20, &NineP::rename},      {22, &NineP::readlink},    {24, &NineP::getattr},
    {26, &NineP::setattr}, {30, &NineP::unsupported}, {32, &NineP::unsupported}, {40, &NineP::readdir},
    {50, &NineP::fsync},   {52, &NineP::lock},        {54, &NineP::getlock},     {70, &NineP::link},
    {72, &NineP::mkdir},   {74, &NineP::renameat},    {76, &NineP::unlinkat},    {100, &NineP::version},
    {104, &NineP::attach}, {108, &NineP::flush},      {110, &NineP::walk},       {116, &NineP::read},
    {118, &NineP::write},  {120, &NineP::clunk},      {122, &NineP::remove},
};

std::vector<u8> NineP::answer(std::span<const u8> request, std::size_t room) {
    NinePReader header(request);
    const u32 size = header.get<u32>();
    const u8 type = header.get<u8>();
    const u16 tag = header.get<u16>();
    Call call{NinePReader(request.size() > kHeader ? request.subspan(kHeader) : std::span<const u8>()),
              {},
              std::min<std::size_t>(room, message_bytes_) - std::min<std::size_t>(room, kHeader)};
    int result = -EOPNOTSUPP;
    if (!header.good() || size != request.size()) {
        result = -EINVAL;
    } else {
        for (const Row& row : rows)
            if (row.type == type) result = (this->*row.run)(call);
    }
    std::vector<u8>& body = call.out.bytes();
    if (result == 0 && body.size() > call.room) result = -EMSGSIZE;
    if (result != 0) {
        body.clear();
        call.out.put(u32(-result));
    }
    NinePWriter out;
    out.put(u32(kHeader + body.size()));
    out.put(u8(result ? kLerror : type + 1));
    out.put(tag);
    out.bytes().insert(out.bytes().end(), body.begin(), body.end());
    return std::move(out.bytes());
}

NineP::Fid* NineP::find(u32 number) {
    const auto it = fids_.find(number);
    return it == fids_.end() ? nullptr : &it->second;
}

int NineP::add(u32 number, std::string path) {
    if (number == kNoFid || fids_.count(number)) return -EINVAL;
    if (fids_.size() >= max_fids) return -ENFILE;
    fids_[number].path = std::move(path);
    return 0;
}

int NineP::child(const Fid& at, const std::string& name, std::string& path) const {
    if (!is_name(name)) return -EINVAL;
    path = at.path.empty() ? name : at.path + '/' + name;
    return path.size() > max_path ? -ENAMETOOLONG : 0;
}

std::size_t NineP::open_count() const {
    return std::size_t(
        std::count_if(fids_.begin(), fids_.end(), [](const auto& f) { return bool(f.second.fd); }));
}

int NineP::put_qid(NinePWriter& out, const std::string& path) {
    struct stat s;
    const int bad = folder_.stat(path, s);
    if (!bad) runtime::put_qid(out, s);
    return bad;
}

int NineP::version(Call& c) {
    const u32 bytes = c.in.get<u32>();
    const std::string version = c.in.text();
    if (!c.in.good() || bytes < kLeast) return -EINVAL;
    fids_.clear(); // a session begins
    message_bytes_ = std::min<u32>(bytes, max_message);
    c.out.put(message_bytes_);
    c.out.text(version == "9P2000.L" ? version : "unknown");
    return 0;
}

int NineP::attach(Call& c) {
    const u32 fid = c.in.get<u32>();
    if (!c.in.good()) return -EINVAL;
    if (const int bad = add(fid, "")) return bad;
    return put_qid(c.out, "");
}

int NineP::walk(Call& c) {
    const u32 from = c.in.get<u32>(), to = c.in.get<u32>();
    const u16 count = c.in.get<u16>();
    const Fid* at = find(from);
    if (!at || at->fd || count > 16) return -EINVAL;
    std::string path = at->path;
    NinePWriter qids;
    u16 done = 0;
    for (; done < count; ++done) {
        const std::string name = c.in.text();
        std::string next = path;
        int bad = 0;
        if (name == "..")
            next = parent_of(path);
        else if (name != ".") {
            Fid here;
            here.path = path;
            bad = child(here, name, next);
        }
        if (!bad) bad = put_qid(qids, next);
        if (bad && done == 0) return bad;
        if (bad) break;
        path = std::move(next);
    }
    if (!c.in.good()) return -EINVAL;
    c.out.put(done);
    c.out.bytes().insert(c.out.bytes().end(), qids.bytes().begin(), qids.bytes().end());
    if (done < count) return 0; // the new number is not made
    if (from == to) {
        find(from)->path = std::move(path);
        return 0;
    }
    return add(to, std::move(path));
}

int NineP::open(Call& c) {
    Fid* const fid = find(c.in.get<u32>());
    const u32 flags = c.in.get<u32>();
    if (!c.in.good() || !fid || fid->fd) return -EINVAL;
    if (open_count() >= max_open) return -EMFILE;
    if (const int bad = folder_.open_file(fid->path, int(flags & kFlags), fid->fd)) return bad;
    struct stat s;
    if (const int bad = folder_.stat(fid->fd.get(), s)) return bad;
    fid->folder = S_ISDIR(s.st_mode);
    fid->append = flags & O_APPEND;
    runtime::put_qid(c.out, s);
    c.out.put(u32(0)); // iounit: as much as a message holds
    return 0;
}

int NineP::create(Call& c) {
    Fid* const fid = find(c.in.get<u32>());
    const std::string name = c.in.text();
    const u32 flags = c.in.get<u32>(), mode = c.in.get<u32>(), gid = c.in.get<u32>();
    if (!c.in.good() || !fid || fid->fd) return -EINVAL;
    if (open_count() >= max_open) return -EMFILE;
    std::string path;
    if (const int bad = child(*fid, name, path)) return bad;
    if (const int bad = folder_.create(path, int(flags & kFlags), mode, gid, fid->fd)) return bad;
    fid->path = path;
    fid->folder = false;
    fid->append = flags & O_APPEND;
    if (const int bad = put_qid(c.out, path)) return bad;
    c.out.put(u32(0));
    return 0;
}

int NineP::read(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    const u64 offset = c.in.get<u64>();
    const u32 count = c.in.get<u32>();
    if (!c.in.good() || !fid || !fid->fd || fid->folder || offset > u64(INT64_MAX) || c.room < 4)
        return -EINVAL;
    std::vector<u8>& bytes = c.out.bytes();
    bytes.resize(4 + std::min<std::size_t>(count, c.room - 4));
    const ssize_t n = pread(fid->fd.get(), bytes.data() + 4, bytes.size() - 4, off_t(offset));
    if (n < 0) return -errno;
    bytes.resize(4 + std::size_t(n));
    const u32 got = u32(n);
    std::memcpy(bytes.data(), &got, 4);
    return 0;
}

int NineP::write(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    const u64 offset = c.in.get<u64>();
    const auto data = c.in.take(c.in.get<u32>());
    if (!c.in.good() || !fid || !fid->fd || fid->folder || offset > u64(INT64_MAX)) return -EINVAL;
    const ssize_t n = pwrite(fid->fd.get(), data.data(), data.size(), off_t(offset));
    if (n < 0) return -errno;
    c.out.put(u32(n));
    return 0;
}

int NineP::clunk(Call& c) {
    return fids_.erase(c.in.get<u32>()) ? 0 : -EINVAL;
}

int NineP::remove(Call& c) {
    const u32 number = c.in.get<u32>();
    const Fid* const fid = find(number);
    if (!fid) return -EINVAL;
    struct stat s;
    int bad = folder_.stat(fid->path, s);
    if (!bad) bad = folder_.remove(fid->path, S_ISDIR(s.st_mode));
    fids_.erase(number); // in any case
    return bad;
}

int NineP::statfs(Call& c) {
    if (!find(c.in.get<u32>())) return -EINVAL;
    struct statfs s;
    if (const int bad = folder_.statfs(s)) return bad;
    c.out.put(u32(0x01021997)); // V9FS_MAGIC
    c.out.put(u32(s.f_bsize));
    for (const u64 n :
         {u64(s.f_blocks), u64(s.f_bfree), u64(s.f_bavail), u64(s.f_files), u64(s.f_ffree), u64(0)})
        c.out.put(n);
    c.out.put(u32(s.f_namelen));
    return 0;
}

int NineP::symlink(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    const std::string name = c.in.text(), target = c.in.text();
    const u32 gid = c.in.get<u32>();
    std::string path;
    if (!c.in.good() || !fid || target.empty() || target.find('\0') != std::string::npos) return -EINVAL;
    if (const int bad = child(*fid, name, path)) return bad;
    if (const int bad = folder_.make_symlink(path, target, gid)) return bad;
    return put_qid(c.out, path);
}

int NineP::mknod(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    const std::string name = c.in.text();
    const u32 mode = c.in.get<u32>(), major = c.in.get<u32>(), minor = c.in.get<u32>(), gid = c.in.get<u32>();
    std::string path;
    if (!c.in.good() || !fid) return -EINVAL;
    if (const int bad = child(*fid, name, path)) return bad;
    if (const int bad = folder_.make_node(path, mode, makedev(major, minor), gid)) return bad;
    return put_qid(c.out, path);
}

int NineP::mkdir(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    const std::string name = c.in.text();
    const u32 mode = c.in.get<u32>(), gid = c.in.get<u32>();
    std::string path;
    if (!c.in.good() || !fid) return -EINVAL;
    if (const int bad = child(*fid, name, path)) return bad;
    if (const int bad = folder_.make_folder(path, mode, gid)) return bad;
    return put_qid(c.out, path);
}

// Numbers that stand for what has moved, or for something below it.
void NineP::moved(const std::string& from, const std::string& to) {
    for (auto& [number, fid] : fids_) {
        if (fid.path == from)
            fid.path = to;
        else if (fid.path.compare(0, from.size() + 1, from + '/') == 0)
            fid.path = to + fid.path.substr(from.size());
        if (fid.path.size() > max_path) fid.path.resize(max_path); // finds nothing
    }
}

int NineP::rename(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    const Fid* const folder = find(c.in.get<u32>());
    const std::string name = c.in.text();
    std::string path;
    if (!c.in.good() || !fid || !folder) return -EINVAL;
    if (const int bad = child(*folder, name, path)) return bad;
    const std::string from = fid->path;
    if (const int bad = folder_.rename(from, path)) return bad;
    moved(from, path);
    return 0;
}

int NineP::renameat(Call& c) {
    const Fid* const old_folder = find(c.in.get<u32>());
    const std::string old_name = c.in.text();
    const Fid* const new_folder = find(c.in.get<u32>());
    const std::string new_name = c.in.text();
    std::string from, to;
    if (!c.in.good() || !old_folder || !new_folder) return -EINVAL;
    if (const int bad = child(*old_folder, old_name, from)) return bad;
    if (const int bad = child(*new_folder, new_name, to)) return bad;
    if (const int bad = folder_.rename(from, to)) return bad;
    moved(from, to);
    return 0;
}

int NineP::unlinkat(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    const std::string name = c.in.text();
    const u32 flags = c.in.get<u32>();
    std::string path;
    if (!c.in.good() || !fid) return -EINVAL;
    if (const int bad = child(*fid, name, path)) return bad;
    return folder_.remove(path, flags & AT_REMOVEDIR);
}

int NineP::link(Call& c) {
    const Fid* const folder = find(c.in.get<u32>());
    const Fid* const fid = find(c.in.get<u32>());
    const std::string name = c.in.text();
    std::string path;
    if (!c.in.good() || !folder || !fid) return -EINVAL;
    if (const int bad = child(*folder, name, path)) return bad;
    return folder_.make_link(fid->path, path);
}

int NineP::readlink(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    if (!fid) return -EINVAL;
    std::string target;
    if (const int bad = folder_.read_link(fid->path, target)) return bad;
    c.out.text(target);
    return 0;
}

int NineP::getattr(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    if (!fid) return -EINVAL;
    struct stat s;
    const int bad = fid->fd ? folder_.stat(fid->fd.get(), s) : folder_.stat(fid->path, s);
    if (bad) return bad;
    constexpr u64 kBasic = 0x7ff;
    c.out.put(kBasic);
    runtime::put_qid(c.out, s);
    c.out.put(u32(s.st_mode));
    c.out.put(u32(s.st_uid));
    c.out.put(u32(s.st_gid));
    c.out.put(u64(s.st_nlink));
    c.out.put(u64(s.st_rdev));
    c.out.put(u64(s.st_size));
    c.out.put(u64(s.st_blksize));
    c.out.put(u64(s.st_blocks));
    for (const timespec& t : {s.st_atim, s.st_mtim, s.st_ctim}) {
        c.out.put(u64(t.tv_sec));
        c.out.put(u64(t.tv_nsec));
    }
    for (unsigned n = 0; n < 4; ++n) // birth, generation, data version: not told
        c.out.put(u64(0));
    return 0;
}

int NineP::setattr(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    const u32 valid = c.in.get<u32>();
    Folder::Change change;
    change.new_mode = c.in.get<u32>();
    change.new_uid = c.in.get<u32>();
    change.new_gid = c.in.get<u32>();
    change.new_size = c.in.get<u64>();
    u64 times[4];
    for (u64& t : times)
        t = c.in.get<u64>();
    if (!c.in.good() || !fid) return -EINVAL;
    change.mode = valid & kMode;
    change.uid = valid & kUid;
    change.gid = valid & kGid;
    change.size = valid & kSize;
    change.times = valid & (kAtime | kMtime);
    const auto time = [&](u32 wanted, u32 set, u64 seconds, u64 nanoseconds) -> timespec {
        if (!(valid & wanted)) return {0, UTIME_OMIT};
        if (!(valid & set)) return {0, UTIME_NOW};
        return {time_t(seconds), long(nanoseconds % 1'000'000'000)};
    };
    change.access = time(kAtime, kAtimeSet, times[0], times[1]);
    change.modification = time(kMtime, kMtimeSet, times[2], times[3]);
    return folder_.change(fid->path, change);
}

int NineP::readdir(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    const u64 offset = c.in.get<u64>();
    const u32 count = c.in.get<u32>();
    if (!c.in.good() || !fid || !fid->fd || !fid->folder || c.room < 4) return -EINVAL;
    struct Entry { // of getdents64
        u64 inode;
        u64 next;
        u16 bytes;
        u8 type;
        char name[];
    };
    constexpr std::size_t kFixed = 13 + 8 + 1 + 2; // qid, offset, type, length
    struct stat here;
    if (fstat(fid->fd.get(), &here) != 0 || lseek(fid->fd.get(), off_t(offset), SEEK_SET) < 0) return -errno;
    const std::size_t room = std::min<std::size_t>(count, c.room - 4);
    std::vector<u8> raw(std::min<std::size_t>(std::max<std::size_t>(room, 1024), 64 * KiB));
    NinePWriter entries;
    for (bool full = false; !full;) {
        const long n = syscall(SYS_getdents64, fid->fd.get(), raw.data(), raw.size());
        if (n < 0) return -errno;
        if (n == 0) break;
        for (long at = 0; at < n && !full;) {
            const auto* entry = reinterpret_cast<const Entry*>(raw.data() + at);
            const std::string name = entry->name;
            full = entries.bytes().size() + kFixed + name.size() > room;
            if (full) break;
            const bool up = name == ".."; // which is nothing of the guest's
            runtime::put_qid(entries, mode_t(entry->type << 12), here.st_dev, up ? here.st_ino : entry->inode,
                             0);
            entries.put(entry->next);
            entries.put(entry->type);
            entries.text(name);
            at += entry->bytes;
        }
    }
    c.out.put(u32(entries.bytes().size()));
    c.out.bytes().insert(c.out.bytes().end(), entries.bytes().begin(), entries.bytes().end());
    return 0;
}

int NineP::fsync(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    if (!fid || !fid->fd) return -EINVAL;
    return ::fsync(fid->fd.get()) ? -errno : 0;
}

// Locks are between programs of the guest, whose kernel keeps them.
int NineP::lock(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    if (!fid || !fid->fd) return -EINVAL;
    c.out.put(u8(0)); // success
    return 0;
}

int NineP::getlock(Call& c) {
    const Fid* const fid = find(c.in.get<u32>());
    (void)c.in.get<u8>();
    const u64 start = c.in.get<u64>(), length = c.in.get<u64>();
    const u32 process = c.in.get<u32>();
    const std::string client = c.in.text();
    if (!c.in.good() || !fid) return -EINVAL;
    c.out.put(u8(2)); // nobody holds it
    c.out.put(start);
    c.out.put(length);
    c.out.put(process);
    c.out.text(client);
    return 0;
}

int NineP::flush(Call&) {
    return 0; // every request is answered before the next one is looked at
}

int NineP::unsupported(Call&) {
    return -EOPNOTSUPP; // extended attributes
}

} // namespace dragoman::runtime
