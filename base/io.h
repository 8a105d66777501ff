// The seams between the processor's side and the chips: who answers an access, and how a chip reaches memory.
// They live here because neither hw/ nor softmmu/ may include the other.
#pragma once

#include "base/types.h"

#include <cstring>

namespace dragoman {

// Answers guest accesses to a range of ports or of guest-physical memory. `offset` counts bytes from the
// start of the range; `size` is 1, 2, 4 or 8 bytes; values are little-endian in the low `size` bytes. A
// handler is never asked for anything outside its range, and must cope with any value at any time: the guest
// is hostile.
class IoHandler {
  public:
    virtual ~IoHandler() = default;
    virtual u64 read(u64 offset, unsigned size) = 0;
    virtual void write(u64 offset, unsigned size, u64 value) = 0;
};

// Guest-physical memory as a bus master sees it (DMA). Addresses and lengths come from the guest: what lies
// outside RAM reads as ones and is not written, and false is returned.
class DmaBus {
  public:
    virtual ~DmaBus() = default;
    virtual bool read(u64 gpa, void* to, u64 bytes) = 0;
    virtual bool write(u64 gpa, const void* from, u64 bytes) = 0;

    template <class T> T get(u64 gpa) {
        T value;
        std::memset(&value, 0xff, sizeof value);
        read(gpa, &value, sizeof value);
        return value;
    }
    template <class T> void put(u64 gpa, const T& value) { write(gpa, &value, sizeof value); }
};

// The layout of guest-physical memory, as the chips that decide it see it (BARs, PAM registers, VGA window).
// Where ranges overlap, the one with the higher priority answers; bytes that nobody claims read as ones.
class MemoryMap {
  public:
    virtual ~MemoryMap() = default;

    using Handle = u32; // names one mapping; 0 names none

    // `gpa` and `bytes` are multiples of 4096 for RAM and ROM. Handlers and memory are borrowed and must
    // outlive the mapping.
    virtual Handle map_io(u64 gpa, u64 bytes, IoHandler& handler, int priority) = 0;
    // Memory that the guest reads and, unless `read_only`, writes directly. A write to read-only memory is
    // ignored.
    virtual Handle map_memory(u64 gpa, u64 bytes, u8* host, bool read_only, int priority) = 0;
    // Memory that the guest reads and executes directly; what it writes there is the handler's.
    virtual Handle map_flash(u64 gpa, u64 bytes, u8* host, IoHandler& writes, int priority) = 0;
    virtual void unmap(Handle handle) = 0;
    // Was the page at `offset` of a memory mapping written since this was last asked? (display refresh)
    virtual bool take_dirty(Handle handle, u64 offset) = 0;
};

} // namespace dragoman
