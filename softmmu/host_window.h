// The tag-validated host window: 4 GiB of host addresses in which RAM pages are mapped where the low 32 bits
// of their linear address say. Generated code adds a constant to those bits and need not wait for the TLB to
// know the host address; the TLB's window tags only tell whether the page that lies there is the one meant
// (tlb.h).
//
// The window lies in the first 4 GiB of host addresses and ends with them: then the host adds its start to 32
// bits of an address within the instruction that accesses memory. It starts at 0 where the host lets it, so
// that there is nothing to add, and the guest's displacements of a byte stay a byte. The slots that the host
// keeps for itself, and those beyond the end, stay empty.
//
// A *slot* is a page of the window. It always holds one page of RAM or nothing, and what it holds has nothing
// to do with who may access it: flushes leave slots alone, and a TLB entry that is filled again finds its
// page still there.
#pragma once

#include "base/types.h"
#include "softmmu/physical_map.h"

#include <chrono>
#include <memory>
#include <vector>

namespace dragoman::softmmu {

class HostWindow {
  public:
    static constexpr u64 bytes = 4 * GiB;

    // Null where the host does not let it be: RAM that cannot be mapped twice, or the host's first 4 GiB are
    // in use. `map` must outlive it.
    // `most_mappings`: for the host to keep; 0: half of what the kernel allows a process.
    static std::unique_ptr<HostWindow> create(const PhysicalMap& map, u64 most_mappings = 0);
    ~HostWindow();
    HostWindow(const HostWindow&) = delete;
    HostWindow& operator=(const HostWindow&) = delete;

    u64 base() const { return base_; } // host address of slot 0

    // Is the page of RAM at `host` what the slot of `linear` holds?
    bool holds(u64 linear, const u8* host) const {
        return slots_[slot(linear)] == frame(host) && slots_[slot(linear)];
    }
    struct Mapped {
        u64 pages = 0;        // so many from `linear`'s on lie in their slots now, if those may hold any
        bool cleared = false; // all slots were emptied before: the host's limit on mappings was near
    };
    // Maps `pages` pages of RAM that are contiguous in both. None: not RAM, or the host refuses.
    Mapped map(u64 linear, const u8* host, u64 pages);

    // To be called now and then. What is in the window and was reached at PhysicalMap::ram() too counts twice
    // in the process's resident set: this empties the host's page tables for the latter, which are filled
    // again, page by page, where it is used still.
    void drop_other_mapping();

    struct Counters { // for `info jit`
        u64 mapped_pages = 0, calls = 0, clears = 0;
    };
    const Counters& counters() const { return counters_; }

  private:
    struct Free {
        void operator()(void* p) const;
    };
    HostWindow(const PhysicalMap& map, u64 base, u64 begin, u32* slots, u64 limit);
    static u64 slot(u64 linear) { return u32(linear) / PhysicalMap::page_size; }
    u32 frame(const u8* host) const { // of RAM, from 1; 0: not RAM
        return map_.is_ram(host) ? u32(u64(host - map_.ram()) / PhysicalMap::page_size) + 1 : 0;
    }
    bool clear();

    const PhysicalMap& map_;
    u64 base_, begin_;                   // host addresses of slot 0, and of the first that may hold a page
    std::unique_ptr<u32[], Free> slots_; // frame; 0: empty
    u64 mappings_ = 0, limit_;           // mappings_: an upper bound of what the host has to keep
    Counters counters_;
    using Clock = std::chrono::steady_clock;
    Clock::time_point dropped_{};
};

} // namespace dragoman::softmmu
