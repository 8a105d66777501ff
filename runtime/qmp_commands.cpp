#include "runtime/qmp_commands.h"

#include "runtime/chardev_ring.h"
#include "runtime/monitor.h"
#include "runtime/monitor_commands.h"
#include "runtime/option_table.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

using Type = Json::value_t;

QmpAnswer done() {
    return Json::object();
}
QmpAnswer done(const Status& status) {
    if (status) return done();
    return generic_error(status.error().message);
}

const QmpArgument capabilities_arguments[] = {{"enable", Type::array, true}};
QmpAnswer capabilities(const QmpCall& call) {
    if (call.has("enable") && !call.arguments["enable"].empty())
        return generic_error("'enable': there are no capabilities to enable");
    return done();
}

QmpAnswer stop(const QmpCall& call) {
    call.emulator.stop_machine();
    return done();
}
QmpAnswer cont(const QmpCall& call) {
    call.emulator.continue_machine();
    return done();
}
QmpAnswer quit(const QmpCall& call) {
    call.emulator.quit(0, "host-qmp-quit");
    return done();
}
QmpAnswer system_reset(const QmpCall& call) {
    call.emulator.request_reset();
    return done();
}
QmpAnswer system_powerdown(const QmpCall& call) {
    call.emulator.press_power_button();
    return done();
}
QmpAnswer inject_nmi(const QmpCall& call) {
    call.emulator.vcpu().cpu().nmi_pending = true;
    call.emulator.vcpu().kick();
    return done();
}

const QmpArgument screendump_arguments[] = {{"filename", Type::string},
                                            {"format", Type::string, true},
                                            {"device", Type::string, true},
                                            {"head", Type::number_integer, true}};
QmpAnswer screendump(const QmpCall& call) {
    return done(call.emulator.screendump(call.text("filename"), call.text("format")));
}

const QmpArgument monitor_arguments[] = {{"command-line", Type::string},
                                         {"cpu-index", Type::number_integer, true}};
QmpAnswer human_monitor_command(const QmpCall& call) {
    return Json(run_monitor_command(call.emulator, call.text("command-line")));
}

const QmpArgument link_arguments[] = {{"name", Type::string}, {"up", Type::boolean}};
QmpAnswer set_link(const QmpCall& call) {
    const Status changed = call.emulator.networks().plug(call.text("name"), call.flag("up"));
    if (!changed) return QmpError{"DeviceNotFound", changed.error().message};
    return done();
}

// A drive is named by "device" (its own name) or by "id" (the device's, which is the same here).
QmpAnswer change_medium(const QmpCall& call, const std::string& file) {
    const std::string name = call.has("id") ? call.text("id") : call.text("device");
    if (name.empty()) return generic_error("expected 'device' or 'id'");
    return done(call.emulator.disks().change_medium(call.emulator.pc(), name, file, call.flag("force")));
}
const QmpArgument eject_arguments[] = {
    {"device", Type::string, true}, {"id", Type::string, true}, {"force", Type::boolean, true}};
QmpAnswer eject(const QmpCall& call) {
    return change_medium(call, "");
}
const QmpArgument change_arguments[] = {
    {"device", Type::string, true}, {"id", Type::string, true},     {"filename", Type::string},
    {"format", Type::string, true}, {"force", Type::boolean, true}, {"read-only-mode", Type::string, true}};
QmpAnswer blockdev_change_medium(const QmpCall& call) {
    if (call.text("filename").empty()) return generic_error("'filename': expected the name of a file");
    return change_medium(call, call.text("filename"));
}

const QmpArgument resize_arguments[] = {
    {"device", Type::string, true}, {"node-name", Type::string, true}, {"size", Type::number_integer}};
QmpAnswer block_resize(const QmpCall& call) {
    const std::string name = call.has("device") ? call.text("device") : call.text("node-name");
    if (name.empty()) return generic_error("expected 'device' or 'node-name'");
    const Json& size = call.arguments["size"];
    if (!size.is_number_unsigned()) return generic_error("'size': expected a number of bytes");
    return done(call.emulator.disks().resize(name, size.get<u64>()));
}

