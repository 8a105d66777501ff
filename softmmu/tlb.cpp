#include "softmmu/tlb.h"

#include "base/bits.h"
#include "softmmu/host_window.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace dragoman::softmmu {

Tlb::Tlb() {
    for (unsigned view = 0; view < kViews; ++view)
        for (u64 index = 0; index < kPlaces; ++index) {
            if (index < kTlbEntries) tables_.beside[view][index] = {empty_tag(index), nullptr};
            empty(view, index);
        }
    for (std::vector<Slot>& list : listed_)
        list.reserve(kViews * kPlaces);
}

void Tlb::empty(unsigned view, u64 index) {
    const u64 tag = empty_tag(index % kTlbEntries);
    at(view, index) = {tag, tag, 0, 0};
    if (index >= kTlbEntries) return;
    set_beside(view, index, nullptr);
    empty_window(view, index, true);
}

void Tlb::empty_writes(unsigned view, u64 index) {
    const u64 tag = empty_tag(index % kTlbEntries);
    at(view, index).write_tag = tag;
    if (index >= kTlbEntries) return;
    set_beside(view, index, nullptr);
    empty_window(view, index, false);
}

void Tlb::set_beside(unsigned view, u64 index, const u64* lines) {
    Note& note = notes_[view][index];
    if (!note.beside && !lines) return; // the usual case, and one cache line less
    note.beside = lines;
    tables_.beside[view][index] = {lines ? note.page : empty_tag(index), lines};
}

void Tlb::list_writer(unsigned view, u64 index) {
    const u16 number = writer_number(view, index);
    const u64 host = notes_[view][index].page + at(view, index).addend;
    const u16 list = u16((host >> kPageBits) % kWriterLists);
    Writer& w = writer_[number];
    if (w.list == list) return;
    unlist(w);
    w = {.next = writers_[list], .before = 0, .list = list};
    if (w.next) writer_[w.next].before = number;
    writers_[list] = number;
}

void Tlb::unlist(Writer& w) {
    if (w.list == kWriterLists) return;
    (w.before ? writer_[w.before].next : writers_[w.list]) = w.next;
    if (w.next) writer_[w.next].before = w.before;
    w = {};
}

void Tlb::allow_writes(View view, u64 linear, const u64* code) {
    const unsigned v = unsigned(view);
    const u64 index = tlb_index(linear), page = notes_[v][index].page;
    list_writer(v, index);
    if (!code && notes_[v][index].beside)
        cool(linear); // Stubs::find counted down until the code was gone for long
    tables_.entries[v][index].write_tag = code ? empty_tag(index) : page;
    set_beside(v, index, code);
}

void Tlb::empty_window(unsigned view, u64 index, bool reads) {
    if (reads) tables_.window[view].read_tags[index] = empty_window_tag(index);
    tables_.window[view].write_tags[index] = empty_window_tag(index);
}

bool Tlb::heat_up(View view, u64 linear, bool write, u32 accesses) {
    const u64 index = tlb_index(linear);
    const TlbTables::Window& window = tables_.window[unsigned(view)];
    const u64 tag = (write ? window.write_tags : window.read_tags)[index];
    if (linear - tag <= kPageSize) return false;
    u32& heat = tables_.heat[index];
    if (heat <= accesses) return true;
    heat -= accesses;
    return false;
}

void Tlb::set_window(const HostWindow* window, u32 heat) {
    window_ = window;
    heat_limit_ = heat;
    std::fill(std::begin(tables_.heat), std::end(tables_.heat), heat);
}

void Tlb::settle_window(unsigned view, u64 index) {
    const Note& note = notes_[view][index];
    const TlbEntry& entry = tables_.entries[view][index];
    const bool there =
        note.used && window_->holds(note.page, reinterpret_cast<const u8*>(note.page + entry.addend));
    const u64 full = note.page - 1, empty = empty_window_tag(index);
    TlbTables::Window& window = tables_.window[view];
    window.read_tags[index] = there && entry.read_tag == note.page ? full : empty;
    window.write_tags[index] = there && entry.write_tag == note.page ? full : empty;
}

void Tlb::settle_window(u64 linear) {
    if (!window_) return;
    for (unsigned view = 0; view < kViews; ++view)
        settle_window(view, tlb_index(linear));
}

void Tlb::count_large(const Note& note, int by) {
    if (note.mapping.page_bits != kPageBits) large_[large_hash(note.page, note.mapping.page_bits)] += u16(by);
}

bool Tlb::may_be_large(u64 linear) const {
    for (const u8 page_bits : kLargeBits)
        if (large_[large_hash(linear, page_bits)]) return true;
    return false;
}

void Tlb::drop(Slot slot) {
    Note& note = notes_[slot.view][slot.index];
    count_large(note, -1);
    note.used = false;
    empty(slot.view, slot.index);
}

TlbEntry& Tlb::occupy(unsigned view, u64 index, u64 page, Mapping mapping) {
    Note& note = notes_[view][index];
    if (note.used) {
        count_large(note, -1);
        if (note.page != page) empty(view, index);
    }
    if (!std::exchange(note.listed[mapping.global], true))
        listed_[mapping.global].push_back({u8(view), u16(index)});
    note.page = page;
    note.mapping = mapping;
    note.used = true;
    count_large(note, 1);
    keys_seen_ |= 1u << mapping.key;
    return at(view, index);
}

void Tlb::restore(unsigned view, u64 index, u64 addend, bool writable) {
    TlbEntry& to = at(view, index);
    const u64 page = notes_[view][index].page;
    to.addend = addend;
    to.read_tag = page;
    if (!writable) return;
    list_writer(view, index);
    to.write_tag = page;
}

