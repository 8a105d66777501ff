#include "backend/x64/host_features.h"

#include <asmjit/x86.h>
#include <sys/auxv.h>

namespace dragoman::backend {

namespace {

using asmjit::CpuFeatures;

struct Row {
    HostFeature feature;
    const char* name;
    u32 id; // asmjit's
};
constexpr Row rows[] = {
    {HostFeature::Sse42, "sse4.2", CpuFeatures::X86::kSSE4_2},
    {HostFeature::Popcnt, "popcnt", CpuFeatures::X86::kPOPCNT},
    {HostFeature::Bmi1, "bmi1", CpuFeatures::X86::kBMI},
    {HostFeature::Lzcnt, "lzcnt", CpuFeatures::X86::kLZCNT},
    {HostFeature::Adx, "adx", CpuFeatures::X86::kADX},
    {HostFeature::Bmi2, "bmi2", CpuFeatures::X86::kBMI2},
    {HostFeature::Aes, "aes", CpuFeatures::X86::kAESNI},
    {HostFeature::Pclmul, "pclmul", CpuFeatures::X86::kPCLMULQDQ},
    {HostFeature::Sha, "sha", CpuFeatures::X86::kSHA},
    {HostFeature::Avx2, "avx2", CpuFeatures::X86::kAVX2},
    {HostFeature::Xsave, "xsave", CpuFeatures::X86::kOSXSAVE},
    {HostFeature::Avx512, "avx512", CpuFeatures::X86::kAVX512_BW},
    {HostFeature::Lahf64, "lahf64", CpuFeatures::X86::kLAHFSAHF},
    {HostFeature::FsGsBase, "fsgsbase", CpuFeatures::X86::kFSGSBASE},
    {HostFeature::FastPext, "fast-pext", CpuFeatures::X86::kBMI2},
    {HostFeature::FastMisalignedStrings, "fast-misaligned-strings", CpuFeatures::X86::kERMS},
};

constexpr unsigned zen3 = 0x19; // family; Zen 4 has the same

// Up to Zen 2 (family 17h; Hygon's 18h is Zen 1) PEXT is microcode, with a cycle or more for each bit of the
// mask; from Zen 3 on and in all of Intel's it takes three (Agner Fog, Instruction tables).
bool has_slow_pext(const asmjit::CpuInfo& cpu) {
    return (cpu.isVendor("AMD") || cpu.isVendor("HygonGenuine")) && cpu.familyId() < zen3;
}

// By bench/guest/classes' rep-stos: 16 KiB of quadwords take 0.2 us on Zen 4 wherever they begin, the
// helper's bytes 0.5 us. On a Xeon with AVX-512 the bytes were faster.
bool has_slow_misaligned_strings(const asmjit::CpuInfo& cpu) {
    return !cpu.isVendor("AMD") || cpu.familyId() < zen3;
}

} // namespace

HostFeatures HostFeatures::detect() {
    HostFeatures found;
    const asmjit::CpuInfo& cpu = asmjit::CpuInfo::host();
    for (const Row& row : rows)
        if (cpu.features().has(row.id)) found.bits_ |= static_cast<u32>(row.feature);
    if (has_slow_pext(cpu)) found.force_off(HostFeature::FastPext);
    if (has_slow_misaligned_strings(cpu)) found.force_off(HostFeature::FastMisalignedStrings);
    constexpr unsigned long kernel_allows = 2; // HWCAP2_FSGSBASE
    if (!(getauxval(AT_HWCAP2) & kernel_allows)) found.force_off(HostFeature::FsGsBase);
    return found;
}

std::string HostFeatures::describe() const {
    std::string text;
    for (const Row& row : rows)
        if (has(row.feature)) text += (text.empty() ? "" : " ") + std::string(row.name);
    return text;
}

} // namespace dragoman::backend
