#include "runtime/option_table.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

bool index_taken(const Options& o, unsigned index) {
    return std::any_of(o.drives.begin(), o.drives.end(),
                       [&](const DriveOption& d) { return d.index == index; });
}

Complaint set_cdrom(Options& o, const std::string& file) {
    if (const Complaint bad = file_name(file)) return bad;
    if (index_taken(o, 2)) return "one drive per place, but the secondary master (index 2) is taken";
    o.drives.push_back({.file = file, .index = 2, .cd = true, .read_only = true});
    return {};
}

Complaint set_drive(Options& o, const std::string& text) {
    DriveOption drive;
    std::optional<unsigned> bus, unit, index;
    for (const auto& [key, value] : key_values(text)) {
        if (key == "file") {
            drive.file = value;
        } else if (key == "format") {
            if (value != "raw") return "format=raw (other formats are not built yet)";
        } else if (key == "if") {
            if (value != "ide") return "if=ide (other interfaces are not built yet)";
        } else if (key == "media") {
            if (value != "disk" && value != "cdrom") return "media=disk or media=cdrom";
            drive.cd = value == "cdrom";
        } else if (key == "readonly" || key == "read-only") {
            const auto on = parse_on_off(value);
            if (!on) return "readonly=on or off";
            drive.read_only = *on;
        } else if (key == "index" || key == "bus" || key == "unit") {
            const auto n = parse_number(value);
            if (!n || *n > 3 || (key != "index" && *n > 1)) return "index=0..3, bus=0..1, unit=0..1";
            (key == "index" ? index : key == "bus" ? bus : unit) = unsigned(*n);
        } else if (key == "id" || key == "cache" || key == "aio" || key == "discard") {
            // names and tuning that make no difference here
        } else {
            return "file=,format=raw,if=ide,media=disk|cdrom,index=,bus=,unit=,readonly=; '" + key +
                   "' is none of them";
        }
    }
    if (drive.file.empty() && !drive.cd) return "file=NAME";
    drive.read_only |= drive.cd;
    if (index) {
        drive.index = *index;
    } else if (bus || unit) {
        drive.index = bus.value_or(0) * 2 + unit.value_or(0);
    } else {
        drive.index = drive.cd ? 2 : 0;
        while (drive.index < 4 && index_taken(o, drive.index))
            ++drive.index;
        if (drive.index == 4) return "at most four IDE drives";
    }
    if (index_taken(o, drive.index))
        return "one drive per place, but IDE place " + std::to_string(drive.index) + " is taken";
    o.drives.push_back(drive);
    return {};
}

} // namespace

Complaint add_disk(Options& o, unsigned index, const std::string& file) {
    if (file.empty()) return "the name of an image file";
    if (index_taken(o, index))
        return "one drive per place, but IDE place " + std::to_string(index) + " is taken";
    o.drives.push_back({.file = file, .index = index});
    return {};
}

std::span<const OptionRow> drive_options() {
    static const std::vector<OptionRow> rows = {
        {"hda", "FILE", "raw image of the primary master disk",
         [](Options& o, const std::string& v) { return add_disk(o, 0, v); }},
        {"hdb", "FILE", "of the primary slave",
         [](Options& o, const std::string& v) { return add_disk(o, 1, v); }},
        {"hdc", "FILE", "of the secondary master",
         [](Options& o, const std::string& v) { return add_disk(o, 2, v); }},
        {"hdd", "FILE", "of the secondary slave",
         [](Options& o, const std::string& v) { return add_disk(o, 3, v); }},
        {"cdrom", "FILE", "CD image, secondary master", set_cdrom},
        {"drive", "file=FILE[,...]", "a drive: format=raw,if=ide,media=disk|cdrom,index=N,readonly=on",
         set_drive},
    };
    return rows;
}

} // namespace dragoman::runtime
