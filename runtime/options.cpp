#include "runtime/options.h"

#include "runtime/option_table.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cstdlib>
#include <map>

namespace dragoman::runtime {

namespace {

namespace po = boost::program_options;

// Every table of options, in the order of the help text; a new concern adds its name here.
constexpr std::span<const OptionRow> (*option_tables[])() = {machine_options, drive_options, chardev_options,
                                                             device_options, run_options};

std::vector<const OptionRow*> rows() {
    std::vector<const OptionRow*> all;
    for (const auto table : option_tables)
        for (const OptionRow& row : table())
            all.push_back(&row);
    return all;
}

const OptionRow* find(const std::string& name) {
    for (const OptionRow* row : rows())
        if (name == row->name) return row;
    return nullptr;
}

// Other spellings of the same.
const std::map<std::string, std::string> aliases = {{"M", "machine"}, {"h", "help"}, {"enable-kvm", "accel"}};

} // namespace

Complaint file_name(const std::string& text) {
    if (text.empty()) return "the name of a file";
    return {};
}

std::string help_text() {
    std::string text = "usage: dragoman [options] [disk image]\n\n";
    for (const OptionRow* each : rows()) {
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

Result<Options> parse_options(int argc, const char* const* argv) {
    Options options;
    const bool has_screen = std::getenv("DISPLAY") || std::getenv("WAYLAND_DISPLAY");
    options.display = has_screen ? Options::Display::Sdl : Options::Display::None;

    // The order of options counts (-serial twice, -nographic after -serial), so they are applied as they
    // come.
    po::options_description description;
    for (const OptionRow* row : rows()) {
        if (row->argument)
            description.add_options()(row->name, po::value<std::string>());
        else
            description.add_options()(row->name, po::bool_switch());
    }
    description.add_options()("M", po::value<std::string>())("h", po::bool_switch())("enable-kvm",
                                                                                     po::bool_switch());
    po::positional_options_description positional;
    description.add_options()("image", po::value<std::string>());
    positional.add("image", -1);

    static constexpr const char* unknown = ": unknown option; -help lists what there is";
    const auto one_dash = [](std::string name) {
        while (name.rfind("--", 0) == 0)
            name.erase(0, 1);
        return name;
    };
    namespace style = po::command_line_style;
    po::parsed_options parsed(&description);
    try {
        parsed = po::command_line_parser(argc, argv)
                     .options(description)
                     .positional(positional)
                     .style(style::allow_long | style::allow_long_disguise | style::long_allow_next)
                     .run();
    } catch (const po::unknown_option& e) {
        return Error{one_dash(e.get_option_name()) + unknown};
    } catch (const po::invalid_command_line_syntax& e) {
        const bool missing = e.kind() == po::invalid_syntax::missing_parameter;
        return Error{one_dash(e.get_option_name()) +
                     (missing ? ": a value is missing; -help says what it takes" : ": expected no value")};
    } catch (const po::error& e) {
        return Error{e.what()};
    }

    for (const po::option& option : parsed.options) {
        std::string name = option.string_key;
        std::string value = option.value.empty() ? "" : option.value[0];
        if (name == "image") {
            for (const std::string& file : option.value) {
                if (file.size() > 1 && file[0] == '-') return Error{one_dash(file) + unknown};
                if (const Complaint bad = add_disk(options, 0, file))
                    return Error{"disk image '" + file + "': expected " + *bad};
                options.drives.back().given = "disk image";
            }
            continue;
        }
        if (name == "enable-kvm") value = "kvm";
        if (const auto alias = aliases.find(name); alias != aliases.end()) name = alias->second;
        const OptionRow* row = find(name);
        if (!row || !row->set) continue;
        const std::size_t drives = options.drives.size();
        if (const Complaint bad = row->set(options, value))
            return Error{"-" + name + (row->argument ? " " + value : "") + ": expected " + *bad};
        if (options.drives.size() > drives) options.drives.back().given = "-" + name + " " + value;
    }

    if (options.action == Options::Action::Run && options.kernel.empty()) {
        if (!options.initrd.empty())
            return Error{"-initrd " + options.initrd + ": expected -kernel beside it"};
        if (!options.append.empty())
            return Error{"-append " + options.append + ": expected -kernel beside it"};
    }
    unsigned terminals = 0;
    for (const std::string& device : options.serial)
        terminals += device == "stdio" || device == "mon:stdio";
    terminals += options.monitor == "stdio" || options.monitor == "mon:stdio";
    terminals += options.debugcon == "stdio" && terminals == 0;
    if (terminals > 1)
        return Error{
            "stdio: expected one user of the terminal (mon:stdio lets serial port and monitor share it)"};
    if (options.verify && options.interpret) return Error{"-verify: expected -accel dbt beside it"};
    return options;
}

} // namespace dragoman::runtime
