// The virtio network card: frames both ways, offloads, filters, and drivers that mean harm.
#include "hw/virtio_net.h"

#include "hw/net_frame.h"
#include "net_test_support.h"
#include "virtio_test_support.h"

#include <gtest/gtest.h>
#include <random>

namespace dragoman::hw::test {
namespace {

constexpr u64 feature(unsigned n) {
    return u64{1} << n;
}
constexpr u64 kControlBits = feature(kVirtioNetCtrlVq) | feature(kVirtioNetCtrlRx) |
                             feature(kVirtioNetCtrlVlan) | feature(kVirtioNetCtrlRxExtra) |
                             feature(kVirtioNetCtrlMac);

struct Net {
    explicit Net(u64 features = feature(kVirtioNetMac), bool modern = true, unsigned pairs = 1)
        : bench(std::make_unique<VirtioNet>(kMac, &net, log, pairs), {.vectors = 0}), driver(bench, modern),
          header_bytes(modern || (features & feature(kVirtioNetMrgRxbuf)) ? 12 : 10),
          control(features & feature(kVirtioNetMq) ? 2 * pairs : 2) {
        EXPECT_TRUE(driver.start(features));
    }
    // Offers `count` receive buffers, header and frame in one.
    void offer(unsigned count, u32 bytes = 1526, unsigned pair = 0) {
        for (unsigned n = 0; n < count; ++n) {
            buffers.push_back(driver.allocate(bytes));
            driver.offer(2 * pair, {{buffers.back(), bytes, true}});
        }
        driver.ring(2 * pair);
    }
    Frame received() {
        const auto used = driver.take_used(0);
        if (!used) return {};
        return driver.fetch(buffers[next++], used->written);
    }
    Frame frame_received() {
        Frame all = received();
        if (all.empty()) return all;
        return Frame(all.begin() + long(header_bytes), all.end());
    }
    void send(const Frame& frame, std::vector<u8> header = {}, unsigned pair = 0) {
        header.resize(header_bytes);
        const unsigned queue = 2 * pair + 1;
        driver.offer(queue, {{driver.place(header), u32(header.size()), false},
                             {driver.place(frame), u32(frame.size()), false}});
        driver.ring(queue);
        EXPECT_TRUE(driver.take_used(queue));
    }
    // A control command's answer.
    u8 command(u8 group, u8 what, const std::vector<u8>& data) {
        const u64 answer = driver.place({0xee});
        driver.offer(control, {{driver.place({group, what}), 2, false},
                               {driver.place(data), u32(data.size()), false},
                               {answer, 1, true}});
        driver.ring(control);
        EXPECT_TRUE(driver.take_used(control));
        return driver.fetch(answer, 1)[0];
    }
    bool arrives(const Frame& frame) {
        offer(1);
        EXPECT_TRUE(net.deliver(frame));
        const bool came = !frame_received().empty();
        if (!came) { // the buffer waits for the next one
            EXPECT_TRUE(net.deliver(ethernet(mac_in_use, 0x0800, 60)));
            EXPECT_FALSE(frame_received().empty());
        }
        return came;
    }

