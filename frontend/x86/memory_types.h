// Memory types: MTRRs and the page attribute table (SDM vol. 3, 12.11, 12.12). They are kept and checked;
// memory is coherent whatever they say. Each function is a row's of the MSR table (frontend/x86/msr.cpp).
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

inline constexpr u64 kPatReset = 0x0007040600070406;
inline constexpr u64 kMtrrVariable = 8;                                  // ranges
inline constexpr u64 kMtrrCapability = kMtrrVariable | 1 << 8 | 1 << 10; // fixed ranges, write-combining
inline constexpr u64 kMtrrDefaultWritable = 0xcff;                       // type, FE, E

bool read_mtrr_variable(Cpu& cpu, u32 msr, u64& value);
bool write_mtrr_variable(Cpu& cpu, u32 msr, u64 value);
bool read_mtrr_fixed(Cpu& cpu, u32 msr, u64& value);
bool write_mtrr_fixed(Cpu& cpu, u32 msr, u64 value);
bool write_mtrr_default(Cpu& cpu, u32 msr, u64 value);
bool write_pat(Cpu& cpu, u32 msr, u64 value);

} // namespace dragoman::x86
