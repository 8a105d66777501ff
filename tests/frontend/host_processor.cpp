#include "host_processor.h"

#include "frontend/x86/cpuid.h"

#include <cpuid.h>
#include <cstring>

namespace dragoman::test {

using namespace x86;

bool host_is_amd() {
    static const bool is = [] {
        u32 r[4] = {};
        __get_cpuid(0, &r[0], &r[1], &r[2], &r[3]);
        char vendor[12];
        for (unsigned n = 0; n < 3; ++n)
            std::memcpy(vendor + 4 * n, &r[n == 0 ? 1 : n == 1 ? 3 : 2], 4);
        return !std::memcmp(vendor, "AuthenticAMD", 12) || !std::memcmp(vendor, "HygonGenuine", 12);
    }();
    return is;
}

bool host_has(Feature feature) {
    if (feature <= Feature::Nopl) return true;
    const FeatureInfo& f = feature_info(feature);
    u32 r[4] = {};
    return __get_cpuid_count(f.leaf, f.subleaf, &r[0], &r[1], &r[2], &r[3]) && r[f.reg] >> f.bit & 1;
}

bool host_differs(const ZydisDecodedInstruction& insn) {
    if (!host_is_amd()) return false;
    if (insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && insn.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)
        return true;
    const auto has_prefix = [&](u8 value) {
        for (unsigned n = 0; n < insn.raw.prefix_count; ++n)
            if (insn.raw.prefixes[n].value == value) return true;
        return false;
    };
    switch (insn.mnemonic) {
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE: return has_prefix(0xf2) || has_prefix(0xf3);
    case ZYDIS_MNEMONIC_PAUSE: return insn.raw.rex.B;
    case ZYDIS_MNEMONIC_NOP: return insn.opcode_map == ZYDIS_OPCODE_MAP_0F && insn.opcode == 0x0d;
    default: return false;
    }
}

bool host_tells_x87_pointers(u16 control, u16 status) {
    return !host_is_amd() || (status & ~control & 0x3f);
}

} // namespace dragoman::test
