// The processor models and the features they are made of.
#include "frontend/x86/cpuid.h"

#include <algorithm>
#include <iterator>

namespace dragoman::x86 {

namespace {

constexpr u8 EBX = 1, ECX = 2, EDX = 3;
constexpr u32 kExt1 = 0x80000001, kExt7 = 0x80000007;

// Where CPUID reports each feature, and whether it works: the only list of what is implemented.
constexpr FeatureInfo kFeatures[] = {
    {Feature::Fpu, "fpu", 1, EDX, 0, true},
    {Feature::Vme, "vme", 1, EDX, 1, true},
    {Feature::De, "de", 1, EDX, 2, true},
    {Feature::Pse, "pse", 1, EDX, 3, true},
    {Feature::Tsc, "tsc", 1, EDX, 4, true},
    {Feature::Msr, "msr", 1, EDX, 5, true},
    {Feature::Pae, "pae", 1, EDX, 6, true},
    {Feature::Mce, "mce", 1, EDX, 7, true},
    {Feature::Cx8, "cx8", 1, EDX, 8, true},
    {Feature::Apic, "apic", 1, EDX, 9, true},
    {Feature::Sep, "sep", 1, EDX, 11, true},
    {Feature::Mtrr, "mtrr", 1, EDX, 12, true},
    {Feature::Pge, "pge", 1, EDX, 13, true},
    {Feature::Mca, "mca", 1, EDX, 14, true},
    {Feature::Cmov, "cmov", 1, EDX, 15, true},
    {Feature::Pat, "pat", 1, EDX, 16, true},
    {Feature::Pse36, "pse36", 1, EDX, 17, true},
    {Feature::Clflush, "clflush", 1, EDX, 19, true},
    {Feature::Mmx, "mmx", 1, EDX, 23, true},
    {Feature::Fxsr, "fxsr", 1, EDX, 24, true},
    {Feature::Sse, "sse", 1, EDX, 25, true},
    {Feature::Sse2, "sse2", 1, EDX, 26, true},
    {Feature::Ss, "ss", 1, EDX, 27, true},
    {Feature::Htt, "ht", 1, EDX, 28, false},
    {Feature::Sse3, "sse3", 1, ECX, 0, true},
    {Feature::Pclmulqdq, "pclmulqdq", 1, ECX, 1, true},
    {Feature::Monitor, "monitor", 1, ECX, 3, false},
    {Feature::Ssse3, "ssse3", 1, ECX, 9, true},
    {Feature::Cx16, "cx16", 1, ECX, 13, true},
    {Feature::Pcid, "pcid", 1, ECX, 17, true},
    {Feature::Sse41, "sse4.1", 1, ECX, 19, true},
    {Feature::Sse42, "sse4.2", 1, ECX, 20, true},
    {Feature::X2apic, "x2apic", 1, ECX, 21, true},
    {Feature::Movbe, "movbe", 1, ECX, 22, true},
    {Feature::Popcnt, "popcnt", 1, ECX, 23, true},
    {Feature::TscDeadline, "tsc-deadline", 1, ECX, 24, true},
    {Feature::Aes, "aes", 1, ECX, 25, true},
    {Feature::Xsave, "xsave", 1, ECX, 26, true},
    {Feature::Fma, "fma", 1, ECX, 12, false},
    {Feature::Avx, "avx", 1, ECX, 28, false},
    {Feature::F16c, "f16c", 1, ECX, 29, false},
    {Feature::Rdrand, "rdrand", 1, ECX, 30, true},
    {Feature::Hypervisor, "hypervisor", 1, ECX, 31, true},
    {Feature::Fsgsbase, "fsgsbase", 7, EBX, 0, true},
    {Feature::TscAdjust, "tsc-adjust", 7, EBX, 1, true},
    {Feature::Bmi1, "bmi1", 7, EBX, 3, true},
    {Feature::Avx2, "avx2", 7, EBX, 5, false},
    {Feature::Smep, "smep", 7, EBX, 7, true},
    {Feature::Bmi2, "bmi2", 7, EBX, 8, true},
    {Feature::Erms, "erms", 7, EBX, 9, true},
    {Feature::Invpcid, "invpcid", 7, EBX, 10, true},
    {Feature::Rdseed, "rdseed", 7, EBX, 18, true},
    {Feature::Adx, "adx", 7, EBX, 19, true},
    {Feature::Smap, "smap", 7, EBX, 20, true},
    {Feature::Sha, "sha-ni", 7, EBX, 29, false},
    {Feature::Umip, "umip", 7, ECX, 2, true},
    {Feature::Pku, "pku", 7, ECX, 3, true},
    {Feature::La57, "la57", 7, ECX, 16, true},
    {Feature::Pks, "pks", 7, ECX, 31, true},
    {Feature::Aperfmperf, "aperfmperf", 6, ECX, 0, true},
    {Feature::Gfni, "gfni", 7, ECX, 8, false},
    {Feature::Vaes, "vaes", 7, ECX, 9, false},
    {Feature::Vpclmulqdq, "vpclmulqdq", 7, ECX, 10, false},
    {Feature::ArchCapabilities, "arch-capabilities", 7, EDX, 29, true},
    {Feature::LahfLm, "lahf-lm", kExt1, ECX, 0, true},
    {Feature::Lzcnt, "abm", kExt1, ECX, 5, true},
    {Feature::Prefetchw, "3dnowprefetch", kExt1, ECX, 8, true},
    {Feature::Syscall, "syscall", kExt1, EDX, 11, true},
    {Feature::Nx, "nx", kExt1, EDX, 20, true},
    {Feature::Page1G, "pdpe1gb", kExt1, EDX, 26, true},
    {Feature::Rdtscp, "rdtscp", kExt1, EDX, 27, true},
    {Feature::LongMode, "lm", kExt1, EDX, 29, true},
    {Feature::InvariantTsc, "invtsc", kExt7, EDX, 8, true},
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
    {Feature::Avx, Feature::Xsave},
    {Feature::Avx, Feature::Sse42},
    {Feature::Avx2, Feature::Avx},
    {Feature::Fma, Feature::Avx},
    {Feature::F16c, Feature::Avx},
    {Feature::Vaes, Feature::Avx2},
    {Feature::Vaes, Feature::Aes},
    {Feature::Vpclmulqdq, Feature::Avx2},
    {Feature::Vpclmulqdq, Feature::Pclmulqdq},
    {Feature::Gfni, Feature::Sse2},
    {Feature::Sha, Feature::Sse2},
    {Feature::Mmx, Feature::Fpu},
    {Feature::Fxsr, Feature::Fpu},
    {Feature::Xsave, Feature::Fxsr},
    {Feature::LongMode, Feature::Pae},
    {Feature::LongMode, Feature::Msr},
    {Feature::Pcid, Feature::LongMode},
    {Feature::La57, Feature::LongMode},
    {Feature::Pku, Feature::LongMode},
    {Feature::Pks, Feature::LongMode},
    {Feature::Aperfmperf, Feature::Tsc},
    {Feature::Nx, Feature::Pae},
    {Feature::Page1G, Feature::LongMode},
    {Feature::Syscall, Feature::LongMode},
    {Feature::LahfLm, Feature::LongMode},
    {Feature::Fsgsbase, Feature::LongMode},
    {Feature::Cx16, Feature::Cx8},
    {Feature::X2apic, Feature::Apic},
    {Feature::TscDeadline, Feature::Apic},
    {Feature::TscDeadline, Feature::Tsc},
    {Feature::TscAdjust, Feature::Tsc},
    {Feature::Rdtscp, Feature::Tsc},
    {Feature::InvariantTsc, Feature::Tsc},
    {Feature::Mca, Feature::Mce},
    {Feature::Mca, Feature::Msr},
    {Feature::Mtrr, Feature::Msr},
    {Feature::ArchCapabilities, Feature::Msr},
};

bool host_supports(Feature f) {
#if defined(__x86_64__)
    // Vector instructions are executed by the host's own.
    switch (f) {
    case Feature::Sse3: return __builtin_cpu_supports("sse3");
    case Feature::Ssse3: return __builtin_cpu_supports("ssse3");
    case Feature::Sse41: return __builtin_cpu_supports("sse4.1");
    case Feature::Sse42: return __builtin_cpu_supports("sse4.2");
    case Feature::Popcnt: return __builtin_cpu_supports("popcnt");
    case Feature::Aes: return __builtin_cpu_supports("aes");
    case Feature::Pclmulqdq: return __builtin_cpu_supports("pclmul");
    default: return true;
    }
#else
    (void)f;
    return true;
#endif
}

using enum Feature;

constexpr Feature kPentium[] = {I486, Fpu, Vme, De, Pse, Tsc, Msr, Mce, Cx8, Apic};
constexpr Feature kPentium3[] = {Pae, Sep, Mtrr, Pge, Mca, Cmov, Pat, Pse36, Mmx, Fxsr, Sse, Nopl, Pause};
constexpr Feature kV1[] = {Clflush, Sse2, LongMode, Syscall, Nx};
constexpr Feature kQemu64[] = {Sse3, Cx16, LahfLm, X2apic, Hypervisor};
constexpr Feature kCore2[] = {Ss, Sse3, Ssse3, Cx16, LahfLm};
constexpr Feature kV2[] = {Sse3, Ssse3, Cx16, Sse41, Sse42, Popcnt, LahfLm};
// What makes a virtual machine's clock and interrupts cheap; goes with the generic models.
constexpr Feature kVirtual[] = {Hypervisor,   X2apic, TscDeadline,     TscAdjust,
                                InvariantTsc, Rdtscp, ArchCapabilities};

struct Row {
    std::string_view name;
    u8 family, model, stepping;
    u8 physical_bits;
    u32 basic_leaves;
    bool extended_leaves;
    std::string_view brand;
    std::initializer_list<std::span<const Feature>> features; // empty: everything implemented
};

// The generic models bear the number of an in-order processor (Atom, 0x36): as with it, nothing runs ahead of
// a fault here, and systems that know the number leave out the countermeasures.
constexpr Feature k486[] = {I486, Fpu};
constexpr u8 kBits = softmmu::PhysicalMap::address_bits;
const Row kModels[] = {
    {"max", 6, 0x36, 1, kBits, 0x16, true, "Dragoman virtual CPU", {}},
    {"x86-64-v2",
     6,
     0x36,
     1,
     kBits,
     0x16,
     true,
     "Dragoman virtual CPU (x86-64-v2)",
     {kPentium, kPentium3, kV1, kV2, kVirtual}},
    {"x86-64-v1",
     6,
     0x36,
     1,
     kBits,
     0x16,
     true,
     "Dragoman virtual CPU (x86-64-v1)",
     {kPentium, kPentium3, kV1, kVirtual}},
    {"qemu64", 6, 6, 3, kBits, 0xd, true, "Dragoman virtual CPU (qemu64)", {kPentium, kPentium3, kV1, kQemu64}},
    {"core2", 6, 15, 11, 36, 0xa, true, "Intel(R) Core(TM)2 Duo CPU", {kPentium, kPentium3, kV1, kCore2}},
    {"pentium3", 6, 8, 3, 36, 2, false, "", {kPentium, kPentium3}},
    {"pentium", 5, 2, 12, 32, 1, false, "", {kPentium}},
    {"486", 4, 8, 0, 32, 1, false, "", {k486}},
};

void set(CpuModel& m, Feature f, bool on = true) {
    m.features.set(std::size_t(f), on);
}

void drop_dependents(CpuModel& m) {
    for (bool again = true; std::exchange(again, false);)
        for (const auto& [feature, needs] : kNeeds)
            if (m.has(feature) && !m.has(needs)) {
                set(m, feature, false);
                again = true;
            }
}

std::string normalized(std::string_view name) {
    std::string out(name);
    std::replace(out.begin(), out.end(), '_', '-');
    if (out == "sse4-1" || out == "sse41") return "sse4.1";
    if (out == "sse4-2" || out == "sse42") return "sse4.2";
    if (out == "lzcnt") return "abm";
    if (out == "pni") return "sse3";
    return out;
}

const FeatureInfo* find_feature(std::string_view name) {
    const std::string wanted = normalized(name);
    const auto it = std::find_if(std::begin(kFeatures), std::end(kFeatures),
                                 [&](const FeatureInfo& f) { return f.name == wanted; });
    return it == std::end(kFeatures) ? nullptr : it;
}

CpuModel build(const Row& row) {
    CpuModel m;
    m.name = row.name;
    m.family = row.family;
    m.model = row.model;
    m.stepping = row.stepping;
    m.physical_bits = row.physical_bits;
    m.basic_leaves = row.basic_leaves;
    m.extended_leaves = row.extended_leaves;
    m.brand = row.brand;
    set(m, Base);
    if (row.features.size() == 0) {
        for (const Feature f : {I486, Nopl, Pause})
            set(m, f);
        for (const FeatureInfo& f : kFeatures)
            set(m, f.feature, f.implemented && host_supports(f.feature));
    }
    for (const auto& group : row.features)
        for (const Feature f : group)
            set(m, f, host_supports(f));
    drop_dependents(m);
    return m;
}

Error problem(std::initializer_list<std::string_view> parts) {
    std::string message;
    for (const std::string_view part : parts)
        message += part;
    return Error{std::move(message)};
}

// One item after the model's name: +name, -name, name=on, name=off.
Status apply(CpuModel& m, std::string_view item) {
    bool on = true;
    std::string_view name = item;
    if (item.starts_with('+') || item.starts_with('-')) {
        on = item[0] == '+';
        name = item.substr(1);
    } else if (const auto eq = item.find('='); eq != item.npos) {
        name = item.substr(0, eq);
        const std::string_view value = item.substr(eq + 1);
        if (value != "on" && value != "off")
            return problem({name, " is \"", value, "\", expected on or off"});
        on = value == "on";
    }
    const FeatureInfo* f = find_feature(name);
    if (!f) return problem({"unknown feature \"", name, "\""});
    if (on && !f->implemented) return problem({"feature ", name, " is not emulated"});
    if (on && !host_supports(f->feature)) return problem({"the host lacks ", name});
    if (on)
        for (const auto& [feature, needs] : kNeeds)
            if (feature == f->feature && !m.has(needs)) {
                const auto it =
                    std::find_if(std::begin(kFeatures), std::end(kFeatures),
                                 [&, what = needs](const FeatureInfo& i) { return i.feature == what; });
                return problem({name, " needs ", it->name});
            }
    set(m, f->feature, on);
    drop_dependents(m);
    return Ok{};
}

} // namespace

std::span<const FeatureInfo> feature_table() {
    return kFeatures;
}

std::vector<std::string> model_names() {
    std::vector<std::string> names;
    for (const Row& row : kModels)
        names.emplace_back(row.name);
    return names;
}

Result<CpuModel> make_model(std::string_view spec) {
    const auto comma = spec.find(',');
    const std::string_view name = spec.substr(0, comma);
    const auto row =
        std::find_if(std::begin(kModels), std::end(kModels), [&](const Row& r) { return r.name == name; });
    if (row == std::end(kModels)) {
        std::string known;
        for (const Row& r : kModels) {
            if (!known.empty()) known += ", ";
            known += r.name;
        }
        return problem({"unknown model \"", name, "\", expected one of ", known});
    }
    CpuModel m = build(*row);
    std::string_view rest = comma == spec.npos ? std::string_view{} : spec.substr(comma + 1);
    while (!rest.empty()) {
        const auto next = rest.find(',');
        const Status applied = apply(m, rest.substr(0, next));
        if (!applied) return applied.error();
        rest = next == rest.npos ? std::string_view{} : rest.substr(next + 1);
    }
    return m;
}

} // namespace dragoman::x86
