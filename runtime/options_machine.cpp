#include "runtime/option_table.h"

#include <cstdio>
#include <ctime>

namespace dragoman::runtime {

namespace {

Complaint set_memory(Options& o, const std::string& text) {
    std::string value = text;
    if (value.rfind("size=", 0) == 0) value = value.substr(5);
    const auto bytes = parse_size(value, MiB);
    if (!bytes) return "a size such as 512, 512M or 2G";
    if (*bytes < 4 * MiB || *bytes > 512 * GiB) return "4M to 512G";
    o.memory_bytes = (*bytes + 4095) & ~u64{4095};
    return {};
}

Complaint set_smp(Options&, const std::string& text) {
    for (const auto& [key, value] : key_values(text)) {
        const std::string& count = value.empty() ? key : value;
        if ((value.empty() || key == "cpus" || key == "maxcpus") && count != "1")
            return "1 (more processors are not built yet)";
    }
    return {};
}

Complaint set_boot(Options& o, const std::string& text) {
    for (const auto& [key, value] : key_values(text)) {
        const bool bare = value.empty() && key != "menu";
        if (bare || key == "order" || key == "once") {
            const std::string& letters = bare ? key : value;
            if (letters.find_first_not_of("acdn") != std::string::npos)
                return "letters of a (floppy), c (disk), d (CD), n (network)";
            o.boot_order = letters;
        } else if (key == "menu") {
            const auto on = parse_on_off(value);
            if (!on) return "menu=on or off";
            o.boot_menu = *on;
        } else if (key != "strict" && key != "splash" && key != "splash-time" && key != "reboot-timeout") {
            return "order=LETTERS,once=LETTERS,menu=on|off,strict=on|off";
        }
    }
    return {};
}

Complaint set_rtc(Options& o, const std::string& text) {
    for (const auto& [key, value] : key_values(text)) {
        if (key == "base") {
            if (value == "utc") continue;
            if (value == "localtime") {
                o.rtc_localtime = true;
                continue;
            }
            std::tm tm{};
            const char* rest = strptime(value.c_str(), "%Y-%m-%dT%H:%M:%S", &tm);
            if (!rest) rest = strptime(value.c_str(), "%Y-%m-%d", &tm);
            if (!rest || *rest) return "base=utc, localtime, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS";
            o.rtc_base = timegm(&tm);
        } else if (key != "clock" && key != "driftfix") {
            return "base=utc|localtime|DATE";
        }
    }
    return {};
}

} // namespace

Complaint set_accel(Options& o, const std::string& text) {
    const std::string name = key_values(text)[0].first;
    if (name == "interp") {
        o.interpret = true;
    } else if (name == "kvm" || name == "hvf" || name == "whpx" || name == "xen" || name == "nvmm") {
        std::fprintf(stderr,
                     "dragoman: -accel %s: no hardware virtualization is used, guest code is translated\n",
                     name.c_str());
    } else if (name != "tcg" && name != "dbt") {
        return "dbt (translate, the default) or interp";
    }
    return {};
}

std::span<const OptionRow> machine_options() {
    static const std::vector<OptionRow> rows = {
        {"m", "SIZE", "guest memory, in MiB or with a suffix (128M)", set_memory},
        {"cpu", "MODEL", "processor model and +feature,-feature (max); help lists them",
         [](Options& o, const std::string& v) -> Complaint {
             if (v == "help" || v == "?") o.action = Options::Action::CpuHelp;
             o.cpu = v;
             return {};
         }},
        {"accel", "NAME", "dbt: translate (the default); interp: interpret the IR", set_accel},
        {"enable-kvm", nullptr, "the same as -accel kvm",
         [](Options& o, const std::string&) { return set_accel(o, "kvm"); }},
        {"smp", "N", "number of processors: 1", set_smp},
        {"machine", "NAME", "pc (the only one)",
         [](Options& o, const std::string& v) -> Complaint {
             for (const auto& [key, value] : key_values(v)) {
                 if (key == "accel") {
                     if (auto bad = set_accel(o, value)) return bad;
                 } else if (value.empty() && key != "pc" && key.rfind("pc-i440fx", 0) != 0) {
                     return "pc";
                 }
             }
             return {};
         }},
        {"kernel", "FILE", "boot this kernel: Linux bzImage, PVH ELF or multiboot ELF",
         [](Options& o, const std::string& v) -> Complaint {
             o.kernel = v;
             return file_name(v);
         }},
        {"initrd", "FILE", "initial RAM disk; multiboot: modules, FILE[ ARGS],FILE...",
         [](Options& o, const std::string& v) -> Complaint {
             o.initrd = v;
             return file_name(v);
         }},
        {"append", "TEXT", "kernel command line",
         [](Options& o, const std::string& v) -> Complaint {
             o.append = v;
             return {};
         }},
        {"boot", "ORDER", "letters of a, c, d, n; or order=,once=,menu=on", set_boot},
        {"bios", "FILE", "firmware image instead of SeaBIOS",
         [](Options& o, const std::string& v) -> Complaint {
             o.bios = v;
             return file_name(v);
         }},
        {"rtc", "base=...", "start of the real-time clock: utc, localtime or a date", set_rtc},
        {"name", "TEXT", "name of the machine (ignored)",
         [](Options&, const std::string&) -> Complaint { return {}; }},
    };
    return rows;
}

} // namespace dragoman::runtime
