// The slow path: what an access does when the inline TLB check missed.
#include "softmmu/mmu.h"

#include "base/bits.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace dragoman::softmmu {

void Mmu::flush(bool keep_global) {
    if (log_.enabled(LogItem::Mmu))
        log_.print(LogItem::Mmu, "TLB flush%s\n", keep_global ? " of non-global entries" : "");
    spaces_.flush(keep_global, paging_.pcid); // whatever changed it: nothing is left of another one
}

void Mmu::load_address_space(bool keep) {
    if (log_.enabled(LogItem::Mmu))
        log_.print(LogItem::Mmu, "address space %u%s\n", paging_.pcid, keep ? ", kept" : "");
    spaces_.load(paging_.pcid, keep, paging_.pkru, paging_.pkrs);
}

void Mmu::set_protection_keys(u32 pkru, u32 pkrs) {
    spaces_.flush_keys(changed_keys(paging_.pkru, paging_.pkrs, pkru, pkrs));
    paging_.pkru = pkru;
    paging_.pkrs = pkrs;
}

void Mmu::set_watches(std::vector<Watch> watches, WatchHit hit) {
    watches_ = std::move(watches);
    watch_hit_ = std::move(hit);
    flush(false);
}

bool Mmu::watched(u64 linear_page) const {
    return std::any_of(watches_.begin(), watches_.end(), [&](const Watch& w) {
        return align_down(w.linear, kPageSize) <= linear_page && linear_page < w.linear + w.bytes;
    });
}

bool Mmu::watches_allow(u64 linear, u32 size, AccessKind kind) const {
    bool allowed = true;
    for (const Watch& w : watches_) {
        const bool touches = linear - w.linear < w.bytes || w.linear - linear < size;
        const bool way = kind == AccessKind::Read ? w.on_read : kind == AccessKind::Write ? w.on_write : true;
        if (touches && way && watch_hit_) allowed &= watch_hit_(w, linear, size, kind);
    }
    return allowed;
}

u8* Mmu::direct(u64 linear, u32 size, AccessKind kind, View view, const Translation& t) {
    const PhysicalMap::Page page = map_.lookup(t.gpa);
    const bool write = kind != AccessKind::Read;
    if (!page.host || (write && !page.writable)) return nullptr;
    u8* const host = page.host + t.gpa % kPageSize;
    if (write && page.dirty_logged) map_.mark_dirty(t.gpa);
    if (!watches_.empty() && watched(align_down(linear, kPageSize))) {
        return write && page.has_code && map_.hits_code(t.gpa, size) ? nullptr : host;
    }

    constexpr u32 kFillsBetweenDrops = 4096; // as many pages at most became resident in between
    if (window_ && ++fills_ % kFillsBetweenDrops == 0) window_->drop_other_mapping();
    TlbEntry& entry = tlb_.lead_to(view, linear, host, t.mapping);
    const u64 tag = align_down(linear, kPageSize);
    entry.read_tag = tag;
    const bool logged = page.dirty_logged && !write;
    if (t.writable && page.writable && !logged) {
        if (!page.has_code)
            tlb_.allow_writes(view, linear);
        else if (write)
            tlb_.allow_writes(view, linear, map_.code_lines(t.gpa));
    }
    tlb_.settle_window(linear);
    if (write && page.has_code && map_.hits_code(t.gpa, size)) return nullptr;
    return host;
}

bool Mmu::code_forbids(u64 gpa, u32 size) const {
    CodeWatcher* watcher = map_.watcher();
    return watcher && map_.hits_code(gpa, size) && !watcher->may_write(gpa, size);
}

// Up to 8 bytes go to a chip as one access; more as several.
void Mmu::load_bounce(u8* to, u64 gpa, u32 bytes) {
    while (bytes) {
        const u32 n = std::bit_floor(std::min<u32>(bytes, 8));
        const u64 value = map_.load(gpa, n);
        std::memcpy(to, &value, n);
        to += n;
        gpa += n;
        bytes -= n;
    }
}

