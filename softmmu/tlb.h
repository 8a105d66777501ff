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
// bit is clear) leaves its tag empty. Instruction fetches have a TLB of their own (code_pages.h).
//
// With a host window (host_window.h) generated code looks at the *window tags* instead, and at the entries
// only out of line. A window tag is filled while its entry's tag is and the entry's page lies in its slot:
//
//     hit   = ea - tag <= 4097 - size                   (unsigned; the tag is page - 1)
//     host  = window + low 32 bits of ea
//
// A page whose entry another page takes goes among the *victims*, by another hash, as two pages that are used
// all the time may share an entry. They are looked at out of line.
#pragma once

#include "base/types.h"
#include "softmmu/code_pages.h"
#include "softmmu/kept.h"
#include "softmmu/page.h"

#include <array>
#include <utility>
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

inline constexpr unsigned kTlbBits = 14;
inline constexpr u64 kTlbEntries = u64{1} << kTlbBits;

struct TlbEntry {
    u64 read_tag;
    u64 write_tag;
    u64 unused; // 32 bytes, so that the index is a shift
    u64 addend; // host pointer - linear address; valid if any tag is
};
static_assert(sizeof(TlbEntry) == 32);

constexpr u64 tlb_index(u64 linear) {
    return (linear >> kPageBits) & (kTlbEntries - 1);
}
constexpr u64 empty_tag(u64 index) {
    return (index ^ 1) << kPageBits;
}

inline constexpr unsigned kVictimBits = 12;
inline constexpr u64 kVictims = u64{1} << kVictimBits;
// The empty tag of a victim is that of the entry with its index.
constexpr u64 victim_index(u64 linear) {
    return (linear ^ linear >> kTlbBits) >> kPageBits & (kVictims - 1);
}

// The same for window tags: too far from every address that selects index i.
constexpr u64 empty_window_tag(u64 index) {
    return ((index ^ kTlbEntries / 2) << kPageBits) - 1;
}

class HostWindow;

// Read by generated code, at the offsets given.
struct TlbTables {
    TlbEntry entries[kViews][kTlbEntries];
    struct Window {
        u64 read_tags[kTlbEntries], write_tags[kTlbEntries];
    } window[kViews];
    // Pages that may be written beside the translated code that they hold. Their write tag is empty.
    struct Beside {
        u64 tag;
        const u64* lines; // PhysicalMap::code_lines: a store that touches none is done in place
    } beside[kViews][kTlbEntries];
    // Of all views, the victims' behind the entries': counts down with each access that found an entry but no
    // window tag.
    u32 heat[kTlbEntries + kVictims];
    TlbEntry victims[kViews][kVictims];
    CodePages::Numbers code_numbers;

    static constexpr u64 entries_of(unsigned view) { return view * sizeof entries[0]; }
    static constexpr u64 window_tags_of(unsigned view, bool write) {
        return sizeof entries + view * sizeof(Window) + (write ? sizeof Window::read_tags : 0);
    }
    static constexpr u64 beside_of(unsigned view) {
        return sizeof entries + sizeof window + view * sizeof beside[0];
    }
    static constexpr u64 heat_at = sizeof entries + sizeof window + sizeof beside;
    static constexpr u64 victim_heat_at = heat_at + kTlbEntries * sizeof heat[0];
    static constexpr u64 victims_of(unsigned view) {
        return heat_at + sizeof heat + view * sizeof victims[0];
    }
    static constexpr u64 code_number_of(u64 linear, bool user) {
        return heat_at + sizeof heat + sizeof victims + user * sizeof code_numbers[0] +
               CodePages::slot(linear) * sizeof(u32);
    }
};

class Tlb {
  public:
    Tlb();

    TlbEntry& entry(View view, u64 linear) { return tables_.entries[unsigned(view)][tlb_index(linear)]; }
    // Where the page is if it is there at all: its entry, or a victim.
    const TlbEntry& find(View view, u64 linear) const {
        const TlbEntry& victim = tables_.victims[unsigned(view)][victim_index(linear)];
        const bool there = victim.read_tag == linear - linear % kPageSize;
        return there ? victim : tables_.entries[unsigned(view)][tlb_index(linear)];
    }
    // A victim gets its entry back. False: the page is none.
    bool recall(View view, u64 linear);
    // What generated code looks at.
    const TlbTables& tables() const { return tables_; }
    CodePages& code() { return code_; }
    const CodePages& code() const { return code_; }

    void set_window(const HostWindow* window, u32 heat); // borrowed; null: window tags stay empty
    // To be called when an entry of this index was filled, or what its slot holds has changed.
    void settle_window(u64 linear);
    // The entry of a page was used by so many accesses, or by what costs as much, that would not have needed
    // it with a window tag. True: its counter has run out.
    bool heat_up(View view, u64 linear, bool write, u32 accesses);
    // Its counters begin again.
    void cool(u64 linear) {
        tables_.heat[tlb_index(linear)] = tables_.heat[kTlbEntries + victim_index(linear)] = heat_limit_;
    }

