#include "runtime/option_table.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

Complaint set_display(Options& o, const std::string& text) {
    const std::string name = key_values(text)[0].first;
    if (name == "vnc") {
        o.display = Options::Display::None;
        return set_vnc(o, text.substr(std::min<std::size_t>(text.size(), 4)));
    }
    if (name == "none")
        o.display = Options::Display::None;
    else if (name == "help" || name == "?")
        o.help = "sdl\nvnc=[HOST]:N\nnone\n";
    else if (name == "sdl" || name == "gtk" || name == "default")
        o.display = Options::Display::Sdl;
    else
        return "sdl (gtk is another name), vnc=DISPLAY or none; '" + name +
               "' is not built, the nearest is " + (name == "curses" ? "-nographic" : "vnc");
    return {};
}

// The short form of a socket of -chardev.
struct ChardevText {
    std::string text;
    Complaint bad;
};

class ChardevKeys {
  public:
    explicit ChardevKeys(const Properties& properties) : properties_(properties) {}
    std::string text(const char* key) const {
        for (const auto& [name, v] : properties_)
            if (name == key || name == std::string("data.") + key ||
                name == std::string("backend.data.") + key)
                return v;
        return "";
    }
    bool on(const char* key, bool missing) const {
        for (const auto& [name, v] : properties_)
            if (name == key) return parse_on_off(v).value_or(missing);
        return missing;
    }

  private:
    const Properties& properties_;
};

ChardevText socket_text(const ChardevKeys& keys) {
    const std::string path = keys.text("path"), port = keys.text("port"), fd = keys.text("fd");
    if (path.empty() + port.empty() + fd.empty() != 2)
        return {"", "path=NAME, fd=NUMBER, or host=NAME,port=PORT"};
    std::string text = (keys.on("telnet", false) ? "telnet:" : "tcp:") + keys.text("host") + ":" + port;
    if (!path.empty()) text = "unix:" + path;
    if (!fd.empty()) text = "fd:" + fd;
    if (keys.on("server", false))
        text += keys.on("wait", true) && !keys.on("nowait", false) ? ",server" : ",server,nowait";
    return {text, {}};
}

ChardevText chardev_text(const std::string& backend, const ChardevKeys& keys) {
    const std::string path = keys.text("path");
    const auto with_path = [&](const std::string& before) -> ChardevText {
        if (path.empty()) return {"", "path=NAME"};
        return {before + path, {}};
    };
    if (backend == "stdio" || backend == "null" || backend == "pty" || backend == "vc") return {backend, {}};
    if (backend == "file") return with_path(keys.on("append", false) ? "append:" : "file:");
    if (backend == "pipe") return with_path("pipe:");
    if (backend == "serial" || backend == "tty" || backend == "parallel" || backend == "parport")
        return with_path("");
    if (backend == "socket") return socket_text(keys);
    if (backend == "ringbuf" || backend == "memory") {
        const std::string size = keys.text("size");
        const auto bytes = parse_size(size.empty() ? "64K" : size, 1);
        if (!bytes || *bytes == 0 || *bytes > 16 * MiB || (*bytes & (*bytes - 1)))
            return {"", "size=BYTES, a power of two up to 16M"};
        return {"ringbuf:" + std::to_string(*bytes), {}};
    }
    return {"", "stdio, null, file, pipe, pty, socket, serial or ringbuf ('" + backend +
                    "' is not built; the nearest is socket)"};
}

Complaint set_chardev(Options& o, const std::string& text) {
    const auto properties = properties_of(text);
    if (!properties || properties->empty()) return "BACKEND,id=ID,...";
    const ChardevKeys keys(*properties);
    const std::string& first = (*properties)[0].first;
    const std::string named = keys.text("backend");
    const std::string backend = (*properties)[0].second.empty() && text[0] != '{' ? first : named;
    const std::string id = keys.text("id");
    if (id.empty()) return "id=ID beside the backend";
    if (o.chardevs.count(id)) return "an id of its own; '" + id + "' is in use";
    const ChardevText made = chardev_text(backend, keys);
    if (made.bad) return made.bad;
    if (const std::string log = keys.text("logfile"); !log.empty())
        o.chardev_logs[id] = (keys.on("logappend", false) ? "append:" : "file:") + log;
    o.chardevs[id] = (keys.on("mux", false) ? "mon:" : "") + made.text;
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
    if (v == "help" || v == "?") {
        o.help = "std\nnone\n";
        return {};
    }
    if (v != "std" && v != "none") return "std or none (" + v + " is not built; the nearest is std)";
    o.vga = v == "std";
    o.vga_given = true;
    return {};
}

} // namespace

namespace {
bool is_shared(const std::string& spec) {
    return spec.rfind("mon:", 0) == 0;
}
} // namespace

Complaint check_chardev(const std::string& given) {
    const std::string text = is_shared(given) ? given.substr(4) : given;
    static constexpr std::string_view exact[] = {"stdio", "none", "null", "pty", "vc", "ringbuf"};
    static constexpr std::string_view prefixes[] = {
        "chardev:", "file:", "tcp:", "unix:", "telnet:", "pipe:", "vc:", "ringbuf:", "/dev/"};
    for (const auto name : exact)
        if (text == name) return {};
    for (const auto prefix : prefixes)
        if (text.size() > prefix.size() && text.compare(0, prefix.size(), prefix) == 0) return {};
    return "stdio, chardev:ID, file:NAME, pipe:NAME, tcp:HOST:PORT[,server][,nowait], "
           "telnet:..., unix:PATH[,server][,nowait], pty, /dev/NAME, ringbuf, null or none, "
           "and mon: before one that serial port and monitor share";
}

