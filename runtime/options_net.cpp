// Networks (-netdev), cards (-device) and both at once (-nic, -net).
#include "hw/core/pci_msi.h"
#include "hw/virtio_net.h"
#include "runtime/option_table.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

using Model = NicOption::Model;

// --- networks

// One property of a kind of network. `set` returns false when it does not like the value.
template <class T> struct Key {
    const char* name;
    const char* value; // what was expected
    bool (*set)(T&, const std::string&);
};

bool set_ipv4(std::optional<u32>& to, const std::string& value) {
    to = parse_ipv4(value);
    return to.has_value();
}

bool set_switch(bool& to, const std::string& value) {
    const auto on = parse_on_off(value);
    to = on.value_or(false);
    return on.has_value();
}

// "10.0.2.0/24", "10.0.2.0/255.255.255.0"; without a mask that of the address's class.
bool set_network(UserNetwork& n, const std::string& value) {
    const std::size_t slash = value.find('/');
    const auto address = parse_ipv4(value.substr(0, slash));
    if (!address) return false;
    if (slash == std::string::npos) {
        n.mask = *address >> 31 == 0 ? 0xff000000u : *address >> 30 == 2 ? 0xffff0000u : 0xffffff00u;
    } else {
        const std::string text = value.substr(slash + 1);
        const auto bits = parse_number(text);
        const auto mask = bits ? std::nullopt : parse_ipv4(text);
        if (bits ? *bits < 4 || *bits > 30 : !mask || (~*mask & (~*mask + 1)) || ~*mask < 3) return false;
        n.mask = bits ? ~0u << (32 - *bits) : *mask;
    }
    n.network = *address & n.mask;
    return true;
}

const Key<UserNetwork> user_keys[] = {
    {"net", "NETWORK/BITS", set_network},
    {"host", "ADDRESS", [](UserNetwork& n, const std::string& v) { return set_ipv4(n.host, v); }},
    {"dhcpstart", "ADDRESS", [](UserNetwork& n, const std::string& v) { return set_ipv4(n.dhcp_start, v); }},
    {"dns", "ADDRESS", [](UserNetwork& n, const std::string& v) { return set_ipv4(n.name_server, v); }},
    {"restrict", "on or off",
     [](UserNetwork& n, const std::string& v) { return set_switch(n.restricted, v); }},
    {"ipv4", "on or off", [](UserNetwork& n, const std::string& v) { return set_switch(n.ipv4, v); }},
    {"ipv6", "on or off", [](UserNetwork& n, const std::string& v) { return set_switch(n.ipv6, v); }},
    {"hostname", "NAME", [](UserNetwork& n, const std::string& v) { return !(n.hostname = v).empty(); }},
    {"domainname", "NAME", [](UserNetwork& n, const std::string& v) { return !(n.domain = v).empty(); }},
    {"dnssearch", "NAME",
     [](UserNetwork& n, const std::string& v) {
         n.dns_search.push_back(v);
         return !v.empty();
     }},
    {"tftp", "DIRECTORY", [](UserNetwork& n, const std::string& v) { return !(n.tftp = v).empty(); }},
    {"tftp-server-name", "NAME",
     [](UserNetwork& n, const std::string& v) { return !(n.tftp_server = v).empty(); }},
    {"bootfile", "NAME", [](UserNetwork& n, const std::string& v) { return !(n.boot_file = v).empty(); }},
    {"hostfwd", "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT",
     [](UserNetwork& n, const std::string& v) {
         const auto forward = parse_host_forward(v);
         if (forward) n.forwards.push_back(*forward);
         return forward.has_value();
     }},
};

Complaint check_addresses(const UserNetwork& n) {
    const std::pair<const char*, std::optional<u32>> addresses[] = {
        {"host", n.host}, {"dhcpstart", n.dhcp_start}, {"dns", n.name_server}};
    for (const auto& [name, address] : addresses)
        if (address && (*address & n.mask) != n.network)
            return std::string(name) + "= in the network of net=";
    return {};
}

bool set_tcp(StreamNetwork& n, const std::string& value, bool server) {
    n.tcp = parse_tcp_address(value);
    n.server = server;
    return n.tcp.has_value();
}

const Key<StreamNetwork> socket_keys[] = {
    {"listen", "[HOST]:PORT", [](StreamNetwork& n, const std::string& v) { return set_tcp(n, v, true); }},
    {"connect", "HOST:PORT", [](StreamNetwork& n, const std::string& v) { return set_tcp(n, v, false); }},
};

TcpAddress& tcp_of(StreamNetwork& n) {
    return n.tcp ? *n.tcp : n.tcp.emplace();
}

