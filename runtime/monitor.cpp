#include "runtime/monitor.h"
#include "runtime/option_text.h"

#include "runtime/chardev_ring.h"
#include "runtime/monitor_commands.h"
#include "runtime/option_table.h"
#include "runtime/text.h"

#include <algorithm>
#include <utility>

namespace dragoman::runtime {

namespace {

constexpr const char* kPrompt = "(dragoman) ";

std::string help(const MonitorCall& call);
std::string info(const MonitorCall& call);

std::string stop(const MonitorCall& call) {
    call.emulator.stop_machine();
    return {};
}
std::string cont(const MonitorCall& call) {
    call.emulator.continue_machine();
    return {};
}
std::string quit(const MonitorCall& call) {
    call.emulator.quit(0);
    return {};
}
std::string system_reset(const MonitorCall& call) {
    call.emulator.request_reset();
    return {};
}
std::string system_powerdown(const MonitorCall& call) {
    call.emulator.press_power_button();
    return {};
}
std::string nmi(const MonitorCall& call) {
    call.emulator.vcpu().cpu().nmi_pending = true;
    call.emulator.vcpu().kick();
    return {};
}

std::string screendump(const MonitorCall& call) {
    std::string file, format; // names with spaces are taken as they are
    for (std::size_t n = 0; n < call.arguments.size(); ++n)
        if (call.arguments[n] == "-f" && n + 1 < call.arguments.size())
            format = call.arguments[++n];
        else
            file += (file.empty() ? "" : " ") + call.arguments[n];
    const Status done = call.emulator.screendump(file, format);
    return done ? "" : done.error().message + "\n";
}

// "mouse_move DX DY [DZ]"
std::string mouse_move(const MonitorCall& call) {
    int moves[3] = {};
    for (std::size_t n = 0; n < call.arguments.size(); ++n) {
        const std::string& text = call.arguments[n];
        const bool minus = text[0] == '-';
        const auto value = parse_number(text.substr(minus));
        if (!value || *value > 32767) return "'" + text + "': expected a number of counts\n";
        moves[n] = minus ? -int(*value) : int(*value);
    }
    call.emulator.pc().mouse().move(moves[0], moves[1], moves[2]);
    return {};
}
std::string mouse_button(const MonitorCall& call) {
    // 1 left, 2 middle, 4 right.
    const auto mask = parse_number(call.arguments[0]);
    if (!mask || *mask > 7)
        return "'" + call.arguments[0] + "': expected a sum of 1 (left), 2 (middle), 4 (right)\n";
    call.emulator.pc().mouse().buttons(u8((*mask & 1) | (*mask & 4) >> 1 | (*mask & 2) << 1));
    return {};
}

std::string boot_set(const MonitorCall& call) {
    if (call.arguments[0].find_first_not_of("acdn") != std::string::npos)
        return "'" + call.arguments[0] + "': expected letters of a, c, d, n\n";
    call.emulator.pc().set_boot_order(call.arguments[0]);
    return {};
}

std::string sendkey(const MonitorCall& call) {
    std::vector<hw::KeyCode> keys;
    const std::string& text = call.arguments[0];
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t end = std::min(text.find('-', at), text.size());
        const std::string name = text.substr(at, end - at);
        const auto key = hw::key_by_name(name);
        if (!key)
            return "'" + name + "': expected names of keys joined by '-', such as ctrl-alt-delete or a\n";
        keys.push_back(*key);
        at = end + 1;
    }
    call.emulator.press_keys(keys);
    return {};
}

std::string change_medium(const MonitorCall& call, const std::string& name, const std::string& file,
                          bool force) {
    const Status done = call.emulator.disks().change_medium(call.emulator.pc(), name, file, force);
    return done ? "" : done.error().message + "\n";
}
std::string eject(const MonitorCall& call) {
    const bool force = call.arguments[0] == "-f";
    if (call.arguments.size() != (force ? 2u : 1u)) return "expected [-f] DRIVE\n";
    return change_medium(call, call.arguments.back(), "", force);
}
std::string change(const MonitorCall& call) {
    if (call.arguments[0] == "vnc" && call.arguments[1] == "password" && call.arguments.size() == 3) {
        const Status done = set_vnc_password(call.emulator, "vnc", call.arguments[2]);
        return done ? "" : done.error().message + "\n";
    }
    if (call.arguments.size() > 2 && call.arguments[2] != "raw")
        return "expected DRIVE FILE [raw]: a disc has no other format\n";
    return change_medium(call, call.arguments[0], call.arguments[1], false);
}

std::string block_resize(const MonitorCall& call) {
    const auto bytes = parse_size(call.arguments[1], MiB);
    if (!bytes) return "expected DRIVE SIZE, a size in MiB or with K, M, G or T\n";
    const Status done = call.emulator.disks().resize(call.arguments[0], *bytes);
    return done ? "" : done.error().message + "\n";
}

std::string log(const MonitorCall& call) {
    if (call.rest == "none") {
        call.emulator.log().set_items(0);
        return {};
    }
    const auto items = parse_log_words(call.rest);
    if (!items) return "expected none or " + items.error().message + "\n";
    call.emulator.log().set_items(items.value());
    return {};
}

std::string balloon(const MonitorCall& call) {
    hw::VirtioBalloon* device = call.emulator.cards().balloon();
    const auto bytes = parse_size(call.arguments[0], MiB);
    if (!device) return "there is no balloon (-device virtio-balloon-pci)\n";
    if (!bytes || !*bytes) return "'" + call.arguments[0] + "': expected a size in MiB\n";
    device->set_target(*bytes);
    return {};
}

std::string watchdog_action(const MonitorCall& call) {
    const auto bad = set_watchdog_action(call.emulator.options(), call.arguments[0]);
    return bad ? "'" + call.arguments[0] + "': expected " + *bad + "\n" : "";
}

std::string ringbuf_read(const MonitorCall& call) {
    auto* ring = dynamic_cast<RingBuffer*>(call.emulator.chardevs().find(call.arguments[0]));
    const auto bytes = parse_number(call.arguments[1]);
    if (!ring || !bytes) return "expected the name of a ring buffer (info chardev) and a number of bytes\n";
    const std::string text = ring->take(*bytes);
    return text.empty() || text.back() == '\n' ? text : text + "\n";
}

constexpr unsigned kAny = ~0u;

constexpr MonitorCommand commands[] = {
    {"help", "?", "[COMMAND]", 0, 1, "this list, or one command of it", help},
    {"info", "", "TOPIC [-FLAG]", 0, 2, "what there is to know; without a topic: the list of them", info},
    {"x", "", "/FMT ADDRESS", 1, kAny, "show memory; FMT: count, format x d u o c i, size b h w g",
     monitor_examine_linear},
    {"xp", "", "/FMT ADDRESS", 1, kAny, "the same by physical address", monitor_examine_physical},
    {"print", "p", "/FMT EXPRESSION", 1, kAny, "value of an expression, such as $rsp+8", monitor_print},
    {"stop", "s", "", 0, 0, "stop the machine", stop},
    {"cont", "c", "", 0, 0, "let it go on", cont},
    {"system_reset", "", "", 0, 0, "press the reset button", system_reset},
    {"system_powerdown", "", "", 0, 0, "press the power button", system_powerdown},
    {"sendkey", "", "KEY[-KEY...] [MS]", 1, 2, "press keys together, such as ctrl-alt-delete", sendkey},
    {"mouse_move", "", "DX DY [DZ]", 2, 3, "move the mouse, and turn its wheel", mouse_move},
    {"mouse_button", "", "MASK", 1, 1, "hold its buttons: 1 left, 2 middle, 4 right", mouse_button},
    {"boot_set", "", "LETTERS", 1, 1, "where the next start looks for a system: a, c, d, n", boot_set},
    {"set_password", "", "vnc PASSWORD [ACTION]", 2, 3, "for VNC viewers that come from now on",
     monitor_set_password},
    {"expire_password", "", "vnc TIME", 2, 2,
     "until when it counts: never, now, +SECONDS or SECONDS since 1970", monitor_expire_password},
    {"memsave", "", "ADDRESS BYTES FILE", 3, 3, "write memory to a file", monitor_memsave},
    {"pmemsave", "", "ADDRESS BYTES FILE", 3, 3, "the same by physical address", monitor_pmemsave},
    {"sum", "", "ADDRESS BYTES", 2, 2, "the 16-bit sum of physical memory, as of sum -r", monitor_sum},
    {"gva2gpa", "", "ADDRESS", 1, 1, "the physical address of a linear one", monitor_gva2gpa},
    {"i", "", "/FMT PORT", 1, 1, "read a port; FMT: size b h w", monitor_port_in},
    {"o", "", "/FMT PORT VALUE", 2, 2, "write a port", monitor_port_out},
    {"balloon", "", "MIB", 1, 1, "how much memory the guest shall keep", balloon},
    {"watchdog_action", "", "ACTION", 1, 1, "what happens when the watchdog runs out", watchdog_action},
    {"ringbuf_read", "", "NAME BYTES", 2, 2, "show what was written to a ring buffer", ringbuf_read},
    {"nmi", "", "[CPU]", 0, 1, "raise a non-maskable interrupt", nmi},
    {"mce", "", "CPU BANK STATUS MCGSTATUS ADDR MISC", 6, 6, "report a machine-check error",
     monitor_machine_check},
    {"screendump", "", "FILE [-f ppm|png]", 1, kAny,
     "write the screen to a file; without -f: png if the name ends so, else ppm", screendump},
    {"eject", "", "[-f] DRIVE", 1, 2, "take the disc out of a CD drive; -f: even if the guest locked it",
     eject},
    {"change", "", "DRIVE FILE [raw [MODE]]", 2, 4,
     "put another disc into a CD drive; change vnc password WORD", change},
    {"block_resize", "", "DRIVE SIZE", 2, 2, "make a disk larger; SIZE in MiB, or with K, M, G, T",
     block_resize},
    {"device_add", "", "NAME,id=ID[,...]", 1, kAny, "put a card into a free slot; as -device",
     monitor_device_add},
    {"device_del", "", "ID", 1, 1, "ask the guest to let go of a card", monitor_device_del},
    {"drive_add", "", "[ADDR] if=none,id=ID,file=FILE[,...]", 1, 2, "open an image for device_add; as -drive",
     monitor_drive_add},
    {"drive_del", "", "ID", 1, 1, "close an image that no device uses", monitor_drive_del},
    {"netdev_add", "", "KIND,id=ID[,...]", 1, kAny, "make a network for device_add; as -netdev",
     monitor_netdev_add},
    {"netdev_del", "", "ID", 1, 1, "end a network that no card uses", monitor_netdev_del},
    {"hostfwd_add", "", "[NETWORK] [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT", 1, 2,
     "a port of the host leads into the guest", monitor_hostfwd_add},
    {"hostfwd_remove", "", "[NETWORK] [tcp|udp]:[HOSTADDR]:HOSTPORT", 1, 2, "it does not any more",
     monitor_hostfwd_remove},
    {"set_link", "", "NETWORK on|off", 2, 2, "put the cable in, or pull it", monitor_set_link},
    {"log", "", "WORDS", 1, 1, "choose what is logged, as -d does; none: nothing", log},
    {"quit", "q", "", 0, 0, "end the emulator", quit},
};

std::string usage(const MonitorCommand& c, const char* before = "") {
    const bool slash = c.arguments[0] == '/';
    std::string left = std::string(before) + c.name + (*c.arguments && !slash ? " " : "") + c.arguments;
    if (*c.alias) left += std::string(", ") + c.alias;
    left.resize(std::max<std::size_t>(left.size() + 1, 26), ' ');
    return left + c.help + "\n";
}

std::string names(std::span<const MonitorCommand> table) {
    std::string text;
    for (const MonitorCommand& c : table)
        text += (text.empty() ? "" : " ") + std::string(c.name);
    return text;
}

const MonitorCommand* find(std::span<const MonitorCommand> table, const std::string& name) {
    const auto it = std::find_if(table.begin(), table.end(), [&](const MonitorCommand& c) {
        return name == c.name || (*c.alias && name == c.alias);
    });
    return it == table.end() ? nullptr : &*it;
}

std::string help(const MonitorCall& call) {
    std::string text;
    if (call.arguments.empty()) {
        for (const MonitorCommand& c : commands)
            text += usage(c);
        return text;
    }
    const MonitorCommand* command = find(commands, call.arguments[0]);
    if (!command) return "'" + call.arguments[0] + "': expected one of: " + names(commands) + "\n";
    text = usage(*command);
    if (command->run == info)
        for (const MonitorCommand& c : monitor_info_topics())
            text += usage(c, "info ");
    return text;
}

std::string info(const MonitorCall& call) {
    if (call.arguments.empty()) {
        std::string text;
        for (const MonitorCommand& c : monitor_info_topics())
            text += usage(c, "info ");
        return text;
    }
    // How much is shown, as flags elsewhere say it ("info block -v"), is always the same here.
    if (call.arguments.size() > 1 && call.arguments[1][0] != '-') return "expected info TOPIC [-FLAG]\n";
    const MonitorCommand* topic = find(monitor_info_topics(), call.arguments[0]);
    if (const std::string about = monitor_foreign_word("info " + call.arguments[0]); !topic && !about.empty())
        return about + "\n";
    if (!topic)
        return "info '" + call.arguments[0] + "': expected one of: " + names(monitor_info_topics()) + "\n";
    return topic->run(call);
}

std::vector<std::string> words(const std::string& line) {
    std::vector<std::string> result;
    for (std::size_t at = 0; (at = line.find_first_not_of(" \t", at)) != std::string::npos;) {
        const std::size_t end = std::min(line.find_first_of(" \t", at), line.size());
        result.push_back(line.substr(at, end - at));
        at = end;
    }
    return result;
}

} // namespace

