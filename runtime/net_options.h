// Networks and network cards as the command line describes them.
#pragma once

#include "base/result.h"
#include "base/types.h"
#include "hw/core/net.h"
#include "runtime/socket.h"

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace dragoman::runtime {

// A port of the host that leads to one of the guest. Addresses are in host byte order.
struct HostForward {
    bool udp = false;
    u32 host_address = 0; // 0: every address of the host
    u16 host_port = 0;
    u32 guest_address = 0; // 0: the first one that DHCP gives
    u16 guest_port = 0;
};
// "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT"; the last part is left out for what takes a forward
// away (`whole` false). Nothing: the text is not of that form.
std::optional<HostForward> parse_host_forward(const std::string& text, bool whole = true);
std::string text_of(const HostForward& forward);
std::optional<u32> parse_ipv4(const std::string& text);

// The host as a router that translates addresses: needs no privilege.
struct UserNetwork {
    u32 network = 0x0a000200, mask = 0xffffff00;      // 10.0.2.0/24
    std::optional<u32> host, dhcp_start, name_server; // else .2, .15 and .3 of the network
    bool restricted = false;                          // no way out but by forwards
    bool ipv4 = true, ipv6 = true;
    std::string hostname, domain, tftp, tftp_server, boot_file;
    std::vector<std::string> dns_search;
    std::vector<HostForward> forwards;
};

// A cable to another emulator: each frame after its length, 32 bits, big-endian.
struct StreamNetwork {
    bool server = false;
    std::optional<TcpAddress> tcp;
    std::string path; // of a local socket
};

// A network interface of the host.
struct TapNetwork {
    std::string interface; // empty: the kernel chooses
    std::optional<int> fd; // one that is open already
    bool shared = false;   // made for several queues (IFF_MULTI_QUEUE)
};

struct NetworkOption {
    std::string id;
    std::variant<UserNetwork, StreamNetwork, TapNetwork> what;
    unsigned queues = 1; // pairs of queues that a card on it may have
    std::string given;   // the option as the user gave it, for errors
};

struct NicOption {
    enum class Model : u8 { E1000, Pcnet, Rtl8139, VirtioNet };

    Model model = Model::E1000;
    std::optional<unsigned> network; // number in Options::networks; nothing: no cable
    std::string network_id;          // as given, until it is looked up
    std::optional<hw::MacAddress> mac;
    std::optional<unsigned> slot; // PCI
    std::optional<unsigned> boot_index;
    std::optional<std::string> romfile; // empty: none; nothing: for the boot order to say
    bool legacy = true, modern = true;  // virtio
    bool multi_queue = false;           // virtio: as many pairs of queues as the network says
    unsigned pairs = 1;                 // of them, once the network is known
    std::optional<unsigned> vectors;    // virtio: of MSI-X; nothing: enough
    std::string id;                     // the card's
    bool loose = false;                 // of -net: takes the next network of -net
    std::string given;
};

// Everything that passes, into a file (-object filter-dump).
struct CaptureOption {
    std::string id, network_id, file;
    u32 snap_bytes = 65536; // of each frame
    std::string given;
};

} // namespace dragoman::runtime
