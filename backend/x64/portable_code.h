// Compiled blocks on their way to a file and back (PortableCode in backend.h).
#pragma once

#include "backend/x64/stubs.h"
#include "base/program_image.h"

namespace dragoman::backend {

class CodeMover {
  public:
    // `buffer`: where offset 0 of the code buffer runs.
    CodeMover(const u8* buffer, u64 stub_bytes) : buffer_(buffer), stub_bytes_(stub_bytes) {}

    bool take(const u8* entry, const Compiled& made, std::span<const std::unique_ptr<ir::Inst>> kept,
              const std::vector<u32>& stub_jumps, PortableCode& to);
    // Writes the code to `writable`, to run at `at`.
    bool place(const PortableCode& code, u8* writable, const u8* at, Compiled& out) const;

  private:
    const u8* buffer_;
    u64 stub_bytes_;
    ProgramImage image_;
    // What PortableCode points to.
    std::vector<u8> code_;
    std::vector<ir::Inst> kept_;
    std::vector<u32> stub_jumps_;
};

} // namespace dragoman::backend
