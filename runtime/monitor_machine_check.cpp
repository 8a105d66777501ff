// The monitor's `mce`: an error for the guest's machine-check handler.
#include "frontend/x86/machine_check.h"
#include "runtime/monitor_commands.h"

#include <cstdlib>

namespace dragoman::runtime {

std::string monitor_machine_check(const MonitorCall& call) {
    static constexpr const char* names[] = {"CPU", "BANK", "STATUS", "MCGSTATUS", "ADDR", "MISC"};
    u64 values[6] = {};
    for (unsigned i = 0; i < call.arguments.size(); ++i) {
        const std::string& word = call.arguments[i];
        char* end = nullptr;
        values[i] = std::strtoull(word.c_str(), &end, 0);
        if (word.empty() || *end) return std::string(names[i]) + " is '" + word + "', expected a number\n";
    }
    if (values[0] != 0) return "CPU " + call.arguments[0] + ", expected 0: there is one\n";
    Vcpu& vcpu = call.emulator.vcpu();
    const std::string refused = x86::report_machine_check(vcpu.cpu(), {.bank = values[1],
                                                                       .status = values[2],
                                                                       .mcg_status = values[3],
                                                                       .address = values[4],
                                                                       .misc = values[5]});
    vcpu.kick();
    return refused.empty() ? "" : "not reported: " + refused + "\n";
}

} // namespace dragoman::runtime
