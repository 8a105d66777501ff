// The 82540EM: how a driver finds its address and its link, rings, interrupts; and drivers that mean harm.
#include "hw/e1000.h"

#include "chip_test_support.h"
#include "hw/e1000_registers.h"
#include "hw/net_frame.h"
#include "memory_test_support.h"
#include "net_test_support.h"

#include <random>

namespace dragoman::hw::test {
namespace {

using namespace e1000;

struct Card : CardBench {
    static constexpr u64 kRegisters = 0xfebc0000, kTx = 0x1000, kRx = 0x2000, kBuffers = 0x10000;
    static constexpr u32 kRing = 16;

    explicit Card(bool cable = true) : e1000(kMac, cable ? &net : nullptr, bench.scheduler, log) {
        e1000.connect(bench.bus, map, dma, &line);
        e1000.reset();
        e1000.config_write(kPciBar0, 4, kRegisters);
        e1000.config_write(kPciBar0 + 4, 4, 0xc000);
        e1000.config_write(kPciCommand, 2, 7);
    }
    u32 get(u64 offset, unsigned size = 4) { return u32(map.at(kRegisters)->io->read(offset, size)); }
    void set(u64 offset, u64 value, unsigned size = 4) { map.at(kRegisters)->io->write(offset, size, value); }
    // Rings of 16 descriptors; a receive buffer of 2048 bytes behind each but one.
    void start(u32 rctl = kRxEnable | kRxBroadcast | kRxStripCrc) {
        set(TDBAL, kTx), set(TDBAH, 0), set(TDLEN, kRing * 16), set(TDH, 0), set(TDT, 0);
        set(TCTL, kTxEnable);
        for (u32 n = 0; n < kRing; ++n)
            dma.put<u64>(kRx + 16 * n, kBuffers + 2048 * n);
        set(RDBAL, kRx), set(RDBAH, 0), set(RDLEN, kRing * 16), set(RDH, 0), set(RDT, kRing - 1);
        set(RCTL, rctl);
    }
    // A transmit descriptor in the ring; `send` rings the bell.
    void put(u64 address, u32 second, u32 third) {
        dma.put<u64>(kTx + 16 * tail, address);
        dma.put<u32>(kTx + 16 * tail + 8, second);
        dma.put<u32>(kTx + 16 * tail + 12, third);
        tail = (tail + 1) % kRing;
    }
    void send() { set(TDT, tail); }
    void legacy(const Frame& frame, u8 command = kCmdEop | kCmdRs, u8 cso = 0, u8 css = 0, u16 special = 0) {
        const u64 at = 0x40000 + 0x2000 * tail;
        dma.write(at, frame.data(), frame.size());
        put(at, u32(frame.size()) | u32{cso} << 16 | u32{command} << 24, u32{css} << 8 | u32{special} << 16);
    }
    struct Received {
        u64 address;
        u16 length, checksum;
        u8 status, errors;
        u16 special;
    };
    Received descriptor(u32 n) { return dma.get<Received>(kRx + 16 * n); }
    Frame buffer(u32 n) {
        const Received d = descriptor(n);
        Frame frame(d.length);
        dma.read(d.address, frame.data(), frame.size());
        return frame;
    }

