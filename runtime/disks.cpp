#include "runtime/disks.h"

#include "block/fat_volume.h"
#include "hw/ahci.h"
#include "hw/nvme.h"
#include "hw/virtio_blk.h"
#include "hw/virtio_pci.h"

#include <cstdio>

namespace dragoman::runtime {

namespace {

constexpr unsigned kThreads = 4;

block::Disk::OnError on_error(DriveOption::OnError action) {
    switch (action) {
    case DriveOption::OnError::Report: return block::Disk::OnError::Report;
    case DriveOption::OnError::Stop: return block::Disk::OnError::Stop;
    case DriveOption::OnError::NoSpace: return block::Disk::OnError::NoSpace;
    case DriveOption::OnError::Ignore: break;
    }
    return block::Disk::OnError::Ignore;
}

Result<std::shared_ptr<block::Image>> open_drive(const DriveOption& drive) {
    if (const auto folder = block::parse_fat_folder(drive.file)) {
        auto made = block::FatVolume::open(*folder);
        if (!made) return made.error();
        if (!drive.snapshot || !folder->writable) return std::shared_ptr<block::Image>(std::move(*made));
        auto overlay = block::make_temporary_overlay(std::move(*made));
        if (!overlay) return overlay.error();
        return std::shared_ptr<block::Image>(std::move(*overlay));
    }
    block::OpenOptions options;
    options.format = drive.format;
    options.backing = drive.backing;
    options.read_only = drive.read_only || drive.snapshot;
    auto image = block::open_image(drive.file, options);
    if (!image) return image.error();
    std::shared_ptr<block::Image> opened(std::move(*image));
    if (drive.snapshot && !drive.read_only) {
        auto overlay = block::make_temporary_overlay(std::move(opened));
        if (!overlay) return overlay.error();
        opened = std::move(*overlay);
    }
    return opened;
}

// What is written is where it belongs; the user is told what is not.
void end(block::Disk& disk) {
    if (const block::Outcome o = disk.image().close(); o.failed())
        std::fprintf(stderr, "dragoman: %s\n", o.message.c_str());
}

} // namespace

Disks::Disks(hw::Scheduler& scheduler, Log& log, std::function<void()> kick, std::function<void()> stop)
    : scheduler_(scheduler), log_(log), stop_(std::move(stop)),
      workers_(kThreads, std::move(kick), block::Ring::open()) {}

Disks::~Disks() {
    close();
}

Status Disks::open(const Options& options, hw::PcConfig& config) {
    controllers_ = options.ahci;
    devices_ = options.disks;
    for (const DriveOption& drive : options.drives)
        if (auto s = add_drive(drive); !s) return s;
    return add_devices(config);
}

Status Disks::add_drive(const DriveOption& drive) {
    std::unique_ptr<block::Disk> opened;
    if (!drive.file.empty() && drive.interface != DriveOption::Interface::Flash) {
        auto disk = open_disk(drive);
        if (!disk) return Error{drive.given + ": " + disk.error().message};
        opened = std::move(*disk);
    }
    drives_.push_back(drive);
    disks_.push_back(std::move(opened));
    return Ok{};
}

Result<hw::PcConfig::Card> Disks::add_card(const DiskDevice& disk) {
    std::function<void()> grown;
    auto card = make_card(disk, grown);
    if (!card) return Error{disk.given + ": expected a disk on a PCI card of its own"};
    devices_.push_back(disk);
    grown_.push_back(std::move(grown));
    return std::move(*card);
}

void Disks::remove_card(const std::string& id) {
    for (std::size_t n = 0; n < devices_.size(); ++n) {
        if (devices_[n].id != id) continue;
        if (devices_[n].drive) close_image(*devices_[n].drive);
        devices_.erase(devices_.begin() + std::ptrdiff_t(n));
        grown_.erase(grown_.begin() + std::ptrdiff_t(n));
        return;
    }
}

Status Disks::remove_drive(const std::string& id) {
    for (unsigned n = 0; n < drives_.size(); ++n) {
        if (id.empty() || drives_[n].id != id) continue;
        for (const DiskDevice& device : devices_)
            if (device.drive == n)
                return Error{"'" + id + "' is in use by a device (device_del takes it out)"};
        close_image(n);
        return Ok{};
    }
    return Error{"there is no drive '" + id + "' without a device"};
}

void Disks::close_image(unsigned drive) {
    settle();
    drives_[drive] = {};
    const std::unique_ptr<block::Disk> disk = std::move(disks_[drive]);
    if (disk) end(*disk);
}

Result<std::unique_ptr<block::Disk>> Disks::open_disk(const DriveOption& drive) {
    auto image = open_drive(drive);
    if (!image) return image.error();
    const u64 bytes = (*image)->bytes();
    constexpr u32 sector = BlockDevice::sector_bytes;
    const bool raw = (*image)->format() == std::string("raw"); // it has its last part of a sector filled up
    if (bytes == 0 || (!raw && bytes < sector))
        return Error{"disk image '" + drive.file + "': holds " + std::to_string(bytes) +
                     " bytes (expected at least one sector of 512)"};
    if (!raw && bytes % sector != 0)
        log_.once("disk image '%s': size %llu is not a multiple of 512; the last %llu bytes are not used",
                  drive.file.c_str(), static_cast<unsigned long long>(bytes),
                  static_cast<unsigned long long>(bytes % sector));
    block::Disk::Options how;
    how.discard = drive.discard;
    how.detect_zeroes = drive.detect_zeroes;
    how.ring = !drive.threads;
    how.write_through = drive.write_through;
    how.ignore_flush = drive.ignore_flush || (drive.snapshot && !drive.read_only);
    how.on_read_error = on_error(drive.on_read_error);
    how.on_write_error = on_error(drive.on_write_error);
    how.report = [](const std::string& line) { std::fprintf(stderr, "dragoman: %s\n", line.c_str()); };
    how.stop = stop_;
    return std::make_unique<block::Disk>(std::move(*image), workers_, std::move(how));
}

// `card`: null for what is not on one of its own.
void Disks::note_boot(const DiskDevice& disk, const hw::PciFunction* card) {
    if (!disk.boot_index) return;
    const unsigned place = disk.place.value_or(0);
    BootEntry entry{*disk.boot_index, card, "", ""};
    switch (disk.model) {
    case DiskDevice::Model::VirtioBlk: entry.node = "scsi", entry.unit = "disk@0,0"; break;
    case DiskDevice::Model::Nvme: entry.node = "pci8086,5845", entry.unit = "namespace@1,0"; break;
    case DiskDevice::Model::Floppy:
        entry.node = "isa@1";
        entry.unit = "fdc@03f0/floppy@" + std::to_string(place);
        break;
    case DiskDevice::Model::IdeDisk:
    case DiskDevice::Model::IdeCd:
        entry.node = card ? "pci8086,2922" : "ide@1,1";
        entry.unit = card ? "drive@" + std::to_string(place) + "/disk@0"
                          : "drive@" + std::to_string(place / 2) + "/disk@" + std::to_string(place % 2);
        break;
    }
    boot_entries_.push_back(std::move(entry));
}

Status Disks::add_devices(hw::PcConfig& config) {
    std::map<std::string, hw::Ahci*> controllers;
    for (const DiskController& controller : controllers_) {
        auto card = std::make_unique<hw::Ahci>(scheduler_, log_);
        controllers[controller.id] = card.get();
        config.cards.push_back({std::move(card), {}, controller.slot});
    }
    for (const DiskDevice& disk : devices_) {
        auto& grown = grown_.emplace_back();
        block::Disk* image = disk.drive ? disks_[*disk.drive].get() : nullptr;
        if (disk.model == DiskDevice::Model::Floppy)
            if (auto s = check_floppy(image, disk.drive ? drives_[*disk.drive].file : ""); !s)
                return Error{disk.given + ": " + s.error().message};
        switch (disk.model) {
        case DiskDevice::Model::IdeDisk:
        case DiskDevice::Model::IdeCd: {
            std::string serial = disk.serial.substr(0, 20);
            if (serial.empty()) serial = "DM" + std::to_string(*disk.place + 1);
            if (!disk.controller.empty()) {
                hw::Ahci& ahci = *controllers.at(disk.controller);
                if (disk.model == DiskDevice::Model::IdeCd) {
                    auto cd = std::make_unique<hw::AtapiCd>(image, std::move(serial), log_);
                    ahci_cds_[{disk.controller, *disk.place}] = cd.get();
                    ahci.attach(*disk.place, std::move(cd));
                } else {
                    ahci.attach(*disk.place, std::make_unique<hw::AtaDisk>(*image, std::move(serial), log_));
                }
                note_boot(disk, &ahci);
                break;
            }
            note_boot(disk, nullptr);
            config.ide[*disk.place] =
                hw::PcConfig::Drive{image, disk.model == DiskDevice::Model::IdeCd, std::move(serial)};
            break;
        }
        case DiskDevice::Model::VirtioBlk:
        case DiskDevice::Model::Nvme:
            config.cards.push_back(*make_card(disk, grown));
            note_boot(disk, config.cards.back().function.get());
            break;
        case DiskDevice::Model::Floppy:
            config.floppies[*disk.place] = image;
            note_boot(disk, nullptr);
            break;
        }
    }
    return Ok{};
}

// Of a disk that is a card by itself.
std::optional<hw::PcConfig::Card> Disks::make_card(const DiskDevice& disk, std::function<void()>& grown) {
    hw::PcConfig::Card card{nullptr, {}, disk.slot, disk.id, true};
    if (disk.model == DiskDevice::Model::VirtioBlk) {
        const hw::VirtioBlk::Options how{disk.queues, disk.serial};
        auto device = std::make_unique<hw::VirtioBlk>(*disks_[*disk.drive], how, log_);
        grown = [blk = device.get()] { blk->size_changed(); };
        const hw::VirtioPci::Options behind{disk.legacy, disk.modern, disk.queues + 1};
        card.function = std::make_unique<hw::VirtioPci>(std::move(device), behind);
    } else if (disk.model == DiskDevice::Model::Nvme) {
        const hw::Nvme::Options how{disk.serial.substr(0, 20), *disk.drive};
        auto nvme = std::make_unique<hw::Nvme>(*disks_[*disk.drive], how, scheduler_, log_);
        grown = [chip = nvme.get()] { chip->size_changed(); };
        card.function = std::move(nvme);
    } else {
        return {};
    }
    return card;
}

hw::AtapiCd* Disks::cd_of(hw::Pc& pc, const DiskDevice& device) const {
    if (device.model != DiskDevice::Model::IdeCd) return nullptr;
    return device.controller.empty() ? pc.cd(*device.place)
                                     : ahci_cds_.at({device.controller, *device.place});
}

std::string Disks::name_of(const DiskDevice& device) const {
    using Model = DiskDevice::Model;
    if (device.drive && !drives_[*device.drive].id.empty()) return drives_[*device.drive].id;
    const unsigned place = device.place.value_or(0);
    unsigned same = 0;
    for (const DiskDevice& d : devices_) {
        if (&d == &device) break;
        same += d.model == device.model;
    }
    switch (device.model) {
    case Model::IdeDisk:
    case Model::IdeCd:
        if (!device.controller.empty()) return device.controller + "." + std::to_string(place);
        return "ide" + std::to_string(place / 2) + (device.model == Model::IdeCd ? "-cd" : "-hd") +
               std::to_string(place % 2);
    case Model::VirtioBlk: return "virtio" + std::to_string(same);
    case Model::Nvme: return "nvme" + std::to_string(same);
    case Model::Floppy: return "floppy" + std::to_string(place);
    }
    return "";
}

std::vector<DriveInfo> Disks::list() const {
    std::vector<DriveInfo> all;
    for (const DiskDevice& device : devices_) {
        DriveInfo& info = all.emplace_back();
        info.name = name_of(device);
        info.removable = removable(device);
        const block::Disk* disk = device.drive ? disks_[*device.drive].get() : nullptr;
        if (!disk) continue;
        const DriveOption& drive = drives_[*device.drive];
        info.inserted = true;
        info.file = drive.file;
        info.format = disk->image().format();
        info.read_only = disk->read_only();
        info.ignores_flush = drive.ignore_flush;
        info.cache = drive.ignore_flush    ? "writeback, ignore flushes"
                     : drive.write_through ? "writethrough"
                                           : "writeback";
        info.bytes = disk->image().bytes();
    }
    return all;
}

std::string Disks::describe() const {
    std::string text;
    for (const DriveInfo& drive : list()) {
        text += drive.name + ": ";
        if (!drive.inserted) {
            text += "[not inserted]\n";
            continue;
        }
        text += drive.file + " (" + drive.format + (drive.read_only ? ", read-only" : "") + ")\n";
        text += "    Cache mode:       " + drive.cache + "\n";
    }
    return text.empty() ? "no drives\n" : text;
}

bool Disks::removable(const DiskDevice& device) {
    return device.model == DiskDevice::Model::IdeCd || device.model == DiskDevice::Model::Floppy;
}

Status Disks::check_floppy(const block::Disk* disk, const std::string& file) {
    if (!disk || hw::floppy_geometry(disk->sectors())) return Ok{};
    return Error{"floppy image '" + file + "': holds " +
                 std::to_string(disk->sectors() * BlockDevice::sector_bytes) +
                 " bytes (expected at most 2949120)"};
}

Status Disks::change_medium(hw::Pc& pc, const std::string& name, const std::string& file, bool force) {
    for (DiskDevice& device : devices_) {
        if (name_of(device) != name) continue;
        if (!removable(device)) return Error{"'" + name + "' has no medium that can be changed"};
        hw::AtapiCd* cd = cd_of(pc, device); // or else a floppy drive
        std::unique_ptr<block::Disk> fresh;
        DriveOption drive{.file = file, .cd = cd != nullptr, .read_only = cd != nullptr};
        if (device.drive) {
            drive = drives_[*device.drive];
            drive.file = file;
            drive.format.clear();
        }
        if (!file.empty()) {
            auto opened = open_disk(drive);
            if (!opened) return opened.error();
            fresh = std::move(*opened);
            if (!cd)
                if (auto s = check_floppy(fresh.get(), file); !s) return s;
        }
        if (!cd)
            pc.floppy(*device.place).insert(fresh.get());
        else if (!cd->change_disc(fresh.get(), force))
            return Error{"'" + name + "' is locked by the guest (-f takes it out)"};
        settle(); // what goes on from here is the new one's; nothing uses the old one any more
        if (device.drive && disks_[*device.drive]) {
            disks_[*device.drive]->give_up();
            end(*disks_[*device.drive]);
        }
        if (!device.drive) {
            device.drive = unsigned(drives_.size());
            drives_.push_back(drive);
            disks_.push_back(nullptr);
        }
        drives_[*device.drive] = drive;
        disks_[*device.drive] = std::move(fresh);
        return Ok{};
    }
    return Error{"there is no drive '" + name + "' (info block lists them)"};
}

Status Disks::resize(const std::string& name, u64 bytes) {
    for (std::size_t n = 0; n < devices_.size(); ++n) {
        const DiskDevice& device = devices_[n];
        if (name_of(device) != name) continue;
        block::Disk* disk = device.drive ? disks_[*device.drive].get() : nullptr;
        if (removable(device) || !disk || disk->read_only())
            return Error{"'" + name +
                         "' has no disk that can be written (expected one that is no CD or floppy)"};
        const u64 now = disk->image().bytes();
        if (bytes % BlockDevice::sector_bytes != 0 || bytes < now)
            return Error{"'" + name +
                         "': expected a size of whole sectors of 512 bytes, not below the present one of " +
                         std::to_string(now)};
        workers_.drain();
        if (const block::Outcome o = disk->grow(bytes); o.failed()) return Error{o.message};
        if (grown_[n]) grown_[n]();
        return Ok{};
    }
    return Error{"there is no drive '" + name + "' (info block lists them)"};
}

void Disks::retry() {
    for (const auto& disk : disks_)
        if (disk) disk->retry();
}

void Disks::settle() {
    workers_.drain();
    workers_.deliver();
}

void Disks::close() {
    workers_.drain();
    for (const auto& disk : disks_)
        if (disk) end(*disk);
}

} // namespace dragoman::runtime