    // Claims the entry of a page for a new filling: empties it unless it is the same page's already, and
    // notes it so that a flush costs what was filled and not the size of the table.
    TlbEntry& claim(View view, u64 linear, Mapping mapping);
    // Claims the entry and makes it lead to `host`, the host address of `linear`. Tags filled when the page
    // was mapped elsewhere are emptied: no entry may mix the permission of one mapping with the address of
    // another.
    TlbEntry& lead_to(View view, u64 linear, const u8* host, Mapping mapping);
    // Both drop code pages too.
    void flush(bool keep_global);
    // Drops what was filled from the mapping that holds `linear`, whatever its size was then, in every view.
    void flush_page(u64 linear, bool keep_global = false);
    // Drops what was filled from pages of these protection keys (a bit each, by Mapping::key).
    void flush_keys(u32 keys);
    // Fills the write tag of an entry that leads to its page. `code`: where the lines of that page with
    // translated code are kept, if there are any; then only what lies beside them may be written in place.
    void allow_writes(View view, u64 linear, const u64* code = nullptr);
    // Of the page that the entry for `linear` was claimed for last.
    const Mapping& mapping(View view, u64 linear) const {
        return notes_[unsigned(view)][tlb_index(linear)].mapping;
    }
    u64 filled(View view) const; // entries in use, for `info tlb`

    // Where `linear` is in a page that may be written beside its code, if it has any now; else null.
    u8* beside_code(View view, u64 linear) const;

    // Makes every entry whose host page is `host_page` take the slow path for writes.
    void protect_host_page(const u8* host_page);
    // The same for a page that holds translated code from now on: what may write beside code still may.
    void protect_code_page(const u8* host_page);

    // Entries that are not global are taken out while another address space is loaded
    // (softmmu/address_spaces.h), and come back one by one.
    struct Parked {
        u64 addend = 0;
        u64 writable_at = 0; // protections_ when it was taken out, if it could be written
    };
    using Kept = softmmu::Kept<Parked, kViews, 1024>;
    void park(Kept& to);
    // Of a page that is not here. It may not be written any more if some page was protected meanwhile.
    void unpark(const Kept::Place& kept);

    // Calls f(view, linear page, entry, mapping) for each entry in use.
    template <class F> void for_each(F f) const {
        for (unsigned global = 0; global < 2; ++global)
            for (const Slot slot : listed_[global]) {
                const Note& note = notes_[slot.view][slot.index];
                if (note.used && note.mapping.global == global)
                    f(View(slot.view), note.page, at(slot.view, slot.index), note.mapping);
            }
    }

  private:
    // What has an index below is about the victims too, which lie behind the entries.
    static constexpr u64 kPlaces = kTlbEntries + kVictims;
    static u64 victim_place(u64 linear) { return kTlbEntries + victim_index(linear); }
    const TlbEntry& at(unsigned view, u64 index) const {
        return index < kTlbEntries ? tables_.entries[view][index]
                                   : tables_.victims[view][index - kTlbEntries];
    }
    TlbEntry& at(unsigned view, u64 index) {
        return const_cast<TlbEntry&>(std::as_const(*this).at(view, index));
    }

    struct Slot {
        u8 view;
        u16 index;
    };
    struct Note { // what is not needed for the inline check
        u64 page = 0;
        Mapping mapping;
        bool used = false;
        // In listed_; stays when flush_page empties the entry, or it is filled for another.
        bool listed[2] = {};
        bool beside = false; // there is a `beside`
    };
    void empty(unsigned view, u64 index);
    void empty_writes(unsigned view, u64 index);
    void empty_window(unsigned view, u64 index, bool reads);
    void set_beside(unsigned view, u64 index, const u64* lines); // null: none
    void settle_window(unsigned view, u64 index);
    void drop(Slot slot);
    TlbEntry& occupy(unsigned view, u64 index, u64 page, Mapping mapping);
    // What is known of the page at an empty index.
    void restore(unsigned view, u64 index, u64 addend, bool writable);
    void retire(unsigned view, u64 index); // to the victims
    void count_large(const Note& note, int by);
    bool may_be_large(u64 linear) const;
    template <class Drop> void flush_if(bool global, Drop drops);

    // Entries that may be written in place, by their host page: a list for each hash. One that may not be
    // any more stays in its list, as most are filled again for the same page, until it is needed in another
    // or somebody goes through the list.
    static constexpr u16 kWriterLists = 4096;
    struct Writer {
        u16 next = 0, before = 0; // numbers, from 1; 0: none
        u16 list = kWriterLists;  // kWriterLists: in none
    };
    template <class Keep> void protect(const u8* host_page, Keep keep);
    static u16 writer_number(unsigned view, u64 index) { return u16(view * kPlaces + index + 1); }
    static_assert(kViews * kPlaces <= 0xffff);
    void list_writer(unsigned view, u64 index);
    void unlist(Writer& w);
    std::array<u16, kWriterLists> writers_{};
    std::array<Writer, kViews * kPlaces + 1> writer_{};

    alignas(64) TlbTables tables_{};
    CodePages code_{tables_.code_numbers};
    const HostWindow* window_ = nullptr;
    u32 heat_limit_ = 0;
    std::array<std::array<Note, kPlaces>, kViews> notes_{};
    // The entries in use, and some others: apart from each other those that are not global and those that
    // are, of which a kernel has thousands, and which another address space leaves as they are.
    std::vector<Slot> listed_[2];
    u64 protections_ = 1; // how often some page was protected
    u32 keys_seen_ = 0;   // of entries filled since the table was last empty

    // How many entries come from large mappings, by a hash of the mapping's address: where there is none,
    // flush_page looks at one entry of each view and not at all of them. A kernel that maps all memory by
    // large pages has hundreds of them in use.
    static constexpr unsigned kLargeBitsOfHash = 13;
    static constexpr u64 kLargeCounts = u64{1} << kLargeBitsOfHash;
    static constexpr u8 kLargeBits[] = {21, 22, 30};
    std::array<u16, kLargeCounts> large_{};
    static u64 large_hash(u64 linear, u8 page_bits) {
        return ((linear >> page_bits) + page_bits) * 0x9e3779b97f4a7c15 >> (64 - kLargeBitsOfHash);
    }
};

} // namespace dragoman::softmmu
