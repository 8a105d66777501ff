// The making of a FAT volume (Microsoft FAT specification 1.03): boot sector, tables, folders, files.
#include "base/bits.h"
#include "block/fat_volume.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace dragoman::block {

namespace {

constexpr u32 kSector = 512;
constexpr u64 kUsualDisk = 1032192; // sectors: 1024 cylinders, 16 heads, 63 sectors
constexpr u32 kRoot16 = 512;        // entries of the root folder
constexpr u8 kReadOnly = 1, kFolder = 0x10, kArchive = 0x20, kLong = 0x0f;
constexpr u8 kBootCode[] = {0xeb, 0xfe, 0x90}; // nothing to boot here

template <class T> void put(std::vector<u8>& to, std::size_t at, T value) {
    std::memcpy(to.data() + at, &value, sizeof value);
}

u32 clusters_of(u64 bytes, u32 cluster_bytes) {
    return u32((bytes + cluster_bytes - 1) / cluster_bytes);
}
u64 bytes_of(const FatNode& node) {
    return node.folder ? u64{node.folder_entries()} * kFatEntryBytes : node.bytes;
}

// Clusters of all that is below a folder.
u64 clusters_below(const FatNode& folder, u32 cluster_bytes) {
    u64 all = 0;
    for (const FatNode& node : folder.children)
        all += clusters_of(bytes_of(node), cluster_bytes) +
               (node.folder ? clusters_below(node, cluster_bytes) : 0);
    return all;
}

void give_clusters(FatNode& folder, u32 cluster_bytes, u32& next) {
    for (FatNode& node : folder.children) {
        node.clusters.resize(clusters_of(bytes_of(node), cluster_bytes));
        for (u32& cluster : node.clusters)
            cluster = next++;
        if (node.folder) give_clusters(node, cluster_bytes, next);
    }
}

// Fills in the tables' size; the two depend on each other.
void fit_tables(FatGeometry& g) {
    const u32 root = g.root_entries * kFatEntryBytes / kSector;
    for (g.fat_sectors = 1;; ++g.fat_sectors) {
        g.clusters = (g.sectors - g.reserved - root - 2 * g.fat_sectors) / g.cluster_sectors;
        const u32 needed = u32(((u64{g.clusters} + 2) * g.bits / 8 + kSector) / kSector);
        if (needed <= g.fat_sectors) return;
        g.fat_sectors = std::max(g.fat_sectors, needed - 1 - needed / 64);
    }
}

FatGeometry floppy_geometry() {
    FatGeometry g{.bits = 12,
                  .disk_sectors = 2880,
                  .sectors = 2880,
                  .root_entries = 224,
                  .heads = 2,
                  .track_sectors = 18,
                  .media = 0xf0};
    fit_tables(g);
    return g;
}

FatGeometry disk_geometry(unsigned bits, u64 sectors) {
    constexpr u64 cylinder = 16 * 63;
    FatGeometry g;
    g.bits = bits;
    g.disk_sectors = align_up(sectors, cylinder);
    g.start = 63;
    g.sectors = u32(g.disk_sectors - g.start);
    if (bits == 32) {
        constexpr u64 gib = GiB / kSector;
        g.cluster_sectors = sectors <= 8 * gib ? 8 : sectors <= 16 * gib ? 16 : sectors <= 32 * gib ? 32 : 64;
        g.reserved = 32;
    } else {
        g.cluster_sectors = 16;
        g.root_entries = kRoot16;
    }
    fit_tables(g);
    return g;
}

// --- parts of the volume

std::vector<u8> boot_sector(const FatGeometry& g) {
    std::vector<u8> s(kSector);
    std::copy(std::begin(kBootCode), std::end(kBootCode), s.begin());
    std::memcpy(&s[3], "MSWIN4.1", 8);
    put<u16>(s, 11, kSector);
    s[13] = u8(g.cluster_sectors);
    put<u16>(s, 14, u16(g.reserved));
    s[16] = 2; // tables
    put<u16>(s, 17, u16(g.root_entries));
    put<u16>(s, 19, u16(g.sectors < 0x10000 ? g.sectors : 0));
    s[21] = g.media;
    put<u16>(s, 22, u16(g.bits == 32 ? 0 : g.fat_sectors));
    put<u16>(s, 24, u16(g.track_sectors));
    put<u16>(s, 26, u16(g.heads));
    put<u32>(s, 28, u32(g.start));
    put<u32>(s, 32, g.sectors < 0x10000 ? 0 : g.sectors);
    std::size_t at = 36;
    if (g.bits == 32) {
        put<u32>(s, 36, g.fat_sectors);
        put<u32>(s, 44, 2); // the root folder's cluster
        put<u16>(s, 48, 1); // FSInfo
        put<u16>(s, 50, 6); // the copy of this sector
        at = 64;
    }
    s[at] = g.start ? 0x80 : 0;
    s[at + 2] = 0x29;
    put<u32>(s, at + 3, 0x44524147);
    std::memcpy(&s[at + 7], "DRAGOMAN   ", 11);
    std::memcpy(&s[at + 18], g.bits == 12 ? "FAT12   " : g.bits == 16 ? "FAT16   " : "FAT32   ", 8);
    s[510] = 0x55, s[511] = 0xaa;
    return s;
}

std::vector<u8> partition_table(const FatGeometry& g) {
    std::vector<u8> s(kSector);
    const auto chs = [&](u64 sector, std::size_t at) { // the last ones that can be said, beyond 8 GB
        const u64 cylinder = std::min<u64>(sector / (g.heads * g.track_sectors), 1023);
        s[at] = u8(sector / g.track_sectors % g.heads);
        s[at + 1] = u8((sector % g.track_sectors + 1) | (cylinder >> 8 << 6));
        s[at + 2] = u8(cylinder);
    };
    put<u32>(s, 440, 0x4e414d44);
    s[446] = 0x80;
    chs(g.start, 447);
    s[450] = g.bits == 32 ? 0x0c : 0x06;
    chs(g.disk_sectors - 1, 451);
    put<u32>(s, 454, u32(g.start));
    put<u32>(s, 458, g.sectors);
    s[510] = 0x55, s[511] = 0xaa;
    return s;
}

void set_fat(std::vector<u8>& fat, unsigned bits, u32 n, u32 value) {
    if (bits == 32) return put<u32>(fat, n * 4u, value);
    if (bits == 16) return put<u16>(fat, n * 2u, u16(value));
    const std::size_t at = n + n / 2;
    u16 pair = u16(fat[at] | fat[at + 1] << 8);
    pair = n & 1 ? u16((pair & 0x000f) | value << 4) : u16((pair & 0xf000) | value);
    put<u16>(fat, at, pair);
}

void chain(std::vector<u8>& fat, const FatGeometry& g, const FatNode& node) {
    for (std::size_t n = 0; n < node.clusters.size(); ++n)
        set_fat(fat, g.bits, node.clusters[n],
                n + 1 < node.clusters.size() ? node.clusters[n + 1] : g.end_mark());
    for (const FatNode& child : node.children)
        chain(fat, g, child);
}

void put_entry(std::vector<u8>& to, const u8* name, const FatNode& node, u32 cluster) {
    const std::size_t at = to.size();
    to.resize(at + kFatEntryBytes);
    std::memcpy(&to[at], name, 11);
    to[at + 11] = u8((node.folder ? kFolder : kArchive) | (node.read_only ? kReadOnly : 0));
    tm when{};
    gmtime_r(&node.modified.tv_sec, &when);
    const int year = std::clamp(when.tm_year - 80, 0, 127);
    const u16 date = u16(year << 9 | (when.tm_mon + 1) << 5 | when.tm_mday),
              time = u16(when.tm_hour << 11 | when.tm_min << 5 | when.tm_sec / 2);
    put<u16>(to, at + 16, date), put<u16>(to, at + 18, date);
    put<u16>(to, at + 22, time), put<u16>(to, at + 24, date);
    put<u16>(to, at + 20, u16(cluster >> 16)), put<u16>(to, at + 26, u16(cluster));
    put<u32>(to, at + 28, node.folder ? 0 : u32(node.bytes));
}

void put_long_name(std::vector<u8>& to, const FatNode& node) {
    const u8 sum = fat_checksum(node.short_name);
    const unsigned parts = node.entries() - 1;
    for (unsigned part = parts; part >= 1; --part) {
        const std::size_t at = to.size();
        to.resize(at + kFatEntryBytes);
        to[at] = u8(part | (part == parts ? 0x40 : 0));
        to[at + 11] = kLong;
        to[at + 13] = sum;
        for (unsigned n = 0; n < 13; ++n) {
            const std::size_t unit = (part - 1) * 13u + n;
            const u16 value = unit < node.long_name.size()    ? u16(node.long_name[unit])
                              : unit == node.long_name.size() ? 0
                                                              : 0xffff;
            put<u16>(to, at + (n < 5 ? 1 + 2 * n : n < 11 ? 4 + 2 * n : 6 + 2 * n), value);
        }
    }
}

std::vector<u8> folder_bytes(const FatNode& folder, u32 parent) {
    std::vector<u8> bytes;
    if (!folder.name.empty()) {
        put_entry(bytes, reinterpret_cast<const u8*>(".          "), folder,
                  folder.clusters.empty() ? 0 : folder.clusters[0]);
        put_entry(bytes, reinterpret_cast<const u8*>("..         "), folder, parent);
    }
    for (const FatNode& node : folder.children) {
        put_long_name(bytes, node);
        put_entry(bytes, node.short_name.data(), node, node.clusters.empty() ? 0 : node.clusters[0]);
    }
    return bytes;
}

class Builder {
  public:
    Builder(const FatGeometry& g, HostFile& file) : g_(g), file_(file) {}
    Status folder(const FatNode& node, u32 parent, const std::string& path) {
        const std::vector<u8> bytes = folder_bytes(node, parent);
        const bool fixed = node.name.empty() && g_.bits != 32;
        const u64 at = fixed ? g_.root_at() : node.clusters.empty() ? 0 : g_.cluster_at(node.clusters[0]);
        if (!bytes.empty())
            if (auto s = put_at(at, bytes.data(), bytes.size()); !s) return s;
        const u32 here = node.name.empty() ? 0 : node.clusters[0];
        for (const FatNode& child : node.children) {
            const std::string below = path + "/" + child.name;
            if (auto s = child.folder ? folder(child, here, below) : copy(child, below); !s) return s;
        }
        return Ok{};
    }
    Status put_at(u64 sector, const void* bytes, u64 count) {
        const Outcome o = file_.write(sector * kSector, bytes, count);
        return o.failed() ? Status(Error{o.message}) : Status(Ok{});
    }