void Mmu::store_bounce(const u8* from, u64 gpa, u32 bytes) {
    while (bytes) {
        const u32 n = std::bit_floor(std::min<u32>(bytes, 8));
        u64 value = 0;
        std::memcpy(&value, from, n);
        map_.store(gpa, n, value);
        from += n;
        gpa += n;
        bytes -= n;
    }
}

u8* Mmu::in_tlb(u64 linear, bool write, View view) const {
    const TlbEntry& entry = tlb_.entry(view, linear);
    if (align_down(linear, kPageSize) != (write ? entry.write_tag : entry.read_tag)) return nullptr;
    return reinterpret_cast<u8*>(linear + entry.addend);
}

void Mmu::recall(u64 linear, View view) {
    if (!in_tlb(linear, false, view) && !tlb_.recall(view, linear)) spaces_.recall(view, linear);
}

void Mmu::set_window(HostWindow* window, u32 heat) {
    window_ = window;
    tlb_.set_window(window, heat);
}

// In accesses that find no window tag: the bounce buffer and the call of C++ code.
constexpr u32 kCrossingCosts = 16;

void Mmu::promote(u64 linear, View view) {
    constexpr u8 kMostBits = 21; // pages of larger mappings are mapped this many bytes at a time
    tlb_.cool(linear);
    tlb_.recall(view, linear);
    if (!window_ || !in_tlb(linear, false, view)) return;
    u64 at = align_down(linear, kPageSize), pages = 1;
    const TlbEntry& entry = tlb_.entry(view, at);
    const u8* host = reinterpret_cast<const u8*>(at + entry.addend);
    if (!map_.is_ram(host)) return;
    if (tlb_.mapping(view, at).page_bits >= kMostBits) {
        const u64 large = align_down(at, u64{1} << kMostBits), before = at - large;
        if (map_.is_ram(host - before)) at = large, host -= before, pages = u64{1} << (kMostBits - kPageBits);
    }
    const HostWindow::Mapped mapped = window_->map(at, host, pages);
    if (log_.enabled(LogItem::Mmu))
        log_.print(LogItem::Mmu, "window: %llu pages at %016llx%s\n", (unsigned long long)mapped.pages,
                   (unsigned long long)at, mapped.cleared ? ", the others given up" : "");
    if (mapped.cleared)
        for (u64 index = 0; index < kTlbEntries; ++index)
            tlb_.settle_window(index << kPageBits);
    for (u64 n = 0; n < mapped.pages; ++n)
        tlb_.settle_window(at + n * kPageSize);
}

Mmu::Acquired Mmu::open_crossing(u8* const (&host)[2], const u32 (&bytes)[2], AccessKind kind) {
    if (kind != AccessKind::Read)
        open_ = {.active = true, .host = {host[0], host[1]}, .bytes = {bytes[0], bytes[1]}};
    if (kind != AccessKind::Write) {
        std::memcpy(bounce_, host[0], bytes[0]);
        std::memcpy(bounce_ + bytes[0], host[1], bytes[1]);
    }
    return {.host = bounce_};
}

// Beside its code in place, onto it by way of the watcher.
Mmu::Acquired Mmu::write_code_page(u8* host, u32 size, AccessKind kind) {
    const u64 gpa = map_.gpa_of_ram(host);
    if (!map_.hits_code(gpa, size)) return {.host = host};
    if (code_forbids(gpa, size)) return {.restart = true};
    open_ = {.active = true, .gpa = {gpa, 0}, .bytes = {size, 0}};
    if (kind != AccessKind::Write) load_bounce(bounce_, gpa, size);
    return {.host = bounce_};
}

