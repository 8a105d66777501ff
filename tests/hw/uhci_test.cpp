// The USB: a small host's driver against the controller, and the tablet behind it.
#include "hw/uhci.h"

#include "chip_test_support.h"
#include "hw/usb_tablet.h"
#include "pci_test_support.h"

#include <numeric>

namespace dragoman::hw::test {
namespace {

using Bytes = std::vector<u8>;

constexpr u16 kBase = 0xc000;
constexpr u32 kList = 0x1000, kQueue = 0x2000, kDescriptors = 0x3000, kBuffers = 0x8000;
constexpr u32 kActive = 1u << 23, kStalled = 1u << 22, kNak = 1u << 19, kTimeout = 1u << 18,
              kOnEnd = 1u << 24, kShortDetect = 1u << 29, kThreeErrors = 3u << 27;
constexpr u64 kMs = 1'000'000;

class UhciTest : public ::testing::Test {
  protected:
    UhciTest() {
        uhci.attach(0, tablet);
        uhci.connect(bench.bus, map, memory, &line);
        uhci.reset();
        uhci.config_write(kPciBar0 + 16, 4, kBase);
        uhci.config_write(kPciCommand, 2, 5);
        for (u32 n = 0; n < 1024; ++n)
            memory.put<u32>(kList + 4 * n, kQueue | 2);
        memory.put<u32>(kQueue, 1);
        memory.put<u32>(kQueue + 4, 1);
        out32(8, kList);
        out(0x10, 0x200); // the port's reset
        out(0x10, 0);
        out(0x10, 0xe); // enabled; what changed is known
        out(4, 0xf);
        out(0, 1);
    }
    u16 in(u16 at) { return u16(bench.bus.in(u16(kBase + at), 2)); }
    void out(u16 at, u16 value) { bench.bus.out(u16(kBase + at), 2, value); }
    void out32(u16 at, u32 value) { bench.bus.out(u16(kBase + at), 4, value); }

    struct Packet {
        UsbPid pid;
        Bytes data;        // what is sent
        unsigned room = 0; // for what comes
        unsigned endpoint = 0;
    };
    // Puts the packets into the queue, as one transfer.
    void queue(const std::vector<Packet>& packets, u8 address, u32 flags = kShortDetect) {
        for (u32 n = 0; n < packets.size(); ++n) {
            const Packet& p = packets[n];
            const u32 at = kDescriptors + 32 * n, buffer = kBuffers + 64 * n;
            memory.write(buffer, p.data.data(), p.data.size());
            const u32 bytes = p.pid == UsbPid::In ? p.room : u32(p.data.size());
            const bool last = n + 1 == packets.size();
            memory.put<u32>(at, last ? 1 : (at + 32) | 4);
            memory.put<u32>(at + 4, kActive | kThreeErrors | flags | (last ? kOnEnd : 0));
            memory.put<u32>(at + 8,
                            u32(p.pid) | u32{address} << 8 | p.endpoint << 15 | ((bytes - 1) & 0x7ff) << 21);
            memory.put<u32>(at + 12, buffer);
        }
        memory.put<u32>(kQueue + 4, kDescriptors);
    }
    u32 control(u32 n) { return memory.get<u32>(kDescriptors + 32 * n + 4); }
    unsigned length(u32 n) { return (control(n) + 1) & 0x7ff; }
    // A control transfer that reads; what came.
    Bytes ask(u8 address, Bytes setup) {
        std::vector<Packet> packets{{UsbPid::Setup, setup}};
        const unsigned wanted = unsigned(setup[6] | setup[7] << 8);
        for (unsigned n = 0; n < wanted; n += 8)
            packets.push_back({UsbPid::In, {}, std::min(8u, wanted - n)});
        queue(packets, address);
        bench.run_for(20 * kMs);
        Bytes got;
        for (u32 n = 1; n < packets.size() && !(control(n) & (kActive | kStalled)); ++n) {
            Bytes part(length(n));
            memory.read(kBuffers + 64 * n, part.data(), part.size());
            got.insert(got.end(), part.begin(), part.end());
        }
        return got;
    }
    // One that only sets something; did it end well?
    bool set(u8 address, Bytes setup) {
        queue({{UsbPid::Setup, setup}, {UsbPid::In, {}, 0}}, address);
        bench.run_for(20 * kMs);
        return memory.get<u32>(kQueue + 4) == 1 && !(control(1) & (kActive | kStalled));
    }
    void configure() {
        ASSERT_TRUE(set(0, {0, 5, 9, 0, 0, 0, 0, 0}));
        ASSERT_TRUE(set(9, {0, 9, 1, 0, 0, 0, 0, 0}));
    }