    QuietLog log;
    FakeNet net;
    VirtioBench bench;
    VirtioDriver driver;
    std::size_t header_bytes;
    unsigned control; // number of that queue
    std::vector<u64> buffers;
    std::size_t next = 0;
    MacAddress mac_in_use = kMac;
};

TEST(VirtioNet, FramesBothWays) {
    for (const bool modern : {true, false}) {
        Net t(feature(kVirtioNetMac) | feature(kVirtioNetStatus), modern);
        for (unsigned n = 0; n < 6; ++n)
            EXPECT_EQ(t.driver.config(n, 1), kMac[n]);
        EXPECT_EQ(t.driver.config(6, 2), 1u) << "link";
        EXPECT_FALSE(t.net.deliver(ethernet(kMac, 0x0800, 60))) << "no buffers yet";
        const unsigned rooms = t.net.rooms;
        t.offer(3);
        EXPECT_GT(t.net.rooms, rooms);
        const Frame in = ethernet(kMac, 0x0800, 300), out = ethernet(kPeer, 0x0806, 46);
        EXPECT_TRUE(t.net.deliver(in));
        EXPECT_TRUE(t.bench.line.level);
        EXPECT_EQ(t.driver.isr(), 1);
        EXPECT_EQ(t.frame_received(), in);
        t.send(out);
        EXPECT_EQ(t.net.sent, std::vector<Frame>{out});
        t.net.deliver(in), t.net.deliver(in);
        EXPECT_FALSE(t.net.deliver(in)) << "full";
        t.net.card->link_changed(false);
        EXPECT_EQ(t.driver.config(6, 2), 0u);
    }
}

TEST(VirtioNet, MergesBuffers) {
    Net t(feature(kVirtioNetMrgRxbuf));
    t.offer(10, 500);
    const Frame frame = ethernet(kMac, 0x0800, 1400);
    EXPECT_TRUE(t.net.deliver(frame));
    Frame all = t.received();
    EXPECT_EQ(all[10] | all[11] << 8, 3) << "buffers";
    for (unsigned n = 0; n < 2; ++n) {
        const Frame part = t.received();
        all.insert(all.end(), part.begin(), part.end());
    }
    EXPECT_EQ(Frame(all.begin() + 12, all.end()), frame);
    EXPECT_TRUE(t.received().empty());
    t.net.deliver(ethernet(kMac, 0x0800, 9000)); // more than is left: lost
    EXPECT_TRUE(t.received().empty());
    t.net.deliver(frame);
    EXPECT_EQ(t.received().size(), 500u) << "nothing of the lost one took a buffer";
}

TEST(VirtioNet, ABufferThatIsTooSmallStays) {
    Net t;
    t.offer(1, 100);
    t.net.deliver(ethernet(kMac, 0x0800, 300));
    EXPECT_TRUE(t.received().empty());
    t.net.deliver(ethernet(kMac, 0x0800, 40));
    EXPECT_EQ(t.received().size(), 12u + 54u);
}

TEST(VirtioNet, ChecksumOffload) {
    Net t(feature(kVirtioNetCsum));
    Frame frame = ethernet(kPeer, 0x0800, 100);
    frame[50] = frame[51] = 0;
    t.send(frame, {1, 0, 0, 0, 0, 0, 34, 0, 16, 0});
    EXPECT_EQ(internet_sum(std::span<const u8>(t.net.sent.at(0)).subspan(34)), 0xffff);
    t.send(frame, {1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff});
    EXPECT_EQ(t.net.sent.size(), 1u) << "offsets outside the frame";
}

TEST(VirtioNet, SegmentationOffload) {
    Net t(feature(kVirtioNetCsum) | feature(kVirtioNetTso4));
    t.send(tcp4(5000), {1, 1, 54, 0, 0xe8, 3, 34, 0, 16, 0}); // 1000 bytes each
    ASSERT_EQ(t.net.sent.size(), 5u);
    for (const Frame& f : t.net.sent)
        EXPECT_EQ(f.size(), 1054u);
    t.send(tcp4(5000), {1, 1, 54, 0, 1, 0, 34, 0, 16, 0});
    t.send(tcp4(5000), {1, 3, 54, 0, 0xe8, 3, 34, 0, 16, 0});
    EXPECT_EQ(t.net.sent.size(), 5u) << "segments of one byte; UDP, which was not offered";
}

TEST(VirtioNet, Filters) {
    Net t(kControlBits);
    const MacAddress group = {0x01, 0, 0x5e, 0, 0, 0xfb}, other = {0x52, 0x54, 0, 0, 0, 1};
    EXPECT_TRUE(t.arrives(ethernet(other, 0x0800, 60))) << "promiscuous until told otherwise";
    EXPECT_EQ(t.command(0, 0, {0}), 0);
    EXPECT_FALSE(t.arrives(ethernet(other, 0x0800, 60)));
    EXPECT_FALSE(t.arrives(ethernet(group, 0x0800, 60)));
    EXPECT_TRUE(t.arrives(ethernet(kEverybody, 0x0800, 60)));
    std::vector<u8> table = {1, 0, 0, 0};
    table.insert(table.end(), other.begin(), other.end());
    table.insert(table.end(), {1, 0, 0, 0});
    table.insert(table.end(), group.begin(), group.end());
    EXPECT_EQ(t.command(1, 0, table), 0);
    EXPECT_TRUE(t.arrives(ethernet(other, 0x0800, 60)));
    EXPECT_TRUE(t.arrives(ethernet(group, 0x0800, 60)));
    EXPECT_EQ(t.command(0, 5, {1}), 0);
    EXPECT_FALSE(t.arrives(ethernet(kEverybody, 0x0800, 60)));
    EXPECT_EQ(t.command(1, 1, {other.begin(), other.end()}), 0);
    t.mac_in_use = other;
    EXPECT_EQ(t.command(1, 0, {0, 0, 0, 0, 0, 0, 0, 0}), 0);
    EXPECT_FALSE(t.arrives(ethernet(kMac, 0x0800, 60)));
    t.driver.set_status(0);
    EXPECT_EQ(t.driver.config(5, 1), kMac[5]) << "a reset brings the card's own address back";
}

TEST(VirtioNet, CommandsThatAreWrong) {
    Net t(kControlBits);
    EXPECT_EQ(t.command(0, 6, {1}), 1);
    EXPECT_EQ(t.command(7, 0, {1}), 1);
    EXPECT_EQ(t.command(1, 1, {1, 2, 3}), 1);
    EXPECT_EQ(t.command(1, 0, {0xff, 0xff, 0xff, 0xff}), 1);
    EXPECT_EQ(t.command(2, 0, {0, 0x10}), 1) << "there is no VLAN 4096";
    EXPECT_EQ(t.command(2, 0, {5, 0}), 0);
    EXPECT_FALSE(t.driver.status() & 0x40);
    t.driver.offer(2, {{t.driver.place({0, 0}), 2, false}}); // nowhere to answer
    t.driver.ring(2);
    EXPECT_TRUE(t.driver.status() & 0x40);
}

constexpr u64 kMqBits = kControlBits | feature(kVirtioNetMq);
constexpr u8 kMqClass = 4;

// Of a conversation with port 80 of another machine.
Frame conversation(u16 port, bool sent) {
    Frame frame = tcp4(20);
    put_be16(frame, 34, port);
    put_be16(frame, 36, 80);
    if (sent) return frame;
    std::swap_ranges(frame.begin() + 26, frame.begin() + 30, frame.begin() + 30);
    std::swap_ranges(frame.begin() + 34, frame.begin() + 36, frame.begin() + 36);
    return frame;
}

TEST(VirtioNet, AConversationStaysOnItsPair) {
    for (const bool modern : {true, false}) {
        Net t(kMqBits, modern, 4);
        EXPECT_TRUE(t.driver.offered() & feature(kVirtioNetMq));
        EXPECT_EQ(t.driver.config(8, 2), 4u) << "max_virtqueue_pairs";
        ASSERT_EQ(t.driver.queues.size(), 9u);
        for (unsigned pair = 0; pair < 4; ++pair)
            t.offer(20, 1526, pair);
        const auto came_by = [&](u16 port) { // -1: by none, or by several
            int found = -1;
            EXPECT_TRUE(t.net.deliver(conversation(port, false)));
            for (int pair = 0; pair < 4; ++pair)
                while (t.driver.take_used(2 * unsigned(pair)))
                    found = found == -1 ? pair : 9;
            return found;
        };
        t.send(conversation(1000, true), {}, 3);
        EXPECT_EQ(came_by(1000), 0) << "one pair until the driver asks for more";
        EXPECT_EQ(t.command(kMqClass, 0, {4, 0}), 0);
        for (u16 port = 1000; port < 1008; ++port)
            t.send(conversation(port, true), {}, port % 4);
        for (u16 port = 1000; port < 1008; ++port)
            EXPECT_EQ(came_by(port), port % 4) << port;
        t.send(conversation(1000, true), {}, 2);
        EXPECT_EQ(came_by(1000), 2) << "where it was last sent";
        EXPECT_EQ(came_by(1004), 0);
        const int strange = came_by(5555);
        EXPECT_EQ(came_by(5555), strange) << "never sent: always the same one";
        EXPECT_EQ(t.command(kMqClass, 0, {2, 0}), 0);
        for (u16 port = 1000; port < 1008; ++port)
            EXPECT_LT(unsigned(came_by(port)), 2u) << port;
        t.driver.set_status(0);
        EXPECT_TRUE(t.driver.start(kMqBits));
        t.buffers.clear(), t.next = 0;
        for (unsigned pair = 0; pair < 4; ++pair)
            t.offer(1, 1526, pair);
        EXPECT_EQ(came_by(1001), 0) << "a reset leaves one pair";
    }
}

TEST(VirtioNet, APairWithoutBuffersLosesNothing) {
    Net t(kMqBits, true, 2);
    t.command(kMqClass, 0, {2, 0});
    t.send(conversation(1000, true), {}, 1);
    EXPECT_FALSE(t.net.deliver(conversation(1000, false))) << "no buffers in either";
    t.offer(1, 1526, 0);
    EXPECT_TRUE(t.net.deliver(conversation(1000, false)));
    EXPECT_TRUE(t.driver.take_used(0));
    const unsigned rooms = t.net.rooms;
    t.offer(1, 1526, 1);
    EXPECT_GT(t.net.rooms, rooms);
}

TEST(VirtioNet, NumbersOfPairsThatAreWrong) {
    Net t(kMqBits, true, 4);
    for (const std::vector<u8>& data : {std::vector<u8>{0, 0}, {5, 0}, {1, 1}, {0, 0x80}, {1}})
        EXPECT_EQ(t.command(kMqClass, 0, data), 1);
    EXPECT_EQ(t.command(kMqClass, 1, {2, 0}), 1) << "a command that there is not";
    Net old(kControlBits, true, 4); // a driver that does not know of pairs
    EXPECT_EQ(old.command(kMqClass, 0, {2, 0}), 1);
    EXPECT_EQ(old.command(0, 0, {0}), 0) << "its control queue is the third";
    old.send(conversation(1000, true));
    old.driver.ring(8);
    EXPECT_FALSE(old.driver.status() & 0x40);
    EXPECT_FALSE(Net().driver.offered() & feature(kVirtioNetMq)) << "a card with one pair";
}

TEST(VirtioNet, SavesAndLoads) {
    Net t(kControlBits);
    t.command(0, 0, {0});
    t.command(2, 0, {9, 0});
    check_round_trip(t.bench.pci, [&] {
        t.command(2, 1, {9, 0});
        t.command(1, 1, {2, 0, 0, 0, 0, 1});
        t.command(0, 1, {1});
    });
    Net several(kMqBits, true, 4);
    several.command(kMqClass, 0, {3, 0});
    several.send(conversation(1000, true), {}, 2);
    check_round_trip(several.bench.pci, [&] {
        several.command(kMqClass, 0, {1, 0});
        several.send(conversation(1000, true), {}, 1);
    });
}

TEST(VirtioNet, AnythingInTheRings) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    for (unsigned round = 0; round < 300; ++round) {
        const unsigned pairs = 1 + random() % 4;
        const u64 mq = pairs > 1 ? feature(kVirtioNetMq) : 0;
        Net t(random() % 2 ? kControlBits | mq | feature(kVirtioNetMrgRxbuf) | feature(kVirtioNetTso4) : 0,
              random() % 2, pairs);
        for (auto& q : t.driver.queues)
            for (unsigned n = 0; n < q.size; ++n)
                t.driver.put_descriptor(
                    q.descriptors, n, random() % 16 ? 0x40000 + random() % 0x8000 : random(),
                    u32(random() % 3000), u16(random() % 8 & ~(random() % 2 ? 5 : 0)), u16(random() % 64));
        for (unsigned n = 0; n < 0x8000; n += 16)
            t.bench.dma.put<u64>(0x40000 + n, random() % 16 ? random() % 16 : random());
        for (unsigned n = 0; n < 20; ++n) {
            const unsigned queue = unsigned(random() % t.driver.queues.size());
            t.driver.offer_head(queue, u16(random() % 70));
            t.driver.ring(queue);
            t.net.deliver(ethernet(kMac, 0x0800, random() % 4000));
        }
        t.net.sent.clear();
    }
}

} // namespace
} // namespace dragoman::hw::test