Mmu::Acquired Mmu::acquire(u64 linear, u32 size, AccessKind kind, View view) {
    DRAGOMAN_ASSERT(size >= 1 && size <= sizeof bounce_);
    const bool write = kind != AccessKind::Read;
    if (write) open_.active = false; // one before may have been given up
    const u32 first = u32(std::min<u64>(size, kPageSize - linear % kPageSize));
    if (!watches_.empty() && !watches_allow(linear, size, kind)) return {.restart = true};

    // In legacy modes the second page of an access at the top wraps to address 0.
    const u64 second = paging_.long_mode ? linear + first : (linear + first) & 0xffffffff;
    const u64 at[2] = {linear, second};
    const u32 bytes[2] = {first, size - first};
    const unsigned parts = bytes[1] ? 2 : 1;
    for (unsigned part = 0; part < parts; ++part)
        recall(at[part], view);
    // The usual case: interpreter and helpers find the page in the TLB, or both pages.
    u8* host[2] = {in_tlb(linear, write, view), nullptr};
    if (host[0]) {
        if (parts == 1) return {.host = host[0]};
        host[1] = in_tlb(second, write, view);
        if (host[1]) {
            for (const u64 page : at)
                accessed_cold(page, write, view, kCrossingCosts);
            return open_crossing(host, bytes, kind);
        }
    } else if (write && parts == 1) {
        u8* const beside = tlb_.beside_code(view, linear);
        if (beside && map_.is_ram(beside)) return write_code_page(beside, size, kind);
    }

    Walk walks[2];
    Translation t[2];
    for (unsigned part = 0; part < parts; ++part) {
        walks[part] = find(at[part]);
        t[part] = judge(at[part], walks[part], kind, view);
        if (!t[part].ok) {
            report(t[part]);
            return {.fault = t[part].fault};
        }
    }
    for (unsigned part = 0; part < parts; ++part) {
        mark(walks[part], write);
        t[part].writable |= write;
        host[part] = direct(at[part], bytes[part], kind, view, t[part]);
    }
    if (host[0] && parts == 1) return {.host = host[0]};
    if (host[0] && host[1]) return open_crossing(host, bytes, kind);
    const u64 gpa[2] = {t[0].gpa, t[1].gpa};
    if (write) {
        for (unsigned part = 0; part < 2 && bytes[part]; ++part)
            if (code_forbids(gpa[part], bytes[part])) return {.restart = true};
        open_ = {.active = true, .gpa = {gpa[0], gpa[1]}, .bytes = {bytes[0], bytes[1]}};
    }
    if (kind != AccessKind::Write) {
        load_bounce(bounce_, gpa[0], bytes[0]);
        if (bytes[1]) load_bounce(bounce_ + bytes[0], gpa[1], bytes[1]);
    }
    return {.host = bounce_};
}

void Mmu::expect_stores(u64 linear, u64 bytes, View view) {
    const u64 page = align_down(linear, kPageSize);
    const TlbEntry& entry = tlb_.find(view, linear);
    const auto* host = reinterpret_cast<const u8*>(linear + entry.addend);
    if (entry.read_tag != page || !map_.watcher() || !map_.is_ram(host)) return;
    const u64 gpa = map_.gpa_of_ram(host), n = std::min(bytes, page + kPageSize - linear);
    if (map_.hits_code(gpa, n) && map_.watcher()->may_write(gpa, n)) map_.watcher()->written(gpa, n);
}

void Mmu::commit() {
    if (!open_.active) return;
    open_.active = false;
    // A chip answering the store may start another access: work on copies.
    const Open open = open_;
    u8 data[sizeof bounce_];
    std::memcpy(data, bounce_, sizeof data);
    for (unsigned part = 0, at = 0; part < 2 && open.bytes[part]; at += open.bytes[part++])
        if (open.host[part])
            std::memcpy(open.host[part], data + at, open.bytes[part]);
        else
            store_bounce(data + at, open.gpa[part], open.bytes[part]);
}

// Address spaces keep numbers too.
void Mmu::restart_code_numbers() {
    flush(false);
    tlb_.code().restart();
}

Mmu::Fetched Mmu::fetch(u64 linear, View view) {
    const bool user = view == View::User;
    const CodePages::Page* page = tlb_.code().find(linear, user);
    if (!page) page = spaces_.recall_code(linear, user);
    if (!page) {
        const Translation t = translate(linear, AccessKind::Execute, view);
        if (!t.ok) return {.fault = t.fault};
        page = &tlb_.code().fill(linear, user, t.gpa, map_.lookup(t.gpa).host, t.mapping);
    }
    const u64 offset = linear % kPageSize;
    return {.ok = true,
            .host = page->host ? page->host + offset : nullptr,
            .gpa = page->gpa + offset,
            .number = page->number};
}

} // namespace dragoman::softmmu
