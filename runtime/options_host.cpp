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

Complaint add_rng(Options& o, const std::string& type, const Properties& properties) {
    std::string id, file = type == "rng-random" ? "/dev/urandom" : "";
    if (type != "rng-random" && type != "rng-builtin")
        return "rng-random or rng-builtin ('" + type + "' is not built; the nearest is rng-random)";
    for (const auto& [key, value] : properties)
        if (key == "id")
            id = value;
        else if (key == "filename" && type == "rng-random")
            file = value;
        else if (key != type && key != "qom-type")
            return "id=ID,filename=FILE; '" + key + "' is neither";
    if (id.empty() || o.rngs.count(id)) return "id=ID that is not in use";
    if (file.empty() && type == "rng-random") return "filename=FILE";
    o.rngs[id] = file;
    return {};
}

Complaint set_object(Options& o, const std::string& text) {
    const auto properties = properties_of(text);
    if (!properties || properties->empty()) return "TYPE,id=ID,... or a JSON object";
    std::string type = (*properties)[0].first;
    for (const auto& [key, value] : *properties)
        if (key == "qom-type") type = value;
    if (type == "filter-dump") return add_capture(o, *properties);
    if (type.rfind("rng-", 0) == 0) return add_rng(o, type, *properties);
    if (type == "secret") return add_secret(o, *properties);
    // Objects that only say how the host serves the guest.
    for (const char* known : {"memory-backend-ram", "memory-backend-file", "memory-backend-memfd", "iothread",
                              "throttle-group", "thread-context"})
        if (type == known) return {};
    return "filter-dump, rng-random, rng-builtin, memory-backend-ram, -file or -memfd, iothread or secret; "
           "'" +
           type + "' is not built";
}

Complaint set_sandbox(Options& o, const std::string& text) {
    const Properties words = key_values(text);
    const std::string& first = words[0].first == "enable" ? words[0].second : words[0].first;
    const auto on = parse_on_off(first.empty() ? "no such thing" : first);
    if (!on) return "on or off";
    for (std::size_t n = 1; n < words.size(); ++n)
        if (words[n].second != "allow" && words[n].second != "deny" && words[n].second != "children")
            return "on, and WORD=allow or WORD=deny (everything is denied in any case)";
    o.sandbox = *on;
    return {};
}

Complaint set_overcommit(Options& o, const std::string& text) {
    for (const auto& [key, value] : key_values(text)) {
        const auto on = parse_on_off(value);
        if ((key != "mem-lock" && key != "cpu-pm") || !on) return "mem-lock=on|off,cpu-pm=on|off";
        if (*on) o.warnings.push_back("-overcommit " + key + "=on: has no effect");
    }
    return {};
}

} // namespace

Complaint set_action(Options& o, const std::string& text) {
    for (const auto& [event, action] : key_values(text)) {
        if (event == "reboot" && (action == "reset" || action == "shutdown"))
            o.no_reboot = action == "shutdown";
        else if (event == "shutdown" && (action == "poweroff" || action == "pause"))
            o.no_shutdown = action == "pause";
        else if (event == "panic") {
            if (const Complaint bad = set_panic_action(o, action)) return "panic=" + *bad;
        } else if (event == "watchdog") {
            if (const Complaint bad = set_watchdog_action(o, action)) return "watchdog=" + *bad;
        } else
            return "reboot=reset|shutdown, shutdown=poweroff|pause, panic=ACTION, watchdog=ACTION";
    }
    return {};
}

Complaint add_global(Options& o, const std::string& text) {
    GlobalOption global;
    const std::size_t dot = text.find('.'), equals = text.find('=');
    if (dot < equals && equals != std::string::npos) { // DRIVER.PROPERTY=VALUE
        global = {text.substr(0, dot), text.substr(dot + 1, equals - dot - 1), text.substr(equals + 1)};
    } else {
        for (const auto& [key, value] : key_values(text)) {
            if (key == "driver") global.driver = value;
            if (key == "property") global.property = value;
            if (key == "value") global.value = value;
        }
    }
    if (global.driver.empty() || global.property.empty())
        return "DRIVER.PROPERTY=VALUE, or driver=,property=,value=";
    o.globals.push_back(std::move(global));
    return {};
}

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
        {"action", "EVENT=ACTION",
         "reboot=reset|shutdown, shutdown=poweroff|pause, panic=, watchdog=", set_action},
        {"object", "TYPE,id=ID",
         "filter-dump,netdev=ID,file=FILE: what passes there, as pcap; others are accepted", set_object},
        {"sandbox", "on|off", "on: once it runs, the process opens, starts and connects nothing more",
         set_sandbox},
        {"runas", "USER", "go on as this user (or UID:GID) when everything is open",
         [](Options& o, const std::string& v) -> Complaint {
             o.run_as = v;
             if (v.empty()) return "the name of a user, or UID:GID";
             return {};
         }},
        {"audiodev", "...", "accepted; there is no sound", no_effect},
        {"audio", "...", "accepted; there is no sound", no_effect},
        {"soundhw", "NAME", "accepted; there is no sound", without("soundhw", "there is no sound")},
        {"no-hpet", nullptr, "the same as -machine hpet=off",
         [](Options& o, const std::string&) -> Complaint {
             o.hpet = false;
             return {};
         }},
        {"no-acpi", nullptr, "the same as -machine acpi=off",
         [](Options& o, const std::string&) -> Complaint {
             o.acpi = false;
             return {};
         }},
        {"global", "DRIVER.PROPERTY=VALUE", "a property of every device of this kind", {}},
        {"overcommit", "...", "accepted", set_overcommit},
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
