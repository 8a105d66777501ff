// The file of -tb-cache: compiled blocks, each a record that can be found by its key. Numbers are the host's,
// for the file is of use on one host only.
//
//   header     magic, format, sizes, checksums; then the identity: text that says which build, processor and
//   options
//              the code was made by and for
//   records    each with its checksum, at multiples of 8
//   index      a hash table of a power of two of slots: hash of the key, place of the record
//
// What is in the file is run as code: it must be trusted as the program itself is. So it belongs to the user,
// and nobody else may write it; checksums are against accidents. Nothing that is read here is believed before
// it was checked to lie inside the file.
#pragma once

#include "backend/x64/backend.h"
#include "base/result.h"
#include "frontend/x86/translator.h"
#include "runtime/replaced_file.h"

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dragoman::runtime {

// What a translation depends on besides the guest's bytes and the identity of the file.
struct TbKey {
    u64 place = 0;                              // of the first byte: in its page (64-bit code), or its rip
    u64 first = 0;                              // the first eight bytes, or those up to the end of the page
    u32 code_base = 0, code_limit = 0xffffffff; // of CS, outside of 64-bit mode
    u32 mode = 0;                               // x86::pack
    u32 inline_time = 0;                        // RDTSC reads Context::time

    friend bool operator==(const TbKey&, const TbKey&) = default;
};
u64 hash_value(const TbKey& key);

// One block. In memory as in the file: this, then link sites, kept instructions, side points, numbers that
// move with the pc, stub jumps, guest bytes, code.
struct TbRecord {
    u32 bytes = 0;    // in all, a multiple of 8
    u32 checksum = 0; // of what follows
    TbKey key;
    u64 pc = 0;      // it was made for; the only one that it is good for unless:
    u32 movable = 0; // 1: it is for every pc in that place of a page
    // x86::Translator::Source, without the pages.
    u16 guest[x86::Translator::Source::Parts] = {}; // bytes
    u16 followed = 0;                               // offset of that part in the page
    i32 end = 0, branch_stack = 0;
    u8 branch_bytes = 0, branch = 0;
    u16 guest_instructions = 0;
    u32 entry = 0, saved_entry = 0, far_entry = 0, numbers[2] = {}, host_instructions = 0, calls = 0;
    u32 links = 0, kept = 0, points = 0, pc_numbers = 0, stub_jumps = 0, code = 0;
    backend::KindCounts kinds;

    u32 guest_bytes() const { return u32{guest[0]} + guest[1] + guest[2]; }
    const u8* guest_at(unsigned part) const;      // the bytes of that part
    backend::PortableCode portable(u64 pc) const; // to be used at that pc
    // Can it be one, in so many bytes? Looks at nothing behind them.
    bool sound(u64 room) const;
    bool intact() const; // the checksum is right; `sound` comes first
};

// Record as a piece of memory of its own, in `made`. `parts`: the guest's bytes.
void make_record(std::vector<u64>& made, TbRecord header, const u8* const parts[],
                 const backend::PortableCode& code);
void seal(TbRecord& record); // its checksum, for a file

class TbCacheFile {
  public:
    static constexpr u64 most_bytes = 256 * MiB;

    // Nothing at that place: an empty one. Error: there is something that will not be used, and why.
    static Result<std::unique_ptr<TbCacheFile>> open(const std::string& path, std::string_view identity);
    // The same for what somebody has read already; borrowed.
    static Result<std::unique_ptr<TbCacheFile>> read(std::span<const u8> bytes, std::string_view identity);
    TbCacheFile() = default;
    ~TbCacheFile();
    TbCacheFile(const TbCacheFile&) = delete;
    TbCacheFile& operator=(const TbCacheFile&) = delete;

    u64 records() const { return records_; }
    // Calls `take(record)` for the records of this key (and its hash_value), sound and intact, until it
    // returns true.
    template <class Take> const TbRecord* find(const TbKey& key, u64 hash, Take take) const {
        for (u64 n = 0, at = hash; n < index_.size(); ++n, ++at) {
            const Slot& slot = index_[at & (index_.size() - 1)];
            if (!slot.place) break;
            if (slot.hash != u32(hash >> 32)) continue;
            const TbRecord* record = record_at(slot.place);
            if (record && record->key == key && record->intact() && take(*record)) return record;
        }
        return nullptr;
    }
    template <class Take> void for_each(Take take) const {
        for (const Slot& slot : index_)
            if (const TbRecord* record = slot.place ? record_at(slot.place) : nullptr)
                if (record->intact()) take(*record);
    }

    // Makes it a file of these records: the first ones, as many as there is room for.
    static Status write(ReplacedFile& to, std::string_view identity,
                        std::span<const TbRecord* const> records);

  private:
    struct Header {
        char magic[8];
        u32 format, identity; // bytes
        u64 file, index;      // bytes of the file; where the index is
        u64 slots, records;
        u32 index_checksum, checksum; // the second of the header before it, and of the identity
    };
    struct Slot {
        u32 hash = 0, place = 0; // of the record in units of 8 bytes; 0: empty
    };
    const TbRecord* record_at(u32 place) const; // null: not a sound one
    Status take(std::span<const u8> bytes, std::string_view identity);

    std::span<const u8> bytes_;
    std::span<const Slot> index_;
    u64 records_ = 0, end_ = 0; // where the records end
    bool mapped_ = false;
};

} // namespace dragoman::runtime
