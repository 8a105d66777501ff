// Runs 16- and 32-bit code of CPL 3 on the host's own processor, in segments of the local descriptor table:
// the oracle for segmentation.
#pragma once

#include "frontend/x86/save_area.h"

#include <span>
#include <vector>

namespace dragoman::test {

// A descriptor that Linux lets a program have: DPL 3, accessed, never 64-bit code.
struct LdtEntry {
    u32 base = 0;
    u32 limit = 0; // as in the descriptor: in bytes, or in pages of 4 KiB with `in_pages`
    bool in_pages = false;
    bool code = false;
    bool expand_down = false; // of data; conforming, of code
    bool second = false;      // writable data, or readable code
    bool big = false;         // D/B
    bool present = true;
    bool available = false; // AVL
};

constexpr u16 ldt_selector(unsigned index, unsigned rpl = 3) {
    return u16(index << 3 | 4 | rpl);
}

struct SegmentState {
    u32 gpr[8] = {};      // EAX ECX EDX EBX ESP EBP ESI EDI
    u16 selector[6] = {}; // ES CS SS DS FS GS
    u32 eip = 0;
    u32 eflags = 0x202;
    alignas(16) x86::SaveArea fx{.control = 0x37f, .mxcsr = 0x1f80}; // with 64-bit pointers
};

// How it ended: with the exception of this vector.
struct SegmentResult {
    unsigned vector = 0;
    u32 error = 0;
    u64 cr2 = 0; // of #PF
};

class NativeSegments {
  public:
    // What is mapped below 4 GiB: areas that 64 KiB of segment begin and end in, with nothing between them.
    // The program can read and execute the code area, and read and write the data area.
    static constexpr u32 code_area = 0x10000000, data_area = 0x20000000, far_part = 0xf000,
                         part_bytes = 0x2000;
    static constexpr u32 entry_area = 0x30000000, entry_bytes = 0x1000; // read-only for the program

    NativeSegments();
    ~NativeSegments();
    NativeSegments(const NativeSegments&) = delete;
    NativeSegments& operator=(const NativeSegments&) = delete;

    // Could it be set up here? (modify_ldt may be forbidden or left out of the kernel; a sanitizer's shadow
    // memory, which the program could write to, lies below 4 GiB.)
    bool available() const { return available_; }
    const char* why_not() const { return why_not_; }
    void set_ldt(std::span<const LdtEntry> entries);
    std::vector<u64> ldt(std::size_t entries) const; // as the processor sees it
    static u8* memory(u32 linear) { return reinterpret_cast<u8*>(u64{linear}); }
    // All that is mapped, writable: both parts of the code area, both of the data area, the entry page.
    u8* alias() { return alias_; }
    static constexpr u32 alias_bytes = 4 * part_bytes + entry_bytes;

    // Enters the state and runs until an exception; `state` is then that of the exception.
    SegmentResult run(SegmentState& state);

  private:
    bool available_ = false, reserved_ = false;
    const char* why_not_ = "";
    u8* alias_ = nullptr;
};

} // namespace dragoman::test