const QmpArgument device_arguments[] = {{"driver", Type::string}, {"id", Type::string, true}};
QmpAnswer device_add(const QmpCall& call) {
    return done(call.emulator.hotplug().add_device(call.arguments.dump()));
}
const QmpArgument id_arguments[] = {{"id", Type::string}};
QmpAnswer device_del(const QmpCall& call) {
    const Status asked = call.emulator.hotplug().remove_device(call.text("id"));
    if (!asked) return QmpError{"DeviceNotFound", asked.error().message};
    return done();
}
const QmpArgument netdev_arguments[] = {{"type", Type::string}, {"id", Type::string}};
QmpAnswer netdev_add(const QmpCall& call) {
    return done(call.emulator.hotplug().add_network(call.arguments.dump()));
}
QmpAnswer netdev_del(const QmpCall& call) {
    return done(call.emulator.hotplug().remove_network(call.text("id")));
}
const QmpArgument blockdev_arguments[] = {{"driver", Type::string}, {"node-name", Type::string}};
QmpAnswer blockdev_add(const QmpCall& call) {
    return done(call.emulator.hotplug().add_drive("blockdev", call.arguments.dump()));
}
const QmpArgument node_arguments[] = {{"node-name", Type::string}};
QmpAnswer blockdev_del(const QmpCall& call) {
    return done(call.emulator.hotplug().remove_drive(call.text("node-name")));
}

std::optional<hw::KeyCode> key_of(const Json& key) {
    if (!key.is_object() || key.value("type", Json()) != "qcode" || !key.contains("data") ||
        !key["data"].is_string())
        return std::nullopt;
    return hw::key_by_name(key["data"].get<std::string>());
}

const QmpArgument key_arguments[] = {{"keys", Type::array}, {"hold-time", Type::number_integer, true}};
QmpAnswer send_key(const QmpCall& call) {
    std::vector<hw::KeyCode> keys;
    for (const Json& key : call.arguments["keys"]) {
        const auto code = key_of(key);
        if (!code)
            return generic_error("'keys': expected objects {\"type\": \"qcode\", \"data\": NAME of a key}");
        keys.push_back(*code);
    }
    call.emulator.press_keys(keys);
    return done();
}

// One of the events of input-send-event: {"type": ..., "data": {...}}. What moves is told together, at the
// end.
struct PointerMove {
    bool any = false;
    int dx = 0, dy = 0, wheel = 0;
};
bool take_event(const QmpCall& call, const Json& event, PointerMove& move) {
    if (!event.is_object() || !event.contains("data") || !event["data"].is_object()) return false;
    const Json type = event.value("type", Json());
    const Json& data = event["data"];
    const Json down = data.value("down", Json()), axis = data.value("axis", Json()),
               value = data.value("value", Json()), button = data.value("button", Json());
    Emulator::Pointer& pointer = call.emulator.pointer();
    if (type == "key") {
        const auto key = key_of(data.value("key", Json()));
        if (!key || !down.is_boolean()) return false;
        call.emulator.pc().keyboard().key(*key, down.get<bool>());
        return true;
    }
    move.any = true;
    if (type == "btn" && down.is_boolean()) {
        static constexpr std::pair<const char*, u8> buttons[] = {
            {"left", 1}, {"right", 2}, {"middle", 4}, {"side", 8}, {"extra", 16}};
        if (button == "wheel-up" || button == "wheel-down") {
            if (down.get<bool>()) move.wheel += button == "wheel-up" ? -1 : 1;
            return true;
        }
        for (const auto& [name, mask] : buttons) {
            if (button != name) continue;
            pointer.buttons = u8(down.get<bool>() ? pointer.buttons | mask : pointer.buttons & ~mask);
            return true;
        }
        return false;
    }
    if ((axis != "x" && axis != "y") || !value.is_number_integer()) return false;
    const i64 number = std::clamp<i64>(value.get<i64>(), -32768, 32767);
    if (type == "abs" && number >= 0) {
        (axis == "x" ? pointer.x : pointer.y) = u16(number);
        return true;
    }
    if (type != "rel") return false;
    (axis == "x" ? move.dx : move.dy) += int(number);
    return true;
}
const QmpArgument event_arguments[] = {
    {"events", Type::array}, {"device", Type::string, true}, {"head", Type::number_integer, true}};
