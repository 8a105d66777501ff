#include "runtime/options.h"

#include "base/log.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <span>

namespace dragoman::runtime {

namespace {

namespace po = boost::program_options;

// What a setter says when it does not like a value: what was expected.
using Complaint = std::optional<std::string>;

struct Row {
    const char* name;
    const char* argument; // null: none
    const char* help;
    std::function<Complaint(Options&, const std::string&)> set;
};

std::optional<u64> number(std::string_view text, int base = 10) {
    if (base == 0) {
        base = text.substr(0, 2) == "0x" ? 16 : 10;
        if (base == 16) text.remove_prefix(2);
    }
    u64 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
    return value;
}

// A size with an optional suffix K, M, G or T; without one, `unit` bytes each.
std::optional<u64> size(std::string text, u64 unit) {
    if (text.empty()) return std::nullopt;
    static constexpr std::pair<char, u64> suffixes[] = {
        {'K', KiB}, {'M', MiB}, {'G', GiB}, {'T', 1024 * GiB}};
    for (const auto& [letter, bytes] : suffixes) {
        if (std::toupper(text.back()) != letter) continue;
        unit = bytes;
        text.pop_back();
        break;
    }
    const auto n = number(text);
    if (!n || *n > (u64{1} << 62) / unit) return std::nullopt;
    return *n * unit;
}

// "a,b=c,d" as pairs; two commas stand for one (file names).
std::vector<std::pair<std::string, std::string>> key_values(const std::string& text) {
    std::vector<std::string> parts(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',') {
            parts.back() += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == ',') {
            parts.back() += text[i++];
        } else {
            parts.emplace_back();
        }
    }
    std::vector<std::pair<std::string, std::string>> result;
    for (const std::string& part : parts) {
        const std::size_t equals = part.find('=');
        if (equals == std::string::npos)
            result.emplace_back(part, "");
        else
            result.emplace_back(part.substr(0, equals), part.substr(equals + 1));
    }
    return result;
}

std::optional<bool> on_off(const std::string& text) {
    if (text == "on" || text == "yes" || text == "true" || text.empty()) return true;
    if (text == "off" || text == "no" || text == "false") return false;
    return std::nullopt;
}

Complaint file_name(const std::string& text) {
    if (text.empty()) return "the name of a file";
    return {};
}

Complaint set_memory(Options& o, const std::string& text) {
    std::string value = text;
    if (value.rfind("size=", 0) == 0) value = value.substr(5);
    const auto bytes = size(value, MiB);
    if (!bytes) return "a size such as 512, 512M or 2G";
    if (*bytes < 4 * MiB || *bytes > 512 * GiB) return "4M to 512G";
    o.memory_bytes = (*bytes + 4095) & ~u64{4095};
    return {};
}

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

Complaint set_smp(Options&, const std::string& text) {
    for (const auto& [key, value] : key_values(text)) {
        const std::string& count = value.empty() ? key : value;
        if ((value.empty() || key == "cpus" || key == "maxcpus") && count != "1")
            return "1 (more processors are not built yet)";
    }
    return {};
}

bool index_taken(const Options& o, unsigned index) {
    return std::any_of(o.drives.begin(), o.drives.end(),
                       [&](const DriveOption& d) { return d.index == index; });
}

Complaint add_disk(Options& o, unsigned index, const std::string& file) {
    if (file.empty()) return "the name of an image file";
    if (index_taken(o, index))
        return "one drive per place, but IDE place " + std::to_string(index) + " is taken";
    o.drives.push_back({.file = file, .index = index});
    return {};
}

Complaint set_cdrom(Options& o, const std::string& file) {
    if (const Complaint bad = file_name(file)) return bad;
    if (index_taken(o, 2)) return "one drive per place, but the secondary master (index 2) is taken";
    o.drives.push_back({.file = file, .index = 2, .cd = true, .read_only = true});
    return {};
}

Complaint set_drive(Options& o, const std::string& text) {
    DriveOption drive;
    std::optional<unsigned> bus, unit, index;
    for (const auto& [key, value] : key_values(text)) {
        if (key == "file") {
            drive.file = value;
        } else if (key == "format") {
            if (value != "raw") return "format=raw (other formats are not built yet)";
        } else if (key == "if") {
            if (value != "ide") return "if=ide (other interfaces are not built yet)";
        } else if (key == "media") {
            if (value != "disk" && value != "cdrom") return "media=disk or media=cdrom";
            drive.cd = value == "cdrom";
        } else if (key == "readonly" || key == "read-only") {
            const auto on = on_off(value);
            if (!on) return "readonly=on or off";
            drive.read_only = *on;
        } else if (key == "index" || key == "bus" || key == "unit") {
            const auto n = number(value);
            if (!n || *n > 3 || (key != "index" && *n > 1)) return "index=0..3, bus=0..1, unit=0..1";
            (key == "index" ? index : key == "bus" ? bus : unit) = unsigned(*n);
        } else if (key == "id" || key == "cache" || key == "aio" || key == "discard") {
            // names and tuning that make no difference here
        } else {
            return "file=,format=raw,if=ide,media=disk|cdrom,index=,bus=,unit=,readonly=; '" + key +
                   "' is none of them";
        }
    }
    if (drive.file.empty() && !drive.cd) return "file=NAME";
    drive.read_only |= drive.cd;
    if (index) {
        drive.index = *index;
    } else if (bus || unit) {
        drive.index = bus.value_or(0) * 2 + unit.value_or(0);
    } else {
        drive.index = drive.cd ? 2 : 0;
        while (drive.index < 4 && index_taken(o, drive.index))
            ++drive.index;
        if (drive.index == 4) return "at most four IDE drives";
    }
    if (index_taken(o, drive.index))
        return "one drive per place, but IDE place " + std::to_string(drive.index) + " is taken";
    o.drives.push_back(drive);
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
            const auto on = on_off(value);
            if (!on) return "menu=on or off";
            o.boot_menu = *on;
        } else if (key != "strict" && key != "splash" && key != "splash-time" && key != "reboot-timeout") {
            return "order=LETTERS,once=LETTERS,menu=on|off,strict=on|off";
        }
    }
    return {};
}

