// The monitor's words for the passwords of VNC.
#include "runtime/monitor_commands.h"
#include "runtime/option_text.h"
#include "runtime/vnc_server.h"

#include <ctime>

namespace dragoman::runtime {

namespace {

std::string text_of(const Status& done) {
    return done ? "" : done.error().message + "\n";
}

} // namespace

Status set_vnc_password(Emulator& emulator, const std::string& protocol, const std::string& password) {
    if (protocol != "vnc") return Error{"expected the protocol vnc; '" + protocol + "' is not built"};
    if (!emulator.vnc()) return Error{"there is no VNC (-vnc)"};
    return emulator.vnc()->set_password(password);
}

Status expire_vnc_password(Emulator& emulator, const std::string& protocol, const std::string& time) {
    if (protocol != "vnc") return Error{"expected the protocol vnc; '" + protocol + "' is not built"};
    if (!emulator.vnc()) return Error{"there is no VNC (-vnc)"};
    const i64 now = i64(std::time(nullptr));
    const bool later = time.size() > 1 && time[0] == '+';
    const auto seconds = parse_number(later ? time.substr(1) : time);
    constexpr u64 kMost = u64{1} << 40;
    if (time == "never") return emulator.vnc()->expire_password(i64(kMost));
    if (time == "now") return emulator.vnc()->expire_password(0);
    if (!seconds || *seconds > kMost) return Error{"expected never, now, +SECONDS or SECONDS since 1970"};
    return emulator.vnc()->expire_password(i64(*seconds) + (later ? now : 0));
}

std::string monitor_set_password(const MonitorCall& call) {
    return text_of(set_vnc_password(call.emulator, call.arguments[0], call.arguments[1]));
}

std::string monitor_expire_password(const MonitorCall& call) {
    return text_of(expire_vnc_password(call.emulator, call.arguments[0], call.arguments[1]));
}

} // namespace dragoman::runtime
