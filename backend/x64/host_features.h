// What the host processor can do, detected once when the backend is made; each can be forced off.
#pragma once

#include "base/types.h"

#include <string>

namespace dragoman::backend {

enum class HostFeature : u32 {
    Sse42 = 1u << 0, // also SSE3, SSSE3, SSE4.1
    Popcnt = 1u << 1,
    Bmi2 = 1u << 2,
    Aes = 1u << 3,
    Pclmul = 1u << 4,
    Sha = 1u << 5,
    Lahf64 = 1u << 6,   // LAHF and SAHF in 64-bit mode
    FsGsBase = 1u << 7, // WRGSBASE, and the kernel allows it
    Bmi1 = 1u << 8,
    Lzcnt = 1u << 9,
    Adx = 1u << 10,
    Avx2 = 1u << 11,                  // and the operating system keeps YMM registers
    Xsave = 1u << 12,                 // and the operating system has enabled it
    Avx512 = 1u << 13,                // F and BW, and the operating system keeps ZMM and opmask registers
    FastPext = 1u << 14,              // BMI2, with PEXT as one operation
    FastMisalignedStrings = 1u << 15, // REP MOVS and STOS of units that are not aligned take no longer
};

class HostFeatures {
  public:
    static HostFeatures detect();

    bool has(HostFeature f) const { return bits_ & static_cast<u32>(f); }
    void force_off(HostFeature f) { bits_ &= ~static_cast<u32>(f); }
    std::string describe() const;

  private:
    u32 bits_ = 0;
};

} // namespace dragoman::backend