Complaint set_display(Options& o, const std::string& text) {
    const std::string name = key_values(text)[0].first;
    if (name == "none")
        o.display = Options::Display::None;
    else if (name == "sdl")
        o.display = Options::Display::Sdl;
    else
        return "sdl or none";
    return {};
}

Complaint check_chardev(const std::string& text) {
    static constexpr std::string_view exact[] = {"stdio", "mon:stdio", "none", "null", "pty", "vc"};
    static constexpr std::string_view prefixes[] = {"file:", "tcp:", "unix:", "telnet:", "pipe:"};
    for (const auto name : exact)
        if (text == name) return {};
    for (const auto prefix : prefixes)
        if (text.size() > prefix.size() && text.compare(0, prefix.size(), prefix) == 0) return {};
    return "stdio, mon:stdio, file:NAME, tcp:HOST:PORT[,server][,nowait], unix:PATH[,server][,nowait], pty, "
           "null or none";
}

Complaint set_serial(Options& o, const std::string& text) {
    if (const Complaint bad = check_chardev(text)) return bad;
    if (o.serial.size() == 2) return "at most two serial ports";
    o.serial.push_back(text);
    return {};
}

struct LogWord {
    const char* word;
    LogItem item;
    const char* help;
};
constexpr LogWord log_words[] = {
    {"in_asm", LogItem::InAsm, "the guest's instructions of each block translated"},
    {"op", LogItem::Op, "its IR, as translated"},
    {"op_opt", LogItem::OpOpt, "its IR, after the passes"},
    {"out_asm", LogItem::OutAsm, "its host code"},
    {"int", LogItem::Int, "interrupts and exceptions"},
    {"exec", LogItem::Exec, "each block entered from the run loop"},
    {"cpu", LogItem::Cpu, "registers before each such block"},
    {"mmu", LogItem::Mmu, "page faults and TLB flushes"},
    {"unimp", LogItem::Unimp, "what is not emulated"},
    {"guest_errors", LogItem::GuestError, "what the guest should not have done"},
};

std::string log_word_list() {
    std::string list;
    for (const LogWord& w : log_words)
        list += (list.empty() ? "" : ",") + std::string(w.word);
    return list;
}

Complaint set_log(Options& o, const std::string& text) {
    const auto items = parse_log_words(text);
    if (!items) return items.error().message;
    o.log_items |= items.value();
    return {};
}

