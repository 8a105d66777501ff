// The monitor's view of networks.
#include "runtime/monitor_commands.h"

namespace dragoman::runtime {

namespace {

std::string text_of(const Status& done) {
    return done ? "" : done.error().message + "\n";
}

// "[NETWORK] WHAT"
std::string network_of(const MonitorCall& call) {
    return call.arguments.size() == 2 ? call.arguments[0] : "";
}

} // namespace

std::string monitor_info_network(const MonitorCall& call) {
    return call.emulator.networks().describe();
}

std::string monitor_hostfwd_add(const MonitorCall& call) {
    return text_of(call.emulator.networks().add_forward(network_of(call), call.arguments.back()));
}

std::string monitor_hostfwd_remove(const MonitorCall& call) {
    return text_of(call.emulator.networks().remove_forward(network_of(call), call.arguments.back()));
}

std::string monitor_set_link(const MonitorCall& call) {
    const std::string& state = call.arguments[1];
    if (state != "on" && state != "off") return "'" + state + "': expected on or off\n";
    return text_of(call.emulator.networks().plug(call.arguments[0], state == "on"));
}

} // namespace dragoman::runtime
