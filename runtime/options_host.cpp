// What concerns the host's side: processes, files of options; and what is accepted without an effect.
#include "runtime/option_table.h"

#include <algorithm>
#include <fstream>

namespace dragoman::runtime {

namespace {

Complaint no_effect(Options&, const std::string&) {
    return {};
}

// Accepted, with a line that says what the user does not get.
auto without(const char* name, const char* what) {
    return [=](Options& o, const std::string& v) -> Complaint {
        o.warnings.push_back(std::string("-") + name + (v.empty() ? "" : " " + v) + ": " + what);
        return {};
    };
}

Complaint set_object(Options& o, const std::string& text) {
    const auto properties = properties_of(text);
    if (!properties || properties->empty()) return "TYPE,id=ID,... or a JSON object";
    std::string type = (*properties)[0].first;
    for (const auto& [key, value] : *properties)
        if (key == "qom-type") type = value;
    if (type == "filter-dump") return add_capture(o, *properties);
    // Objects that only say how the host serves the guest.
    for (const char* known :
         {"rng-random", "rng-builtin", "rng-egd", "memory-backend-ram", "memory-backend-file",
          "memory-backend-memfd", "iothread", "secret", "throttle-group", "thread-context"})
        if (type == known) return {};
    return "filter-dump, rng-random, memory-backend-ram, -file or -memfd, iothread or secret; '" + type +
           "' is not built";
}

Complaint set_action(Options& o, const std::string& text) {
    for (const auto& [event, action] : key_values(text)) {
        if (event == "reboot" && (action == "reset" || action == "shutdown"))
            o.no_reboot = action == "shutdown";
        else if (event == "shutdown" && (action == "poweroff" || action == "pause"))
            o.no_shutdown = action == "pause";
        else if (event != "panic" && event != "watchdog")
            return "reboot=reset|shutdown, shutdown=poweroff|pause, panic=, watchdog=";
    }
    return {};
}

Complaint set_uuid(Options&, const std::string& text) {
    static constexpr std::string_view form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    bool good = text.size() == form.size();
    for (std::size_t n = 0; good && n < form.size(); ++n)
        good = form[n] == '-' ? text[n] == '-' : std::isxdigit(static_cast<unsigned char>(text[n])) != 0;
    if (!good) return "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx in hexadecimal";
    return {};
}

Complaint set_parallel(Options& o, const std::string& text) {
    if (text != "none" && text != "null")
        o.warnings.push_back("-parallel " + text + ": there is no parallel port");
    return {};
}

Complaint set_sandbox(Options& o, const std::string& text) {
    if (text.rfind("off", 0) != 0)
        o.warnings.push_back("-sandbox " + text + ": not built, the process is not confined");
    return {};
}

} // namespace

Result<Properties> read_config(const std::string& file) {
    const auto bad = [&](unsigned line, const std::string& what) {
        return Error{"-readconfig " + file + ": line " + std::to_string(line) + ": expected " + what};
    };
    std::ifstream in(file);
    if (!in) return Error{"-readconfig " + file + ": cannot be read (expected a file of options)"};
    Properties result;
    std::string line;
    for (unsigned number = 1; std::getline(in, line); ++number) {
        const std::size_t from = line.find_first_not_of(" \t\r");
        if (from == std::string::npos || line[from] == '#') continue;
        line = line.substr(from, line.find_last_not_of(" \t\r") + 1 - from);
        if (line[0] == '[') { // [drive "disk0"]
            if (line.back() != ']') return bad(number, "[SECTION] or [SECTION \"ID\"]");
            const std::size_t quote = line.find('"'), end = line.rfind('"');
            std::string name = line.substr(1, std::min(quote, line.size() - 1) - 1);
            name.erase(name.find_last_not_of(' ') + 1);
            if (name == "readconfig") return bad(number, "another section than readconfig");
            result.emplace_back(name, quote < end ? "id=" + line.substr(quote + 1, end - quote - 1) : "");
            continue;
        }
        const std::size_t equals = line.find('='), quote = line.find('"'), end = line.rfind('"');
        if (result.empty() || equals == std::string::npos || quote == std::string::npos || quote == end ||
            quote < equals)
            return bad(number, "KEY = \"VALUE\" below a [SECTION]");
        std::string key = line.substr(0, equals), value;
        key.erase(key.find_last_not_of(" \t") + 1);
        for (const char c : line.substr(quote + 1, end - quote - 1))
            value += std::string(c == ',' ? 2 : 1, c);
        std::string& text = result.back().second;
        text += (text.empty() ? "" : ",") + key + "=" + value;
    }
    return result;
}

std::span<const OptionRow> host_options() {
    static const std::vector<OptionRow> rows = {
        {"readconfig", "FILE", "options from a file: [drive \"ID\"] and lines KEY = \"VALUE\"", {}},
        {"pidfile", "FILE", "write the process number there",
         [](Options& o, const std::string& v) -> Complaint {
             o.pid_file = v;
             return file_name(v);
         }},
        {"daemonize", nullptr, "go on in the background when everything is open",
         [](Options& o, const std::string&) -> Complaint {
             o.daemonize = true;
             return {};
         }},
        {"action", "EVENT=ACTION", "reboot=reset|shutdown, shutdown=poweroff|pause", set_action},
        {"object", "TYPE,id=ID",
         "filter-dump,netdev=ID,file=FILE: what passes there, as pcap; others are accepted", set_object},
        {"uuid", "UUID", "accepted", set_uuid},
        {"parallel", "DEV", "none (there is no parallel port)", set_parallel},
        {"sandbox", "on|off", "accepted; the process is not confined", set_sandbox},
        {"usb", nullptr, "accepted; there is no USB", no_effect},
        {"usbdevice", "NAME", "accepted; there is no USB",
         without("usbdevice", "there is no USB; keyboard and mouse are PS/2")},
        {"audiodev", "...", "accepted; there is no sound", no_effect},
        {"audio", "...", "accepted; there is no sound", no_effect},
        {"soundhw", "NAME", "accepted; there is no sound", without("soundhw", "there is no sound")},
        {"smbios", "...", "accepted", without("smbios", "has no effect")},
        {"no-hpet", nullptr, "accepted", without("no-hpet", "the HPET stays")},
        {"no-acpi", nullptr, "accepted", without("no-acpi", "the ACPI tables stay")},
        {"watchdog-action", "ACTION", "accepted; there is no watchdog", no_effect},
        {"global", "DRIVER.PROPERTY=VALUE", "accepted", no_effect},
        {"overcommit", "...", "accepted", no_effect},
        {"mem-prealloc", nullptr, "accepted", no_effect},
        {"mem-path", "PATH", "accepted", no_effect},
        {"msg", "...", "accepted", no_effect},
        {"k", "LANGUAGE", "accepted: keys are sent by their place", no_effect},
        {"no-user-config", nullptr, "accepted: there are no files of options but -readconfig's", no_effect},
        {"no-fd-bootchk", nullptr, "accepted", no_effect},
        {"only-migratable", nullptr, "accepted", no_effect},
        {"compat", "...", "accepted", no_effect},
        {"seed", "N", "accepted", no_effect},
    };
    return rows;
}

} // namespace dragoman::runtime
