// Linear to physical: page walks by the SDM (vol. 3, ch. 4), TLB fill, and the slow path of every access.
#pragma once

#include "softmmu/physical_map.h"
#include "softmmu/tlb.h"

#include <functional>
#include <string>
#include <vector>

namespace dragoman::softmmu {

enum class AccessKind : u8 { Read, Write, ReadWrite, Execute };

// What of the control registers decides a walk. Set by the frontend whenever one of them changes.
struct PagingState {
    u64 cr3 = 0;
    bool paging = false;                                            // CR0.PG
    bool write_protect = false;                                     // CR0.WP
    bool pse = false, pae = false, long_mode = false, la57 = false; // CR4.PSE, CR4.PAE, EFER.LMA, CR4.LA57
    bool nxe = false, smep = false, smap = false, pge = false, pat_pse36 = true;
    u64 pdpte[4] = {}; // PAE paging: loaded with CR3 (SDM vol. 3, 4.4.1)
};

// Page fault as the processor reports it (SDM vol. 3, 4.7): the error code has P, W/R, U/S, RSVD, I/D.
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
    void flush(bool keep_global);
    void invlpg(u64 linear);
    // Advances with every flush and INVLPG: what was looked up by linear address under another epoch is stale.
    u64 epoch() const { return epoch_; }

    // Walks for an access of this kind, sets A (and D for writes), no TLB. `gpa` is after A20.
    struct Translation {
        bool ok = false;
        u64 gpa = 0;
        u64 page_bytes = 4096; // size of the mapping: 4 KiB, 2 MiB, 4 MiB, 1 GiB
        bool writable = false; // a write under the same view is allowed and D is set already
        bool global = false;
        PageFault fault;
        const char* why = ""; // the step of the walk that failed, for the report of a triple fault
    };
    Translation translate(u64 linear, AccessKind kind, View view);
    // The same for the debugger and the monitor: supervisor read, sets nothing, ignores permissions.
    Translation probe(u64 linear) const;

    // One access inside the linear address space; see ir::Memory::acquire for the protocol.
    struct Acquired {
        u8* host = nullptr;   // null: not possible, see `fault` and `restart`
        bool restart = false; // it would overwrite the running block
        PageFault fault;
    };
    Acquired acquire(u64 linear, u32 size, AccessKind kind, View view);
    void commit();

    // Instruction bytes: host pointer to `linear`'s byte and how many follow in its page; null host and `io`
    // set when the page is not memory (then bytes are read one by one by map().load). Sets the exec tag.
    struct Fetched {
        bool ok = false;
        const u8* host = nullptr;
        u64 gpa = 0;
        PageFault fault;
    };
    Fetched fetch(u64 linear, View view);

    // A debugger's watchpoints. Accesses to their pages always take the slow path; one that touches a watched
    // byte in the watched way calls `hit` (before it happens).
    struct Watch {
        u64 linear = 0, bytes = 1;
        bool on_read = false, on_write = true;
    };
    void set_watches(std::vector<Watch> watches, std::function<void(const Watch&)> hit);

    const std::vector<Watch>& watches() const { return watches_; }

    // MapListener
    void mappings_changed() override { flush(false); }
    void write_protected(const u8* host_page) override { tlb_.protect_host_page(host_page); }

    PhysicalMap& map() { return map_; }
    Tlb& tlb() { return tlb_; }
    std::string describe() const; // `info mem`: the current mappings

  private:
    Translation walk(u64 linear, AccessKind kind, View view, bool set_accessed) const;
    bool watched(u64 linear_page) const;
    void report_watches(u64 linear, u32 size, AccessKind kind) const;
    // Host pointer to memory that may be accessed directly, after filling the TLB; null: I/O, or code would
    // be hit.
    u8* direct(u64 linear, u32 size, AccessKind kind, View view, const Translation& t);
    bool code_forbids(u64 gpa, u32 size) const;
    void load_bounce(u8* to, u64 gpa, u32 bytes);
    void store_bounce(const u8* from, u64 gpa, u32 bytes);

    PhysicalMap& map_;
    Tlb& tlb_;
    Log& log_;
    PagingState paging_;
    u64 epoch_ = 0;
    std::vector<Watch> watches_;
    std::function<void(const Watch&)> watch_hit_;
    struct Open { // a bounce buffer waiting for commit()
        bool active = false;
        u64 gpa[2] = {};
        u32 bytes[2] = {};
    } open_;
    alignas(64) u8 bounce_[64] = {};
};

} // namespace dragoman::softmmu