Complaint set_device(Options& o, const std::string& text) {
    const auto pairs = key_values(text);
    const std::string& name = pairs[0].first;
    if (name == "help" || name == "?") {
        o.action = Options::Action::DeviceHelp;
        return {};
    }
    const auto port = [](const std::string& value) { return number(value, 0); };
    if (name == "isa-debug-exit") {
        Options::DebugExit exit;
        for (const auto& [key, value] : std::span(pairs).subspan(1)) {
            const auto n = port(value);
            if (key == "iobase" && n && *n <= 0xffff)
                exit.iobase = u16(*n);
            else if (key == "iosize" && n && (*n == 1 || *n == 2 || *n == 4))
                exit.iosize = u32(*n);
            else
                return "iobase=PORT (0..0xffff),iosize=1, 2 or 4";
        }
        o.debug_exit = exit;
        return {};
    }
    if (name == "isa-debugcon") {
        for (const auto& [key, value] : std::span(pairs).subspan(1)) {
            const auto n = port(value);
            if (key == "iobase" && n && *n <= 0xffff)
                o.debugcon_port = u16(*n);
            else if (key != "chardev" && key != "readback" && key != "id")
                return "iobase=PORT (0..0xffff)";
        }
        if (o.debugcon.empty()) o.debugcon = "stdio";
        return {};
    }
    return "a device that is built: isa-debug-exit or isa-debugcon (see -device help)";
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

std::string pass_names() {
    std::string names;
    for (const ir::Pass& pass : ir::passes())
        names += (names.empty() ? "" : " ") + std::string(pass.name);
    return names;
}

Complaint set_passes(Options& o, const std::string& text) {
    for (const auto& [key, value] : key_values(text)) {
        const auto on = on_off(value);
        if (on && key == "all")
            o.passes = *on ? ir::PassSwitches{} : ir::PassSwitches::none();
        else if (!on || !o.passes.set(key, *on))
            return "NAME=on|off with a pass of " + pass_names() + ", or all=on|off";
    }
    return {};
}

const std::vector<Row>& rows() {
    static const std::vector<Row> table = {
        {"m", "SIZE", "guest memory, in MiB or with a suffix (128M)", set_memory},
        {"cpu", "MODEL", "processor model and +feature,-feature (max); help lists them",
         [](Options& o, const std::string& v) -> Complaint {
             if (v == "help" || v == "?") o.action = Options::Action::CpuHelp;
             o.cpu = v;
             return {};
         }},
        {"accel", "NAME", "dbt: translate (the default); interp: interpret the IR", set_accel},
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
        {"hda", "FILE", "raw image of the primary master disk",
         [](Options& o, const std::string& v) { return add_disk(o, 0, v); }},
        {"hdb", "FILE", "of the primary slave",
         [](Options& o, const std::string& v) { return add_disk(o, 1, v); }},
        {"hdc", "FILE", "of the secondary master",
         [](Options& o, const std::string& v) { return add_disk(o, 2, v); }},
        {"hdd", "FILE", "of the secondary slave",
         [](Options& o, const std::string& v) { return add_disk(o, 3, v); }},
        {"cdrom", "FILE", "CD image, secondary master", set_cdrom},
        {"drive", "file=FILE[,...]", "a drive: format=raw,if=ide,media=disk|cdrom,index=N,readonly=on",
         set_drive},
        {"boot", "ORDER", "letters of a, c, d, n; or order=,once=,menu=on", set_boot},
        {"bios", "FILE", "firmware image instead of SeaBIOS",
         [](Options& o, const std::string& v) -> Complaint {
             o.bios = v;
             return file_name(v);
         }},
        {"serial", "DEV",
         "where a serial port leads: stdio, mon:stdio, file:NAME, tcp:..., unix:..., pty, none (twice: COM2)",
         set_serial},
        {"monitor", "DEV", "where the monitor is: stdio, unix:..., tcp:..., none",
         [](Options& o, const std::string& v) -> Complaint {
             if (auto bad = check_chardev(v)) return bad;
             o.monitor = v;
             return {};
         }},
        {"display", "NAME", "sdl: a window; none", set_display},
        {"vga", "NAME", "std or none",
         [](Options& o, const std::string& v) -> Complaint {
             if (v != "std" && v != "none") return "std or none";
             o.vga = v == "std";
             return {};
         }},
        {"nographic", nullptr, "no window; serial port and monitor share the terminal (Ctrl-A h for help)",
         [](Options& o, const std::string&) -> Complaint {
             o.display = Options::Display::None;
             o.nographic = true;
             if (o.serial.empty()) o.serial = {"mon:stdio"};
             return {};
         }},
        {"nodefaults", nullptr, "nothing that was not asked for", {}},
        {"debugcon", "DEV", "debug console at port 0xe9",
         [](Options& o, const std::string& v) -> Complaint {
             if (auto bad = check_chardev(v)) return bad;
             o.debugcon = v;
             return {};
         }},
        {"device", "NAME[,...]", "add a device; help lists them", set_device},
        {"rtc", "base=...", "start of the real-time clock: utc, localtime or a date", set_rtc},
        {"S", nullptr, "do not start: wait for cont in the monitor or a debugger",
         [](Options& o, const std::string&) -> Complaint {
             o.start_stopped = true;
             return {};
         }},
        {"s", nullptr, "the same as -gdb tcp::1234",
         [](Options& o, const std::string&) -> Complaint {
             o.gdb = "tcp::1234";
             return {};
         }},
        {"gdb", "DEV", "debugger connection: tcp:[HOST]:PORT",
         [](Options& o, const std::string& v) -> Complaint {
             if (v.rfind("tcp:", 0) != 0) return "tcp:[HOST]:PORT";
             o.gdb = v;
             return {};
         }},
        {"d", "WORDS", nullptr, set_log},
        {"D", "FILE", "where -d writes (standard error)",
         [](Options& o, const std::string& v) -> Complaint {
             o.log_file = v;
             return file_name(v);
         }},
        {"no-reboot", nullptr, "exit instead of rebooting",
         [](Options& o, const std::string&) -> Complaint {
             o.no_reboot = true;
             return {};
         }},
        {"no-shutdown", nullptr, "stop instead of exiting when the guest powers off",
         [](Options& o, const std::string&) -> Complaint {
             o.no_shutdown = true;
             return {};
         }},
        {"name", "TEXT", "name of the machine (ignored)",
         [](Options&, const std::string&) -> Complaint { return {}; }},
        {"tb-size", "MIB", "size of the translation cache (256)",
         [](Options& o, const std::string& v) -> Complaint {
             const auto bytes = size(v, MiB);
             if (!bytes || *bytes < 1 * MiB || *bytes > 2 * GiB - MiB) return "1 to 2047 MiB";
             o.cache_bytes = *bytes;
             return {};
         }},
        {"passes", "LIST", "turn IR passes on and off: NAME=on|off,... or all=off", set_passes},
        {"verify", nullptr, "run interpreter and generated code in lockstep, stop at the first difference",
         [](Options& o, const std::string&) -> Complaint {
             o.verify = true;
             return {};
         }},
        {"version", nullptr, "print the version",
         [](Options& o, const std::string&) -> Complaint {
             o.action = Options::Action::Version;
             return {};
         }},
        {"help", nullptr, "this text",
         [](Options& o, const std::string&) -> Complaint {
             o.action = Options::Action::Help;
             return {};
         }},
    };
    return table;
}

// Other spellings of the same.
const std::map<std::string, std::string> aliases = {{"M", "machine"}, {"h", "help"}, {"enable-kvm", "accel"}};

} // namespace

