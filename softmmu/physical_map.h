// Guest-physical memory: RAM, ROM and memory-mapped I/O by page, the A20 gate, and which bytes of RAM have
// been translated.
#pragma once

#include "base/io.h"
#include "base/result.h"
#include "base/zeros.h"

#include <memory>
#include <string>
#include <vector>

namespace dragoman::softmmu {

// Told before translated code is overwritten. Implemented by the translation cache.
class CodeWatcher {
  public:
    virtual ~CodeWatcher() = default;
    // Bytes [gpa, gpa+size) of a page that holds translated code are about to be written by the vCPU itself.
    // False: they belong to the block that is running now, which must first be left (the instruction runs
    // again alone).
    virtual bool may_write(u64 gpa, u64 size) = 0;
    // Generated code asks whether it may be entered from another page: where it begins, and what number its
    // first page (`part` 0) or the one behind (1) had when it was made. Context::host_return lies in it.
    struct Entered {
        u64 rip = 0, linear = 0; // `linear`: in that page
        u32 number = ~u32{0};    // softmmu/code_pages.h; this one is no page's
    };
    virtual Entered entered(unsigned /*part*/) { return {}; }
    // They are being written: forget the translations made from them.
    virtual void written(u64 gpa, u64 size) = 0;
};

// Told when what was derived from the map has become stale.
class MapListener {
  public:
    virtual ~MapListener() = default;
    virtual void mappings_changed() = 0; // host pointers and gpa of pages: TLBs, look-ups by linear address
    virtual void contents_changed(u64 /*gpa*/, u64 /*bytes*/) {
    } // other memory answers at these addresses: translations
    virtual void write_protected(const u8* /*host_page*/) {
    } // writes to this page must take the slow path from now on
    virtual void code_came(const u8* /*host_page*/) {} // the same, but those that look at code_lines()
};

class PhysicalMap final : public MemoryMap, public DmaBus {
  public:
    static constexpr u64 page_size = 4096;
    static constexpr unsigned address_bits = 40; // MAXPHYADDR that CPUID reports

    // RAM of `bytes` bytes (a multiple of 4096), which costs host memory only where touched.
    static Result<std::unique_ptr<PhysicalMap>> create(u64 bytes);
    ~PhysicalMap() override;

    // RAM is mapped from 0 to `below` and from 4 GiB on for the rest.
    u8* ram() { return ram_; }
    u64 ram_bytes() const { return ram_bytes_; }
    u64 ram_below_4g() const { return ram_below_4g_; }
    // The file that RAM is a shared mapping of, byte for byte, for mapping it again; -1: there is none.
    int ram_file() const { return ram_file_; }
    const u8* ram() const { return ram_; }
    bool is_ram(const u8* host) const { return host >= ram_ && host < ram_ + ram_bytes_; }
    u64 gpa_of_ram(const u8* host) const {
        const u64 offset = u64(host - ram_);
        return offset < ram_below_4g_ ? offset : offset - ram_below_4g_ + 4 * GiB;
    }

    // MemoryMap
    Handle map_io(u64 gpa, u64 bytes, IoHandler& handler, int priority) override;
    Handle map_memory(u64 gpa, u64 bytes, u8* host, bool read_only, int priority) override;
    Handle map_flash(u64 gpa, u64 bytes, u8* host, IoHandler& writes, int priority) override;
    void unmap(Handle handle) override;
    bool take_dirty(Handle handle, u64 offset) override;

    // DmaBus: RAM only, not through the A20 gate
    bool read(u64 gpa, void* to, u64 bytes) override;
    bool write(u64 gpa, const void* from, u64 bytes) override;

    // The A20 gate: while closed, bit 20 of every processor address is 0.
    void set_a20(bool open);
    u64 a20_mask() const { return a20_mask_; }

    // What is at a page (after A20).
    struct Page {
        u8* host = nullptr;        // RAM, ROM or flash; null for I/O or nothing
        bool writable = false;     // RAM
        bool has_code = false;     // some of it was translated: writes take the slow path
        bool dirty_logged = false; // writes take the slow path until the next one sets the dirty bit
        IoHandler* io = nullptr;   // if not memory
        u64 io_offset = 0;         // of the page in the handler's range
    };
    Page lookup(u64 gpa) const;

    // Physical accesses by the processor that bypass the TLB (page walks, MMIO, debugger): 1..8 bytes inside
    // one page.
    u64 load(u64 gpa, unsigned size);
    void store(u64 gpa, unsigned size, u64 value); // goes through the code watcher
    void mark_dirty(u64 gpa);                      // of the page; for writes that went around store()

    // Translated code. Granularity of the bitmap: 2^code_line_bits bytes.
    static constexpr unsigned code_line_bits = 6;
    void set_watcher(CodeWatcher* watcher) { watcher_ = watcher; }
    CodeWatcher* watcher() { return watcher_; }
    void mark_code(u64 gpa, u64 size);       // one page
    void clear_code(u64 gpa);                // the whole page has no translation any more
    bool hits_code(u64 gpa, u64 size) const; // any marked line in [gpa, gpa+size)?

    // The lines of a page of memory that are marked now: one bit for 64 bytes. Valid until the map changes.
    const u64* code_lines(u64 gpa) const;

    void add_listener(MapListener& listener) { listeners_.push_back(&listener); } // borrowed until removed
    void remove_listener(MapListener& listener) { std::erase(listeners_, &listener); }

    std::string describe() const; // `info mtree`

  private:
    struct Region;
    PhysicalMap(u8* ram, u64 bytes, int file);
    Handle add(std::unique_ptr<Region> region);
    void rebuild(u64 gpa, u64 bytes);
    Region* region_of(u64 gpa) const; // null: nobody
    Region* region_named(Handle handle) const;

    u8* ram_;
    u64 ram_bytes_, ram_below_4g_;
    int ram_file_;
    u64 a20_mask_ = ~u64{0};
    CodeWatcher* watcher_ = nullptr;
    std::vector<MapListener*> listeners_;
    std::vector<std::unique_ptr<Region>> regions_; // by handle - 1; null where unmapped
    Zeros<u16> low_pages_;                         // below 4 GiB: page -> handle; above, regions are searched
};

} // namespace dragoman::softmmu
