// The software TLB: layout shared with generated code, which checks it inline.
//
// One table for each access view; a hit needs no permission test, because a tag is only filled for what its
// view may do. Inline check of an access of `size` bytes at linear address `ea`:
//
//     index = (ea >> 12) & (entries - 1)
//     hit   = ea - table[index].tag <= 4096 - size      (unsigned)
//     host  = ea + table[index].addend
//
// A page-crossing access misses. An empty tag at index i is the address of page i ^ 1, which no address that
// selects index i can match. What must take the slow path (MMIO, translated code, watchpoints, a page whose D
// bit is clear) leaves its tag empty.
#pragma once

#include "base/types.h"

#include <array>
#include <vector>

namespace dragoman::softmmu {

// Who accesses: one TLB table each (design: A hit needs no permission test).
enum class View : u8 {
    Supervisor,     // CPL 0-2, or an implicit system access; SMAP off or EFLAGS.AC set
    SupervisorSmap, // CPL 0-2 with SMAP in force
    User,           // CPL 3
    Count
};
inline constexpr unsigned kViews = static_cast<unsigned>(View::Count);

inline constexpr unsigned kPageBits = 12;
inline constexpr u64 kPageSize = u64{1} << kPageBits;
inline constexpr unsigned kTlbBits = 10;
inline constexpr u64 kTlbEntries = u64{1} << kTlbBits;

struct TlbEntry {
    u64 read_tag;
    u64 write_tag;
    u64 exec_tag;
    u64 addend; // host pointer - linear address; valid if any tag is
};
static_assert(sizeof(TlbEntry) == 32);

constexpr u64 tlb_index(u64 linear) {
    return (linear >> kPageBits) & (kTlbEntries - 1);
}
constexpr u64 empty_tag(u64 index) {
    return (index ^ 1) << kPageBits;
}

class Tlb {
  public:
    Tlb();

    TlbEntry& entry(View view, u64 linear) { return tables_[unsigned(view)][tlb_index(linear)]; }
    // Byte offset of a view's table from the start of this object, for generated code.
    static constexpr u64 table_offset(unsigned view) { return view * kTlbEntries * sizeof(TlbEntry); }

    // Claims the entry of a page for a new filling: empties it unless it is the same page's already, and
    // notes it so that a flush costs what was filled and not the size of the table. `page_bits`: log2 of the
    // mapping's size.
    TlbEntry& claim(View view, u64 linear, bool global, u8 page_bits);
    // Claims the entry and makes it lead to `host`, the host address of `linear`. Tags filled when the page was
    // mapped elsewhere are emptied: no entry may mix the permission of one mapping with the address of another.
    TlbEntry& lead_to(View view, u64 linear, const u8* host, bool global, u8 page_bits);
    void flush(bool keep_global);
    // Drops what was filled from the mapping that holds `linear`, whatever its size was then, in every view.
    void flush_page(u64 linear);
    u64 filled(View view) const; // entries in use, for `info tlb`

    // Makes every entry whose host page is `host_page` take the slow path for writes.
    void protect_host_page(const u8* host_page);

    // Calls f(view, linear page, entry, global, page_bits) for each entry in use.
    template <class F> void for_each(F f) const {
        for (const Slot slot : used_) {
            const Note& note = notes_[slot.view][slot.index];
            if (note.used)
                f(View(slot.view), note.page, tables_[slot.view][slot.index], note.global, note.page_bits);
        }
    }

  private:
    struct Slot {
        u8 view;
        u16 index;
    };
    struct Note { // what is not needed for the inline check
        u64 page = 0;
        bool used = false; // listed in used_
        bool global = false;
        u8 page_bits = 12;
    };
    void empty(unsigned view, u64 index);
    template <class Drop> void flush_if(Drop drop);

    alignas(64) std::array<std::array<TlbEntry, kTlbEntries>, kViews> tables_;
    std::array<std::array<Note, kTlbEntries>, kViews> notes_{};
    std::vector<Slot> used_;
};

} // namespace dragoman::softmmu