Result<u32> parse_log_words(const std::string& text) {
    u32 items = 0;
    for (const auto& [word, value] : key_values(text)) {
        const auto* w = std::find_if(std::begin(log_words), std::end(log_words),
                                     [&](const LogWord& l) { return word == l.word; });
        if (w == std::end(log_words))
            return Error{"words of " + log_word_list() + "; '" + word + "' is none of them"};
        items |= u32(w->item);
    }
    return items;
}

std::string help_text() {
    std::string text = "usage: dragoman [options] [disk image]\n\n";
    for (const Row& row : rows()) {
        std::string left =
            "  -" + std::string(row.name) + (row.argument ? " " + std::string(row.argument) : "");
        left.resize(std::max<std::size_t>(left.size() + 1, 26), ' ');
        text += left + (row.help ? row.help : "log: words of " + log_word_list()) + "\n";
    }
    text +=
        "\nexample: dragoman -m 512 -nographic -kernel vmlinuz -initrd initrd.img -append console=ttyS0\n";
    return text;
}

std::string device_help_text() {
    return "isa-debug-exit,iobase=PORT,iosize=N   a write of V ends the emulator with exit status (V << 1) | "
           "1\n"
           "isa-debugcon,iobase=PORT              what is written to the port goes to the debug console\n";
}

