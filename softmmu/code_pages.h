// Which pages may be executed now: the TLB of instruction fetches, and what generated code asks before it
// goes to another page.
//
// A *number* stands for one guest-physical page at one linear page, whatever address space it is in. The
// table that generated code looks into holds, for each linear page that was fetched from, the number that it
// has at present. So code that was translated from a page may be entered if and only if its page's number is
// found there:
//
//     cmp gs:[number_of(linear page)], number
//
// A slot is emptied by everything that drops a translation (SDM vol. 3, 4.10.4.1). Supervisor code (CPL 0-2)
// and user code have a table each, because they may not execute the same pages.
#pragma once

#include "softmmu/kept.h"
#include "softmmu/page.h"

#include <array>
#include <unordered_map>
#include <vector>

namespace dragoman::softmmu {

class CodePages {
  public:
    static constexpr unsigned kSlotBits = 13;
    static constexpr u64 kSlots = u64{1} << kSlotBits;
    static constexpr u32 kNoNumber = ~u32{0}; // of no page, and in no slot
    // Read by generated code: [user code][slot], 0 where nothing is known.
    using Numbers = u32[2][kSlots];

    // Pages side by side have slots side by side, for 32 MiB.
    static constexpr u64 slot(u64 linear) {
        const u64 page = linear >> kPageBits;
        return (page ^ page >> kSlotBits) & (kSlots - 1);
    }

    struct Page {
        u64 linear = 0, gpa = 0;
        const u8* host = nullptr; // null: not memory
        u32 number = 0;
        Mapping mapping;
    };

    explicit CodePages(Numbers& numbers) : numbers_(numbers) {} // borrowed, all 0

    // Null: not known.
    const Page* find(u64 linear, bool user) const {
        const u64 at = slot(linear);
        const Page& page = pages_[user][at];
        return numbers_[user][at] && (page.linear ^ linear) < kPageSize ? &page : nullptr;
    }
    // The page of `linear` may be executed, and is the one of `gpa`; `host` is where that page begins.
    const Page& fill(u64 linear, bool user, u64 gpa, const u8* host, Mapping mapping);

    void flush(bool keep_global);
    // Drops what came from the mapping that holds `linear`, whatever its size was then.
    void flush_page(u64 linear, bool keep_global);

    // Those that are not global are taken out while another address space is loaded, and come back one by
    // one.
    using Kept = softmmu::Kept<Page, 2, 512>; // views: supervisor, user
    void park(Kept& to);
    const Page& unpark(const Kept::Place& kept);

    // All numbers were given away: no page gets one any more. Everything translated must be dropped, and
    // restart() called.
    bool exhausted() const { return next_ == kNoNumber; }
    void restart();
    void give_out_from(u32 next) { next_ = next; } // for tests: a number that was not given yet

    // Calls f(page, user) for each page that may be executed now.
    template <class F> void for_each(F f) const {
        for (const bool user : {false, true})
            for (u64 at = 0; at < kSlots; ++at)
                if (numbers_[user][at]) f(pages_[user][at], user);
    }

  private:
    struct Pair {
        u64 linear, gpa;
        friend bool operator==(const Pair&, const Pair&) = default;
    };
    struct Hash {
        std::size_t operator()(const Pair& p) const {
            const u64 h = p.linear * 0x9e3779b97f4a7c15 ^ p.gpa * 0xc2b2ae3d27d4eb4f;
            return std::size_t(h ^ h >> 29);
        }
    };
    struct Slot {
        bool user;
        u16 at;
    };
    // A guest may go through pages without end: the table is emptied when it is full, the numbers go on. What
    // was translated under a forgotten number is then translated again.
    static constexpr std::size_t kMostNumbered = 1 << 16;

    u32 number(u64 linear, u64 gpa);
    const Page& put(const Page& page, bool user);
    void drop(Slot s);
    template <class Drops> void flush_if(bool global, Drops drops);
    void count_large(const Page& page, int by);
    bool may_be_large(u64 linear) const;

    Numbers& numbers_;
    std::array<std::array<Page, kSlots>, 2> pages_;
    // Slots in use, and some that are not: of pages that are not global and of those that are. is_listed_ has
    // a bit for each of the two.
    std::vector<Slot> listed_[2];
    std::array<std::array<u8, kSlots>, 2> is_listed_{};
    std::unordered_map<Pair, u32, Hash> given_;
    u32 next_ = 1;

    // How many slots come from large mappings, by a hash of the mapping's address: where there is none
    // flush_page looks at one slot of each table.
    static constexpr unsigned kLargeBitsOfHash = 8;
    static constexpr u8 kLargeBits[] = {21, 22, 30};
    std::array<u16, 1 << kLargeBitsOfHash> large_{};
    static u64 large_hash(u64 linear, u8 page_bits) {
        return ((linear >> page_bits) + page_bits) * 0x9e3779b97f4a7c15 >> (64 - kLargeBitsOfHash);
    }
};

} // namespace dragoman::softmmu
