// Counts what refers to each cluster of a qcow2 image and compares that with its reference counts.
#include "block/big_endian.h"
#include "block/qcow2.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace dragoman::block {

namespace {

[[gnu::format(printf, 1, 2)]] std::string text(const char* format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return line;
}

using ull = unsigned long long;
constexpr u64 kMostClusters = u64{1} << 28;

} // namespace

class Qcow2Checker {
  public:
    Qcow2Checker(Qcow2Image& image, Qcow2Repair repair)
        : image_(image), h_(image.header_), repair_(repair), clusters_(h_.clusters(image.file_->bytes())) {}

    Result<Qcow2Check> run() {
        if (clusters_ > kMostClusters) return Error{image_.about("has too many clusters to be checked")};
        references_.resize(clusters_);
        if (auto loaded = image_.refcounts_.load(); !loaded) {
            error(loaded.error().message);
            return result_;
        }
        refer(0, h_.cluster());
        result_.clusters = h_.clusters(image_.size_);
        if (auto s = count_l1(image_.l1_, h_.l1_offset, true); !s) return s.error();
        for (const Qcow2Snapshot& snapshot : image_.snapshots_) {
            const auto l1 = image_.read_l1(snapshot.l1_offset, snapshot.l1_entries);
            if (!l1)
                error(text("ERROR snapshot %s '%s' has a bad L1 table", snapshot.id.c_str(),
                           snapshot.name.c_str()));
            else if (auto s = count_l1(l1.value(), snapshot.l1_offset, false); !s)
                return s.error();
        }
        count_snapshot_table();
        refer(h_.refcount_table_offset, u64{h_.refcount_table_clusters} << h_.cluster_bits);
        for (u64 n = 0; n < image_.refcounts_.table_entries(); ++n)
            if (const u64 block = image_.refcounts_.table_entry(n)) refer(block, h_.cluster());
        if (auto s = compare(); !s) return s.error();
        if (auto s = check_copied(); !s) return s.error();
        if (auto s = finish(); !s) return s.error();
        return result_;
    }

  private:
    void error(std::string message) {
        ++result_.corruptions;
        say(std::move(message));
    }
    void say(std::string message) {
        if (result_.messages.size() < 1000) result_.messages.push_back(std::move(message));
    }
    void fixed(bool leak) { ++(leak ? result_.leaks_fixed : result_.corruptions_fixed); }

    void refer(u64 offset, u64 bytes) {
        if (bytes == 0) return;
        const u64 first = offset >> h_.cluster_bits, last = (offset + bytes - 1) >> h_.cluster_bits;
        if (last >= clusters_) {
            error(text(
                "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
                "offset 0x%llx size 0x%llx",
                ull(offset), ull(bytes)));
            return;
        }
        for (u64 n = first; n <= last; ++n)
            if (references_[n] != 0xffffffff) ++references_[n];
    }

    Status count_l1(const std::vector<u64>& l1, u64 l1_offset, bool active) {
        refer(l1_offset, l1.size() * 8);
        for (const u64 entry : l1) {
            const u64 table = entry & kQcow2OffsetMask;
            if (!table) continue;
            if (table & (h_.cluster() - 1)) {
                error(text("ERROR l2_offset=%llx: Table is not cluster aligned; L1 entry corrupted",
                           ull(table)));
                continue;
            }
            refer(table, h_.cluster());
            auto l2 = image_.l2_.load(table);
            if (!l2) return l2.error();
            next_ = 0;
            for (u64 n = 0; n < h_.l2_entries(); ++n)
                count_l2_entry(get_be<u64>(*l2 + n * 8), active);
        }
        return Ok{};
    }

    void count_l2_entry(u64 entry, bool active) {
        if (entry & kQcow2Compressed) {
            const unsigned shift = 62 - (h_.cluster_bits - 8);
            const u64 sectors = ((entry & ~(kQcow2Copied | kQcow2Compressed)) >> shift) + 1;
            const u64 offset = entry & ((u64{1} << shift) - 1);
            if (entry & kQcow2Copied)
                error(text("ERROR: coffset=0x%llx: copied flag must never be set for compressed clusters",
                           ull(offset)));
            refer(offset & ~u64{511}, sectors * 512);
            if (active) ++result_.allocated, ++result_.compressed, ++result_.fragmented;
            return;
        }
        const u64 offset = entry & kQcow2OffsetMask;
        if (!offset) return;
        if (offset & (h_.cluster() - 1)) {
            error(
                text("ERROR offset=%llx: Cluster is not properly aligned; L2 entry corrupted.", ull(offset)));
            return;
        }
        refer(offset, h_.cluster());
        if (!active) return;
        ++result_.allocated;
        if (next_ && offset != next_) ++result_.fragmented;
        next_ = offset + h_.cluster();
    }

