// The commands of QMP as a table: names, arguments, functions.
#pragma once

#include "runtime/emulator.h"

#include <array>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <variant>

namespace dragoman::runtime {

using Json = nlohmann::json;

struct QmpError {
    const char* kind; // one of the protocol's error classes
    std::string text;
};
inline QmpError generic_error(std::string text) {
    return {"GenericError", std::move(text)};
}

using QmpAnswer = std::variant<Json, QmpError>;

struct QmpCall {
    Emulator& emulator;
    const Json& arguments; // an object whose members are of the types that the command's row names

    bool has(const char* name) const { return arguments.contains(name); }
    std::string text(const char* name) const { return arguments.value(name, std::string()); }
    bool flag(const char* name) const { return arguments.value(name, false); }
};

struct QmpArgument {
    const char* name;
    Json::value_t type;
    bool optional = false;
};

struct QmpCommand {
    const char* name;
    std::span<const QmpArgument> arguments;
    QmpAnswer (*run)(const QmpCall&);
    bool others = false; // there may be further arguments: properties of what is made
};

std::span<const QmpCommand> qmp_commands();
Json qmp_version();

// Checks the arguments, and runs the command.
QmpAnswer run_qmp_command(Emulator& emulator, const std::string& name, const Json& arguments);

// The queries: qmp_query.cpp, and qmp_introspect.cpp for what asks about QMP itself.
std::span<const QmpCommand> qmp_queries();
std::span<const QmpCommand> qmp_introspection();
// All tables.
std::array<std::span<const QmpCommand>, 3> qmp_tables();

} // namespace dragoman::runtime
