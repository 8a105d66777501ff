#include "paging_scenario.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace dragoman::test {

using namespace softmmu;

namespace {

// Tables lie in the first pages, so that random entries find each other; what is beyond the RAM nobody
// answers.
constexpr u64 kTables = 8, kPages = PagingScenario::pages, kRam = kPages * 4096;
constexpr unsigned kRoots = 3;

// The bytes of the scenario, read from front to back; zeros follow the last one.
class Source {
  public:
    explicit Source(std::span<const u8> bytes) : bytes_(bytes) {}
    bool empty() const { return bytes_.empty(); }
    u8 byte() {
        if (bytes_.empty()) return 0;
        const u8 b = bytes_.front();
        bytes_ = bytes_.subspan(1);
        return b;
    }
    u64 below(u64 n) { return (byte() | u64{byte()} << 8) % n; }
    bool flip() { return byte() & 1; }
    u64 word() {
        u64 v = 0;
        for (unsigned i = 0; i < 8; ++i)
            v = v << 8 | byte();
        return v;
    }

  private:
    std::span<const u8> bytes_;
};

std::string text(const char* format, auto... values) {
    char line[200];
    std::snprintf(line, sizeof line, format, values...);
    return line;
}

} // namespace

// The walk as the manual's sections tell it, one function for each paging mode; memory is a copy.
struct PagingScenario::Reference {
    std::vector<u8> ram = std::vector<u8>(kRam);
    std::vector<bool> holds_entries = std::vector<bool>(kPages); // a walk has read an entry there
    PagingState p;
    struct Fault {
        bool raised = false;
        u32 error = 0;
    };
    struct Page {
        bool present = false, reserved = false;
        bool writable = true, user = true, no_execute = false;
        unsigned key = 0;
        u64 address = 0;
        u64 inside = 0xfff;    // the bits of the linear address that are taken over
        std::vector<u64> used; // where the entries are; the last one maps the page
    };

    u64 read(u64 at, unsigned size) const {
        u64 v = ~u64{0};
        if (at + size <= kRam) v = 0, std::memcpy(&v, &ram[at], size);
        return size == 8 ? v : v & 0xffffffff;
    }
    void set(u64 at, u8 flags) {
        if (at < kRam) ram[at] |= flags;
    }

    // 4.3: 32-bit paging
    Page walk32(u64 linear) const {
        Page page;
        const u64 pde_at = (p.cr3 & 0xfffff000) + (linear >> 22) * 4, pde = read(pde_at, 4);
        page.used.push_back(pde_at);
        if (!(pde & 1)) return page;
        page.present = true;
        page.writable = pde & 2;
        page.user = pde & 4;
        if (p.pse && (pde & 0x80)) {
            // PSE-36: bits (M-20):13 hold address bits (M-1):32; bit 21 and what is above them is reserved.
            for (unsigned i = 13; i <= 21; ++i) {
                const bool address_bit = p.pse36 && i <= 20 && i + 19 < p.physical_bits;
                if (!address_bit && (pde >> i & 1)) page.reserved = true;
            }
            if (!p.pat && (pde & 0x1000)) page.reserved = true;
            page.inside = 0x3fffff;
            page.address = (pde & 0xffc00000) | (pde >> 13 & 0xff) << 32 | (linear & 0x3fffff);
            return page;
        }
        const u64 pte_at = (pde & 0xfffff000) + (linear >> 12 & 0x3ff) * 4, pte = read(pte_at, 4);
        page.used.push_back(pte_at);
        page.present = pte & 1;
        if (!page.present) return page;
        if (!p.pat && (pte & 0x80)) page.reserved = true;
        page.writable = page.writable && (pte & 2);
        page.user = page.user && (pte & 4);
        page.address = (pte & 0xfffff000) | (linear & 0xfff);
        return page;
    }