    Bench bench;
    QuietLog log;
    FakeMemory memory{1 << 20};
    FakeMap map;
    RecordingLine line;
    Uhci uhci{bench.scheduler, log};
    UsbTablet tablet{[this] { uhci.wake(); }};
};

TEST_F(UhciTest, ThePortTellsOfTheDevice) {
    uhci.reset();
    uhci.config_write(kPciBar0 + 16, 4, kBase);
    uhci.config_write(kPciCommand, 2, 5);
    EXPECT_EQ(in(0x10) & 0x8f, 0x83);
    EXPECT_EQ(in(0x12) & 0x8f, 0x80) << "nothing there";
    out(0x10, 2);
    EXPECT_EQ(in(0x10) & 0x8f, 0x81);
    out(0x12, 4);
    EXPECT_FALSE(in(0x12) & 4) << "what is not there cannot be enabled";
    EXPECT_EQ(in(0x14), 0xffff) << "no third port";
}

TEST_F(UhciTest, FramesAreCounted) {
    const u16 before = in(6);
    bench.run_for(100 * kMs);
    EXPECT_EQ((in(6) - before) & 0x7ff, 100);
    out(0, 0);
    EXPECT_TRUE(in(2) & 0x20) << "halted";
    const u16 halted = in(6);
    bench.run_for(10 * kMs);
    EXPECT_EQ(in(6), halted);
    EXPECT_EQ(bench.scheduler.next_deadline(), Scheduler::never);
}

TEST_F(UhciTest, DescriptorsAreRead) {
    const Bytes device = ask(0, {0x80, 6, 0, 1, 0, 0, 64, 0});
    ASSERT_EQ(device.size(), 18u) << "a short packet ends it";
    EXPECT_EQ(device[0], 18);
    EXPECT_EQ(device[8] | device[9] << 8, 0x627);
    EXPECT_TRUE(in(2) & 1);
    EXPECT_TRUE(line.level);
    out(2, 0x3f);
    EXPECT_FALSE(line.level);
    const Bytes head = ask(0, {0x80, 6, 0, 2, 0, 0, 9, 0});
    ASSERT_EQ(head.size(), 9u);
    const Bytes all = ask(0, {0x80, 6, 0, 2, 0, 0, head[2], head[3]});
    ASSERT_EQ(all.size(), unsigned(head[2] | head[3] << 8));
    const Bytes report = ask(0, {0x81, 6, 0, 0x22, 0, 0, 255, 0});
    EXPECT_EQ(report.size(), unsigned(all[25] | all[26] << 8)) << "as the HID descriptor says";
    EXPECT_EQ(report.back(), 0xc0);
    const Bytes product = ask(0, {0x80, 6, 2, 3, 9, 4, 255, 0});
    ASSERT_GT(product.size(), 2u);
    EXPECT_EQ(product[0], product.size());
    EXPECT_EQ(product[2], 'U');
}

TEST_F(UhciTest, AddressAndConfiguration) {
    configure();
    EXPECT_EQ(tablet.address(), 9);
    EXPECT_TRUE(tablet.configured());
    EXPECT_EQ(ask(9, {0x80, 8, 0, 0, 0, 0, 1, 0}), Bytes{1});
    EXPECT_FALSE(set(9, {0, 9, 2, 0, 0, 0, 0, 0})) << "there is one configuration";
    EXPECT_TRUE(control(1) & kStalled);
    EXPECT_TRUE(in(2) & 2);
    EXPECT_TRUE(set(9, {0x21, 10, 0, 0, 0, 0, 0, 0})) << "SET_IDLE, and the stall is over";
}

TEST_F(UhciTest, ReportsComeInOrder) {
    configure();
    const auto poll = [&] {
        queue({{UsbPid::In, {}, 8, 1}}, 9, 0);
        bench.run_for(20 * kMs);
        Bytes report(control(0) & kActive ? 0 : length(0));
        memory.read(kBuffers, report.data(), report.size());
        return report;
    };
    EXPECT_EQ(poll(), Bytes{}) << "nothing yet";
    EXPECT_TRUE(control(0) & kNak);
    tablet.point(0x1234, 0x7fff, 0, UsbTablet::Left);
    bench.run_for(2 * kMs);
    EXPECT_FALSE(control(0) & kActive) << "soon, though the schedule was walked seldom";
    EXPECT_EQ(memory.get<u8>(kBuffers), 1);
    EXPECT_EQ(memory.get<u16>(kBuffers + 1), 0x1234);
    EXPECT_EQ(memory.get<u16>(kBuffers + 3), 0x7fff);
    for (u16 n = 0; n < 100; ++n)
        tablet.point(n, n, 1, UsbTablet::Left); // moves become one
    tablet.point(99, 99, 0, 0);
    tablet.point(0xffff, 5, 0, 0);
    EXPECT_EQ(poll(), Bytes({1, 99, 0, 99, 0, 100}));
    EXPECT_EQ(poll(), Bytes({0, 0xff, 0x7f, 5, 0, 0}));
    EXPECT_EQ(poll(), Bytes{});
}

TEST_F(UhciTest, NobodyAnswers) {
    queue({{UsbPid::Setup, Bytes(8)}}, 77);
    bench.run_for(100 * kMs);
    EXPECT_EQ(control(0) & (kActive | kStalled | kTimeout), kStalled | kTimeout) << "after three errors";
    EXPECT_TRUE(in(2) & 2);
    EXPECT_EQ(memory.get<u32>(kQueue + 4), kDescriptors) << "the queue stays";
}

TEST_F(UhciTest, ScheduleThatNeverEnds) {
    memory.put<u32>(kQueue, kQueue | 2); // beside itself
    memory.put<u32>(kQueue + 4, kQueue | 2);
    bench.run_for(50 * kMs);
    queue({{UsbPid::In, {}, 8, 0}}, 0, 0);
    memory.put<u32>(kDescriptors, kDescriptors | 4); // after itself
    bench.run_for(50 * kMs);
    memory.put<u32>(kList, 0xfffffff0); // outside memory
    for (u32 n = 1; n < 1024; ++n)
        memory.put<u32>(kList + 4 * n, 0xfffffff0);
    bench.run_for(5 * kMs);
    EXPECT_TRUE(in(2) & 8) << "host system error";
    EXPECT_TRUE(in(2) & 0x20) << "halted";
}

TEST_F(UhciTest, DescriptorOfNoForm) {
    queue({{UsbPid(0x12), Bytes(8)}}, 0);
    bench.run_for(5 * kMs);
    EXPECT_TRUE(in(2) & 0x10) << "host controller process error";
    EXPECT_TRUE(in(2) & 0x20);
}

TEST_F(UhciTest, WithoutBusMasteringNothingIsRead) {
    uhci.config_write(kPciCommand, 2, 1);
    queue({{UsbPid::Setup, {0x80, 6, 0, 1, 0, 0, 8, 0}}}, 0);
    bench.run_for(20 * kMs);
    EXPECT_TRUE(control(0) & kActive);
}

TEST_F(UhciTest, IdleCostsLittle) {
    configure();
    queue({{UsbPid::In, {}, 8, 1}}, 9, 0);
    bench.run_for(200 * kMs);
    unsigned walks = 0;
    for (const u64 end = bench.clock.now() + 1000 * kMs; bench.clock.now() < end; ++walks)
        bench.run_to(bench.scheduler.next_deadline());
    EXPECT_LE(walks, 130u);
}

TEST_F(UhciTest, StateComesBack) {
    configure();
    tablet.point(5, 6, 0, 1);
    check_round_trip(tablet, [&] { tablet.point(7, 8, 1, 3); });
    check_round_trip(uhci, [&] {
        out(4, 1);
        bench.run_for(3 * kMs);
    });
}

} // namespace
} // namespace dragoman::hw::test
