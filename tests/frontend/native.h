// Runs guest code on the host's own processor: the oracle for user-mode instructions of 64-bit code.
#pragma once

#include "base/types.h"

#include <memory>
#include <span>

namespace dragoman::test {

// ZMM0..31 and K0..7.
struct alignas(64) VectorRegisters {
    u8 vec[32][64] = {};
    u64 opmask[8] = {};
};

// The registers that an instruction sees and leaves.
struct UserState {
    u64 gpr[16] = {};
    u64 rip = 0;
    u64 flags = 0x202; // RFLAGS
    // An area of FXSAVE (512 bytes, aligned to 16) with the x87, MMX and SSE state, in 64-bit format, or
    // null: the state is of no interest.
    u8* fx = nullptr;
    // Whole vector registers, as far as the host has them, or null; only with fx, which is loaded before and
    // tells their low 16 bytes afterwards. Where the host has AVX.
    VectorRegisters* vectors = nullptr;
};

// How it ended: at the next instruction, or with the exception of this vector.
struct NativeResult {
    bool faulted = false;
    unsigned vector = 0;
};

class CoverageLog; // coverage_log.h

// Does the host have ZMM and opmask registers?
bool host_has_avx512();

// Two fixed areas of this process: code, filled with INT3 around the instruction, and data. One object at a
// time.
class Native {
  public:
    static constexpr u64 code_base = 0x1000000, code_bytes = 0x10000;
    static constexpr u64 data_base = 0x2000000, data_bytes = 0x2000; // unmapped on both sides

    Native();
    ~Native();
    Native(const Native&) = delete;
    Native& operator=(const Native&) = delete;

    // Could the areas be mapped at their addresses?
    bool available() const { return available_; }
    u8* data() { return reinterpret_cast<u8*>(data_base); }

    // Puts `code` at state.rip (in the code area) and runs it until it leaves it: `state` is then what the
    // processor holds, rip the instruction that comes next or the one that faulted.
    NativeResult run(std::span<const u8> code, UserState& state);

  private:
    bool available_ = false;
    std::unique_ptr<CoverageLog> coverage_;
};

} // namespace dragoman::test
