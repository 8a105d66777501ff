#include "runtime/option_table.h"

#include <algorithm>
#include <map>

namespace dragoman::runtime {

namespace {

// Every table of devices; a new group adds its name here.
constexpr std::span<const DeviceRow> (*device_tables[])() = {disk_devices, net_devices, card_devices,
                                                             isa_devices, usb_devices};

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

Complaint add_isa_parallel(Options& o, const Properties& properties) {
    o.parallel = "null";
    for (const auto& [key, value] : properties) {
        if (key == "chardev")
            o.parallel = "chardev:" + value;
        else if (key != "id" && key != "index" && key != "iobase" && key != "irq")
            return "chardev=ID; '" + key + "' is not that";
    }
    return {};
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
    static constexpr Row rows[] = {{"e1000", "the nearest is e1000"},
                                   {"secondary-vga", "the nearest is VGA (-vga std)"},
                                   {"bochs-display", "the nearest is VGA (-vga std)"},
                                   {"ramfb", "the nearest is VGA (-vga std)"},
                                   {"ati-vga", "the nearest is VGA (-vga std)"},
                                   {"tpm-", "there is no TPM"},
                                   {"ide-drive", "the nearest is ide-hd"},
                                   {"piix3-ide", "it is built in, as bus=ide.0 and ide.1"},
                                   {"piix4-ide", "the nearest is built in, as bus=ide.0 and ide.1"},
                                   {"isa-ide", "the nearest is built in, as bus=ide.0 and ide.1"},
                                   {"isa-fdc", "it is built in; drives are -device floppy"},
                                   {"sdhci-pci", "the nearest is ide-hd"},
                                   {"vfio-", "the host's devices stay the host's"},
                                   {"loader", "the nearest is -kernel or -fw_cfg"},
                                   {"vmcoreinfo", "nothing comes near"},
                                   {"vmgenid", "the nearest is -uuid"},
                                   {"nvdimm", "the nearest is virtio-blk-pci"},
                                   {"pc-dimm", "the nearest is -m"},
                                   {"virtio-mem", "the nearest is virtio-balloon-pci"},
                                   {"virtio-pmem", "the nearest is virtio-blk-pci"},
                                   {"virtio-crypto", "the nearest is virtio-rng-pci"},
                                   {"iommu", "nothing comes near"},
                                   {"ivshmem", "the nearest is virtio-9p-pci"},
                                   {"vmmouse", "the nearest is usb-tablet"},
                                   {"xio3130", "there is one PCI bus, cards go there"},
                                   {"pxb", "there is one PCI bus, cards go there"},
                                   {"dmi-to-pci-bridge", "there is one PCI bus, cards go there"},
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
                                   {"usb-", "the nearest on the USB is usb-tablet"},
                                   {"sb16", "there is no sound"},
                                   {"ES1370", "there is no sound"},
                                   {"virtio-9p", "the nearest is virtio-9p-pci"},
                                   {"ib700", "the nearest is i6300esb"},
                                   {"vhost-user-fs", "the nearest is virtio-9p-pci"},
                                   {"vhost-vsock", "the nearest is virtserialport"},
                                   {"virtio-keyboard", "a PS/2 keyboard is built in"},
                                   {"virtio-mouse", "a PS/2 mouse is built in"},
                                   {"virtio-tablet", "the nearest is usb-tablet"},
                                   {"usb-wacom-tablet", "the nearest is usb-tablet"},
                                   {"vhost", "the nearest is virtio-blk-pci"},
                                   {"pcie-root-port", "there is one PCI bus, cards go there"},
                                   {"pci-bridge", "there is one PCI bus, cards go there"}};
    for (const Row& row : rows)
        if (name.find(row.part) != std::string::npos) return "'" + name + "' is not, " + row.nearest;
    return "'" + name + "' is not, and nothing comes near";
}

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
    if (const std::string instead = without_usb_device(name); !instead.empty()) {
        o.warnings.push_back("-device " + name + ": not built, " + instead);
        return {};
    }
    return "a device that is built (see -device help); " + nearest_device(name);
}

} // namespace

Complaint set_slot(std::optional<unsigned>& slot, std::string value) {
    if (const std::size_t dot = value.find('.'); dot != std::string::npos) { // a function: there is one
        const std::string function = value.substr(dot + 1);
        if (function != "0" && function != "0x0") return "addr=SLOT or SLOT.0, a card's only function";
        value.resize(dot);
    }
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
        {"isa-parallel", ",chardev=ID", "a parallel port", add_isa_parallel},
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
        {"watchdog", "NAME", "the same for a watchdog",
         [](Options& o, const std::string& v) -> Complaint {
             if (v != "i6300esb") return "i6300esb; '" + v + "' is not built";
             return set_device(o, v);
         }},
    };
    return rows;
}

} // namespace dragoman::runtime
