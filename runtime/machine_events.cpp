#include "runtime/machine_events.h"

#include <algorithm>
#include <string_view>

namespace dragoman::runtime {

namespace {

constexpr u64 kInterval = 1'000'000'000; // ns
constexpr std::string_view limited_names[] = {"WATCHDOG",          "BALLOON_CHANGE",  "GUEST_PANICKED",
                                              "GUEST_CRASHLOADED", "VSERPORT_CHANGE", "DEVICE_TRAY_MOVED",
                                              "BLOCK_IO_ERROR"};

} // namespace

void MachineEvents::announce(const MachineEvent& event) {
    if (std::find(std::begin(limited_names), std::end(limited_names), event.name) == std::end(limited_names))
        return tell(event);
    std::string key = event.name;
    for (const auto& [name, value] : event.data)
        if (name == std::string_view("id")) key += ' ' + std::get<std::string>(value);
    limit(key, event);
}

void MachineEvents::limit(const std::string& key, const MachineEvent& event) {
    Limited& slot = limited_[key];
    if (slot.timer && slot.timer->armed()) {
        slot.waiting = std::make_unique<MachineEvent>(event);
        return;
    }
    if (!slot.timer)
        slot.timer = std::make_unique<hw::Timer>(scheduler_, [this, key] {
            if (const auto waiting = std::move(limited_[key].waiting)) limit(key, *waiting);
        });
    slot.timer->arm(scheduler_.now() + kInterval);
    tell(event);
}

void MachineEvents::tell(const MachineEvent& event) {
    for (const auto& listener : listeners_)
        listener(event);
}

} // namespace dragoman::runtime
