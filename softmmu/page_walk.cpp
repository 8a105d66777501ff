// Page walks: 32-bit, PAE, 4-level and 5-level paging (SDM vol. 3, 4.3-4.7). One loop over the levels; what
// differs between the formats is a table of levels.
#include "base/bits.h"
#include "softmmu/mmu.h"

namespace dragoman::softmmu {

namespace {

enum EntryBit : u64 {
    kPresent = 1u << 0,
    kWritable = 1u << 1,
    kUser = 1u << 2,
    kAccessed = 1u << 5,
    kDirty = 1u << 6,
    kLarge = 1u << 7,
    kGlobal = 1u << 8,
    kExecuteDisable = u64{1} << 63,
};
enum ErrorBit : u32 { kErrPresent = 1, kErrWrite = 2, kErrUser = 4, kErrReserved = 8, kErrFetch = 16 };

constexpr unsigned kM = PhysicalMap::address_bits; // MAXPHYADDR
constexpr u64 kAddressMask = low_mask(kM) & ~u64{0xfff};

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
constexpr Level kPae[2] = {{21, 9, true, "PDE"}, {12, 9, false, "PTE"}};
constexpr Level k32[2] = {{22, 10, true, "PDE"}, {12, 10, false, "PTE"}};

} // namespace

Mmu::Translation Mmu::walk(u64 linear, AccessKind kind, View view, bool set_accessed) const {
    const bool write = kind == AccessKind::Write || kind == AccessKind::ReadWrite;
    const bool fetch = kind == AccessKind::Execute;
    const bool user = view == View::User;
    const PagingState& p = paging_;

    Translation t;
    if (!p.paging) {
        t.ok = true;
        t.gpa = linear & 0xffffffff & map_.a20_mask();
        t.writable = true;
        t.page_bytes = kPageSize;
        return t;
    }

    const bool wide = p.long_mode || p.pae; // 8-byte entries
    const bool nx = wide && p.nxe;
    auto fail = [&](u32 error, const char* why) {
        t.fault = {linear, error | (write ? kErrWrite : 0u) | (user ? kErrUser : 0u) |
                               (fetch && (nx || p.smep) ? kErrFetch : 0u)};
        t.why = why;
        return t;
    };

    const Level* level;
    const Level* const end = p.long_mode ? kLong + 5 : p.pae ? kPae + 2 : k32 + 2;
    u64 table;
    if (p.long_mode) {
        level = p.la57 ? kLong : kLong + 1;
        table = p.cr3 & kAddressMask;
    } else if (p.pae) {
        const u64 pdpte = p.pdpte[bits(linear, 31, 30)];
        if (!(pdpte & kPresent)) return fail(0, "PDPTE not present");
        level = kPae;
        table = pdpte & kAddressMask;
    } else {
        level = k32;
        table = p.cr3 & 0xfffff000;
    }

    // The walk only looks; A and D are set once it is known to succeed.
    u64 entries[5], addresses[5];
    unsigned n = 0;
    bool writable = true, user_page = true, no_execute = false, large = false;
    const unsigned entry_bytes = wide ? 8 : 4;
    for (;; ++level) {
        const u64 at =
            (table + bits(linear, level->shift + level->index_bits - 1, level->shift) * entry_bytes) &
            map_.a20_mask();
        const u64 entry = map_.load(at, entry_bytes);
        addresses[n] = at;
        entries[n++] = entry;
        if (!(entry & kPresent)) return fail(0, level->name);
        large = level->may_be_large && (entry & kLarge) && (wide || p.pse);

        u64 reserved = 0;
        if (wide) {
            reserved = p.long_mode ? bits(~u64{0}, 51, kM) << kM : bits(~u64{0}, 62, kM) << kM;
            if (!p.nxe) reserved |= kExecuteDisable;
            if (large) reserved |= low_mask(level->shift) & ~low_mask(13);
            if (p.long_mode && level->shift >= 39) reserved |= kLarge;
        } else if (large) {
            reserved = u64{1} << 21;
        }
        if (entry & reserved) return fail(kErrPresent | kErrReserved, "reserved bit");

        writable = writable && (entry & kWritable);
        user_page = user_page && (entry & kUser);
        no_execute = no_execute || (nx && (entry & kExecuteDisable));
        if (large || level + 1 == end) break;
        table = wide ? entry & kAddressMask : entry & 0xfffff000;
    }

    // Permissions (SDM vol. 3, 4.6.1).
    const bool may_write = writable || (!user && !p.write_protect);
    if (user && !user_page) return fail(kErrPresent, "supervisor page");
    if (fetch) {
        if (no_execute) return fail(kErrPresent, "execute-disable");
        if (!user && user_page && p.smep) return fail(kErrPresent, "SMEP");
    } else if (view == View::SupervisorSmap && user_page) {
        return fail(kErrPresent, "SMAP");
    }
    if (write && !may_write) return fail(kErrPresent, "read-only page");

    if (set_accessed) {
        for (unsigned i = 0; i < n; ++i) {
            const u64 wanted = entries[i] | kAccessed | (write && i + 1 == n ? u64(kDirty) : 0);
            if (wanted == entries[i]) continue;
            map_.store(addresses[i], entry_bytes, wanted);
            entries[i] = wanted;
        }
    }

    const u64 leaf = entries[n - 1];
    const u64 mask = low_mask(level->shift);
    u64 frame = wide ? leaf & kAddressMask : leaf & 0xfffff000;
    if (!wide && large) frame = (leaf & 0xffc00000) | bits(leaf, 20, 13) << 32; // PSE-36
    t.ok = true;
    t.page_bytes = mask + 1;
    t.gpa = ((frame & ~mask) | (linear & mask)) & map_.a20_mask();
    t.writable = may_write && (leaf & kDirty);
    t.global = p.pge && (leaf & kGlobal);
    return t;
}

Mmu::Translation Mmu::translate(u64 linear, AccessKind kind, View view) {
    Translation t = walk(linear, kind, view, true);
    if (!t.ok && log_.enabled(LogItem::Mmu))
        log_.print(LogItem::Mmu, "page fault at %016llx error %x: %s\n", (unsigned long long)linear,
                   t.fault.error, t.why);
    return t;
}

// Ignores permissions by asking for the weakest access: a supervisor's read without SMAP.
Mmu::Translation Mmu::probe(u64 linear) const {
    return walk(linear, AccessKind::Read, View::Supervisor, false);
}

std::string Mmu::describe() const {
    if (!paging_.paging) return "paging is off\n";
    struct Run {
        u64 from = 0, to = 0;
        bool writable = false, global = false;
    } run;
    std::string text;
    auto flush_run = [&] {
        if (run.to == run.from) return;
        char line[96];
        std::snprintf(line, sizeof line, "%016llx-%016llx %016llx -%c%c\n", (unsigned long long)run.from,
                      (unsigned long long)run.to, (unsigned long long)(run.to - run.from), 'r',
                      run.writable ? 'w' : '-');
        text += line;
        run = {};
    };
    // Steps by what a walk finds: a mapping's size where there is one, the reach of the missing entry where
    // not.
    const bool wide = paging_.long_mode || paging_.pae;
    const unsigned address_bits = paging_.long_mode ? (paging_.la57 ? 57 : 48) : 32;
    const u64 sign = paging_.long_mode ? u64{1} << (address_bits - 1) : 0;
    for (u64 at = 0; at < u64{1} << address_bits && text.size() < 4 * MiB;) {
        const u64 linear = sign && (at & sign) ? at | ~low_mask(address_bits) : at;
        const Translation t = probe(linear);
        const std::string_view missing = t.why;
        const u64 step = t.ok                              ? t.page_bytes
                         : missing == "PML5E"              ? u64{1} << 48
                         : missing == "PML4E"              ? u64{1} << 39
                         : missing.substr(0, 5) == "PDPTE" ? u64{1} << 30
                         : missing == "PDE"                ? u64{1} << (wide ? 21 : 22)
                                                           : kPageSize;
        if (!t.ok || linear != run.to || t.writable != run.writable) flush_run();
        if (t.ok) {
            if (run.to == run.from) run = {linear, linear, t.writable, t.global};
            run.to = linear + t.page_bytes;
        }
        at = align_down(at, step) + step;
    }
    flush_run();
    return text;
}

} // namespace dragoman::softmmu
