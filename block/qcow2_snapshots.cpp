// Internal snapshots of a qcow2 image: copies of the L1 table that share clusters with the active disk.
#include "block/big_endian.h"
#include "block/qcow2.h"

#include <algorithm>
#include <ctime>

namespace dragoman::block {

namespace {
constexpr u64 kMaxTable = 64 * MiB, kMaxExtra = 1024;
}

Result<std::vector<u64>> Qcow2Image::read_l1(u64 offset, u32 entries) {
    const u64 size = u64{entries} * 8;
    if (offset & (header_.cluster() - 1) || size > 32 * MiB || offset > file_->bytes() ||
        size > file_->bytes() - offset)
        return Error{about("an L1 table lies outside the file or is not aligned")};
    std::vector<u8> bytes(size);
    if (Outcome o = file_->read(offset, bytes.data(), size); o.failed()) return Error{o.message};
    std::vector<u64> table(entries);
    for (u32 n = 0; n < entries; ++n)
        table[n] = get_be<u64>(&bytes[u64{n} * 8]);
    return table;
}

Status Qcow2Image::load_snapshots() {
    snapshots_.clear();
    u64 at = header_.snapshots_offset;
    for (u32 n = 0; n < header_.snapshot_count; ++n) {
        u8 head[40];
        if (at + sizeof head > file_->bytes() || at - header_.snapshots_offset > kMaxTable)
            return Error{about("the snapshot table reaches beyond the file")};
        if (Outcome o = file_->read(at, head, sizeof head); o.failed()) return Error{o.message};
        Qcow2Snapshot s;
        s.l1_offset = get_be<u64>(head);
        s.l1_entries = get_be<u32>(head + 8);
        const u64 id_bytes = get_be<u16>(head + 12), name_bytes = get_be<u16>(head + 14);
        s.date_seconds = get_be<u32>(head + 16);
        s.date_nanoseconds = get_be<u32>(head + 20);
        s.vm_clock = get_be<u64>(head + 24);
        s.vm_state_bytes = get_be<u32>(head + 32);
        const u64 extra_bytes = get_be<u32>(head + 36);
        if (extra_bytes > kMaxExtra) return Error{about("a snapshot with too much extra data")};
        std::vector<u8> rest(extra_bytes + id_bytes + name_bytes);
        if (Outcome o = file_->read(at + 40, rest.data(), rest.size()); o.failed()) return Error{o.message};
        s.size = header_.size;
        if (extra_bytes >= 8) s.vm_state_bytes = get_be<u64>(&rest[0]);
        if (extra_bytes >= 16) s.size = get_be<u64>(&rest[8]);
        if (extra_bytes >= 24) s.icount = get_be<u64>(&rest[16]);
        s.id.assign(rest.begin() + std::ptrdiff_t(extra_bytes),
                    rest.begin() + std::ptrdiff_t(extra_bytes + id_bytes));
        s.name.assign(rest.begin() + std::ptrdiff_t(extra_bytes + id_bytes), rest.end());
        snapshots_.push_back(std::move(s));
        at = (at + 40 + rest.size() + 7) & ~u64{7};
    }
    return Ok{};
}

Result<std::size_t> Qcow2Image::find_snapshot(const std::string& id_or_name) const {
    for (const bool by_id : {true, false})
        for (std::size_t n = 0; n < snapshots_.size(); ++n)
            if ((by_id ? snapshots_[n].id : snapshots_[n].name) == id_or_name) return n;
    return Error{about("there is no snapshot '" + id_or_name + "'")};
}

// The table anew, in a new place; the header is switched over when it is there.
Status Qcow2Image::write_snapshots() {
    std::vector<u8> bytes;
    const auto put = [&](auto value) {
        bytes.resize(bytes.size() + sizeof value);
        put_be(&bytes[bytes.size() - sizeof value], value);
    };
    for (const Qcow2Snapshot& s : snapshots_) {
        put(s.l1_offset);
        put(s.l1_entries);
        put(u16(s.id.size()));
        put(u16(s.name.size()));
        put(s.date_seconds);
        put(s.date_nanoseconds);
        put(s.vm_clock);
        put(u32(s.vm_state_bytes > 0xffffffff ? 0 : s.vm_state_bytes));
        put(u32{24});
        put(s.vm_state_bytes);
        put(s.size);
        put(s.icount);
        bytes.insert(bytes.end(), s.id.begin(), s.id.end());
        bytes.insert(bytes.end(), s.name.begin(), s.name.end());
        bytes.resize((bytes.size() + 7) & ~std::size_t{7});
    }
    // How long the old table is only its contents say; they were in the file as they were read.
    const u64 old = header_.snapshots_offset, old_count = header_.snapshot_count;
    u64 old_bytes = 0;
    for (u64 n = 0; n < old_count; ++n) {
        u8 head[40];
        if (Outcome o = file_->read(old + old_bytes, head, sizeof head); o.failed()) return Error{o.message};
        const u64 tail = get_be<u16>(head + 12) + get_be<u16>(head + 14) + u64{get_be<u32>(head + 36)};
        old_bytes = (old_bytes + 40 + tail + 7) & ~u64{7};
    }
    u64 place = 0;
    if (!bytes.empty()) {
        const auto found = allocate(header_.clusters(bytes.size()));
        if (!found) return found.error();
        place = found.value();
        if (Outcome o = file_->write(place, bytes.data(), bytes.size()); o.failed()) return Error{o.message};
    }
    if (Outcome o = write_tables(); o.failed()) return Error{o.message};
    if (Outcome o = file_->sync(); o.failed()) return Error{o.message};
    u8 field[12];
    put_be<u32>(field, u32(snapshots_.size()));
    put_be<u64>(field + 4, place);
    if (Outcome o = file_->write(kQcow2SnapshotCount, field, sizeof field); o.failed())
        return Error{o.message};
    header_.snapshot_count = u32(snapshots_.size());
    header_.snapshots_offset = place;
    if (old_bytes) released_.push_back({old >> header_.cluster_bits, header_.clusters(old_bytes)});
    return Ok{};
}

// One reference more or less to everything that `l1` leads to.
Status Qcow2Image::count_references(const std::vector<u64>& l1, bool up) {
    const auto change = [&](u64 first, u64 count) -> Status {
        if (!up) {
            released_.push_back({first, count});
            return Ok{};
        }
        if (Outcome o = refcounts_.add(first, count); o.failed()) return Error{o.message};
        return Ok{};
    };
    for (const u64 entry : l1) {
        const u64 table = entry & kQcow2OffsetMask;
        if (!table) continue;
        if (table & (header_.cluster() - 1)) return Error{about("an L1 entry is not aligned to a cluster")};
        auto loaded = l2_.load(table);
        if (!loaded) return loaded.error();
        const std::vector<u8> l2(*loaded, *loaded + header_.cluster());
        for (u64 n = 0; n < header_.l2_entries(); ++n) {
            const auto place = decode(get_be<u64>(&l2[n * 8]));
            if (!place) return place.error();
            const Place& p = place.value();
            if (!p.host) continue;
            const u64 first = p.host >> header_.cluster_bits;
            if (auto s = change(first, ((p.host + p.host_bytes - 1) >> header_.cluster_bits) - first + 1); !s)
                return s;
        }
        if (auto s = change(table >> header_.cluster_bits, 1); !s) return s;
    }
    return Ok{};
}

// The COPIED flags of the active tables say again what the reference counts say.
Status Qcow2Image::update_copied_flags() {
    const auto single = [&](u64 offset) -> Result<bool> {
        const auto count = refcounts_.get(offset >> header_.cluster_bits);
        if (!count) return count.error();
        return count.value() == 1;
    };
    for (u64& entry : l1_) {
        const u64 table = entry & kQcow2OffsetMask;
        if (!table) continue;
        const auto own = single(table);
        if (!own) return own.error();
        const u64 wanted = table | (own.value() ? kQcow2Copied : 0);
        if (entry != wanted) l1_dirty_ = true;
        entry = wanted;
        for (u64 n = 0; n < header_.l2_entries(); ++n) {
            auto l2 = l2_.load(table);
            if (!l2) return l2.error();
            const u64 before = get_be<u64>(*l2 + n * 8), host = before & kQcow2OffsetMask;
            if (before & kQcow2Compressed || !host) continue;
            const auto one = single(host);
            if (!one) return one.error();
            const u64 after = (before & ~kQcow2Copied) | (one.value() ? kQcow2Copied : 0);
            if (after == before) continue;
            put_be<u64>(*l2 + n * 8, after);
            l2_.changed(table);
        }
        if (l2_.crowded())
            if (Outcome o = write_tables(); o.failed()) return Error{o.message};
    }
    return Ok{};
}

Status Qcow2Image::create_snapshot(const std::string& name) {
    const std::unique_lock lock(lock_);
    if (read_only_) return Error{about("is read-only")};
    if (Outcome o = write_tables(); o.failed()) return Error{o.message};
    u64 highest = 0;
    for (const Qcow2Snapshot& s : snapshots_)
        highest = std::max<u64>(highest, std::strtoull(s.id.c_str(), nullptr, 10));
    if (auto s = count_references(l1_, true); !s) return s;
    const auto place = allocate(header_.clusters(std::max<u64>(l1_.size(), 1) * 8));
    if (!place) return place.error();
    if (auto s = update_copied_flags(); !s) return s;
    std::vector<u8> bytes(l1_.size() * 8);
    for (std::size_t n = 0; n < l1_.size(); ++n)
        put_be<u64>(&bytes[n * 8], l1_[n] & ~kQcow2Copied);
    if (Outcome o = file_->write(place.value(), bytes.data(), bytes.size()); o.failed())
        return Error{o.message};
    std::timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    Qcow2Snapshot s;
    s.id = std::to_string(highest + 1);
    s.name = name;
    s.l1_offset = place.value();
    s.l1_entries = u32(l1_.size());
    s.size = size_;
    s.date_seconds = u32(now.tv_sec);
    s.date_nanoseconds = u32(now.tv_nsec);
    snapshots_.push_back(s);
    if (auto written = write_snapshots(); !written) return written;
    if (Outcome o = write_tables(); o.failed()) return Error{o.message};
    return Ok{};
}

Status Qcow2Image::apply_snapshot(const std::string& id_or_name) {
    const std::unique_lock lock(lock_);
    if (read_only_) return Error{about("is read-only")};
    const auto n = find_snapshot(id_or_name);
    if (!n) return n.error();
    const Qcow2Snapshot s = snapshots_[n.value()];
    if (s.size != size_)
        return Error{about("the snapshot's disk has " + std::to_string(s.size) + " bytes (expected " +
                           std::to_string(size_) + ": resize the image first)")};
    auto l1 = read_l1(s.l1_offset, s.l1_entries);
    if (!l1) return l1.error();
    if (l1->size() > l1_.size())
        if (Outcome o = grow_l1(l1->size()); o.failed()) return Error{o.message};
    l1->resize(l1_.size());
    if (auto counted = count_references(*l1, true); !counted) return counted;
    if (auto counted = count_references(l1_, false); !counted) return counted;
    l1_ = *l1;
    for (u64& entry : l1_)
        entry &= ~kQcow2Copied;
    l1_dirty_ = true;
    if (Outcome o = write_tables(); o.failed()) return Error{o.message};
    if (auto updated = update_copied_flags(); !updated) return updated;
    if (Outcome o = write_tables(); o.failed()) return Error{o.message};
    return Ok{};
}

Status Qcow2Image::delete_snapshot(const std::string& id_or_name) {
    const std::unique_lock lock(lock_);
    if (read_only_) return Error{about("is read-only")};
    const auto n = find_snapshot(id_or_name);
    if (!n) return n.error();
    const Qcow2Snapshot s = snapshots_[n.value()];
    const auto l1 = read_l1(s.l1_offset, s.l1_entries);
    if (!l1) return l1.error();
    snapshots_.erase(snapshots_.begin() + std::ptrdiff_t(n.value()));
    if (auto written = write_snapshots(); !written) return written;
    // Nothing in the file refers to it any more.
    if (auto counted = count_references(l1.value(), false); !counted) return counted;
    released_.push_back(
        {s.l1_offset >> header_.cluster_bits, header_.clusters(std::max<u64>(l1.value().size(), 1) * 8)});
    if (Outcome o = write_tables(); o.failed()) return Error{o.message};
    if (auto updated = update_copied_flags(); !updated) return updated;
    if (Outcome o = write_tables(); o.failed()) return Error{o.message};
    return Ok{};
}

} // namespace dragoman::block
