// What the machine is called, and what its firmware tells: names, SMBIOS, files in fw_cfg.
#include "runtime/option_table.h"

#include <algorithm>
#include <cctype>
#include <fstream>

namespace dragoman::runtime {

namespace {

Complaint set_name(Options& o, const std::string& text) {
    for (const auto& [key, value] : key_values(text))
        if (key == "guest" || value.empty()) o.name = key == "guest" ? value : key;
    return {};
}

Complaint set_uuid(Options& o, const std::string& text) {
    static constexpr std::string_view form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    bool good = text.size() == form.size();
    for (std::size_t n = 0; good && n < form.size(); ++n)
        good = form[n] == '-' ? text[n] == '-' : std::isxdigit(static_cast<unsigned char>(text[n])) != 0;
    if (!good) return "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx in hexadecimal";
    o.uuid = text;
    return {};
}

struct SmbiosType {
    unsigned type;
    const char* fields; // each between spaces
};
constexpr SmbiosType smbios_types[] = {
    {0, " vendor version date release uefi "},
    {1, " manufacturer product version serial uuid sku family "},
    {2, " manufacturer product version serial asset location "},
    {3, " manufacturer version serial asset sku "},
    {4, " sock_pfx manufacturer version serial asset part max-speed current-speed "},
    {11, " value path "},
    {17, " loc_pfx bank manufacturer serial asset part speed "},
};

Complaint set_smbios(Options& o, const std::string& text) {
    const auto properties = properties_of(text);
    if (!properties || properties->empty()) return "type=N,FIELD=TEXT,...";
    std::optional<u64> number;
    std::size_t bytes = text.size(); // all of it must fit into the tables' 64 KiB
    for (const auto& [name, value] : o.smbios.texts)
        bytes += value.size();
    for (const std::string& value : o.smbios.oem)
        bytes += value.size();
    if (bytes > 16 * KiB) return "up to 16 KiB in all";
    for (const auto& [key, value] : *properties)
        if (key == "type") number = parse_number(value);
    const auto* row = std::find_if(std::begin(smbios_types), std::end(smbios_types),
                                   [&](const SmbiosType& t) { return number == t.type; });
    if (row == std::end(smbios_types))
        return "type=0, 1, 2, 3, 4, 11 or 17 and its fields (files are not built)";
    for (const auto& [key, value] : *properties) {
        if (key == "type") continue;
        if (std::string_view(row->fields).find(" " + key + " ") == std::string_view::npos)
            return "for this type the fields" + std::string(row->fields) + "; '" + key + "' is none of them";
        if (row->type == 11 && key == "path") {
            std::ifstream file(value, std::ios::binary);
            std::string content(16 * KiB, '\0');
            file.read(content.data(), std::streamsize(content.size()));
            if (!file.eof()) return "path=FILE that can be read, of less than 16 KiB";
            content.resize(std::size_t(file.gcount()));
            o.smbios.oem.push_back(content);
        } else if (key == "max-speed" || key == "current-speed" || key == "speed") {
            const auto megahertz = parse_number(value);
            if (!megahertz || *megahertz > 0xffff) return key + "=MHZ up to 65535";
            o.smbios.texts[{row->type, key}] = value;
        } else if (row->type == 11) {
            o.smbios.oem.push_back(value);
        } else if (row->type == 1 && key == "uuid") {
            if (const Complaint bad = set_uuid(o, value)) return "uuid=" + *bad;
        } else {
            o.smbios.texts[{row->type, key}] = value;
        }
    }
    return {};
}

Complaint add_fw_cfg(Options& o, const std::string& text) {
    FwCfgOption file;
    bool content = false;
    for (const auto& [key, value] : key_values(text)) {
        if (key == "name" || (value.empty() && file.name.empty()))
            file.name = key == "name" ? value : key;
        else if (key == "file")
            file.file = value, content = !value.empty();
        else if (key == "string")
            file.text = value, content = true;
        else
            return "name=NAME,file=FILE or string=TEXT; '" + key + "' is none of them";
    }
    if (file.name.empty() || file.name.size() > 55) return "name=NAME of 1 to 55 bytes";
    if (!content) return "file=FILE or string=TEXT";
    if (file.name.rfind("opt/", 0) != 0)
        o.warnings.push_back("-fw_cfg " + text + ": names of one's own begin with opt/");
    o.fw_cfg.push_back(std::move(file));
    return {};
}

} // namespace

std::span<const OptionRow> identity_options() {
    static const OptionRow rows[] = {
        {"name", "TEXT", "name of the machine, for programs that ask", set_name},
        {"uuid", "UUID", "number of the machine, in the SMBIOS tables and for programs that ask", set_uuid},
        {"smbios", "type=N,FIELD=TEXT", "what the SMBIOS tables say (types 0, 1, 2, 3, 4, 11, 17)",
         set_smbios},
        {"fw_cfg", "name=NAME,file=FILE|string=TEXT", "a file for firmware and guest (opt/...)", add_fw_cfg},
    };
    return rows;
}

} // namespace dragoman::runtime
