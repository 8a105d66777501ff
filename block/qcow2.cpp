// Opening a qcow2 image, and bringing its tables to the file.
#include "block/qcow2.h"

#include "block/big_endian.h"

#include <algorithm>

namespace dragoman::block {

namespace {
constexpr u64 kL2CacheBytes = 32 * MiB;
}

Qcow2Image::Qcow2Image(std::unique_ptr<HostFile> file, const Qcow2Header& header, bool read_only)
    : file_(std::move(file)), header_(header), size_(header.size), read_only_(read_only),
      l2_(*file_, header_.cluster(), kL2CacheBytes), refcounts_(*file_, header_) {}

Qcow2Image::~Qcow2Image() {
    if (!read_only_ && !failed_) (void)write_tables();
}

Result<std::unique_ptr<Qcow2Image>> Qcow2Image::open(std::unique_ptr<HostFile> file, bool read_only,
                                                     const OpenOptions& options) {
    auto header = read_qcow2_header(*file);
    if (!header) return header.error();
    std::unique_ptr<Qcow2Image> image(new Qcow2Image(std::move(file), *header, read_only));
    if (auto s = image->load_tables(options); !s) return s.error();
    return image;
}

Status Qcow2Image::load_tables(const OpenOptions& options) {
    auto l1 = read_l1(header_.l1_offset, header_.l1_entries);
    if (!l1) return l1.error();
    l1_ = std::move(*l1);
    if (auto s = load_snapshots(); !s) return s;
    if (!options.snapshot.empty()) {
        const auto n = find_snapshot(options.snapshot);
        if (!n) return n.error();
        const Qcow2Snapshot& snapshot = snapshots_[n.value()];
        auto table = read_l1(snapshot.l1_offset, snapshot.l1_entries);
        if (!table) return table.error();
        l1_ = std::move(*table);
        size_ = snapshot.size;
        read_only_ = true;
    }
    if (read_only_) return Ok{};

    if (header_.incompatible & kQcow2Corrupt && options.repair)
        return Error{about("is marked as corrupt (expected read-only use, or dragoman-img check -r all)")};
    if (auto s = refcounts_.load(); !s) return s;
    if (header_.incompatible & kQcow2Dirty && options.repair) {
        const auto result = check(Qcow2Repair::All);
        if (!result) return result.error();
        if (result.value().corruptions > result.value().corruptions_fixed)
            return Error{about("was not closed, and its reference counts cannot be repaired")};
    }
    if (header_.autoclear) { // features that a writer who does not know them makes stale
        u8 zero[8] = {};
        header_.autoclear = 0;
        if (Outcome o = file_->write(kQcow2Autoclear, zero, sizeof zero); o.failed()) return Error{o.message};
    }
    return Ok{};
}

Outcome Qcow2Image::set_incompatible(u64 bits) {
    if (header_.version < 3) return {};
    u8 field[8];
    put_be<u64>(field, bits);
    header_.incompatible = bits;
    return file_->write(kQcow2Incompatible, field, sizeof field);
}

bool Qcow2Image::tables_dirty() const {
    return refcounts_.dirty() || l2_.dirty() || l1_dirty_ || !released_.empty();
}

Outcome Qcow2Image::write_l1() {
    if (!l1_dirty_) return {};
    std::vector<u8> bytes(l1_.size() * 8);
    for (std::size_t n = 0; n < l1_.size(); ++n)
        put_be<u64>(&bytes[n * 8], l1_[n]);
    if (Outcome o = file_->sync(); o.failed()) return o; // the L2 tables first
    if (Outcome o = file_->write(header_.l1_offset, bytes.data(), bytes.size()); o.failed()) return o;
    l1_dirty_ = false;
    return {};
}

// With the lock held exclusively.
Outcome Qcow2Image::write_tables() {
    if (Outcome o = refcounts_.write(); o.failed()) return o;
    if (l2_.dirty() || l1_dirty_)
        if (Outcome o = file_->sync(); o.failed()) return o;
    if (Outcome o = l2_.write_dirty(); o.failed()) return o;
    if (Outcome o = write_l1(); o.failed()) return o;
    return drop_released();
}

Outcome Qcow2Image::drop_released() {
    if (released_.empty()) return {};
    if (Outcome o = file_->sync(); o.failed()) return o;
    std::vector<Clusters> released;
    released.swap(released_);
    for (const Clusters& range : released) {
        for (u64 n = range.first; n < range.first + range.count; ++n) {
            const auto left = refcounts_.drop(n);
            if (!left) return corrupt("a cluster in use has no references");
            if (left.value() != 0) continue;
            const u64 offset = n << header_.cluster_bits;
            l2_.drop(offset);
            if (tail_.at >> header_.cluster_bits == n) tail_ = {};
            if (range.punch && !failed_) (void)file_->punch(offset, header_.cluster());
        }
    }
    {
        const std::lock_guard guard(unpacked_);
        unpacked_at_ = ~u64{0};
    }
    return refcounts_.write();
}

Outcome Qcow2Image::flush() {
    if (read_only_) return {};
    {
        std::shared_lock shared(lock_);
        if (tables_dirty()) {
            shared.unlock();
            const std::unique_lock lock(lock_);
            if (failed_) return {BlockStatus::IoError, about("is corrupt, nothing more is written")};
            if (Outcome o = write_tables(); o.failed()) return o;
        }
    }
    return file_->sync();
}

Outcome Qcow2Image::resize(u64 new_bytes) {
    const u64 old = size_, cluster = header_.cluster();
    if (new_bytes < old && !snapshots_.empty())
        return {BlockStatus::IoError, about("cannot be made smaller while it has snapshots")};
    if (new_bytes < old) {
        const u64 inside = std::min(old, (new_bytes + cluster - 1) & ~(cluster - 1));
        if (inside > new_bytes)
            if (Outcome o = write_zeroes(new_bytes, inside - new_bytes, false); o.failed()) return o;
        const std::unique_lock lock(lock_);
        for (u64 n = header_.clusters(new_bytes); n < header_.clusters(old); ++n) {
            if (Outcome o = prepare_change(); o.failed()) return o;
            {
                const std::lock_guard guard(tables_);
                const auto place = place_of(n);
                if (!place) return fault(place.error());
                if (place.value().kind == Kind::Absent) continue;
            }
            if (Outcome o = set_entry(n, 0, true); o.failed()) return o;
        }
    } else {
        const std::unique_lock lock(lock_);
        if (Outcome o = prepare_change(); o.failed()) return o;
        if (new_bytes > u64{1} << 62) return {BlockStatus::NoSpace, about("cannot become that large")};
        if (Outcome o = grow_l1(header_.l1_needed(new_bytes)); o.failed()) return o;
    }
    {
        const std::unique_lock lock(lock_);
        if (Outcome o = write_tables(); o.failed()) return o;
        u8 field[8];
        put_be<u64>(field, new_bytes);
        if (Outcome o = file_->write(kQcow2Size, field, sizeof field); o.failed()) return o;
        header_.size = new_bytes;
        size_ = new_bytes;
    }
    // What the backing file holds behind the old end must not appear.
    if (backing_ && new_bytes > old && backing_->bytes() > old)
        if (Outcome o = write_zeroes(old, std::min(new_bytes, backing_->bytes()) - old, false); o.failed())
            return o;
    return flush();
}

Status Qcow2Image::set_backing_name(const std::string& file, const std::string& format) {
    Qcow2Header fresh = header_;
    fresh.backing_file = file;
    fresh.backing_format = format;
    const auto bytes = make_qcow2_header(fresh);
    if (!bytes) return Error{about(bytes.error().message)};
    if (Outcome o = file_->write(0, bytes.value().data(), bytes.value().size()); o.failed())
        return Error{o.message};
    header_ = fresh;
    return Ok{};
}

Status Qcow2Image::make_empty() {
    const u64 clusters = header_.clusters(size_);
    for (u64 n = 0; n < clusters;) {
        const std::unique_lock lock(lock_);
        if (Outcome o = prepare_change(); o.failed()) return Error{o.message};
        const u64 l1 = n / header_.l2_entries();
        if (l1 >= l1_.size() || (l1_[l1] & kQcow2OffsetMask) == 0) {
            n = (l1 + 1) * header_.l2_entries();
            continue;
        }
        const auto place = place_of(n);
        if (!place) return place.error();
        if (place.value().kind != Kind::Absent)
            if (Outcome o = set_entry(n, 0, true); o.failed()) return Error{o.message};
        ++n;
    }
    if (Outcome o = flush(); o.failed()) return Error{o.message};
    return Ok{};
}

Status Qcow2Image::create(HostFile& file, const Qcow2CreateOptions& options) {
    const auto bad = [&](const std::string& what) {
        return Error{"disk image '" + file.path() + "': " + what};
    };
    Qcow2Header h;
    h.version = options.version;
    h.cluster_bits = options.cluster_bits;
    h.size = options.size;
    h.refcount_order = options.refcount_order;
    h.compression = options.compression;
    h.backing_file = options.backing_file;
    h.backing_format = options.backing_format;
    if (h.compression != Compression::Zlib) h.incompatible |= kQcow2CompressionType;
    if (options.lazy_refcounts) h.compatible |= kQcow2LazyRefcounts;
    if (h.version < 3 &&
        (h.compression != Compression::Zlib || options.lazy_refcounts || h.refcount_order != 4))
        return bad("compression types, lazy reference counts and their width need compat=1.1");
    const u64 l1 = std::max<u64>(h.l1_needed(h.size), 1);
    if (l1 * 8 > 32 * MiB) return bad("too large for clusters of " + std::to_string(h.cluster()) + " bytes");

    // Header, reference count table, blocks, L1 table; the blocks count all of these.
    const u64 per_block = h.cluster() * 8 >> h.refcount_order;
    const u64 l1_clusters = h.clusters(l1 * 8);
    u64 blocks = 1, table = 1, used = 0;
    for (u64 before = ~u64{0}; before != used;) {
        before = used;
        used = 1 + table + blocks + l1_clusters;
        blocks = (used + per_block - 1) / per_block;
        table = h.clusters(blocks * 8);
    }
    h.refcount_table_offset = h.cluster();
    h.refcount_table_clusters = u32(table);
    h.l1_offset = (1 + table + blocks) << h.cluster_bits;
    h.l1_entries = u32(l1);

    auto head = make_qcow2_header(h);
    if (!head) return bad(head.error().message);
    std::vector<u8> tables((table + blocks) << h.cluster_bits);
    for (u64 n = 0; n < blocks; ++n)
        put_be<u64>(&tables[n * 8], (1 + table + n) << h.cluster_bits);
    const unsigned bits = 1u << h.refcount_order;
    for (u64 n = 0; n < used; ++n) {
        const u64 bit = (table << h.cluster_bits) * 8 + n * bits;
        if (bits < 8)
            tables[bit / 8] = u8(tables[bit / 8] | 1u << (bit % 8));
        else
            tables[bit / 8 + bits / 8 - 1] = 1; // big-endian
    }
    // The header last: until then this is no image.
    const std::vector<u8> zeroes(l1 * 8);
    for (const Outcome& o : {file.write(h.l1_offset, zeroes.data(), zeroes.size()),
                             file.write(h.refcount_table_offset, tables.data(), tables.size()),
                             file.write(0, head->data(), head->size()), file.sync()})
        if (o.failed()) return Error{o.message};
    return Ok{};
}

} // namespace dragoman::block