  private:
    // A file that is shorter by now is filled up with zeroes; one that grew is cut.
    Status copy(const FatNode& node, const std::string& path) {
        if (node.clusters.empty()) return Ok{};
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) return Error{"'" + path + "': " + std::strerror(errno)};
        std::vector<u8> piece(MiB);
        Status result = Ok{};
        for (u64 done = 0; done < node.bytes && result;) {
            const ssize_t got = ::read(fd, piece.data(), std::min<u64>(piece.size(), node.bytes - done));
            if (got < 0) result = Error{"'" + path + "': " + std::strerror(errno)};
            if (got <= 0) break;
            if (const Outcome o =
                    file_.write(g_.cluster_at(node.clusters[0]) * kSector + done, piece.data(), u64(got));
                o.failed())
                result = Error{o.message};
            done += u64(got);
        }
        ::close(fd);
        return result;
    }
    const FatGeometry& g_;
    HostFile& file_;
};

} // namespace

std::optional<FatFolder> parse_fat_folder(const std::string& name) {
    if (name.rfind("fat:", 0) != 0) return {};
    FatFolder folder;
    std::string rest = name.substr(4);
    const auto take = [&](const std::string& word) {
        if (rest.rfind(word, 0) != 0) return false;
        rest.erase(0, word.size());
        return true;
    };
    for (bool more = true; more;) {
        more = false;
        for (const unsigned bits : {12u, 16u, 32u})
            if (take(std::to_string(bits) + ":")) folder.bits = bits, more = true;
        if (take("floppy:")) folder.floppy = more = true;
        if (take("rw:")) folder.writable = more = true;
    }
    folder.path = rest;
    return folder;
}