const Key<StreamNetwork> stream_keys[] = {
    {"server", "on or off", [](StreamNetwork& n, const std::string& v) { return set_switch(n.server, v); }},
    {"addr.type", "inet or unix",
     [](StreamNetwork& n, const std::string& v) {
         if (v == "inet") tcp_of(n);
         return v == "inet" || v == "unix";
     }},
    {"addr.host", "HOST",
     [](StreamNetwork& n, const std::string& v) {
         tcp_of(n).host = v;
         return true;
     }},
    {"addr.port", "PORT",
     [](StreamNetwork& n, const std::string& v) {
         tcp_of(n).port = v;
         return parse_tcp_address(":" + v).has_value();
     }},
    {"addr.path", "PATH", [](StreamNetwork& n, const std::string& v) { return !(n.path = v).empty(); }},
};

bool is_switch(TapNetwork&, const std::string& value) {
    return parse_on_off(value).has_value();
}

const Key<TapNetwork> tap_keys[] = {
    {"ifname", "NAME of up to 15 bytes",
     [](TapNetwork& n, const std::string& v) { return !(n.interface = v).empty() && v.size() < 16; }},
    {"fd", "NUMBER of an open descriptor",
     [](TapNetwork& n, const std::string& v) {
         const auto number = parse_number(v);
         if (number && *number < 1u << 20) n.fd = int(*number);
         return n.fd.has_value();
     }},
    {"script", "no (the interface is yours to set up)",
     [](TapNetwork&, const std::string& v) { return v == "no"; }},
    {"downscript", "no", [](TapNetwork&, const std::string& v) { return v == "no"; }},
    // How the host's kernel would help makes no difference to the guest.
    {"vhost", "on or off", is_switch},
    {"vhostforce", "on or off", is_switch},
    {"vnet_hdr", "on or off", is_switch},
    {"sndbuf", "BYTES", [](TapNetwork&, const std::string&) { return true; }},
};

template <class T>
Complaint fill(NetworkOption& network, std::span<const Key<T>> keys, const Properties& properties) {
    T what;
    for (const auto& property : properties) {
        const std::string &name = property.first, &value = property.second;
        const auto key =
            std::find_if(keys.begin(), keys.end(), [&](const Key<T>& k) { return name == k.name; });
        if (key == keys.end()) {
            std::string names;
            for (const Key<T>& k : keys)
                names += (names.empty() ? "" : ", ") + std::string(k.name);
            return names + "; '" + name + "' is none of them";
        }
        if (!key->set(what, value)) return name + "=" + key->value;
    }
    network.what = std::move(what);
    return {};
}

// Takes the first property named so out of the list.
std::optional<std::string> take(Properties& properties, const std::string& name) {
    const auto it =
        std::find_if(properties.begin(), properties.end(), [&](const auto& p) { return p.first == name; });
    if (it == properties.end()) return std::nullopt;
    std::string value = it->second;
    properties.erase(it);
    return value;
}

Complaint add_network(Options& o, const std::string& kind, const std::string& id, Properties properties) {
    if (std::any_of(o.networks.begin(), o.networks.end(), [&](const NetworkOption& n) { return n.id == id; }))
        return "an id of its own; '" + id + "' is in use";
    NetworkOption network;
    network.id = id;
    if (const auto queues = take(properties, "queues")) {
        const auto number = parse_number(*queues);
        if (!number || *number < 1 || *number > hw::VirtioNet::max_pairs)
            return "queues=1 to " + std::to_string(hw::VirtioNet::max_pairs);
        network.queues = unsigned(*number);
    }
    Complaint bad;
    if (kind == "user") {
        bad = fill<UserNetwork>(network, user_keys, properties);
        if (!bad) bad = check_addresses(std::get<UserNetwork>(network.what));
    } else if (kind == "socket" || kind == "stream") {
        const bool socket = kind == "socket";
        bad = fill<StreamNetwork>(
            network, socket ? std::span(socket_keys) : std::span<const Key<StreamNetwork>>(stream_keys),
            properties);
        const auto& stream = std::get_if<StreamNetwork>(&network.what);
        if (!bad && socket && !stream->tcp) bad = "listen=[HOST]:PORT or connect=HOST:PORT";
        if (!bad && !socket &&
            (stream->tcp.has_value() != stream->path.empty() || (stream->tcp && stream->tcp->port.empty())))
            bad = "addr.type=inet,addr.host=HOST,addr.port=PORT or addr.type=unix,addr.path=PATH";
    } else if (kind == "tap") {
        bad = fill<TapNetwork>(network, tap_keys, properties);
        auto* const tap = std::get_if<TapNetwork>(&network.what);
        if (tap) tap->shared = network.queues > 1;
        if (!bad && tap->fd && !tap->interface.empty()) bad = "ifname= or fd=, not both";
    } else {
        if (kind == "help" || kind == "?") {
            o.help = "user\nsocket\nstream\ntap\n";
            return {};
        }
        const bool bridge =
            kind == "bridge" || kind == "passt" || kind == "vhost-user" || kind == "vhost-vdpa";
        return "user, socket, stream or tap; '" + kind + "' is not built, the nearest is " +
               (bridge ? "tap,ifname=NAME" : "stream");
    }
    if (!bad) o.networks.push_back(std::move(network));
    return bad;
}

