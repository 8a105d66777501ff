// Starting, stopping and ending the machine, and what the guest, its watchdog and its user ask for.
#include "runtime/emulator.h"

#include "hw/pvpanic.h"

#include <atomic>
#include <cstdio>
#include <string_view>
#include <utility>

namespace dragoman::runtime {

namespace {

// Causes as QMP names them: "guest-shutdown", "guest-reset", "guest-panic", "host-qmp-quit",
// "host-qmp-system-reset", "host-ui", "host-error".
bool is_guests(const char* cause) {
    return std::string_view(cause).starts_with("guest-");
}
MachineEvent shutdown_event(const char* cause) {
    return {"SHUTDOWN", {{"guest", is_guests(cause)}, {"reason", std::string(cause)}}};
}

} // namespace

void Emulator::take(Request request) {
    requests_ |= u8(request);
    if (vcpu_) vcpu_->kick();
}

void Emulator::carry_out() {
    const u8 requests = std::exchange(requests_, u8{0});
    const auto asked = [&](Request r) { return requests & u8(r); };
    const bool reset = asked(Request::Reset) || asked(Request::HostReset);
    const char* const cause = asked(Request::HostReset) ? "host-qmp-system-reset" : "guest-reset";
    if (asked(Request::Ejected)) hotplug_.finish_removals();
    if (asked(Request::Exit)) {
        quit(*exit_status_, "guest-shutdown");
    } else if (asked(Request::PowerOff)) {
        if (!options_.no_shutdown) return quit(0, "guest-shutdown");
        events_.announce(shutdown_event("guest-shutdown"));
        stop_as("shutdown");
    } else if (asked(Request::Panic)) {
        act_on_panic();
    } else if (asked(Request::Watchdog)) {
        act_on_watchdog();
    } else if (reset || asked(Request::Init)) {
        if (reset && options_.no_reboot) return quit(0, cause);
        if (reset) {
            events_.announce({"RESET", {{"guest", is_guests(cause)}, {"reason", std::string(cause)}}});
            pc_->set_boot_order(options_.boot_order);
        }
        if (auto s = boot(); !s) std::fprintf(stderr, "dragoman: %s\n", s.error().message.c_str());
    }
}

void Emulator::stop_machine(StopReason why) {
    if (!running_) return;
    running_ = false;
    stopped_as_ = why == StopReason::Requested ? "paused" : "debug";
    clock_.stop();
    time_changed();
    vcpu_->request_stop();
    events_.announce({"STOP", {}});
    if (stop_listener_) stop_listener_(why);
}

void Emulator::step_machine() {
    step_ = true;
    vcpu_->kick();
}

void Emulator::continue_machine() {
    if (!std::exchange(running_, true)) events_.announce({"RESUME", {}});
    disks_.retry();
    clock_.go();
    time_changed();
    vcpu_->kick();
}

void Emulator::quit(int status, const char* cause) {
    exit_status_ = status;
    vcpu_->request_stop();
    events_.announce(shutdown_event(cause));
}

void Emulator::press_power_button() {
    pc_->power().press_power_button();
    events_.announce({"POWERDOWN", {}});
}

void Emulator::stop_as(const char* status) {
    stop_machine();
    stopped_as_ = status;
}

void Emulator::take_panic(u8 events) {
    panic_ |= events;
    take(Request::Panic);
}

void Emulator::watchdog_expired() {
    take(Request::Watchdog);
}

void Emulator::act_on_panic() {
    const u8 what = std::exchange(panic_, u8{0});
    if (!(what & hw::kPanicked)) {
        events_.announce({"GUEST_CRASHLOADED", {{"action", std::string("run")}}});
        return;
    }
    const PanicAction action = options_.panic_action;
    const bool ends = action == PanicAction::Shutdown || action == PanicAction::ExitFailure;
    const char* const word = action == PanicAction::None                            ? "run"
                             : action == PanicAction::Pause || options_.no_shutdown ? "pause"
                                                                                    : "poweroff";
    events_.announce({"GUEST_PANICKED", {{"action", std::string(word)}}});
    if (ends && !options_.no_shutdown)
        quit(action == PanicAction::ExitFailure ? 1 : 0, "guest-panic");
    else if (action != PanicAction::None)
        stop_as("guest-panicked");
}

void Emulator::act_on_watchdog() {
    static constexpr const char* names[] = {"reset", "shutdown", "poweroff",  "pause",
                                            "debug", "none",     "inject-nmi"};
    const WatchdogAction action = options_.watchdog_action;
    events_.announce({"WATCHDOG", {{"action", std::string(names[unsigned(action)])}}});
    switch (action) {
    case WatchdogAction::Reset: take(Request::Reset); break;
    case WatchdogAction::Shutdown: press_power_button(); break;
    case WatchdogAction::Poweroff: quit(0, "host-error"); break;
    case WatchdogAction::Pause: stop_as("watchdog"); break;
    case WatchdogAction::Debug: std::fprintf(stderr, "dragoman: the watchdog has run out\n"); break;
    case WatchdogAction::Nmi:
        vcpu_->cpu().nmi_pending = true;
        vcpu_->kick();
        break;
    case WatchdogAction::None: break;
    }
}

} // namespace dragoman::runtime
