// Disks as devices: -device ide-hd and the like, and where the drives of -drive go.
#include "runtime/option_table.h"

#include <algorithm>
#include <array>

namespace dragoman::runtime {

namespace {

using Interface = DriveOption::Interface;
using Model = DiskDevice::Model;

// Properties that have no effect on what the guest of this machine can see.
bool ignored(const std::string& key) {
    static constexpr const char* names[] = {"write-cache",
                                            "iothread",
                                            "physical_block_size",
                                            "logical_block_size",
                                            "min_io_size",
                                            "opt_io_size",
                                            "cyls",
                                            "heads",
                                            "secs",
                                            "bios-chs-trans",
                                            "discard",
                                            "scsi",
                                            "config-wce",
                                            "queue-size",
                                            "event_idx",
                                            "indirect_desc",
                                            "seg-max-adjust",
                                            "share-rw",
                                            "werror",
                                            "rerror",
                                            "model",
                                            "ver",
                                            "wwn",
                                            "romfile",
                                            "rombar",
                                            "multifunction",
                                            "ioeventfd",
                                            "vectors",
                                            "packed",
                                            "iommu_platform",
                                            "ats",
                                            "request-merging",
                                            "rotation_rate",
                                            "acpi-index",
                                            "cmb_size_mb",
                                            "max_ioqpairs",
                                            "num_queues",
                                            "msix_qsize",
                                            "use-intel-id",
                                            "mdts",
                                            "nsid"};
    return std::any_of(std::begin(names), std::end(names), [&](const char* name) { return key == name; });
}

Complaint add_device(Options& o, Model model, const Properties& properties) {
    DiskDevice disk;
    disk.model = model;
    const bool pci = model == Model::VirtioBlk || model == Model::Nvme;
    for (const auto& [key, value] : properties) {
        if (key == "id") {
            disk.id = value;
        } else if (key == "drive") {
            disk.drive_id = value;
        } else if (key == "serial") {
            disk.serial = value;
        } else if (key == "bus") {
            if (!pci) disk.bus = value; // there is one PCI bus
        } else if (key == "unit" && !pci) {
            const auto n = parse_number(value);
            if (!n || *n > 5) return "unit=NUMBER";
            disk.place = unsigned(*n);
        } else if (key == "bootindex") {
            if (const Complaint bad = set_boot_index(disk.boot_index, value)) return bad;
        } else if (key == "addr" && pci) {
            if (const Complaint bad = set_slot(disk.slot, value)) return bad;
        } else if (key == "num-queues" && model == Model::VirtioBlk) {
            const auto n = parse_number(value);
            if (!n || *n < 1 || *n > 16) return "num-queues=1 to 16";
            disk.queues = unsigned(*n);
        } else if ((key == "disable-legacy" || key == "disable-modern") && model == Model::VirtioBlk) {
            const auto off = value == "auto" ? std::optional(false) : parse_on_off(value);
            if (!off) return key + "=on, off or auto";
            (key == "disable-legacy" ? disk.legacy : disk.modern) = !*off;
        } else if (!ignored(key)) {
            return std::string("drive=ID,serial=TEXT") + (pci ? ",addr=SLOT" : ",bus=BUS,unit=N") +
                   (model == Model::VirtioBlk ? ",num-queues=N,disable-legacy=,disable-modern=" : "") +
                   "; '" + key + "' is none of them";
        }
    }
    if (!disk.legacy && !disk.modern) return "disable-legacy or disable-modern, not both";
    if (model == Model::Nvme && disk.serial.empty()) return "serial=TEXT";
    // An NVMe controller may get its namespace from a device of its own.
    if (disk.drive_id.empty() && model != Model::IdeCd && model != Model::Floppy && model != Model::Nvme)
        return "drive=ID of a -drive or -blockdev";
    o.disks.push_back(std::move(disk));
    return {};
}

template <Model model> Complaint add(Options& o, const Properties& properties) {
    return add_device(o, model, properties);
}

template <bool legacy, bool modern> Complaint add_virtio(Options& o, const Properties& properties) {
    if (const Complaint bad = add_device(o, Model::VirtioBlk, properties)) return bad;
    o.disks.back().legacy = legacy;
    o.disks.back().modern = modern;
    return {};
}

Complaint add_namespace(Options& o, const Properties& properties) {
    std::string drive, bus;
    for (const auto& [key, value] : properties) {
        if (key == "drive")
            drive = value;
        else if (key == "bus")
            bus = value;
        else if (key != "id" && key != "nsid" && key != "bootindex" && key != "uuid" && key != "eui64" &&
                 !ignored(key))
            return "drive=ID,bus=ID of an nvme; '" + key + "' is neither";
    }
    const auto controller = std::find_if(o.disks.rbegin(), o.disks.rend(), [&](const DiskDevice& d) {
        return d.model == Model::Nvme && (bus.empty() || d.id == bus.substr(0, bus.find('.')));
    });
    if (drive.empty() || controller == o.disks.rend()) return "drive=ID, behind a -device nvme,id=BUS";
    if (!controller->drive_id.empty()) return "one namespace for each nvme (more are not built)";
    controller->drive_id = drive;
    return {};
}

Complaint add_ahci(Options& o, const Properties& properties) {
    DiskController ahci;
    for (const auto& [key, value] : properties) {
        if (key == "id") {
            ahci.id = value;
        } else if (key == "addr") {
            if (const Complaint bad = set_slot(ahci.slot, value)) return bad;
        } else if (key != "bus" && !ignored(key)) {
            return "id=ID,addr=SLOT; '" + key + "' is neither";
        }
    }
    if (ahci.id.empty()) ahci.id = "ahci" + std::to_string(o.ahci.size());
    for (const DiskController& other : o.ahci)
        if (other.id == ahci.id) return "an id of its own; '" + ahci.id + "' is taken";
    o.ahci.push_back(std::move(ahci));
    return {};
}

Error about(const DiskDevice& disk, const std::string& what) {
    return Error{disk.given + ": expected " + what};
}

// Where a device of -device goes: "ide.0" with a unit, "ahci0.3".
Status find_bus(const Options& o, DiskDevice& disk) {
    if (disk.bus.empty()) return Ok{};
    const std::size_t dot = disk.bus.rfind('.');
    const std::string name = disk.bus.substr(0, dot);
    const u64 number =
        (dot == std::string::npos ? std::nullopt : parse_number(disk.bus.substr(dot + 1))).value_or(99);
    const auto ahci =
        std::find_if(o.ahci.begin(), o.ahci.end(), [&](const DiskController& c) { return c.id == name; });
    if (ahci != o.ahci.end()) {
        if (number > 5) return about(disk, "bus=" + name + ".0 to " + name + ".5");
        disk.controller = name;
        disk.place = unsigned(number);
        return Ok{};
    }
    if (name != "ide" || number > 1)
        return about(disk, "bus=ide.0, ide.1" + std::string(o.ahci.empty() ? "" : ", or ID.PORT of an ahci"));
    if (disk.place) {
        if (*disk.place > 1) return about(disk, "unit=0 or 1");
        disk.place = unsigned(number) * 2 + *disk.place;
    } else {
        disk.place = unsigned(number) * 2;
        for (const DiskDevice& other : o.disks)
            if (&other != &disk && other.controller.empty() && other.place == disk.place) {
                ++*disk.place;
                break;
            }
    }
    return Ok{};
}

} // namespace

// The drives that are flashes: the firmware, and what it keeps.
Status find_flashes(Options& o) {
    const auto refuse = [](const std::string& what) { return Error{"-machine pflash: expected " + what}; };
    for (unsigned n = 0; n < std::size(o.flash_nodes); ++n) {
        if (o.flash_nodes[n].empty()) continue;
        const auto drive = std::find_if(o.drives.begin(), o.drives.end(),
                                        [&](const DriveOption& d) { return d.id == o.flash_nodes[n]; });
        if (drive == o.drives.end())
            return refuse("the node-name of a -blockdev; '" + o.flash_nodes[n] + "' is none");
        drive->interface = Interface::Flash;
        drive->index = n;
        drive->given = "-machine pflash" + std::to_string(n) + "=" + o.flash_nodes[n];
    }
    for (const DriveOption& drive : o.drives)
        if (drive.interface == Interface::Flash && !drive.format.empty() && drive.format != "raw")
            return Error{drive.given + ": expected format=raw for a flash"};
    return Ok{};
}

Status place_disks(Options& o) {
    if (auto s = find_flashes(o); !s) return s;
    // Drives of -device.
    for (DiskDevice& disk : o.disks) {
        if (disk.model == Model::Nvme && disk.drive_id.empty())
            return about(disk, "drive=ID of a -drive or -blockdev, or a -device nvme-ns");
        if (!disk.drive_id.empty()) {
            const auto drive = std::find_if(o.drives.begin(), o.drives.end(),
                                            [&](const DriveOption& d) { return d.id == disk.drive_id; });
            if (drive == o.drives.end())
                return about(disk, "the id of a -drive or the node-name of a -blockdev; '" + disk.drive_id +
                                       "' is neither");
            if (drive->interface != Interface::None)
                return about(disk, "a drive with if=none; '" + disk.drive_id + "' has a place already");
            disk.drive = unsigned(drive - o.drives.begin());
            if (disk.model == Model::IdeCd) drive->cd = drive->read_only = true;
        }
        if (auto s = find_bus(o, disk); !s) return s;
    }
    for (std::size_t a = 0; a < o.disks.size(); ++a)
        for (std::size_t b = 0; b < a; ++b)
            if (o.disks[a].drive && o.disks[a].drive == o.disks[b].drive)
                return about(o.disks[a],
                             "a drive of its own; '" + o.disks[a].drive_id + "' is in use by another device");

    // Drives that say themselves where they are.
    for (unsigned n = 0; n < o.drives.size(); ++n) {
        DriveOption& drive = o.drives[n];
        drive.snapshot |= o.snapshot;
        const bool placed =
            std::any_of(o.disks.begin(), o.disks.end(), [n](const DiskDevice& d) { return d.drive == n; });
        if (drive.interface == Interface::None || drive.interface == Interface::Flash || placed) continue;
        DiskDevice disk;
        disk.drive = n;
        disk.serial = drive.serial;
        disk.given = drive.given;
        switch (drive.interface) {
        case Interface::Ide: disk.model = drive.cd ? Model::IdeCd : Model::IdeDisk; break;
        case Interface::Virtio: disk.model = Model::VirtioBlk; break;
        default: disk.model = Model::Floppy; break;
        }
        if (drive.interface != Interface::Virtio) disk.place = drive.index;
        o.disks.push_back(disk);
    }

    // Places: those that were asked for, then the free ones in order.
    struct Place {
        std::string controller;
        bool floppy;
        unsigned number;
        bool operator==(const Place&) const = default;
    };
    std::vector<Place> taken;
    const auto has_place = [](const DiskDevice& d) {
        return d.model != Model::VirtioBlk && d.model != Model::Nvme;
    };
    for (const DiskDevice& disk : o.disks) {
        if (!has_place(disk) || !disk.place) continue;
        const Place place{disk.controller, disk.model == Model::Floppy, *disk.place};
        if (std::find(taken.begin(), taken.end(), place) != taken.end())
            return about(disk, "one drive per place, but " +
                                   (place.floppy               ? "floppy drive "
                                    : place.controller.empty() ? "IDE place "
                                                               : "port of " + place.controller + " ") +
                                   std::to_string(place.number) + " is taken");
        taken.push_back(place);
    }
    for (DiskDevice& disk : o.disks) {
        if (!has_place(disk) || disk.place) continue;
        Place place{disk.controller, disk.model == Model::Floppy, 0};
        while (std::find(taken.begin(), taken.end(), place) != taken.end())
            ++place.number;
        if (place.number > (place.floppy ? 1u : 3u))
            return about(disk, place.floppy ? "at most two floppy drives" : "at most four IDE drives");
        disk.place = place.number;
        taken.push_back(place);
    }
    for (const DiskDevice& disk : o.disks)
        if (disk.drive && o.drives[*disk.drive].file.empty() && disk.model != Model::IdeCd &&
            disk.model != Model::Floppy)
            return about(disk, "file=NAME");
    return Ok{};
}

std::span<const DeviceRow> disk_devices() {
    static const DeviceRow rows[] = {
        {"ide-hd", ",drive=ID[,bus=ide.N,unit=N]", "IDE disk", add<Model::IdeDisk>},
        {"ide-cd", "[,drive=ID][,bus=ide.N,unit=N]", "IDE CD-ROM", add<Model::IdeCd>},
        {"ahci", ",id=ID[,addr=]", "SATA controller with 6 ports: ide-hd and ide-cd on bus=ID.0 to ID.5",
         add_ahci},
        {"ich9-ahci", ",id=ID[,addr=]", "the same", add_ahci},
        {"floppy", "[,drive=ID][,unit=N]", "floppy drive A (unit 0) or B", add<Model::Floppy>},
        {"nvme", ",drive=ID,serial=TEXT[,addr=]", "NVM Express disk", add<Model::Nvme>},
        {"nvme-ns", ",drive=ID[,bus=ID]", "the namespace of an nvme that has no drive", add_namespace},
        {"virtio-blk-pci", ",drive=ID[,serial=,addr=,num-queues=]", "virtio disk", add<Model::VirtioBlk>},
        {"virtio-blk", ",drive=ID", "the same", add<Model::VirtioBlk>},
        {"virtio-blk-pci-transitional", ",drive=ID", "the same", add<Model::VirtioBlk>},
        {"virtio-blk-pci-non-transitional", ",drive=ID", "virtio disk without the legacy interface",
         add_virtio<false, true>},
    };
    return rows;
}

} // namespace dragoman::runtime
