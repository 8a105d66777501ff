// Debug registers, single-stepping and the flag that holds instruction breakpoints off (SDM vol. 3, ch. 18).
#pragma once

#include "frontend/x86/cpu.h"

#include <vector>

namespace dragoman::x86 {

// DR6: why #DB was raised. B0 to B3 are the low four bits.
enum Dr6Bit : u32 { kDr6B = 0xf, kDr6BD = 1u << 13, kDr6BS = 1u << 14, kDr6BT = 1u << 15 };
enum Dr7Bit : u64 { kDr7Local = 0x55, kDr7Enables = 0xff, kDr7GD = 1u << 13 };
enum DebugCtlBit : u64 { kDebugCtlBTF = 1u << 1 };

// A condition of DR0 to DR3, as DR7 describes it.
struct Breakpoint {
    enum Kind : u8 { Execute, Write, Io, Access };
    u64 address = 0; // linear, or a port; aligned to `bytes`
    u8 bytes = 1;
    Kind kind = Execute;
    bool enabled = false;
};
Breakpoint breakpoint(const Cpu& cpu, unsigned n);
// Those that are in force: enabled, and with CR4.DE where they watch ports.
std::vector<Breakpoint> breakpoints_in_force(const Cpu& cpu);

// MOV to DR0..DR3, DR6, DR7 (values already checked), CR4.DE, task switches: what watches for breakpoints
// notices by Cpu::debug_version.
void write_debug_register(Cpu& cpu, unsigned n, u64 value);
inline void breakpoints_changed(Cpu& cpu) {
    ++cpu.debug_version;
}

// B0 to B3 for an instruction at `linear`, for an access, or for a port: 0 if no enabled condition is met;
// otherwise those that are met without being enabled are in it too (SDM vol. 3, 18.2.3).
u32 met_by_execution(const Cpu& cpu, u64 linear);
u32 met_by_access(const Cpu& cpu, u64 linear, u32 size, bool write);
// Notes it, so that the trap comes after the instruction.
void port_accessed(Cpu& cpu, u16 port, unsigned size);

// How an instruction can leave the sequence, for stepping from branch to branch (IA32_DEBUGCTL.BTF).
enum class BranchKind : u8 { None, Conditional, Always };

// Around each run of translated code, by whoever runs it: before it ...
inline void begin_instruction(Cpu& cpu) {
    cpu.stepping = cpu.system_flags & kTF;
    cpu.system_flags &= ~u32(kRF);
    cpu.mid_repeat = false;
    cpu.irrevocable = false;
}
// ... and after it ended without a fault: hits and the step become pending traps. `next_rip`: of the
// instruction behind it (of interest only when stepping, when it is one instruction).
void end_instruction(Cpu& cpu, BranchKind branch, u64 next_rip);
// #DB for what is pending, at an instruction boundary; not while MOV SS holds it off.
inline bool debug_trap_due(const Cpu& cpu) {
    return cpu.debug_traps && cpu.interrupt_shadow != kShadowMovSs;
}
// The one of a task switch (TSS.T) comes before all but machine checks.
inline bool task_trap_due(const Cpu& cpu) {
    return cpu.debug_traps & kDr6BT;
}
void deliver_debug_traps(Cpu& cpu);
// #DB before the instruction at rip, for these of B0 to B3.
void deliver_instruction_breakpoint(Cpu& cpu, u32 met);

} // namespace dragoman::x86
