// The command line: what users of emulators type, checked whole before anything starts.
#pragma once

#include "base/result.h"
#include "base/types.h"
#include "runtime/card_options.h"
#include "runtime/net_options.h"
#include "runtime/vcpu_options.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dragoman::runtime {

// An image and how it is used (-drive, -blockdev, -hda and the like).
struct DriveOption {
    enum class Interface : u8 { Ide, Virtio, Floppy, Flash, None }; // None: a -device names it
    enum class OnError : u8 { Report, Stop, NoSpace, Ignore };

    std::string id;
    std::string file;   // empty: no medium
    std::string format; // raw or qcow2; empty: the image tells
    Interface interface = Interface::Ide;
    std::optional<unsigned>
        index; // place among those of its interface; IDE: 0 primary master .. 3 secondary slave
    bool cd = false;
    bool read_only = false;
    bool snapshot = false;      // changes go to a temporary file
    bool write_through = false; // cache=
    bool ignore_flush = false;
    bool discard = false;
    bool detect_zeroes = false;
    bool threads = false; // aio=threads: no ring, even where the host has one
    bool backing = true;  // with the backing file that the image names
    OnError on_read_error = OnError::Report, on_write_error = OnError::Report;
    std::string serial;
    std::string given; // the option as the user gave it, for errors
};

// A disk, CD or floppy as the guest sees it.
struct DiskDevice {
    enum class Model : u8 { IdeDisk, IdeCd, VirtioBlk, Nvme, Floppy };

    Model model = Model::IdeDisk;
    std::optional<unsigned> drive; // number in Options::drives; nothing: no medium
    std::string drive_id;          // as given, until it is looked up
    std::optional<unsigned> boot_index;
    std::string bus;               // "ide.1", "ahci0.2"; empty: the first place that is free
    std::optional<unsigned> place; // IDE: 0..3; AHCI: port; floppy: 0 A, 1 B
    std::string controller;        // id of an AHCI controller; empty: the machine's IDE
    std::optional<unsigned> slot;  // PCI
    unsigned queues = 1;           // virtio-blk
    bool legacy = true, modern = true;
    std::string serial;
    std::string id; // the device's
    std::string given;
};

// A disk controller on a card.
struct DiskController {
    std::string id;
    std::optional<unsigned> slot;
    std::string given;
};

// What the SMBIOS tables say (-smbios): by type of structure and name of field ("manufacturer").
struct SmbiosOption {
    std::map<std::pair<unsigned, std::string>, std::string> texts;
    std::vector<std::string> oem; // type 11
};

// A file that firmware and guest find in fw_cfg (-fw_cfg).
struct FwCfgOption {
    std::string name, file, text; // `file` is read if there is one
};

// A property that devices of a kind have unless their own option says otherwise (-global).
struct GlobalOption {
    std::string driver, property, value;
};

// The screen for viewers elsewhere.
struct VncOption {
    std::optional<TcpAddress> tcp;
    std::string path;       // of a local socket, without tcp
    std::string secret;     // id of the password's -object; empty: everybody may look
    bool password = false;  // there is one, which is told later: until then nobody may
    std::optional<unsigned> web_port; // for browsers, by WebSocket
    bool web_follows = false;         // it belongs to the display
    unsigned last_port = 0; // others are tried up to this one when the first is taken
    std::string given;
};
struct SecretOption {
    std::string data, file; // file: where it is, if not empty
    bool base64 = false;
    bool encrypted = false; // by a key of another secret, which is not built
};

struct Options {
    u64 memory_bytes = 128 * MiB;
    std::string cpu = "max";
    VcpuOptions vcpu{.backend = {.uncounted = true}}; // -accel, -verify, -passes, -tb-size, -tb-cache

