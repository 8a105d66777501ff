// The USB: -usb, -usbdevice and -device.
#include "runtime/option_table.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

constexpr const char* kKeyboard = "the keyboard is the PS/2 one";
constexpr const char* kMouse = "the mouse is the PS/2 one; usb-tablet is one that points without moving";
constexpr const char* kController = "devices of the USB are at a UHCI controller";

// What every second command line adds, and no guest misses.
struct Missing {
    const char* name;
    const char* instead;
};
constexpr Missing missing[] = {
    {"usb-kbd", kKeyboard},          {"usb-mouse", kMouse},           {"usb-hub", kController},
    {"ich9-usb-uhci1", kController}, {"ich9-usb-uhci2", kController}, {"ich9-usb-uhci3", kController},
    {"ich9-usb-ehci1", kController}, {"usb-ehci", kController},       {"nec-usb-xhci", kController},
    {"qemu-xhci", kController},      {"pci-ohci", kController},
};

Complaint add_tablet(Options& o, const Properties& properties) {
    static constexpr std::string_view known[] = {"id",   "bus",     "port",   "usb_version", "usb-version",
                                                 "head", "display", "serial", "msos-desc",   "attached"};
    for (const auto& [key, value] : properties)
        if (std::find(std::begin(known), std::end(known), key) == std::end(known))
            return "id=ID,bus=BUS,port=N; '" + key + "' is none of them";
    if (o.tablet) return "one tablet";
    o.usb = o.tablet = true;
    return {};
}

// Wherever it is wanted: it is a function of the PIIX3.
Complaint add_uhci(Options& o, const Properties&) {
    o.usb = true;
    return {};
}

Complaint set_usb_device(Options& o, const std::string& text) {
    if (text == "tablet") return o.tablet ? Complaint{} : add_tablet(o, {});
    if (text != "mouse" && text != "keyboard")
        return "tablet, mouse or keyboard; '" + text + "' is not built, the nearest is -drive or -nic";
    o.usb = true;
    o.warnings.push_back("-usbdevice " + text + ": not built, " + (text == "mouse" ? kMouse : kKeyboard));
    return {};
}

} // namespace

std::string without_usb_device(const std::string& name) {
    const auto* row = std::find_if(std::begin(missing), std::end(missing),
                                   [&](const Missing& m) { return name == m.name; });
    return row == std::end(missing) ? "" : row->instead;
}

std::span<const DeviceRow> usb_devices() {
    static const DeviceRow rows[] = {
        {"usb-tablet", "[,id=ID]", "a pointer that says where it is: for VNC", add_tablet},
        {"piix3-usb-uhci", "[,id=ID]", "the USB controller (-usb)", add_uhci},
        {"piix4-usb-uhci", "[,id=ID]", "the same", add_uhci},
    };
    return rows;
}

std::span<const OptionRow> usb_options() {
    static const OptionRow rows[] = {
        {"usb", nullptr, "a USB controller (UHCI)",
         [](Options& o, const std::string&) -> Complaint {
             o.usb = true;
             return {};
         }},
        {"usbdevice", "NAME", "tablet: the same as -device usb-tablet", set_usb_device},
    };
    return rows;
}

} // namespace dragoman::runtime
