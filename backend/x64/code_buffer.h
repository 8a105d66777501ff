// Memory for generated code, mapped twice: written through one mapping, run through the other, so that no
// page is ever writable and executable at once.
#pragma once

#include "base/result.h"
#include "base/types.h"

#include <atomic>
#include <memory>

namespace dragoman::backend {

class CodeBuffer {
  public:
    static Result<std::unique_ptr<CodeBuffer>> create(u64 bytes);
    ~CodeBuffer();

    u64 bytes() const { return bytes_; }
    u8* writable() { return rw_; } // of offset 0
    const u8* executable() const { return rx_; }
    u8* writable_of(const u8* rx) { return rw_ + (rx - rx_); }
    // Code up to there has been written. It lies in huge pages, where the host has them. A full one leaves
    // the writable mapping, so that it does not count twice in the process's resident set; it comes back when
    // it is patched.
    void written(const u8* rx_end);
    // By another thread, now and then: makes the next huge page ready when the present one is nearly full.
    // The host clears it first, which takes as long as to translate hundreds of blocks.
    void make_ready();
    bool contains(const void* rx) const {
        const u8* p = static_cast<const u8*>(rx);
        return p >= rx_ && p < rx_ + bytes_;
    }

  private:
    CodeBuffer(u8* rw, u8* rx, u64 bytes) : rw_(rw), rx_(rx), bytes_(bytes) {}
    void make_ready(u64 until);

    u8 *rw_, *rx_;
    u64 bytes_;
    std::atomic<u64> end_ = 0;   // offset behind what was written last
    std::atomic<u64> ready_ = 0; // offset behind the huge pages that were made ready
};

} // namespace dragoman::backend
