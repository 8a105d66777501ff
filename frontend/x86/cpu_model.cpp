// The processor models, and what is typed after -cpu.
#include "frontend/x86/cpuid.h"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace dragoman::x86 {

namespace {

using enum Feature;

// ---- what each processor added to the one before it
constexpr Feature k486[] = {I486, Fpu, Vme};
constexpr Feature kPentium[] = {I486, Fpu, Vme, De, Pse, Tsc, Msr, Mce, Cx8, Apic, Mmx};
constexpr Feature kPentium2[] = {Nopl, Pae, Sep, Mtrr, Pge, Mca, Cmov, Pat, Pse36, Fxsr};
constexpr Feature kPentium3[] = {Sse};
// Without MONITOR: systems that know these processors take MWAIT for more of them, MSRs that are not here.
constexpr Feature kCore[] = {Clflush, Sse2, Ss, Sse3, Nx, Acpi, ThermalMonitor, Pbe};
constexpr Feature kCore2[] = {LongMode, Syscall, LahfLm, Ssse3, Cx16, Dtes64, DsCpl};
constexpr Feature kPenryn[] = {Sse41};
constexpr Feature kNehalem[] = {Sse42, Popcnt, Rdtscp, InvariantTsc};
constexpr Feature kWestmere[] = {Aes, Pclmulqdq, Pcid, Arat};
constexpr Feature kSandyBridge[] = {X2apic, TscDeadline, Xsave, Xsaveopt, Avx};
constexpr Feature kIvyBridge[] = {F16c, Rdrand, Fsgsbase, Smep, Erms};
constexpr Feature kHaswell[] = {Fma,     Movbe, TscAdjust, Bmi1, Avx2,      Bmi2,
                                Invpcid, Lzcnt, Hle,       Rtm,  ZeroFcsFds};
constexpr Feature kBroadwell[] = {Rdseed, Adx, Smap, Prefetchw};
constexpr Feature kSkylake[] = {Mpx, Clflushopt, Xsavec, Xgetbv1, Xsaves, Page1G};
constexpr Feature kSkylakeServer[] = {Avx512f,  Avx512dq, Avx512cd, Avx512bw,
                                      Avx512vl, Clwb,     Pku,      FdpExceptionOnly};
constexpr Feature kCascadeLake[] = {Avx512vnni, ArchCapabilities, SpecCtrl, Stibp, Ssbd, MdClear};
constexpr Feature kCooperLake[] = {Avx512bf16};
constexpr Feature kIceLake[] = {Avx512ifma, Sha,          Avx512vbmi,      Umip, Avx512vbmi2, Gfni, Vaes,
                                Vpclmulqdq, Avx512bitalg, Avx512vpopcntdq, La57, Rdpid,       Fsrm, Wbnoinvd};
constexpr Feature kSapphireRapids[] = {AvxVnni,   Avx512bf16, Avx512fp16,   Serialize, TsxLdtrk,
                                       AmxBf16,   AmxTile,    AmxInt8,      Cldemote,  Movdiri,
                                       Movdir64b, Waitpkg,    BusLockDetect};
// ---- Intel's small processors
constexpr Feature kBonnell[] = {Clflush, Sse2, Ss, Sse3, Nx, Acpi, ThermalMonitor, Pbe, Ssse3, Movbe};
constexpr Feature kGoldmont[] = {Prefetchw, Rdrand,   Fsgsbase,  Smep,       Erms,       Smap,
                                 Rdseed,    Sha,      Mpx,       Clflushopt, Xsavec,     Xgetbv1,
                                 Xsaves,    Page1G,   Xsave,     Movbe,      Xsaveopt,   X2apic,
                                 Aes,       SpecCtrl, Pclmulqdq, Arat,       TscDeadline};
constexpr Feature kTremont[] = {Clwb, Gfni, Umip, Rdpid, Cldemote, Movdiri, Movdir64b, CoreCapability};
constexpr Feature kKnightsMill[] = {Adx, Rdseed, Prefetchw, Avx512f, Avx512cd, Avx512vpopcntdq};
// ---- AMD's, from the manuals of their families (BIOS and Kernel Developer's Guides, Processor Programming
// References)
constexpr Feature kAthlon[] = {Sse2, Mmxext};
constexpr Feature k3dnow[] = {Amd3dnow, Amd3dnowExt}; // up to family 10H
constexpr Feature kK8[] = {Clflush, Sse3, LongMode, Syscall, Nx, FxsrOpt};
constexpr Feature kK8RevisionF[] = {Cx16, LahfLm, Svm, Rdtscp, ExtApic, Cr8Legacy};
constexpr Feature kFamily10[] = {Monitor, Popcnt,       Lzcnt, Sse4a, MisalignSse,  Prefetchw,
                                 Page1G,  InvariantTsc, Osvw,  Ibs,   NestedPaging, NripSave};
constexpr Feature kBulldozer[] = {Ssse3, Sse41, Sse42, Xsave, Avx, TopoExt, PerfctrCore};
constexpr Feature kAmdAes[] = {Aes, Pclmulqdq};         // Hygon has other ciphers
constexpr Feature kBulldozerAlone[] = {Xop, Fma4, Lwp}; // Zen has them no more
constexpr Feature kPiledriver[] = {Fma, F16c, Bmi1};
constexpr Feature kPiledriverAlone[] = {Tbm};
constexpr Feature kDhyana[] = {Fsgsbase,   Avx2,     Smep,   Bmi2,    Movbe,  Rdrand,     Rdseed,  Adx, Smap,
                               Clflushopt, Xsaveopt, Xsavec, Xgetbv1, Xsaves, Xsaveerptr, AmdIbpb, Arat};
constexpr Feature kZen[] = {Aes, Pclmulqdq, Sha, Clzero};
constexpr Feature kZen2[] = {Clwb, Rdpid, Umip, Wbnoinvd, AmdIbrs, AmdStibp, AmdSsbd};
constexpr Feature kZen3[] = {Erms, Fsrm,       Invpcid,     Pcid,         Pku,
                             Vaes, Vpclmulqdq, ShadowStack, LfenceSerial, NullClearsBase};
constexpr Feature kZen4[] = {Avx512f,      Avx512dq,        Avx512ifma, Avx512cd, Avx512bw,   Avx512vl,
                             Avx512vbmi,   Avx512vbmi2,     Gfni,       La57,     Avx512vnni, X2apic,
                             Avx512bitalg, Avx512vpopcntdq, Avx512bf16};
// ---- the levels of the psABI; they begin with what 64-bit operating systems take for granted
constexpr Feature kV1[] = {Clflush, Sse2, LongMode, Syscall, Nx};
constexpr Feature kV2[] = {Sse3, Ssse3, Cx16, Sse41, Sse42, Popcnt, LahfLm};
constexpr Feature kV3[] = {Xsave, Avx, Avx2, Bmi1, Bmi2, F16c, Fma, Lzcnt, Movbe};
constexpr Feature kV4[] = {Avx512f, Avx512bw, Avx512cd, Avx512dq, Avx512vl};
// What makes a virtual machine's clock and interrupts cheap; goes with the levels.
constexpr Feature kVirtual[] = {Hypervisor,   X2apic, TscDeadline,      TscAdjust,
                                InvariantTsc, Rdtscp, ArchCapabilities, Arat};
constexpr Feature kVirtual64[] = {Clflush, Sse2, LongMode, Syscall, Nx,
                                  Sse3,    Cx16, LahfLm,   X2apic,  Hypervisor};
constexpr Feature kVirtual32[] = {Clflush, Sse2, Sse3, X2apic, Hypervisor};

using Group = std::span<const Feature>;

// How a model is put together.
enum class Kind : u8 {
    Everything, // what works here
    Real,       // of a processor's features those that work here
    Level       // a promise: all of them, or an error
};
struct Row {
    std::string_view name;
    u8 family, model, stepping;
    u32 basic_leaves, extended_leaves;
    Kind kind;
    std::initializer_list<Group> features;
    std::string_view what, vendor = "GenuineIntel";
};

constexpr std::string_view kAmd = "AuthenticAMD", kHygon = "HygonGenuine"; // whose Dhyana is a Zen
constexpr u32 kExtended = 0x80000000, kExt8 = 0x80000008, kExt4 = 0x80000004, kExtA = 0x8000000a,
              kExt1A = 0x8000001a, kExt1E = 0x8000001e, kExt21 = 0x80000021;

// The generic models bear the number of an in-order processor (Atom, 0x36): as with it, nothing runs ahead of
// a fault here, and systems that know the number leave out the countermeasures.
#define DRAGOMAN_P6           kPentium, kPentium2, kPentium3
#define DRAGOMAN_CORE2        DRAGOMAN_P6, kCore, kCore2
#define DRAGOMAN_WESTMERE     DRAGOMAN_CORE2, kPenryn, kNehalem, kWestmere
#define DRAGOMAN_HASWELL      DRAGOMAN_WESTMERE, kSandyBridge, kIvyBridge, kHaswell
#define DRAGOMAN_SKYLAKE      DRAGOMAN_HASWELL, kBroadwell, kSkylake
#define DRAGOMAN_CASCADE_LAKE DRAGOMAN_SKYLAKE, kSkylakeServer, kCascadeLake
#define DRAGOMAN_GOLDMONT     DRAGOMAN_CORE2, kPenryn, kNehalem, kGoldmont
#define DRAGOMAN_K8           DRAGOMAN_P6, kAthlon, kK8
#define DRAGOMAN_FAMILY_10    DRAGOMAN_K8, kK8RevisionF, kFamily10
#define DRAGOMAN_DHYANA       DRAGOMAN_FAMILY_10, kBulldozer, kPiledriver, kDhyana
#define DRAGOMAN_ZEN3         DRAGOMAN_DHYANA, kZen, kZen2, kZen3
const Row kModels[] = {
    // clang-format off
    {"max", 6, 0x36, 1, 0x1f, kExt8, Kind::Everything, {}, "everything that works on this host (the default)"},
    {"host", 6, 0x36, 1, 0x1f, kExt8, Kind::Everything, {}, "the same as max: the host's processor is not passed through"},
    {"x86-64-v1", 6, 0x36, 1, 0x16, kExt8, Kind::Level, {DRAGOMAN_P6, kV1, kVirtual}, "x86-64"},
    {"x86-64-v2", 6, 0x36, 1, 0x16, kExt8, Kind::Level, {DRAGOMAN_P6, kV1, kV2, kVirtual}, "and SSE4.2, POPCNT"},
    {"x86-64-v3", 6, 0x36, 1, 0x16, kExt8, Kind::Level, {DRAGOMAN_P6, kV1, kV2, kV3, kVirtual}, "and AVX2, BMI, FMA"},
    {"x86-64-v4", 6, 0x36, 1, 0x16, kExt8, Kind::Level, {DRAGOMAN_P6, kV1, kV2, kV3, kV4, kVirtual}, "and AVX-512"},
    {"qemu64", 6, 6, 3, 0xd, kExt8, Kind::Real, {DRAGOMAN_P6, kVirtual64}, "a plain 64-bit processor"},
    {"qemu32", 6, 6, 3, 4, kExt4, Kind::Real, {DRAGOMAN_P6, kVirtual32}, "a plain 32-bit processor"},
    {"kvm64", 15, 6, 1, 0xd, kExt8, Kind::Real, {DRAGOMAN_P6, kVirtual64}, "the same with another number"},
    {"kvm32", 15, 6, 1, 5, kExt8, Kind::Real, {DRAGOMAN_P6, kVirtual32}, "the same with another number"},
    {"486", 4, 8, 0, 1, 0, Kind::Real, {k486}, "Intel 486 DX4, 1994"},
    {"pentium", 5, 4, 3, 1, 0, Kind::Real, {kPentium}, "Pentium MMX, 1997"},
    {"pentium2", 6, 5, 2, 2, 0, Kind::Real, {kPentium, kPentium2}, "Pentium II, 1998"},
    {"pentium3", 6, 8, 3, 2, 0, Kind::Real, {DRAGOMAN_P6}, "Pentium III, 1999"},
    {"coreduo", 6, 14, 8, 0xa, kExt8, Kind::Real, {DRAGOMAN_P6, kCore}, "Core Duo, 2006"},
    {"core2duo", 6, 15, 11, 0xa, kExt8, Kind::Real, {DRAGOMAN_CORE2}, "Core 2 Duo, 2007"},
    {"Conroe", 6, 15, 3, 0xa, kExt8, Kind::Real, {DRAGOMAN_CORE2}, "Core 2, 2006"},
    {"Penryn", 6, 23, 3, 0xa, kExt8, Kind::Real, {DRAGOMAN_CORE2, kPenryn}, "Core 2, 2008"},
    {"Nehalem", 6, 26, 3, 0xb, kExt8, Kind::Real, {DRAGOMAN_CORE2, kPenryn, kNehalem}, "Core i7 9xx, 2008"},
    {"Westmere", 6, 44, 1, 0xb, kExt8, Kind::Real, {DRAGOMAN_WESTMERE}, "Xeon 56xx, 2010"},
    {"SandyBridge", 6, 42, 1, 0xd, kExt8, Kind::Real, {DRAGOMAN_WESTMERE, kSandyBridge}, "Xeon E3-12xx, 2011"},
    {"IvyBridge", 6, 58, 9, 0xd, kExt8, Kind::Real, {DRAGOMAN_WESTMERE, kSandyBridge, kIvyBridge}, "Xeon E3-12xx v2, 2012"},
    {"Haswell", 6, 60, 4, 0xd, kExt8, Kind::Real, {DRAGOMAN_HASWELL}, "Core i7 4xxx, 2013"},
    {"Broadwell", 6, 61, 2, 0x14, kExt8, Kind::Real, {DRAGOMAN_HASWELL, kBroadwell}, "Core i7 5xxx, 2014"},
    {"Skylake-Client", 6, 94, 3, 0x16, kExt8, Kind::Real, {DRAGOMAN_SKYLAKE}, "Core i7 6xxx, 2015"},
    {"Skylake-Server", 6, 85, 4, 0x16, kExt8, Kind::Real, {DRAGOMAN_SKYLAKE, kSkylakeServer}, "Xeon Scalable, 2017"},
    {"Cascadelake-Server", 6, 85, 6, 0x16, kExt8, Kind::Real, {DRAGOMAN_CASCADE_LAKE}, "Xeon Scalable, 2019"},
    {"Cooperlake", 6, 85, 11, 0x16, kExt8, Kind::Real, {DRAGOMAN_CASCADE_LAKE, kCooperLake}, "Xeon Scalable, 2020"},
    {"Icelake-Server", 6, 106, 6, 0x1f, kExt8, Kind::Real, {DRAGOMAN_CASCADE_LAKE, kIceLake}, "Xeon Scalable, 2021"},
    {"SapphireRapids", 6, 143, 4, 0x1f, kExt8, Kind::Real, {DRAGOMAN_CASCADE_LAKE, kIceLake, kSapphireRapids}, "Xeon Scalable, 2023"},
    {"KnightsMill", 6, 133, 0, 0xd, kExt8, Kind::Real, {DRAGOMAN_HASWELL, kKnightsMill}, "Xeon Phi 72x5, 2017"},
    {"n270", 6, 28, 2, 0xa, kExt8, Kind::Real, {DRAGOMAN_P6, kBonnell}, "Atom N270, 2008"},
    {"Denverton", 6, 95, 1, 0x15, kExt8, Kind::Real, {DRAGOMAN_GOLDMONT}, "Atom C3xxx, 2017"},
    {"Snowridge", 6, 134, 1, 0x1b, kExt8, Kind::Real, {DRAGOMAN_GOLDMONT, kTremont}, "Atom P5xxx, 2020"},
    {"athlon", 6, 2, 3, 2, kExt8, Kind::Real, {DRAGOMAN_P6, kAthlon, k3dnow}, "Athlon, 1999, with SSE2", kAmd},
    {"phenom", 16, 2, 3, 5, kExt1A, Kind::Real, {DRAGOMAN_FAMILY_10, k3dnow}, "Phenom 9xxx, 2007", kAmd},
    {"Opteron_G1", 15, 6, 1, 5, kExt8, Kind::Real, {DRAGOMAN_K8, k3dnow}, "Opteron 240, 2003", kAmd},
    {"Opteron_G2", 15, 6, 1, 5, kExtA, Kind::Real, {DRAGOMAN_K8, kK8RevisionF, k3dnow}, "Opteron 22xx, 2006", kAmd},
    {"Opteron_G3", 16, 2, 3, 5, kExtA, Kind::Real, {DRAGOMAN_FAMILY_10, k3dnow}, "Opteron 23xx, 2007", kAmd},
    {"Opteron_G4", 21, 1, 2, 0xd, kExt1A, Kind::Real, {DRAGOMAN_FAMILY_10, kBulldozer, kAmdAes, kBulldozerAlone}, "Opteron 62xx, 2011", kAmd},
    {"Opteron_G5", 21, 2, 0, 0xd, kExt1A, Kind::Real, {DRAGOMAN_FAMILY_10, kBulldozer, kAmdAes, kBulldozerAlone, kPiledriver, kPiledriverAlone}, "Opteron 63xx, 2012", kAmd},
    {"EPYC", 23, 1, 2, 0xd, kExt1E, Kind::Real, {DRAGOMAN_DHYANA, kZen}, "EPYC 7xx1, 2017", kAmd},
    {"EPYC-Rome", 23, 49, 0, 0xd, kExt1E, Kind::Real, {DRAGOMAN_DHYANA, kZen, kZen2}, "EPYC 7xx2, 2019", kAmd},
    {"EPYC-Milan", 25, 1, 1, 0xd, kExt21, Kind::Real, {DRAGOMAN_ZEN3}, "EPYC 7xx3, 2021", kAmd},
    {"EPYC-Genoa", 25, 17, 0, 0xd, kExt21, Kind::Real, {DRAGOMAN_ZEN3, kZen4}, "EPYC 9xx4, 2022", kAmd},
    {"Dhyana", 24, 0, 1, 0xd, kExt1E, Kind::Real, {DRAGOMAN_DHYANA}, "Hygon Dhyana, 2018", kHygon},
    // clang-format on
};
#undef DRAGOMAN_P6
#undef DRAGOMAN_CORE2
#undef DRAGOMAN_WESTMERE
#undef DRAGOMAN_HASWELL
#undef DRAGOMAN_SKYLAKE
#undef DRAGOMAN_CASCADE_LAKE
#undef DRAGOMAN_GOLDMONT
#undef DRAGOMAN_K8
#undef DRAGOMAN_FAMILY_10
#undef DRAGOMAN_DHYANA
#undef DRAGOMAN_ZEN3

// Names that people know from elsewhere. Of the variants of a model those that lack TSX, or have what works
// against leaks between processes, are no different here, nor are versions (-v1, -v2 ...).
constexpr struct {
    std::string_view other, name;
} kOtherNames[] = {
    {"base", "x86-64-v1"},
    {"x86-64", "x86-64-v1"},
    {"core2", "core2duo"},
};
constexpr std::string_view kSuffixes[] = {"-noTSX", "-IBRS", "-IBPB"};

bool has_version(std::string_view name) {
    const auto dash = name.rfind("-v");
    return dash != name.npos && dash + 3 == name.size() && name[dash + 2] >= '1' && name[dash + 2] <= '9';
}

const Row* find_row(std::string_view name) {
    const auto row = [](std::string_view wanted) -> const Row* {
        const auto it = std::find_if(std::begin(kModels), std::end(kModels),
                                     [&](const Row& r) { return r.name == wanted; });
        return it == std::end(kModels) ? nullptr : it;
    };
    for (const auto& o : kOtherNames)
        if (o.other == name) return row(o.name);
    for (;;) {
        if (const Row* r = row(name)) return r;
        const auto suffix = std::find_if(std::begin(kSuffixes), std::end(kSuffixes),
                                         [&](std::string_view s) { return name.ends_with(s); });
        if (suffix != std::end(kSuffixes))
            name.remove_suffix(suffix->size());
        else if (has_version(name))
            name.remove_suffix(3);
        else
            return nullptr;
    }
}

bool is_amd(std::string_view vendor) {
    return vendor == kAmd || vendor == kHygon;
}

// MAXPHYADDR: 36 from the Pentium Pro on; what there is here from Nehalem and K8 on, and for virtual models.
u8 physical_bits(const FeatureSet& features, bool amd) {
    const auto has = [&](Feature f) { return features.test(std::size_t(f)); };
    const bool all = has(Sse42) || has(Hypervisor) || (amd && has(LongMode));
    return all ? softmmu::PhysicalMap::address_bits : has(Pae) ? 36 : 32;
}

Error problem(std::initializer_list<std::string_view> parts) {
    std::string message;
    for (const std::string_view part : parts)
        message += part;
    return Error{std::move(message)};
}

// " a, b" and what is to be said of them; empty if there is none of this state.
std::string list_missing(const FeatureSet& missing, FeatureState state, std::string_view what) {
    std::string list;
    for (const FeatureInfo& f : feature_table())
        if (missing.test(std::size_t(f.feature)) && f.state == state)
            list += (list.empty() ? " " : ", ") + std::string(f.name);
    if (!list.empty()) list += what;
    return list;
}

Result<CpuModel> build(const Row& row) {
    CpuModel m;
    m.name = row.name;
    m.vendor = row.vendor;
    m.family = row.family;
    m.model = row.model;
    m.stepping = row.stepping;
    m.basic_leaves = row.basic_leaves;
    m.extended_leaves = row.extended_leaves;
    m.brand = row.kind == Kind::Everything ? "Dragoman virtual CPU" : "Dragoman virtual CPU (" + m.name + ")";
    m.features.set(std::size_t(Base));
    for (const Group& group : row.features)
        for (const Feature f : group)
            m.features.set(std::size_t(f));
    if (row.kind == Kind::Everything) m.features = available_features();
    m.physical_bits = physical_bits(m.features, is_amd(row.vendor));
    if (const FeatureSet missing = m.features & ~available_features();
        row.kind == Kind::Level && missing.any())
        return problem({"model ", row.name, " needs",
                        list_missing(missing, FeatureState::Absent, " (not emulated)"),
                        list_missing(missing, FeatureState::Host, " (which this host lacks)")});
    m.features &= available_features();
    drop_dependents(m.features);
    return m;
}

// ---- what follows the model's name

Status set_feature(CpuModel& m, std::string_view name, bool on) {
    const FeatureInfo* f = find_feature(name);
    if (!f) return problem({"unknown feature \"", name, "\""});
    if (on) {
        if (const std::string_view why = why_unavailable(f->feature); !why.empty())
            return problem({"feature ", name, " ", why});
        if (const auto needs = missing_need(m.features, f->feature))
            return problem({"feature ", name, " needs ", feature_info(*needs).name});
        // The leaf that reports it has to be there.
        u32& last = f->leaf >= kExtended ? m.extended_leaves : m.basic_leaves;
        last = std::max(last, f->leaf);
    }
    m.features.set(std::size_t(f->feature), on);
    drop_dependents(m.features);
    return Ok{};
}

struct Property {
    std::string_view name, expected;
    bool (*set)(CpuModel& m, std::string_view text, u32 number, bool is_number);
};
constexpr Property kProperties[] = {
    {"family", "a number from 4 to 255",
     [](CpuModel& m, std::string_view, u32 n, bool ok) {
         return ok && n >= 4 && n <= 255 && (m.family = u8(n), true);
     }},
    {"model", "a number from 0 to 255",
     [](CpuModel& m, std::string_view, u32 n, bool ok) { return ok && n <= 255 && (m.model = u8(n), true); }},
    {"stepping", "a number from 0 to 15",
     [](CpuModel& m, std::string_view, u32 n, bool ok) {
         return ok && n <= 15 && (m.stepping = u8(n), true);
     }},
    {"level", "a number from 1 to 0x1f",
     [](CpuModel& m, std::string_view, u32 n, bool ok) {
         return ok && n >= 1 && n <= 0x1f && (m.basic_leaves = n, true);
     }},
    {"vendor", "12 characters",
     [](CpuModel& m, std::string_view t, u32, bool) { return t.size() == 12 && (m.vendor = t, true); }},
    {"model-id", "up to 47 characters",
     [](CpuModel& m, std::string_view t, u32, bool) { return t.size() <= 47 && (m.brand = t, true); }},
};

Status set_property(CpuModel& m, std::string_view name, std::string_view value) {
    std::string wanted(name);
    std::replace(wanted.begin(), wanted.end(), '_', '-');
    const auto it = std::find_if(std::begin(kProperties), std::end(kProperties),
                                 [&](const Property& p) { return p.name == wanted; });
    if (it == std::end(kProperties)) {
        if (value != "on" && value != "off")
            return problem({find_feature(name) ? "" : "unknown property, or feature: ", name, " is \"", value,
                            "\", expected on or off"});
        return set_feature(m, name, value == "on");
    }
    u32 number = 0;
    const bool hex = value.starts_with("0x");
    const std::string_view digits = value.substr(hex ? 2 : 0);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number, hex ? 16 : 10);
    const bool is_number = error == std::errc{} && end == digits.data() + digits.size();
    if (!it->set(m, value, number, is_number))
        return problem({name, " is \"", value, "\", expected ", it->expected});
    return Ok{};
}

