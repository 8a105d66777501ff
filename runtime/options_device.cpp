#include "runtime/option_table.h"

#include <algorithm>
#include <map>

namespace dragoman::runtime {

namespace {

// Every table of devices; a new group adds its name here.
constexpr std::span<const DeviceRow> (*device_tables[])() = {disk_devices, net_devices, card_devices,
                                                             isa_devices};

Complaint add_debug_exit(Options& o, const Properties& properties) {
    Options::DebugExit exit;
    for (const auto& [key, value] : properties) {
        const auto n = parse_number(value, 0);
        if (key == "iobase" && n && *n <= 0xffff)
            exit.iobase = u16(*n);
        else if (key == "iosize" && n && (*n == 1 || *n == 2 || *n == 4))
            exit.iosize = u32(*n);
        else
            return "iobase=PORT (0..0xffff),iosize=1, 2 or 4";
    }
    o.debug_exit = exit;
    return {};
}

Complaint add_debugcon(Options& o, const Properties& properties) {
    for (const auto& [key, value] : properties) {
        const auto n = parse_number(value, 0);
        if (key == "iobase" && n && *n <= 0xffff)
            o.debugcon_port = u16(*n);
        else if (key == "chardev")
            o.debugcon = "chardev:" + value;
        else if (key != "readback" && key != "id")
            return "iobase=PORT (0..0xffff),chardev=ID";
    }
    if (o.debugcon.empty()) o.debugcon = "stdio";
    return {};
}

Complaint add_isa_serial(Options& o, const Properties& properties) {
    std::string chardev = "null";
    for (const auto& [key, value] : properties) {
        if (key == "chardev")
            chardev = "chardev:" + value;
        else if (key != "id" && key != "index" && key != "iobase" && key != "irq")
            return "chardev=ID; '" + key + "' is not that";
    }
    return add_serial(o, chardev);
}

Complaint add_vga(Options& o, const Properties& properties) {
    for (const auto& [key, value] : properties)
        if (key != "id" && key != "addr" && key != "bus" && key != "vgamem_mb" && key != "edid" &&
            key != "xres" && key != "yres")
            return "no properties but id=; '" + key + "' is not that";
    o.vga = o.vga_given = true;
    return {};
}

// What people ask for that is not built, and what comes nearest.
std::string nearest_device(const std::string& name) {
    struct Row {
        const char* part; // of the name
        const char* nearest;
    };
    static constexpr Row rows[] = {{"e1000e", "the nearest is e1000"},
                                   {"igb", "the nearest is e1000"},
                                   {"vmxnet", "the nearest is virtio-net-pci"},
                                   {"ne2k", "the nearest is pcnet"},
                                   {"i82", "the nearest is e1000"},
                                   {"usb-net", "the nearest is virtio-net-pci"},
                                   {"scsi", "the nearest is virtio-blk-pci"},
                                   {"lsi53c", "the nearest is virtio-blk-pci"},
                                   {"megasas", "the nearest is virtio-blk-pci"},
                                   {"mptsas", "the nearest is virtio-blk-pci"},
                                   {"am53c974", "the nearest is virtio-blk-pci"},
                                   {"dc390", "the nearest is virtio-blk-pci"},
                                   {"sdhci", "the nearest is ide-hd"},
                                   {"sd-card", "the nearest is ide-hd"},
                                   {"usb-storage", "the nearest is ide-hd"},
                                   {"virtio-vga", "the nearest is VGA (-vga std)"},
                                   {"virtio-gpu", "the nearest is VGA (-vga std)"},
                                   {"qxl", "the nearest is VGA (-vga std)"},
                                   {"cirrus", "the nearest is VGA (-vga std)"},
                                   {"vmware-svga", "the nearest is VGA (-vga std)"},
                                   {"pci-serial", "the nearest is isa-serial"},
                                   {"hda", "there is no sound"},
                                   {"AC97", "there is no sound"},
                                   {"ac97", "there is no sound"},
                                   {"usb-audio", "there is no sound"},
                                   {"virtio-sound", "there is no sound"},
                                   {"usb-serial", "the nearest is isa-serial"},
                                   {"usb-host", "there is no USB"},
                                   {"usb-", "there is no USB"},
                                   {"sb16", "there is no sound"},
                                   {"ES1370", "there is no sound"},
                                   {"virtio-9p", "the nearest is virtio-9p-pci"},
                                   {"ib700", "the nearest is i6300esb"},
                                   {"vhost-user-fs", "the nearest is virtio-9p-pci"},
                                   {"vhost-vsock", "the nearest is virtserialport"},
                                   {"virtio-keyboard", "a PS/2 keyboard is built in"},
                                   {"virtio-mouse", "a PS/2 mouse is built in"},
                                   {"virtio-tablet", "a PS/2 mouse is built in"},
                                   {"vhost", "the nearest is virtio-blk-pci"},
                                   {"pcie-root-port", "there is one PCI bus, cards go there"},
                                   {"pci-bridge", "there is one PCI bus, cards go there"}};
    for (const Row& row : rows)
        if (name.find(row.part) != std::string::npos) return "'" + name + "' is not, " + row.nearest;
    return "'" + name + "' is not";
}

// Controllers and devices that every second command line adds, and that no guest needs here.
constexpr const char* usb_devices[] = {"piix3-usb-uhci", "piix4-usb-uhci", "ich9-usb-uhci1", "ich9-usb-uhci2",
                                       "ich9-usb-uhci3", "ich9-usb-ehci1", "usb-ehci",       "nec-usb-xhci",
                                       "qemu-xhci",      "pci-ohci",       "usb-tablet",     "usb-mouse",
                                       "usb-kbd",        "usb-hub"};

Complaint set_device(Options& o, const std::string& text) {
    auto parsed = properties_of(text);
    if (!parsed || parsed->empty()) return "NAME,KEY=VALUE,... or a JSON object";
    Properties properties = std::move(*parsed);
    // "driver" may be named, as in JSON and in files of -readconfig.
    const auto driver =
        std::find_if(properties.begin(), properties.end(), [](const auto& p) { return p.first == "driver"; });
    if (driver != properties.end()) std::rotate(properties.begin(), driver, driver + 1);
    const std::string name = driver != properties.end() ? properties[0].second : properties[0].first;
    if (name == "help" || name == "?") {
        o.action = Options::Action::DeviceHelp;
        return {};
    }
    properties.erase(properties.begin());
    for (const GlobalOption& g : o.globals) {
        const bool given = std::any_of(properties.begin(), properties.end(),
                                       [&](const auto& p) { return p.first == g.property; });
        if (g.driver == name && !given) properties.emplace_back(g.property, g.value);
    }
    for (const auto table : device_tables) {
        for (const DeviceRow& row : table()) {
            if (name != row.name) continue;
            const std::size_t disks = o.disks.size(), ahcis = o.ahci.size(), nics = o.nics.size(),
                              cards = o.cards.size(), ports = o.ports.size();
            const Complaint bad = row.add(o, properties);
            if (o.disks.size() > disks) o.disks.back().given = "-device " + text;
            if (o.ahci.size() > ahcis) o.ahci.back().given = "-device " + text;
            if (o.nics.size() > nics) o.nics.back().given = "-device " + text;
            if (o.cards.size() > cards) o.cards.back().given = "-device " + text;
            if (o.ports.size() > ports) o.ports.back().given = "-device " + text;
            return bad;
        }
    }
    if (std::find(std::begin(usb_devices), std::end(usb_devices), name) != std::end(usb_devices)) {
        o.warnings.push_back("-device " + name + ": there is no USB; keyboard and mouse are PS/2");
        return {};
    }
    return "a device that is built (see -device help); " + nearest_device(name);
}

} // namespace

Complaint set_slot(std::optional<unsigned>& slot, std::string value) {
    if (value.size() > 2 && value.substr(value.size() - 2) == ".0") value.resize(value.size() - 2);
    const auto n = parse_number(value, value.rfind("0x", 0) == 0 ? 0 : 16);
    if (!n || *n < 2 || *n > 31) return "addr=SLOT, hexadecimal, from 2 to 1f";
    slot = unsigned(*n);
    return {};
}

Complaint set_boot_index(std::optional<unsigned>& index, const std::string& value) {
    const auto n = parse_number(value);
    if (!n || *n > 0x7fffffff) return "bootindex=NUMBER, the lowest first";
    index = unsigned(*n);
    return {};
}

Status check_slots(const Options& o) {
    std::map<unsigned, std::string> taken;
    if (o.vga) taken[2] = "the display";
    const auto take = [&](std::optional<unsigned> slot, const std::string& given) -> Status {
        if (!slot || taken.emplace(*slot, "'" + given + "'").second) return Ok{};
        return Error{given + ": expected a PCI slot of its own; this one is taken by " + taken[*slot]};
    };
    for (const DiskDevice& disk : o.disks)
        if (auto s = take(disk.slot, disk.given); !s) return s;
    for (const DiskController& controller : o.ahci)
        if (auto s = take(controller.slot, controller.given); !s) return s;
    for (const NicOption& nic : o.nics)
        if (auto s = take(nic.slot, nic.given); !s) return s;
    for (const CardOption& card : o.cards)
        if (auto s = take(card.slot, card.given); !s) return s;
    if (o.disks.size() + o.ahci.size() + o.nics.size() + o.cards.size() > 28)
        return Error{"-device: expected at most 28 PCI cards"};
    return Ok{};
}

std::span<const DeviceRow> isa_devices() {
    static const DeviceRow rows[] = {
        {"isa-debug-exit", ",iobase=PORT,iosize=N",
         "a write of V ends the emulator with exit status (V << 1) | 1", add_debug_exit},
        {"isa-serial", ",chardev=ID", "a serial port", add_isa_serial},
        {"VGA", "", "the display (-vga std)", add_vga},
        {"isa-debugcon", ",iobase=PORT", "what is written to the port goes to the debug console",
         add_debugcon},
    };
    return rows;
}

std::vector<std::string> device_names() {
    std::vector<std::string> names;
    for (const auto table : device_tables)
        for (const DeviceRow& row : table())
            names.emplace_back(row.name);
    return names;
}

std::string device_help_text() {
    std::string text;
    for (const auto table : device_tables) {
        for (const DeviceRow& row : table()) {
            std::string left = std::string(row.name) + row.properties;
            left.resize(std::max<std::size_t>(left.size() + 1, 38), ' ');
            text += left + row.help + "\n";
        }
    }
    return text;
}

std::span<const OptionRow> device_options() {
    static const OptionRow rows[] = {
        {"device", "NAME[,...]", "add a device; help lists them", set_device},
    };
    return rows;
}

} // namespace dragoman::runtime
