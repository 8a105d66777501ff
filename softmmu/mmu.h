// Linear to physical: page walks by the SDM (vol. 3, ch. 4), TLB fill, and the slow path of every access.
#pragma once

#include "base/log.h"
#include "softmmu/address_spaces.h"
#include "softmmu/host_window.h"
#include "softmmu/physical_map.h"
#include "softmmu/tlb.h"

#include <functional>
#include <string>
#include <vector>

namespace dragoman::softmmu {

enum class AccessKind : u8 { Read, Write, ReadWrite, Execute };

// What decides a walk: control registers, and what the processor model has. Set by the frontend whenever one
// of them changes.
struct PagingState {
    u64 cr3 = 0;
    u16 pcid = 0;                                                   // CR3[11:0] if CR4.PCIDE
    bool paging = false;                                            // CR0.PG
    bool write_protect = false;                                     // CR0.WP
    bool pse = false, pae = false, long_mode = false, la57 = false; // CR4.PSE, CR4.PAE, EFER.LMA, CR4.LA57
    bool nxe = false, smep = false, smap = false, pge = false;
    bool pke = false, pks = false;                 // CR4.PKE, CR4.PKS
    u32 pkru = 0, pkrs = 0;                        // rights by protection key: AD and WD, two bits each
    bool page_1g = true, pse36 = true, pat = true; // CPUID
    u8 physical_bits = PhysicalMap::address_bits;  // MAXPHYADDR
    u64 pdpte[4] = {};                             // PAE paging: loaded with CR3 (SDM vol. 3, 4.4.1)
};

// Page fault as the processor reports it (SDM vol. 3, 4.7): the error code has P, W/R, U/S, RSVD, I/D, PK.
struct PageFault {
    u64 address = 0;
    u32 error = 0;
};

class Mmu final : public MapListener {
  public:
    Mmu(PhysicalMap& map, Tlb& tlb, Log& log) : map_(map), tlb_(tlb), log_(log) { map.add_listener(*this); }
    ~Mmu() override { map_.remove_listener(*this); }
    Mmu(const Mmu&) = delete;
    Mmu& operator=(const Mmu&) = delete;

    void set_paging(const PagingState& state) { paging_ = state; } // does not flush
    const PagingState& paging() const { return paging_; }
    // WRPKRU and the like: drops what was filled under other rights.
    void set_protection_keys(u32 pkru, u32 pkrs);

    // What drops translations (SDM vol. 3, 4.10.4.1). Of every address space:
    void flush(bool keep_global);
    // MOV to CR3, after set_paging. `keep`: bit 63 was set.
    void load_address_space(bool keep);
    void invlpg(u64 linear) { spaces_.invlpg(linear); }
    // INVPCID, types 0 and 1: neither drops global translations.
    void invalidate_page(u16 pcid, u64 linear) { spaces_.invalidate_page(pcid, linear); }
    void invalidate_space(u16 pcid) { spaces_.invalidate_space(pcid); }

    // Walks for an access of this kind, sets A (and D for writes), no TLB. `gpa` is after A20.
    struct Translation {
        bool ok = false;
        u64 gpa = 0;
        Mapping mapping;
        bool writable = false; // a write under the same view is allowed and D is set already
        PageFault fault;
        const char* why = ""; // the step of the walk that failed, for the report of a triple fault
    };
    Translation translate(u64 linear, AccessKind kind, View view);
    // The same for the debugger and the monitor: supervisor read, sets nothing, ignores permissions.
    Translation probe(u64 linear) const;

    // One access inside the linear address space; see ir::Memory::acquire for the protocol.
    struct Acquired {
        u8* host = nullptr;   // null: not possible, see `fault` and `restart`
        bool restart = false; // it would overwrite the running block, or a watchpoint refused it
        PageFault fault;
    };
    Acquired acquire(u64 linear, u32 size, AccessKind kind, View view);
    void commit();
    // Many stores, one after the other, are about to go to [linear, linear+bytes), of which only what lies in
    // the first page counts: translations made from it are forgotten at once, if the TLB leads there, and not
    // by each store.
    void expect_stores(u64 linear, u64 bytes, View view);

