#include "softmmu/tlb.h"

#include "base/bits.h"

namespace dragoman::softmmu {

Tlb::Tlb() {
    for (unsigned view = 0; view < kViews; ++view)
        for (u64 index = 0; index < kTlbEntries; ++index)
            empty(view, index);
    used_.reserve(kViews * kTlbEntries);
}

void Tlb::empty(unsigned view, u64 index) {
    const u64 tag = empty_tag(index);
    tables_[view][index] = {tag, tag, tag, 0};
}

TlbEntry& Tlb::claim(View view, u64 linear, bool global, u8 page_bits) {
    const unsigned v = unsigned(view);
    const u64 index = tlb_index(linear);
    const u64 page = align_down(linear, kPageSize);
    Note& note = notes_[v][index];
    if (!note.used) {
        used_.push_back({u8(v), u16(index)});
        note.used = true;
    } else if (note.page != page) {
        empty(v, index);
    }
    note.page = page;
    note.global = global;
    note.page_bits = page_bits;
    return tables_[v][index];
}

TlbEntry& Tlb::lead_to(View view, u64 linear, const u8* host, bool global, u8 page_bits) {
    TlbEntry& entry = claim(view, linear, global, page_bits);
    const u64 addend = reinterpret_cast<u64>(host) - linear;
    if (entry.addend != addend) empty(unsigned(view), tlb_index(linear));
    entry.addend = addend;
    return entry;
}

template <class Drop> void Tlb::flush_if(Drop drop) {
    std::size_t kept = 0;
    for (const Slot slot : used_) {
        Note& note = notes_[slot.view][slot.index];
        if (drop(note)) {
            note.used = false;
            empty(slot.view, slot.index);
        } else {
            used_[kept++] = slot;
        }
    }
    used_.resize(kept);
}

void Tlb::flush(bool keep_global) {
    flush_if([&](const Note& note) { return !(keep_global && note.global); });
}

void Tlb::flush_page(u64 linear) {
    flush_if([&](const Note& note) { return (note.page ^ linear) >> note.page_bits == 0; });
}

u64 Tlb::filled(View view) const {
    u64 n = 0;
    for (const Slot slot : used_)
        n += slot.view == unsigned(view);
    return n;
}

void Tlb::protect_host_page(const u8* host_page) {
    for (const Slot slot : used_) {
        TlbEntry& entry = tables_[slot.view][slot.index];
        const u64 page = notes_[slot.view][slot.index].page;
        if (entry.write_tag == page && reinterpret_cast<const u8*>(page + entry.addend) == host_page)
            entry.write_tag = empty_tag(slot.index);
    }
}

} // namespace dragoman::softmmu
