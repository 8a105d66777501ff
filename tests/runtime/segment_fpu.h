// The x87, MMX and SSE state of the cases of segment_cases.h.
#pragma once

#include "frontend/x86/save_area.h"

#include <functional>
#include <random>

namespace dragoman::test {

// A state to begin with. SIMD exceptions are masked in it; those of the x87 mostly, and one may wait.
void random_fpu(std::mt19937_64& random, x86::SaveArea& fx);

// Calls `found` with the name, the number, and the first 8 bytes of what differs between `host` and `ours`,
// and was `before`.
using FpuDifference = std::function<void(const char* name, u32 number, u64 before, u64 host, u64 ours)>;
void compare_fpu(const x86::SaveArea& before, const x86::SaveArea& host, const x86::SaveArea& ours,
                 const FpuDifference& found);

} // namespace dragoman::test
