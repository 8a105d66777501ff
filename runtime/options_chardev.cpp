#include "runtime/option_table.h"

namespace dragoman::runtime {

namespace {

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

Complaint set_serial(Options& o, const std::string& text) {
    if (const Complaint bad = check_chardev(text)) return bad;
    if (o.serial.size() == 2) return "at most two serial ports";
    o.serial.push_back(text);
    return {};
}

} // namespace

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

std::span<const OptionRow> chardev_options() {
    static const std::vector<OptionRow> rows = {
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
    };
    return rows;
}

} // namespace dragoman::runtime