Result<Options> parse_options(int argc, const char* const* argv) {
    Options options;
    const bool has_screen = std::getenv("DISPLAY") || std::getenv("WAYLAND_DISPLAY");
    options.display = has_screen ? Options::Display::Sdl : Options::Display::None;

    // The order of options counts (-serial twice, -nographic after -serial), so they are applied as they
    // come.
    po::options_description description;
    for (const Row& row : rows()) {
        if (row.argument)
            description.add_options()(row.name, po::value<std::string>());
        else
            description.add_options()(row.name, po::bool_switch());
    }
    for (const char* name : {"M"})
        description.add_options()(name, po::value<std::string>());
    description.add_options()("h", po::bool_switch())("enable-kvm", po::bool_switch());
    po::positional_options_description positional;
    description.add_options()("image", po::value<std::string>());
    positional.add("image", -1);

    static constexpr const char* unknown = ": unknown option; -help lists what there is";
    const auto one_dash = [](std::string name) {
        while (name.rfind("--", 0) == 0)
            name.erase(0, 1);
        return name;
    };
    namespace style = po::command_line_style;
    po::parsed_options parsed(&description);
    try {
        parsed = po::command_line_parser(argc, argv)
                     .options(description)
                     .positional(positional)
                     .style(style::allow_long | style::allow_long_disguise | style::long_allow_next)
                     .run();
    } catch (const po::unknown_option& e) {
        return Error{one_dash(e.get_option_name()) + unknown};
    } catch (const po::invalid_command_line_syntax& e) {
        const bool missing = e.kind() == po::invalid_syntax::missing_parameter;
        return Error{one_dash(e.get_option_name()) +
                     (missing ? ": a value is missing; -help says what it takes" : ": expected no value")};
    } catch (const po::error& e) {
        return Error{e.what()};
    }

    for (const po::option& option : parsed.options) {
        std::string name = option.string_key;
        std::string value = option.value.empty() ? "" : option.value[0];
        if (name == "image") {
            for (const std::string& file : option.value) {
                if (file.size() > 1 && file[0] == '-') return Error{one_dash(file) + unknown};
                if (const Complaint bad = add_disk(options, 0, file))
                    return Error{"disk image '" + file + "': expected " + *bad};
                options.drives.back().given = "disk image";
            }
            continue;
        }
        if (name == "enable-kvm") value = "kvm";
        if (const auto alias = aliases.find(name); alias != aliases.end()) name = alias->second;
        const auto row =
            std::find_if(rows().begin(), rows().end(), [&](const Row& r) { return name == r.name; });
        if (row == rows().end() || !row->set) continue;
        const std::size_t drives = options.drives.size();
        if (const Complaint bad = row->set(options, value))
            return Error{"-" + name + (row->argument ? " " + value : "") + ": expected " + *bad};
        if (options.drives.size() > drives) options.drives.back().given = "-" + name + " " + value;
    }

    if (options.action == Options::Action::Run && options.kernel.empty()) {
        if (!options.initrd.empty())
            return Error{"-initrd " + options.initrd + ": expected -kernel beside it"};
        if (!options.append.empty())
            return Error{"-append " + options.append + ": expected -kernel beside it"};
    }
    unsigned terminals = 0;
    for (const std::string& device : options.serial)
        terminals += device == "stdio" || device == "mon:stdio";
    terminals += options.monitor == "stdio" || options.monitor == "mon:stdio";
    terminals += options.debugcon == "stdio" && terminals == 0;
    if (terminals > 1)
        return Error{
            "stdio: expected one user of the terminal (mon:stdio lets serial port and monitor share it)"};
    if (options.verify && options.interpret) return Error{"-verify: expected -accel dbt beside it"};
    return options;
}

} // namespace dragoman::runtime
