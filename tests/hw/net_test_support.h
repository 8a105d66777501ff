// A cable's other end that remembers, and frames to send.
#pragma once

#include "chip_test_support.h"
#include "hw/core/net.h"
#include "memory_test_support.h"

#include <algorithm>
#include <vector>

namespace dragoman::hw::test {

using Frame = std::vector<u8>;

class FakeNet final : public NetBackend {
  public:
    void attach(NetReceiver& receiver) override { card = &receiver; }
    void send(std::span<const u8> frame) override { sent.emplace_back(frame.begin(), frame.end()); }
    void room() override { ++rooms; }
    bool link() const override { return up; }

    // What a back-end does with a frame: false, and it keeps it.
    bool deliver(const Frame& frame) {
        if (!card->can_receive()) return false;
        card->receive(frame);
        return true;
    }
    NetReceiver* card = nullptr;
    std::vector<Frame> sent;
    unsigned rooms = 0;
    bool up = true;
};

// What a card is plugged into.
struct CardBench {
    Bench bench;
    FakeMemoryMap map;
    FakeDma dma{1 * MiB};
    RecordingLine line;
    QuietLog log;
    FakeNet net;
};

inline constexpr MacAddress kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}, kPeer = {0x52, 0x55, 10, 0, 2, 2},
                            kEverybody = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

inline Frame ethernet(const MacAddress& to, u16 type, std::size_t payload, u8 seed = 1) {
    Frame frame(14 + payload);
    std::copy(to.begin(), to.end(), frame.begin());
    std::copy(kPeer.begin(), kPeer.end(), frame.begin() + 6);
    frame[12] = u8(type >> 8), frame[13] = u8(type);
    for (std::size_t n = 0; n < payload; ++n)
        frame[14 + n] = u8(n * 7 + seed);
    return frame;
}

// TCP over IPv4 with both checksums zero.
inline Frame tcp4(std::size_t payload, u8 flags = 0x18) {
    Frame frame = ethernet(kMac, 0x0800, 40 + payload);
    const u16 total = u16(40 + payload);
    const u8 headers[] = {0x45,      0,     u8(total >> 8),
                          u8(total), 0x12,  0x34,
                          0x40,      0,     64,
                          6,         0,     0,
                          10,        0,     2,
                          15,        10,    0,
                          2,         2, // to here IP
                          0x04,      0xd2,  0,
                          80,        0,     0,
                          0x10,      0,     0,
                          0,         0,     1,
                          0x50,      flags, 0x20,
                          0,         0,     0,
                          0,         0};
    std::copy(std::begin(headers), std::end(headers), frame.begin() + 14);
    for (std::size_t n = 0; n < payload; ++n)
        frame[54 + n] = u8(n * 13 + 5);
    return frame;
}

} // namespace dragoman::hw::test
