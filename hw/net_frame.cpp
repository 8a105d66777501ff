#include "hw/net_frame.h"

#include <algorithm>
#include <array>
#include <zlib.h>

namespace dragoman::hw {

namespace {

constexpr std::size_t kEthernet = 14;
constexpr u16 kIpv4 = 0x0800, kIpv6 = 0x86dd, kVlan = 0x8100, kServiceVlan = 0x88a8;
constexpr u8 kTcp = 6;
constexpr u8 kFin = 1, kPsh = 8, kCwr = 0x80;
constexpr unsigned kLeastMss = 48;

} // namespace

void append_fcs(std::vector<u8>& frame, std::size_t start) {
    const auto sum = u32(crc32_z(0, frame.data() + start, frame.size() - start));
    for (unsigned i = 0; i < kFcs; ++i)
        frame.push_back(u8(sum >> (8 * i)));
}

void visit_packet(StateVisitor& visitor, std::vector<u8>& packet) {
    std::array<u8, max_frame_bytes + 1> kept{};
    u32 bytes = u32(std::min(packet.size(), kept.size()));
    std::copy_n(packet.begin(), bytes, kept.begin());
    visitor.field("packet_bytes", bytes);
    visitor.field("packet", kept);
    if (visitor.loading())
        packet.assign(kept.begin(), kept.begin() + std::min<std::size_t>(bytes, kept.size()));
}

u16 get_be16(std::span<const u8> frame, std::size_t at) {
    return u16(frame[at] << 8 | frame[at + 1]);
}
u32 get_be32(std::span<const u8> frame, std::size_t at) {
    return u32{get_be16(frame, at)} << 16 | get_be16(frame, at + 2);
}
void put_be16(std::span<u8> frame, std::size_t at, u16 value) {
    frame[at] = u8(value >> 8);
    frame[at + 1] = u8(value);
}
void put_be32(std::span<u8> frame, std::size_t at, u32 value) {
    put_be16(frame, at, u16(value >> 16));
    put_be16(frame, at + 2, u16(value));
}

u16 internet_sum(std::span<const u8> bytes, u32 initial) {
    u64 sum = initial;
    std::size_t i = 0;
    for (; i + 1 < bytes.size(); i += 2)
        sum += u64{bytes[i]} << 8 | bytes[i + 1];
    if (i < bytes.size()) sum += u64{bytes[i]} << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return u16(sum);
}

bool put_checksum(std::span<u8> frame, std::size_t start, std::size_t at, std::size_t end) {
    if (end > frame.size() || start > end || at + 2 > frame.size()) return false;
    put_be16(frame, at, u16(~internet_sum(frame.subspan(start, end - start))));
    return true;
}

std::optional<TcpLayout> parse_tcp(std::span<const u8> frame) {
    if (frame.size() < kEthernet) return {};
    std::size_t ip = kEthernet;
    u16 type = get_be16(frame, ip - 2);
    while ((type == kVlan || type == kServiceVlan) && frame.size() >= ip + 4) {
        type = get_be16(frame, ip + 2);
        ip += 4;
    }
    TcpLayout layout{.ip = ip, .tcp = 0, .payload = 0, .v6 = type == kIpv6};
    if (type == kIpv4) {
        if (frame.size() < ip + 20 || frame[ip] >> 4 != 4 || frame[ip + 9] != kTcp) return {};
        layout.tcp = ip + (frame[ip] & 15) * 4u;
        if (layout.tcp < ip + 20) return {};
    } else if (type == kIpv6) { // without extension headers
        if (frame.size() < ip + 40 || frame[ip] >> 4 != 6 || frame[ip + 6] != kTcp) return {};
        layout.tcp = ip + 40;
    } else {
        return {};
    }
    if (frame.size() < layout.tcp + 20) return {};
    layout.payload = layout.tcp + (frame[layout.tcp + 12] >> 4) * 4u;
    if (layout.payload < layout.tcp + 20 || layout.payload > frame.size()) return {};
    return layout;
}

void fix_tcp_segment(std::span<u8> frame, const TcpLayout& layout, unsigned index, u32 offset, bool last) {
    const std::size_t ip = layout.ip, tcp = layout.tcp, end = frame.size();
    u32 pseudo = kTcp + u32(end - tcp); // the sum of the pseudo-header
    if (layout.v6) {
        put_be16(frame, ip + 4, u16(end - tcp));
        pseudo += internet_sum(frame.subspan(ip + 8, 32));
    } else {
        put_be16(frame, ip + 2, u16(end - ip));
        put_be16(frame, ip + 4, u16(get_be16(frame, ip + 4) + index)); // identification
        put_be16(frame, ip + 10, 0);
        put_checksum(frame, ip, ip + 10, tcp);
        pseudo += internet_sum(frame.subspan(ip + 12, 8));
    }
    put_be32(frame, tcp + 4, get_be32(frame, tcp + 4) + offset);
    u8& flags = frame[tcp + 13];
    if (!last) flags &= u8(~(kFin | kPsh));
    if (index) flags &= u8(~kCwr);
    put_be16(frame, tcp + 16, 0);
    put_be16(frame, tcp + 16, u16(~internet_sum(frame.subspan(tcp), pseudo)));
}

bool segment_tcp(std::span<const u8> frame, unsigned mss,
                 const std::function<void(std::span<const u8>)>& send) {
    const auto layout = parse_tcp(frame);
    if (!layout || mss < kLeastMss) return false;
    const std::span<const u8> payload = frame.subspan(layout->payload);
    std::vector<u8> segment;
    std::size_t offset = 0;
    unsigned index = 0;
    do {
        const std::size_t bytes = std::min<std::size_t>(mss, payload.size() - offset);
        segment.assign(frame.begin(), frame.begin() + long(layout->payload));
        segment.insert(segment.end(), payload.begin() + long(offset), payload.begin() + long(offset + bytes));
        fix_tcp_segment(segment, *layout, index++, u32(offset), offset + bytes == payload.size());
        send(segment);
        offset += bytes;
    } while (offset < payload.size());
    return true;
}

bool is_multicast(std::span<const u8> frame) {
    return !frame.empty() && (frame[0] & 1);
}

bool is_broadcast(std::span<const u8> frame) {
    return frame.size() >= 6 && std::all_of(frame.begin(), frame.begin() + 6, [](u8 b) { return b == 0xff; });
}

} // namespace dragoman::hw