// One item after the model's name: +name, -name, name, name=on, name=off, property=value.
Status apply(CpuModel& m, std::string_view item) {
    if (item.starts_with('+') || item.starts_with('-')) return set_feature(m, item.substr(1), item[0] == '+');
    const auto eq = item.find('=');
    if (eq == item.npos) return set_feature(m, item, true);
    return set_property(m, item.substr(0, eq), item.substr(eq + 1));
}

} // namespace

std::vector<std::string> model_names() {
    std::vector<std::string> names;
    for (const Row& row : kModels)
        names.emplace_back(row.name);
    return names;
}

Result<CpuModel> make_model(std::string_view spec) {
    const auto comma = spec.find(',');
    const std::string_view name = spec.substr(0, comma);
    const Row* row = find_row(name);
    if (!row) {
        std::string known;
        for (const Row& r : kModels) {
            if (!known.empty()) known += ", ";
            known += r.name;
        }
        return problem({"unknown model \"", name, "\", expected one of ", known});
    }
    Result<CpuModel> m = build(*row);
    if (!m) return m;
    std::string_view rest = comma == spec.npos ? std::string_view{} : spec.substr(comma + 1);
    while (!rest.empty()) {
        const auto next = rest.find(',');
        const Status applied = apply(*m, rest.substr(0, next));
        if (!applied) return applied.error();
        rest = next == rest.npos ? std::string_view{} : rest.substr(next + 1);
    }
    for (const FeatureInfo& f : feature_table()) // what has no leaf is not there
        if (f.leaf > (f.leaf >= kExtended ? m->extended_leaves : m->basic_leaves))
            m->features.reset(std::size_t(f.feature));
    drop_dependents(m->features);
    m->follow_vendor();
    return m;
}

