#include "runtime/option_table.h"

#include <algorithm>
#include <ctime>

namespace dragoman::runtime {

namespace {

Complaint set_memory(Options& o, const std::string& text) {
    for (const auto& [key, value] : key_values(text)) {
        if (key == "slots" || key == "maxmem") continue; // room for more, that nobody can plug in
        if (!value.empty() && key != "size") return "size=SIZE; '" + key + "' is not that";
        const auto bytes = parse_size(value.empty() ? key : value, MiB);
        if (!bytes) return "a size such as 512, 512M or 2G";
        if (*bytes < 4 * MiB || *bytes > 512 * GiB) return "4M to 512G";
        o.memory_bytes = (*bytes + 4095) & ~u64{4095};
    }
    return {};
}

Complaint set_smp(Options& o, const std::string& text) {
    u64 processors = 1, product = 1;
    bool counted = false;
    for (const auto& [key, value] : key_values(text)) {
        const auto n = parse_number(value.empty() ? key : value);
        if (!n || *n == 0 || *n > 1024)
            return "a number of processors, or cpus=,sockets=,cores=,threads=,maxcpus=";
        if (value.empty() || key == "cpus") {
            processors = *n;
            counted = true;
        } else if (key == "sockets" || key == "cores" || key == "threads" || key == "dies" ||
                   key == "clusters") {
            product *= *n;
        } else if (key != "maxcpus") {
            return "cpus=,sockets=,cores=,threads=,maxcpus=; '" + key + "' is none of them";
        }
    }
    if (!counted) processors = product;
    if (processors > 1)
        o.warnings.push_back("-smp " + text + ": one processor is used, more are not built yet");
    return {};
}

bool any_of(std::initializer_list<const char*> names, const std::string& name) {
    return std::any_of(names.begin(), names.end(), [&](const char* n) { return name == n; });
}

Complaint set_machine(Options& o, const std::string& text) {
    for (const auto& [key, value] : key_values(text)) {
        if (key == "accel") {
            if (auto bad = set_accel(o, value)) return bad;
        } else if (value.empty() || key == "type") {
            const std::string& name = value.empty() ? key : value;
            if (name == "help" || name == "?")
                o.help = "pc       a PC with i440FX and PIIX (default)\npc-i440fx-*, i440fx, q35, pc-q35-*   "
                         "the same\n";
            else if (name == "q35" || name.rfind("pc-q35", 0) == 0)
                o.warnings.push_back("-machine " + name +
                                     ": not built, the machine is pc (i440FX: one PCI bus, IDE)");
            else if (name != "pc" && name != "i440fx" && name.rfind("pc-i440fx", 0) != 0)
                return "pc (others are not built; the nearest is pc)";
        } else if (key == "hpet" || key == "acpi" || key == "usb") {
            const auto on = value == "auto" ? std::optional(key != "usb") : parse_on_off(value);
            if (!on) return key + "=on or off";
            (key == "hpet" ? o.hpet : key == "acpi" ? o.acpi : o.usb) = *on;
        } else if (key == "pflash0" || key == "pflash1") {
            o.flash_nodes[key.back() - '0'] = value;
        } else if (key == "smm" || key == "nvdimm" || key == "confidential-guest-support") {
            if (value != "off" && value != "auto")
                o.warnings.push_back("-machine " + key + "=" + value + ": has no effect");
        } else if (!any_of({"vmport",
                            "kernel_irqchip",
                            "kernel-irqchip",
                            "dump-guest-core",
                            "mem-merge",
                            "graphics",
                            "memory-backend",
                            "pic",
                            "pit",
                            "sata",
                            "smbus",
                            "default_bus_bypass_iommu",
                            "max-ram-below-4g",
                            "i8042",
                            "vmmouse",
                            "x-south-bridge",
                            "hmat",
                            "pcspk-audiodev",
                            "suppress-vmdesc",
                            "fd-bootchk",
                            "x-oem-id",
                            "x-oem-table-id"},
                           key)) {
            return "pc,accel=NAME; '" + key + "' is not known";
        }
    }
    return {};
}

Complaint set_boot(Options& o, const std::string& text) {
    for (const auto& [key, value] : key_values(text)) {
        const bool bare = value.empty() && key != "menu" && key != "strict";
        if (bare || key == "order" || key == "once") {
            const std::string& letters = bare ? key : value;
            if (letters.find_first_not_of("abcdn") != std::string::npos)
                return "letters of a, b (floppies), c (disk), d (CD), n (network)";
            (key == "once" ? o.boot_once : o.boot_order) = letters;
        } else if (key == "menu" || key == "strict") {
            const auto on = parse_on_off(value);
            if (!on) return key + "=on or off";
            (key == "menu" ? o.boot_menu : o.boot_strict) = *on;
        } else if (key == "splash-time" || key == "reboot-timeout") {
            const auto ms = parse_number(value);
            if ((!ms || *ms > 0xffff) && value != "-1") return key + "=MILLISECONDS up to 65535, or -1";
            (key == "splash-time" ? o.splash_ms : o.reboot_ms) =
                ms ? std::optional(unsigned(*ms)) : std::nullopt;
        } else if (key != "splash") {
            return "order=LETTERS,once=LETTERS,menu=on|off,strict=on|off,splash-time=MS,reboot-timeout=MS";
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
    const Properties properties = key_values(text);
    std::string names = properties[0].first;
    if (names == "help" || names == "?") {
        o.help = "dbt      guest code is translated (default); tcg is another name\n"
                 "interp   its IR is interpreted\n";
        return {};
    }
    for (std::size_t at = 0; at <= names.size();) { // "kvm:tcg": the first that can be had
        const std::size_t end = std::min(names.find(':', at), names.size());
        const std::string name = names.substr(at, end - at);
        at = end + 1;
        if (any_of({"kvm", "hvf", "whpx", "xen", "nvmm", "hax", "mshv"}, name)) {
            const std::string line =
                "-accel " + name + ": no hardware virtualization is used, guest code is translated";
            if (!std::count(o.warnings.begin(), o.warnings.end(), line)) o.warnings.push_back(line);
        } else if (name == "interp") {
            o.vcpu.interpret = true;
        } else if (name != "tcg" && name != "dbt") {
            return "dbt (translate, the default; tcg is another name) or interp";
        }
    }
    for (const auto& [key, value] : properties) {
        if (key != "tb-size") continue;
        const auto bytes = parse_size(value, MiB);
        if (!bytes || *bytes < 1 * MiB || *bytes > 2 * GiB - MiB) return "tb-size=1 to 2047 MiB";
        o.vcpu.cache_bytes = *bytes;
    }
    return {};
}

std::span<const OptionRow> machine_options() {
    static const std::vector<OptionRow> rows = {
        {"m", "SIZE", "guest memory, in MiB or with a suffix (128M)", set_memory},
        {"cpu", "MODEL", "processor model and +feature,-feature (max); help lists them", set_cpu},
        {"accel", "NAME", "dbt: translate (the default); interp: interpret the IR", set_accel},
        {"enable-kvm", nullptr, "the same as -accel kvm",
         [](Options& o, const std::string&) { return set_accel(o, "kvm"); }},
        {"smp", "N", "number of processors: 1", set_smp},
        {"machine", "NAME", "pc (the only one); accel=NAME", set_machine},
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
        {"boot", "ORDER", "letters of a, b, c, d, n; or order=,once=,menu=on,strict=on", set_boot},
        {"bios", "FILE", "firmware image instead of SeaBIOS",
         [](Options& o, const std::string& v) -> Complaint {
             o.bios = v;
             return file_name(v);
         }},
        {"L", "DIRECTORY", "where firmware images are looked for first",
         [](Options& o, const std::string& v) -> Complaint {
             o.firmware_directories.push_back(v);
             return file_name(v);
         }},
        {"option-rom", "FILE", "an option ROM that the firmware runs",
         [](Options& o, const std::string& v) -> Complaint {
             const Properties properties = key_values(v);
             for (const auto& [key, value] : properties)
                 if (value.empty() || key == "romfile")
                     o.option_roms.push_back(value.empty() ? key : value);
                 else if (key != "bootindex")
                     return "FILE";
             return file_name(v);
         }},
        {"numa", "node", "one node of all memory: as it is without",
         [](Options& o, const std::string& v) -> Complaint {
             if (key_values(v)[0].first != "node" || o.numa_nodes++) return "node, once: more are not built";
             return {};
         }},
        {"localtime", nullptr, "the same as -rtc base=localtime",
         [](Options& o, const std::string&) { return set_rtc(o, "base=localtime"); }},
        {"rtc", "base=...", "start of the real-time clock: utc, localtime or a date", set_rtc},
    };
    return rows;
}

} // namespace dragoman::runtime
