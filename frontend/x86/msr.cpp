#include "frontend/x86/msr.h"

#include "base/bits.h"
#include "frontend/x86/cpuid.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/system_registers.h"

namespace dragoman::x86 {

namespace {

using Read = bool (*)(Cpu& cpu, u32 msr, u64& value);
using Write = bool (*)(Cpu& cpu, u32 msr, u64 value);

// ---- plain fields
template <auto field> bool read_field(Cpu& cpu, u32, u64& value) {
    return value = cpu.*field, true;
}
template <auto field> bool write_field(Cpu& cpu, u32, u64 value) {
    return cpu.*field = value, true;
}
template <auto field> bool write_field32(Cpu& cpu, u32, u64 value) {
    if (value >> 32) return false;
    cpu.*field = value;
    return true;
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
bool write_zero(Cpu&, u32, u64 value) {
    return value == 0;
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
    return true;
}
bool write_tsc_adjust(Cpu& cpu, u32, u64 value) {
    cpu.tsc_offset += value - cpu.tsc_adjust;
    cpu.tsc_adjust = value;
    return true;
}

bool write_debugctl(Cpu& cpu, u32, u64 value) {
    if (value & ~u64{kDebugCtlBTF}) return false;
    cpu.debugctl = value;
    return true;
}

// ---- local APIC
bool read_apic(Cpu& cpu, u32 msr, u64& value) {
    return cpu.platform->apic_read_msr(msr, value);
}
bool write_apic(Cpu& cpu, u32 msr, u64 value) {
    return cpu.platform->apic_write_msr(msr, value);
}

// ---- memory types (SDM vol. 3, 12.11, 12.12)
constexpr bool mtrr_type(u64 type) {
    return type <= 6 && type != 2 && type != 3;
}
constexpr bool pat_type(u64 type) {
    return type <= 7 && type != 2 && type != 3;
}
template <bool (*valid)(u64)> bool all_valid(u64 value) {
    for (unsigned i = 0; i < 8; ++i)
        if (!valid(value >> i * 8 & 0xff)) return false;
    return true;
}
bool write_pat(Cpu& cpu, u32, u64 value) {
    if (!all_valid<pat_type>(value)) return false;
    cpu.pat = value;
    return true;
}
constexpr u64 kPhysical = low_mask(softmmu::PhysicalMap::address_bits);
constexpr u64 kMtrrCapability = 8 | 1 << 8 | 1 << 10; // eight variable ranges, fixed ranges, write-combining

bool read_mtrr_variable(Cpu& cpu, u32 msr, u64& value) {
    return value = cpu.mtrr_variable[msr - 0x200], true;
}
bool write_mtrr_variable(Cpu& cpu, u32 msr, u64 value) {
    const bool is_mask = msr & 1;
    const u64 defined = (kPhysical & ~u64{0xfff}) | (is_mask ? 0x800 : 0xff);
    if ((value & ~defined) || (!is_mask && !mtrr_type(value & 0xff))) return false;
    cpu.mtrr_variable[msr - 0x200] = value;
    return true;
}
unsigned fixed_index(u32 msr) {
    return msr == 0x250 ? 0 : msr < 0x260 ? msr - 0x258 + 1 : msr - 0x268 + 3;
}
bool read_mtrr_fixed(Cpu& cpu, u32 msr, u64& value) {
    return value = cpu.mtrr_fixed[fixed_index(msr)], true;
}
bool write_mtrr_fixed(Cpu& cpu, u32 msr, u64 value) {
    if (!all_valid<mtrr_type>(value)) return false;
    cpu.mtrr_fixed[fixed_index(msr)] = value;
    return true;
}
bool write_mtrr_default(Cpu& cpu, u32, u64 value) {
    if ((value & ~u64{0xcff}) || !mtrr_type(value & 0xff)) return false;
    cpu.mtrr_def_type = value;
    return true;
}

// IA32_ARCH_CAPABILITIES: none of the ways in which speculation leaks exists here. RDCL_NO, SKIP_L1DFL,
// SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, GDS_NO, RFDS_NO.
constexpr u64 kArchCapabilities = 1 << 0 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 14 |
                                  1 << 15 | 1 << 20 | 1 << 26 | 1 << 27;

struct Row {
    u32 first, last;
    Feature feature;
    Read read;
    Write write; // null: read-only
};

// Those that systems use all the time come first.
constexpr Row kMsrs[] = {
    {0x800, 0x8ff, Feature::X2apic, read_apic, write_apic},
    {0x6e0, 0x6e0, Feature::TscDeadline, read_apic, write_apic},
    {0xc0000100, 0xc0000100, Feature::LongMode, read_base<4>, write_base<4>},
    {0xc0000101, 0xc0000101, Feature::LongMode, read_base<5>, write_base<5>},
    {0xc0000102, 0xc0000102, Feature::LongMode, read_field<&Cpu::kernel_gs_base>,
     write_canonical<&Cpu::kernel_gs_base>},
    {0xc0000080, 0xc0000080, Feature::Nx, read_field<&Cpu::efer>, write_efer_msr},
    {0xc0000081, 0xc0000081, Feature::Syscall, read_field<&Cpu::star>, write_field<&Cpu::star>},
    {0xc0000082, 0xc0000082, Feature::Syscall, read_field<&Cpu::lstar>, write_canonical<&Cpu::lstar>},
    {0xc0000083, 0xc0000083, Feature::Syscall, read_field<&Cpu::cstar>, write_canonical<&Cpu::cstar>},
    {0xc0000084, 0xc0000084, Feature::Syscall, read_field<&Cpu::sfmask>, write_field32<&Cpu::sfmask>},
    {0xc0000103, 0xc0000103, Feature::Rdtscp, read_field<&Cpu::tsc_aux>, write_field32<&Cpu::tsc_aux>},
    {0x00, 0x01, Feature::Mce, read_constant<0>, ignore_write}, // P5_MC_ADDR, P5_MC_TYPE
    {0x10, 0x10, Feature::Tsc, read_tsc, write_tsc},
    {0x17, 0x17, Feature::Base, read_constant<0>, nullptr}, // IA32_PLATFORM_ID
    {0x1b, 0x1b, Feature::Apic, read_apic, write_apic},
    {0x3b, 0x3b, Feature::TscAdjust, read_field<&Cpu::tsc_adjust>, write_tsc_adjust},
    {0x79, 0x79, Feature::Base, read_constant<0>, ignore_write}, // IA32_BIOS_UPDT_TRIG
    {0x8b, 0x8b, Feature::Base, read_constant<0>, ignore_write}, // IA32_BIOS_SIGN_ID
    {0xfe, 0xfe, Feature::Mtrr, read_constant<kMtrrCapability>, nullptr},
    {0x10a, 0x10a, Feature::ArchCapabilities, read_constant<kArchCapabilities>, nullptr},
    {0x174, 0x174, Feature::Sep, read_field<&Cpu::sysenter_cs>, write_field32<&Cpu::sysenter_cs>},
    {0x175, 0x175, Feature::Sep, read_field<&Cpu::sysenter_esp>, write_canonical<&Cpu::sysenter_esp>},
    {0x176, 0x176, Feature::Sep, read_field<&Cpu::sysenter_eip>, write_canonical<&Cpu::sysenter_eip>},
    {0x179, 0x179, Feature::Mca, read_constant<0>, nullptr},    // IA32_MCG_CAP: no banks
    {0x17a, 0x17a, Feature::Mca, read_constant<0>, write_zero}, // IA32_MCG_STATUS
    {0x1a0, 0x1a0, Feature::Base, read_field<&Cpu::misc_enable>, write_field<&Cpu::misc_enable>},
    {0x1d9, 0x1d9, Feature::Base, read_field<&Cpu::debugctl>, write_debugctl},
    {0x200, 0x20f, Feature::Mtrr, read_mtrr_variable, write_mtrr_variable},
    {0x250, 0x250, Feature::Mtrr, read_mtrr_fixed, write_mtrr_fixed},
    {0x258, 0x259, Feature::Mtrr, read_mtrr_fixed, write_mtrr_fixed},
    {0x268, 0x26f, Feature::Mtrr, read_mtrr_fixed, write_mtrr_fixed},
    {0x277, 0x277, Feature::Pat, read_field<&Cpu::pat>, write_pat},
    {0x2ff, 0x2ff, Feature::Mtrr, read_field<&Cpu::mtrr_def_type>, write_mtrr_default},
};

const Row* find(const Cpu& cpu, u32 msr) {
    for (const Row& row : kMsrs)
        if (msr >= row.first && msr <= row.last) return cpu.model->has(row.feature) ? &row : nullptr;
    return nullptr;
}

void complain(Cpu& cpu, const char* what, u32 msr, u64 value) {
    if (!cpu.log || !cpu.log->enabled(LogItem::GuestError)) return;
    cpu.log->print(LogItem::GuestError, "%s of MSR %#x (%#llx) at rip %#llx: #GP\n", what, msr,
                   static_cast<unsigned long long>(value), static_cast<unsigned long long>(cpu.rip));
}

} // namespace

bool read_msr(Cpu& cpu, u32 msr, u64& value) {
    const Row* row = find(cpu, msr);
    if (row && row->read(cpu, msr, value)) return true;
    complain(cpu, "read", msr, 0);
    return false;
}

bool write_msr(Cpu& cpu, u32 msr, u64 value) {
    const Row* row = find(cpu, msr);
    if (row && row->write && row->write(cpu, msr, value)) return true;
    complain(cpu, "write", msr, value);
    return false;
}

} // namespace dragoman::x86
