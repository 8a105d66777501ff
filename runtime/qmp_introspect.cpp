// What programs ask to learn what there is: commands, events, machines, processors, devices, objects.
#include "runtime/qmp_commands.h"

#include "frontend/x86/cpuid.h"
#include "runtime/option_table.h"

#include <algorithm>
#include <sstream>

namespace dragoman::runtime {

namespace {

using Type = Json::value_t;

constexpr const char* event_names[] = {
    "STOP",           "RESUME",          "SHUTDOWN",       "POWERDOWN",
    "RESET",          "WATCHDOG",        "GUEST_PANICKED", "GUEST_CRASHLOADED",
    "BALLOON_CHANGE", "VSERPORT_CHANGE", "DEVICE_DELETED"};

QmpAnswer query_commands(const QmpCall&) {
    Json list = Json::array();
    for (const auto table : qmp_tables())
        for (const QmpCommand& command : table)
            list.push_back({{"name", command.name}});
    return list;
}

QmpAnswer query_events(const QmpCall&) {
    Json list = Json::array();
    for (const char* name : event_names)
        list.push_back({{"name", name}});
    return list;
}

const char* schema_type(Type type) {
    switch (type) {
    case Type::string: return "str";
    case Type::boolean: return "bool";
    case Type::number_integer: return "int";
    case Type::array: return "[any]";
    default: return "any";
    }
}

// The form of QAPI's introspection: commands with the types of their arguments; what they return is not told.
QmpAnswer query_schema(const QmpCall&) {
    Json list = Json::array();
    for (const auto& [name, json] :
         {std::pair{"str", "string"}, {"bool", "boolean"}, {"int", "int"}, {"any", "value"}}) {
        if (std::string_view(json) == "value")
            list.push_back({{"name", name}, {"meta-type", "builtin"}, {"json-type", "value"}});
        else
            list.push_back({{"name", name}, {"meta-type", "builtin"}, {"json-type", json}});
    }
    list.push_back({{"name", "[any]"}, {"meta-type", "array"}, {"element-type", "any"}});
    list.push_back({{"name", "0"}, {"meta-type", "object"}, {"members", Json::array()}});
    for (const auto table : qmp_tables()) {
        for (const QmpCommand& command : table) {
            Json members = Json::array();
            for (const QmpArgument& argument : command.arguments) {
                Json member = {{"name", argument.name}, {"type", schema_type(argument.type)}};
                if (argument.optional) member["default"] = nullptr;
                members.push_back(std::move(member));
            }
            const std::string arguments = std::string(command.name) + "-arg";
            list.push_back({{"name", command.name},
                            {"meta-type", "command"},
                            {"arg-type", members.empty() ? "0" : arguments},
                            {"ret-type", "any"}});
            if (!members.empty())
                list.push_back(
                    {{"name", arguments}, {"meta-type", "object"}, {"members", std::move(members)}});
        }
    }
    for (const char* name : event_names)
        list.push_back({{"name", name}, {"meta-type", "event"}, {"arg-type", "0"}});
    return list;
}

QmpAnswer query_machines(const QmpCall&) {
    return Json::array({{{"name", "pc"},
                         {"is-default", true},
                         {"cpu-max", 1},
                         {"hotpluggable-cpus", false},
                         {"numa-mem-supported", false},
                         {"deprecated", false},
                         {"default-cpu-type", "max-x86_64-cpu"},
                         {"default-ram-id", "pc.ram"}}});
}

QmpAnswer query_cpu_definitions(const QmpCall&) {
    Json list = Json::array();
    for (const std::string& name : x86::model_names())
        list.push_back({{"name", name},
                        {"typename", name + "-x86_64-cpu"},
                        {"migration-safe", true},
                        {"static", false},
                        {"deprecated", false},
                        {"unavailable-features", Json::array()}});
    return list;
}

const QmpArgument options_arguments[] = {{"option", Type::string, true}};
QmpAnswer query_command_line_options(const QmpCall& call) {
    Json list = Json::array();
    for (const OptionRow* row : option_rows())
        if (row->argument && (!call.has("option") || call.text("option") == row->name))
            list.push_back({{"option", row->name}, {"parameters", Json::array()}});
    if (call.has("option") && list.empty())
        return generic_error("there is no option '" + call.text("option") + "'");
    return list;
}

const QmpArgument types_arguments[] = {{"implements", Type::string, true}, {"abstract", Type::boolean, true}};
QmpAnswer qom_list_types(const QmpCall&) {
    Json list = Json::array();
    for (const std::string& name : device_names())
        list.push_back({{"name", name}, {"parent", "device"}});
    for (const char* object :
         {"rng-random", "rng-builtin", "filter-dump", "secret", "iothread", "memory-backend-ram"})
        list.push_back({{"name", object}, {"parent", "object"}});
    return list;
}

const QmpArgument typename_arguments[] = {{"typename", Type::string}};
QmpAnswer list_properties(const QmpCall& call) {
    const auto names = device_names();
    if (std::find(names.begin(), names.end(), call.text("typename")) == names.end())
        return QmpError{"DeviceNotFound", "there is no device '" + call.text("typename") + "'"};
    return Json::array({{{"name", "id"}, {"type", "str"}}, {{"name", "addr"}, {"type", "str"}}});
}

// The tree of objects: the machine, its processor, and the devices that have an id.
struct QomNode {
    std::string path, name, type;
};
std::vector<QomNode> qom_nodes(Emulator& emulator) {
    std::vector<QomNode> nodes = {{"/", "machine", "child<pc-machine>"},
                                  {"/machine", "unattached", "child<container>"},
                                  {"/machine", "peripheral", "child<container>"},
                                  {"/machine/unattached", "device[0]", "child<max-x86_64-cpu>"}};
    const Options& o = emulator.options();
    const auto add = [&](const std::string& id, const char* type) {
        if (!id.empty()) nodes.push_back({"/machine/peripheral", id, "child<" + std::string(type) + ">"});
    };
    for (const CardOption& card : o.cards)
        add(card.id, "pci-device");
    for (const PortOption& port : o.ports)
        add(port.id, port.console ? "virtconsole" : "virtserialport");
    return nodes;
}

std::string without_slash(std::string path) {
    while (path.size() > 1 && path.back() == '/')
        path.pop_back();
    return path;
}

const QmpArgument path_arguments[] = {{"path", Type::string}};
QmpAnswer qom_list(const QmpCall& call) {
    const std::string path = without_slash(call.text("path"));
    Json list = Json::array({{{"name", "type"}, {"type", "string"}}});
    bool known = path == "/" || path == "/objects";
    for (const QomNode& node : qom_nodes(call.emulator)) {
        if (node.path == path) list.push_back({{"name", node.name}, {"type", node.type}});
        known |= node.path == path || (node.path == "/" ? "" : node.path) + "/" + node.name == path;
    }
    if (!known) return QmpError{"DeviceNotFound", "there is no object '" + path + "'"};
    return list;
}

const QmpArgument get_arguments[] = {{"path", Type::string}, {"property", Type::string}};
QmpAnswer qom_get(const QmpCall& call) {
    const std::string path = without_slash(call.text("path"));
    for (const QomNode& node : qom_nodes(call.emulator)) {
        if ((node.path == "/" ? "" : node.path) + "/" + node.name != path) continue;
        if (call.text("property") == "type") return Json(node.type.substr(6, node.type.size() - 7));
        return generic_error("'" + path + "' has no property '" + call.text("property") + "'");
    }
    return QmpError{"DeviceNotFound", "there is no object '" + path + "'"};
}

QmpAnswer nothing(const QmpCall&) {
    return Json::array();
}

constexpr QmpCommand table[] = {
    {"query-commands", {}, query_commands},
    {"query-events", {}, query_events},
    {"query-qmp-schema", {}, query_schema},
    {"query-machines", {}, query_machines},
    {"query-cpu-definitions", {}, query_cpu_definitions},
    {"query-command-line-options", options_arguments, query_command_line_options},
    {"qom-list", path_arguments, qom_list},
    {"qom-get", get_arguments, qom_get},
    {"qom-list-types", types_arguments, qom_list_types},
    {"qom-list-properties", typename_arguments, list_properties},
    {"device-list-properties", typename_arguments, list_properties},
    // What the machine cannot have.
    {"query-iothreads", {}, nothing},
    {"query-memory-devices", {}, nothing},
    {"query-migrate-capabilities", {}, nothing},
    {"query-tpm-models", {}, nothing},
    {"query-tpm-types", {}, nothing},
    {"query-tpm", {}, nothing},
    {"query-block-jobs", {}, nothing},
    {"query-jobs", {}, nothing},
    {"query-acpi-ospm-status", {}, nothing},
    {"query-hotpluggable-cpus", {}, nothing},
};

} // namespace

std::span<const QmpCommand> qmp_introspection() {
    return table;
}

} // namespace dragoman::runtime
