#include "softmmu/address_spaces.h"

#include "base/bits.h"

#include <algorithm>

namespace dragoman::softmmu {

u32 changed_keys(u32 pkru_a, u32 pkrs_a, u32 pkru_b, u32 pkrs_b) {
    u32 keys = 0;
    if (pkru_a == pkru_b && pkrs_a == pkrs_b) return keys;
    for (unsigned key = 0; key < 16; ++key) {
        if ((pkru_a ^ pkru_b) >> 2 * key & 3) keys |= 1u << key;
        if ((pkrs_a ^ pkrs_b) >> 2 * key & 3) keys |= 1u << (key + 16);
    }
    return keys;
}

AddressSpaces::AddressSpaces(Tlb& tlb) : tlb_(tlb) {
    loaded_->used = true;
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
    if (!keep) invalidate_space(pcid);
    if (pcid == loaded_->pcid) return;

    tlb_.park(*loaded_->entries);
    tlb_.code().park(*loaded_->code);
    loaded_->left_at = ++loads_;
    loaded_->pkru = pkru;
    loaded_->pkrs = pkrs;

    if (Space* const known = find(pcid)) {
        known->entries->forget_keys(changed_keys(known->pkru, known->pkrs, pkru, pkrs));
        loaded_ = known;
    } else {
        loaded_ = &room();
        loaded_->forget();
        loaded_->used = true;
        loaded_->pcid = pcid;
    }
}

bool AddressSpaces::recall(View view, u64 linear) {
    const Tlb::Kept::Place* const kept =
        loaded_->entries->take(align_down(linear, kPageSize), unsigned(view));
    if (kept) tlb_.unpark(*kept);
    return kept;
}

const CodePages::Page* AddressSpaces::recall_code(u64 linear, bool user) {
    const CodePages::Kept::Place* const kept = loaded_->code->take(align_down(linear, kPageSize), user);
    return kept ? &tlb_.code().unpark(*kept) : nullptr;
}

void AddressSpaces::flush(bool keep_global, u16 pcid) {
    tlb_.flush(keep_global);
    for (Space& space : spaces_)
        space.used = &space == loaded_;
    loaded_->forget();
    loaded_->pcid = pcid;
}

void AddressSpaces::invlpg(u64 linear) {
    tlb_.flush_page(linear);
    loaded_->forget_page(linear);
}

void AddressSpaces::invalidate_page(u16 pcid, u64 linear) {
    Space* const space = find(pcid);
    if (!space) return;
    if (space == loaded_) tlb_.flush_page(linear, true);
    space->forget_page(linear);
}

void AddressSpaces::invalidate_space(u16 pcid) {
    Space* const space = find(pcid);
    if (!space) return;
    if (space == loaded_) tlb_.flush(true);
    space->forget();
}

void AddressSpaces::flush_keys(u32 keys) {
    tlb_.flush_keys(keys);
    loaded_->entries->forget_keys(keys);
}

} // namespace dragoman::softmmu
