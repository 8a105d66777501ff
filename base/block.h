// A block device: what a disk controller reads from and writes to. It lives here because neither hw/ (the
// controllers) nor block/ (the images) may include the other.
#pragma once

#include "base/types.h"

#include <functional>

namespace dragoman {

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

    // Called exactly once per request, on the thread that made it: either before the request returns or
    // later, from the runtime's event loop. The memory handed over must live until then.
    using Completion = std::function<void(BlockStatus)>;

    virtual ~BlockDevice() = default;
    virtual u64 sectors() const = 0; // size in sectors of 512 bytes
    virtual bool read_only() const = 0;
    // `count` sectors from `sector` on. A failed transfer may have moved a part. Requests that are under way
    // at the same time have no order among them.
    virtual void read(u64 sector, u32 count, u8* to, Completion done) = 0;
    virtual void write(u64 sector, u32 count, const u8* from, Completion done) = 0;
    // All writes completed before this call are on stable storage when `done(Ok)` is called.
    virtual void flush(Completion done) = 0;

    // The sectors' contents do not matter any more. Devices may ignore it.
    virtual bool can_discard() const { return false; }
    virtual void discard(u64 sector, u64 count, Completion done) {
        done(sector <= sectors() && count <= sectors() - sector ? BlockStatus::Ok : BlockStatus::OutOfRange);
    }
    // The sectors read as zeroes afterwards; `unmap`: their storage may be given back.
    virtual bool can_write_zeroes() const { return false; }
    virtual void write_zeroes(u64 /*sector*/, u64 /*count*/, bool /*unmap*/, Completion done) {
        done(BlockStatus::IoError);
    }
};

} // namespace dragoman
