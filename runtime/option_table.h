// The table of options: each file options_*.cpp gives the rows of one concern, the parser and the help text
// read them all (options.cpp). Devices of -device are a second table of the same kind.
#pragma once

#include "runtime/option_text.h"
#include "runtime/options.h"

#include <functional>
#include <optional>
#include <span>
#include <string>

namespace dragoman::runtime {

// What a setter says when it does not like a value: what was expected.
using Complaint = std::optional<std::string>;

struct OptionRow {
    const char* name;
    const char* argument; // null: none
    std::string help;
    std::function<Complaint(Options&, const std::string&)> set; // empty: accepted, without effect
};

std::span<const OptionRow> machine_options();  // memory, processor, board, boot
std::span<const OptionRow> identity_options(); // names, SMBIOS, fw_cfg
std::span<const OptionRow> drive_options();    // disks and CDs
std::span<const OptionRow> net_options();      // networks and their cards
std::span<const OptionRow> card_options();     // shared folders, watchdog
std::span<const OptionRow> chardev_options();  // serial ports, monitor, screen
std::span<const OptionRow> device_options();   // -device
std::span<const OptionRow> usb_options();      // -usb, -usbdevice
std::span<const OptionRow> host_options();     // processes, files and what has no effect
std::span<const OptionRow> run_options();      // starting, stopping, debugging, logging

// A device that -device can add.
struct DeviceRow {
    const char* name;
    const char* properties; // for the help text: ",iobase=PORT"
    const char* help;
    std::function<Complaint(Options&, const Properties&)> add; // `properties` without the name
};

std::span<const DeviceRow> isa_devices();
std::span<const DeviceRow> usb_devices();
std::span<const DeviceRow> disk_devices();
std::span<const DeviceRow> net_devices();
std::span<const DeviceRow> card_devices();

// An option that others have and this emulator has not.
struct ForeignOption {
    enum class Fate : u8 { Ignored, Warned, Refused };
    const char* name;
    bool argument;
    Fate fate;
    const char* about; // for the warning or the error: what is instead
};
const ForeignOption* find_foreign(const std::string& name); // null: nobody has it

// After all options: which card each port belongs to, and which objects each card means.
Status place_cards(Options& o);
Complaint set_watchdog_action(Options& o, const std::string& text);
Complaint set_action(Options& o, const std::string& text); // -action
Complaint set_panic_action(Options& o, const std::string& text);

// For programs that ask what there is.
std::vector<const OptionRow*> option_rows();
std::vector<std::string> device_names();

// "5", "5.0", "05": the slot of a PCI device; each is function 0.
Complaint set_slot(std::optional<unsigned>& slot, std::string value);
Complaint set_boot_index(std::optional<unsigned>& index, const std::string& value);
// After all options: no two cards want the same slot.
Status check_slots(const Options& o);

// For a device of the USB that no guest misses here: what there is instead; empty: it is none of them.
std::string without_usb_device(const std::string& name);

Complaint set_vnc(Options& o, const std::string& text);
Complaint add_secret(Options& o, const Properties& properties); // -object secret
Status check_vnc(Options& o);                                   // after all options

// After all options: which network each card, and each capture, means; an address for each card.
Status place_nics(Options& o);
Complaint add_capture(Options& o, const Properties& properties); // -object filter-dump

// After all options: where each drive goes, and which drive each device means.
Status place_disks(Options& o);

Complaint file_name(const std::string& text); // complains of none
// A disk at an IDE place, 0..3.
Complaint add_disk(Options& o, unsigned index, const std::string& file);
Complaint add_global(Options& o, const std::string& text);
Complaint set_cpu(Options& o, const std::string& text);   // -cpu
Complaint set_accel(Options& o, const std::string& text); // -accel, and accel= of -machine
Complaint check_chardev(const std::string& text);         // a character device in short form, or chardev:ID
Complaint add_serial(Options& o, const std::string& chardev);
// After all options: what "chardev:ID" means, and who uses which.
Status check_chardevs(Options& o);
// The options of a file as -readconfig reads it, as pairs of name and value.
Result<Properties> read_config(const std::string& file);

} // namespace dragoman::runtime
