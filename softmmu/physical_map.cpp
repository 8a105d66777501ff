#include "softmmu/physical_map.h"

#include "base/bits.h"
#include "base/bytes.h"
#include "base/huge_page.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace dragoman::softmmu {

namespace {

constexpr u64 kLowLimit = 4 * GiB;
// Bytes that one bit of the code bitmap stands for: 64 lines a page, one u64.
constexpr u64 kCodeLine = u64{1} << PhysicalMap::code_line_bits;

u64 line_mask(u64 offset_in_page, u64 size) {
    const u64 first = offset_in_page / kCodeLine, last = (offset_in_page + size - 1) / kCodeLine;
    return low_mask(unsigned(last - first + 1)) << first;
}

// How many of `bytes` from `gpa` on are addresses at all: what would wrap at 2^64 goes nowhere.
u64 before_the_end(u64 gpa, u64 bytes) {
    return gpa == 0 ? bytes : std::min(bytes, u64{0} - gpa);
}

struct Free {
    void operator()(void* p) const { std::free(p); }
};

// The i440FX leaves a hole for PCI below 4 GiB: from 3.5 GiB, or from 3 GiB when there is more RAM than that.
u64 below_4g(u64 bytes) {
    return bytes < 0xe0000000 ? bytes : 0xc0000000;
}

} // namespace

struct PhysicalMap::Region {
    Handle handle = 0;
    u64 gpa = 0, bytes = 0;
    int priority = 0;
    IoHandler* io = nullptr;
    u8* host = nullptr;
    bool read_only = false;
    IoHandler* writes = nullptr;       // who gets what is written to read-only memory
    std::unique_ptr<u64[], Free> code; // a word of lines per page, for memory
    std::unique_ptr<u8[], Free> dirty; // a byte per page once somebody asked for it

    bool holds(u64 at) const { return at - gpa < bytes; }
    bool holds(u64 at, u64 size) const { return holds(at) && size <= bytes - (at - gpa); }
    u64& lines(u64 at) const { return code[(at - gpa) / page_size]; }
};

Result<std::unique_ptr<PhysicalMap>> PhysicalMap::create(u64 bytes) {
    int file = memfd_create("guest RAM", MFD_CLOEXEC);
    if (file >= 0 && ftruncate(file, i64(bytes)) != 0) file = (close(file), -1);
    void* const ram = map_where_huge_pages_begin(
        bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE | (file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS),
        file);
    if (ram == MAP_FAILED)
        return Error{"cannot reserve " + std::to_string(bytes / MiB) +
                     " MiB for guest RAM: " + std::strerror(errno)};
    ask_for_huge_pages(ram, bytes);
    return std::unique_ptr<PhysicalMap>(new PhysicalMap(static_cast<u8*>(ram), bytes, file));
}

PhysicalMap::PhysicalMap(u8* ram, u64 bytes, int file)
    : ram_(ram), ram_bytes_(bytes), ram_below_4g_(below_4g(bytes)), ram_file_(file),
      low_pages_(kLowLimit / page_size) {
    constexpr int kRamPriority =
        -1000; // over PCI BARs, under everything the chip set decodes (hw/core/map_priority.h)
    map_memory(0, ram_below_4g_, ram, false, kRamPriority);
    if (bytes > ram_below_4g_)
        map_memory(kLowLimit, bytes - ram_below_4g_, ram + ram_below_4g_, false, kRamPriority);
}

PhysicalMap::~PhysicalMap() {
    munmap(ram_, ram_bytes_);
    if (ram_file_ >= 0) close(ram_file_);
}

MemoryMap::Handle PhysicalMap::add(std::unique_ptr<Region> region) {
    auto place = std::find(regions_.begin(), regions_.end(), nullptr);
    if (place == regions_.end()) place = regions_.insert(place, nullptr);
    *place = std::move(region);
    Region& added = **place;
    added.handle = Handle(place - regions_.begin()) + 1;
    rebuild(added.gpa, added.bytes);
    return added.handle;
}

MemoryMap::Handle PhysicalMap::map_io(u64 gpa, u64 bytes, IoHandler& handler, int priority) {
    auto region = std::make_unique<Region>();
    region->gpa = gpa;
    region->bytes = bytes;
    region->priority = priority;
    region->io = &handler;
    return add(std::move(region));
}