    // Instruction bytes: host pointer to `linear`'s byte and how many follow in its page; null host and `io`
    // set when the page is not memory (then bytes are read one by one by map().load). From now on
    // tlb().code() knows the page, with this number.
    struct Fetched {
        bool ok = false;
        const u8* host = nullptr;
        u64 gpa = 0;
        u32 number = CodePages::kNoNumber;
        PageFault fault;
    };
    Fetched fetch(u64 linear, View view);
    // When tlb().code() is exhausted.
    void restart_code_numbers();

    // Watchpoints of a debugger, or of the guest's debug registers. Accesses to their pages always take the
    // slow path; one that touches a watched byte in the watched way asks `hit` before it happens. Where that
    // returns false the access is refused (Acquired::restart).
    struct Watch {
        u64 linear = 0, bytes = 1;
        bool on_read = false, on_write = true;
        bool guest = false; // of the guest's debug registers

        friend bool operator==(const Watch&, const Watch&) = default;
    };
    using WatchHit = std::function<bool(const Watch& watch, u64 linear, u32 size, AccessKind kind)>;
    void set_watches(std::vector<Watch> watches, WatchHit hit);

    const std::vector<Watch>& watches() const { return watches_; }

    // Borrowed; null: none. Pages are mapped there after `heat` accesses that found no window tag.
    void set_window(HostWindow* window, u32 heat);
    // Maps the page of a filled TLB entry to its slot. Whoever relies on what another slot holds must look
    // again.
    void promote(u64 linear, View view);
    // A helper has accessed a page where its TLB entry leads: as dear as so many accesses of generated code
    // that found no window tag. Pages are mapped for it too.
    void accessed_cold(u64 linear, bool write, View view, u32 accesses) {
        if (window_ && tlb_.heat_up(view, linear, write, accesses)) promote(linear, view);
    }

    // MapListener
    void mappings_changed() override { flush(false); }
    void write_protected(const u8* host_page) override { tlb_.protect_host_page(host_page); }
    void code_came(const u8* host_page) override { tlb_.protect_code_page(host_page); }

    PhysicalMap& map() { return map_; }
    Tlb& tlb() { return tlb_; }
    std::string describe() const; // `info mem`: the current mappings

  private:
    // What the paging structures say about an address, before anybody's right to it is asked.
    struct Walk {
        const char* missing = nullptr; // the step that failed: the access faults with `error`
        u32 error = 0;
        u8 count = 0, entry_bytes = 0; // the entries used, the leaf last
        u64 entries[5], addresses[5];
        bool writable = true, user = true, no_execute = false, dirty = true;
        u64 gpa = 0;
        Mapping mapping;
    };
    Walk find(u64 linear) const;
    Translation judge(u64 linear, const Walk& walk, AccessKind kind, View view) const;
    // Sets A, and D for a write: once it is known that nothing faults.
    void mark(Walk& walk, bool write);
    void report(const Translation& t) const;
    bool watched(u64 linear_page) const;
    bool watches_allow(u64 linear, u32 size, AccessKind kind) const;
    // Host pointer to memory that may be accessed directly, after filling the TLB; null: I/O, or code would
    // be hit.
    u8* direct(u64 linear, u32 size, AccessKind kind, View view, const Translation& t);
    // The bounce buffer of an access over two pages of memory.
    Acquired open_crossing(u8* const (&host)[2], const u32 (&bytes)[2], AccessKind kind);
    Acquired write_code_page(u8* host, u32 size, AccessKind kind); // in RAM
    bool code_forbids(u64 gpa, u32 size) const;
    u8* in_tlb(u64 linear, bool write, View view) const; // null: not there
    // Brings what is still known of a page to its TLB entry.
    void recall(u64 linear, View view);
    void load_bounce(u8* to, u64 gpa, u32 bytes);
    void store_bounce(const u8* from, u64 gpa, u32 bytes);

    PhysicalMap& map_;
    Tlb& tlb_;
    HostWindow* window_ = nullptr;
    u32 fills_ = 0;
    Log& log_;
    PagingState paging_;
    AddressSpaces spaces_{tlb_};
    std::vector<Watch> watches_;
    WatchHit watch_hit_;
    struct Open { // a bounce buffer waiting for commit()
        bool active = false;
        u8* host[2] = {}; // where the parts go; null: to gpa
        u64 gpa[2] = {};
        u32 bytes[2] = {};
    } open_;
    alignas(64) u8 bounce_[64] = {};
};

} // namespace dragoman::softmmu
