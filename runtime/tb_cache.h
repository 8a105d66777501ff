// -tb-cache: the translations of this run and of those before it, by what they were made from. A block is
// found by its key and the guest's bytes, compared one by one with what is in memory now: content decides.
#pragma once

#include "runtime/tb_cache_file.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace dragoman::runtime {

class TbCache {
  public:
    // What is at `path` and cannot be used is ignored: `complaint` says why, else it is empty. It is replaced
    // when this run is saved. The identity names everything but the key and the guest's bytes that code
    // depends on.
    TbCache(std::string path, std::string identity);

    // Where the guest's bytes are now: the host address of the block's first byte.
    struct Place {
        const u8* first = nullptr;
        u64 in_page = 0; // offset of the first byte
    };
    // The record of a block with this key made from these bytes; null: none is known. `second()`: the host
    // address of the page behind the block's, or null.
    template <class Second> const TbRecord* find(const TbKey& key, const Place& place, Second second) {
        const auto same = [&](const TbRecord& record) { return matches(record, place, second); };
        const TbRecord* record = file_->find(key, same);
        if (record) {
            ++counters_.from_file;
            if (used_.insert(record).second) order_.push_back(record);
            return record;
        }
        const auto [begin, end] = made_.equal_range(hash_value(key));
        for (auto it = begin; it != end; ++it) {
            record = reinterpret_cast<const TbRecord*>(it->second.data());
            if (record->key == key && same(*record)) {
                ++counters_.of_this_run;
                return record;
            }
        }
        return nullptr;
    }
    // Remembers a block that was compiled now. `header`: what is known of it besides the code.
    void keep(const TbRecord& header, const u8* const parts[], const backend::PortableCode& code);

    // Writes what this run has used or made, and of the rest what there is room for.
    Status save() const;

    struct Counters { // blocks, for `info jit`
        u64 in_file = 0, from_file = 0, of_this_run = 0, kept = 0;
    };
    const Counters& counters() const { return counters_; }
    const std::string& complaint() const { return complaint_; }

  private:
    // A guest that rewrites its code for ever does not fill the memory.
    static constexpr std::size_t kMostVersions = 16; // of one key

    template <class Second> bool matches(const TbRecord& record, const Place& place, Second second) const {
        using Source = x86::Translator::Source;
        constexpr u64 page = softmmu::kPageSize;
        const u64 first = record.guest[Source::First];
        if (place.in_page + first > page || (record.guest[Source::Second] && place.in_page + first != page))
            return false;
        const auto same = [&](unsigned part, const u8* there) {
            return std::equal(there, there + record.guest[part], record.guest_at(part));
        };
        if (!same(Source::First, place.first)) return false;
        if (!same(Source::Followed, place.first - place.in_page + record.followed)) return false;
        if (!record.guest[Source::Second]) return true;
        const u8* const behind = second();
        return behind && same(Source::Second, behind);
    }

    std::string path_, identity_, complaint_;
    std::unique_ptr<TbCacheFile> file_;
    std::unordered_set<const TbRecord*> used_; // of the file
    std::unordered_multimap<u64, std::vector<u64>> made_;
    std::vector<const TbRecord*>
        order_; // both, as they were first asked for: the next run asks in the same order
    u64 made_bytes_ = 0;
    Counters counters_;
};

} // namespace dragoman::runtime