Complaint add_serial(Options& o, const std::string& text) {
    if (const Complaint bad = check_chardev(text)) return bad;
    if (o.serial.size() == 2) return "at most two serial ports";
    o.serial.push_back(text);
    return {};
}

namespace {
std::string chardev_id(const std::string& text) {
    return text.compare(0, 8, "chardev:") == 0 ? text.substr(8) : "";
}
} // namespace

const std::string& chardev_spec(const Options& o, const std::string& text) {
    const auto found = o.chardevs.find(chardev_id(text));
    return found == o.chardevs.end() ? text : found->second;
}

std::vector<const std::string*> users_of_chardevs(const Options& o) {
    std::vector<const std::string*> users = {&o.monitor, &o.debugcon, &o.parallel};
    for (const std::string& serial : o.serial)
        users.push_back(&serial);
    for (const std::string& qmp : o.qmp)
        users.push_back(&qmp);
    for (const PortOption& port : o.ports)
        users.push_back(&port.chardev);
    return users;
}

Status check_chardevs(Options& o) {
    // The monitor shares the terminal unless it was given a place of its own.
    if (o.nographic && o.serial.empty()) o.serial = {o.monitor.empty() ? "mon:stdio" : "stdio"};
    std::map<std::string, unsigned> uses; // of shared ones without the monitor's
    unsigned terminals = 0, lines = 0;
    bool shared = false, monitor = false;
    for (const std::string* text : users_of_chardevs(o)) {
        const std::string id = chardev_id(*text);
        if (!id.empty() && !o.chardevs.count(id)) return Error{*text + ": expected the id of a -chardev"};
        const std::string& spec = chardev_spec(o, *text);
        if (is_shared(spec) && text == &o.monitor) {
            monitor |= spec == "mon:stdio";
            continue;
        }
        if (is_shared(spec) && (id.empty() || !uses[id]) && ++lines == 2)
            return Error{*text + ": expected one line that the monitor shares (mon:, mux=on)"};
        if (spec == "mon:stdio")
            ++terminals, shared = true;
        else if (spec == "stdio")
            terminals += text != &o.debugcon; // that one shares it
        if (!id.empty() && spec != "stdio" && ++uses[id] == 2)
            return Error{*text + ": expected one user (mux=on lets a serial port and the monitor share one)"};
    }
    terminals += monitor && !shared;
    if (terminals > 1)
        return Error{
            "stdio: expected one user of the terminal (mon:stdio lets serial port and monitor share it)"};
    return Ok{};
}

std::span<const OptionRow> chardev_options() {
    static const std::vector<OptionRow> rows = {
        {"serial", "DEV",
         "where a serial port leads: stdio, mon:stdio, file:NAME, tcp:..., unix:..., pty, none (twice: COM2)",
         add_serial},
        {"parallel", "DEV", "where a parallel port leads: the same; none: there is none",
         [](Options& o, const std::string& v) -> Complaint {
             if (auto bad = check_chardev(v)) return bad;
             o.parallel = v == "none" ? "" : v;
             return {};
         }},
        {"chardev", "BACKEND,id=ID[,...]",
         "a device for serial ports and the monitor: stdio, file, pipe, pty, socket, serial, ringbuf, null",
         set_chardev},
        {"mon", "chardev=ID[,mode=control]", "where the monitor is, or QMP", set_mon},
        {"qmp", "DEV", "where programs drive the emulator by QMP: unix:..., tcp:..., stdio", add_qmp},
        {"qmp-pretty", "DEV", "the same", add_qmp},
        {"monitor", "DEV", "where the monitor is: stdio, unix:..., tcp:..., none",
         [](Options& o, const std::string& v) -> Complaint {
             if (auto bad = check_chardev(v)) return bad;
             o.monitor = v;
             return {};
         }},
        {"display", "NAME", "sdl: a window; vnc=N: as -vnc :N; none", set_display},
        {"vga", "NAME", "std or none", set_vga},
        {"vnc", "[HOST]:N[,password-secret=ID]",
         "the screen for VNC viewers at port 5900 + N (HOST empty: of this host only), unix:PATH, or none",
         [](Options& o, const std::string& v) -> Complaint {
             if (auto bad = set_vnc(o, v)) return bad;
             if (o.vnc) o.display = Options::Display::None; // a window has to be asked for after it
             return {};
         }},
        {"echr", "NUMBER", "the terminal's escape character, in place of 1 (Ctrl-A)",
         [](Options& o, const std::string& v) -> Complaint {
             const auto n = parse_number(v, 0);
             if (!n || *n == 0 || *n > 31) return "1 to 31, or 0x1 to 0x1f";
             o.escape_character = u8(*n);
             return {};
         }},
        {"nographic", nullptr, "no window; serial port and monitor share the terminal (Ctrl-A h for help)",
         [](Options& o, const std::string&) -> Complaint {
             o.display = Options::Display::None;
             o.nographic = true;
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
