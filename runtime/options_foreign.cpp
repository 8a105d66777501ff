// Options of other emulators that scripts carry along: those that change nothing here, and those that are not
// built, with what comes nearest.
#include "runtime/option_table.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

using enum ForeignOption::Fate;
constexpr ForeignOption options[] = {
    // Nothing changes.
    {"alt-grab", false, Ignored, ""},
    {"ctrl-grab", false, Ignored, ""},
    {"enable-fips", false, Ignored, ""},
    {"enable-sync-profile", false, Ignored, ""},
    {"full-screen", false, Ignored, ""},
    {"no-frame", false, Ignored, ""},
    {"no-kvm", false, Ignored, ""},
    {"no-kvm-irqchip", false, Ignored, ""},
    {"no-kvm-pit", false, Ignored, ""},
    {"no-kvm-pit-reinjection", false, Ignored, ""},
    {"no-quit", false, Ignored, ""},
    {"nodefconfig", false, Ignored, ""},
    {"one-insn-per-tb", false, Ignored, ""},
    {"rtc-td-hack", false, Ignored, ""},
    {"show-cursor", false, Ignored, ""},
    {"singlestep", false, Ignored, ""},
    {"trace", true, Ignored, ""},
    {"win2k-hack", false, Ignored, ""},
    {"xen-domid-restrict", false, Ignored, ""},
    // The machine starts without what they ask for.
    {"g", true, Warned, "the guest chooses the size of its screen"},
    {"icount", true, Warned, "virtual time follows the host's clock"},
    // Not built.
    {"acpitable", true, Refused, "the ACPI tables are the machine's own"},
    {"add-fd", true, Refused, "the nearest is a file by its name, or fd= of -chardev and -netdev tap"},
    {"balloon", true, Refused, "the nearest is -device virtio-balloon-pci"},
    {"bt", true, Refused, "there is no Bluetooth"},
    {"chroot", true, Refused, "the nearest is -sandbox on"},
    {"curses", false, Refused, "the nearest is -nographic"},
    {"dtb", true, Refused, "a PC has no device tree"},
    {"incoming", true, Refused, "machines are not moved from one emulator to another"},
    {"loadvm", true, Refused, "the state of a machine is not saved; the nearest is -snapshot"},
    {"mtdblock", true, Refused, "the nearest is -drive"},
    {"plugin", true, Refused, "the nearest is -d"},
    {"preconfig", false, Refused, "the nearest is -S"},
    {"prom-env", true, Refused, "a PC has no OpenBIOS"},
    {"qtest", true, Refused, "the nearest is -qmp"},
    {"redir", true, Refused, "the nearest is -nic user,hostfwd="},
    {"run-with", true, Refused, "the nearest is -runas"},
    {"sd", true, Refused, "the nearest is -drive"},
    {"sdl", false, Refused, "the nearest is -display sdl"},
    {"semihosting", false, Refused, "the nearest is -device isa-debug-exit"},
    {"set", true, Refused, "the nearest is -global"},
    {"smb", true, Refused, "the nearest is -virtfs"},
    {"spice", true, Refused, "the nearest is -vnc"},
    {"tftp", true, Refused, "the nearest is -nic user,tftp="},
    {"tpmdev", true, Refused, "there is no TPM"},
    {"virtioconsole", true, Refused, "the nearest is -device virtconsole"},
    {"writeconfig", true, Refused, "-readconfig reads what it wrote elsewhere"},
    {"xen-attach", false, Refused, "there is no Xen below"},
    {"xen-domid", true, Refused, "there is no Xen below"},
};

} // namespace

const ForeignOption* find_foreign(const std::string& name) {
    const auto* row = std::find_if(std::begin(options), std::end(options),
                                   [&](const ForeignOption& f) { return name == f.name; });
    return row == std::end(options) ? nullptr : row;
}

} // namespace dragoman::runtime
