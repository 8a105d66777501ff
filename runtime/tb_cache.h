// The translations of this run and, with -tb-cache, of those before it, by what they were made from. A block
// is found by its key and the guest's bytes, compared one by one with what is in memory now: content decides,
// so that a library is compiled once wherever each program has it.
#pragma once

#include "runtime/tb_cache_file.h"

#include <algorithm>
#include <array>
#include <memory>
#include <unordered_set>

namespace dragoman::runtime {

// Records that were made in this run, by the hash of their key. They are only dropped all together.
class MadeRecords {
  public:
    // The first record of this hash for which `take` returns true; null: there is none.
    template <class Take> const TbRecord* find(u64 hash, Take take) const {
        for (u64 at = hash; !slots_.empty(); ++at) {
            const Slot& slot = slots_[at & (slots_.size() - 1)];
            if (!slot.record || (slot.hash == hash && take(*slot.record))) return slot.record;
        }
        return nullptr;
    }
    TbRecord* add(u64 hash, const std::vector<u64>& record); // copies it
    void clear();
    u64 bytes() const { return bytes_; } // of memory for records

  private:
    static constexpr u64 kChunk = MiB / sizeof(u64);
    struct Slot {
        u64 hash = 0;
        const TbRecord* record = nullptr;
    };
    void put(u64 hash, const TbRecord* record);

    std::vector<Slot> slots_; // a power of two, at most half of them taken
    u64 count_ = 0, bytes_ = 0;
    std::vector<std::unique_ptr<u64[]>> chunks_;
    u64 left_ = 0; // of the last chunk
};

class TbCache {
  public:
    // What is at `path` and cannot be used is ignored: `complaint` says why, else it is empty. It is replaced
    // when this run is saved. The identity names everything but the key and the guest's bytes that code
    // depends on. An empty path: there is no file.
    TbCache(std::string path, std::string identity);

    bool has_file() const { return !path_.empty(); }

    // Where the guest's bytes are now: the block's pc, the host address of its first byte.
    struct Place {
        u64 pc = 0;
        const u8* first = nullptr;
        u64 in_page = 0; // offset of the first byte
    };
    // The record of a block with this key (and its hash_value) made from these bytes; null: none is known.
    // `second()`: the host address of the page behind the block's, or null.
    template <class Second>
    const TbRecord* find(const TbKey& key, u64 hash, const Place& place, Second second) {
        const auto same = [&](const TbRecord& record) { return matches(record, place, second); };
        const TbRecord* record = file_->find(key, hash, same);
        if (record) {
            ++counters_.from_file;
            if (used_.insert(record).second) order_.push_back(record);
            return record;
        }
        record = made_.find(hash, [&](const TbRecord& r) { return r.key == key && same(r); });
        if (record) ++counters_.of_this_run;
        return record;
    }
    // Is what was compiled at this guest-physical address to be kept? Where that happens again and again it
    // is being rewritten: without a file that is not worth its copy.
    bool wants(u64 gpa);
    bool is_rewritten(u64 gpa) const; // so far; with a file nothing is
    // Remembers a block that was compiled now: what make_record() made. Copies it.
    void keep(const std::vector<u64>& record);

    // Writes what this run has used or made, and of the rest what there is room for. `aside`: what is to
    // become the file; null: made now.
    Status save(std::unique_ptr<ReplacedFile> aside = nullptr) const;

    struct Counters { // blocks, for `info jit`
        u64 in_file = 0, from_file = 0, of_this_run = 0, kept = 0;
    };
    const Counters& counters() const { return counters_; }
    const std::string& complaint() const { return complaint_; }

  private:
    // A guest that rewrites its code for ever does not fill the memory.
    static constexpr std::size_t kMostVersions = 16; // of one key
    static constexpr u64 kMostInMemory = 64 * MiB;   // without a file

    template <class Second> bool matches(const TbRecord& record, const Place& place, Second second) const {
        using Source = x86::Translator::Source;
        constexpr u64 page = softmmu::kPageSize;
        const u64 first = record.guest[Source::First];
        if (!record.movable && record.pc != place.pc) return false;
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
    struct Recent {
        u64 gpa = 0, asked = 0;
    };
    static constexpr u64 kRecent = 1024;
    static u64 place_of(u64 gpa) { return (gpa ^ gpa >> 10) % kRecent; }
    std::array<Recent, kRecent> recent_{}; // by gpa: when it was asked for, in calls of wants()
    u64 asked_ = 0;
    std::unique_ptr<TbCacheFile> file_;
    std::unordered_set<const TbRecord*> used_; // of the file
    MadeRecords made_;
    std::vector<const TbRecord*>
        order_; // both, as they were first asked for: the next run asks in the same order
    Counters counters_;
};

} // namespace dragoman::runtime
