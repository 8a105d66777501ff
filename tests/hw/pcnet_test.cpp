// The Am79C970A: both register maps, the address PROM, the three forms of its structures in memory, filters,
// loopback, errors; and drivers that mean harm.
#include "hw/pcnet.h"

#include "chip_test_support.h"
#include "hw/net_frame.h"
#include "memory_test_support.h"
#include "net_test_support.h"

#include <random>

namespace dragoman::hw::test {
namespace {

using namespace pcnet;

struct Card : CardBench {
    static constexpr u16 kPorts = 0xc000;
    static constexpr u32 kBlock = 0x1000, kRx = 0x2000, kTx = 0x3000, kBuffers = 0x10000,
                         kTxBuffers = 0x40000, kBufferBytes = 1536;
    static constexpr unsigned kCount = 8; // descriptors of each ring

    explicit Card(unsigned style_ = 2, bool dword_ = true)
        : card(kMac, &net, bench.scheduler, log), style(style_), dword(dword_) {
        card.connect(bench.bus, map, dma, &line);
        card.reset();
        card.config_write(kPciBar0, 4, kPorts);
        card.config_write(kPciBar0 + 4, 4, 0xfebc0000);
        card.config_write(kPciCommand, 2, 7);
        if (dword) bench.bus.out(kPorts + 0x10, 4, 0);
    }
    unsigned width() const { return dword ? 4 : 2; }
    u32 in(Port port) { return bench.bus.in(u16(kPorts + 16 + port * width()), width()) & 0xffff; }
    void out(Port port, u32 value) { bench.bus.out(u16(kPorts + 16 + port * width()), width(), value); }
    u32 csr(unsigned n) { return out(RAP, n), in(RDP); }
    void csr(unsigned n, u32 value) { out(RAP, n), out(RDP, value); }
    u32 bcr(unsigned n) { return out(RAP, n), in(BDP); }
    void bcr(unsigned n, u32 value) { out(RAP, n), out(BDP, value); }

    // As a driver begins. `filter`: the logical address filter.
    void start(u16 mode = 0, u64 filter = 0) {
        csr(STATUS, kStop);
        bcr(SWS, style);
        MacAddress mac = kMac;
        if (style) {
            dma.put<u32>(kBlock, 3u << 28 | 3u << 20 | mode);
            dma.write(kBlock + 4, mac.data(), 6);
            dma.put<u64>(kBlock + 12, filter);
            dma.put<u32>(kBlock + 20, kRx);
            dma.put<u32>(kBlock + 24, kTx);
        } else {
            dma.put<u16>(kBlock, mode);
            dma.write(kBlock + 2, mac.data(), 6);
            dma.put<u64>(kBlock + 8, filter);
            dma.put<u32>(kBlock + 16, kRx | 3u << 29);
            dma.put<u32>(kBlock + 20, kTx | 3u << 29);
        }
        for (unsigned n = 0; n < kCount; ++n)
            describe(kRx, n, kBuffers + n * 0x1000, kOwn, kBufferBytes), describe(kTx, n, 0, 0, 1);
        csr(IADR0, kBlock & 0xffff), csr(IADR1, kBlock >> 16);
        csr(FEATURES, 0x0915);
        csr(STATUS, kInit);
        EXPECT_EQ(csr(STATUS) & (kInitDone | kInit | kStop), u32{kInitDone | kInit});
        csr(STATUS, kInitDone | kStart | kIntEnable);
        rx = tx = 0;
    }
    void describe(u32 ring, unsigned n, u32 address, u32 flags, u32 bytes) {
        const u32 count = -bytes & 0xfff;
        if (!style) {
            dma.put<u16>(ring + 8 * n, u16(address));
            dma.put<u16>(ring + 8 * n + 2, u16(flags >> 16 | address >> 16));
            dma.put<u32>(ring + 8 * n + 4, 0xf000 | count);
        } else {
            dma.put<u32>(ring + 16 * n + (style == 3 ? 8 : 0), address);
            dma.put<u32>(ring + 16 * n + (style == 3 ? 0 : 8), 0);
            dma.put<u32>(ring + 16 * n + 4, flags | 0xf000 | count);
        }
    }
    u32 flags(u32 ring, unsigned n) {
        return style ? dma.get<u32>(ring + 16 * n + 4) & 0xfff00000
                     : dma.get<u8>(ring + 8 * n + 3) * 0x1000000u;
    }
    u32 status(u32 ring, unsigned n) { // RMD2 or TMD2, in the 32-bit form; 16-bit: RMD3 or TMD3
        return style ? dma.get<u32>(ring + 16 * n + (style == 3 ? 0 : 8)) : dma.get<u16>(ring + 8 * n + 6);
    }
    void queue(const Frame& part, u32 flags_) {
        dma.write(kTxBuffers + tx * 0x1000, part.data(), part.size());
        describe(kTx, tx, kTxBuffers + tx * 0x1000, kOwn | flags_, u32(part.size()));
        tx = (tx + 1) % kCount;
    }
    void send(const Frame& frame, u32 more = 0) {
        queue(frame, kStartOfPacket | kEndOfPacket | more);
        csr(STATUS, kDemand | kIntEnable);
    }
    // The next frame as a driver takes it, without its FCS.
    Frame take() {
        Frame frame;
        got = 0;
        while (!(flags(kRx, rx) & kOwn)) {
            got |= flags(kRx, rx);
            const u32 bytes = got & kEndOfPacket ? status(kRx, rx) & 0xfff : u32(frame.size()) + kBufferBytes;
            for (u32 n = u32(frame.size()), at = 0; n < bytes; ++n, ++at)
                frame.push_back(dma.ram[kBuffers + rx * 0x1000 + at]);
            describe(kRx, rx, kBuffers + rx * 0x1000, kOwn, kBufferBytes);
            rx = (rx + 1) % kCount;
            if (got & kEndOfPacket) break;
        }
        if (frame.size() > kFcs) {
            Frame again(frame.begin(), frame.end() - kFcs);
            append_fcs(again);
            EXPECT_EQ(again == frame, !(got & kRxCrc));
            frame.resize(frame.size() - kFcs);
        }
        return frame;
    }

