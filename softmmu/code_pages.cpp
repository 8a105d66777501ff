#include "softmmu/code_pages.h"

#include "base/bits.h"

namespace dragoman::softmmu {

u32 CodePages::number(u64 linear, u64 gpa) {
    const Pair pair{linear, gpa};
    if (const auto it = given_.find(pair); it != given_.end()) return it->second;
    if (exhausted()) return kNoNumber;
    if (given_.size() >= kMostNumbered) given_.clear();
    return given_[pair] = next_++;
}

void CodePages::restart() {
    flush(false);
    given_.clear();
    next_ = 1;
}

void CodePages::count_large(const Page& page, int by) {
    if (page.mapping.page_bits != kPageBits)
        large_[large_hash(page.linear, page.mapping.page_bits)] += u16(by);
}

bool CodePages::may_be_large(u64 linear) const {
    for (const u8 page_bits : kLargeBits)
        if (large_[large_hash(linear, page_bits)]) return true;
    return false;
}

void CodePages::drop(Slot s) {
    count_large(pages_[s.user][s.at], -1);
    numbers_[s.user][s.at] = 0;
}

// A slot that is taken over from a page of the other kind stays in that one's list, which lets it go later.
const CodePages::Page& CodePages::put(const Page& page, bool user) {
    const Slot s{user, u16(slot(page.linear))};
    if (numbers_[user][s.at]) drop(s);
    Page& to = pages_[user][s.at] = page;
    if (page.number == kNoNumber) return to;
    numbers_[user][s.at] = page.number;
    count_large(page, 1);
    const u8 bit = u8(1 << page.mapping.global);
    if (is_listed_[user][s.at] & bit) return to;
    is_listed_[user][s.at] |= bit;
    listed_[page.mapping.global].push_back(s);
    return to;
}

const CodePages::Page& CodePages::fill(u64 linear, bool user, u64 gpa, const u8* host, Mapping mapping) {
    const u64 at = align_down(linear, kPageSize), from = align_down(gpa, kPageSize);
    return put({.linear = at, .gpa = from, .host = host, .number = number(at, from), .mapping = mapping},
               user);
}

template <class Drops> void CodePages::flush_if(bool global, Drops drops) {
    std::vector<Slot>& list = listed_[global];
    std::size_t kept = 0;
    for (const Slot s : list) {
        const Page& page = pages_[s.user][s.at];
        const auto here = [&] { return numbers_[s.user][s.at] && page.mapping.global == global; };
        if (here() && drops(page, s)) drop(s);
        if (here())
            list[kept++] = s;
        else
            is_listed_[s.user][s.at] &= u8(~(1 << global));
    }
    list.resize(kept);
}

void CodePages::flush(bool keep_global) {
    const auto all = [](const Page&, Slot) { return true; };
    flush_if(false, all);
    if (!keep_global) flush_if(true, all);
}

void CodePages::flush_page(u64 linear, bool keep_global) {
    const auto drops = [&](const Page& page) {
        return (page.linear ^ linear) >> page.mapping.page_bits == 0 && !(keep_global && page.mapping.global);
    };
    if (may_be_large(linear)) {
        for (const bool global : {false, true})
            flush_if(global, [&](const Page& page, Slot) { return drops(page); });
        return;
    }
    const u16 at = u16(slot(linear));
    for (const bool user : {false, true})
        if (numbers_[user][at] && drops(pages_[user][at])) drop({user, at});
}

void CodePages::park(Kept& to) {
    flush_if(false, [&](const Page& page, Slot s) {
        to.put(page.linear, s.user, page.mapping, page);
        return true;
    });
}

const CodePages::Page& CodePages::unpark(const Kept::Place& kept) {
    return put(kept.what, kept.view);
}

} // namespace dragoman::softmmu
