#include "frontend/x86/machine_check.h"

#include "frontend/x86/exception.h"

namespace dragoman::x86 {

namespace {

enum StatusBit : u64 { // IA32_MCi_STATUS
    kValid = u64{1} << 63,
    kOverflow = u64{1} << 62,
    kUncorrected = u64{1} << 61,
    kEnabled = u64{1} << 60,
};
constexpr u64 kInProgress = 1 << 2; // IA32_MCG_STATUS.MCIP

u64& field(Cpu::MachineCheckBank& bank, u32 msr) {
    u64* const fields[] = {&bank.control, &bank.status, &bank.address, &bank.misc};
    return *fields[msr & 3];
}

void shut_down(Cpu& cpu, const char* why) {
    cpu.shutdown_why = why;
    cpu.exit = ir::Exit::Shutdown;
}

} // namespace

bool read_machine_check(Cpu& cpu, u32 msr, u64& value) {
    return value = field(cpu.mc_banks[(msr - 0x400) / 4], msr), true;
}

// Software may enable as it likes, but only clear what was reported (16.3.2.1-16.3.2.4).
bool write_machine_check(Cpu& cpu, u32 msr, u64 value) {
    const bool control = (msr & 3) == 0;
    if (!control && value != 0) return false;
    field(cpu.mc_banks[(msr - 0x400) / 4], msr) = value;
    return true;
}

std::string report_machine_check(Cpu& cpu, const MachineCheckError& error) {
    if (error.bank >= kMachineCheckBanks)
        return "bank " + std::to_string(error.bank) + ", expected 0 to " +
               std::to_string(kMachineCheckBanks - 1);
    if (!(error.status & kValid)) return "status without VAL (bit 63): no error";
    Cpu::MachineCheckBank& bank = cpu.mc_banks[error.bank];
    const bool uncorrected = error.status & kUncorrected;
    if (uncorrected && (!cpu.mcg_control || !bank.control || !(error.status & kEnabled)))
        return "uncorrected errors of this bank are not enabled";

    const bool valid = bank.status & kValid;
    if (valid && (bank.status & kUncorrected)) { // the first uncorrected error stays
        bank.status |= kOverflow;
    } else {
        bank.status = error.status | (valid ? u64{kOverflow} : 0);
        bank.address = error.address;
        bank.misc = error.misc;
    }
    if (uncorrected) {
        cpu.machine_check_again = cpu.mcg_status & kInProgress;
        cpu.mcg_status = error.mcg_status | kInProgress;
        cpu.machine_check_pending = true;
    }
    return {};
}

void deliver_machine_check(Cpu& cpu) {
    cpu.machine_check_pending = false;
    if (!(cpu.cr4 & kCr4MCE)) return shut_down(cpu, "machine check while CR4.MCE is clear");
    if (cpu.machine_check_again) return shut_down(cpu, "machine check while another one is handled");
    deliver_interrupt(cpu, kMC, EventKind::Exception);
}

} // namespace dragoman::x86