MemoryMap::Handle PhysicalMap::map_memory(u64 gpa, u64 bytes, u8* host, bool read_only, int priority) {
    DRAGOMAN_ASSERT(gpa % page_size == 0 && bytes % page_size == 0);
    auto region = std::make_unique<Region>();
    region->gpa = gpa;
    region->bytes = bytes;
    region->priority = priority;
    region->host = host;
    region->read_only = read_only;
    // calloc: pages of the bitmap that are never touched cost nothing
    region->code.reset(static_cast<u64*>(std::calloc(bytes / page_size, sizeof(u64))));
    return add(std::move(region));
}

MemoryMap::Handle PhysicalMap::map_flash(u64 gpa, u64 bytes, u8* host, IoHandler& writes, int priority) {
    const Handle handle = map_memory(gpa, bytes, host, true, priority);
    region_named(handle)->writes = &writes;
    return handle;
}

void PhysicalMap::unmap(Handle handle) {
    Region* region = region_named(handle);
    if (!region) return;
    const std::unique_ptr<Region> gone = std::move(regions_[handle - 1]);
    rebuild(gone->gpa, gone->bytes);
}

PhysicalMap::Region* PhysicalMap::region_named(Handle handle) const {
    return handle == 0 || handle > regions_.size() ? nullptr : regions_[handle - 1].get();
}

void PhysicalMap::rebuild(u64 gpa, u64 bytes) {
    const u64 first = gpa / page_size, end = (gpa + bytes + page_size - 1) / page_size;
    for (u64 page = first; page < std::min<u64>(end, low_pages_.size()); ++page)
        low_pages_[page] = 0;
    for (const auto& region : regions_) {
        if (!region) continue;
        const u64 from = std::max(first, region->gpa / page_size);
        const u64 to = std::min(
            {end, (region->gpa + region->bytes + page_size - 1) / page_size, u64(low_pages_.size())});
        for (u64 page = from; page < to; ++page) {
            const Region* held = region_named(low_pages_[page]);
            if (!held || held->priority < region->priority) low_pages_[page] = u16(region->handle);
        }
    }
    for (MapListener* listener : listeners_) {
        listener->mappings_changed();
        listener->contents_changed(gpa, bytes);
    }
}

PhysicalMap::Region* PhysicalMap::region_of(u64 gpa) const {
    if (gpa < kLowLimit) return region_named(low_pages_[gpa / page_size]);
    Region* best = nullptr;
    for (const auto& region : regions_)
        if (region && region->holds(gpa) && (!best || best->priority < region->priority)) best = region.get();
    return best;
}

PhysicalMap::Page PhysicalMap::lookup(u64 gpa) const {
    const u64 at = align_down(gpa, page_size);
    const Region* region = region_of(at);
    if (!region) return {};
    if (region->io) return {.io = region->io, .io_offset = at - region->gpa};
    return {.host = region->host + (at - region->gpa),
            .writable = !region->read_only,
            .has_code = region->lines(at) != 0,
            .dirty_logged = region->dirty && !region->dirty[(at - region->gpa) / page_size]};
}

u64 PhysicalMap::load(u64 gpa, unsigned size) {
    const Region* region = region_of(gpa);
    const u64 ones = size_mask(size);
    if (!region) return ones;
    const u64 offset = gpa - region->gpa;
    if (region->io) return region->holds(gpa, size) ? region->io->read(offset, size) & ones : ones;
    return load_bytes(region->host + offset, size);
}

void PhysicalMap::store(u64 gpa, unsigned size, u64 value) {
    const Region* region = region_of(gpa);
    if (!region) return;
    const u64 offset = gpa - region->gpa;
    if (region->io) {
        if (region->holds(gpa, size)) region->io->write(offset, size, value & size_mask(size));
        return;
    }
    if (region->read_only) {
        if (region->writes) region->writes->write(offset, size, value & size_mask(size));
        return;
    }
    if (watcher_ && hits_code(gpa, size)) watcher_->written(gpa, size);
    store_bytes(region->host + offset, size, value);
    if (region->dirty) region->dirty[offset / page_size] = 1;
}

