// Tables of an image, one cluster each, kept in memory and written back when told to.
#pragma once

#include "block/host_file.h"

#include <map>
#include <vector>

namespace dragoman::block {

class TableCache {
  public:
    TableCache(HostFile& file, u64 table_bytes, u64 limit_bytes)
        : file_(file), table_bytes_(table_bytes), limit_(limit_bytes / table_bytes + 2) {}

    // The table at `offset` of the file. Valid until the next call that may load another one.
    Result<u8*> load(u64 offset);
    u8* create(u64 offset); // a new table of zeroes, dirty
    void changed(u64 offset) {
        tables_.at(offset).dirty = true;
        any_dirty_ = true;
    }
    void drop(u64 offset) { tables_.erase(offset); }
    void clear() { tables_.clear(); }
    bool dirty() const { return any_dirty_; }
    // Full of tables that are dirty: they should be written before more are loaded.
    bool crowded() const { return tables_.size() > limit_; }
    Outcome write_dirty();

  private:
    struct Table {
        std::vector<u8> bytes;
        bool dirty = false;
        u64 used = 0;
    };
    void make_room();

    HostFile& file_;
    u64 table_bytes_, limit_, clock_ = 0;
    bool any_dirty_ = false;
    std::map<u64, Table> tables_;
};

} // namespace dragoman::block
