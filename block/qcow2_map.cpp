// Where the clusters of the disk are in the file.
#include "block/big_endian.h"
#include "block/qcow2.h"

#include <algorithm>

namespace dragoman::block {

Outcome Qcow2Image::corrupt(const std::string& what) {
    if (!failed_ && !read_only_) {
        failed_ = true;
        (void)set_incompatible(header_.incompatible | kQcow2Corrupt);
    }
    return {BlockStatus::IoError, about(what + " (the image is corrupt; dragoman-img check tells more)")};
}

Result<Qcow2Image::Place> Qcow2Image::decode(u64 entry) {
    Place place;
    if (entry & kQcow2Compressed) {
        const unsigned shift = 62 - (header_.cluster_bits - 8);
        const u64 sectors = (entry & ~(kQcow2Copied | kQcow2Compressed)) >> shift;
        place.kind = Kind::Compressed;
        place.host = entry & ((u64{1} << shift) - 1);
        place.host_bytes = (sectors + 1) * 512 - (place.host & 511);
        if (place.host < header_.cluster() || place.host >= file_->bytes())
            return Error{corrupt("a compressed cluster lies outside the file").message};
        return place;
    }
    place.host = entry & kQcow2OffsetMask;
    place.host_bytes = header_.cluster();
    place.ours = place.host && (entry & kQcow2Copied);
    if (place.ours && !read_only_ && overlaps_metadata(place.host, place.host_bytes))
        return Error{corrupt("a data cluster lies in the image's own tables").message};
    if (place.host & (header_.cluster() - 1))
        return Error{corrupt("an L2 entry is not aligned to a cluster").message};
    if (entry & kQcow2Zero && header_.version >= 3)
        place.kind = Kind::Zero;
    else if (place.host)
        place.kind = Kind::Data;
    return place;
}

Result<u8*> Qcow2Image::l2_for_reading(u64 l1_index) {
    const u64 offset = l1_index < l1_.size() ? l1_[l1_index] & kQcow2OffsetMask : 0;
    if (offset == 0) return static_cast<u8*>(nullptr);
    if (offset & (header_.cluster() - 1))
        return Error{corrupt("an L1 entry is not aligned to a cluster").message};
    return l2_.load(offset);
}

Result<Qcow2Image::Place> Qcow2Image::place_of(u64 guest_cluster) {
    auto l2 = l2_for_reading(guest_cluster / header_.l2_entries());
    if (!l2) return l2.error();
    if (!*l2) return Place{};
    return decode(get_be<u64>(*l2 + guest_cluster % header_.l2_entries() * 8));
}

Result<Qcow2Image::Run> Qcow2Image::run_at(u64 at, u64 count) {
    const std::lock_guard guard(tables_);
    const u64 cluster = header_.cluster(), first = at >> header_.cluster_bits;
    auto place = place_of(first);
    if (!place) return place.error();
    Run run{*place, std::min(count, cluster - (at & (cluster - 1)))};
    if (run.place.kind == Kind::Compressed) return run;
    for (u64 n = first + 1; run.bytes < count; ++n) {
        const auto next = place_of(n);
        if (!next) return next.error();
        const Place& p = next.value();
        if (p.kind != run.place.kind || p.ours != run.place.ours) break;
        if (p.kind == Kind::Data && p.host != run.place.host + ((n - first) << header_.cluster_bits)) break;
        run.bytes = std::min(count, run.bytes + cluster);
    }
    return run;
}

Outcome Qcow2Image::grow_l1(u64 entries) {
    if (entries <= l1_.size()) return {};
    if (entries * 8 > 32 * MiB) return {BlockStatus::NoSpace, about("too large for its cluster size")};
    const u64 clusters = header_.clusters(entries * 8);
    const auto place = refcounts_.allocate(clusters);
    if (!place) return fault(place.error());
    const Clusters old{header_.l1_offset >> header_.cluster_bits, header_.clusters(l1_.size() * 8)};
    l1_.resize(entries);
    header_.l1_offset = place.value() << header_.cluster_bits;
    header_.l1_entries = u32(entries);
    l1_dirty_ = true;
    if (Outcome o = write_tables(); o.failed()) return o;
    u8 field[12];
    put_be<u32>(field, header_.l1_entries);
    put_be<u64>(field + 4, header_.l1_offset);
    if (Outcome o = file_->write(kQcow2L1Size, field, sizeof field); o.failed()) return o;
    if (old.count) released_.push_back(old);
    return file_->sync();
}

Result<u64> Qcow2Image::l2_for_writing(u64 l1_index) {
    if (Outcome o = grow_l1(l1_index + 1); o.failed()) return Error{o.message};
    const u64 entry = l1_[l1_index], offset = entry & kQcow2OffsetMask;
    if (offset && entry & kQcow2Copied) {
        if (auto table = l2_for_reading(l1_index); !table) return table.error();
        return offset;
    }
    // A new table, or a copy of one that a snapshot shares.
    std::vector<u8> content;
    if (offset) {
        const auto shared = l2_for_reading(l1_index);
        if (!shared) return shared.error();
        content.assign(shared.value(), shared.value() + header_.cluster());
    }
    const auto place = allocate(1);
    if (!place) return place.error();
    const u64 fresh = place.value();
    u8* table = l2_.create(fresh);
    std::copy(content.begin(), content.end(), table);
    if (offset) released_.push_back({offset >> header_.cluster_bits, 1});
    l1_[l1_index] = fresh | kQcow2Copied;
    l1_dirty_ = true;
    return fresh;
}

Outcome Qcow2Image::release(u64 entry, bool punch) {
    const auto place = decode(entry);
    if (!place) return fault(place.error());
    const Place& p = place.value();
    if (p.host == 0) return {};
    const u64 first = p.host >> header_.cluster_bits,
              last = (p.host + p.host_bytes - 1) >> header_.cluster_bits;
    released_.push_back({first, last - first + 1, punch && p.kind != Kind::Compressed});
    return {};
}

// A last line of defence against images whose tables contradict each other.
bool Qcow2Image::overlaps_metadata(u64 host, u64 bytes) const {
    const auto touches = [&](u64 at, u64 size) { return host < at + size && at < host + bytes; };
    return touches(0, header_.cluster()) || touches(header_.l1_offset, l1_.size() * 8) ||
           touches(header_.refcount_table_offset,
                   u64{header_.refcount_table_clusters} << header_.cluster_bits);
}

Result<u64> Qcow2Image::allocate(u64 clusters) {
    const auto first = refcounts_.allocate(clusters);
    if (!first) return first.error();
    const u64 host = first.value() << header_.cluster_bits;
    if (overlaps_metadata(host, clusters << header_.cluster_bits))
        return Error{corrupt("the reference counts say that a table's cluster is free").message};
    return host;
}

Outcome Qcow2Image::set_entry(u64 guest_cluster, u64 entry, bool punch) {
    const auto table = l2_for_writing(guest_cluster / header_.l2_entries());
    if (!table) return fault(table.error());
    auto l2 = l2_.load(table.value());
    if (!l2) return fault(l2.error());
    u8* at = *l2 + guest_cluster % header_.l2_entries() * 8;
    const u64 before = get_be<u64>(at);
    const bool same_cluster = !(before & kQcow2Compressed) && !(entry & kQcow2Compressed) &&
                              (before & kQcow2OffsetMask) == (entry & kQcow2OffsetMask);
    if (!same_cluster)
        if (Outcome o = release(before, punch); o.failed()) return o;
    put_be<u64>(at, entry);
    l2_.changed(table.value());
    return {};
}

// Before tables change: room in the caches, and nothing that speaks against writing.
Outcome Qcow2Image::prepare_change() {
    if (read_only_) return {BlockStatus::ReadOnly, about("is read-only")};
    if (failed_) return {BlockStatus::IoError, about("is corrupt, nothing more is written")};
    if (l2_.crowded() || released_.size() > 65536) return write_tables();
    return {};
}

} // namespace dragoman::block