void PhysicalMap::mark_dirty(u64 gpa) {
    const Region* region = region_of(gpa);
    if (region && region->dirty) region->dirty[(gpa - region->gpa) / page_size] = 1;
}

bool PhysicalMap::take_dirty(Handle handle, u64 offset) {
    Region* region = region_named(handle);
    if (!region || !region->host || offset >= region->bytes) return true;
    const u64 pages = region->bytes / page_size, page = offset / page_size;
    if (!region->dirty) {
        region->dirty.reset(static_cast<u8*>(std::malloc(pages)));
        std::memset(region->dirty.get(), 1, pages);
    }
    if (!region->dirty[page]) return false;
    region->dirty[page] = 0;
    for (MapListener* listener : listeners_)
        listener->write_protected(region->host + page * page_size);
    return true;
}

bool PhysicalMap::read(u64 gpa, void* to, u64 bytes) {
    u8* out = static_cast<u8*>(to);
    u64 left = before_the_end(gpa, bytes);
    bool all = left == bytes;
    if (!all) std::memset(out + left, 0xff, bytes - left);
    while (left) {
        const u64 n = std::min(left, page_size - gpa % page_size);
        const Region* region = region_of(gpa);
        if (region && region->host) {
            std::memcpy(out, region->host + (gpa - region->gpa), n);
        } else {
            std::memset(out, 0xff, n);
            all = false;
        }
        out += n;
        gpa += n;
        left -= n;
    }
    return all;
}

bool PhysicalMap::write(u64 gpa, const void* from, u64 bytes) {
    auto* in = static_cast<const u8*>(from);
    u64 left = before_the_end(gpa, bytes);
    bool all = left == bytes;
    while (left) {
        const u64 n = std::min(left, page_size - gpa % page_size);
        const Region* region = region_of(gpa);
        if (region && region->host && !region->read_only) {
            if (watcher_ && hits_code(gpa, n)) watcher_->written(gpa, n);
            std::memcpy(region->host + (gpa - region->gpa), in, n);
            if (region->dirty) region->dirty[(gpa - region->gpa) / page_size] = 1;
        } else {
            all = false;
        }
        in += n;
        gpa += n;
        left -= n;
    }
    return all;
}

void PhysicalMap::set_a20(bool open) {
    const u64 mask = open ? ~u64{0} : ~(u64{1} << 20);
    if (mask == a20_mask_) return;
    a20_mask_ = mask;
    for (MapListener* listener : listeners_)
        listener->mappings_changed();
}

void PhysicalMap::mark_code(u64 gpa, u64 size) {
    const Region* region = region_of(gpa);
    if (!region || !region->host || size == 0) return;
    u64& lines = region->lines(gpa);
    const bool first = lines == 0;
    lines |= line_mask(gpa % page_size, size);
    if (first)
        for (MapListener* listener : listeners_)
            listener->code_came(region->host + align_down(gpa - region->gpa, page_size));
}

void PhysicalMap::clear_code(u64 gpa) {
    const Region* region = region_of(gpa);
    if (region && region->host) region->lines(gpa) = 0;
}

bool PhysicalMap::hits_code(u64 gpa, u64 size) const {
    const Region* region = region_of(gpa);
    return region && region->host && (region->lines(gpa) & line_mask(gpa % page_size, size));
}

const u64* PhysicalMap::code_lines(u64 gpa) const {
    const Region* region = region_of(gpa);
    return region && region->host ? &region->lines(gpa) : nullptr;
}

std::string PhysicalMap::describe() const {
    std::vector<const Region*> sorted;
    for (const auto& region : regions_)
        if (region) sorted.push_back(region.get());
    std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) {
        return a->gpa != b->gpa ? a->gpa < b->gpa : a->priority > b->priority;
    });
    std::string text;
    for (const Region* region : sorted) {
        char line[120];
        std::snprintf(line, sizeof line, "%016llx-%016llx  prio %5d  %s\n", (unsigned long long)region->gpa,
                      (unsigned long long)(region->gpa + region->bytes - 1), region->priority,
                      region->io          ? "i/o"
                      : region->writes    ? "flash"
                      : region->read_only ? "rom"
                                          : "ram");
        text += line;
    }
    return text;
}

} // namespace dragoman::softmmu
