// What is cached of each address space (SDM vol. 3, 4.10.1, process-context identifiers).
//
// Generated code looks at one set of tables, the TLB's, and those hold what the address space that is loaded
// has used since it was. What it had used before is *kept* here, and goes back to the tables page by page, at
// the first miss. So a MOV to CR3 costs what was used since the one before, neither the working set of a
// space nor a page walk for each of its pages. Global entries stay in the tables: they belong to every space.
#pragma once

#include "softmmu/tlb.h"

#include <array>
#include <memory>

namespace dragoman::softmmu {

class AddressSpaces {
  public:
    explicit AddressSpaces(Tlb& tlb);
    AddressSpaces(const AddressSpaces&) = delete;
    AddressSpaces& operator=(const AddressSpaces&) = delete;

    // MOV to CR3. Without `keep` the entries of `pcid` that are not global are dropped (SDM vol.
    // 3, 4.10.4.1). `pkru` and `pkrs` are in force before and after.
    void load(u16 pcid, bool keep, u32 pkru, u32 pkrs);

    // What the loaded space keeps of a page that the tables do not hold goes back there. False: nothing.
    bool recall(View view, u64 linear);
    const CodePages::Page* recall_code(u64 linear, bool user);

    // What drops translations, in the tables and here. `pcid` is loaded from now on:
    void flush(bool keep_global, u16 pcid);
    // Of the loaded space, and global ones.
    void invlpg(u64 linear);
    void invalidate_page(u16 pcid, u64 linear); // not global ones; nor does the next
    void invalidate_space(u16 pcid);
    // The rights of these protection keys change. Of spaces that are not loaded, load() drops them.
    void flush_keys(u32 keys);

  private:
    struct Space {
        bool used = false;
        u16 pcid = 0;
        u64 left_at = 0;        // loads_ then; the oldest makes room
        u32 pkru = 0, pkrs = 0; // then
        std::unique_ptr<Tlb::Kept> entries = std::make_unique<Tlb::Kept>();
        std::unique_ptr<CodePages::Kept> code = std::make_unique<CodePages::Kept>();

        void forget() { entries->forget(), code->forget(); }
        void forget_page(u64 linear) { entries->forget_page(linear), code->forget_page(linear); }
    };
    Space* find(u16 pcid);
    Space& room(); // for one that is not known

    Tlb& tlb_;
    u64 loads_ = 0;
    std::array<Space, 8> spaces_;
    Space* loaded_ = &spaces_[0];
};

// The keys, as bits of Mapping::key, whose rights differ between two values of PKRU and of IA32_PKRS.
u32 changed_keys(u32 pkru_a, u32 pkrs_a, u32 pkru_b, u32 pkrs_b);

} // namespace dragoman::softmmu
