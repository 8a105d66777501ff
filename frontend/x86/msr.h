// Model-specific registers (SDM vol. 4, table 2-2): the architectural ones that are emulated.
#pragma once

#include "frontend/x86/cpu.h"
#include "frontend/x86/instruction.h"

#include <span>

namespace dragoman::x86 {

// RDMSR and WRMSR. False: #GP(0), not yet raised; write_msr has changed nothing then.
bool read_msr(Cpu& cpu, u32 msr, u64& value);
bool write_msr(Cpu& cpu, u32 msr, u64 value);

struct MsrRow {
    u32 first, last;
    const char* name;
    Feature feature;                             // without it the MSR does not exist
    bool (*read)(Cpu& cpu, u32 msr, u64& value); // false: #GP; null: write-only
    bool (*write)(Cpu& cpu, u32 msr, u64 value); // the same; null: read-only. Both null: it raises #GP
    u64 writable;                                // writing a 1 to any other bit is #GP
};
std::span<const MsrRow> msr_table();

} // namespace dragoman::x86
