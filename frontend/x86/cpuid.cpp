// CPUID (SDM vol. 2, CPUID).
#include "frontend/x86/cpuid.h"

#include "frontend/x86/cpu.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/xsave_layout.h"

#include <cstring>

namespace dragoman::x86 {

namespace {

constexpr u32 kHypervisorBase = 0x40000000, kHypervisorTiming = 0x40000010;
constexpr u32 kExtendedBase = 0x80000000;
constexpr u32 kApicTimerKhz = 1000000;
constexpr u32 kLineBytes = 64;

// Of those that report features.
bool has_subleaves(u32 leaf) {
    return leaf == 7 || leaf == 0xd;
}

bool offers_any(const CpuModel& m, u32 leaf, u32 subleaf) {
    for (const FeatureInfo& f : feature_table())
        if (f.leaf == leaf && f.subleaf == subleaf && m.has(f.feature)) return true;
    return false;
}

u32 four(const char* text) {
    u32 v;
    std::memcpy(&v, text, 4);
    return v;
}

u32 tsc_khz(const Cpu& cpu) {
    const u64 hz = cpu.platform ? cpu.platform->tsc_hz() : cpu.model->tsc_hz;
    return u32(hz / 1000);
}

u32 apic_id(const Cpu& cpu) {
    return cpu.platform ? cpu.platform->apic_id() : 0;
}

u32 signature(const CpuModel& m) {
    const u32 family = m.family > 15 ? 15 : m.family, extended_family = m.family > 15 ? m.family - 15u : 0;
    return m.stepping | (m.model & 15u) << 4 | family << 8 | u32(m.model >> 4) << 16 | extended_family << 20;
}

// A cache for leaf 4: type 1 data, 2 code, 3 unified; 64-byte lines, one vCPU.
CpuidRegisters cache(u32 type, u32 level, u32 ways, u32 sets) {
    return {.eax = type | level << 5 | 1 << 8, .ebx = 63 | (ways - 1) << 22, .ecx = sets - 1, .edx = 0};
}

// The XSAVE area.
CpuidRegisters state_area(const Cpu& cpu, u32 subleaf) {
    const u64 offered = state_components(*cpu.model);
    if (!offered) return {};
    if (subleaf == 0)
        return {.eax = u32(offered),
                .ebx = area_bytes(cpu.xcr0, false),
                .ecx = area_bytes(offered, false),
                .edx = u32(offered >> 32)};
    if (subleaf == 1) return {.ebx = cpu.model->has(Feature::Xsavec) ? area_bytes(cpu.xcr0, true) : 0};
    for (const StateLayout& l : kStateLayout)
        if (l.number == subleaf && (offered >> subleaf & 1))
            return {.eax = l.bytes, .ebx = l.offset, .ecx = l.aligned ? 2u : 0};
    return {};
}

CpuidRegisters basic(const Cpu& cpu, u32 leaf, u32 subleaf) {
    const CpuModel& m = *cpu.model;
    switch (leaf) {
    case 0:
        return {.eax = m.basic_leaves,
                .ebx = four(m.vendor.data()),
                .ecx = four(m.vendor.data() + 8),
                .edx = four(m.vendor.data() + 4)};
    case 1: {
        CpuidRegisters r{.eax = signature(m)};
        r.ebx = (m.has(Feature::Clflush) ? 8u << 8 : 0) | 1u << 16 | apic_id(cpu) << 24;
        if (cpu.cr4 & kCr4OSXSAVE) r.ecx |= 1u << 27;
        return r;
    }
    case 2: // this and leaf 4 are reserved in AMD's processors, which have 80000005H
        if (m.has(Feature::AmdRegisters)) return {};
        return m.basic_leaves >= 4 ? CpuidRegisters{.eax = 0xff01} // see leaf 4
                                   : CpuidRegisters{.eax = 0x03020101, .edx = 0x0c040841};
    case 4:
        if (m.has(Feature::AmdRegisters)) return {};
        switch (subleaf) {
        case 0: return cache(1, 1, 8, 64);    // 32 KiB
        case 1: return cache(2, 1, 8, 64);    // 32 KiB
        case 2: return cache(3, 2, 16, 2048); // 2 MiB
        default: return {};
        }
    case 5: // the line that MONITOR watches; sub-leaves of MWAIT's C1 alone
        if (!m.has(Feature::Monitor)) return {};
        return {.eax = kLineBytes, .ebx = kLineBytes, .ecx = 3, .edx = 1 << 4};
    case 7: // the highest sub-leaf
        if (subleaf == 0 && offers_any(m, 7, 1)) return {.eax = 1};
        return {};
    case 0xb:
    case 0x1f: {
        if (!m.has(Feature::X2apic)) return {};
        CpuidRegisters r{.ecx = subleaf & 0xff, .edx = apic_id(cpu)};
        if (subleaf < 2) {
            r.ebx = 1;
            r.ecx |= (subleaf + 1) << 8; // thread, core
        }
        return r;
    }
    case 0xd: return state_area(cpu, subleaf);
    case 0x15: // the crystal is the APIC timer's clock
        if (!m.has(Feature::InvariantTsc)) return {};
        return {.eax = kApicTimerKhz / 1000, .ebx = tsc_khz(cpu) / 1000, .ecx = kApicTimerKhz * 1000};
    case 0x16: {
        const u32 mhz = tsc_khz(cpu) / 1000;
        return {.eax = mhz, .ebx = mhz, .ecx = 100};
    }
    default: return {};
    }
}

// Those that AMD's processors have besides (APM vol. 3, E.4); caches as in leaf 4.
CpuidRegisters extended_amd(const CpuModel& m, u32 leaf) {
    constexpr u32 kLines = 1 << 8 | kLineBytes, kTlb = 0xff << 8 | 64; // 64 entries, fully associative
    switch (leaf) {
    case kExtendedBase:
        return {m.extended_leaves, four(&m.vendor[0]), four(&m.vendor[8]), four(&m.vendor[4])};
    case 0x80000001: return {.eax = signature(m)};
    case 0x80000005:
        return {kTlb << 16 | kTlb, kTlb << 16 | kTlb, 32u << 24 | 8 << 16 | kLines,
                32u << 24 | 8 << 16 | kLines};
    case 0x80000006: return {.ecx = 2048u << 16 | 8u << 12 | kLines};
    default: return {};
    }
}

CpuidRegisters extended(const Cpu& cpu, u32 leaf) {
    const CpuModel& m = *cpu.model;
    if (m.has(Feature::AmdRegisters) && (leaf <= 0x80000001 || leaf == 0x80000005 || leaf == 0x80000006))
        return extended_amd(m, leaf);
    switch (leaf) {
    case kExtendedBase: return {.eax = m.extended_leaves};
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
        char text[48] = {};
        std::memcpy(text, m.brand.data(), std::min<std::size_t>(m.brand.size(), 47));
        const char* part = text + (leaf - 0x80000002) * 16;
        return {four(part), four(part + 4), four(part + 8), four(part + 12)};
    }
    case 0x80000006: return {.ecx = 2048u << 16 | 8u << 12 | 64}; // L2: 2 MiB, 16 ways
    case 0x80000008: return {.eax = m.physical_bits | m.linear_bits() << 8};
    default: return {};
    }
}

CpuidRegisters hypervisor(const Cpu& cpu, u32 leaf) {
    static constexpr char name[13] = "DragomanVM\0\0";
    switch (leaf) {
    case kHypervisorBase: return {kHypervisorTiming, four(name), four(name + 4), four(name + 8)};
    case kHypervisorTiming: return {.eax = tsc_khz(cpu), .ebx = kApicTimerKhz};
    default: return {};
    }
}

} // namespace