// A name that nobody has: "net0", "net1".
std::string fresh_id(const Options& o) {
    for (unsigned n = unsigned(o.networks.size());; ++n) {
        const std::string id = "net" + std::to_string(n);
        if (std::none_of(o.networks.begin(), o.networks.end(),
                         [&](const NetworkOption& x) { return x.id == id; }))
            return id;
    }
}

Complaint set_netdev(Options& o, const std::string& text) {
    auto properties = properties_of(text);
    if (!properties || properties->empty()) return "KIND,id=ID,... or a JSON object";
    std::string kind = (*properties)[0].first;
    if (const auto type = take(*properties, "type"))
        kind = *type;
    else
        properties->erase(properties->begin());
    const auto id = kind == "help" ? std::optional<std::string>("help") : take(*properties, "id");
    if (!id || id->empty()) return "id=ID beside the kind of network";
    const Complaint bad = add_network(o, kind, *id, *properties);
    if (!bad && o.help.empty()) o.networks.back().given = "-netdev " + text;
    return bad;
}

// --- cards

struct ModelRow {
    const char* name;
    Model model;
    bool legacy;
    const char* properties;
    const char* help;
};
constexpr const char* kNicProperties = ",netdev=ID[,mac=,addr=,romfile=]";
constexpr const char* kVirtioProperties = ",netdev=ID[,mac=,addr=,romfile=,mq=on,vectors=]";
constexpr ModelRow models[] = {
    {"e1000", Model::E1000, true, kNicProperties, "network card: Intel 82540EM"},
    {"e1000-82540em", Model::E1000, true, kNicProperties, "the same"},
    {"pcnet", Model::Pcnet, true, kNicProperties, "network card: AMD Am79C970A, for old systems"},
    {"rtl8139", Model::Rtl8139, true, kNicProperties, "network card: Realtek RTL8139C, for old systems"},
    {"virtio-net-pci", Model::VirtioNet, true, kVirtioProperties, "virtio network card"},
    {"virtio-net-pci-transitional", Model::VirtioNet, true, kVirtioProperties, "the same"},
    {"virtio-net-pci-non-transitional", Model::VirtioNet, false, kVirtioProperties,
     "virtio network card without the legacy interface"},
    {"virtio-net", Model::VirtioNet, true, kVirtioProperties, "the same as virtio-net-pci"},
};

// Properties of QEMU's cards that change nothing the guest of this machine can see, or whose absence drivers
// cope with.
bool ignored(const std::string& key) {
    static constexpr std::string_view names[] = {"bus",
                                                 "multifunction",
                                                 "rombar",
                                                 "mrg_rxbuf",
                                                 "csum",
                                                 "tx",
                                                 "ioeventfd",
                                                 "event_idx",
                                                 "packed",
                                                 "indirect_desc",
                                                 "ats",
                                                 "failover",
                                                 "autonegotiation",
                                                 "mitigation",
                                                 "extra_mac_registers",
                                                 "host_mtu",
                                                 "iommu_platform",
                                                 "gso",
                                                 "guest_csum",
                                                 "guest_tso4",
                                                 "guest_tso6",
                                                 "guest_ecn",
                                                 "guest_ufo",
                                                 "host_tso4",
                                                 "host_tso6",
                                                 "host_ecn",
                                                 "host_ufo",
                                                 "acpi-index",
                                                 "rx_queue_size",
                                                 "tx_queue_size",
                                                 "vlan",
                                                 "name"};
    return std::find(std::begin(names), std::end(names), key) != std::end(names);
}

bool set_mac(std::optional<hw::MacAddress>& mac, const std::string& text) {
    hw::MacAddress address{};
    if (text.size() != 17) return false;
    for (unsigned n = 0; n < 6; ++n) {
        const auto byte = parse_number(std::string_view(text).substr(3 * n, 2), 16);
        if (!byte || (n < 5 && text[3 * n + 2] != ':' && text[3 * n + 2] != '-')) return false;
        address[n] = u8(*byte);
    }
    mac = address;
    return !(address[0] & 1) && address != hw::MacAddress{};
}

