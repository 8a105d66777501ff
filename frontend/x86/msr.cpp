#include "frontend/x86/msr.h"

#include "base/bits.h"
#include "frontend/x86/cpuid.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/machine_check.h"
#include "frontend/x86/memory_types.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/system_registers.h"

#include <algorithm>

namespace dragoman::x86 {

namespace {

// ---- plain fields
template <auto field> bool read_field(Cpu& cpu, u32, u64& value) {
    return value = cpu.*field, true;
}
template <auto field> bool write_field(Cpu& cpu, u32, u64 value) {
    return cpu.*field = value, true;
}
template <auto field> bool write_canonical(Cpu& cpu, u32, u64 value) {
    if (cpu.model->has(Feature::LongMode) && !canonical_base(cpu, value)) return false;
    cpu.*field = value;
    return true;
}
template <u64 constant> bool read_constant(Cpu&, u32, u64& value) {
    return value = constant, true;
}
bool ignore_write(Cpu&, u32, u64) {
    return true;
}

// ---- segment bases
template <unsigned seg> bool read_base(Cpu& cpu, u32, u64& value) {
    return value = cpu.seg[seg].base, true;
}
template <unsigned seg> bool write_base(Cpu& cpu, u32, u64 value) {
    if (!canonical_base(cpu, value)) return false;
    cpu.seg[seg].base = value;
    return true;
}

bool write_efer_msr(Cpu& cpu, u32, u64 value) {
    return write_efer(cpu, value);
}

// ---- time
u64 time_stamp(const Cpu& cpu) {
    return cpu.platform->time_stamp() + cpu.tsc_offset;
}
bool read_tsc(Cpu& cpu, u32, u64& value) {
    return value = time_stamp(cpu), true;
}
bool write_tsc(Cpu& cpu, u32, u64 value) { // IA32_TSC_ADJUST moves by as much (SDM vol. 3, 18.17.3)
    const u64 delta = value - time_stamp(cpu);
    cpu.tsc_offset += delta;
    cpu.tsc_adjust += delta;
    update_time(cpu);
    return true;
}
bool write_tsc_adjust(Cpu& cpu, u32, u64 value) {
    cpu.tsc_offset += value - cpu.tsc_adjust;
    cpu.tsc_adjust = value;
    update_time(cpu);
    return true;
}

// IA32_MPERF and IA32_APERF count while the processor is not halted, both at the rate of the time stamp: the
// clock never changes (SDM vol. 3, 15.2).
u64 unhalted_ticks(const Cpu& cpu) {
    return cpu.platform->time_stamp() - cpu.halted_ticks;
}
template <auto offset> bool read_unhalted(Cpu& cpu, u32, u64& value) {
    return value = unhalted_ticks(cpu) + cpu.*offset, true;
}
template <auto offset> bool write_unhalted(Cpu& cpu, u32, u64 value) {
    return cpu.*offset = value - unhalted_ticks(cpu), true;
}

// ---- IA32_MISC_ENABLE (SDM vol. 4, table 2-2). Those that say what there is are read-only.
constexpr u64 kMiscReadOnly = 1 << 7 | kMiscReset | 1 << 3 | 1 << 16 | 1 << 18;
constexpr u64 kMiscWritable = 1 << 0 | kMiscLimitCpuid | 1 << 23;

bool write_misc_enable(Cpu& cpu, u32, u64 value) {
    const u64 writable = kMiscWritable | (cpu.model->has(Feature::Nx) ? u64{kMiscDisableNx} : 0);
    if (value & ~(writable | kMiscReadOnly)) return false;
    cpu.misc_enable = (cpu.misc_enable & ~writable) | (value & writable);
    return true;
}

// ---- protection keys of supervisor pages
bool write_pkrs(Cpu& cpu, u32, u64 value) {
    write_protection_keys(cpu, cpu.pkru, u32(value));
    return true;
}

// ---- AMD's own (APM vol. 2, 3.2). What they switch is not here, so writes change nothing.
constexpr struct {
    u32 msr;
    u64 value;
} kAmdMsrs[] = {
    {0xc0010010, 0},       // SYSCFG
    {0xc0010015, 1 << 24}, // HWCR: the time stamp does not follow the clock (TscFreqSel)
    {0xc001001f, 0},       // NB_CFG
    {0xc0010055, 0},       // Interrupt Pending
    {0xc0011029, 1 << 1},  // DE_CFG: LFENCE waits for what was before it
};

bool read_amd(Cpu& cpu, u32 msr, u64& value) {
    const auto* row =
        std::find_if(std::begin(kAmdMsrs), std::end(kAmdMsrs), [&](const auto& r) { return r.msr == msr; });
    if (!cpu.model->has(Feature::AmdRegisters) || row == std::end(kAmdMsrs)) return false;
    return value = row->value, true;
}
bool write_amd(Cpu& cpu, u32 msr, u64) {
    u64 there;
    return read_amd(cpu, msr, there);
}

// ---- local APIC
bool read_apic(Cpu& cpu, u32 msr, u64& value) {
    return cpu.platform->apic_read_msr(msr, value);
}
bool write_apic(Cpu& cpu, u32 msr, u64 value) {
    return cpu.platform->apic_write_msr(msr, value);
}

// IA32_ARCH_CAPABILITIES: none of the ways in which speculation leaks exists here. RDCL_NO, SKIP_L1DFL,
// SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, GDS_NO, RFDS_NO.
constexpr u64 kArchCapabilities = 1 << 0 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 14 |
                                  1 << 15 | 1 << 20 | 1 << 26 | 1 << 27;

constexpr u64 kAll = ~u64{0}, kLow32 = 0xffffffff;
using enum Feature;

// Those that systems use all the time come first.
constexpr MsrRow kMsrs[] = {
    // from     to          name                       feature      read, write, writable bits
    {0x800, 0x8ff, "x2APIC", X2apic, read_apic, write_apic, kAll},
    {0x6e0, 0x6e0, "IA32_TSC_DEADLINE", TscDeadline, read_apic, write_apic, kAll},
    {0xc0000100, 0xc0000100, "IA32_FS_BASE", LongMode, read_base<4>, write_base<4>, kAll},
    {0xc0000101, 0xc0000101, "IA32_GS_BASE", LongMode, read_base<5>, write_base<5>, kAll},
    {0xc0000102, 0xc0000102, "IA32_KERNEL_GS_BASE", LongMode, read_field<&Cpu::kernel_gs_base>,
     write_canonical<&Cpu::kernel_gs_base>, kAll},
    {0xc0000080, 0xc0000080, "IA32_EFER", Nx, read_field<&Cpu::efer>, write_efer_msr, kAll},
    {0xc0000081, 0xc0000081, "IA32_STAR", Syscall, read_field<&Cpu::star>, write_field<&Cpu::star>, kAll},
    {0xc0000082, 0xc0000082, "IA32_LSTAR", Syscall, read_field<&Cpu::lstar>, write_canonical<&Cpu::lstar>,
     kAll},
    {0xc0000083, 0xc0000083, "IA32_CSTAR", Syscall, read_field<&Cpu::cstar>, write_canonical<&Cpu::cstar>,
     kAll},
    {0xc0000084, 0xc0000084, "IA32_FMASK", Syscall, read_field<&Cpu::sfmask>, write_field<&Cpu::sfmask>,
     kLow32},
    {0xc0000103, 0xc0000103, "IA32_TSC_AUX", Rdtscp, read_field<&Cpu::tsc_aux>, write_field<&Cpu::tsc_aux>,
     kLow32},
    {0x00, 0x01, "IA32_P5_MC_ADDR, IA32_P5_MC_TYPE", Mce, read_constant<0>, ignore_write, kAll},
    {0x10, 0x10, "IA32_TIME_STAMP_COUNTER", Tsc, read_tsc, write_tsc, kAll},
    {0x17, 0x17, "IA32_PLATFORM_ID", Base, read_constant<0>, nullptr, 0},
    {0x1b, 0x1b, "IA32_APIC_BASE", Apic, read_apic, write_apic, kAll},
    {0x3b, 0x3b, "IA32_TSC_ADJUST", TscAdjust, read_field<&Cpu::tsc_adjust>, write_tsc_adjust, kAll},
    {0x79, 0x79, "IA32_BIOS_UPDT_TRIG", Base, nullptr, ignore_write, kAll},
    {0x8b, 0x8b, "IA32_BIOS_SIGN_ID", Base, read_constant<0>, ignore_write, kAll}, // no update is loaded
    {0xe7, 0xe7, "IA32_MPERF", Aperfmperf, read_unhalted<&Cpu::mperf_offset>,
     write_unhalted<&Cpu::mperf_offset>, kAll},
    {0xe8, 0xe8, "IA32_APERF", Aperfmperf, read_unhalted<&Cpu::aperf_offset>,
     write_unhalted<&Cpu::aperf_offset>, kAll},
    {0xfe, 0xfe, "IA32_MTRRCAP", Mtrr, read_constant<kMtrrCapability>, nullptr, 0},
    {0x10a, 0x10a, "IA32_ARCH_CAPABILITIES", ArchCapabilities, read_constant<kArchCapabilities>, nullptr, 0},
    {0x174, 0x174, "IA32_SYSENTER_CS", Sep, read_field<&Cpu::sysenter_cs>, write_field<&Cpu::sysenter_cs>,
     kLow32},
    {0x175, 0x175, "IA32_SYSENTER_ESP", Sep, read_field<&Cpu::sysenter_esp>,
     write_canonical<&Cpu::sysenter_esp>, kAll},
    {0x176, 0x176, "IA32_SYSENTER_EIP", Sep, read_field<&Cpu::sysenter_eip>,
     write_canonical<&Cpu::sysenter_eip>, kAll},
    {0x179, 0x179, "IA32_MCG_CAP", Mca, read_constant<kMcgCapability>, nullptr, 0},
    {0x17a, 0x17a, "IA32_MCG_STATUS", Mca, read_field<&Cpu::mcg_status>, write_field<&Cpu::mcg_status>, 7},
    {0x17b, 0x17b, "IA32_MCG_CTL", Mca, read_field<&Cpu::mcg_control>, write_field<&Cpu::mcg_control>, kAll},
    {0x1a0, 0x1a0, "IA32_MISC_ENABLE", Base, read_field<&Cpu::misc_enable>, write_misc_enable, kAll},
    {0x1d9, 0x1d9, "IA32_DEBUGCTL", Base, read_field<&Cpu::debugctl>, write_field<&Cpu::debugctl>,
     kDebugCtlBTF},
    {0x200, 0x200 + 2 * kMtrrVariable - 1, "IA32_MTRR_PHYSBASEn, IA32_MTRR_PHYSMASKn", Mtrr,
     read_mtrr_variable, write_mtrr_variable, kAll},
    {0x250, 0x250, "IA32_MTRR_FIX64K_00000", Mtrr, read_mtrr_fixed, write_mtrr_fixed, kAll},
    {0x258, 0x259, "IA32_MTRR_FIX16K_n", Mtrr, read_mtrr_fixed, write_mtrr_fixed, kAll},
    {0x268, 0x26f, "IA32_MTRR_FIX4K_n", Mtrr, read_mtrr_fixed, write_mtrr_fixed, kAll},
    {0x277, 0x277, "IA32_PAT", Pat, read_field<&Cpu::pat>, write_pat, kAll},
    {0x2ff, 0x2ff, "IA32_MTRR_DEF_TYPE", Mtrr, read_field<&Cpu::mtrr_def_type>, write_mtrr_default,
     kMtrrDefaultWritable},
    {0x400, 0x400 + 4 * kMachineCheckBanks - 1, "IA32_MCi_CTL, _STATUS, _ADDR, _MISC", Mca,
     read_machine_check, write_machine_check, kAll},
    {0xda0, 0xda0, "IA32_XSS", Xsaves, read_constant<0>, ignore_write, 0}, // no supervisor components
    {0x6e1, 0x6e1, "IA32_PKRS", Pks, read_field<&Cpu::pkrs>, write_pkrs, kLow32},
    // Systems try these, going by the processor's number; without VMX, SMX and SGX, or on a processor of
    // another
    // family, they raise #GP (SDM vol. 4, 2.1 to 2.17).
    {0x3a, 0x3a, "IA32_FEATURE_CONTROL", Base, nullptr, nullptr, 0},
    {0xce, 0xce, "MSR_PLATFORM_INFO", Base, nullptr, nullptr, 0},
    {0x140, 0x140, "MSR_MISC_FEATURE_ENABLES", Base, nullptr, nullptr, 0},
    {0x3f8, 0x3ff, "MSR_PKG_Cn_RESIDENCY, MSR_CORE_Cn_RESIDENCY", Base, nullptr, nullptr, 0},
    {0x606, 0x64f, "power and performance by model", Base, nullptr, nullptr, 0},
    {0x660, 0x66f, "power and performance of Atom processors", Base, nullptr, nullptr, 0},
    {0xc0010000, 0xc001ffff, "those of AMD's processors", Base, read_amd, write_amd, kAll},
};

const MsrRow* find(const Cpu& cpu, u32 msr) {
    for (const MsrRow& row : kMsrs)
        if (msr >= row.first && msr <= row.last) return cpu.model->has(row.feature) ? &row : nullptr;
    return nullptr;
}

// One that nobody has is reported whatever is logged, once; a bad value where the guest's errors are.
void complain(Cpu& cpu, const MsrRow* row, const char* what, u32 msr, u64 value) {
    if (!cpu.log) return;
    if (!row) cpu.log->once("MSR %#x is not emulated: #GP", msr);
    cpu.log->print(LogItem::GuestError, "%s of MSR %#x, %s (%#llx) at rip %#llx: #GP\n", what, msr,
                   row ? row->name : "not emulated", static_cast<unsigned long long>(value),
                   static_cast<unsigned long long>(cpu.rip));
}

} // namespace

std::span<const MsrRow> msr_table() {
    return kMsrs;
}

bool read_msr(Cpu& cpu, u32 msr, u64& value) {
    const MsrRow* row = find(cpu, msr);
    if (row && row->read && row->read(cpu, msr, value)) return true;
    complain(cpu, row, "read", msr, 0);
    return false;
}

bool write_msr(Cpu& cpu, u32 msr, u64 value) {
    const MsrRow* row = find(cpu, msr);
    if (row && row->write && !(value & ~row->writable) && row->write(cpu, msr, value)) return true;
    complain(cpu, row, "write", msr, value);
    return false;
}

} // namespace dragoman::x86