Result<FatGeometry> lay_out(const FatFolder& folder, FatNode& root) {
    const auto bad = [&](const std::string& what) { return Error{"'" + folder.path + "': " + what}; };
    if (folder.floppy ? folder.bits != 0 && folder.bits != 12 : folder.bits == 12)
        return bad("12 bits are for floppies, 16 or 32 for disks");
    FatGeometry g = folder.floppy ? floppy_geometry() : disk_geometry(16, kUsualDisk);
    const auto fits = [&] {
        return (g.bits == 32 || root.folder_entries() <= g.root_entries) &&
               clusters_below(root, g.cluster_bytes()) + 1 + clusters_of(bytes_of(root), g.cluster_bytes()) <=
                   g.clusters;
    };
    if (!folder.floppy && (folder.bits == 32 || (folder.bits == 0 && !fits()))) {
        // A quarter more than is there, and as small as the first one at least.
        const u64 sectors = (clusters_below(root, 4096) + clusters_of(bytes_of(root), 4096)) * 8;
        if (sectors > u64{1} << 31) return bad("more than 1 TiB");
        g = disk_geometry(32, std::max(kUsualDisk, sectors + sectors / 4 + 131072));
    }
    if (!fits())
        return bad(folder.floppy ? "holds more than a floppy of 1440 KiB"
                                 : "holds more than a disk with 16 bits can (fat:32: takes it)");
    u32 next = 2;
    if (g.bits == 32) {
        root.clusters.resize(std::max(1u, clusters_of(bytes_of(root), g.cluster_bytes())));
        for (u32& cluster : root.clusters)
            cluster = next++;
    }
    give_clusters(root, g.cluster_bytes(), next);
    return g;
}

