// The reference counts of a qcow2 image's clusters: two levels of tables, and the allocation of clusters by
// them.
#pragma once

#include "block/qcow2_header.h"
#include "block/table_cache.h"

#include <utility>
#include <vector>

namespace dragoman::block {

// What is written reaches the file with write() only. The owner writes the counts before any table that
// refers to the clusters they count, and gives clusters back (release) only when nothing in the file refers
// to them any more: then a crash at any moment leaves unused clusters behind at worst.
class Qcow2Refcounts {
  public:
    Qcow2Refcounts(HostFile& file, Qcow2Header& header);
    Status load();

    // Clusters are named by their number: offset >> cluster_bits.
    Result<u64> get(u64 cluster);
    u64 max() const {
        return header_.refcount_order == 6 ? ~u64{0} : (u64{1} << (1u << header_.refcount_order)) - 1;
    }
    Outcome set(u64 cluster, u64 count);
    Outcome add(u64 cluster, u64 clusters); // one reference more to each; fails when a count is full
    Result<u64> drop(u64 cluster);          // one less: what is left
    // `count` clusters in a row that were free, now with one reference each.
    Result<u64> allocate(u64 count);
    void not_referenced(u64 cluster, u64 count); // of allocate(), after something else failed

    bool dirty() const { return blocks_.dirty() || table_dirty_; }
    Outcome write(); // counts, then the table, then the header if the table moved
    u64 table_entries() const { return table_.size(); }
    u64 table_entry(u64 n) const { return table_[n]; }
    u64 counts_per_block() const { return header_.cluster() * 8 >> header_.refcount_order; }
    void forget() { blocks_.clear(); }

  private:
    Result<u8*> block_of(u64 cluster); // null: there is none, every count is 0
    Outcome need_block(u64 range);
    Outcome grow_table(u64 entries);
    Result<u64> find_free(u64 count);
    u64 get_in(const u8* block, u64 index) const;
    void set_in(u8* block, u64 index, u64 count) const;
    Outcome to_outcome(const Error& error) const { return {BlockStatus::IoError, error.message}; }

    HostFile& file_;
    Qcow2Header& header_;
    TableCache blocks_;
    std::vector<u64> table_; // offsets of the blocks; 0: none
    bool table_dirty_ = false;
    std::pair<u64, u64> old_table_{0, 0}; // cluster and count of a table that was moved away from
    u64 hint_ = 0;                        // no cluster below is free
};

} // namespace dragoman::block
