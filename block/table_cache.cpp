#include "block/table_cache.h"

#include <algorithm>

namespace dragoman::block {

// Forgets the clean half that was used longest ago; in one go, so that it costs little for each table.
void TableCache::make_room() {
    if (tables_.size() <= limit_) return;
    std::vector<u64> uses;
    for (const auto& [offset, table] : tables_)
        uses.push_back(table.used);
    std::nth_element(uses.begin(), uses.begin() + std::ptrdiff_t(uses.size() / 2), uses.end());
    const u64 middle = uses[uses.size() / 2];
    std::erase_if(tables_,
                  [&](const auto& entry) { return !entry.second.dirty && entry.second.used <= middle; });
}

Result<u8*> TableCache::load(u64 offset) {
    auto it = tables_.find(offset);
    if (it == tables_.end()) {
        make_room();
        std::vector<u8> bytes(table_bytes_);
        if (Outcome o = file_.read(offset, bytes.data(), table_bytes_); o.failed()) return Error{o.message};
        it = tables_.emplace(offset, Table{std::move(bytes)}).first;
    }
    it->second.used = ++clock_;
    return it->second.bytes.data();
}

u8* TableCache::create(u64 offset) {
    make_room();
    Table& table = tables_[offset];
    table = {std::vector<u8>(table_bytes_), true, ++clock_};
    any_dirty_ = true;
    return table.bytes.data();
}

Outcome TableCache::write_dirty() {
    if (!any_dirty_) return {};
    for (auto& [offset, table] : tables_) {
        if (!table.dirty) continue;
        if (Outcome o = file_.write(offset, table.bytes.data(), table_bytes_); o.failed()) return o;
        table.dirty = false;
    }
    any_dirty_ = false;
    return {};
}

} // namespace dragoman::block
