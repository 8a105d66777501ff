// Processor models and CPUID: exactly what works is reported.
#pragma once

#include "base/result.h"
#include "frontend/x86/instruction.h"
#include "softmmu/physical_map.h"

#include <bitset>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dragoman::x86 {

using FeatureSet = std::bitset<static_cast<std::size_t>(Feature::Count)>;

// ---- features (cpu_features.cpp)
enum class FeatureState : u8 {
    Works,
    Host,  // works on hosts that have it
    Absent // not emulated
};
// One row for each feature that has a CPUID bit.
struct FeatureInfo {
    Feature feature;
    std::string_view name; // as in -cpu ...,+name
    u32 leaf, subleaf;
    u8 reg; // 0 EAX .. 3 EDX
    u8 bit;
    FeatureState state;
};
std::span<const FeatureInfo> feature_table();
const FeatureInfo& feature_info(Feature f); // not for those up to Nopl
// By any of the names that people type; null: unknown.
const FeatureInfo* find_feature(std::string_view typed);
// Everything that works on this host.
const FeatureSet& available_features();
// What is to be said of a feature that is not among them, after its name; empty otherwise.
std::string_view why_unavailable(Feature f);
// Something that `f` cannot be without, and that the set has not.
std::optional<Feature> missing_need(const FeatureSet& set, Feature f);
// Takes away the features whose needs are not in the set.
void drop_dependents(FeatureSet& set);

// ---- models (cpu_model.cpp)
struct CpuModel {
    std::string name;
    FeatureSet features;
    u8 family = 6, model = 0, stepping = 0;
    std::string vendor = "GenuineIntel";                   // 12 characters
    std::string brand;                                     // up to 47 characters
    u8 physical_bits = softmmu::PhysicalMap::address_bits; // MAXPHYADDR
    u32 basic_leaves = 1;                                  // highest basic leaf
    u32 extended_leaves = 0;                               // highest extended leaf, or 0
    u64 tsc_hz = 1'000'000'000; // reported in leaf 0x15/0x16 where the model has it

    // Width of the linear addresses that its registers can hold.
    unsigned linear_bits() const { return has(Feature::La57) ? 57 : has(Feature::LongMode) ? 48 : 32; }
    bool has(Feature f) const { return features.test(static_cast<std::size_t>(f)); }
    // Sets what goes with `vendor` and the number.
    void follow_vendor();
};

// The state components that XCR0 may enable (StateComponent).
u64 state_components(const CpuModel& model);

// `spec` is the argument of -cpu: a model name, then ,+feature ,-feature ,feature=on|off ,property=value. The
// error names what is unknown, or what does not work here.
Result<CpuModel> make_model(std::string_view spec);
std::vector<std::string> model_names();
std::string cpu_help_text();

struct CpuidRegisters {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
};
struct Cpu;
CpuidRegisters cpuid(const Cpu& cpu, u32 leaf, u32 subleaf);

} // namespace dragoman::x86
