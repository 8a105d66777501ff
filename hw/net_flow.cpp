#include "hw/net_flow.h"

#include "hw/net_frame.h"

namespace dragoman::hw {

namespace {

constexpr u16 kIpv4 = 0x0800, kIpv6 = 0x86dd, kVlan = 0x8100;
constexpr u8 kTcp = 6, kUdp = 17, kSctp = 132; // their ports are the first four bytes

u64 mix(u64 hash, u64 value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 32;
}

u64 mix(u64 hash, std::span<const u8> bytes) {
    for (std::size_t n = 0; n < bytes.size(); n += 4)
        hash = mix(hash, get_be32(bytes, n));
    return hash;
}

// Of both ends, their ports and the protocol; the same for both directions. 0: it is not IP.
u64 hash_of(std::span<const u8> frame, bool sent) {
    std::size_t ip = 14;
    if (frame.size() < ip) return 0;
    u16 type = get_be16(frame, ip - 2);
    if (type == kVlan && frame.size() >= ip + 4) type = get_be16(frame, (ip += 4) - 2);
    std::size_t addresses, bytes, end;
    u8 protocol;
    bool whole = true; // a fragment has no ports, save the first one
    if (type == kIpv4 && frame.size() >= ip + 20) {
        addresses = ip + 12, bytes = 4, end = ip + 4 * (frame[ip] & 15u);
        protocol = frame[ip + 9];
        whole = (get_be16(frame, ip + 6) & 0x3fff) == 0;
    } else if (type == kIpv6 && frame.size() >= ip + 40) {
        addresses = ip + 8, bytes = 16, end = ip + 40;
        protocol = frame[ip + 6];
    } else {
        return 0;
    }
    const auto from = frame.subspan(addresses, bytes), to = frame.subspan(addresses + bytes, bytes);
    u64 hash = mix(mix(mix(0, protocol), sent ? from : to), sent ? to : from);
    if (whole && (protocol == kTcp || protocol == kUdp || protocol == kSctp) && frame.size() >= end + 4) {
        const u16 ports[] = {get_be16(frame, end), get_be16(frame, end + 2)};
        hash = mix(hash, u64{ports[!sent]} << 16 | ports[sent]);
    }
    return hash;
}

constexpr u64 kPair = 0xff;

} // namespace

void FlowTable::sent(std::span<const u8> frame, unsigned pair) {
    if (const u64 hash = hash_of(frame, true)) flows_[hash >> (64 - kBits)] = (hash & ~kPair) | (pair + 1);
}

unsigned FlowTable::pair_for(std::span<const u8> frame, unsigned pairs) const {
    const u64 hash = hash_of(frame, false), known = flows_[hash >> (64 - kBits)];
    if (known && (known ^ hash) <= kPair && (known & kPair) - 1 < pairs) return unsigned(known & kPair) - 1;
    return unsigned((hash >> 8) % pairs);
}

} // namespace dragoman::hw
