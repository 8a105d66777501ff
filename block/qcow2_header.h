// The header of a qcow2 image, versions 2 and 3 (QEMU's docs/interop/qcow2.txt).
#pragma once

#include "block/compression.h"
#include "block/host_file.h"

#include <map>
#include <string>
#include <vector>

namespace dragoman::block {

inline constexpr u32 kQcow2Magic = 0x514649fb; // "QFI\xfb"

// Offsets in the header.
enum Qcow2Field : u32 {
    kQcow2BackingOffset = 8,
    kQcow2Size = 24,
    kQcow2L1Size = 36,
    kQcow2L1Offset = 40,
    kQcow2RefcountTable = 48,
    kQcow2RefcountClusters = 56,
    kQcow2SnapshotCount = 60,
    kQcow2Snapshots = 64,
    kQcow2Incompatible = 72,
    kQcow2Compatible = 80,
    kQcow2Autoclear = 88,
};

enum Qcow2Incompatible : u64 {
    kQcow2Dirty = 1, // reference counts may be wrong
    kQcow2Corrupt = 2,
    kQcow2ExternalData = 4,
    kQcow2CompressionType = 8,
    kQcow2ExtendedL2 = 16,
};
inline constexpr u64 kQcow2LazyRefcounts = 1; // compatible

// Entries of the L1 and L2 tables.
inline constexpr u64 kQcow2Copied = u64{1} << 63, kQcow2Compressed = u64{1} << 62, kQcow2Zero = 1,
                     kQcow2OffsetMask = 0x00fffffffffffe00;

struct Qcow2Header {
    u32 version = 3;
    u32 cluster_bits = 16;
    u64 size = 0;
    u32 l1_entries = 0;
    u64 l1_offset = 0;
    u64 refcount_table_offset = 0;
    u32 refcount_table_clusters = 0;
    u32 snapshot_count = 0;
    u64 snapshots_offset = 0;
    u64 incompatible = 0, compatible = 0, autoclear = 0;
    u32 refcount_order = 4; // 1 << this: bits of a reference count
    u32 header_length = 112;
    Compression compression = Compression::Zlib;
    std::string backing_file, backing_format;
    bool bitmaps = false; // there is an extension with bitmaps, which are not read

    u64 cluster() const { return u64{1} << cluster_bits; }
    u64 clusters(u64 bytes) const { return (bytes + cluster() - 1) >> cluster_bits; }
    u64 l2_entries() const { return cluster() / 8; }
    u64 l1_needed(u64 bytes) const {
        const u64 reach = cluster() * l2_entries();
        return bytes / reach + (bytes % reach != 0);
    }
    const char* compression_name() const { return compression == Compression::Zstd ? "zstd" : "zlib"; }
};

// Reads and checks every field against the format's limits and the size of the file.
Result<Qcow2Header> read_qcow2_header(HostFile& file);
// The first cluster of an image: header, extensions, name of the backing file.
Result<std::vector<u8>> make_qcow2_header(const Qcow2Header& header);

} // namespace dragoman::block
