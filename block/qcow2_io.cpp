// Reading and writing the disk of a qcow2 image.
#include "block/qcow2.h"

#include <algorithm>
#include <cstring>

namespace dragoman::block {

namespace {
constexpr u64 kLargestPiece = 2 * MiB; // of one allocation
}

Outcome Qcow2Image::read_below(u64 at, u8* to, u64 count) {
    const u64 there = backing_ && at < backing_->bytes() ? std::min(count, backing_->bytes() - at) : 0;
    std::memset(to + there, 0, count - there);
    return there ? backing_->read(at, to, there) : Outcome{};
}

Outcome Qcow2Image::read_compressed(const Place& place, u64 skip, u8* to, u64 count) {
    const std::lock_guard guard(unpacked_);
    if (unpacked_at_ != place.host) {
        std::vector<u8> packed(place.host_bytes);
        if (Outcome o = file_->read(place.host, packed.data(), packed.size()); o.failed()) return o;
        unpacked_bytes_.resize(header_.cluster());
        unpacked_at_ = ~u64{0};
        if (!decompress(header_.compression, packed.data(), packed.size(), unpacked_bytes_.data(),
                        unpacked_bytes_.size()))
            return {BlockStatus::IoError, about("a compressed cluster cannot be decompressed")};
        unpacked_at_ = place.host;
    }
    std::memcpy(to, unpacked_bytes_.data() + skip, count);
    return {};
}

Outcome Qcow2Image::read_run(const Run& run, u64 at, u8* to) {
    const u64 skip = at & (header_.cluster() - 1);
    switch (run.place.kind) {
    case Kind::Absent: return read_below(at, to, run.bytes);
    case Kind::Zero: std::memset(to, 0, run.bytes); return {};
    case Kind::Data: return file_->read(run.place.host + skip, to, run.bytes);
    case Kind::Compressed: return read_compressed(run.place, skip, to, run.bytes);
    }
    return {};
}

Outcome Qcow2Image::read_locked(u64 at, u8* to, u64 count) {
    while (count != 0) {
        const auto run = run_at(at, count);
        if (!run) return fault(run.error());
        if (Outcome o = read_run(run.value(), at, to); o.failed()) return o;
        at += run.value().bytes;
        to += run.value().bytes;
        count -= run.value().bytes;
    }
    return {};
}

Outcome Qcow2Image::read(u64 at, u8* to, u64 count) {
    const std::shared_lock lock(lock_);
    return read_locked(at, to, count);
}

u64 Qcow2Image::new_clusters(u64 first, u64 most) {
    const std::lock_guard guard(tables_);
    u64 n = 1;
    for (; n < most; ++n) {
        const auto place = place_of(first + n);
        if (!place || place.value().ours) break;
    }
    return n;
}

// The first cluster is not one that can be written where it is.
Outcome Qcow2Image::write_new(u64 at, const u8* from, u64 count) {
    const u64 cluster = header_.cluster(), first = at >> header_.cluster_bits;
    Place old;
    {
        const std::lock_guard guard(tables_);
        const auto place = place_of(first);
        if (!place) return fault(place.error());
        old = place.value();
    }
    const bool reuse = old.kind == Kind::Zero && old.ours;
    const u64 start = first << header_.cluster_bits;
    const u64 whole = count + (at - start), all = (whole + cluster - 1) & ~(cluster - 1);
    const u64 most = std::max<u64>(1, std::min(kLargestPiece, all) >> header_.cluster_bits);
    const u64 n = reuse ? 1 : new_clusters(first, most);
    const u64 end = start + n * cluster, written = std::min(count, end - at);

    u64 host = old.host;
    if (!reuse) {
        const auto place = allocate(n);
        if (!place) return fault(place.error());
        host = place.value();
    }
    const auto give_up = [&](Outcome o) {
        if (!reuse) refcounts_.not_referenced(host >> header_.cluster_bits, n);
        return o;
    };
    const bool nothing_below = old.kind == Kind::Zero || (old.kind == Kind::Absent && !backing_);
    if (n == 1 && nothing_below && !reuse && host >= file_->bytes()) {
        // Behind the end of the file everything else of the cluster is zero already.
        if (Outcome o = file_->write(host + (at - start), from, written); o.failed()) return give_up(o);
    } else if (at == start && written == n * cluster) {
        if (Outcome o = file_->write(host, from, written); o.failed()) return give_up(o);
    } else {
        std::vector<u8> content(n * cluster);
        const auto fill = [&](u64 where, u64 bytes) {
            const u64 inside = where < size_ ? std::min<u64>(bytes, size_ - where) : 0;
            return read_locked(where, content.data() + (where - start), inside);
        };
        if (Outcome o = fill(start, at - start); o.failed()) return give_up(o);
        if (Outcome o = fill(at + written, end - (at + written)); o.failed()) return give_up(o);
        std::memcpy(content.data() + (at - start), from, written);
        if (Outcome o = file_->write(host, content.data(), content.size()); o.failed()) return give_up(o);
    }
    for (u64 i = 0; i < n; ++i)
        if (Outcome o = set_entry(first + i, (host + i * cluster) | kQcow2Copied); o.failed()) return o;
    if (written == count) return {};
    return write_locked(at + written, from + written, count - written);
}

// With the lock held exclusively.
Outcome Qcow2Image::write_locked(u64 at, const u8* from, u64 count) {
    while (count != 0) {
        const auto run = run_at(at, std::min(count, kLargestPiece));
        if (!run) return fault(run.error());
        const Place& place = run.value().place;
        const u64 bytes = run.value().bytes;
        if (place.kind == Kind::Data && place.ours) {
            if (Outcome o = file_->write(place.host + (at & (header_.cluster() - 1)), from, bytes);
                o.failed())
                return o;
        } else {
            if (Outcome o = prepare_change(); o.failed()) return o;
            if (Outcome o = write_new(at, from, bytes); o.failed()) return o;
        }
        at += bytes;
        from += bytes;
        count -= bytes;
    }
    return {};
}

Outcome Qcow2Image::write(u64 at, const u8* from, u64 count) {
    if (read_only_) return {BlockStatus::ReadOnly, about("is read-only")};
    while (count != 0) {
        u64 done = 0;
        {
            const std::shared_lock lock(lock_);
            if (failed_) return {BlockStatus::IoError, about("is corrupt, nothing more is written")};
            const auto run = run_at(at, count);
            if (!run) return fault(run.error());
            const Place& place = run.value().place;
            if (place.kind == Kind::Data && place.ours) {
                done = run.value().bytes;
                const u64 host = place.host + (at & (header_.cluster() - 1));
                if (Outcome o = file_->write(host, from, done); o.failed()) return o;
            }
        }
        if (done == 0) {
            const std::unique_lock lock(lock_);
            done = std::min(count, kLargestPiece);
            if (Outcome o = write_locked(at, from, done); o.failed()) return o;
        }
        at += done;
        from += done;
        count -= done;
    }
    return {};
}

Outcome Qcow2Image::write_compressed(u64 at, const u8* from, u64 count) {
    const std::unique_lock lock(lock_);
    if (Outcome o = prepare_change(); o.failed()) return o;
    const u64 cluster = header_.cluster();
    std::vector<u8> padded(from, from + count);
    padded.resize(cluster);
    const std::vector<u8> packed = compress(header_.compression, padded.data(), cluster);
    if (packed.empty()) return write_locked(at, from, count);
    bool fits = tail_.left >= packed.size();
    if (fits) fits = !refcounts_.add(tail_.at >> header_.cluster_bits, 1).failed();
    if (!fits) {
        const auto place = allocate(1);
        if (!place) return fault(place.error());
        tail_ = {place.value(), cluster};
    }
    const u64 host = tail_.at;
    tail_.at += packed.size();
    tail_.left -= packed.size();
    if (Outcome o = file_->write(host, packed.data(), packed.size()); o.failed()) return o;
    const unsigned shift = 62 - (header_.cluster_bits - 8);
    const u64 sectors = ((host + packed.size() - 1) >> 9) - (host >> 9);
    return set_entry(at >> header_.cluster_bits, kQcow2Compressed | sectors << shift | host);
}

Outcome Qcow2Image::zero_cluster(u64 guest_cluster, bool unmap) {
    Place place;
    {
        const std::lock_guard guard(tables_);
        const auto found = place_of(guest_cluster);
        if (!found) return fault(found.error());
        place = found.value();
    }
    if (place.kind == Kind::Zero && !(unmap && place.host)) return {};
    if (place.kind == Kind::Absent && !backing_) return {};
    if (header_.version >= 3) {
        const u64 keep = place.ours && !unmap ? place.host | kQcow2Copied : 0;
        return set_entry(guest_cluster, keep | kQcow2Zero, unmap);
    }
    if (!backing_) return set_entry(guest_cluster, 0, unmap);
    const u64 start = guest_cluster << header_.cluster_bits;
    const std::vector<u8> zeroes(std::min<u64>(header_.cluster(), size_ - start));
    return write_locked(start, zeroes.data(), zeroes.size());
}

Outcome Qcow2Image::discard_cluster(u64 guest_cluster) {
    Place place;
    {
        const std::lock_guard guard(tables_);
        const auto found = place_of(guest_cluster);
        if (!found) return fault(found.error());
        place = found.value();
    }
    if (place.host == 0) return {};
    // With a backing file an absent cluster would bring old data back.
    if (!backing_) return set_entry(guest_cluster, 0, true);
    if (header_.version >= 3) return set_entry(guest_cluster, kQcow2Zero, true);
    return {};
}

Outcome Qcow2Image::write_zeroes(u64 at, u64 count, bool unmap) {
    const u64 cluster = header_.cluster(), end = at + count;
    while (at < end) {
        const std::unique_lock lock(lock_);
        if (Outcome o = prepare_change(); o.failed()) return o;
        const u64 next = std::min(end, (at | (cluster - 1)) + 1);
        const bool whole = (at & (cluster - 1)) == 0 && (next - at == cluster || next == size_);
        if (whole) {
            if (Outcome o = zero_cluster(at >> header_.cluster_bits, unmap); o.failed()) return o;
        } else {
            const std::vector<u8> zeroes(next - at);
            if (Outcome o = write_locked(at, zeroes.data(), zeroes.size()); o.failed()) return o;
        }
        at = next;
    }
    return {};
}

Outcome Qcow2Image::discard(u64 at, u64 count) {
    const u64 cluster = header_.cluster(), end = at + count == size_ ? at + count + cluster - 1 : at + count;
    for (u64 n = (at + cluster - 1) >> header_.cluster_bits; n < end >> header_.cluster_bits; ++n) {
        const std::unique_lock lock(lock_);
        if (Outcome o = prepare_change(); o.failed()) return o;
        if (Outcome o = discard_cluster(n); o.failed()) return o;
    }
    return {};
}

Result<Image::Extent> Qcow2Image::extent(u64 at, u64 limit) {
    const std::shared_lock lock(lock_);
    const auto run = run_at(at, limit);
    if (!run) return run.error();
    static constexpr Content contents[] = {Content::Backing, Content::Zero, Content::Data, Content::Data};
    return Extent{contents[unsigned(run.value().place.kind)], run.value().bytes};
}

} // namespace dragoman::block