void Tlb::retire(unsigned view, u64 index) {
    const Note note = notes_[view][index];
    const TlbEntry from = at(view, index);
    const u64 place = victim_place(note.page);
    drop({u8(view), u16(index)});
    occupy(view, place, note.page, note.mapping);
    restore(view, place, from.addend, from.write_tag == note.page);
}

bool Tlb::recall(View view, u64 linear) {
    const unsigned v = unsigned(view);
    const u64 place = victim_place(linear), page = align_down(linear, kPageSize);
    const Note note = notes_[v][place];
    if (!note.used || note.page != page) return false;
    const TlbEntry from = at(v, place);
    claim(view, linear, note.mapping);
    restore(v, tlb_index(linear), from.addend, from.write_tag == page);
    if (window_) settle_window(v, tlb_index(linear));
    return true;
}

TlbEntry& Tlb::claim(View view, u64 linear, Mapping mapping) {
    const unsigned v = unsigned(view);
    const u64 index = tlb_index(linear), page = align_down(linear, kPageSize), place = victim_place(linear);
    if (const Note& note = notes_[v][index]; note.used && note.page != page) retire(v, index);
    if (const Note& note = notes_[v][place]; note.used && note.page == page) drop({u8(v), u16(place)});
    return occupy(v, index, page, mapping);
}

TlbEntry& Tlb::lead_to(View view, u64 linear, const u8* host, Mapping mapping) {
    TlbEntry& entry = claim(view, linear, mapping);
    const u64 addend = reinterpret_cast<u64>(host) - linear;
    if (entry.addend != addend) empty(unsigned(view), tlb_index(linear));
    entry.addend = addend;
    return entry;
}

template <class Drop> void Tlb::flush_if(bool global, Drop drops) {
    std::vector<Slot>& list = listed_[global];
    std::size_t kept = 0;
    for (const Slot slot : list) {
        Note& note = notes_[slot.view][slot.index];
        const auto here = [&] { return note.used && note.mapping.global == global; };
        if (here() && drops(note, slot)) drop(slot);
        if (here())
            list[kept++] = slot;
        else
            note.listed[global] = false;
    }
    list.resize(kept);
    if (listed_[0].empty() && listed_[1].empty()) keys_seen_ = 0;
}

void Tlb::flush(bool keep_global) {
    code_.flush(keep_global);
    const auto all = [](const Note&, Slot) { return true; };
    flush_if(false, all);
    if (!keep_global) flush_if(true, all);
}

void Tlb::flush_page(u64 linear, bool keep_global) {
    code_.flush_page(linear, keep_global);
    const auto drops = [&](const Note& note) {
        return (note.page ^ linear) >> note.mapping.page_bits == 0 && !(keep_global && note.mapping.global);
    };
    if (may_be_large(linear)) {
        for (const bool global : {false, true})
            flush_if(global, [&](const Note& note, Slot) { return drops(note); });
        return;
    }
    for (unsigned view = 0; view < kViews; ++view)
        for (const u64 index : {tlb_index(linear), victim_place(linear)}) {
            const Note& note = notes_[view][index];
            if (note.used && drops(note)) drop({u8(view), u16(index)});
        }
}

void Tlb::flush_keys(u32 keys) {
    if (!(keys & keys_seen_)) return;
    for (const bool global : {false, true})
        flush_if(global, [&](const Note& note, Slot) { return keys >> note.mapping.key & 1; });
}

void Tlb::park(Kept& to) {
    flush_if(false, [&](const Note& note, Slot slot) {
        const TlbEntry& entry = at(slot.view, slot.index);
        const bool writable = entry.write_tag == note.page;
        to.put(note.page, slot.view, note.mapping, {entry.addend, writable ? protections_ : 0});
        return true;
    });
}

void Tlb::unpark(const Kept::Place& kept) {
    const u64 index = tlb_index(kept.page);
    claim(View(kept.view), kept.page, kept.mapping);
    restore(kept.view, index, kept.what.addend, kept.what.writable_at == protections_);
    if (window_) settle_window(kept.view, index);
}

u64 Tlb::filled(View view) const {
    u64 n = 0;
    for_each([&](View of, u64, const TlbEntry&, Mapping) { n += of == view; });
    return n;
}

template <class Keep> void Tlb::protect(const u8* host_page, Keep keep) {
    ++protections_;
    const u64 host = reinterpret_cast<u64>(host_page);
    u16 next = 0;
    for (u16 number = writers_[(host >> kPageBits) % kWriterLists]; number; number = next) {
        next = writer_[number].next;
        const unsigned view = (number - 1) / kPlaces;
        const u64 index = (number - 1) % kPlaces;
        const Note& note = notes_[view][index];
        if (note.page + at(view, index).addend == host && !keep(note)) empty_writes(view, index);
        if (!note.beside && at(view, index).write_tag != note.page) unlist(writer_[number]);
    }
}

void Tlb::protect_host_page(const u8* host_page) {
    protect(host_page, [](const Note&) { return false; });
}

void Tlb::protect_code_page(const u8* host_page) {
    protect(host_page, [](const Note& note) { return note.beside; });
}

u8* Tlb::beside_code(View view, u64 linear) const {
    const u64 index = tlb_index(linear);
    const TlbTables::Beside& beside = tables_.beside[unsigned(view)][index];
    if (beside.tag != align_down(linear, kPageSize) || !*beside.lines) return nullptr;
    return reinterpret_cast<u8*>(linear + tables_.entries[unsigned(view)][index].addend);
}

} // namespace dragoman::softmmu
