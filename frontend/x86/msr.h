// Model-specific registers (SDM vol. 4).
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

// RDMSR and WRMSR. False: #GP(0), not yet raised; write_msr has changed nothing then.
bool read_msr(Cpu& cpu, u32 msr, u64& value);
bool write_msr(Cpu& cpu, u32 msr, u64 value);

} // namespace dragoman::x86
