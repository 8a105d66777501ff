// Cards besides disks and networks: -device, and the options that belong to them.
#include "runtime/option_table.h"

#include <algorithm>
#include <array>

namespace dragoman::runtime {

namespace {

using Model = CardOption::Model;

// Properties that have no effect on what the guest of this machine can see.
constexpr const char* ignored[] = {"bus",           "rombar",
                                   "romfile",       "acpi-index",
                                   "multifunction", "vectors",
                                   "ioeventfd",     "packed",
                                   "event_idx",     "indirect_desc",
                                   "max_ports",     "iommu_platform",
                                   "ats",           "guest-stats-polling-interval",
                                   "page-poison",   "free-page-hint",
                                   "iothread",      "events",
                                   "class"};

Complaint set_switch(bool& to, const std::string& key, const std::string& value) {
    const auto on = value == "auto" ? std::optional(false) : parse_on_off(value);
    if (!on) return key + "=on or off";
    to = *on;
    return {};
}

Complaint set_number(u64& to, const std::string& key, const std::string& value, u64 most) {
    const auto n = parse_number(value);
    if (!n || *n == 0 || *n > most) return key + "=1 to " + std::to_string(most);
    to = *n;
    return {};
}

struct CardKey {
    const char* name;
    std::optional<Model> only; // nothing: every virtio card has it
    Complaint (*set)(CardOption&, const std::string& key, const std::string& value);
};
constexpr CardKey card_keys[] = {
    {"disable-legacy",
     {},
     [](CardOption& c, const std::string& k, const std::string& v) {
         const Complaint bad = set_switch(c.legacy, k, v);
         c.legacy = !c.legacy;
         return bad;
     }},
    {"disable-modern",
     {},
     [](CardOption& c, const std::string& k, const std::string& v) {
         const Complaint bad = set_switch(c.modern, k, v);
         c.modern = !c.modern;
         return bad;
     }},
    {"rng", Model::Rng,
     [](CardOption& c, const std::string&, const std::string& v) -> Complaint {
         c.rng = v;
         return {};
     }},
    {"max-bytes", Model::Rng,
     [](CardOption& c, const std::string& k, const std::string& v) {
         return set_number(c.max_bytes, k, v, 1 * GiB);
     }},
    {"period", Model::Rng,
     [](CardOption& c, const std::string& k, const std::string& v) {
         return set_number(c.period_ms, k, v, 86400000);
     }},
    {"deflate-on-oom", Model::Balloon,
     [](CardOption& c, const std::string& k, const std::string& v) {
         return set_switch(c.deflate_on_oom, k, v);
     }},
    {"free-page-reporting", Model::Balloon,
     [](CardOption& c, const std::string& k, const std::string& v) {
         return set_switch(c.free_page_reporting, k, v);
     }},
    {"fsdev", Model::SharedFolder,
     [](CardOption& c, const std::string&, const std::string& v) -> Complaint {
         c.folder = v;
         return {};
     }},
    {"mount_tag", Model::SharedFolder,
     [](CardOption& c, const std::string&, const std::string& v) -> Complaint {
         c.mount_tag = v;
         return {};
     }},
};

bool is_virtio(Model model) {
    return model != Model::Watchdog && model != Model::Panic;
}

Complaint add_card(Options& o, Model model, const Properties& properties) {
    CardOption card;
    card.model = model;
    std::string known = "addr=SLOT";
    for (const CardKey& key : card_keys)
        if (key.only ? key.only == model : is_virtio(model)) known += std::string(",") + key.name + "=";
    for (const auto& [key, value] : properties) {
        const std::string& name = key;
        const auto* row = std::find_if(std::begin(card_keys), std::end(card_keys), [&](const CardKey& k) {
            return name == k.name && (k.only ? k.only == model : is_virtio(model));
        });
        if (row != std::end(card_keys)) {
            if (const Complaint bad = row->set(card, key, value)) return bad;
        } else if (key == "id") {
            card.id = value;
        } else if (key == "addr") {
            if (const Complaint bad = set_slot(card.slot, value)) return bad;
        } else if (std::find(std::begin(ignored), std::end(ignored), name) == std::end(ignored)) {
            return known + "; '" + key + "' is none of them";
        }
    }
    if (!card.legacy && !card.modern) return "disable-legacy or disable-modern, not both";
    if (model == Model::SharedFolder &&
        (card.folder.empty() || card.mount_tag.empty() || card.mount_tag.size() > 255))
        return "fsdev=ID,mount_tag=TAG of up to 255 bytes";
    o.cards.push_back(std::move(card));
    return {};
}

template <Model model> Complaint add(Options& o, const Properties& properties) {
    return add_card(o, model, properties);
}

template <bool console> Complaint add_port(Options& o, const Properties& properties) {
    PortOption port;
    port.console = console;
    for (const auto& [key, value] : properties) {
        if (key == "chardev") {
            port.chardev = "chardev:" + value;
        } else if (key == "name") {
            port.name = value;
        } else if (key == "id") {
            port.id = value;
        } else if (key == "bus") {
            port.bus = value;
        } else if (key == "nr") {
            const auto n = parse_number(value);
            if (!n || *n > 30) return "nr=0 to 30";
            port.number = unsigned(*n);
        } else {
            return "chardev=ID,name=NAME,bus=ID.0,nr=N; '" + key + "' is none of them";
        }
    }
    if (port.name.size() > 255) return "name= of up to 255 bytes";
    o.ports.push_back(std::move(port));
    return {};
}

Complaint add_isa_panic(Options& o, const Properties& properties) {
    for (const auto& [key, value] : properties)
        if (key != "id" && key != "events" && !(key == "ioport" && parse_number(value, 0) == 0x505))
            return "ioport=0x505; '" + key + "' is not that";
    o.isa_panic = true;
    return {};
}

// -fsdev local,id=ID,path=PATH,security_model=MODEL, and the same of -virtfs, which has a mount_tag as well.
Complaint parse_folder(const std::string& text, FolderOption& folder, std::string& tag) {
    bool local = false;
    for (const auto& [key, value] : key_values(text)) {
        if (key == "local" || key == "fsdriver") {
            if (!value.empty() && value != "local") return "local,... ('" + value + "' is not built)";
            local = true;
        } else if (key == "id") {
            folder.id = value;
        } else if (key == "path") {
            folder.path = value;
        } else if (key == "mount_tag") {
            tag = value;
        } else if (key == "readonly") {
            if (const Complaint bad = set_switch(folder.read_only, key, value)) return bad;
        } else if (key == "security_model" || key == "security-model") {
            if (value == "none")
                folder.security = FolderOption::Security::None;
            else if (value == "passthrough")
                folder.security = FolderOption::Security::Passthrough;
            else if (value == "mapped" || value == "mapped-xattr")
                folder.security = FolderOption::Security::Mapped;
            else
                return "security_model=none, passthrough or mapped-xattr (mapped-file is not built)";
        } else if (key != "writeout" && key != "multidevs" && key != "fmode" && key != "dmode") {
            return "local,path=FOLDER,security_model=MODEL,readonly=on|off; '" + key + "' is none of them";
        }
    }
    if (!local) return "local,path=FOLDER,... (others are not built)";
    if (folder.path.empty()) return "path=FOLDER";
    return {};
}

Complaint add_folder(Options& o, const std::string& text) {
    FolderOption folder;
    std::string tag;
    if (const Complaint bad = parse_folder(text, folder, tag)) return bad;
    if (folder.id.empty() || !tag.empty()) return "id=ID, and mount_tag= in -device virtio-9p-pci";
    folder.given = "-fsdev " + text;
    o.folders.push_back(std::move(folder));
    return {};
}

Complaint add_virtfs(Options& o, const std::string& text) {
    FolderOption folder;
    CardOption card;
    card.model = Model::SharedFolder;
    if (const Complaint bad = parse_folder(text, folder, card.mount_tag)) return bad;
    if (card.mount_tag.empty() || card.mount_tag.size() > 255) return "mount_tag=TAG of up to 255 bytes";
    if (folder.id.empty()) folder.id = card.mount_tag;
    folder.given = card.given = "-virtfs " + text;
    card.folder = folder.id;
    o.folders.push_back(std::move(folder));
    o.cards.push_back(std::move(card));
    return {};
}

template <class Action>
Complaint set_action(Action& to, const std::string& text,
                     std::initializer_list<std::pair<const char*, Action>> words) {
    std::string list;
    for (const auto& [word, action] : words) {
        if (text == word) {
            to = action;
            return {};
        }
        list += (list.empty() ? "" : ", ") + std::string(word);
    }
    return list;
}

} // namespace

Complaint set_watchdog_action(Options& o, const std::string& text) {
    using A = WatchdogAction;
    return set_action<A>(o.watchdog_action, text,
                         {{"reset", A::Reset},
                          {"shutdown", A::Shutdown},
                          {"poweroff", A::Poweroff},
                          {"pause", A::Pause},
                          {"debug", A::Debug},
                          {"none", A::None},
                          {"inject-nmi", A::Nmi}});
}

Complaint set_panic_action(Options& o, const std::string& text) {
    using A = PanicAction;
    return set_action<A>(o.panic_action, text,
                         {{"shutdown", A::Shutdown},
                          {"exit-failure", A::ExitFailure},
                          {"pause", A::Pause},
                          {"none", A::None}});
}

Status place_cards(Options& o) {
    const auto wrong = [](const std::string& given, const std::string& what) {
        return Error{given + ": expected " + what};
    };
    std::vector<std::string> ids;
    for (CardOption& card : o.cards) {
        if (!card.id.empty() && std::find(ids.begin(), ids.end(), card.id) != ids.end())
            return wrong(card.given, "an id of its own");
        ids.push_back(card.id);
        if (!card.rng.empty() && !o.rngs.count(card.rng))
            return wrong(card.given, "rng=ID of an -object rng-random");
        if (card.model == Model::SharedFolder &&
            std::none_of(o.folders.begin(), o.folders.end(),
                         [&](const FolderOption& f) { return f.id == card.folder; }))
            return wrong(card.given, "fsdev=ID of an -fsdev");
    }
    std::vector<std::array<bool, 31>> taken(o.cards.size());
    for (const bool numbered : {true, false}) { // those with a number first
        for (PortOption& port : o.ports) {
            if (port.number.has_value() != numbered) continue;
            const std::string bus = port.bus.substr(0, port.bus.rfind('.'));
            const auto card = std::find_if(o.cards.begin(), o.cards.end(), [&](const CardOption& c) {
                return c.model == Model::Console &&
                       (bus.empty() || c.id == bus || (c.id.empty() && bus == "virtio-serial0"));
            });
            if (card == o.cards.end())
                return wrong(port.given, "a virtio-serial-pci before it, named by bus=ID.0");
            port.card = unsigned(card - o.cards.begin());
            auto& numbers = taken[port.card];
            // Port 0 is for consoles: old drivers take it for one.
            unsigned n = port.number.value_or(port.console ? 0 : 1);
            while (!numbered && n < numbers.size() && numbers[n])
                ++n;
            if (n >= numbers.size() || numbers[n]) return wrong(port.given, "a number that is free, 0 to 30");
            numbers[n] = true;
            port.number = n;
        }
        if (!numbered) break;
    }
    return Ok{};
}

std::span<const DeviceRow> card_devices() {
    static const DeviceRow rows[] = {
        {"virtio-rng-pci", "[,rng=ID,max-bytes=N,period=MS]", "random numbers", add<Model::Rng>},
        {"virtio-rng", "", "the same", add<Model::Rng>},
        {"virtio-serial-pci", "[,id=ID]", "a card for the following ports", add<Model::Console>},
        {"virtio-serial", "", "the same", add<Model::Console>},
        {"virtserialport", ",chardev=ID,name=NAME[,bus=ID.0,nr=N]", "a port for programs", add_port<false>},
        {"virtconsole", ",chardev=ID[,bus=ID.0,nr=N]", "a terminal (hvc0)", add_port<true>},
        {"virtio-balloon-pci", "[,free-page-reporting=on]", "memory that goes back to the host",
         add<Model::Balloon>},
        {"virtio-balloon", "", "the same", add<Model::Balloon>},
        {"virtio-9p-pci", ",fsdev=ID,mount_tag=TAG", "a shared folder", add<Model::SharedFolder>},
        {"i6300esb", "", "watchdog (see -watchdog-action)", add<Model::Watchdog>},
        {"pvpanic", "", "a crash of the guest's kernel is told (see -action panic=)", add_isa_panic},
        {"pvpanic-pci", "", "the same as a PCI function", add<Model::Panic>},
    };
    return rows;
}

std::span<const OptionRow> card_options() {
    static const OptionRow rows[] = {
        {"virtfs", "local,path=FOLDER,mount_tag=TAG[,...]",
         "a folder that the guest may mount: security_model=none|passthrough|mapped-xattr,readonly=on",
         add_virtfs},
        {"fsdev", "local,id=ID,path=FOLDER[,...]", "the same for -device virtio-9p-pci", add_folder},
        {"watchdog-action", "ACTION", "reset, shutdown, poweroff, pause, inject-nmi, debug or none",
         set_watchdog_action},
    };
    return rows;
}

} // namespace dragoman::runtime
