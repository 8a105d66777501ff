// The monitor's words for cards that come and go.
#include "runtime/monitor_commands.h"

namespace dragoman::runtime {

namespace {

std::string text_of(const Status& done) {
    return done ? "" : done.error().message + "\n";
}

} // namespace

std::string monitor_device_add(const MonitorCall& call) {
    return text_of(call.emulator.hotplug().add_device(call.rest));
}

std::string monitor_device_del(const MonitorCall& call) {
    return text_of(call.emulator.hotplug().remove_device(call.arguments[0]));
}

// A PCI address before the drive, as scripts give it ("0", "dummy"), says nothing here.
std::string monitor_drive_add(const MonitorCall& call) {
    return text_of(call.emulator.hotplug().add_drive("drive", call.arguments.back()));
}

std::string monitor_drive_del(const MonitorCall& call) {
    return text_of(call.emulator.hotplug().remove_drive(call.arguments[0]));
}

std::string monitor_netdev_add(const MonitorCall& call) {
    return text_of(call.emulator.hotplug().add_network(call.rest));
}

std::string monitor_netdev_del(const MonitorCall& call) {
    return text_of(call.emulator.hotplug().remove_network(call.arguments[0]));
}

} // namespace dragoman::runtime