    void count_snapshot_table() {
        u64 bytes = 0;
        for (u32 n = 0; n < h_.snapshot_count; ++n) {
            u8 head[40];
            if (image_.file_->read(h_.snapshots_offset + bytes, head, sizeof head).failed()) return;
            const u64 tail = get_be<u16>(head + 12) + get_be<u16>(head + 14) + u64{get_be<u32>(head + 36)};
            bytes = (bytes + 40 + tail + 7) & ~u64{7};
        }
        refer(h_.snapshots_offset, bytes);
    }

    Status compare() {
        const u64 counted = image_.refcounts_.table_entries() * image_.refcounts_.counts_per_block();
        // Counts of clusters behind the end of the file are leaks as well; blocks are sparse, so look only
        // there.
        for (u64 n = 0; n < std::max(clusters_, counted); ++n) {
            if (n >= clusters_ &&
                image_.refcounts_.table_entry(n / image_.refcounts_.counts_per_block()) == 0) {
                n |= image_.refcounts_.counts_per_block() - 1;
                continue;
            }
            const auto stored = image_.refcounts_.get(n);
            if (!stored) return stored.error();
            const u64 count = stored.value(), wanted = n < clusters_ ? references_[n] : 0;
            if (wanted) result_.end_offset = (n + 1) << h_.cluster_bits;
            if (count == wanted) continue;
            const bool leak = count > wanted;
            ++(leak ? result_.leaks : result_.corruptions);
            const bool repair = repair_ == Qcow2Repair::All || (leak && repair_ == Qcow2Repair::Leaks);
            say(text("%s cluster %llu refcount=%llu reference=%llu",
                     repair ? "Repairing"
                     : leak ? "Leaked"
                            : "ERROR",
                     ull(n), ull(count), ull(wanted)));
            if (!repair) continue;
            if (wanted > image_.refcounts_.max()) continue;
            if (Outcome o = image_.refcounts_.set(n, wanted); o.failed()) return Error{o.message};
            fixed(leak);
        }
        return Ok{};
    }

    u64 references_to(u64 offset) const {
        const u64 n = offset >> h_.cluster_bits;
        return n < clusters_ ? references_[n] : 0;
    }

    Status check_copied() {
        u64 wrong = 0;
        for (const u64 entry : image_.l1_) {
            const u64 table = entry & kQcow2OffsetMask;
            if (!table || table & (h_.cluster() - 1)) continue;
            if ((references_to(table) == 1) != ((entry & kQcow2Copied) != 0)) {
                ++wrong;
                error(text("ERROR OFLAG_COPIED L2 cluster: l1_entry=%llx refcount=%llu", ull(entry),
                           ull(references_to(table))));
            }
            auto l2 = image_.l2_.load(table);
            if (!l2) return l2.error();
            for (u64 n = 0; n < h_.l2_entries(); ++n) {
                const u64 e = get_be<u64>(*l2 + n * 8), offset = e & kQcow2OffsetMask;
                if (e & kQcow2Compressed || !offset || offset & (h_.cluster() - 1)) continue;
                if ((references_to(offset) == 1) == ((e & kQcow2Copied) != 0)) continue;
                ++wrong;
                error(text("ERROR OFLAG_COPIED data cluster: l2_entry=%llx refcount=%llu", ull(e),
                           ull(references_to(offset))));
            }
        }
        if (!wrong || repair_ != Qcow2Repair::All) return Ok{};
        if (auto s = image_.update_copied_flags(); !s) return s;
        result_.corruptions_fixed += wrong;
        return Ok{};
    }

    Status finish() {
        if (repair_ == Qcow2Repair::None) return Ok{};
        if (Outcome o = image_.write_tables(); o.failed()) return Error{o.message};
        if (Outcome o = image_.file_->sync(); o.failed()) return Error{o.message};
        const u64 marks = kQcow2Dirty | kQcow2Corrupt;
        if (repair_ == Qcow2Repair::All && result_.corruptions == result_.corruptions_fixed &&
            h_.incompatible & marks)
            if (Outcome o = image_.set_incompatible(h_.incompatible & ~marks); o.failed())
                return Error{o.message};
        return Ok{};
    }

    Qcow2Image& image_;
    const Qcow2Header& h_;
    Qcow2Repair repair_;
    u64 clusters_, next_ = 0;
    std::vector<u32> references_;
    Qcow2Check result_;
};

Result<Qcow2Check> Qcow2Image::check(Qcow2Repair repair) {
    const std::unique_lock lock(lock_);
    if (header_.bitmaps) return Error{about("holds bitmaps, which are not built: it cannot be checked")};
    if (repair != Qcow2Repair::None && read_only_) return Error{about("is read-only")};
    return Qcow2Checker(*this, repair).run();
}

} // namespace dragoman::block
