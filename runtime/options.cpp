#include "runtime/options.h"

#include "runtime/option_table.h"

#include <algorithm>
#include <cstdlib>
#include <map>

namespace dragoman::runtime {

namespace {

// Every table of options, in the order of the help text; a new concern adds its name here.
constexpr std::span<const OptionRow> (*option_tables[])() = {
    machine_options, identity_options, drive_options, net_options,  card_options,
    chardev_options, device_options,   usb_options,   host_options, run_options};

} // namespace

std::vector<const OptionRow*> option_rows() {
    std::vector<const OptionRow*> all;
    for (const auto table : option_tables)
        for (const OptionRow& row : table())
            all.push_back(&row);
    return all;
}

namespace {

const OptionRow* find(const std::string& name) {
    for (const OptionRow* row : option_rows())
        if (name == row->name) return row;
    return nullptr;
}

// Other spellings of the same.
const std::map<std::string, std::string> aliases = {{"M", "machine"}, {"h", "help"}, {"?", "help"}};

// -global counts for devices before it as well.
Status take_globals(Options& options, int argc, const char* const* argv) {
    for (int n = 1; n + 1 < argc; ++n) {
        const std::string name = argv[n];
        if (name != "-global" && name != "--global") continue;
        const std::string value = argv[n + 1];
        if (const Complaint bad = add_global(options, value))
            return Error{"-global " + value + ": expected " + *bad};
    }
    return Ok{};
}

Status apply(Options& options, const OptionRow& row, const std::string& value) {
    if (!row.set) return Ok{};
    const std::size_t drives = options.drives.size(), captures = options.captures.size();
    const std::string given = "-" + std::string(row.name) + (row.argument ? " " + value : "");
    if (const Complaint bad = row.set(options, value)) return Error{given + ": expected " + *bad};
    if (options.drives.size() > drives) options.drives.back().given = given;
    if (options.captures.size() > captures) options.captures.back().given = given;
    return Ok{};
}

// A name for each device that was given none; no user's name begins so.
void name_devices(Options& o) {
    const auto name = [](auto& devices, const char* kind, auto&& wanted) {
        for (auto& device : devices)
            for (unsigned n = 0; device.id.empty() && wanted(device); ++n) {
                const std::string id = "#" + std::string(kind) + std::to_string(n);
                if (std::none_of(devices.begin(), devices.end(), [&](const auto& d) { return d.id == id; }))
                    device.id = id;
            }
    };
    const auto all = [](const auto&) { return true; };
    name(o.disks, "disk", all);
    name(o.nics, "nic", all);
    // Ports mean a console without a name by that.
    name(o.cards, "card", [](const CardOption& c) { return c.model != CardOption::Model::Console; });
}

// Who uses what, and where each thing goes. Again for more options: what has a place keeps it.
Status place_all(Options& options) {
    for (const auto place : {place_disks, place_nics, place_cards, check_chardevs, check_vnc})
        if (auto s = place(options); !s) return s;
    name_devices(options);
    return check_slots(options);
}

} // namespace

Complaint file_name(const std::string& text) {
    if (text.empty()) return "the name of a file";
    return {};
}

std::string help_text() {
    std::string text = "usage: dragoman [options] [disk image]\n\n";
    for (const OptionRow* each : option_rows()) {
        const OptionRow& row = *each;
        std::string left =
            "  -" + std::string(row.name) + (row.argument ? " " + std::string(row.argument) : "");
        left.resize(std::max<std::size_t>(left.size() + 1, 26), ' ');
        text += left + row.help + "\n";
    }
    text +=
        "\nexample: dragoman -m 512 -nographic -kernel vmlinuz -initrd initrd.img -append console=ttyS0\n";
    return text;
}

Result<Options> with_option(const Options& options, const std::string& name, const std::string& value) {
    Options more = options;
    if (auto s = apply(more, *find(name), value); !s) return s.error();
    if (auto s = place_all(more); !s) return s.error();
    return more;
}

Result<Options> parse_options(int argc, const char* const* argv) {
    Options options;
    const bool has_screen = std::getenv("DISPLAY") || std::getenv("WAYLAND_DISPLAY");
    options.display = has_screen ? Options::Display::Sdl : Options::Display::None;

    if (auto s = take_globals(options, argc, argv); !s) return s.error();
    // The order of options counts (-serial twice, -nographic after -serial), so they are applied as they
    // come.
    for (int n = 1; n < argc; ++n) {
        std::string name = argv[n];
        if (name.size() < 2 || name[0] != '-') { // an image without option
            if (const Complaint bad = add_disk(options, 0, name))
                return Error{"disk image '" + name + "': expected " + *bad};
            options.drives.back().given = "disk image '" + name + "'";
            continue;
        }
        name.erase(0, name.compare(0, 2, "--") == 0 ? 2 : 1);
        if (const auto alias = aliases.find(name); alias != aliases.end()) name = alias->second;
        const OptionRow* row = find(name);
        if (const ForeignOption* foreign = row ? nullptr : find_foreign(name)) {
            if (foreign->fate == ForeignOption::Fate::Refused)
                return Error{"-" + name + ": not built, " + foreign->about};
            if (foreign->fate == ForeignOption::Fate::Warned)
                options.warnings.push_back("-" + name + ": has no effect, " + foreign->about);
            n += foreign->argument;
            continue;
        }
        if (!row) return Error{"-" + name + ": unknown option; -help lists what there is"};
        if (row->argument && n + 1 == argc)
            return Error{"-" + name + ": a value is missing; -help says what it takes"};
        const std::string value = row->argument ? argv[++n] : "";
        if (name == "readconfig") {
            const auto lines = read_config(value);
            if (!lines) return lines.error();
            for (const auto& [option, text] : lines.value()) {
                if (option == "global") {
                    if (const Complaint bad = add_global(options, text))
                        return Error{"-readconfig " + value + ": [global]: expected " + *bad};
                    continue;
                }
                const OptionRow* other = find(option);
                if (!other || !other->argument)
                    return Error{"-readconfig " + value + ": section '" + option +
                                 "': expected the name of an option"};
                if (const auto s = apply(options, *other, text); !s) return s.error();
            }
            continue;
        }
        if (const auto s = apply(options, *row, value); !s) return s.error();
    }
    if (!options.help.empty()) return options;
    if (options.nodefaults && !options.vga_given) options.vga = false;
    if (auto s = place_all(options); !s) return s.error();

    if (options.action == Options::Action::Run && options.kernel.empty()) {
        if (!options.initrd.empty())
            return Error{"-initrd " + options.initrd + ": expected -kernel beside it"};
        if (!options.append.empty())
            return Error{"-append " + options.append + ": expected -kernel beside it"};
    }
    if (options.vcpu.verify && options.vcpu.interpret) return Error{"-verify: expected -accel dbt beside it"};
    if (!options.vcpu.tb_cache.empty() && options.vcpu.interpret)
        return Error{"-tb-cache: expected -accel dbt beside it; the interpreter makes no translations"};
    return options;
}

} // namespace dragoman::runtime
