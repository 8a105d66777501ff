// The images of the machine's drives, and the devices that show them to the guest.
#pragma once

#include "base/log.h"
#include "base/result.h"
#include "block/disk.h"
#include "hw/machine/pc.h"
#include "runtime/boot_order.h"
#include "runtime/options.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace dragoman::runtime {

// A drive as the user sees it.
struct DriveInfo {
    std::string name;
    bool removable = false, inserted = false; // the rest is about the medium
    std::string file, format, cache;
    bool read_only = false, ignores_flush = false;
    u64 bytes = 0;
};

class Disks {
  public:
    // `kick` is called on other threads when deliver() has something to do; `stop` on the vCPU's when an
    // error stops the machine (werror=stop). The rest is borrowed.
    Disks(hw::Scheduler& scheduler, Log& log, std::function<void()> kick, std::function<void()> stop);
    ~Disks();

    // Opens every image, and puts a device for each disk into `config`.
    Status open(const Options& options, hw::PcConfig& config);

    // While the machine runs: one more image; a card for what `disk` says; without the card `id`, whose image
    // is closed then (the card must not exist any more); without the image `id`, which must have no device.
    Status add_drive(const DriveOption& drive);
    Result<hw::PcConfig::Card> add_card(const DiskDevice& disk);
    void remove_card(const std::string& id);
    Status remove_drive(const std::string& id);

    // On the vCPU's thread, between guest instructions, while the machine runs: requests that are done end.
    void deliver() { workers_.deliver(); }
    bool under_way() const { return workers_.under_way(); }
    block::Ring* ring() const { return workers_.ring(); } // null: there is none
    void retry(); // what stopped the machine, when it goes on
    // Waits for all requests and ends them. For what happens while nothing may be under way.
    void settle();
    // The user changes the medium of a CD drive, named as describe() names it or by the id of its drive. An
    // empty `file` takes it out. `force`: although the guest locked the tray.
    Status change_medium(hw::Pc& pc, const std::string& name, const std::string& file, bool force);
    // `bytes`: more than now, whole sectors; the guest is told where its controller can tell it.
    Status resize(const std::string& name, u64 bytes);
    std::vector<DriveInfo> list() const;
    const std::vector<BootEntry>& boot_entries() const { return boot_entries_; }
    std::string describe() const; // the same as text
    // For the end: what was written is in the images. The devices are told nothing any more.
    void close();

  private:
    Result<std::unique_ptr<block::Disk>> open_disk(const DriveOption& drive);
    // The drive of a CD device, null for others.
    hw::AtapiCd* cd_of(hw::Pc& pc, const DiskDevice& device) const;
    static bool removable(const DiskDevice& device);
    static Status check_floppy(const block::Disk* disk, const std::string& file);
    std::string name_of(const DiskDevice& device) const;
    void note_boot(const DiskDevice& disk, const hw::PciFunction* card);
    Status add_devices(hw::PcConfig& config);
    std::optional<hw::PcConfig::Card> make_card(const DiskDevice& disk, std::function<void()>& grown);
    void close_image(unsigned drive);

    hw::Scheduler& scheduler_;
    Log& log_;
    std::function<void()> stop_;
    // The disks before the workers: those end first, and they use the disks.
    std::vector<BootEntry> boot_entries_;
    std::vector<DriveOption> drives_;
    std::vector<DiskDevice> devices_;
    std::vector<std::function<void()>> grown_; // by device: tells it of another size; may be empty
    std::vector<DiskController> controllers_;
    std::vector<std::unique_ptr<block::Disk>> disks_; // by number of the drive; null: no medium, or removed
    std::map<std::pair<std::string, unsigned>, hw::AtapiCd*>
        ahci_cds_; // by controller and port; the machine's
    block::Workers workers_;
};

} // namespace dragoman::runtime
