// The features that CPUID has a bit for: which of them work here, by which names they are known, what needs
// what.
#include "frontend/x86/cpuid.h"

#include <algorithm>
#include <array>
#include <iterator>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace dragoman::x86 {

namespace {

constexpr u8 EAX = 0, EBX = 1, ECX = 2, EDX = 3;
constexpr auto Works = FeatureState::Works, Host = FeatureState::Host, Absent = FeatureState::Absent;

constexpr FeatureInfo kFeatures[] = {
#define FEATURE(name, typed, leaf, subleaf, reg, bit, state)                                                 \
    {Feature::name, typed, leaf, subleaf, reg, bit, state},
#include "frontend/x86/features.inc"
#undef FEATURE
};
constexpr unsigned kFirst = unsigned(Feature::Nopl) + 1; // of them in the enum

// Other names that people type.
constexpr struct {
    std::string_view other, name;
} kAliases[] = {
    {"pni", "sse3"},
    {"sse4-1", "sse4.1"},
    {"sse41", "sse4.1"},
    {"sse4-2", "sse4.2"},
    {"sse42", "sse4.2"},
    {"lzcnt", "abm"},
    {"i64", "lm"},
    {"xd", "nx"},
    {"ffxsr", "fxsr-opt"},
    {"pclmuldq", "pclmulqdq"},
    {"sha", "sha-ni"},
    {"avx512-vbmi", "avx512vbmi"},
    {"avx512-ifma", "avx512ifma"},
    {"avx512-vbmi2", "avx512vbmi2"},
    {"avx512-vnni", "avx512vnni"},
    {"avx512-bitalg", "avx512bitalg"},
    {"avx512vpopcntdq", "avx512-vpopcntdq"},
    {"tsc-adj", "tsc-adjust"},
    {"tscdeadline", "tsc-deadline"},
};

// A feature taken away takes away those that need it.
constexpr struct {
    Feature feature, needs;
} kNeeds[] = {
    {Feature::Sse, Feature::Fxsr},
    {Feature::Sse2, Feature::Sse},
    {Feature::Sse3, Feature::Sse2},
    {Feature::Ssse3, Feature::Sse3},
    {Feature::Sse41, Feature::Ssse3},
    {Feature::Sse42, Feature::Sse41},
    {Feature::Aes, Feature::Sse2},
    {Feature::Pclmulqdq, Feature::Sse2},
    {Feature::Sha, Feature::Ssse3},
    {Feature::Gfni, Feature::Sse2},
    {Feature::Mmx, Feature::Fpu},
    {Feature::Fxsr, Feature::Fpu},
    {Feature::Xsave, Feature::Fxsr},
    {Feature::Xsaveopt, Feature::Xsave},
    {Feature::Xsavec, Feature::Xsave},
    {Feature::Xgetbv1, Feature::Xsave},
    {Feature::Xsaves, Feature::Xsavec},
    {Feature::Avx, Feature::Xsave},
    {Feature::Avx, Feature::Sse42},
    {Feature::Avx2, Feature::Avx},
    {Feature::Fma, Feature::Avx},
    {Feature::F16c, Feature::Avx},
    {Feature::Vaes, Feature::Avx},
    {Feature::Vaes, Feature::Aes},
    {Feature::Vpclmulqdq, Feature::Avx},
    {Feature::Vpclmulqdq, Feature::Pclmulqdq},
    {Feature::AvxVnni, Feature::Avx2},
    {Feature::Avx512f, Feature::Avx2},
    {Feature::Avx512f, Feature::Fma},
    {Feature::Avx512f, Feature::F16c},
    {Feature::Avx512dq, Feature::Avx512f},
    {Feature::Avx512ifma, Feature::Avx512f},
    {Feature::Avx512cd, Feature::Avx512f},
    {Feature::Avx512bw, Feature::Avx512f},
    {Feature::Avx512vl, Feature::Avx512f},
    {Feature::Avx512vbmi, Feature::Avx512bw},
    {Feature::Avx512vbmi2, Feature::Avx512bw},
    {Feature::Avx512vnni, Feature::Avx512f},
    {Feature::Avx512bitalg, Feature::Avx512bw},
    {Feature::Avx512vpopcntdq, Feature::Avx512f},
    {Feature::Avx512bf16, Feature::Avx512bw},
    {Feature::Avx512fp16, Feature::Avx512bw},
    {Feature::Pku, Feature::Xsave},
    {Feature::Pku, Feature::LongMode},
    {Feature::Pks, Feature::LongMode},
    {Feature::Aperfmperf, Feature::Tsc},
    {Feature::LongMode, Feature::Pae},
    {Feature::LongMode, Feature::Msr},
    {Feature::Nx, Feature::Pae},
    {Feature::Page1G, Feature::LongMode},
    {Feature::La57, Feature::LongMode},
    {Feature::Pcid, Feature::LongMode},
    {Feature::Syscall, Feature::LongMode},
    {Feature::LahfLm, Feature::LongMode},
    {Feature::Fsgsbase, Feature::LongMode},
    {Feature::Cx16, Feature::Cx8},
    {Feature::Mmxext, Feature::Sse},
    {Feature::Xsaveerptr, Feature::Fxsr},
    {Feature::X2apic, Feature::Apic},
    {Feature::TscDeadline, Feature::Apic},
    {Feature::TscDeadline, Feature::Tsc},
    {Feature::TscAdjust, Feature::Tsc},
    {Feature::Rdtscp, Feature::Tsc},
    {Feature::InvariantTsc, Feature::Tsc},
    {Feature::Arat, Feature::Apic},
    {Feature::Mca, Feature::Mce},
    {Feature::Mca, Feature::Msr},
    {Feature::Mtrr, Feature::Msr},
    {Feature::ArchCapabilities, Feature::Msr},
};

// The host's register for a row, as the host's system lets programs see it.
bool host_reports(const FeatureInfo& f) {
#if defined(__x86_64__)
    u32 r[4] = {};
    if (!__get_cpuid_count(f.leaf, f.subleaf, &r[0], &r[1], &r[2], &r[3])) return false;
    if (!(r[f.reg] >> f.bit & 1)) return false;
    // The meanings of AVX's instructions need AVX2's: what is broadcast comes from a register.
    if (f.feature == Feature::Avx && !__builtin_cpu_supports("avx2")) return false;
    // What is kept of an opmask needs AVX512BW's.
    if (f.feature == Feature::Avx512f && !__builtin_cpu_supports("avx512bw")) return false;
    const u64 state = f.feature == Feature::Avx ? 0x6 : f.feature == Feature::Avx512f ? 0xe6 : 0;
    if (!state) return true;
    u32 xcr0 = 0, high = 0;
    asm volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    return (xcr0 & state) == state;
#else
    (void)f;
    return false;
#endif
}

// What works on this host, asked once.
const FeatureSet& here() {
    static const FeatureSet set = [] {
        FeatureSet s;
        for (const FeatureInfo& f : kFeatures)
            if (f.state == Works || (f.state == Host && host_reports(f))) s.set(std::size_t(f.feature));
        for (const Feature f : {Feature::Base, Feature::I486, Feature::Nopl})
            s.set(std::size_t(f));
        drop_dependents(s);
        return s;
    }();
    return set;
}

} // namespace