    // Of 8-byte entries, in any of their levels (4.4.2, 4.5.4).
    bool reserved(u64 entry, unsigned level, bool maps) const {
        for (unsigned i = p.physical_bits; i < (p.long_mode ? 52u : 63u); ++i)
            if (entry >> i & 1) return true;
        if (!p.nxe && entry >> 63) return true;
        if (level >= 4 && (entry & 0x80)) return true;
        if (level == 3 && (entry & 0x80) && !p.page_1g) return true;
        if (maps && level > 1)
            for (unsigned i = 13; i < 12 + 9 * (level - 1); ++i)
                if (entry >> i & 1) return true;
        return maps && !p.pat && (entry & (level == 1 ? 0x80 : 0x1000));
    }
    void descend(Page& page, u64 linear, u64 table, unsigned level) const {
        const unsigned shift = 12 + 9 * (level - 1);
        const u64 at = table + (linear >> shift & 0x1ff) * 8, entry = read(at, 8);
        page.used.push_back(at);
        page.present = entry & 1;
        if (!page.present) return;
        const bool maps = level == 1 || (level <= 3 && (entry & 0x80));
        if (reserved(entry, level, maps)) {
            page.reserved = true;
            return;
        }
        page.writable = page.writable && (entry & 2);
        page.user = page.user && (entry & 4);
        page.no_execute = page.no_execute || entry >> 63;
        const u64 address = entry & 0x000ffffffffff000;
        if (!maps) return descend(page, linear, address, level - 1);
        const u64 inside = (u64{1} << shift) - 1;
        page.inside = inside;
        page.address = (address & ~inside) | (linear & inside);
        page.key = unsigned(entry >> 59 & 15);
    }

    Page walk(u64 linear) {
        Page page = walk_in_mode(linear);
        for (const u64 at : page.used)
            if (at < kRam) holds_entries[at / 4096] = true;
        return page;
    }
    Page walk_in_mode(u64 linear) const {
        Page page;
        if (!p.paging) {
            page.present = true;
            page.address = linear & 0xffffffff;
        } else if (p.long_mode) {
            descend(page, linear, p.cr3 & 0x000ffffffffff000, p.la57 ? 5 : 4);
        } else if (p.pae) {
            const u64 pdpte = p.pdpte[linear >> 30 & 3];
            if (pdpte & 1) descend(page, linear, pdpte & 0x000ffffffffff000, 2);
        } else {
            return walk32(linear);
        }
        return page;
    }

    // 4.6 and 4.7
    Fault judge(const Page& page, bool write, bool fetch, View view) const {
        const bool user = view == View::User;
        u32 error = (write ? 2u : 0) | (user ? 4u : 0);
        const bool nx = p.nxe && (p.pae || p.long_mode);
        if (fetch && (nx || p.smep)) error |= 16;
        if (!page.present) return {true, error};
        if (page.reserved) return {true, error | 9};
        if (!p.paging) return {};
        bool ok = true;
        if (user && !page.user) ok = false;
        if (fetch) {
            if (page.no_execute) ok = false;
            if (!user && page.user && p.smep) ok = false;
        } else {
            if (!user && page.user && view == View::SupervisorSmap) ok = false;
            if (write && !page.writable && (user || p.write_protect)) ok = false;
            if (p.long_mode && (page.user ? p.pke : p.pks)) {
                const u32 rights = (page.user ? p.pkru : p.pkrs) >> 2 * page.key;
                if ((rights & 1) || ((rights & 2) && write && (user || p.write_protect))) {
                    ok = false;
                    error |= 32;
                }
            }
        }
        if (ok) return {};
        return {true, error | 1};
    }

    // 4.8
    void mark(const Page& page, bool write) {
        for (const u64 at : page.used)
            set(at, 0x20);
        if (write && !page.used.empty()) set(page.used.back(), 0x40);
    }
};

PagingScenario::PagingScenario()
    : map_(std::move(*PhysicalMap::create(kRam))), tlb_(std::make_unique<Tlb>()),
      mmu_(std::make_unique<Mmu>(*map_, *tlb_, log_)) {
    map_->set_watcher(&watcher_);
}

