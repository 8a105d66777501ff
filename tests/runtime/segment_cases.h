// Random single instructions of 16- and 32-bit code in random segments, for the comparison with the host's
// processor.
#pragma once

#include "native_segments.h"

#include "ir/flags.h"

#include <memory>
#include <random>
#include <string>
#include <vector>

namespace dragoman::test {

// What the cases of a group share: descriptors, and the contents of the data area (both parts).
struct SegmentGroup {
    static constexpr unsigned descriptors = 32, code_segments = 8, stack_segments = 8;
    // The first are code segments and then stack segments that can be loaded; the others are anything.
    std::vector<LdtEntry> ldt;
    std::vector<u8> data;
};
SegmentGroup random_group(std::mt19937_64& random);

struct SegmentCase {
    SegmentState before;
    std::vector<u8> code;
    u32 code_linear = 0;
    std::vector<u8> data;
    u32 compare_flags = ~u32{0}; // of EFLAGS
    unsigned access_bytes = 0;   // of the memory operand, if there is one
    bool stores_mmx = false;     // its source is an MMX register
    std::string text, mnemonic;
};
class SegmentCases {
  public:
    SegmentCases();
    ~SegmentCases();
    SegmentCase next(std::mt19937_64& random, const SegmentGroup& group);

  private:
    struct Maker;
    std::unique_ptr<Maker> maker_;
};

} // namespace dragoman::test
