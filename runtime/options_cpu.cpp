// -cpu as others write it: what concerns hardware virtualization, or a limit that this machine does not have,
// is left out, and a feature that is not emulated is told and left out.
#include "frontend/x86/cpuid.h"
#include "runtime/option_table.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace dragoman::runtime {

namespace {

enum class Effect : u8 { None, Missing, Insist };
struct Word {
    std::string_view name; // a '*' at the end: all that begin so
    Effect effect;
};
constexpr Word words[] = {
    {"enforce", Effect::Insist}, // a missing feature is an error
    {"check", Effect::None},
    {"migratable", Effect::None},
    {"kvm", Effect::None},
    {"kvm-*", Effect::None},
    {"kvmclock*", Effect::None},
    {"hv-*", Effect::None},
    {"host-phys-bits*", Effect::None},
    {"phys-bits", Effect::Missing},
    {"tsc-frequency", Effect::Missing},
    {"pmu", Effect::Missing},
    {"l3-cache", Effect::None},
    {"legacy-cache", Effect::None},
    {"host-cache-info", Effect::None},
    {"xlevel*", Effect::None},
    {"min-level", Effect::None},
    {"min-xlevel*", Effect::None},
    {"full-cpuid-auto-level", Effect::None},
    {"fill-mtrr-mask", Effect::None},
    {"vmware-cpuid-freq", Effect::None},
    {"tcg-cpuid", Effect::None},
    {"ucode-rev", Effect::None},
    {"lmce", Effect::None},
    {"arch-lbr*", Effect::Missing},
    {"vmx-*", Effect::Missing},
    {"svme-*", Effect::Missing},
    {"svm-*", Effect::Missing},
    {"lbrv", Effect::Missing}, // and those up to v-*: of SVM
    {"tsc-scale", Effect::Missing},
    {"vmcb-clean", Effect::Missing},
    {"flushbyasid", Effect::Missing},
    {"decodeassists", Effect::Missing},
    {"pause-filter", Effect::Missing},
    {"pfthreshold", Effect::Missing},
    {"avic", Effect::Missing},
    {"vgif", Effect::Missing},
    {"vnmi", Effect::Missing},
    {"v-*", Effect::Missing},
    {"rdctl-no", Effect::None}, // and those up to gds-no: what IA32_ARCH_CAPABILITIES says anyway
    {"skip-l1dfl-vmentry", Effect::None},
    {"ssb-no", Effect::None},
    {"mds-no", Effect::None},
    {"pschange-mc-no", Effect::None},
    {"taa-no", Effect::None},
    {"sbdr-ssdp-no", Effect::None},
    {"fbsdp-no", Effect::None},
    {"psdp-no", Effect::None},
    {"gds-no", Effect::None},
    {"ibrs-all", Effect::Missing},
    {"rsba", Effect::Missing},
    {"tsx-ctrl", Effect::Missing},
    {"split-lock-detect", Effect::Missing},
    {"sgx*", Effect::Missing},
    {"amx-*", Effect::Missing},
    {"3dnow*", Effect::Missing},
    {"avx512-*", Effect::Missing},
    {"avx-vnni", Effect::Missing},
    {"mmxext", Effect::Missing},
};

bool matches(std::string_view pattern, std::string_view name) {
    if (!pattern.ends_with('*')) return name == pattern;
    return name.starts_with(pattern.substr(0, pattern.size() - 1));
}

std::string name_of(const std::string& item) {
    std::string name = item.substr(item[0] == '+' || item[0] == '-');
    name.resize(std::min(name.find('='), name.size()));
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
}

// "+x", "x" and "x=on" ask for a feature, the rest does not.
bool asks(const std::string& item, const std::string& value) {
    return item[0] == '+' || (item[0] != '-' && parse_on_off(value) == true);
}

} // namespace

Complaint set_cpu(Options& o, const std::string& text) {
    if (text == "help" || text == "?") o.action = Options::Action::CpuHelp;
    Properties items = key_values(text);
    o.cpu = items[0].first;
    items.erase(items.begin());
    std::vector<std::string> wanted;
    const bool insist =
        std::any_of(items.begin(), items.end(), [](const auto& item) { return item.first == "enforce"; });
    for (const auto& [key, value] : items) {
        if (key.empty()) continue;
        const std::string item = key + (value.empty() ? "" : "=" + value), name = name_of(key);
        const auto* word = std::find_if(std::begin(words), std::end(words),
                                        [&](const Word& w) { return matches(w.name, name); });
        const x86::FeatureInfo* feature = x86::find_feature(name);
        std::string_view missing;
        if (feature && asks(key, value)) missing = x86::why_unavailable(feature->feature);
        if (!feature && word != std::end(words) && word->effect == Effect::Missing && key[0] != '-' &&
            value != "off")
            missing = "is not emulated";
        const bool nothing = !feature && word != std::end(words);
        if (!missing.empty() && !insist)
            o.warnings.push_back("-cpu " + o.cpu.substr(0, o.cpu.find(',')) + "," + item + ": " +
                                 std::string(missing) + ", the guest gets a processor without it");
        else if (!nothing)
            wanted.push_back(item);
    }
    // What needs another feature comes behind that one.
    for (bool again = true; std::exchange(again, false);)
        std::erase_if(wanted, [&](const std::string& item) {
            const std::string more = o.cpu + "," + item;
            if (!x86::make_model(more)) return false;
            o.cpu = more;
            return again = true;
        });
    for (const std::string& item : wanted) // what is wrong with them is told when the processor is made
        o.cpu += "," + item;
    return {};
}

} // namespace dragoman::runtime