    std::string kernel, initrd, append;
    std::vector<DriveOption> drives;
    std::vector<DiskDevice> disks; // complete after parsing: those of -drive and -hda as well
    std::vector<DiskController> ahci;
    bool snapshot = false; // -snapshot: every drive
    std::vector<NetworkOption> networks;
    std::vector<NicOption> nics;             // complete after parsing: each with its network and its address
    std::vector<std::string> loose_networks; // ids of those of -net
    std::vector<CaptureOption> captures;
    std::vector<CardOption> cards;
    std::vector<PortOption> ports;
    std::vector<FolderOption> folders;
    bool isa_panic = false;
    WatchdogAction watchdog_action = WatchdogAction::Reset;
    PanicAction panic_action = PanicAction::Shutdown;
    std::string boot_order = "cd";
    std::string boot_once; // the order of the first start; empty: the same
    bool boot_menu = false;
    std::optional<unsigned> splash_ms,
        reboot_ms;            // how long the menu waits; after how long a failed boot ends
    bool boot_strict = false; // from what has a bootindex, or from nothing
    std::string bios;         // empty: SeaBIOS
    std::vector<std::string> firmware_directories; // -L; before the one where the distribution puts it
    std::vector<std::string> option_roms;
    bool hpet = true, acpi = true;
    std::string flash_nodes[2]; // -machine pflash0=, pflash1=: of -blockdev
    bool usb = false, tablet = false; // a controller; a tablet at it
    unsigned numa_nodes = 0;
    u8 escape_character = 1; // Ctrl-A: on a shared terminal

    std::vector<std::string>
        serial;           // per port: stdio, mon:stdio, file:PATH, none, null, tcp:..., unix:..., pty
    std::string monitor;  // stdio, none, unix:PATH,server...; empty: not given, then it shares mon:stdio, if
                          // there is one
    std::string parallel; // empty: there is no such port
    std::vector<std::string> qmp; // character devices
    std::string name, uuid;       // of the machine
    SmbiosOption smbios;
    std::vector<FwCfgOption> fw_cfg;
    std::vector<GlobalOption> globals;
    std::map<std::string, std::string> rngs; // -object rng-*: id to file; empty: the kernel's own
    enum class Display { None, Sdl } display = Display::None;
    std::optional<VncOption> vnc;
    std::map<std::string, SecretOption> secrets; // -object secret, by id
    bool nographic = false;                      // the firmware, too, uses the serial port
    bool vga = true;
    std::string debugcon; // character device of the debug console; empty: none
    u16 debugcon_port = 0xe9;
    struct DebugExit {
        u16 iobase = 0x501;
        u32 iosize = 2;
    };
    std::optional<DebugExit> debug_exit;

    bool start_stopped = false;
    std::string gdb; // "tcp:HOST:PORT" or "tcp::PORT"; empty: none
    u32 log_items = 0;
    std::string log_file;
    bool no_reboot = false;
    bool no_shutdown = false;
    std::optional<i64> rtc_base; // seconds since 1970; nothing: now
    bool rtc_localtime = false;

    std::map<std::string, std::string> chardevs; // -chardev: id to the short form
    std::map<std::string, std::string> chardev_logs; // id to the short form of the file of logfile=
    std::string pid_file;
    bool daemonize = false;
    bool sandbox = false;
    std::string run_as; // a user, or UID:GID
    bool nodefaults = false, vga_given = false;
    std::string help;                  // a list that was asked for: it is all there is to do
    std::vector<std::string> warnings; // what was asked for has no effect, or another one; a line each

    enum class Action { Run, Help, Version, CpuHelp, DeviceHelp } action = Action::Run;
};

// What a secret says; its file is read now.
Result<std::string> read_secret(const SecretOption& secret);

// The error names the option, the value and what was expected.
// What `options` become when "-NAME VALUE" is added to them while the machine runs. What a value may be, see
// the option.
Result<Options> with_option(const Options& options, const std::string& name, const std::string& value);

Result<Options> parse_options(int argc, const char* const* argv);
// What "chardev:ID" stands for; any other text for itself. The options were checked.
const std::string& chardev_spec(const Options& o, const std::string& text);
// Every option that names a character device.
std::vector<const std::string*> users_of_chardevs(const Options& o);
// A mask of log items from the words of -d; the error says what was expected.
Result<u32> parse_log_words(const std::string& text);
std::string help_text();
std::string device_help_text();

} // namespace dragoman::runtime