u64 state_components(const CpuModel& m) {
    if (!m.has(Feature::Xsave)) return 0;
    return u64{kX87State | kSseState} | (m.has(Feature::Avx) ? u64{kAvxState} : 0) |
           (m.has(Feature::Avx512f) ? u64{kAvx512States} : 0) | (m.has(Feature::Pku) ? u64{kPkruState} : 0);
}

CpuidRegisters cpuid(const Cpu& cpu, u32 leaf, u32 subleaf) {
    const CpuModel& m = *cpu.model;
    const u32 last_basic = cpu.misc_enable & kMiscLimitCpuid ? std::min(m.basic_leaves, 2u) : m.basic_leaves;
    const bool is_hypervisor =
        leaf >= kHypervisorBase && leaf <= kHypervisorTiming && m.has(Feature::Hypervisor);
    const bool is_extended = leaf >= kExtendedBase && leaf <= m.extended_leaves;
    if (!is_hypervisor && !is_extended && leaf > last_basic) leaf = last_basic;

    CpuidRegisters r = is_hypervisor ? hypervisor(cpu, leaf)
                       : is_extended ? extended(cpu, leaf)
                                     : basic(cpu, leaf, subleaf);
    u32* const registers[] = {&r.eax, &r.ebx, &r.ecx, &r.edx};
    const bool sub = has_subleaves(leaf);
    for (const FeatureInfo& f : feature_table())
        if (f.leaf == leaf && m.has(f.feature) && (!sub || f.subleaf == subleaf))
            *registers[f.reg] |= 1u << f.bit;
    if (leaf == 0) r.eax = last_basic;
    if (leaf == 7 && subleaf == 0 && (cpu.cr4 & kCr4PKE)) r.ecx |= 1u << 4; // OSPKE
    if (leaf == 0x80000001 && m.has(Feature::AmdRegisters)) {               // repeats bits of leaf 1
        constexpr u32 kRepeated = 0x183f3ff;
        r.edx |= cpuid(cpu, 1, 0).edx & kRepeated;
    }
    if (leaf == 0x80000001 && (cpu.misc_enable & kMiscDisableNx)) r.edx &= ~(1u << 20);
    if (leaf == 1 && m.has(Feature::Apic) && cpu.platform) {
        // The APIC is reported only while IA32_APIC_BASE enables it.
        u64 base = 0;
        Platform& platform = *cpu.platform;
        if (platform.apic_read_msr(0x1b, base) && !(base & 1 << 11)) r.edx &= ~(1u << 9);
    }
    return r;
}

} // namespace dragoman::x86