std::string PagingScenario::play(std::span<const u8> bytes) {
    Source in(bytes);
    Reference ref;
    PagingState& p = ref.p;
    std::string story;

    // ---- the mode
    const unsigned mode = unsigned(in.below(6));
    static constexpr const char* modes[] = {"no paging", "32-bit",  "32-bit, PSE",
                                            "PAE",       "4-level", "5-level"};
    p.paging = mode > 0;
    p.pse = mode >= 2;
    p.pae = mode >= 3;
    p.long_mode = mode >= 4;
    p.la57 = mode == 5;
    const u8 flags = in.byte(), more = in.byte();
    p.write_protect = flags & 1;
    p.nxe = (flags & 2) && p.pae;
    p.smep = flags & 4;
    p.pge = flags & 8;
    p.pke = flags & 16;
    p.pks = flags & 32;
    p.page_1g = flags & 64;
    p.pse36 = flags & 128;
    p.pat = more & 1;
    p.physical_bits = more & 2 ? 36 : 40;
    if (p.pke || p.pks) p.pkru = u32(in.word()), p.pkrs = u32(in.word());
    const bool pcids = p.long_mode && (more & 4);
    story = text("%s, flags %02x %02x\n", modes[mode], flags, more);

    // ---- the tables: mostly entries that lead on, with some of everything else
    const auto entry = [&](bool leaf) {
        u64 e = (leaf ? in.below(kPages + 1) : in.below(kTables)) << 12 | 7;
        const u8 kind = in.byte();
        if (kind < 0x08) e &= ~u64{1};
        if ((kind & 3) == 3) e ^= in.byte() & 0x186;
        if ((kind & 0x1e) == 0x1e) e ^= in.word();
        if ((kind & 0x60) == 0x60) e ^= u64{in.byte()} << 56;
        return e;
    };
    for (u64 page = 0; page < kPages; ++page)
        map_->clear_code(page * 4096);
    translated_ = {};
    std::memset(map_->ram(), 0, kRam);
    // The scenario's addresses use few indices of each table, and only these are filled.
    static constexpr unsigned indices[] = {0, 1, 2, 511, 256};
    const auto index = [&](unsigned of) {
        return p.pae || !p.paging ? indices[of % 5] : indices[of % 5] | (of % 5 == 3 ? 512u : 0u);
    };
    const unsigned entry_bytes = p.pae ? 8 : 4;
    const auto write_entry = [&](u64 table, unsigned of, u64 value) {
        const u64 at = table * 4096 + index(of) * entry_bytes;
        std::memcpy(map_->ram() + at, &value, entry_bytes);
        return at;
    };
    for (u64 table = 0; table < kTables; ++table)
        for (unsigned of = 0; of < 5; ++of)
            write_entry(table, of, entry(table >= kTables / 2));
    for (u64 at = kTables * 4096; at < kRam; ++at)
        map_->ram()[at] = u8(at ^ at >> 8);
    std::memcpy(ref.ram.data(), map_->ram(), kRam);

    unsigned root = 0;
    const auto load_state = [&] {
        p.cr3 = root * 4096;
        p.pcid = pcids ? u16(root + 1) : 0;
        if (mode == 3)
            for (unsigned i = 0; i < 4; ++i)
                p.pdpte[i] = ((root + i) % kTables) << 12 | (i != 2);
        mmu_->set_paging(p);
    };
    load_state();
    mmu_->flush(false);

    const auto any_page = [&] {
        if (!p.pae) return u64{index(in.byte())} << 22 | u64{index(in.byte())} << 12;
        u64 at = 0;
        for (unsigned level = 0; level < (p.long_mode ? 5u : 2u); ++level)
            at = at << 9 | index(in.byte());
        return p.long_mode ? at << 12 : at << 12 | in.below(4) << 30;
    };
    // Few pages, so that what was cached is asked for again.
    u64 pool[6];
    for (u64& page : pool)
        page = any_page();
    const auto linear = [&] {
        const u8 which = in.byte(), offset = in.byte();
        u64 at = which < 0xf0 ? pool[which % std::size(pool)] : any_page();
        at |= offset & 1 ? 4096 - (offset >> 1 & 31) - 1 : u64{offset} << 4;
        if (!p.long_mode) return at & 0xffffffff;
        const unsigned shift = p.la57 ? 7 : 16;
        return u64(i64(at << shift) >> shift);
    };
    const auto forget = [&](const char* why) {
        story += text("flush: %s\n", why);
        mmu_->flush(false);
    };
    const auto compare_ram = [&]() -> std::string {
        if (std::memcmp(map_->ram(), ref.ram.data(), kRam) == 0) return {};
        for (u64 at = 0; at < kRam; ++at)
            if (map_->ram()[at] != ref.ram[at])
                return text("memory at %llx is %02x, expected %02x", (unsigned long long)at, map_->ram()[at],
                            ref.ram[at]);
        return {};
    };
    static constexpr View views[] = {View::Supervisor, View::SupervisorSmap, View::User};

    struct Way {
        AccessKind kind;
        View view;
    };
    const auto any_way = [&] {
        static constexpr AccessKind kinds[] = {AccessKind::Read, AccessKind::Write, AccessKind::ReadWrite};
        const AccessKind kind = kinds[in.byte() % 3];
        return Way{kind, views[in.byte() % 3]};
    };
    const auto access_as = [&](u64 at, Way way) -> std::string {
        const auto [kind, view] = way;
        const u32 size = 1u << in.byte() % 6;
        const bool write = kind != AccessKind::Read;
        story += text("%s %u at %llx, view %u\n",
                      kind == AccessKind::Read             ? "read"
                      : write && kind == AccessKind::Write ? "write"
                                                           : "modify",
                      size, (unsigned long long)at, unsigned(view));
        const u32 first = u32(std::min<u64>(size, 4096 - at % 4096));
        const u64 starts[2] = {at, p.long_mode ? at + first : (at + first) & 0xffffffff};
        const unsigned parts = first < size ? 2 : 1;
        Reference::Page found[2];
        Reference::Fault expected;
        u64 cr2 = 0;
        for (unsigned i = 0; i < parts && !expected.raised; ++i) {
            found[i] = ref.walk(starts[i]);
            expected = ref.judge(found[i], write, false, view);
            cr2 = starts[i];
        }
        const auto got = mmu_->acquire(at, size, kind, view);
        if ((got.host == nullptr) != expected.raised)
            return expected.raised
                       ? text("no fault, expected error %x at %llx", expected.error, (unsigned long long)cr2)
                       : text("fault, error %x at %llx", got.fault.error,
                              (unsigned long long)got.fault.address);
        if (expected.raised) {
            if (got.fault.error != expected.error || got.fault.address != cr2)
                return text("error %x at %llx, expected %x at %llx", got.fault.error,
                            (unsigned long long)got.fault.address, expected.error, (unsigned long long)cr2);
            return {};
        }
        for (unsigned i = 0; i < parts; ++i)
            ref.mark(found[i], write);
        // The bytes, one by one, each in its page.
        bool tables_written = false, onto_code = false;
        for (u32 i = 0; i < size; ++i) {
            const u64 address = i < first ? found[0].address + i : found[1].address + i - first;
            const bool memory = address < kRam;
            if (kind != AccessKind::Write && got.host[i] != (memory ? ref.ram[address] : 0xff))
                return text("byte %u is %02x, expected %02x from %llx", i, got.host[i],
                            memory ? ref.ram[address] : 0xff, (unsigned long long)address);
        }
        if (write) {
            for (u32 i = 0; i < size; ++i) {
                const u64 address = i < first ? found[0].address + i : found[1].address + i - first;
                const u8 value = u8(0x55 + i + at);
                got.host[i] = value;
                if (address < kRam) {
                    ref.ram[address] = value;
                    onto_code |= translated_[address / 4096];
                    tables_written |= ref.holds_entries[address / 4096];
                }
            }
            watcher_.notified = false;
            mmu_->commit();
            if (onto_code && !watcher_.notified) return "a store onto translated code went unseen";
        }
        if (tables_written) forget("the tables were written");
        return compare_ram();
    };

    const auto change_entry_of = [&](u64 page) {
        const Reference::Page found = ref.walk(page);
        if (found.used.empty()) return false;
        const std::size_t which = in.below(found.used.size());
        const u64 at = found.used[which], value = entry(which + 1 == found.used.size());
        if (at >= kRam) return false;
        std::memcpy(map_->ram() + at, &value, entry_bytes);
        std::memcpy(&ref.ram[at], &value, entry_bytes);
        story += text("entry at %llx is now %llx\n", (unsigned long long)at, (unsigned long long)value);
        return true;
    };
    const auto change_rights = [&] {
        p.pkru ^= u32(in.word());
        p.pkrs ^= u32(in.word());
        story += text("PKRU %08x, IA32_PKRS %08x\n", p.pkru, p.pkrs);
        mmu_->set_protection_keys(p.pkru, p.pkrs);
    };
    const auto switch_to = [&](unsigned to, bool keep) {
        root = to;
        load_state();
        story += text("root %u%s\n", root, keep ? ", kept" : "");
        mmu_->load_address_space(keep);
        if (p.pge) forget("global pages of another root");
    };
    const auto translate = [&](u64 page) {
        story += text("code in page %llu\n", (unsigned long long)page);
        translated_[page] = true;
        map_->mark_code(page * 4096, 4096);
    };

    for (unsigned step = 0; step < 200 && !in.empty(); ++step) {
        std::string wrong;
        switch (in.byte() % 16) {
        default: wrong = access_as(linear(), any_way()); break;
        case 0: { // fetch
            const u64 at = linear();
            const View view = in.flip() ? View::User : View::Supervisor;
            story += text("fetch at %llx, view %u\n", (unsigned long long)at, unsigned(view));
            const auto page = ref.walk(at);
            const auto expected = ref.judge(page, false, true, view);
            const auto got = mmu_->fetch(at, view);
            if (got.ok == expected.raised)
                wrong = text("%s, expected error %x", got.ok ? "no fault" : "fault", expected.error);
            else if (!got.ok && got.fault.error != expected.error)
                wrong = text("error %x, expected %x", got.fault.error, expected.error);
            else if (got.ok && got.gpa != page.address)
                wrong = text("from %llx, expected %llx", (unsigned long long)got.gpa,
                             (unsigned long long)page.address);
            if (got.ok) ref.mark(page, false);
            if (wrong.empty()) wrong = compare_ram();
            break;
        }
        case 1:
        case 5: { // an entry changes; then one of the ways to say so
            const u64 page = linear();
            const u64 inside = ref.walk(page).inside & ~u64{0x3f};
            const u64 near =
                (page & ~inside) | (in.word() & inside & 0x1ffff); // of the same mapping, whatever its size
            const Way way = any_way();
            wrong = access_as(near, way);
            if (!wrong.empty() || !change_entry_of(page)) break;
            switch (in.byte() % 5) {
            case 0: forget("INVPCID 2"); break;
            case 1:
                mmu_->flush(true);
                if (p.pge) mmu_->flush(false);
                break;
            case 2: // only the pages of that mapping are sure then
                story += text("invlpg %llx\n", (unsigned long long)page);
                mmu_->invlpg(page);
                wrong = access_as(near, way);
                forget("after INVLPG");
                break;
            case 3:
                for (u16 pcid = 0; pcid <= kRoots; ++pcid)
                    mmu_->invalidate_space(pcid);
                if (p.pge) forget("global pages");
                break;
            case 4:
                for (root = 0; root < kRoots; ++root) {
                    load_state();
                    mmu_->load_address_space(false);
                }
                root = kRoots - 1;
                if (p.pge) forget("global pages");
                break;
            }
            break;
        }
        case 2:
        case 6: // another address space
            switch_to(unsigned(in.below(kRoots)), pcids && in.byte() % 4);
            break;
        case 3: change_rights(); break;
        case 7: { // away from an address space and back; then, or before, something happens to it
            if (!pcids) break;
            const u64 page = linear();
            const Way way = any_way();
            wrong = access_as(page, way);
            if (!wrong.empty()) break;
            const unsigned home = root;
            const u16 home_pcid = p.pcid;
            switch_to((home + 1) % kRoots, true);
            const bool back = in.flip();
            if (back) switch_to(home, true);
            p.cr3 = home * 4096; // for the reference's walk of the page
            bool keep = true;
            switch (in.byte() % 6) {
            case 0:
                if (change_entry_of(page)) mmu_->invalidate_space(home_pcid);
                break;
            case 1:
                if (change_entry_of(page)) mmu_->invalidate_page(home_pcid, page);
                break;
            case 2: keep = !change_entry_of(page); break;
            case 3: change_rights(); break;
            case 4:
                if (const u64 frame = ref.walk(page).address / 4096; frame < kPages) translate(frame);
                break;
            case 5:
                if (back && change_entry_of(page)) mmu_->invlpg(page);
                break;
            }
            switch_to(home, keep);
            wrong = access_as(page, way);
            forget("home again"); // the entry may have been another page's, too
            break;
        }
        case 4: { // all of a page is translated, or forgotten
            const u64 page = in.below(kPages);
            if (in.byte() % 4) {
                translate(page);
            } else {
                translated_[page] = false;
                map_->clear_code(page * 4096);
            }
            break;
        }
        }
        if (!wrong.empty()) return story + wrong + "\n";
    }
    return {};
}

} // namespace dragoman::test
