// The guest in which the cases of segment_cases.h run: a program of CPL 3 in compatibility mode, with the
// memory of native_segments.h, whose every exception ends in the kernel's HLT.
#pragma once

#include "native_segments.h"
#include "vcpu_machine.h"

namespace dragoman::test {

class SegmentGuest {
  public:
    explicit SegmentGuest(const Way& way);

    void set_ldt(std::span<const u64> entries);
    u8* data() {
        return m.map->ram() + kMemory + 2 * NativeSegments::part_bytes;
    } // both parts of the data area
    u8* entry_page() { return m.map->ram() + kMemory + 4 * NativeSegments::part_bytes; }
    // Bytes of the code area; outside it nothing happens.
    void put_code(u32 linear, u8 byte);

    SegmentResult run(SegmentState& state);

  private:
    static constexpr u64 kGdt = 0x1000, kIdt = 0x2000, kTss = 0x3000, kLdt = 0x4000, kHandlers = 0x5000,
                         kStack = 0xf000, kTables = 0x100000, kMemory = 0x200000,
                         kKernel = 0xffff800000000000;
    void map(u64 linear, u64 gpa, u64 bytes, u64 flags);

    VcpuMachine m;
    u64 next_table_ = kTables + 0x1000;
};

} // namespace dragoman::test
