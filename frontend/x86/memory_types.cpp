#include "frontend/x86/memory_types.h"

#include "base/bits.h"
#include "frontend/x86/cpuid.h"

namespace dragoman::x86 {

namespace {

constexpr bool mtrr_type(u64 type) { // UC, WC, WT, WP, WB
    return type <= 6 && type != 2 && type != 3;
}
constexpr bool pat_type(u64 type) { // and UC-
    return type <= 7 && type != 2 && type != 3;
}

template <bool (*valid)(u64)> bool all_valid(u64 value) {
    for (unsigned i = 0; i < 8; ++i)
        if (!valid(value >> i * 8 & 0xff)) return false;
    return true;
}

// 250H; 258H, 259H; 268H to 26FH
unsigned fixed_index(u32 msr) {
    return msr == 0x250 ? 0 : msr < 0x260 ? msr - 0x258 + 1 : msr - 0x268 + 3;
}

} // namespace

bool read_mtrr_variable(Cpu& cpu, u32 msr, u64& value) {
    return value = cpu.mtrr_variable[msr - 0x200], true;
}

bool write_mtrr_variable(Cpu& cpu, u32 msr, u64 value) {
    const bool is_mask = msr & 1;
    const u64 address = low_mask(cpu.model->physical_bits) & ~u64{0xfff};
    if (value & ~(address | (is_mask ? 0x800 : 0xff))) return false;
    if (!is_mask && !mtrr_type(value & 0xff)) return false;
    cpu.mtrr_variable[msr - 0x200] = value;
    return true;
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
    if (!mtrr_type(value & 0xff)) return false;
    cpu.mtrr_def_type = value;
    return true;
}

bool write_pat(Cpu& cpu, u32, u64 value) {
    if (!all_valid<pat_type>(value)) return false;
    cpu.pat = value;
    return true;
}

} // namespace dragoman::x86