std::string run_monitor_command(Emulator& emulator, const std::string& line) {
    MonitorCall call{emulator, "", words(line), ""};
    std::vector<std::string>& list = call.arguments;
    if (list.empty()) return {};
    std::string name = list[0];
    list.erase(list.begin());
    if (const std::size_t slash = name.find('/'); slash != std::string::npos) { // "x/4i" is "x /4i"
        list.insert(list.begin(), name.substr(slash));
        name.resize(slash);
    }
    const MonitorCommand* command = find(commands, name);
    if (const std::string about = monitor_foreign_word(name); !command && !about.empty())
        return "'" + name + "': not built, " + about + "\n";
    if (!command) return "'" + name + "': expected one of: " + names(commands) + "\n";
    if (command->arguments[0] == '/' && !list.empty() && list[0][0] == '/') {
        call.format = list[0].substr(1);
        list.erase(list.begin());
    }
    for (const std::string& word : list)
        call.rest += (call.rest.empty() ? "" : " ") + word;
    if (list.size() < command->least || list.size() > command->most) return "expected " + usage(*command);
    return command->run(call);
}

Monitor::Monitor(Emulator& emulator, Chardev& chardev) : emulator_(emulator), chardev_(chardev) {
    chardev_.attach(*this);
    chardev_.on_connect([this] { greet(); });
    if (chardev_.attended()) greet();
}

void Monitor::greet() {
    greeted_ = true;
    editor_ = {};
    print("Dragoman " DRAGOMAN_VERSION " monitor - type 'help' for the list of commands\n" +
          std::string(kPrompt));
}

void Monitor::receive(u8 byte) {
    if (!std::exchange(greeted_, true)) {
        greet();
        if (byte == '\r' || byte == '\n') return;
    }
    std::string echo;
    const auto line = editor_.take(byte, echo);
    if (line) echo += execute(*line) + kPrompt;
    print(echo);
}

void Monitor::print(const std::string& text) {
    std::string out;
    for (const char c : text)
        out += c == '\n' ? "\r\n" : std::string(1, c);
    if (!out.empty()) chardev_.write({reinterpret_cast<const u8*>(out.data()), out.size()});
}

} // namespace dragoman::runtime
