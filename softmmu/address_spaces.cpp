#include "softmmu/address_spaces.h"

#include <algorithm>

namespace dragoman::softmmu {

u32 changed_keys(u32 pkru_a, u32 pkrs_a, u32 pkru_b, u32 pkrs_b) {
    u32 keys = 0;
    for (unsigned key = 0; key < 16; ++key) {
        if ((pkru_a ^ pkru_b) >> 2 * key & 3) keys |= 1u << key;
        if ((pkrs_a ^ pkrs_b) >> 2 * key & 3) keys |= 1u << (key + 16);
    }
    return keys;
}

AddressSpaces::Space* AddressSpaces::find(u16 pcid) {
    for (Space& space : spaces_)
        if (space.used && space.pcid == pcid) return &space;
    return nullptr;
}

AddressSpaces::Space& AddressSpaces::room() {
    return *std::min_element(spaces_.begin(), spaces_.end(), [](const Space& a, const Space& b) {
        return a.used != b.used ? !a.used : a.left_at < b.left_at;
    });
}

void AddressSpaces::load(u16 pcid, bool keep, u32 pkru, u32 pkrs) {
    if (pcid == current_) {
        if (keep) return;
        tlb_.flush(true);
        return;
    }
    if (!keep) forget(pcid);
    Space* const to = find(pcid);
    if (to) to->left_at = loads_; // do not take its room

    Space& from = room();
    from.entries.clear();
    from.code.clear();
    tlb_.park(from.entries);
    tlb_.code().park(from.code);
    from.pcid = current_;
    from.used = true;
    from.left_at = ++loads_;
    from.protections = protections_;
    from.pkru = pkru;
    from.pkrs = pkrs;
    current_ = pcid;

    if (!to) return;
    tlb_.unpark(to->entries, to->protections == protections_);
    tlb_.flush_keys(changed_keys(to->pkru, to->pkrs, pkru, pkrs));
    tlb_.code().unpark(to->code);
    to->used = false;
}

void AddressSpaces::forget_all() {
    for (Space& space : spaces_)
        space.used = false;
}

void AddressSpaces::forget(u16 pcid) {
    if (Space* space = find(pcid)) space->used = false;
}

void AddressSpaces::forget_page(u16 pcid, u64 linear) {
    Space* const space = find(pcid);
    if (!space) return;
    std::erase_if(space->entries, [&](const Tlb::Parked& parked) {
        return (parked.page ^ linear) >> parked.mapping.page_bits == 0;
    });
    std::erase_if(space->code, [&](const CodePages::Parked& parked) {
        return (parked.page.linear ^ linear) >> parked.page.mapping.page_bits == 0;
    });
}

} // namespace dragoman::softmmu
