// What cards do to frames on behalf of the driver: the check sequence, the Internet checksum (RFC 1071) and
// cutting a large TCP segment into ones that fit (RFC 9293). Offsets and lengths come from the guest.
#pragma once

#include "base/types.h"
#include "hw/core/net.h"
#include "hw/core/state.h"

#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace dragoman::hw {

// The one's complement sum of big-endian words, folded to 16 bits, not complemented. An odd last byte counts
// as the upper half of a word.
u16 internet_sum(std::span<const u8> bytes, u32 initial = 0);

constexpr std::size_t kFcs = 4; // bytes of the frame check sequence (IEEE 802.3, 3.2.9)
// Puts the check sequence of frame[start..] behind it, as the wire carried it: low byte first.
void append_fcs(std::vector<u8>& frame, std::size_t start = 0);

// Saves or loads a packet that a driver is handing over piece by piece: at most one byte more than a frame
// may have, which is how a card knows it for too long.
void visit_packet(StateVisitor& visitor, std::vector<u8>& packet);

u16 get_be16(std::span<const u8> frame, std::size_t at);
u32 get_be32(std::span<const u8> frame, std::size_t at);
void put_be16(std::span<u8> frame, std::size_t at, u16 value);
void put_be32(std::span<u8> frame, std::size_t at, u32 value);

// Sums from `start` to `end` and stores the complement at `at`, where the driver has left the sum of the
// pseudo-header (or zero). False, and nothing changes: the offsets lie outside the frame.
bool put_checksum(std::span<u8> frame, std::size_t start, std::size_t at, std::size_t end);

// Where the headers of a TCP frame lie. From the frame itself: nothing that the guest says beside it counts.
struct TcpLayout {
    std::size_t ip, tcp, payload; // offsets
    bool v6;
};
std::optional<TcpLayout> parse_tcp(std::span<const u8> frame);

// One segment of a TCP frame that was cut: header fields and both checksums are made anew.
// `first` .. `last` say which end of the train it is; `offset` counts bytes of payload before it.
void fix_tcp_segment(std::span<u8> frame, const TcpLayout& layout, unsigned index, u32 offset, bool last);

// Cuts the frame into segments of at most `mss` bytes of payload. False: it is no TCP frame, or `mss` is too
// small (under 48 bytes) to be anything but an attack.
bool segment_tcp(std::span<const u8> frame, unsigned mss,
                 const std::function<void(std::span<const u8>)>& send);

bool is_multicast(std::span<const u8> frame); // broadcast too
bool is_broadcast(std::span<const u8> frame);

} // namespace dragoman::hw
