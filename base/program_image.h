// The running program as its linker made it: functions and constants by their position in it, which a run of
// the same build finds at the same place, wherever the kernel has put the program; and what says which build
// it is.
#pragma once

#include "base/types.h"

#include <optional>
#include <string>
#include <vector>

namespace dragoman {

class ProgramImage {
  public:
    ProgramImage(); // looks at what the dynamic linker knows

    // The GNU build-ids of the program and of every library it was started with, in hexadecimal; empty if one
    // of those that matter, the program itself, has none.
    const std::string& build() const { return build_; }

    // Positions of code (in a segment that may be executed) and of data (in any other), of `bytes` bytes.
    std::optional<u64> position_of_code(const void* at) const { return position_of(at, 1, true); }
    std::optional<u64> position_of_data(const void* at, u64 bytes) const {
        return position_of(at, bytes, false);
    }
    // Null: there is nothing of that kind.
    const void* code_at(u64 position) const { return at(position, 1, true); }
    const void* data_at(u64 position, u64 bytes) const { return at(position, bytes, false); }

  private:
    struct Segment {
        u64 position, bytes;
        bool code;
    };
    std::optional<u64> position_of(const void* at, u64 bytes, bool code) const;
    const void* at(u64 position, u64 bytes, bool code) const;

    u64 base_ = 0; // host address of position 0
    std::vector<Segment> segments_;
    std::string build_;
};

} // namespace dragoman