Status build_volume(const FatGeometry& g, const FatNode& root, const std::string& folder, HostFile& file) {
    if (const Outcome o = file.resize(g.disk_sectors * kSector); o.failed()) return Error{o.message};
    Builder builder(g, file);
    std::vector<u8> fat(g.fat_sectors * u64{kSector});
    set_fat(fat, g.bits, 0, (g.end_mark() & ~0xffu) | g.media);
    set_fat(fat, g.bits, 1, g.end_mark());
    chain(fat, g, root);
    std::vector<std::pair<u64, std::vector<u8>>> parts;
    if (g.start) parts.emplace_back(0, partition_table(g));
    parts.emplace_back(g.start, boot_sector(g));
    if (g.bits == 32) {
        std::vector<u8> info(kSector);
        put<u32>(info, 0, 0x41615252), put<u32>(info, 484, 0x61417272);
        put<u32>(info, 488, ~0u), put<u32>(info, 492, ~0u); // not known: free clusters, where to look
        put<u32>(info, 508, 0xaa550000);
        parts.emplace_back(g.start + 1, info);
        parts.emplace_back(g.start + 6, boot_sector(g));
    }
    parts.emplace_back(g.fat_at(), fat);
    parts.emplace_back(g.fat_at() + g.fat_sectors, fat);
    for (const auto& [at, bytes] : parts)
        if (auto s = builder.put_at(at, bytes.data(), bytes.size()); !s) return s;
    return builder.folder(root, 0, folder);
}

} // namespace dragoman::block