    E1000 e1000;
    u32 tail = 0;
};

TEST(E1000, AddressFromTheEeprom) {
    Card t;
    u16 sum = 0;
    for (u32 n = 0; n < 64; ++n) {
        t.set(EERD, n << 8 | 1);
        ASSERT_TRUE(t.get(EERD) & 0x10);
        sum = u16(sum + (t.get(EERD) >> 16));
    }
    EXPECT_EQ(sum, 0xbaba);
    t.set(EERD, 1 << 8 | 1);
    EXPECT_EQ(t.get(EERD) >> 16, 0x1200u);
    EXPECT_EQ(t.get(RAL), 0x12005452u);
    EXPECT_EQ(t.get(RAL + 4), 0x80005634u);
}

TEST(E1000, EepromByWire) {
    Card t;
    const auto clock = [&](bool in) {
        const u32 wires = 0x40 | 2 | (in ? 4 : 0); // REQ, CS, DI
        t.set(EECD, wires);
        t.set(EECD, wires | 1);
        const bool out = t.get(EECD) & 8;
        t.set(EECD, wires);
        return out;
    };
    t.set(EECD, 0x40);
    EXPECT_TRUE(t.get(EECD) & 0x80) << "granted";
    for (unsigned word = 0; word < 3; ++word) {
        t.set(EECD, 0x42);
        for (int n = 8; n >= 0; --n)
            clock((6u << 6 | word) >> n & 1);
        EXPECT_FALSE(t.get(EECD) & 8) << "a zero comes before the data";
        u16 value = 0;
        for (unsigned n = 0; n < 16; ++n)
            value = u16(value << 1 | clock(false));
        t.set(EECD, 0x40);
        EXPECT_EQ(value, kMac[2 * word] | kMac[2 * word + 1] << 8);
    }
}

TEST(E1000, PhyAndLink) {
    Card t;
    const auto phy = [&](u32 index) {
        t.set(MDIC, 2u << 26 | 1u << 21 | index << 16);
        EXPECT_EQ(t.get(MDIC) >> 28, 1u) << "ready, no error";
        return t.get(MDIC) & 0xffff;
    };
    EXPECT_EQ(phy(2), 0x0141u);
    EXPECT_EQ(phy(3), 0x0c20u);
    EXPECT_EQ(phy(1) & 0x24, 0x24u) << "link, autonegotiation complete";
    EXPECT_EQ(t.get(STATUS) & 0xc3, 0x83u) << "1000 Mb/s, full duplex, link";
    t.set(IMS, kIntLink);
    t.net.card->link_changed(false);
    EXPECT_TRUE(t.line.level);
    EXPECT_EQ(phy(1) & 0x24, 0u);
    EXPECT_EQ(t.get(STATUS) & 2, 0u);
    t.set(MDIC, 2u << 26 | 2u << 21);
    EXPECT_TRUE(t.get(MDIC) & 1u << 30) << "no such PHY";

    Card alone(false);
    EXPECT_EQ(alone.get(STATUS) & 2, 0u) << "no cable";
    alone.start();
    alone.legacy(ethernet(kPeer, 0x0800, 50));
    alone.send();
    EXPECT_EQ(alone.get(TDH), 1u);
}

TEST(E1000, Sends) {
    Card t;
    t.start();
    t.set(IMS, kIntTxWritten);
    const Frame a = ethernet(kPeer, 0x0800, 100), b = ethernet(kPeer, 0x0806, 46, 9);
    t.legacy(Frame(a.begin(), a.begin() + 30), 0); // two descriptors, one frame
    t.legacy(Frame(a.begin() + 30, a.end()), kCmdEop);
    t.legacy(b);
    EXPECT_FALSE(t.line.level);
    t.send();
    EXPECT_EQ(t.net.sent, (std::vector<Frame>{a, b}));
    EXPECT_TRUE(t.line.level);
    EXPECT_EQ(t.get(ICR), u32{kIntTxWritten} | kIntTxEmpty);
    EXPECT_FALSE(t.line.level) << "reading ICR acknowledges";
    EXPECT_FALSE(t.dma.ram[Card::kTx + 12] & 1) << "no report asked for";
    EXPECT_TRUE(t.dma.ram[Card::kTx + 2 * 16 + 12] & 1);
    EXPECT_EQ(t.get(TDH), 3u);
    EXPECT_EQ(t.get(GPTC), 2u);
    EXPECT_EQ(t.get(GPTC), 0u) << "clear on read";
    for (u32 n = 0; n < 40; ++n) { // around the ring
        t.legacy(ethernet(kPeer, 0x0800, 60, u8(n)));
        t.send();
    }
    EXPECT_EQ(t.net.sent.size(), 42u);
}

TEST(E1000, LegacyChecksumAndVlanTag) {
    Card t;
    t.start();
    Frame frame = ethernet(kPeer, 0x0800, 60);
    frame[30] = frame[31] = 0;
    t.legacy(frame, kCmdEop | kCmdIc, 30, 14);
    t.send();
    EXPECT_EQ(internet_sum(std::span<const u8>(t.net.sent.back()).subspan(14)), 0xffff);
    t.set(CTRL, t.get(CTRL) | kCtrlVlanMode);
    t.legacy(frame, kCmdEop | kCmdVle, 0, 0, 0x2005);
    t.send();
    const Frame& tagged = t.net.sent.back();
    ASSERT_EQ(tagged.size(), frame.size() + 4);
    EXPECT_EQ(get_be32(tagged, 12), 0x81002005u);
    EXPECT_EQ(Frame(tagged.begin() + 16, tagged.end()), Frame(frame.begin() + 12, frame.end()));
}

TEST(E1000, SegmentsTcp) {
    Card t;
    t.start();
    Frame frame = tcp4(3001, 0x19);
    // As the driver prepares it: lengths zero, the pseudo-header without a length in the TCP checksum.
    put_be16(frame, 16, 0);
    put_be16(frame, 50, internet_sum(std::span<const u8>(frame).subspan(26, 8), 6));
    t.put(u64{34 | 50 << 8} << 32 | 33 << 16 | 24 << 8 | 14, 3001 | u32{kCmdDext | kCmdTse | 1 | 2} << 24,
          54u << 8 | 1000u << 16);
    const u64 at = 0x40000;
    t.dma.write(at, frame.data(), frame.size());
    const u32 data = 1u << 20 | u32{kCmdDext | kCmdTse} << 24;
    t.put(at, 54 | data, 3u << 8);
    t.put(at + 54, 3001 | data | u32{kCmdEop | kCmdRs} << 24, 3u << 8);
    t.send();
    ASSERT_EQ(t.net.sent.size(), 4u);
    for (unsigned n = 0; n < 4; ++n) {
        const Frame& f = t.net.sent[n];
        const std::span<const u8> all(f);
        EXPECT_EQ(f.size(), n == 3 ? 55u : 1054u);
        EXPECT_EQ(get_be16(f, 16), f.size() - 14);
        EXPECT_EQ(get_be16(f, 18), 0x1234 + n);
        EXPECT_EQ(get_be32(f, 38), 0x1000u + 1000 * n);
        EXPECT_EQ(f[47], n == 3 ? 0x19 : 0x10);
        EXPECT_EQ(internet_sum(all.subspan(14, 20)), 0xffff) << n;
        EXPECT_EQ(internet_sum(all.subspan(34), 6 + u32(f.size() - 34) + internet_sum(all.subspan(26, 8))),
                  0xffff)
            << n;
    }
}

TEST(E1000, Receives) {
    Card t;
    EXPECT_FALSE(t.net.deliver(ethernet(kMac, 0x0800, 100))) << "before the driver is there";
    t.start();
    EXPECT_GT(t.net.rooms, 0u) << "the back-end hears that there is room now";
    t.set(IMS, kIntRxTimer);
    const Frame frame = ethernet(kMac, 0x0800, 100);
    EXPECT_TRUE(t.net.deliver(frame));
    EXPECT_TRUE(t.line.level);
    EXPECT_TRUE(t.get(ICR) & kIntRxTimer);
    EXPECT_EQ(t.buffer(0), frame);
    EXPECT_EQ(t.descriptor(0).status & 3, 3) << "done, end of packet";
    EXPECT_EQ(t.get(RDH), 1u);
    t.net.deliver(ethernet(kEverybody, 0x0806, 10));
    EXPECT_EQ(t.buffer(1).size(), 60u) << "padded";
    EXPECT_EQ(t.get(GPRC), 2u);
    EXPECT_EQ(t.get(BPRC), 1u);
    t.net.deliver(ethernet(kPeer, 0x0800, 100));
    t.net.deliver(ethernet(kMac, 0x0800, 1501));
    EXPECT_EQ(t.get(RDH), 2u) << "not ours; too long";
    t.set(RCTL, t.get(RCTL) | kRxUnicastPromiscuous | kRxLong);
    t.net.deliver(ethernet(kPeer, 0x0800, 4000));
    EXPECT_EQ(t.get(RDH), 4u) << "two buffers";
    EXPECT_EQ(t.descriptor(2).status & 3, 1);
    EXPECT_EQ(t.descriptor(3).status & 3, 3);
    EXPECT_EQ(t.buffer(2).size() + t.buffer(3).size(), 4014u);
}

TEST(E1000, FillsTheRingAndWaits) {
    Card t;
    t.start();
    unsigned taken = 0;
    while (taken < 100 && t.net.deliver(ethernet(kMac, 0x0800, 1500, u8(taken))))
        ++taken;
    EXPECT_EQ(taken, Card::kRing - 1);
    EXPECT_EQ(t.get(RDH), t.get(RDT));
    EXPECT_TRUE(t.get(ICR) & kIntRxMinimum);
    const unsigned rooms = t.net.rooms;
    t.set(RDT, 3);
    EXPECT_GT(t.net.rooms, rooms);
    EXPECT_TRUE(t.net.deliver(ethernet(kMac, 0x0800, 1500)));
}

TEST(E1000, Filters) {
    Card t;
    t.start();
    const MacAddress group = {0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb}, other = {0x52, 0x54, 0, 0, 0, 1};
    const auto arrives = [&](const Frame& frame) {
        const u32 head = t.get(RDH);
        t.net.deliver(frame);
        t.set(RDT, (t.get(RDH) + Card::kRing - 1) % Card::kRing);
        return t.get(RDH) != head;
    };
    EXPECT_FALSE(arrives(ethernet(group, 0x0800, 50)));
    const unsigned hash = (0x00u | 0xfbu << 8) >> 4 & 0xfff;
    t.set(MTA + hash / 32 * 4, 1u << hash % 32);
    EXPECT_TRUE(arrives(ethernet(group, 0x0800, 50)));
    EXPECT_FALSE(arrives(ethernet(other, 0x0800, 50)));
    t.set(RAL + 8, 0x00005452), t.set(RAL + 12, 0x80000100);
    EXPECT_TRUE(arrives(ethernet(other, 0x0800, 50)));
    Frame tagged = ethernet(kMac, 0x8100, 50);
    tagged[14] = 0, tagged[15] = 7;
    EXPECT_TRUE(arrives(tagged));
    t.set(RCTL, t.get(RCTL) | kRxVlanFilter);
    EXPECT_FALSE(arrives(tagged));
    t.set(VFTA, 1u << 7);
    EXPECT_TRUE(arrives(tagged));
    t.set(RCTL, t.get(RCTL) & ~kRxBroadcast);
    EXPECT_FALSE(arrives(ethernet(kEverybody, 0x0800, 50)));
}

TEST(E1000, ChecksSumsOfWhatComesIn) {
    Card t;
    t.start();
    std::vector<Frame> parts;
    segment_tcp(tcp4(100), 1000, [&](std::span<const u8> f) { parts.emplace_back(f.begin(), f.end()); });
    Frame frame = parts.at(0);
    t.net.deliver(frame);
    EXPECT_EQ(t.descriptor(0).status & 0x60, 0x60);
    EXPECT_EQ(t.descriptor(0).errors, 0);
    frame[60] ^= 1;
    t.net.deliver(frame);
    EXPECT_EQ(t.descriptor(1).errors, 0x20) << "TCP";
    frame[60] ^= 1, frame[22] ^= 1;
    t.net.deliver(frame);
    EXPECT_EQ(t.descriptor(2).errors, 0x40) << "IP";
}

TEST(E1000, FrameCheckSequence) {
    Card t;
    t.start(kRxEnable);
    t.net.deliver(ethernet(kMac, 0x0800, 50));
    const Frame got = t.buffer(0);
    ASSERT_EQ(got.size(), 68u);
    u32 crc = ~0u; // over the frame with its FCS: the residue of IEEE 802.3
    for (const u8 byte : got) {
        crc ^= byte;
        for (unsigned n = 0; n < 8; ++n)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    EXPECT_EQ(crc, 0xdebb20e3u);
}

TEST(E1000, ThrottlesInterrupts) {
    Card t;
    t.start();
    t.set(IMS, kIntRxTimer);
    t.set(ITR, 1000); // 256 us
    t.net.deliver(ethernet(kMac, 0x0800, 50));
    EXPECT_TRUE(t.line.level);
    t.get(ICR);
    t.net.deliver(ethernet(kMac, 0x0800, 50));
    EXPECT_FALSE(t.line.level);
    t.bench.run_for(255'000);
    EXPECT_FALSE(t.line.level);
    t.bench.run_for(2'000);
    EXPECT_TRUE(t.line.level);
}

TEST(E1000, PortsReachRegisters) {
    Card t;
    t.bench.bus.out(0xc000, 4, RAL);
    EXPECT_EQ(t.bench.bus.in(0xc004, 4), 0x12005452u);
    t.bench.bus.out(0xc000, 4, VET);
    t.bench.bus.out(0xc004, 4, 0x88a8);
    EXPECT_EQ(t.get(VET), 0x88a8u);
    t.bench.bus.out(0xc000, 4, 0xfffffffc);
    EXPECT_EQ(t.bench.bus.in(0xc004, 4), 0u);
}

TEST(E1000, ALongRingGoesInPieces) {
    Card t;
    t.start();
    t.set(TDLEN, 4096 * 16);
    for (u32 n = 0; n < 4000; ++n) {
        t.dma.put<u64>(Card::kTx + 16 * n, 0x80000);
        t.dma.put<u64>(Card::kTx + 16 * n + 8, 60 | u64{kCmdEop} << 24);
    }
    t.set(TDT, 4000);
    EXPECT_LT(t.net.sent.size(), 1000u);
    t.bench.run_for(1'000'000);
    EXPECT_EQ(t.net.sent.size(), 4000u);
}

TEST(E1000, WithoutBusMasteringNothingMoves) {
    Card t;
    t.start();
    t.e1000.config_write(kPciCommand, 2, 3);
    t.legacy(ethernet(kPeer, 0x0800, 50));
    t.send();
    EXPECT_TRUE(t.net.sent.empty());
    EXPECT_FALSE(t.net.deliver(ethernet(kMac, 0x0800, 50)));
}

TEST(E1000, SavesAndLoads) {
    Card t;
    t.start();
    t.legacy(ethernet(kPeer, 0x0800, 50), 0); // half a frame
    t.send();
    t.set(EECD, 0x42), t.set(EECD, 0x47);
    check_round_trip(t.e1000, [&] {
        t.legacy(ethernet(kPeer, 0x0800, 50));
        t.send();
        t.net.deliver(ethernet(kMac, 0x0800, 50));
        t.set(EECD, 0x40);
        t.set(MDIC, 1u << 26 | 1u << 21 | 16u << 16 | 0x1234);
    });
}

TEST(E1000, AnyRegisterAnyDescriptor) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    static constexpr u32 kPlaces[] = {CTRL, EECD, EERD,  MDIC,  ITR,   ICS, IMS, RCTL, TCTL, RDBAL,  RDLEN,
                                      RDH,  RDT,  TDBAL, TDBAH, TDLEN, TDH, TDT, TDT,  TDT,  RXCSUM, VET};
    for (unsigned round = 0; round < 200; ++round) {
        Card t;
        t.start();
        for (u64 at = Card::kTx; at < Card::kTx + 0x2000; at += 8)
            t.dma.put<u64>(at, random() % 4 ? random() % 0x100000 : random());
        for (unsigned n = 0; n < 60; ++n) {
            const u32 place = random() % 8 ? kPlaces[random() % std::size(kPlaces)] : u32(random() % 0x20000);
            // Bits that reset the chip would make it dull.
            const u64 value = (random() % 2 ? random() : random() % 64) & (place == CTRL ? ~(5u << 26) : ~0u);
            if (random() % 16 == 0)
                t.set(place, value, 1u << random() % 4);
            else
                t.set(place, value);
            t.get(random() % 0x20000 & ~7u, 1u << random() % 4);
            if (random() % 4 == 0)
                t.net.deliver(ethernet(kMac, random() % 2 ? 0x8100 : 0x0800, random() % 5000));
            if (random() % 4 == 0) t.bench.run_for(2000);
        }
        t.net.sent.clear();
        for (unsigned n = 0; n < 10; ++n)
            t.bench.run_for(1000);
    }
}

} // namespace
} // namespace dragoman::hw::test