std::span<const FeatureInfo> feature_table() {
    return kFeatures;
}

const FeatureInfo& feature_info(Feature f) {
    return kFeatures[unsigned(f) - kFirst];
}

const FeatureInfo* find_feature(std::string_view typed) {
    std::string name(typed);
    std::replace(name.begin(), name.end(), '_', '-');
    for (const auto& alias : kAliases)
        if (alias.other == name) name = alias.name;
    const auto it = std::find_if(std::begin(kFeatures), std::end(kFeatures),
                                 [&](const FeatureInfo& f) { return f.name == name; });
    return it == std::end(kFeatures) ? nullptr : it;
}

const FeatureSet& available_features() {
    return here();
}

std::string_view why_unavailable(Feature f) {
    if (here().test(std::size_t(f))) return {};
    return feature_info(f).state == Absent ? "is not emulated" : "needs a host that has it";
}

std::optional<Feature> missing_need(const FeatureSet& set, Feature f) {
    for (const auto& [feature, needs] : kNeeds)
        if (feature == f && !set.test(std::size_t(needs))) return needs;
    return {};
}

void drop_dependents(FeatureSet& set) {
    for (bool again = true; std::exchange(again, false);)
        for (const auto& [feature, needs] : kNeeds)
            if (set.test(std::size_t(feature)) && !set.test(std::size_t(needs))) {
                set.reset(std::size_t(feature));
                again = true;
            }
}

} // namespace dragoman::x86