QmpAnswer input_send_event(const QmpCall& call) {
    PointerMove move;
    for (const Json& event : call.arguments["events"])
        if (!take_event(call, event, move))
            return generic_error(
                "'events': expected objects of the type key, btn, rel or abs and their data");
    if (!move.any) return done();
    const Emulator::Pointer& pointer = call.emulator.pointer();
    if (call.emulator.point(pointer.x, pointer.y, move.wheel, pointer.buttons)) return done();
    call.emulator.pc().mouse().buttons(pointer.buttons);
    call.emulator.pc().mouse().move(move.dx, move.dy, move.wheel);
    return done();
}

const QmpArgument password_arguments[] = {{"protocol", Type::string},
                                          {"password", Type::string},
                                          {"connected", Type::string, true},
                                          {"display", Type::string, true}};
QmpAnswer set_password(const QmpCall& call) {
    return done(set_vnc_password(call.emulator, call.text("protocol"), call.text("password")));
}
const QmpArgument vnc_password_arguments[] = {{"password", Type::string}};
QmpAnswer change_vnc_password(const QmpCall& call) {
    return done(set_vnc_password(call.emulator, "vnc", call.text("password")));
}
const QmpArgument expire_arguments[] = {
    {"protocol", Type::string}, {"time", Type::string}, {"display", Type::string, true}};
QmpAnswer expire_password(const QmpCall& call) {
    return done(expire_vnc_password(call.emulator, call.text("protocol"), call.text("time")));
}

const QmpArgument memory_arguments[] = {{"val", Type::number_integer},
                                        {"size", Type::number_integer},
                                        {"filename", Type::string},
                                        {"cpu-index", Type::number_integer, true}};
QmpAnswer save_memory(const QmpCall& call, bool linear) {
    return done(save_guest_memory(call.emulator, linear, u64(call.arguments["val"].get<i64>()),
                                  u64(call.arguments["size"].get<i64>()), call.text("filename")));
}

const QmpArgument object_arguments[] = {{"qom-type", Type::string}, {"id", Type::string}};
QmpAnswer object_add(const QmpCall& call) {
    auto more = with_option(call.emulator.options(), "object", call.arguments.dump());
    if (!more) return generic_error(more.error().message);
    if (more->captures.size() != call.emulator.options().captures.size())
        return generic_error("'filter-dump': expected at the start (-object)");
    call.emulator.options() = std::move(*more);
    return done();
}

const QmpArgument balloon_arguments[] = {{"value", Type::number_integer}};
QmpAnswer balloon(const QmpCall& call) {
    hw::VirtioBalloon* device = call.emulator.cards().balloon();
    if (!device) return QmpError{"DeviceNotActive", "there is no balloon (-device virtio-balloon-pci)"};
    const auto bytes = call.arguments["value"].get<i64>();
    if (bytes <= 0) return generic_error("'value': expected a number of bytes");
    device->set_target(u64(bytes));
    return done();
}

RingBuffer* ring_buffer(const QmpCall& call) {
    return dynamic_cast<RingBuffer*>(call.emulator.chardevs().find(call.text("device")));
}
QmpAnswer no_ring_buffer(const QmpCall& call) {
    return generic_error("'" + call.text("device") +
                         "' is no ring buffer (query-chardev lists what there is)");
}
const QmpArgument ring_read_arguments[] = {
    {"device", Type::string}, {"size", Type::number_integer}, {"format", Type::string, true}};
QmpAnswer ringbuf_read(const QmpCall& call) {
    RingBuffer* ring = ring_buffer(call);
    const auto size = call.arguments["size"].get<i64>();
    if (!ring) return no_ring_buffer(call);
    if (size <= 0) return generic_error("'size': expected a number of bytes");
    if (call.has("format") && call.text("format") != "utf8")
        return generic_error("'format': expected utf8 (base64 is not built)");
    return Json(ring->take(std::size_t(size)));
}
const QmpArgument ring_write_arguments[] = {
    {"device", Type::string}, {"data", Type::string}, {"format", Type::string, true}};
QmpAnswer ringbuf_write(const QmpCall& call) {
    RingBuffer* ring = ring_buffer(call);
    if (!ring) return no_ring_buffer(call);
    if (call.has("format") && call.text("format") != "utf8")
        return generic_error("'format': expected utf8 (base64 is not built)");
    ring->type(call.text("data"));
    return done();
}

const QmpArgument watchdog_arguments[] = {{"action", Type::string}};
QmpAnswer watchdog_set_action(const QmpCall& call) {
    if (const auto bad = set_watchdog_action(call.emulator.options(), call.text("action")))
        return generic_error("'action': expected " + *bad);
    return done();
}
const QmpArgument action_arguments[] = {{"reboot", Type::string, true},
                                        {"shutdown", Type::string, true},
                                        {"panic", Type::string, true},
                                        {"watchdog", Type::string, true}};