    Pcnet card;
    unsigned style, rx = 0, tx = 0;
    bool dword;
    u32 got = 0; // flags of the last frame's descriptors together
};

TEST(Pcnet, AddressPromAndIdentity) {
    Card t(2, false);
    for (u16 n = 0; n < 6; ++n)
        EXPECT_EQ(t.bench.bus.in(Card::kPorts + n, 1), kMac[n]);
    EXPECT_EQ(t.bench.bus.in(Card::kPorts + 14, 2), 0x5757u) << "WW";
    u32 sum = 0;
    for (u16 n = 0; n < 16; ++n)
        if (n != 12 && n != 13) sum += t.bench.bus.in(u16(Card::kPorts + n), 1);
    EXPECT_EQ(t.bench.bus.in(Card::kPorts + 12, 2), sum);
    EXPECT_EQ(t.csr(88) | t.csr(89) << 16, 0x02621003u) << "the chip's number";
    for (unsigned n = 0; n < 3; ++n)
        EXPECT_EQ(t.csr(PADR + n), kMac[2 * n] + kMac[2 * n + 1] * 256u);
    t.bench.bus.out(Card::kPorts, 1, 0x42);
    EXPECT_EQ(t.bench.bus.in(Card::kPorts, 1), kMac[0]) << "locked";
    t.bcr(MISC, 0x102);
    t.bench.bus.out(Card::kPorts, 1, 0x42);
    EXPECT_EQ(t.bench.bus.in(Card::kPorts, 1), 0x42u);
}

TEST(Pcnet, Eeprom) {
    Card t;
    const auto clock = [&](unsigned data) {
        t.bcr(EEPROM, 0x14 | data);
        t.bcr(EEPROM, 0x16 | data);
        return t.bcr(EEPROM) & 1;
    };
    unsigned sum = 0;
    for (unsigned word = 0; word < 18; ++word) {
        t.bcr(EEPROM, 0x10);
        for (int n = 8; n >= 0; --n)
            clock((6u << 6 | word) >> n & 1);
        u16 value = 0;
        for (unsigned n = 0; n < 16; ++n)
            value = u16(value << 1 | clock(0));
        if (word < 3) {
            EXPECT_EQ(value, kMac[2 * word] | kMac[2 * word + 1] << 8);
        }
        sum += (value & 0xff) + (value >> 8);
    }
    EXPECT_EQ(sum & 0xff, 0xffu);
    EXPECT_EQ(t.bcr(EEPROM) >> 12, 0xau) << "there, and valid";
}

TEST(Pcnet, WordsAndDoubleWords) {
    Card t(2, false);
    EXPECT_EQ(t.csr(STATUS), 4u);
    EXPECT_EQ(t.bcr(BUS) & kDoubleWord, 0u);
    t.out(RAP, 88);
    EXPECT_EQ(t.in(RAP), 88u);
    t.in(RESET);
    EXPECT_EQ(t.in(RAP), 0u);
    t.bench.bus.out(Card::kPorts + 0x10, 4, 0);
    t.dword = true;
    t.out(RAP, 88);
    EXPECT_EQ(t.in(RAP), 88u);
    EXPECT_EQ(t.bcr(BUS) & kDoubleWord, u32{kDoubleWord});
    t.in(RESET);
    EXPECT_EQ(t.in(RAP), 0u);
    EXPECT_EQ(t.csr(STATUS), 4u) << "a software reset leaves the width";
    t.out(RAP, CHIP_ID);
    EXPECT_EQ(t.map.at(0xfebc0000)->io->read(0x10, 4), 0x1003u) << "in memory as by ports";
    t.card.reset();
    t.card.config_write(kPciBar0, 4, Card::kPorts);
    t.card.config_write(kPciCommand, 2, 7);
    t.dword = false;
    EXPECT_EQ(t.csr(STATUS), 4u) << "a hardware reset does not";
}

TEST(Pcnet, RegistersThatLock) {
    Card t;
    t.start();
    t.csr(LADRF, 0x1234), t.csr(MODE, kPromiscuous), t.bcr(SWS, 0);
    EXPECT_EQ(t.csr(LADRF), 0u);
    EXPECT_EQ(t.csr(MODE), 0u);
    EXPECT_EQ(t.bcr(SWS), 0x302u);
    t.csr(EXTENDED, kSuspend);
    t.csr(LADRF, 0x1234), t.csr(MODE, kPromiscuous);
    EXPECT_EQ(t.csr(LADRF), 0x1234u);
    EXPECT_EQ(t.csr(MODE), u32{kPromiscuous});
    EXPECT_FALSE(t.net.deliver(ethernet(kMac, 0x0800, 60))) << "suspended";
    t.send(ethernet(kPeer, 0x0800, 60));
    EXPECT_TRUE(t.net.sent.empty());
    t.csr(EXTENDED, 0);
    EXPECT_EQ(t.net.sent.size(), 1u);
    EXPECT_TRUE(t.net.deliver(ethernet(kMac, 0x0800, 60)));
    t.csr(STATUS, kStop | kInit | kStart);
    EXPECT_EQ(t.csr(STATUS), 4u) << "STOP wins";
    const u32 styles[] = {0x200, 0x101, 0x302, 0x303};
    for (unsigned n = 0; n < 4; ++n) {
        t.bcr(SWS, n);
        EXPECT_EQ(t.bcr(SWS), styles[n]);
        EXPECT_EQ(t.csr(58), styles[n]);
    }
    t.bcr(SWS, 4);
    EXPECT_EQ(t.bcr(SWS), 0x303u) << "reserved";
}

TEST(Pcnet, EachStyleSendsAndReceives) {
    for (const unsigned style : {0u, 1u, 2u, 3u}) {
        SCOPED_TRACE(style);
        Card t(style, style & 1);
        EXPECT_FALSE(t.net.deliver(ethernet(kMac, 0x0800, 100))) << "before the driver is there";
        t.start();
        EXPECT_EQ(t.csr(76), 0xfff8u) << "a ring of 8";
        std::vector<Frame> frames;
        for (unsigned n = 0; n < 30; ++n) { // round both rings
            frames.push_back(ethernet(kPeer, 0x0800, 46 + 45 * n, u8(n)));
            t.send(frames.back());
            EXPECT_EQ(t.flags(Card::kTx, n % 8), kStartOfPacket | kEndOfPacket);
            EXPECT_TRUE(t.line.level);
            EXPECT_EQ(t.csr(STATUS) & (kTxInt | kIntr | kErr), u32{kTxInt | kIntr});
            t.csr(STATUS, kTxInt | kIntEnable);
            EXPECT_FALSE(t.line.level);

            const Frame in = ethernet(n % 2 ? kMac : kEverybody, 0x0800, 1500 - 40 * n, u8(n));
            ASSERT_TRUE(t.net.deliver(in));
            EXPECT_EQ(t.csr(STATUS) & kRxInt, u32{kRxInt});
            EXPECT_EQ(t.take(), in);
            EXPECT_EQ(t.got & ~(kRxPhysical | kRxBroadcast), kStartOfPacket | kEndOfPacket);
            if (style) {
                EXPECT_EQ(t.got & (kRxPhysical | kRxBroadcast), n % 2 ? kRxPhysical : kRxBroadcast);
            }
            t.csr(STATUS, kRxInt | kIntEnable);
        }
        EXPECT_EQ(t.net.sent, frames);
    }
}

TEST(Pcnet, ChainsOfBuffers) {
    Card t;
    t.start();
    const Frame whole = ethernet(kPeer, 0x0800, 1000);
    t.queue(Frame(whole.begin(), whole.begin() + 14), kStartOfPacket);
    t.queue(Frame(whole.begin() + 14, whole.begin() + 500), 0);
    t.queue(Frame(whole.begin() + 500, whole.end()), kEndOfPacket);
    t.csr(STATUS, kDemand);
    ASSERT_EQ(t.net.sent.size(), 1u);
    EXPECT_EQ(t.net.sent[0], whole);

    for (unsigned n = 0; n < 8; ++n)
        t.describe(Card::kRx, n, Card::kBuffers + 0x1000 * n, kOwn, 400);
    const Frame in = ethernet(kMac, 0x0800, 986); // 1004 with its FCS
    ASSERT_TRUE(t.net.deliver(in));
    const u32 wanted[] = {kStartOfPacket, 0, kEndOfPacket | kRxPhysical};
    for (unsigned n = 0; n < 3; ++n)
        EXPECT_EQ(t.flags(Card::kRx, n), wanted[n]);
    EXPECT_EQ(t.status(Card::kRx, 2), 1004u);
    EXPECT_EQ(t.dma.ram[Card::kBuffers + 0x2000 + 180], in[980]);
    EXPECT_EQ(t.flags(Card::kRx, 3), kOwn);
}

TEST(Pcnet, ErrorsOfRings) {
    Card t;
    t.start();
    t.queue(ethernet(kPeer, 0x0800, 60), kStartOfPacket); // the rest never comes
    t.csr(STATUS, kDemand | kIntEnable);
    EXPECT_EQ(t.flags(Card::kTx, 0), kDescError | kStartOfPacket);
    EXPECT_EQ(t.status(Card::kTx, 0), kTxBufferError | kTxUnderflow);
    EXPECT_EQ(t.csr(STATUS) & (kTxOn | kRxOn | kTxInt), u32{kRxOn | kTxInt}) << "the transmitter is off";

    t.start();
    t.queue(ethernet(kPeer, 0x0800, 60), kEndOfPacket); // a rest without a beginning
    t.send(ethernet(kPeer, 0x0800, 80));
    EXPECT_EQ(t.net.sent.size(), 1u);
    t.send(ethernet(kPeer, 0x0800, 1505));
    EXPECT_EQ(t.csr(STATUS) & (kBabble | kErr), u32{kBabble | kErr});

    // One buffer of 400 bytes, and then nothing.
    t.describe(Card::kRx, 0, Card::kBuffers, kOwn, 400);
    t.describe(Card::kRx, 1, 0, 0, 400);
    EXPECT_FALSE(t.net.deliver(ethernet(kMac, 0x0800, 900))) << "a back-end that asks waits";
    t.net.card->receive(ethernet(kMac, 0x0800, 900));
    EXPECT_EQ(t.flags(Card::kRx, 0), kDescError | kRxBuffer | kRxOverflow | kStartOfPacket);
    t.net.card->receive(ethernet(kMac, 0x0800, 900));
    EXPECT_EQ(t.csr(STATUS) & (kMiss | kErr), u32{kMiss | kErr});
    EXPECT_EQ(t.csr(MISSED), 1u);
    const unsigned rooms = t.net.rooms;
    t.bench.run_for(5'000'000);
    EXPECT_GT(t.net.rooms, rooms) << "descriptors are given back without a word";
}

TEST(Pcnet, Filters) {
    const MacAddress group = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
    u32 crc = ~0u; // least significant bit first
    for (const u8 byte : group)
        for (unsigned i = 0; i < 8; ++i)
            crc = crc >> 1 ^ ((crc ^ byte >> i) & 1 ? 0xedb88320u : 0);
    const auto accepts = [](u16 mode, u64 filter, const MacAddress& to) {
        Card t;
        t.start(mode, filter);
        t.net.deliver(ethernet(to, 0x0800, 60));
        return !t.take().empty();
    };
    for (unsigned n = 0; n < 64; ++n)
        EXPECT_EQ(accepts(0, u64{1} << n, group), n == crc >> 26) << n;
    EXPECT_TRUE(accepts(kPromiscuous, 0, group));
    EXPECT_FALSE(accepts(0, ~u64{0}, kPeer));
    EXPECT_TRUE(accepts(kPromiscuous, 0, kPeer));
    EXPECT_FALSE(accepts(kNoPhysical, 0, kMac));
    EXPECT_FALSE(accepts(kNoBroadcast, 0, kEverybody));
    EXPECT_TRUE(accepts(kNoBroadcast, ~u64{0}, kEverybody)) << "as any group";
}

TEST(Pcnet, LoopsBack) {
    Card t;
    t.start(kLoop | kInternalLoop);
    const Frame frame = ethernet(kMac, 0x0800, 200);
    t.send(frame);
    EXPECT_EQ(t.take(), frame);
    EXPECT_TRUE(t.net.sent.empty());

    t.start(kLoop | kInternalLoop | kNoTxFcs);
    t.send(frame); // its last bytes are no check sequence
    t.take();
    EXPECT_EQ(t.got & (kDescError | kRxCrc), kDescError | kRxCrc);
    Frame whole = frame;
    append_fcs(whole);
    t.send(whole);
    EXPECT_EQ(t.take(), frame);
    t.send(frame, kTxAddFcs);
    EXPECT_EQ(t.take(), frame);

    t.start(kLoop | kInternalLoop | kForceCollision);
    t.send(frame);
    EXPECT_EQ(t.status(Card::kTx, 0), kTxRetry);
    EXPECT_TRUE(t.take().empty());
}

TEST(Pcnet, PaddingAndStripping) {
    Card t;
    t.start();
    t.send(ethernet(kPeer, 0x0800, 10));
    EXPECT_EQ(t.net.sent.back().size(), 60u) << "APAD_XMT";
    t.csr(FEATURES, 0x0515);
    t.net.deliver(ethernet(kMac, 20, 46));
    EXPECT_EQ(t.status(Card::kRx, 0), 34u) << "ASTRP_RCV: header and data";
    t.net.deliver(ethernet(kMac, 0x0800, 46));
    EXPECT_EQ(t.status(Card::kRx, 1), 64u) << "no length field";
}

TEST(Pcnet, InterruptMasks) {
    Card t;
    t.start();
    t.csr(MASKS, kTxInt);
    t.send(ethernet(kPeer, 0x0800, 60));
    EXPECT_FALSE(t.line.level);
    t.csr(MASKS, 0);
    EXPECT_TRUE(t.line.level);
    t.csr(STATUS, kTxInt);
    EXPECT_FALSE(t.line.level) << "IENA is off now";
    t.csr(STATUS, kIntEnable);
    t.csr(FEATURES, 0x0915 | kUserIntCommand);
    EXPECT_TRUE(t.line.level);
    EXPECT_EQ(t.csr(FEATURES) & 0xc0, u32{kUserInt});
    t.csr(FEATURES, 0x0915 | kUserInt);
    EXPECT_FALSE(t.line.level);
    t.csr(FEATURES, 0x0911); // TXSTRT interrupts
    t.send(ethernet(kPeer, 0x0800, 60));
    t.csr(STATUS, kTxInt | kIntEnable);
    EXPECT_TRUE(t.line.level);
    t.csr(FEATURES, 0x0911 | kTxStarted);
    EXPECT_FALSE(t.line.level);
    t.csr(EXTENDED, kNoTxOkInt);
    t.send(ethernet(kPeer, 0x0800, 60));
    EXPECT_EQ(t.csr(STATUS) & kTxInt, 0u);
    t.csr(EXTENDED, kLastTxIntOnly);
    t.send(ethernet(kPeer, 0x0800, 60));
    EXPECT_EQ(t.csr(STATUS) & kTxInt, 0u);
    t.send(ethernet(kPeer, 0x0800, 60), kTxLastInt);
    EXPECT_EQ(t.csr(STATUS) & kTxInt, u32{kTxInt});
}

TEST(Pcnet, PollsForADriverThatDoesNotTell) {
    Card t;
    t.start();
    t.queue(ethernet(kPeer, 0x0800, 60), kStartOfPacket | kEndOfPacket);
    t.bench.run_for(3'000'000);
    EXPECT_EQ(t.net.sent.size(), 1u);
    t.start();
    t.csr(FEATURES, 0x1915);
    t.bench.run_for(3'000'000);
    t.queue(ethernet(kPeer, 0x0800, 60), kStartOfPacket | kEndOfPacket);
    t.bench.run_for(30'000'000);
    EXPECT_EQ(t.net.sent.size(), 1u) << "DPOLL";
}

TEST(Pcnet, LinkState) {
    Card t;
    t.start();
    EXPECT_EQ(t.bcr(LINK_LED), 0x80c0u);
    t.net.card->link_changed(false);
    EXPECT_EQ(t.bcr(LINK_LED), 0xc0u);
    t.send(ethernet(kPeer, 0x0800, 60));
    EXPECT_EQ(t.status(Card::kTx, 0), kTxNoCarrier);
}

TEST(Pcnet, SavesAndLoads) {
    Card t;
    t.start();
    t.send(ethernet(kPeer, 0x0800, 60));
    t.net.deliver(ethernet(kMac, 0x0800, 60));
    t.queue(ethernet(kPeer, 0x0800, 60), kStartOfPacket | kEndOfPacket);
    check_round_trip(t.card, [&] {
        t.take();
        t.csr(STATUS, kDemand);
        t.csr(EXTENDED, kSuspend);
        t.csr(MODE, kPromiscuous);
        t.bcr(MISC, 0x102);
        t.bench.bus.out(Card::kPorts, 1, 0x42);
        t.bcr(EEPROM, 0x14), t.bcr(EEPROM, 0x16);
        t.bench.run_for(1000);
    });
}

// A ring that never ends: the descriptors lie where writes do nothing and reads give ones, or over each
// other.
TEST(Pcnet, EndlessRings) {
    Card t;
    t.start();
    t.csr(EXTENDED, kSuspend);
    t.csr(BADX, 0), t.csr(BADX + 1, 0xfff0), t.csr(BADR, 0), t.csr(BADR + 1, 0xfff0);
    t.csr(XMTRL, 0), t.csr(RCVRL, 0xffff);
    t.csr(EXTENDED, 0);
    for (unsigned n = 0; n < 20; ++n) {
        t.csr(STATUS, kDemand);
        t.net.deliver(ethernet(kMac, 0x0800, 1500));
        t.bench.run_for(1'000'000);
    }
    t.csr(STATUS, kStop);
    EXPECT_EQ(t.csr(STATUS), 4u);
}

TEST(Pcnet, AnyAccess) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    for (unsigned round = 0; round < 20; ++round) {
        Card t(unsigned(random() % 4), random() % 2);
        t.start(u16(random() & random()), random());
        for (unsigned n = 0; n < 200; ++n) {
            const u32 number = random() % 2 ? random() % 6 : random() % 130;
            // A stop at every turn would make it dull.
            if (random() % 2) t.csr(number, u32(random()) & (number || random() % 16 == 0 ? ~0u : ~4u));
            if (random() % 8 == 0) t.bcr(u32(random() % 24), u32(random()));
            t.csr(number), t.bcr(number);
            if (random() % 32 == 0) t.start(u16(random() & random()), random());
            if (random() % 3 == 0) t.dma.put<u32>(0x1000 + random() % 0x2200, u32(random()));
            if (random() % 3 == 0)
                t.queue(ethernet(kMac, 0x0800, random() % 3000), u32(random()) & 0x3f000000);
            if (random() % 3 == 0)
                t.net.deliver(ethernet(random() % 2 ? kMac : kEverybody, 0x0800, random() % 5000));
            if (random() % 8 == 0) t.bench.run_for(random() % 10'000'000);
        }
    }
}

} // namespace
} // namespace dragoman::hw::test
