// A block device: what a disk controller reads from and writes to. Images, overlays and tests implement it.
#pragma once

#include "base/types.h"

#include <functional>

namespace dragoman::hw {

enum class BlockStatus : u8 {
    Ok,
    OutOfRange, // some sector lies beyond the end; nothing was transferred
    ReadOnly,   // a write to a device that refuses writes
    NoSpace,    // the host's storage is full
    IoError,    // the host could not read or write
};

class BlockDevice {
  public:
    static constexpr u32 sector_bytes = 512;

    // Called exactly once per request, from the thread that made it: either before the request returns or
    // later, from the runtime's event loop. The memory handed over must live until then.
    using Completion = std::function<void(BlockStatus)>;

    virtual ~BlockDevice() = default;
    virtual u64 sectors() const = 0; // size in sectors of 512 bytes
    virtual bool read_only() const = 0;
    // `count` sectors from `sector` on. A failed transfer may have moved a part.
    virtual void read(u64 sector, u32 count, u8* to, Completion done) = 0;
    virtual void write(u64 sector, u32 count, const u8* from, Completion done) = 0;
    // All writes completed before this call are on stable storage when `done(Ok)` is called.
    virtual void flush(Completion done) = 0;
};

} // namespace dragoman::hw