void CpuModel::follow_vendor() {
    const bool amd = is_amd(vendor);
    // Zen 2 was the first to clear them, the bit came with Zen 3.
    const bool clears = !amd || has(NullClearsBase) || family > 0x18 || (family == 0x17 && model >= 0x30);
    const std::pair<Feature, bool> rules[] = {{LegacySyscall, amd},
                                              {LongSysenter, !amd},
                                              {SysretStack, !amd},
                                              {NullKeepsBase, !clears},
                                              {AmdRegisters, amd}};
    for (const auto& [feature, on] : rules)
        features.set(std::size_t(feature), on);
}

std::string cpu_help_text() {
    std::string text = "Processor models for -cpu MODEL[,+feature][,-feature][,feature=on|off]:\n";
    for (const Row& row : kModels) {
        std::string line = "  " + std::string(row.name);
        line.resize(std::max<std::size_t>(line.size(), 20), ' ');
        text += line + ' ' + std::string(row.what);
        if (!build(row)) text += " (not here)";
        text += '\n';
    }
    std::string line = "Features that work here:\n ";
    for (const FeatureInfo& f : feature_table()) {
        if (!why_unavailable(f.feature).empty()) continue;
        if (line.size() - line.rfind('\n') + f.name.size() > 100) line += "\n ";
        line += ' ' + std::string(f.name);
    }
    text += line + "\nProperties:";
    for (const Property& p : kProperties)
        text += ' ' + std::string(p.name) + '=';
    return text + '\n';
}

} // namespace dragoman::x86