// Takes the card's properties out of the list; what is left is somebody else's.
Complaint take_card(NicOption& nic, Properties& properties) {
    Properties rest;
    for (const auto& [key, value] : properties) {
        if (key == "id") {
            nic.id = value;
        } else if (key == "netdev") {
            nic.network_id = value;
        } else if (key == "mac" || key == "macaddr") {
            if (!set_mac(nic.mac, value))
                return key + "=XX:XX:XX:XX:XX:XX, the address of one card (the first byte is even)";
        } else if (key == "addr") {
            if (const Complaint bad = set_slot(nic.slot, value)) return bad;
        } else if (key == "bootindex") {
            if (const Complaint bad = set_boot_index(nic.boot_index, value)) return bad;
        } else if (key == "romfile") {
            nic.romfile = value;
        } else if ((key == "disable-legacy" || key == "disable-modern") && nic.model == Model::VirtioNet) {
            const auto off = value == "auto" ? std::optional(false) : parse_on_off(value);
            if (!off) return key + "=on, off or auto";
            if (*off || value != "auto") (key == "disable-legacy" ? nic.legacy : nic.modern) = !*off;
        } else if (key == "mq" && nic.model == Model::VirtioNet) {
            const auto on = parse_on_off(value);
            if (!on) return "mq=on or off";
            nic.multi_queue = *on;
        } else if (key == "vectors") {
            const auto vectors = parse_number(value);
            if (!vectors || *vectors > hw::Msix::max_vectors)
                return "vectors=0 to " + std::to_string(hw::Msix::max_vectors);
            nic.vectors = unsigned(*vectors);
        } else if (!ignored(key)) {
            rest.emplace_back(key, value);
        }
    }
    properties = std::move(rest);
    if (!nic.legacy && !nic.modern) return "disable-legacy or disable-modern, not both";
    return {};
}

Complaint set_model(NicOption& nic, const std::string& name) {
    for (const ModelRow& row : models) {
        if (name != row.name && !(name == "virtio" && row.model == Model::VirtioNet)) continue;
        nic.model = row.model;
        nic.legacy = row.legacy;
        return {};
    }
    const bool virtio = name.find("vmxnet") != name.npos || name.find("virtio") != name.npos;
    const bool old = name.rfind("ne2k", 0) == 0;
    return "model=e1000, pcnet, rtl8139 or virtio-net-pci; '" + name + "' is not built, the nearest is " +
           (virtio ? "virtio-net-pci"
            : old  ? "pcnet"
                   : "e1000");
}

template <std::size_t row> Complaint add_card(Options& o, const Properties& given) {
    NicOption nic;
    nic.model = models[row].model;
    nic.legacy = models[row].legacy;
    Properties properties = given;
    if (const Complaint bad = take_card(nic, properties)) return bad;
    if (!properties.empty())
        return "netdev=ID,mac=ADDRESS,addr=SLOT,romfile=FILE; '" + properties[0].first + "' is none of them";
    o.nics.push_back(std::move(nic));
    return {};
}

template <std::size_t... rows> auto card_rows(std::index_sequence<rows...>) {
    return std::array<DeviceRow, sizeof...(rows)>{
        DeviceRow{models[rows].name, models[rows].properties, models[rows].help, add_card<rows>}...};
}

// --- both at once

Complaint set_nic(Options& o, const std::string& text) {
    Properties properties = key_values(text);
    const std::string kind = properties[0].first;
    if (kind == "model" && (properties[0].second == "help" || properties[0].second == "?")) {
        for (const ModelRow& row : models)
            o.help += std::string(row.name) + "\n";
        return {};
    }
    if (kind == "none") {
        o.nics.clear();
        return {};
    }
    properties.erase(properties.begin());
    NicOption nic;
    nic.given = "-nic " + text;
    const auto id = take(properties, "id");
    if (const auto model = take(properties, "model"))
        if (const Complaint bad = set_model(nic, *model)) return bad;
    if (const Complaint bad = take_card(nic, properties)) return bad;
    nic.network_id = id.value_or(fresh_id(o));
    if (const Complaint bad = add_network(o, kind, nic.network_id, properties)) return bad;
    o.networks.back().given = nic.given;
    o.nics.push_back(std::move(nic));
    return {};
}

