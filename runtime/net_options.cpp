#include "runtime/net_options.h"

#include "runtime/option_text.h"
#include "runtime/text.h"

#include <arpa/inet.h>

namespace dragoman::runtime {

namespace {

std::string ipv4_text(u32 address) {
    return format("%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

// "[ADDRESS]:PORT"
bool parse_end(const std::string& text, u32& address, u16& port) {
    const std::size_t colon = text.find(':');
    if (colon == std::string::npos) return false;
    if (colon) {
        const auto parsed = parse_ipv4(text.substr(0, colon));
        if (!parsed) return false;
        address = *parsed;
    }
    const auto number = parse_number(text.substr(colon + 1));
    if (!number || *number > 65535) return false;
    port = u16(*number);
    return true;
}

} // namespace

std::optional<u32> parse_ipv4(const std::string& text) {
    in_addr address{};
    if (inet_pton(AF_INET, text.c_str(), &address) != 1) return std::nullopt;
    return ntohl(address.s_addr);
}

std::optional<HostForward> parse_host_forward(const std::string& text, bool whole) {
    HostForward forward;
    const std::size_t colon = text.find(':');
    if (colon == std::string::npos) return std::nullopt;
    const std::string protocol = text.substr(0, colon);
    if (!protocol.empty() && protocol != "tcp" && protocol != "udp") return std::nullopt;
    forward.udp = protocol == "udp";
    const std::size_t dash = text.find('-', colon);
    if (whole != (dash != std::string::npos)) return std::nullopt;
    const std::string host = text.substr(colon + 1, dash == std::string::npos ? dash : dash - colon - 1);
    if (!parse_end(host, forward.host_address, forward.host_port)) return std::nullopt;
    if (whole && (!parse_end(text.substr(dash + 1), forward.guest_address, forward.guest_port) ||
                  forward.guest_port == 0))
        return std::nullopt;
    return forward;
}

std::string text_of(const HostForward& forward) {
    const auto address = [](u32 a) { return a ? ipv4_text(a) : std::string(); };
    return std::string(forward.udp ? "udp:" : "tcp:") + address(forward.host_address) + ":" +
           std::to_string(forward.host_port) + "-" + address(forward.guest_address) + ":" +
           std::to_string(forward.guest_port);
}

} // namespace dragoman::runtime
