// The RTL8139C: its address, four transmit buffers, the receive ring; and drivers that mean harm.
#include "hw/rtl8139.h"

#include "chip_test_support.h"
#include "hw/net_frame.h"
#include "memory_test_support.h"
#include "net_test_support.h"

#include <random>

namespace dragoman::hw::test {
namespace {

struct Rtl : CardBench {
    static constexpr u16 kPorts = 0xc000;
    static constexpr u32 kRing = 0x10000, kBuffers = 0x40000;

    Rtl() : card(kMac, &net, bench.scheduler, log) {
        card.connect(bench.bus, map, dma, &line);
        card.reset();
        card.config_write(kPciBar0, 4, kPorts);
        card.config_write(kPciBar0 + 4, 4, 0xfebc0000);
        card.config_write(kPciCommand, 2, 7);
    }
    u32 get(u8 offset, unsigned size) { return bench.bus.in(u16(kPorts + offset), size); }
    void set(u8 offset, unsigned size, u32 value) { bench.bus.out(u16(kPorts + offset), size, value); }
    void start(u32 rcr = 0x0a) { // broadcast, our address; a ring of 8 KiB
        set(0x30, 4, kRing);
        set(0x37, 1, 0x0c);
        set(0x44, 4, rcr);
        set(0x3c, 2, 0xe07f);
    }
    void send(unsigned n, const Frame& frame) {
        dma.write(kBuffers + 0x2000 * n, frame.data(), frame.size());
        set(u8(0x20 + 4 * n), 4, kBuffers + 0x2000 * n);
        set(u8(0x10 + 4 * n), 4, u32(frame.size()));
    }
    // The next packet of the ring, as a driver takes it: without header and FCS.
    Frame take(u32 size = 8192) {
        if (get(0x37, 1) & 1) return {};
        const u32 header = dma.get<u32>(kRing + at);
        EXPECT_EQ(header & 0x1f, 1u) << "received well";
        status = header & 0xffff;
        const u32 bytes = header >> 16;
        Frame frame(bytes);
        for (u32 n = 0; n < bytes; ++n)
            frame[n] = dma.ram[kRing + (wrap ? at + 4 + n : (at + 4 + n) % size)];
        at = ((at + bytes + 4 + 3) & ~3u) % size;
        set(0x38, 2, (at - 16) & 0xffff);
        frame.resize(bytes - 4);
        return frame;
    }
    Rtl8139 card;
    u32 at = 0, status = 0;
    bool wrap = false;
};

TEST(Rtl8139, AddressFromRegistersAndEeprom) {
    Rtl t;
    for (u8 n = 0; n < 6; ++n)
        EXPECT_EQ(t.get(n, 1), kMac[n]);
    const auto clock = [&](bool in) {
        t.set(0x50, 1, 0x88u | (in ? 2 : 0));
        t.set(0x50, 1, 0x8cu | (in ? 2 : 0));
        return t.get(0x50, 1) & 1;
    };
    const u16 wanted[] = {0x8129, 0x10ec, 0x8139};
    for (unsigned word : {0u, 1u, 2u, 7u, 8u, 9u}) {
        t.set(0x50, 1, 0x80);
        for (int n = 10; n >= 0; --n)
            clock((6u << 6 | word) >> n & 1);
        u16 value = 0;
        for (unsigned n = 0; n < 16; ++n)
            value = u16(value << 1 | clock(false));
        EXPECT_EQ(value, word < 3 ? wanted[word] : kMac[2 * word - 14] | kMac[2 * word - 13] << 8);
    }
    t.set(0, 1, 0x99);
    EXPECT_EQ(t.get(0, 1), kMac[0]) << "locked";
    t.set(0x50, 1, 0xc0);
    t.set(0, 1, 0x98);
    EXPECT_EQ(t.get(0, 1), 0x98u);
    EXPECT_EQ(t.get(0x40, 4) & 0x7cc00000, 0x74000000u) << "the version";
    EXPECT_EQ(t.map.at(0xfebc0000)->io->read(2, 4), t.get(2, 4)) << "in memory as by ports";
}

TEST(Rtl8139, LinkState) {
    Rtl t;
    t.start();
    EXPECT_EQ(t.get(0x58, 1) & 4, 0u);
    EXPECT_EQ(t.get(0x64, 2) & 4, 4u);
    t.net.card->link_changed(false);
    EXPECT_EQ(t.get(0x58, 1) & 4, 4u);
    EXPECT_EQ(t.get(0x64, 2) & 4, 0u);
    EXPECT_TRUE(t.line.level);
    EXPECT_EQ(t.get(0x3e, 2), 0x20u);
}

TEST(Rtl8139, Sends) {
    Rtl t;
    t.start();
    EXPECT_EQ(t.get(0x10, 4) & 0x2000, 0x2000u) << "the buffers are the driver's";
    std::vector<Frame> frames;
    for (unsigned n = 0; n < 6; ++n) {
        frames.push_back(ethernet(kPeer, 0x0800, 60 + 200 * n, u8(n)));
        t.send(n % 4, frames.back());
        EXPECT_EQ(t.get(u8(0x10 + 4 * (n % 4)), 4) & 0xa000, 0xa000u) << "sent";
    }
    EXPECT_EQ(t.net.sent, frames);
    EXPECT_TRUE(t.line.level);
    EXPECT_EQ(t.get(0x3e, 2), 4u);
    EXPECT_EQ(t.get(0x60, 2) & 0xf00f, 0xf00fu);
    t.set(0x3e, 2, 4);
    EXPECT_FALSE(t.line.level);
    t.set(0x10, 4, 0x1fff);
    EXPECT_EQ(t.get(0x3e, 2), 8u) << "too long: aborted";
    EXPECT_EQ(t.net.sent.size(), frames.size());
}

TEST(Rtl8139, Receives) {
    Rtl t;
    EXPECT_FALSE(t.net.deliver(ethernet(kMac, 0x0800, 100))) << "before the driver is there";
    t.start();
    EXPECT_TRUE(t.get(0x37, 1) & 1) << "empty";
    const Frame a = ethernet(kMac, 0x0800, 301), b = ethernet(kEverybody, 0x0806, 46);
    t.net.deliver(a), t.net.deliver(b), t.net.deliver(ethernet(kPeer, 0x0800, 60));
    EXPECT_TRUE(t.line.level);
    EXPECT_EQ(t.take(), a);
    EXPECT_EQ(t.status >> 13, 2u) << "ours";
    EXPECT_EQ(t.take(), b);
    EXPECT_EQ(t.status >> 13, 1u) << "broadcast";
    EXPECT_TRUE(t.take().empty()) << "somebody else's";
}

// Linux takes 64 packets at a time, acknowledges after each, and goes on only if ROK is set.
TEST(Rtl8139, AnnouncesWhatIsLeftInTheRing) {
    Rtl t;
    t.start();
    t.net.deliver(ethernet(kMac, 0x0800, 60)), t.net.deliver(ethernet(kMac, 0x0800, 60));
    t.take();
    t.set(0x3e, 2, 1);
    EXPECT_EQ(t.get(0x3e, 2), 1u) << "one is left";
    EXPECT_TRUE(t.line.level);
    t.take();
    t.set(0x3e, 2, 1);
    EXPECT_EQ(t.get(0x3e, 2), 0u);
    EXPECT_FALSE(t.line.level);
}

TEST(Rtl8139, TheRingGoesRound) {
    for (const bool wrap : {false, true}) {
        Rtl t;
        t.start(wrap ? 0x8a : 0x0a);
        t.wrap = wrap;
        unsigned waiting = 0;
        for (unsigned n = 0; n < 200; ++n) {
            const Frame frame = ethernet(kMac, 0x0800, 46 + n * 7, u8(n));
            ASSERT_TRUE(t.net.deliver(frame)) << n;
            ASSERT_EQ(t.take(), frame) << n << (wrap ? " wrap" : "");
        }
        while (waiting < 100 && t.net.deliver(ethernet(kMac, 0x0800, 1500)))
            ++waiting;
        EXPECT_EQ(waiting, 5u) << "as many as 8 KiB hold";
        const unsigned rooms = t.net.rooms;
        EXPECT_EQ(t.take().size(), 1514u);
        EXPECT_GT(t.net.rooms, rooms);
        EXPECT_TRUE(t.net.deliver(ethernet(kMac, 0x0800, 1500)));
    }
}

TEST(Rtl8139, MulticastHash) {
    Rtl t;
    t.start(0x04);
    const MacAddress group = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
    t.net.deliver(ethernet(group, 0x0800, 60));
    EXPECT_TRUE(t.take().empty());
    // The CRC-32 over 01:00:5e:00:00:01, most significant bit first, begins with 111111 or not: ask each bit.
    unsigned hits = 0;
    for (unsigned n = 0; n < 64; ++n) {
        t.set(u8(0x08 + n / 32 * 4), 4, 1u << n % 32);
        t.set(u8(0x08 + (n / 32 ^ 1) * 4), 4, 0);
        t.net.deliver(ethernet(group, 0x0800, 60));
        if (t.take().empty()) continue;
        ++hits;
        u32 crc = ~0u;
        for (const u8 byte : group)
            for (unsigned i = 0; i < 8; ++i)
                crc = crc << 1 ^ ((crc >> 31 ^ (byte >> i & 1)) ? 0x04c11db7u : 0);
        EXPECT_EQ(n, crc >> 26);
    }
    EXPECT_EQ(hits, 1u);
}

TEST(Rtl8139, LoopsBack) {
    Rtl t;
    t.start();
    t.set(0x40, 4, 3u << 17);
    const Frame frame = ethernet(kMac, 0x0800, 200);
    t.send(0, frame);
    EXPECT_EQ(t.take(), frame);
    EXPECT_TRUE(t.net.sent.empty());
}

TEST(Rtl8139, TimerInterrupt) {
    Rtl t;
    t.start();
    t.set(0x48, 4, 0);
    t.set(0x54, 4, 33000); // 1 ms
    t.bench.run_for(990'000);
    EXPECT_FALSE(t.line.level);
    EXPECT_NEAR(t.get(0x48, 4), 32670, 1);
    t.bench.run_for(20'000);
    EXPECT_EQ(t.get(0x3e, 2), 0x4000u);
    EXPECT_TRUE(t.line.level);
}

TEST(Rtl8139, SavesAndLoads) {
    Rtl t;
    t.start();
    t.net.deliver(ethernet(kMac, 0x0800, 60));
    check_round_trip(t.card, [&] {
        t.take();
        t.send(0, ethernet(kPeer, 0x0800, 60));
        t.set(0x50, 1, 0x8a), t.set(0x50, 1, 0x8e);
        t.bench.run_for(1000);
        t.set(0x48, 4, 0);
    });
}

TEST(Rtl8139, AnyAccess) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    for (unsigned round = 0; round < 200; ++round) {
        Rtl t;
        t.start(u32(random()));
        for (unsigned n = 0; n < 200; ++n) {
            const u8 offset = u8(random());
            const unsigned size = 1u << random() % 3;
            if (offset + size > 256) continue;
            // A reset at every turn would make it dull.
            if (random() % 2)
                t.set(offset, size,
                      u32(random()) & (offset <= 0x37 && offset + size > 0x37 ? ~0x10101010u : ~0u));
            t.get(offset, size);
            if (random() % 3 == 0) t.set(0x37, 1, 0x0c);
            if (random() % 3 == 0)
                t.net.deliver(ethernet(random() % 2 ? kMac : kEverybody, 0x0800, random() % 5000));
            if (random() % 8 == 0) t.bench.run_for(random() % 1'000'000'000);
        }
    }
}

} // namespace
} // namespace dragoman::hw::test