Complaint set_net(Options& o, const std::string& text) {
    Properties properties = key_values(text);
    const std::string kind = properties[0].first;
    if (kind == "none") return {};
    properties.erase(properties.begin());
    if (kind != "nic") {
        (void)take(properties, "vlan"), (void)take(properties, "name");
        const std::string id = fresh_id(o);
        if (const Complaint bad = add_network(o, kind, id, properties)) return bad;
        o.networks.back().given = "-net " + text;
        o.loose_networks.push_back(id);
        return {};
    }
    NicOption nic;
    nic.given = "-net " + text;
    if (const auto model = take(properties, "model"))
        if (const Complaint bad = set_model(nic, *model)) return bad;
    if (const Complaint bad = take_card(nic, properties)) return bad;
    if (!properties.empty())
        return "model=MODEL,macaddr=ADDRESS,netdev=ID,addr=SLOT; '" + properties[0].first +
               "' is none of them";
    nic.loose = nic.network_id.empty();
    o.nics.push_back(std::move(nic));
    return {};
}

Result<unsigned> find_network(const Options& o, const std::string& id, const std::string& given) {
    for (unsigned n = 0; n < o.networks.size(); ++n)
        if (o.networks[n].id == id) return n;
    return Error{given + ": expected the id of a -netdev; '" + id + "' is none"};
}

} // namespace

Complaint add_capture(Options& o, const Properties& properties) {
    CaptureOption capture;
    for (const auto& [key, value] : properties) {
        if (key == "filter-dump" || key == "qom-type" || key == "queue" || key == "status") continue;
        if (key == "id") {
            capture.id = value;
        } else if (key == "netdev") {
            capture.network_id = value;
        } else if (key == "file") {
            capture.file = value;
        } else if (key == "maxlen") {
            const auto bytes = parse_size(value, 1);
            if (!bytes || *bytes < 16 || *bytes > 1 * MiB) return "maxlen=BYTES, from 16 to 1M";
            capture.snap_bytes = u32(*bytes);
        } else {
            return "filter-dump,id=ID,netdev=ID,file=FILE,maxlen=BYTES; '" + key + "' is none of them";
        }
    }
    if (capture.network_id.empty() || capture.file.empty()) return "filter-dump,netdev=ID,file=FILE";
    o.captures.push_back(std::move(capture));
    return {};
}

Status place_nics(Options& o) {
    std::size_t loose = 0;
    u8 number = 0x56;
    std::vector<const NicOption*> users(o.networks.size());
    for (NicOption& nic : o.nics) {
        if (nic.loose && loose < o.loose_networks.size()) nic.network_id = o.loose_networks[loose++];
        if (!nic.network_id.empty()) {
            const auto network = find_network(o, nic.network_id, nic.given);
            if (!network) return network.error();
            nic.network = network.value();
            nic.pairs = nic.multi_queue ? o.networks[*nic.network].queues : 1;
            if (users[*nic.network])
                return Error{nic.given + ": expected a network of its own; '" + nic.network_id +
                             "' is in use by another card"};
            users[*nic.network] = &nic;
        } else {
            o.warnings.push_back(nic.given + ": no network, the cable is not plugged in");
        }
        while (!nic.mac) {
            const hw::MacAddress mac{0x52, 0x54, 0x00, 0x12, 0x34, number++};
            if (std::none_of(o.nics.begin(), o.nics.end(), [&](const NicOption& n) { return n.mac == mac; }))
                nic.mac = mac;
        }
    }
    for (std::size_t n = 0; n < users.size(); ++n)
        if (!users[n]) o.warnings.push_back(o.networks[n].given + ": no card is connected to it");
    for (const CaptureOption& capture : o.captures)
        if (const auto network = find_network(o, capture.network_id, capture.given); !network)
            return network.error();
    return Ok{};
}

std::span<const DeviceRow> net_devices() {
    static const auto rows = card_rows(std::make_index_sequence<std::size(models)>{});
    return rows;
}

std::span<const OptionRow> net_options() {
    static const OptionRow rows[] = {
        {"nic", "KIND[,model=MODEL][,...]",
         "a network and a card: -netdev's properties and "
         "model=e1000|pcnet|rtl8139|virtio-net-pci,mac=,addr=; none",
         set_nic},
        {"netdev", "KIND,id=ID[,...]",
         "a network: "
         "user[,hostfwd=[tcp|udp]:[ADDR]:PORT-[ADDR]:PORT,net=,restrict=,dns=,tftp=,bootfile=,...], "
         "socket,listen=|connect=HOST:PORT, stream,server=,addr.type=inet|unix,addr.*=, tap[,ifname=]",
         set_netdev},
        {"net", "nic|KIND[,...]", "the same in two options: a card and, in another -net, its network",
         set_net},
    };
    return rows;
}

} // namespace dragoman::runtime
