#include "runtime/option_table.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

Complaint set_display(Options& o, const std::string& text) {
    const std::string name = key_values(text)[0].first;
    if (name == "none")
        o.display = Options::Display::None;
    else if (name == "sdl" || name == "gtk" || name == "default")
        o.display = Options::Display::Sdl;
    else
        return "sdl (gtk is another name) or none; '" + name + "' is not built";
    return {};
}

Complaint set_chardev(Options& o, const std::string& text) {
    const auto properties = properties_of(text);
    if (!properties || properties->empty()) return "BACKEND,id=ID,...";
    const auto value = [&](const char* key) -> std::string {
        for (const auto& [name, v] : *properties)
            if (name == key) return v;
        return "";
    };
    const auto on = [&](const char* key, bool missing) {
        for (const auto& [name, v] : *properties)
            if (name == key) return parse_on_off(v).value_or(missing);
        return missing;
    };
    const std::string backend = (*properties)[0].second.empty() ? (*properties)[0].first : value("backend");
    const std::string id = value("id"), path = value("path");
    if (id.empty()) return "id=ID beside the backend";
    if (o.chardevs.count(id)) return "an id of its own; '" + id + "' is in use";
    std::string device;
    if (backend == "stdio") {
        device = on("mux", false) ? "mon:stdio" : "stdio";
    } else if (backend == "null" || backend == "pty" || backend == "vc") {
        device = backend;
    } else if (backend == "file" || backend == "pipe") {
        if (path.empty()) return "path=NAME";
        device = backend + ":" + path;
    } else if (backend == "socket") {
        const std::string port = value("port");
        if (path.empty() == port.empty()) return "path=NAME, or host=NAME,port=PORT";
        device = path.empty() ? (on("telnet", false) ? "telnet:" : "tcp:") + value("host") + ":" + port
                              : "unix:" + path;
        if (on("server", false))
            device += on("wait", true) && on("nowait", false) == false ? ",server" : ",server,nowait";
    } else if (backend == "ringbuf" || backend == "memory") {
        device = "null";
        o.warnings.push_back("-chardev " + text + ": nothing reads it back, so what is written is dropped");
    } else {
        return "stdio, null, file, pipe, pty or socket ('" + backend +
               "' is not built; the nearest is socket)";
    }
    o.chardevs[id] = device;
    return {};
}

Complaint set_mon(Options& o, const std::string& text) {
    std::string chardev;
    bool control = false;
    for (const auto& [key, value] : key_values(text)) {
        if (key == "chardev")
            chardev = value;
        else if (key == "mode" && (value == "control" || value == "readline"))
            control = value == "control";
        else if (key == "id" || key == "pretty")
            continue;
        else if (value.empty() && chardev.empty())
            chardev = key;
        else
            return "chardev=ID,mode=readline|control; '" + key + "' is neither";
    }
    if (chardev.empty()) return "chardev=ID";
    if (control)
        o.qmp.push_back("chardev:" + chardev);
    else
        o.monitor = "chardev:" + chardev;
    return {};
}

Complaint add_qmp(Options& o, const std::string& text) {
    if (const Complaint bad = check_chardev(text)) return bad;
    o.qmp.push_back(text);
    return {};
}

Complaint set_vga(Options& o, const std::string& v) {
    if (v != "std" && v != "none") return "std or none (" + v + " is not built; the nearest is std)";
    o.vga = v == "std";
    o.vga_given = true;
    return {};
}

} // namespace

Complaint check_chardev(const std::string& text) {
    static constexpr std::string_view exact[] = {"stdio", "mon:stdio", "none", "null", "pty", "vc"};
    static constexpr std::string_view prefixes[] = {"chardev:", "file:", "tcp:", "unix:", "telnet:", "pipe:"};
    for (const auto name : exact)
        if (text == name) return {};
    for (const auto prefix : prefixes)
        if (text.size() > prefix.size() && text.compare(0, prefix.size(), prefix) == 0) return {};
    return "stdio, mon:stdio, chardev:ID, file:NAME, tcp:HOST:PORT[,server][,nowait], "
           "unix:PATH[,server][,nowait], pty, "
           "null or none";
}

Complaint add_serial(Options& o, const std::string& text) {
    if (const Complaint bad = check_chardev(text)) return bad;
    if (o.serial.size() == 2) return "at most two serial ports";
    o.serial.push_back(text);
    return {};
}

Status resolve_chardevs(Options& o) {
    const auto id_of = [](const std::string& spec) {
        return spec.compare(0, 8, "chardev:") == 0 ? spec.substr(8) : "";
    };
    // Serial port and monitor on one terminal device with mux=on: what mon:stdio means for the serial port.
    const std::string shared = id_of(o.monitor);
    if (!shared.empty() && o.chardevs.count(shared) && o.chardevs[shared] == "mon:stdio") {
        const bool beside =
            std::any_of(o.serial.begin(), o.serial.end(), [&](const auto& s) { return id_of(s) == shared; });
        o.monitor = beside ? "none" : "stdio";
    }
    const auto resolve = [&](std::string& spec) -> Status {
        const std::string id = id_of(spec);
        if (id.empty()) return Ok{};
        const auto found = o.chardevs.find(id);
        if (found == o.chardevs.end()) return Error{spec + ": expected the id of a -chardev"};
        spec = found->second;
        return Ok{};
    };
    for (std::string& serial : o.serial)
        if (auto s = resolve(serial); !s) return s;
    for (std::string& qmp : o.qmp)
        if (auto s = resolve(qmp); !s) return s;
    if (auto s = resolve(o.monitor); !s) return s;
    return resolve(o.debugcon);
}

std::span<const OptionRow> chardev_options() {
    static const std::vector<OptionRow> rows = {
        {"serial", "DEV",
         "where a serial port leads: stdio, mon:stdio, file:NAME, tcp:..., unix:..., pty, none (twice: COM2)",
         add_serial},
        {"chardev", "BACKEND,id=ID[,...]",
         "a device for serial ports and the monitor: stdio, file, pipe, pty, socket, null", set_chardev},
        {"mon", "chardev=ID[,mode=control]", "where the monitor is, or QMP", set_mon},
        {"qmp", "DEV", "where programs drive the emulator by QMP: unix:..., tcp:..., stdio", add_qmp},
        {"qmp-pretty", "DEV", "the same", add_qmp},
        {"monitor", "DEV", "where the monitor is: stdio, unix:..., tcp:..., none",
         [](Options& o, const std::string& v) -> Complaint {
             if (auto bad = check_chardev(v)) return bad;
             o.monitor = v;
             return {};
         }},
        {"display", "NAME", "sdl: a window; none", set_display},
        {"vga", "NAME", "std or none", set_vga},
        {"vnc", "DISPLAY", "none (not built)",
         [](Options&, const std::string& v) -> Complaint {
             if (v != "none") return "none (VNC is not built; the nearest is -display sdl)";
             return {};
         }},
        {"nographic", nullptr, "no window; serial port and monitor share the terminal (Ctrl-A h for help)",
         [](Options& o, const std::string&) -> Complaint {
             o.display = Options::Display::None;
             o.nographic = true;
             if (o.serial.empty()) o.serial = {"mon:stdio"};
             return {};
         }},
        {"nodefaults", nullptr, "no display that was not asked for",
         [](Options& o, const std::string&) -> Complaint {
             o.nodefaults = true;
             return {};
         }},
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
