#include "block/qcow2_refcounts.h"

#include "block/big_endian.h"

#include <algorithm>
#include <iterator>

namespace dragoman::block {

namespace {
constexpr u64 kCacheBytes = 16 * MiB;
constexpr u64 kMaxTableBytes = 8 * MiB;
} // namespace

Qcow2Refcounts::Qcow2Refcounts(HostFile& file, Qcow2Header& header)
    : file_(file), header_(header), blocks_(file, header.cluster(), kCacheBytes) {}

Status Qcow2Refcounts::load() {
    std::vector<u8> bytes(u64{header_.refcount_table_clusters} << header_.cluster_bits);
    if (Outcome o = file_.read(header_.refcount_table_offset, bytes.data(), bytes.size()); o.failed())
        return Error{o.message};
    table_.resize(bytes.size() / 8);
    for (u64 n = 0; n < table_.size(); ++n)
        table_[n] = get_be<u64>(&bytes[n * 8]);
    std::vector<u64> blocks;
    std::copy_if(table_.begin(), table_.end(), std::back_inserter(blocks),
                 [](u64 offset) { return offset != 0; });
    std::sort(blocks.begin(), blocks.end());
    const bool twice = std::adjacent_find(blocks.begin(), blocks.end()) != blocks.end();
    const auto misplaced = [&](u64 offset) {
        return offset & (header_.cluster() - 1) || offset >= file_.bytes();
    };
    if (twice || std::any_of(blocks.begin(), blocks.end(), misplaced))
        return Error{
            "disk image '" + file_.path() +
            "': a reference count block is not where one can be (expected read-only use, or a check)"};
    return Ok{};
}

u64 Qcow2Refcounts::get_in(const u8* block, u64 index) const {
    switch (header_.refcount_order) {
    case 4: return get_be<u16>(block + index * 2);
    case 3: return block[index];
    case 5: return get_be<u32>(block + index * 4);
    case 6: return get_be<u64>(block + index * 8);
    default: { // several in a byte, the first one in the low bits
        const unsigned bits = 1u << header_.refcount_order;
        const u64 at = index * bits;
        return block[at / 8] >> (at % 8) & ((1u << bits) - 1);
    }
    }
}

void Qcow2Refcounts::set_in(u8* block, u64 index, u64 count) const {
    switch (header_.refcount_order) {
    case 4: put_be<u16>(block + index * 2, u16(count)); break;
    case 3: block[index] = u8(count); break;
    case 5: put_be<u32>(block + index * 4, u32(count)); break;
    case 6: put_be<u64>(block + index * 8, count); break;
    default: {
        const unsigned bits = 1u << header_.refcount_order;
        const u64 at = index * bits;
        const unsigned mask = ((1u << bits) - 1) << (at % 8);
        block[at / 8] = u8((block[at / 8] & ~mask) | (count << (at % 8) & mask));
    }
    }
}

Result<u8*> Qcow2Refcounts::block_of(u64 cluster) {
    const u64 range = cluster / counts_per_block();
    if (range >= table_.size() || table_[range] == 0) return static_cast<u8*>(nullptr);
    return blocks_.load(table_[range]);
}

Result<u64> Qcow2Refcounts::get(u64 cluster) {
    auto block = block_of(cluster);
    if (!block) return block.error();
    return *block ? get_in(*block, cluster % counts_per_block()) : u64{0};
}

Outcome Qcow2Refcounts::set(u64 cluster, u64 count) {
    const u64 range = cluster / counts_per_block();
    if (Outcome o = need_block(range); o.failed()) return o;
    auto block = block_of(cluster);
    if (!block) return to_outcome(block.error());
    set_in(*block, cluster % counts_per_block(), count);
    blocks_.changed(table_[range]);
    if (count == 0) hint_ = std::min(hint_, cluster);
    return {};
}

Outcome Qcow2Refcounts::add(u64 cluster, u64 clusters) {
    for (u64 n = cluster; n < cluster + clusters; ++n) {
        const auto count = get(n);
        if (!count) return to_outcome(count.error());
        if (count.value() >= max())
            return {BlockStatus::NoSpace,
                    "disk image '" + file_.path() + "': a cluster has too many references"};
        if (Outcome o = set(n, count.value() + 1); o.failed()) return o;
    }
    return {};
}

Result<u64> Qcow2Refcounts::drop(u64 cluster) {
    const auto count = get(cluster);
    if (!count) return count.error();
    if (count.value() == 0)
        return Error{"disk image '" + file_.path() +
                     "': a cluster in use has no references (expected a clean check)"};
    if (Outcome o = set(cluster, count.value() - 1); o.failed()) return Error{o.message};
    return count.value() - 1;
}

Result<u64> Qcow2Refcounts::find_free(u64 count) {
    u64 run = 0;
    bool first = true;
    for (u64 cluster = hint_;; ++cluster) {
        auto block = block_of(cluster);
        if (!block) return block.error();
        if (!*block || get_in(*block, cluster % counts_per_block()) == 0) {
            if (std::exchange(first, false)) hint_ = cluster;
            if (++run == count) return cluster + 1 - count;
        } else {
            run = 0;
        }
    }
}

Outcome Qcow2Refcounts::grow_table(u64 entries) {
    if (entries <= table_.size()) return {};
    const u64 per_cluster = header_.l2_entries();
    const u64 clusters = (std::max(entries, table_.size() * 3 / 2) + per_cluster - 1) / per_cluster;
    if (clusters << header_.cluster_bits > kMaxTableBytes)
        return {BlockStatus::NoSpace,
                "disk image '" + file_.path() + "': the image is as large as its format allows"};
    table_.resize(clusters * per_cluster);
    table_dirty_ = true;
    const auto place = allocate(clusters);
    if (!place) return to_outcome(place.error());
    // The table in the file keeps its place until write() has moved it; only the latest new place counts.
    if (old_table_.second == 0)
        old_table_ = {header_.refcount_table_offset >> header_.cluster_bits, header_.refcount_table_clusters};
    else
        not_referenced(header_.refcount_table_offset >> header_.cluster_bits,
                       header_.refcount_table_clusters);
    header_.refcount_table_offset = place.value() << header_.cluster_bits;
    header_.refcount_table_clusters = u32(clusters);
    return {};
}

// Each block is counted by itself or by another one; a block goes to the first free cluster.
Outcome Qcow2Refcounts::need_block(u64 range) {
    if (Outcome o = grow_table(range + 1); o.failed()) return o;
    while (table_[range] == 0) {
        const auto place = find_free(1);
        if (!place) return to_outcome(place.error());
        const u64 cluster = place.value(), own = cluster / counts_per_block();
        if (own != range) {
            if (own >= table_.size() || table_[own] == 0) {
                if (Outcome o = need_block(own); o.failed()) return o;
                continue; // the free cluster may be taken now
            }
            if (Outcome o = set(cluster, 1); o.failed()) return o;
        }
        u8* block = blocks_.create(cluster << header_.cluster_bits);
        if (own == range) set_in(block, cluster % counts_per_block(), 1);
        table_[range] = cluster << header_.cluster_bits;
        table_dirty_ = true;
    }
    return {};
}

Result<u64> Qcow2Refcounts::allocate(u64 count) {
    for (;;) {
        const auto found = find_free(count);
        if (!found) return found.error();
        const u64 first = found.value(), last = first + count - 1;
        bool complete = true;
        for (u64 range = first / counts_per_block(); range <= last / counts_per_block(); ++range) {
            if (range < table_.size() && table_[range] != 0) continue;
            complete = false;
            if (Outcome o = need_block(range); o.failed()) return Error{o.message};
        }
        if (!complete) continue; // a block may have taken one of them
        for (u64 cluster = first; cluster <= last; ++cluster)
            if (Outcome o = set(cluster, 1); o.failed()) return Error{o.message};
        if (first == hint_) hint_ = last + 1;
        return first;
    }
}

void Qcow2Refcounts::not_referenced(u64 cluster, u64 count) {
    for (u64 n = cluster; n < cluster + count; ++n)
        (void)set(n, 0);
}

Outcome Qcow2Refcounts::write() {
    if (!dirty()) return {};
    if (Outcome o = blocks_.write_dirty(); o.failed()) return o;
    if (!table_dirty_) return {};
    std::vector<u8> bytes(table_.size() * 8);
    for (u64 n = 0; n < table_.size(); ++n)
        put_be<u64>(&bytes[n * 8], table_[n]);
    if (Outcome o = file_.sync(); o.failed()) return o; // the blocks first
    if (Outcome o = file_.write(header_.refcount_table_offset, bytes.data(), bytes.size()); o.failed())
        return o;
    if (old_table_.second) {
        if (Outcome o = file_.sync(); o.failed()) return o;
        u8 place[12];
        put_be<u64>(place, header_.refcount_table_offset);
        put_be<u32>(place + 8, header_.refcount_table_clusters);
        if (Outcome o = file_.write(kQcow2RefcountTable, place, sizeof place); o.failed()) return o;
        if (Outcome o = file_.sync(); o.failed()) return o;
        not_referenced(old_table_.first, old_table_.second);
        old_table_ = {0, 0};
    }
    table_dirty_ = false;
    return blocks_.write_dirty();
}

} // namespace dragoman::block