QmpAnswer set_actions(const QmpCall& call) {
    std::string list;
    for (const auto& [event, action] : call.arguments.items())
        list += (list.empty() ? "" : ",") + event + "=" + action.get<std::string>();
    if (const auto bad = set_action(call.emulator.options(), list)) return generic_error("expected " + *bad);
    return done();
}

const QmpCommand commands[] = {
    {"balloon", balloon_arguments, balloon},
    {"ringbuf-read", ring_read_arguments, ringbuf_read},
    {"ringbuf-write", ring_write_arguments, ringbuf_write},
    {"watchdog-set-action", watchdog_arguments, watchdog_set_action},
    {"set-action", action_arguments, set_actions},
    {"qmp_capabilities", capabilities_arguments, capabilities},
    {"stop", {}, stop},
    {"cont", {}, cont},
    {"quit", {}, quit},
    {"system_reset", {}, system_reset},
    {"system_powerdown", {}, system_powerdown},
    {"inject-nmi", {}, inject_nmi},
    {"screendump", screendump_arguments, screendump},
    {"human-monitor-command", monitor_arguments, human_monitor_command},
    {"set_link", link_arguments, set_link},
    {"eject", eject_arguments, eject},
    {"block_resize", resize_arguments, block_resize},
    {"device_add", device_arguments, device_add, true},
    {"device_del", id_arguments, device_del},
    {"netdev_add", netdev_arguments, netdev_add, true},
    {"netdev_del", id_arguments, netdev_del},
    {"blockdev-add", blockdev_arguments, blockdev_add, true},
    {"blockdev-del", node_arguments, blockdev_del},
    {"blockdev-change-medium", change_arguments, blockdev_change_medium},
    {"send-key", key_arguments, send_key},
    {"input-send-event", event_arguments, input_send_event},
    {"set_password", password_arguments, set_password},
    {"change-vnc-password", vnc_password_arguments, change_vnc_password},
    {"expire_password", expire_arguments, expire_password},
    {"memsave", memory_arguments, [](const QmpCall& call) { return save_memory(call, true); }},
    {"pmemsave", memory_arguments, [](const QmpCall& call) { return save_memory(call, false); }},
    {"object-add", object_arguments, object_add, true},
};

const char* type_name(Type type) {
    switch (type) {
    case Type::string: return "a string";
    case Type::boolean: return "true or false";
    case Type::number_integer: return "an integer";
    case Type::array: return "an array";
    default: return "an object";
    }
}

bool is_of(const Json& value, Type type) {
    return type == Type::number_integer ? value.is_number_integer() : value.type() == type;
}

std::optional<QmpError> check(const QmpCommand& command, const Json& arguments) {
    for (const auto& argument : arguments.items()) {
        const std::string& name = argument.key();
        const auto row = std::find_if(command.arguments.begin(), command.arguments.end(),
                                      [&](const QmpArgument& a) { return name == a.name; });
        if (row == command.arguments.end() && command.others) continue;
        if (row == command.arguments.end())
            return generic_error("'" + name + "' is no argument of " + command.name);
        if (!is_of(argument.value(), row->type))
            return generic_error("'" + name + "': expected " + type_name(row->type));
    }
    for (const QmpArgument& a : command.arguments)
        if (!a.optional && !arguments.contains(a.name))
            return generic_error(std::string("expected the argument '") + a.name + "', " + type_name(a.type));
    return {};
}

} // namespace

std::span<const QmpCommand> qmp_commands() {
    return commands;
}

std::array<std::span<const QmpCommand>, 3> qmp_tables() {
    return {qmp_commands(), qmp_queries(), qmp_introspection()};
}

QmpAnswer run_qmp_command(Emulator& emulator, const std::string& name, const Json& arguments) {
    for (const auto table : qmp_tables()) {
        for (const QmpCommand& command : table) {
            if (name != command.name) continue;
            if (const auto bad = check(command, arguments)) return *bad;
            return command.run({emulator, arguments});
        }
    }
    return QmpError{"CommandNotFound",
                    "'" + name + "': there is no such command (query-commands lists them)"};
}

} // namespace dragoman::runtime
