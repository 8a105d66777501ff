// Page walks: 32-bit, PAE, 4-level and 5-level paging (SDM vol. 3, 4.3-4.7). One loop over the levels; what
// differs between the formats is a table of levels.
#include "base/bits.h"
#include "softmmu/mmu.h"

#include <algorithm>

namespace dragoman::softmmu {

namespace {

enum EntryBit : u64 {
    kPresent = 1u << 0,
    kWritable = 1u << 1,
    kUser = 1u << 2,
    kAccessed = 1u << 5,
    kDirty = 1u << 6,
    kLarge = 1u << 7, // of an entry that could lead to a table; PAT in a PTE
    kGlobal = 1u << 8,
    kLargePat = 1u << 12,
    kExecuteDisable = u64{1} << 63,
};
enum ErrorBit : u32 {
    kErrPresent = 1,
    kErrWrite = 2,
    kErrUser = 4,
    kErrReserved = 8,
    kErrFetch = 16,
    kErrKey = 32
};

constexpr u64 kFrame = low_mask(52) & ~u64{0xfff}; // where an 8-byte entry has an address

struct Level {
    u8 shift; // of the linear address
    u8 index_bits;
    bool may_be_large;
    const char* name;
};
constexpr Level kLong[5] = {{48, 9, false, "PML5E"},
                            {39, 9, false, "PML4E"},
                            {30, 9, true, "PDPTE"},
                            {21, 9, true, "PDE"},
                            {12, 9, false, "PTE"}};
constexpr Level kPaePdpte[1] = {{30, 2, false, "PDPTE"}}; // kept in the processor
constexpr Level kPae[2] = {{21, 9, true, "PDE"}, {12, 9, false, "PTE"}};
constexpr Level k32[2] = {{22, 10, true, "PDE"}, {12, 10, false, "PTE"}};

// Bits that must be 0 in a present entry (SDM vol. 3, 4.3, 4.4.2, 4.5.4).
u64 reserved_bits(const PagingState& p, const Level& level, bool leaf, bool large) {
    u64 reserved = 0;
    if (p.long_mode || p.pae) {
        reserved = low_mask(p.long_mode ? 52 : 63) & ~low_mask(p.physical_bits);
        if (!p.nxe) reserved |= kExecuteDisable;
        if (large) reserved |= low_mask(level.shift) & ~low_mask(13);
        if (p.long_mode && (level.shift >= 39 || (level.shift == 30 && !p.page_1g))) reserved |= kLarge;
    } else if (large) { // PSE-36: bits 20:13 are bits 39:32 of the address
        const unsigned wide = p.pse36 ? std::min<unsigned>(p.physical_bits, 40) - 32 : 0;
        reserved = low_mask(22) & ~low_mask(13 + wide);
    }
    if (leaf && !p.pat) reserved |= large ? kLargePat : kLarge;
    return reserved;
}

// The denied accesses of a protection key: reads if AD, writes if AD or WD.
bool denied(u32 rights, unsigned key, bool write, bool write_disable_holds) {
    const u32 bits = rights >> 2 * key;
    return (bits & 1) || (write && write_disable_holds && (bits & 2));
}

} // namespace

Mmu::Walk Mmu::find(u64 linear) const {
    const PagingState& p = paging_;
    Walk w;
    if (!p.paging) {
        w.gpa = linear & 0xffffffff & map_.a20_mask();
        return w;
    }
    const Level* level;
    const auto fail = [&](u32 error, const char* why) {
        w.mapping.page_bits = level->shift;
        w.error = error;
        w.missing = why;
        return w;
    };

    const bool wide = p.long_mode || p.pae; // 8-byte entries
    const Level* const end = p.long_mode ? kLong + 5 : p.pae ? kPae + 2 : k32 + 2;
    u64 table;
    if (p.long_mode) {
        level = p.la57 ? kLong : kLong + 1;
        table = p.cr3 & kFrame;
    } else if (p.pae) {
        const u64 pdpte = p.pdpte[bits(linear, 31, 30)];
        level = kPaePdpte;
        if (!(pdpte & kPresent)) return fail(0, "PDPTE");
        level = kPae;
        table = pdpte & kFrame;
    } else {
        level = k32;
        table = p.cr3 & 0xfffff000;
    }

    w.entry_bytes = wide ? 8 : 4;
    u64 entry;
    bool large = false;
    for (;; ++level) {
        const u64 index = bits(linear, level->shift + level->index_bits - 1, level->shift);
        const u64 at = (table + index * w.entry_bytes) & map_.a20_mask();
        entry = map_.load(at, w.entry_bytes);
        w.addresses[w.count] = at;
        w.entries[w.count++] = entry;
        if (!(entry & kPresent)) return fail(0, level->name);
        large = level->may_be_large && (entry & kLarge) && (wide || p.pse);
        const bool leaf = large || level + 1 == end;
        if (entry & reserved_bits(p, *level, leaf, large))
            return fail(kErrPresent | kErrReserved, "reserved bit");
        w.writable = w.writable && (entry & kWritable);
        w.user = w.user && (entry & kUser);
        w.no_execute = w.no_execute || (wide && p.nxe && (entry & kExecuteDisable));
        if (leaf) break;
        table = wide ? entry & kFrame : entry & 0xfffff000;
    }

    u64 frame = wide ? entry & kFrame : entry & 0xfffff000;
    if (!wide && large) frame = (entry & 0xffc00000) | bits(entry, 20, 13) << 32;
    const u64 mask = low_mask(level->shift);
    w.gpa = ((frame & ~mask) | (linear & mask)) & map_.a20_mask();
    w.dirty = entry & kDirty;
    const bool keyed = p.long_mode && (w.user ? p.pke : p.pks);
    w.mapping = {.global = p.pge && (entry & kGlobal),
                 .page_bits = level->shift,
                 .key = u8((keyed ? bits(entry, 62, 59) : 0) | (w.user ? 0 : 16))};
    return w;
}

// Access rights (SDM vol. 3, 4.6) and error codes (4.7).
Mmu::Translation Mmu::judge(u64 linear, const Walk& w, AccessKind kind, View view) const {
    const PagingState& p = paging_;
    const bool write = kind == AccessKind::Write || kind == AccessKind::ReadWrite;
    const bool fetch = kind == AccessKind::Execute;
    const bool user = view == View::User;

    Translation t;
    t.gpa = w.gpa;
    t.mapping = w.mapping;
    u32 error = w.error;
    t.why = w.missing;
    const auto refuse = [&](bool refused, const char* why, u32 bits) {
        if (!refused) return;
        error |= kErrPresent | bits;
        if (!t.why) t.why = why;
    };
    bool may_write = true;
    if (!w.missing && p.paging) {
        const bool held = user || p.write_protect; // does what forbids writing apply?
        const unsigned key = w.mapping.key & 15;
        const bool keyed = p.long_mode && (w.user ? p.pke : p.pks);
        const u32 rights = !keyed ? 0 : w.user ? p.pkru : p.pkrs;
        may_write = (w.writable || !held) && !denied(rights, key, true, held);

        refuse(user && !w.user, "supervisor page", 0);
        refuse(fetch && w.no_execute, "execute-disable", 0);
        refuse(fetch && !user && w.user && p.smep, "SMEP", 0);
        refuse(!fetch && view == View::SupervisorSmap && w.user, "SMAP", 0);
        refuse(write && held && !w.writable, "read-only page", 0);
        refuse(!fetch && denied(rights, key, write, held), "protection key", kErrKey);
    }
    if (!t.why) {
        t.ok = true;
        t.why = "";
        t.writable = may_write && w.dirty;
        return t;
    }
    const bool tells_fetches = ((p.long_mode || p.pae) && p.nxe) || p.smep;
    t.fault = {linear, error | (write ? kErrWrite : 0u) | (user ? kErrUser : 0u) |
                           (fetch && tells_fetches ? kErrFetch : 0u)};
    return t;
}

void Mmu::mark(Walk& w, bool write) {
    for (unsigned i = 0; i < w.count; ++i) {
        const u64 flags = kAccessed | (write && i + 1 == w.count ? u64(kDirty) : 0);
        if ((w.entries[i] & flags) == flags) continue;
        // Read again: tables may share an entry, and the store before this one may have changed it.
        map_.store(w.addresses[i], w.entry_bytes, map_.load(w.addresses[i], w.entry_bytes) | flags);
    }
}

void Mmu::report(const Translation& t) const {
    if (log_.enabled(LogItem::Mmu))
        log_.print(LogItem::Mmu, "page fault at %016llx error %x: %s\n", (unsigned long long)t.fault.address,
                   t.fault.error, t.why);
}

Mmu::Translation Mmu::translate(u64 linear, AccessKind kind, View view) {
    Walk w = find(linear);
    Translation t = judge(linear, w, kind, view);
    if (!t.ok) {
        report(t);
        return t;
    }
    const bool write = kind == AccessKind::Write || kind == AccessKind::ReadWrite;
    mark(w, write);
    t.writable |= write;
    return t;
}

Mmu::Translation Mmu::probe(u64 linear) const {
    const Walk w = find(linear);
    Translation t{.ok = !w.missing, .gpa = w.gpa, .mapping = w.mapping, .writable = w.writable};
    if (w.missing) {
        t.fault = {linear, w.error};
        t.why = w.missing;
    }
    return t;
}

} // namespace dragoman::softmmu
