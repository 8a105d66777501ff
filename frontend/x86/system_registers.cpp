#include "frontend/x86/system_registers.h"

#include "base/bits.h"
#include "frontend/x86/cpuid.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/exception.h"

namespace dragoman::x86 {

namespace {

bool fail(Cpu& cpu) {
    raise(cpu, kGP, 0);
    return false;
}

bool has(const Cpu& cpu, Feature feature) {
    return !cpu.model || cpu.model->has(feature);
}

u8 physical_bits(const Cpu& cpu) {
    return cpu.model ? cpu.model->physical_bits : u8(softmmu::PhysicalMap::address_bits);
}

bool pae_paging(const Cpu& cpu, u64 cr0, u64 cr4) {
    return (cr0 & kCr0PG) && (cr4 & kCr4PAE) && !(cpu.efer & kEferLMA);
}

// PAE paging keeps the four PDPTEs in the processor (SDM vol. 3, 4.4.1).
bool load_pdptes(Cpu& cpu, u64 cr3) {
    const u64 reserved = 0x1e6 | ~low_mask(physical_bits(cpu));
    u64 loaded[4];
    for (unsigned i = 0; i < 4; ++i) {
        loaded[i] = cpu.mmu->map().load(((cr3 & 0xffffffe0) + i * 8) & cpu.mmu->map().a20_mask(), 8);
        if ((loaded[i] & 1) && (loaded[i] & reserved)) return fail(cpu);
    }
    for (unsigned i = 0; i < 4; ++i)
        cpu.pdpte[i] = loaded[i];
    return true;
}

// CR4 bits and what CPUID must offer for them; a bit of no feature offered is reserved.
constexpr struct {
    u64 bits;
    Feature feature;
} kCr4Offered[] = {
    {kCr4VME | kCr4PVI, Feature::Vme}, {kCr4TSD, Feature::Tsc},   {kCr4DE, Feature::De},
    {kCr4PSE, Feature::Pse},           {kCr4PAE, Feature::Pae},   {kCr4MCE, Feature::Mce},
    {kCr4PGE, Feature::Pge},           {kCr4PCE, Feature::Mmx},   {kCr4OSFXSR, Feature::Fxsr},
    {kCr4OSXMMEXCPT, Feature::Sse},    {kCr4UMIP, Feature::Umip}, {kCr4FSGSBASE, Feature::Fsgsbase},
    {kCr4OSXSAVE, Feature::Xsave},     {kCr4SMEP, Feature::Smep}, {kCr4SMAP, Feature::Smap},
    {kCr4PCIDE, Feature::Pcid},        {kCr4LA57, Feature::La57}, {kCr4PKE, Feature::Pku},
    {kCr4PKS, Feature::Pks},
};

u64 cr4_offered(const Cpu& cpu) {
    u64 offered = 0;
    for (const auto& row : kCr4Offered)
        if (has(cpu, row.feature)) offered |= row.bits;
    return offered;
}

} // namespace

bool canonical_base(const Cpu& cpu, u64 address) {
    return canonical(address, has(cpu, Feature::La57) ? 57 : 48);
}

void update_paging(Cpu& cpu) {
    if (!cpu.mmu) return;
    softmmu::PagingState s;
    s.cr3 = cpu.cr3;
    s.pcid = cpu.cr4 & kCr4PCIDE ? u16(cpu.cr3 & 0xfff) : 0;
    s.paging = cpu.cr0 & kCr0PG;
    s.write_protect = cpu.cr0 & kCr0WP;
    s.pse = cpu.cr4 & kCr4PSE;
    s.pae = cpu.cr4 & kCr4PAE;
    s.la57 = cpu.cr4 & kCr4LA57;
    s.pge = cpu.cr4 & kCr4PGE;
    s.smep = cpu.cr4 & kCr4SMEP;
    s.smap = cpu.cr4 & kCr4SMAP;
    s.long_mode = cpu.efer & kEferLMA;
    s.nxe = cpu.efer & kEferNXE;
    s.pke = cpu.cr4 & kCr4PKE;
    s.pks = cpu.cr4 & kCr4PKS;
    s.pkru = cpu.pkru;
    s.pkrs = cpu.pkrs;
    s.page_1g = has(cpu, Feature::Page1G);
    s.pse36 = has(cpu, Feature::Pse36);
    s.pat = has(cpu, Feature::Pat);
    s.physical_bits = physical_bits(cpu);
    for (unsigned i = 0; i < 4; ++i)
        s.pdpte[i] = cpu.pdpte[i];
    cpu.mmu->set_paging(s);
}

void flush_translations(Cpu& cpu, bool keep_global) {
    if (cpu.mmu) cpu.mmu->flush(keep_global);
}

bool write_cr0(Cpu& cpu, u64 value) {
    constexpr u64 defined =
        kCr0PE | kCr0MP | kCr0EM | kCr0TS | kCr0ET | kCr0NE | kCr0WP | kCr0AM | kCr0NW | kCr0CD | kCr0PG;
    if (value >> 32) return fail(cpu);
    value = (value & defined) | kCr0ET;
    if ((value & kCr0PG) && !(value & kCr0PE)) return fail(cpu);
    if ((value & kCr0NW) && !(value & kCr0CD)) return fail(cpu);

    const u64 changed = cpu.cr0 ^ value;
    u64 efer = cpu.efer;
    if (changed & kCr0PG) {
        if ((value & kCr0PG) && (efer & kEferLME)) {
            const bool tss16 = !(cpu.tr.attributes & 8) && (cpu.tr.attributes & kSegP);
            if (!(cpu.cr4 & kCr4PAE) || (cpu.seg[1].attributes & kSegL) || tss16) return fail(cpu);
            efer |= kEferLMA;
        } else if (!(value & kCr0PG)) {
            if (cpu.code64() || (cpu.cr4 & kCr4PCIDE)) return fail(cpu);
            efer &= ~u64{kEferLMA};
        }
    }
    const bool pae = (value & kCr0PG) && (cpu.cr4 & kCr4PAE) && !(efer & kEferLMA);
    if (pae && (changed & (kCr0CD | kCr0NW | kCr0PG)) && !load_pdptes(cpu, cpu.cr3)) return false;
    cpu.cr0 = value;
    cpu.efer = efer;
    if (changed & (kCr0PG | kCr0WP | kCr0PE)) {
        update_paging(cpu);
        flush_translations(cpu, false);
    }
    return true;
}

bool write_cr3(Cpu& cpu, u64 value) {
    constexpr u64 no_flush = u64{1} << 63; // with process-context identifiers; not stored
    const bool pcide = cpu.cr4 & kCr4PCIDE;
    const bool keep = pcide && (value & no_flush);
    if (keep) value &= ~no_flush;
    if (cpu.long_mode()) {
        if (value & ~low_mask(physical_bits(cpu))) return fail(cpu);
    } else {
        value &= 0xffffffff;
    }
    if (pae_paging(cpu, cpu.cr0, cpu.cr4) && !load_pdptes(cpu, value)) return false;
    cpu.cr3 = value;
    update_paging(cpu);
    if (cpu.mmu) cpu.mmu->load_address_space(keep);
    return true;
}

bool cr4_valid(const Cpu& cpu, u64 value) {
    return !(value & ~cr4_offered(cpu));
}

bool write_cr4(Cpu& cpu, u64 value) {
    if (!cr4_valid(cpu, value)) return fail(cpu);
    const u64 changed = cpu.cr4 ^ value;
    if (cpu.long_mode() && (!(value & kCr4PAE) || (changed & kCr4LA57))) return fail(cpu);
    if (changed & value & kCr4PCIDE && (!cpu.long_mode() || (cpu.cr3 & 0xfff))) return fail(cpu);
    constexpr u64 reload = kCr4PAE | kCr4PGE | kCr4PSE | kCr4SMEP;
    if (pae_paging(cpu, cpu.cr0, value) && (changed & reload) && !load_pdptes(cpu, cpu.cr3)) return false;
    const bool leaves_pcids = changed & cpu.cr4 & kCr4PCIDE;
    cpu.cr4 = value;
    if (changed & kCr4DE) breakpoints_changed(cpu);
    cpu.view = u8(access_view(cpu));
    if (leaves_pcids || (changed & (reload | kCr4SMAP | kCr4LA57 | kCr4PKE | kCr4PKS))) {
        update_paging(cpu);
        flush_translations(cpu, false);
    }
    return true;
}

void write_protection_keys(Cpu& cpu, u32 pkru, u32 pkrs) {
    cpu.pkru = pkru;
    cpu.pkrs = pkrs;
    if (cpu.mmu) cpu.mmu->set_protection_keys(pkru, pkrs);
}

bool write_efer(Cpu& cpu, u64 value) {
    u64 defined = 0;
    if (has(cpu, Feature::Syscall)) defined |= kEferSCE;
    if (has(cpu, Feature::LongMode)) defined |= kEferLME | kEferLMA;
    if (has(cpu, Feature::Nx) && !(cpu.misc_enable & kMiscDisableNx)) defined |= kEferNXE;
    if (value & ~defined) return fail(cpu);
    if ((cpu.cr0 & kCr0PG) && ((value ^ cpu.efer) & kEferLME)) return fail(cpu);
    const u64 old = cpu.efer;
    cpu.efer = (value & ~u64{kEferLMA}) | (old & kEferLMA); // LMA is read-only
    if ((old ^ cpu.efer) & kEferNXE) {
        update_paging(cpu);
        flush_translations(cpu, false);
    }
    return true;
}

} // namespace dragoman::x86
