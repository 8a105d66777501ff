#include "block/qcow2_header.h"

#include "block/big_endian.h"

#include <algorithm>
#include <cstring>

namespace dragoman::block {

namespace {

constexpr u32 kBytesV2 = 72, kBytesV3 = 104;
// What QEMU accepts, so that no image asks for more memory than one it would open.
constexpr u64 kMaxL1Bytes = 32 * MiB, kMaxRefcountTableBytes = 8 * MiB, kMaxSnapshots = 65536,
              kMaxBackingName = 1023;

enum Extension : u32 {
    kEnd = 0,
    kBackingFormat = 0xe2792aca,
    kFeatureNames = 0x6803f857,
    kBitmaps = 0x23852875
};

using FeatureNames = std::map<u32, std::string>; // kind << 8 | bit

Result<FeatureNames> read_extensions(const std::vector<u8>& head, u64 end, Qcow2Header& h) {
    FeatureNames names;
    for (u64 at = h.header_length; at + 8 <= end;) {
        const u32 type = get_be<u32>(&head[at]), length = get_be<u32>(&head[at + 4]);
        at += 8;
        if (type == kEnd) break;
        if (length > end - at) return Error{"a header extension reaches beyond the header"};
        if (type == kBackingFormat) {
            if (length > 15) return Error{"the backing format's name is too long"};
            h.backing_format.assign(reinterpret_cast<const char*>(&head[at]), length);
        } else if (type == kBitmaps) {
            h.bitmaps = true;
        } else if (type == kFeatureNames) {
            for (u64 i = at; i + 48 <= at + length; i += 48) {
                const char* name = reinterpret_cast<const char*>(&head[i + 2]);
                std::string text(name, strnlen(name, 46));
                std::replace_if(
                    text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
                names[u32(head[i]) << 8 | head[i + 1]] = text;
            }
        }
        at += (u64(length) + 7) & ~u64{7};
    }
    return names;
}

Status check_features(const Qcow2Header& h, const FeatureNames& names) {
    constexpr u64 known = kQcow2Dirty | kQcow2Corrupt | kQcow2CompressionType;
    static const std::map<u32, std::string> ours = {{2, "external data file"}, {4, "extended L2 entries"}};
    std::string missing;
    for (u32 bit = 0; bit < 64; ++bit) {
        if (!((h.incompatible & ~known) >> bit & 1)) continue;
        if (!missing.empty()) missing += ", ";
        if (const auto own = ours.find(bit); own != ours.end())
            missing += own->second;
        else if (const auto named = names.find(bit); named != names.end())
            missing += named->second;
        else
            missing += "incompatible feature bit " + std::to_string(bit);
    }
    if (!missing.empty()) return Error{"uses features that are not built: " + missing};
    return Ok{};
}

} // namespace

Result<Qcow2Header> read_qcow2_header(HostFile& file) {
    u8 first[kBytesV3 + 8] = {};
    if (Outcome o = file.read(0, first, sizeof first); o.failed()) return Error{o.message};
    const auto bad = [&](const std::string& what) {
        return Error{"disk image '" + file.path() + "': " + what};
    };
    Qcow2Header h;
    if (file.bytes() < kBytesV2 || get_be<u32>(first) != kQcow2Magic)
        return bad("is not a qcow2 image (expected the magic number QFI\\xfb)");
    h.version = get_be<u32>(first + 4);
    if (h.version != 2 && h.version != 3)
        return bad("qcow version " + std::to_string(h.version) + " (expected 2 or 3)");
    h.cluster_bits = get_be<u32>(first + 20);
    if (h.cluster_bits < 9 || h.cluster_bits > 21)
        return bad("clusters of 2^" + std::to_string(h.cluster_bits) + " bytes (expected 2^9 to 2^21)");
    h.size = get_be<u64>(first + kQcow2Size);
    h.l1_entries = get_be<u32>(first + kQcow2L1Size);
    h.l1_offset = get_be<u64>(first + kQcow2L1Offset);
    h.refcount_table_offset = get_be<u64>(first + kQcow2RefcountTable);
    h.refcount_table_clusters = get_be<u32>(first + kQcow2RefcountClusters);
    h.snapshot_count = get_be<u32>(first + kQcow2SnapshotCount);
    h.snapshots_offset = get_be<u64>(first + kQcow2Snapshots);
    if (h.version == 2) {
        h.header_length = kBytesV2;
    } else {
        h.incompatible = get_be<u64>(first + kQcow2Incompatible);
        h.compatible = get_be<u64>(first + kQcow2Compatible);
        h.autoclear = get_be<u64>(first + kQcow2Autoclear);
        h.refcount_order = get_be<u32>(first + 96);
        h.header_length = get_be<u32>(first + 100);
        if (h.header_length < kBytesV3 || h.header_length > h.cluster() || h.header_length % 8)
            return bad("a header of " + std::to_string(h.header_length) +
                       " bytes (expected a multiple of 8 from 104 to the size of a cluster)");
        if (h.refcount_order > 6)
            return bad("reference counts of 2^" + std::to_string(h.refcount_order) +
                       " bits (expected up to 2^6)");
    }

    std::vector<u8> head(h.cluster());
    if (Outcome o = file.read(0, head.data(), head.size()); o.failed()) return Error{o.message};
    const u64 name_at = get_be<u64>(first + kQcow2BackingOffset);
    const u32 name_bytes = get_be<u32>(first + 16);
    if (name_at != 0) {
        if (name_bytes > kMaxBackingName || name_at > h.cluster() || name_bytes > h.cluster() - name_at)
            return bad("the backing file's name lies outside the first cluster");
        h.backing_file.assign(reinterpret_cast<const char*>(&head[name_at]), name_bytes);
        if (h.backing_file.find('\0') != std::string::npos)
            return bad("the backing file's name holds a zero byte");
    }
    const auto names = read_extensions(head, name_at > h.header_length ? name_at : h.cluster(), h);
    if (!names) return bad(names.error().message);
    if (auto s = check_features(h, names.value()); !s) return bad(s.error().message);
    const u8 compression = h.header_length > kBytesV3 ? head[104] : 0;
    if (compression > 1)
        return bad("compression type " + std::to_string(compression) + " (expected zlib or zstd)");
    if ((compression != 0) != ((h.incompatible & kQcow2CompressionType) != 0))
        return bad("the compression type does not agree with its feature bit");
    h.compression = Compression(compression);
    if (const u32 crypt = get_be<u32>(first + 32))
        return bad(crypt <= 2 ? "is encrypted (not built)" : "unknown encryption method");

    // Where the tables are.
    const auto inside = [&](u64 at, u64 bytes) { return at <= file.bytes() && bytes <= file.bytes() - at; };
    const u64 mask = h.cluster() - 1;
    if (h.size > u64{1} << 62)
        return bad("a size of " + std::to_string(h.size) + " bytes (expected up to 2^62)");
    if (u64{h.l1_entries} * 8 > kMaxL1Bytes) return bad("an L1 table of more than 32 MiB");
    if (h.l1_needed(h.size) * 8 > kMaxL1Bytes) return bad("too large for its cluster size");
    if (h.l1_entries &&
        (h.l1_offset == 0 || h.l1_offset & mask || !inside(h.l1_offset, u64{h.l1_entries} * 8)))
        return bad("the L1 table lies outside the file or is not aligned");
    if (h.refcount_table_clusters == 0) return bad("there is no reference count table");
    const u64 table_bytes = u64{h.refcount_table_clusters} << h.cluster_bits;
    if (table_bytes > kMaxRefcountTableBytes) return bad("a reference count table of more than 8 MiB");
    if (h.refcount_table_offset == 0 || h.refcount_table_offset & mask || !inside(h.refcount_table_offset, 8))
        return bad("the reference count table lies outside the file or is not aligned");
    if (h.snapshot_count > kMaxSnapshots) return bad("more than 65536 snapshots");
    if (h.snapshot_count &&
        (h.snapshots_offset == 0 || h.snapshots_offset & 7 || !inside(h.snapshots_offset, 40)))
        return bad("the snapshot table lies outside the file or is not aligned");
    return h;
}

Result<std::vector<u8>> make_qcow2_header(const Qcow2Header& h) {
    std::vector<u8> out(h.cluster());
    u8* p = out.data();
    put_be<u32>(p, kQcow2Magic);
    put_be<u32>(p + 4, h.version);
    put_be<u32>(p + 20, h.cluster_bits);
    put_be<u64>(p + kQcow2Size, h.size);
    put_be<u32>(p + kQcow2L1Size, h.l1_entries);
    put_be<u64>(p + kQcow2L1Offset, h.l1_offset);
    put_be<u64>(p + kQcow2RefcountTable, h.refcount_table_offset);
    put_be<u32>(p + kQcow2RefcountClusters, h.refcount_table_clusters);
    put_be<u32>(p + kQcow2SnapshotCount, h.snapshot_count);
    put_be<u64>(p + kQcow2Snapshots, h.snapshots_offset);
    u64 at = kBytesV2;
    if (h.version >= 3) {
        put_be<u64>(p + kQcow2Incompatible, h.incompatible);
        put_be<u64>(p + kQcow2Compatible, h.compatible);
        put_be<u64>(p + kQcow2Autoclear, h.autoclear);
        put_be<u32>(p + 96, h.refcount_order);
        put_be<u32>(p + 100, 112);
        p[104] = u8(h.compression);
        at = 112;
    }
    const auto extension = [&](u32 type, const void* data, u64 bytes) {
        if (at + 8 + bytes + 8 > out.size()) return false;
        put_be<u32>(p + at, type);
        put_be<u32>(p + at + 4, u32(bytes));
        if (bytes) std::memcpy(p + at + 8, data, bytes);
        at += 8 + ((bytes + 7) & ~u64{7});
        return true;
    };
    if (!h.backing_format.empty() &&
        !extension(kBackingFormat, h.backing_format.data(), h.backing_format.size()))
        return Error{"the backing file's name does not fit into the header"};
    if (h.version >= 3) {
        static constexpr struct {
            u8 kind, bit;
            const char* name;
        } features[] = {
            {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
            {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
            {2, 0, "bitmaps"},          {2, 1, "raw external data"}};
        u8 table[sizeof features / sizeof *features * 48] = {};
        u8* row = table;
        for (const auto& f : features) {
            row[0] = f.kind;
            row[1] = f.bit;
            std::strncpy(reinterpret_cast<char*>(row + 2), f.name, 46);
            row += 48;
        }
        // A help for readers that lack a feature; small clusters may have no room for it.
        if (at + 8 + sizeof table + 8 + h.backing_file.size() <= out.size())
            extension(kFeatureNames, table, sizeof table);
    }
    extension(kEnd, nullptr, 0);
    if (!h.backing_file.empty()) {
        if (h.backing_file.size() > kMaxBackingName || at + h.backing_file.size() > out.size())
            return Error{"the backing file's name is too long (" + std::to_string(h.backing_file.size()) +
                         " bytes)"};
        put_be<u64>(p + kQcow2BackingOffset, at);
        put_be<u32>(p + 16, u32(h.backing_file.size()));
        std::memcpy(p + at, h.backing_file.data(), h.backing_file.size());
    }
    return out;
}

} // namespace dragoman::block
