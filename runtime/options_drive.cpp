// Images: -drive, -blockdev, -hda and the like.
#include "block/fat_volume.h"
#include "block/nbd_image.h"
#include "runtime/option_table.h"

#include <algorithm>
#include <array>
#include <map>

namespace dragoman::runtime {

namespace {

using Interface = DriveOption::Interface;
using OnError = DriveOption::OnError;

Complaint set_switch(bool& to, const char* name, const std::string& value) {
    const auto on = parse_on_off(value);
    if (!on) return std::string(name) + "=on or off";
    to = *on;
    return {};
}

Complaint set_format(DriveOption& drive, const std::string& value) {
    if (value == "raw" || value == "qcow2") {
        drive.format = value;
        return {};
    }
    return "format=raw or qcow2 (others are not built: dragoman-img convert, or qemu-img, makes one of these "
           "of them)";
}

Complaint set_cache(DriveOption& drive, const std::string& value) {
    // The guest's view: does a write wait for the storage, does a flush count? Whether the host caches as
    // well (none, directsync) makes no difference to it.
    struct Mode {
        const char* name;
        bool write_through, ignore_flush;
    };
    static constexpr Mode modes[] = {{"writeback", false, false},
                                     {"none", false, false},
                                     {"writethrough", true, false},
                                     {"directsync", true, false},
                                     {"unsafe", false, true}};
    for (const Mode& mode : modes) {
        if (value != mode.name) continue;
        drive.write_through = mode.write_through;
        drive.ignore_flush = mode.ignore_flush;
        return {};
    }
    return "cache=writeback, none, writethrough, directsync or unsafe";
}

Complaint set_on_error(OnError& to, const char* name, const std::string& value) {
    static constexpr std::pair<const char*, OnError> actions[] = {{"report", OnError::Report},
                                                                  {"stop", OnError::Stop},
                                                                  {"enospc", OnError::NoSpace},
                                                                  {"ignore", OnError::Ignore}};
    for (const auto& [word, action] : actions) {
        if (value != word) continue;
        to = action;
        return {};
    }
    return std::string(name) + "=report, stop, enospc or ignore";
}

Complaint set_interface(DriveOption& drive, const std::string& value) {
    static constexpr std::pair<const char*, Interface> interfaces[] = {{"ide", Interface::Ide},
                                                                       {"virtio", Interface::Virtio},
                                                                       {"floppy", Interface::Floppy},
                                                                       {"pflash", Interface::Flash},
                                                                       {"none", Interface::None}};
    for (const auto& [word, interface] : interfaces) {
        if (value != word) continue;
        drive.interface = interface;
        return {};
    }
    if (value == "scsi" || value == "sd" || value == "mtd" || value == "xen")
        return "if=ide, virtio or none (if=" + value +
               " is not built; the nearest is if=" + (value == "scsi" ? "virtio)" : "ide)");
    return "if=ide, virtio, floppy, pflash or none";
}

struct DriveKey {
    const char* name;
    Complaint (*set)(DriveOption&, const std::string&);
};
constexpr DriveKey drive_keys[] = {
    {"file",
     [](DriveOption& d, const std::string& v) -> Complaint {
         d.file = v;
         return {};
     }},
    {"format", set_format},
    {"if", set_interface},
    {"media",
     [](DriveOption& d, const std::string& v) -> Complaint {
         if (v != "disk" && v != "cdrom") return "media=disk or media=cdrom";
         d.cd = v == "cdrom";
         return {};
     }},
    {"id",
     [](DriveOption& d, const std::string& v) -> Complaint {
         d.id = v;
         return {};
     }},
    {"index",
     [](DriveOption& d, const std::string& v) -> Complaint {
         const auto n = parse_number(v);
         if (!n || *n > 255) return "index=NUMBER";
         d.index = unsigned(*n);
         return {};
     }},
    {"readonly", [](DriveOption& d, const std::string& v) { return set_switch(d.read_only, "readonly", v); }},
    {"read-only",
     [](DriveOption& d, const std::string& v) { return set_switch(d.read_only, "read-only", v); }},
    {"snapshot", [](DriveOption& d, const std::string& v) { return set_switch(d.snapshot, "snapshot", v); }},
    {"cache", set_cache},
    {"cache.writeback",
     [](DriveOption& d, const std::string& v) {
         bool write_back = true;
         const auto bad = set_switch(write_back, "cache.writeback", v);
         d.write_through = !write_back;
         return bad;
     }},
    {"cache.no-flush",
     [](DriveOption& d, const std::string& v) { return set_switch(d.ignore_flush, "cache.no-flush", v); }},
    {"discard",
     [](DriveOption& d, const std::string& v) -> Complaint {
         if (v != "unmap" && v != "on" && v != "ignore" && v != "off") return "discard=unmap or ignore";
         d.discard = v == "unmap" || v == "on";
         return {};
     }},
    {"detect-zeroes",
     [](DriveOption& d, const std::string& v) -> Complaint {
         if (v != "on" && v != "off" && v != "unmap") return "detect-zeroes=on, off or unmap";
         d.detect_zeroes = v != "off";
         return {};
     }},
    {"aio",
     [](DriveOption& d, const std::string& v) -> Complaint {
         if (v != "threads" && v != "native" && v != "io_uring") return "aio=threads, native or io_uring";
         d.threads = v == "threads";
         return {};
     }},
    {"werror",
     [](DriveOption& d, const std::string& v) { return set_on_error(d.on_write_error, "werror", v); }},
    {"rerror",
     [](DriveOption& d, const std::string& v) { return set_on_error(d.on_read_error, "rerror", v); }},
    {"serial",
     [](DriveOption& d, const std::string& v) -> Complaint {
         d.serial = v;
         return {};
     }},
};

const DriveKey* find_key(const std::string& name) {
    const auto* row = std::find_if(std::begin(drive_keys), std::end(drive_keys),
                                   [&](const DriveKey& k) { return name == k.name; });
    return row == std::end(drive_keys) ? nullptr : row;
}

std::string key_names() {
    std::string names;
    for (const DriveKey& key : drive_keys)
        names += std::string(names.empty() ? "" : ", ") + key.name;
    return names;
}

bool protocol_name(const std::string& file, std::string& protocol) {
    const std::size_t colon = file.find(':');
    if (colon == std::string::npos || file.find('/') < colon || colon < 2) return false;
    protocol = file.substr(0, colon);
    return protocol.find_first_not_of("abcdefghijklmnopqrstuvwxyz+") == std::string::npos;
}

Complaint check_file(DriveOption& drive) {
    std::string protocol;
    if (!protocol_name(drive.file, protocol)) return {};
    if (protocol == "file") {
        drive.file = drive.file.substr(5);
        return {};
    }
    if (const auto folder = block::parse_fat_folder(drive.file)) {
        if (folder->path.empty())
            return "file=fat:[32:][floppy:][rw:]DIR, a folder of this machine as a disk";
        if (!drive.format.empty() && drive.format != "raw") return "format=raw beside file=fat:DIR";
        drive.read_only |= !folder->writable;
        return {};
    }
    if (block::parse_nbd(drive.file)) {
        if (!drive.format.empty() && drive.format != "raw") return "format=raw beside file=nbd:...";
        return {};
    }
    return "file=NAME of a file on this machine, fat:DIR or nbd:HOST:PORT (" + protocol + ": is not built)";
}

// How the host holds an image makes no difference to the guest.
bool without_effect(const std::string& key) {
    static constexpr std::string_view keys[] = {"auto-read-only",
                                                "cache-clean-interval",
                                                "cache-size",
                                                "cache.direct",
                                                "file.aio",
                                                "file.auto-read-only",
                                                "file.cache.direct",
                                                "file.cache.no-flush",
                                                "file.discard",
                                                "file.driver",
                                                "file.locking",
                                                "file.node-name",
                                                "force-share",
                                                "l2-cache-entry-size",
                                                "l2-cache-size",
                                                "lazy-refcounts",
                                                "locking",
                                                "overlap-check",
                                                "pass-discard-other",
                                                "pass-discard-request",
                                                "pass-discard-snapshot",
                                                "refcount-cache-size"};
    return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

Complaint set_drive(Options& o, const std::string& text) {
    DriveOption drive;
    std::optional<unsigned> bus, unit;
    for (const auto& [key, value] : key_values(text)) {
        if (key == "bus" || key == "unit") {
            const auto n = parse_number(value);
            if (!n || *n > 1) return "index=0..3, bus=0..1, unit=0..1";
            (key == "bus" ? bus : unit) = unsigned(*n);
            continue;
        }
        // What the image's own driver takes may be written with its place in the tree.
        std::string name = key;
        if (name == "file.filename") name = "file";
        if (name == "driver") name = "format";
        if (without_effect(name)) continue;
        const DriveKey* row = find_key(name);
        if (!row && value.empty() && key != "file") return "KEY=VALUE; '" + key + "' is not of that form";
        if (!row) return "keys of " + key_names() + ", bus, unit; '" + key + "' is none of them";
        if (const Complaint bad = row->set(drive, value)) return bad;
    }
    if (const Complaint bad = check_file(drive)) return bad;
    if (bus || unit) drive.index = bus.value_or(0) * 2 + unit.value_or(0);
    if (drive.interface == Interface::Ide && drive.index.value_or(0) > 3)
        return "index=0..3, bus=0..1, unit=0..1";
    if (drive.file.empty() && !drive.cd && drive.interface != Interface::Floppy) return "file=NAME";
    drive.read_only |= drive.cd;
    o.drives.push_back(drive);
    return {};
}

// -blockdev: one node of a tree, each level its own option or nested with dots. A format node names its file
// node.
Complaint set_blockdev(Options& o, const std::string& text) {
    DriveOption node;
    node.interface = Interface::None;
    std::string driver, below, file_driver;
    std::map<std::string, std::string> server; // of driver=nbd
    const auto properties = properties_of(text);
    if (!properties) return "KEY=VALUE,... or a JSON object";
    for (const auto& [key, value] : *properties) {
        if (key == "driver")
            driver = value;
        else if (key == "node-name")
            node.id = value;
        else if (key == "filename" || key == "file.filename")
            node.file = value;
        else if (key == "file.driver")
            file_driver = value;
        else if (key == "file")
            below = value;
        else if (key == "export" || key == "server.type" || key == "server.host" || key == "server.port" ||
                 key == "server.path")
            server[key] = value;
        else if (key == "backing" && value == "null")
            node.backing = false;
        else if (without_effect(key))
            continue;
        else if (const DriveKey* row = find_key(key);
                 row && key != "if" && key != "index" && key != "media") {
            if (const Complaint bad = row->set(node, value)) return bad;
        } else {
            return "driver=raw|qcow2|file|nbd,node-name=,filename=,file=,read-only=,discard=,cache.*=; '" +
                   key + "' is none of them";
        }
    }
    if (node.id.empty()) return "node-name=NAME";
    if (!below.empty()) { // the file node takes the format node's name
        const auto lower = std::find_if(o.drives.begin(), o.drives.end(),
                                        [&](const DriveOption& d) { return d.id == below; });
        if (lower == o.drives.end())
            return "file=NAME of a node named by an earlier -blockdev; '" + below + "' is none";
        node.file = lower->file;
        node.read_only |= lower->read_only;
        node.discard |= lower->discard;
        o.drives.erase(lower);
    }
    if (driver == "nbd") {
        node.format = "raw";
        node.file = server["server.path"].empty()
                        ? "nbd:" + server["server.host"] + ":" + server["server.port"]
                        : "nbd:unix:" + server["server.path"];
        if (!server["export"].empty()) node.file += ":exportname=" + server["export"];
    } else if (!server.empty())
        return "driver=nbd beside server and export";
    else if (driver == "file" || driver == "host_device")
        node.format = "raw";
    else if (const Complaint bad = set_format(node, driver))
        return "driver=raw, qcow2, file, host_device or nbd";
    if (!file_driver.empty() && file_driver != "file" && file_driver != "host_device")
        return "file.driver=file or host_device (others are not built)";
    if (node.file.empty()) return "filename=NAME, or file=NODE";
    o.drives.push_back(node);
    return {};
}

Complaint add_floppy(Options& o, unsigned index, const std::string& file) {
    if (file.empty()) return "the name of an image file";
    DriveOption drive{.file = file, .interface = Interface::Floppy, .index = index};
    if (const Complaint bad = check_file(drive)) return bad;
    o.drives.push_back(drive);
    return {};
}

} // namespace

Complaint add_disk(Options& o, unsigned index, const std::string& file) {
    if (file.empty()) return "the name of an image file";
    DriveOption drive{.file = file, .index = index};
    if (const Complaint bad = check_file(drive)) return bad;
    o.drives.push_back(drive);
    return {};
}

std::span<const OptionRow> drive_options() {
    static const OptionRow rows[] = {
        {"hda", "FILE", "image of the primary master disk",
         [](Options& o, const std::string& v) { return add_disk(o, 0, v); }},
        {"hdb", "FILE", "of the primary slave",
         [](Options& o, const std::string& v) { return add_disk(o, 1, v); }},
        {"hdc", "FILE", "of the secondary master",
         [](Options& o, const std::string& v) { return add_disk(o, 2, v); }},
        {"hdd", "FILE", "of the secondary slave",
         [](Options& o, const std::string& v) { return add_disk(o, 3, v); }},
        {"cdrom", "FILE", "CD image, secondary master",
         [](Options& o, const std::string& v) -> Complaint {
             if (const Complaint bad = file_name(v)) return bad;
             o.drives.push_back({.file = v, .index = 2, .cd = true, .read_only = true});
             return check_file(o.drives.back());
         }},
        {"fda", "FILE", "image of floppy disk A",
         [](Options& o, const std::string& v) { return add_floppy(o, 0, v); }},
        {"fdb", "FILE", "of floppy disk B",
         [](Options& o, const std::string& v) { return add_floppy(o, 1, v); }},
        {"drive", "file=FILE[,...]",
         "a drive: FILE may be fat:[floppy:][rw:]DIR, nbd:HOST:PORT or nbd:unix:PATH; "
         "format=raw|qcow2,if=ide|virtio|pflash|none,media=disk|cdrom,index=N,id=ID,readonly=,snapshot=,"
         "cache=,"
         "discard=,werror=,rerror=",
         set_drive},
        {"blockdev", "driver=...",
         "an image for -device: driver=raw|qcow2|file|nbd,node-name=ID,filename=FILE or file=NODE",
         set_blockdev},
        {"pflash", "FILE",
         "the same as -drive if=pflash,format=raw,file=FILE: firmware in a flash; a second one lies under it",
         [](Options& o, const std::string& v) -> Complaint {
             if (const Complaint bad = file_name(v)) return bad;
             o.drives.push_back({.file = v, .format = "raw", .interface = Interface::Flash});
             return {};
         }},
        {"snapshot", nullptr, "what the guest writes goes to temporary files and is forgotten",
         [](Options& o, const std::string&) -> Complaint {
             o.snapshot = true;
             return {};
         }},
    };
    return rows;
}

} // namespace dragoman::runtime
