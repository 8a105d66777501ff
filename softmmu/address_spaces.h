// What the TLB holds of address spaces that are not loaded (SDM vol. 3, 4.10.1, process-context identifiers).
//
// Generated code looks at one set of tables, those of the address space that is loaded. The entries of the
// few spaces used last are kept aside; going back to one costs what it had filled, and not a page walk for
// each page. Global entries stay in the tables: they belong to every space.
#pragma once

#include "softmmu/tlb.h"

#include <array>
#include <vector>

namespace dragoman::softmmu {

class AddressSpaces {
  public:
    explicit AddressSpaces(Tlb& tlb) : tlb_(tlb) {}

    u16 current() const { return current_; }
    void set_current(u16 pcid) { current_ = pcid; } // when nothing is cached of any space
    // MOV to CR3. Without `keep` the entries of `pcid` that are not global are dropped (SDM vol.
    // 3, 4.10.4.1).
    void load(u16 pcid, bool keep, u32 pkru, u32 pkrs);

    void forget_all(); // those kept aside
    void forget(u16 pcid);
    void forget_page(u16 pcid, u64 linear);
    // A page was protected: no kept write tag holds any more.
    void page_protected() { ++protections_; }

  private:
    struct Space {
        u16 pcid = 0;
        bool used = false;
        u64 left_at = 0; // loads_ then; the oldest makes room
        u64 protections = 0;
        u32 pkru = 0, pkrs = 0; // under which the entries were filled
        std::vector<Tlb::Parked> entries;
        std::vector<CodePages::Parked> code;
    };
    Space* find(u16 pcid);
    Space& room();

    Tlb& tlb_;
    u16 current_ = 0;
    u64 loads_ = 0, protections_ = 0;
    std::array<Space, 8> spaces_;
};

// The keys, as bits of Mapping::key, whose rights differ between two values of PKRU and of IA32_PKRS.
u32 changed_keys(u32 pkru_a, u32 pkrs_a, u32 pkru_b, u32 pkrs_b);

} // namespace dragoman::softmmu
