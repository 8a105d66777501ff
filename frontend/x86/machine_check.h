// Machine-check architecture (SDM vol. 3, ch. 16): error-reporting banks, and errors put there from outside.
#pragma once

#include "frontend/x86/cpu.h"

#include <string>

namespace dragoman::x86 {

inline constexpr u64 kMcgCtlPresent = 1 << 8, kMcgRecovery = 1 << 24; // MCG_CTL_P, MCG_SER_P
inline constexpr u64 kMcgCapability = kMachineCheckBanks | kMcgCtlPresent | kMcgRecovery;

// IA32_MCi_CTL, _STATUS, _ADDR and _MISC, from 400H on.
bool read_machine_check(Cpu& cpu, u32 msr, u64& value);
bool write_machine_check(Cpu& cpu, u32 msr, u64 value);

// An error as the hardware would report it: the values of a bank's registers.
struct MachineCheckError {
    u64 bank = 0;
    u64 status = 0, mcg_status = 0, address = 0, misc = 0;
};
// Logs the error in its bank by the rules for overwriting (16.3.2.2.1). An uncorrected one becomes #MC at the
// next instruction boundary. Returns what kept it from being reported; empty: nothing.
std::string report_machine_check(Cpu& cpu, const MachineCheckError& error);

// Takes a pending #MC: delivered, or a shutdown without CR4.MCE, or while another one is handled (MCIP).
void deliver_machine_check(Cpu& cpu);

} // namespace dragoman::x86
