// The virtio core by the specification (Virtual I/O Device 1.1): both transports, both interrupt kinds, and
// drivers that lie about their rings.
#include "virtio_test_support.h"

#include <algorithm>
#include <random>

namespace dragoman::hw::test {
namespace {

constexpr u16 kSizes[] = {64, 8};

// Answers each chain with its bytes reversed. Queue 1 does nothing by itself.
class Reverser final : public VirtioDevice {
  public:
    explicit Reverser(Log& log)
        : VirtioDevice({"reverser", 42, 0x10ff, 0x00ff00}, u64{1} << 3 | u64{1} << 40, kSizes, log) {}
    std::span<const u8> config() override { return bytes; }
    void config_write(u64 offset, unsigned size, u64 value) override {
        std::memcpy(bytes + offset, &value, size);
    }
    void queue_notified(unsigned n) override {
        ++notified_count;
        if (n != 0) return;
        VirtQueue& q = queues()[0];
        for (unsigned left = q.size(); left; --left) {
            auto chain = q.pop();
            if (!chain) break;
            const u64 count = std::min<u64>({chain->out.bytes(), chain->in.bytes(), 1 * MiB});
            std::vector<u8> data(count);
            const bool ok = chain->out.read(*memory(), 0, data.data(), count);
            std::reverse(data.begin(), data.end());
            if (!ok || !chain->in.write(*memory(), 0, data.data(), count))
                return fail("a buffer outside memory");
            q.push(*chain, u32(count));
        }
        interrupt(q);
    }
    void driver_ready() override { ++ready; }
    void device_reset() override { ++resets; }
    using VirtioDevice::config_changed;
    u8 bytes[6] = {1, 2, 3, 4, 5, 6};
    unsigned notified_count = 0, ready = 0, resets = 0;
};

struct Board {
    explicit Board(VirtioPci::Options options = {}, bool modern = true)
        : bench(std::make_unique<Reverser>(log), options), driver(bench, modern) {}
    Reverser& device() { return static_cast<Reverser&>(bench.pci.device()); }
    // One request by the ring; what came back.
    std::vector<u8> exchange(const std::vector<u8>& bytes, bool indirect = false) {
        const u64 in = driver.allocate(bytes.size());
        const u64 out = driver.place(bytes);
        const std::vector<VirtioDriver::Buffer> buffers = {
            {out, 1, false}, {out + 1, u32(bytes.size() - 1), false}, {in, u32(bytes.size()), true}};
        const u16 head = indirect ? driver.offer_indirect(0, buffers) : driver.offer(0, buffers);
        driver.ring(0);
        const auto used = driver.take_used(0);
        if (!used || used->head != head || used->written != bytes.size()) return {};
        return driver.fetch(in, bytes.size());
    }
    QuietLog log;
    VirtioBench bench;
    VirtioDriver driver;
};

const std::vector<u8> kWord = {'d', 'r', 'a', 'g', 'o', 'm', 'a', 'n'};
const std::vector<u8> kDrow = {'n', 'a', 'm', 'o', 'g', 'a', 'r', 'd'};
constexpr u64 kIndirectBit = u64{1} << kVirtioIndirect, kEventBit = u64{1} << kVirtioEventIndex;

TEST(Virtio, IdentityOfTransitionalAndModernDevices) {
    Board both, modern({.legacy = false}), legacy({.modern = false});
    EXPECT_EQ(both.bench.pci.config_read(0, 4), 0x10ff1af4u);
    EXPECT_EQ(both.bench.pci.config_read(kPciRevision, 1), 0u);
    EXPECT_EQ(both.bench.pci.config_read(kPciSubsystemVendor, 4), 42u << 16 | 0x1af4);
    EXPECT_EQ(modern.bench.pci.config_read(0, 4), 0x106a1af4u);
    EXPECT_EQ(modern.bench.pci.config_read(kPciRevision, 1), 1u);
    EXPECT_EQ(modern.bench.pci.config_read(kPciBar0, 4), 0u) << "no legacy ports";
    EXPECT_EQ(legacy.bench.pci.config_read(kPciStatus, 2) & 0x10, 0u) << "no capabilities";
    EXPECT_EQ(legacy.device().offered() >> kVirtioVersion1 & 1, 0u);
}

TEST(Virtio, CapabilitiesNameTheStructures) {
    Board s({.vectors = 3});
    ASSERT_TRUE(s.bench.pci.config_read(kPciStatus, 2) & 0x10);
    std::map<unsigned, u32> offsets;
    bool msix = false;
    unsigned count = 0;
    for (u8 at = u8(s.bench.pci.config_read(kPciCapabilities, 1)); at && count < 20;
         at = u8(s.bench.pci.config_read(u8(at + 1), 1)), ++count) {
        const u32 id = s.bench.pci.config_read(at, 1);
        if (id == 0x11) {
            msix = true;
            EXPECT_EQ(s.bench.pci.config_read(u8(at + 2), 2), 2u) << "three vectors";
        } else if (id == 0x09) {
            offsets[s.bench.pci.config_read(u8(at + 3), 1)] = s.bench.pci.config_read(u8(at + 8), 4);
        }
    }
    EXPECT_TRUE(msix);
    EXPECT_EQ(offsets, (std::map<unsigned, u32>{{1, 0}, {2, 0x3000}, {3, 0x1000}, {4, 0x2000}, {5, 0}}));
}

TEST(Virtio, ModernDriverExchangesBuffers) {
    Board s;
    EXPECT_EQ(s.driver.offered() & 0xffffffff00000008u, u64{1} << 40 | u64{1} << kVirtioVersion1 | 8);
    ASSERT_TRUE(s.driver.start(8));
    EXPECT_EQ(s.device().ready, 1u);
    EXPECT_TRUE(s.device().accepted(3));
    EXPECT_EQ(s.driver.queues.size(), 2u);
    EXPECT_EQ(s.exchange(kWord), kDrow);
    EXPECT_TRUE(s.bench.line.level);
    EXPECT_EQ(s.driver.isr(), 1);
    EXPECT_FALSE(s.bench.line.level);
    for (unsigned n = 0; n < 200; ++n) // around the ring several times
        ASSERT_EQ(s.exchange(kWord), kDrow) << n;
    EXPECT_TRUE(s.exchange(kWord, true).empty()) << "indirect descriptors were not negotiated";
    EXPECT_TRUE(s.driver.status() & kVirtioNeedsReset);
}

TEST(Virtio, LegacyDriverExchangesBuffers) {
    Board s({}, false);
    ASSERT_TRUE(s.driver.start(kIndirectBit));
    EXPECT_FALSE(s.device().accepted(kVirtioVersion1));
    EXPECT_EQ(s.exchange(kWord), kDrow);
    EXPECT_EQ(s.exchange(kWord, true), kDrow);
    EXPECT_EQ(s.driver.isr(), 1);
    EXPECT_EQ(s.driver.config(2, 1), 3u);
    s.driver.set_status(0);
    EXPECT_EQ(s.bench.ports.in(0xc008, 4), 0u) << "a reset forgets the rings";
}

TEST(Virtio, ConfigurationSpace) {
    Board s;
    EXPECT_EQ(s.driver.config(0, 4), 0x04030201u);
    EXPECT_EQ(s.driver.config(4, 4), 0x0605u) << "beyond the end there are zeros";
    s.driver.set_config(1, 2, 0xbbaa);
    EXPECT_EQ(s.driver.config(0, 4), 0x04bbaa01u);
    s.driver.set_config(5, 2, 0xffff); // half of it outside: nothing
    EXPECT_EQ(s.driver.config(5, 1), 6u);
    ASSERT_TRUE(s.driver.start());
    const u64 generation = s.bench.load(VirtioDriver::kCommonAt + 21, 1);
    s.device().config_changed();
    EXPECT_NE(s.bench.load(VirtioDriver::kCommonAt + 21, 1), generation);
    EXPECT_EQ(s.driver.isr(), 2);
}

TEST(Virtio, FeaturesAreRefusedWithoutVersion1AndFixedAfterFeaturesOk) {
    Board s;
    s.driver.set_status(3);
    s.driver.set_status(11);
    EXPECT_FALSE(s.driver.status() & kVirtioFeaturesOk) << "a modern driver must accept VERSION_1";
    ASSERT_TRUE(s.driver.start(8));
    s.bench.store(VirtioDriver::kCommonAt + 8, 4, 0);
    s.bench.store(VirtioDriver::kCommonAt + 12, 4, 0);
    EXPECT_TRUE(s.device().accepted(3));
    ASSERT_TRUE(s.driver.start(1 << 7));
    EXPECT_FALSE(s.device().accepted(7)) << "it was not offered";
}

TEST(Virtio, IndirectChains) {
    Board s;
    ASSERT_TRUE(s.driver.start(kIndirectBit));
    for (unsigned n = 0; n < 100; ++n)
        ASSERT_EQ(s.exchange(kWord, true), kDrow);
}

TEST(Virtio, InterruptsWhenAskedFor) {
    Board s;
    ASSERT_TRUE(s.driver.start());
    auto& q = s.driver.queues[0];
    s.bench.dma.put<u16>(q.available, 1); // NO_INTERRUPT
    s.exchange(kWord);
    EXPECT_FALSE(s.bench.line.level);

    ASSERT_TRUE(s.driver.start(kEventBit));
    const u64 used_event = s.driver.queues[0].available + 4 + 2 * 64;
    const u64 avail_event = s.driver.queues[0].used + 4 + 8 * 64;
    s.exchange(kWord);
    EXPECT_EQ(s.driver.isr(), 1) << "used_event is 0: an interrupt for the first";
    s.bench.dma.put<u16>(used_event, 3);
    s.exchange(kWord);
    s.exchange(kWord);
    EXPECT_EQ(s.driver.isr(), 0);
    s.exchange(kWord);
    EXPECT_EQ(s.driver.isr(), 1) << "buffer 3 was used";
    EXPECT_EQ(s.bench.dma.get<u16>(avail_event), 4);
    s.device().queues()[0].want_notifications(false);
    s.exchange(kWord);
    EXPECT_EQ(s.bench.dma.get<u16>(avail_event), 4) << "no wish to be told";
}

TEST(Virtio, MsixVectors) {
    Board s({.vectors = 2});
    const auto common = [](unsigned at) { return VirtioDriver::kCommonAt + at; };
    s.bench.pci.config_write(0x42, 2, 0x8000); // the first capability: MSI-X, enable
    ASSERT_TRUE(s.driver.start());
    s.bench.store(common(22), 2, 0);
    s.bench.store(common(26), 2, 7);
    EXPECT_EQ(s.bench.load(common(26), 2), 0xffffu) << "there is no such vector";
    s.bench.store(common(26), 2, 1);
    EXPECT_EQ(s.bench.load(common(26), 2), 1u);
    // The message is a dword written to memory; RAM takes it as well as an APIC does.
    const u64 target = s.driver.allocate(4), table = 0xfebf0000 + 16;
    s.bench.store(table, 8, target);
    s.bench.store(table + 8, 4, 0x1234);
    s.exchange(kWord);
    EXPECT_EQ(s.bench.dma.get<u32>(target), 0u) << "masked after reset";
    EXPECT_EQ(s.bench.load(0xfebf0800, 8), 2u) << "but pending";
    s.bench.store(table + 12, 4, 0);
    EXPECT_EQ(s.bench.dma.get<u32>(target), 0x1234u);
    EXPECT_EQ(s.bench.load(0xfebf0800, 8), 0u);
    s.bench.dma.put<u32>(target, 0);
    s.bench.pci.config_write(0x42, 2, 0xc000); // function mask
    s.exchange(kWord);
    EXPECT_EQ(s.bench.dma.get<u32>(target), 0u);
    s.bench.pci.config_write(0x42, 2, 0x8000);
    EXPECT_EQ(s.bench.dma.get<u32>(target), 0x1234u);
    EXPECT_FALSE(s.bench.line.level) << "INTx# stays quiet";
}

TEST(Virtio, WindowInConfigurationSpace) {
    Board s;
    u8 window = 0;
    for (u8 at = u8(s.bench.pci.config_read(kPciCapabilities, 1)); at;
         at = u8(s.bench.pci.config_read(u8(at + 1), 1)))
        if (s.bench.pci.config_read(u8(at + 3), 1) == 5) window = at;
    ASSERT_TRUE(window);
    const auto point = [&](u32 offset, u32 size) {
        s.bench.pci.config_write(u8(window + 4), 1, 4);
        s.bench.pci.config_write(u8(window + 8), 4, offset);
        s.bench.pci.config_write(u8(window + 12), 4, size);
    };
    point(20, 1);
    s.bench.pci.config_write(u8(window + 16), 1, 3);
    EXPECT_EQ(s.driver.status(), 3);
    point(0x2000, 4);
    s.bench.pci.config_reading(u8(window + 16), 4);
    EXPECT_EQ(s.bench.pci.config_read(u8(window + 16), 4), 0x04030201u);
    point(0xfffffffe, 2); // nowhere: nothing
    s.bench.pci.config_reading(u8(window + 16), 4);
}

TEST(Virtio, NothingHappensWithoutBusMastering) {
    Board s;
    ASSERT_TRUE(s.driver.start());
    s.bench.pci.config_write(kPciCommand, 2, 3);
    EXPECT_TRUE(s.exchange(kWord).empty());
    EXPECT_FALSE(s.driver.status() & kVirtioNeedsReset);
}

TEST(Virtio, StateRoundTrip) {
    Board s;
    ASSERT_TRUE(s.driver.start(8));
    s.exchange(kWord);
    check_round_trip(s.bench.pci, [&] { s.driver.isr(), s.driver.set_status(0); });
}

// Each way of lying ends in NEEDS_RESET, and a reset makes the device work again.
TEST(Virtio, LyingDrivers) {
    struct Case {
        const char* what;
        std::function<void(Board&, VirtioDriver::Queue&)> lie;
    };
    constexpr u64 nowhere = 0xffff'ffff'ffff'f000;
    const Case cases[] = {
        {"a loop of descriptors",
         [](Board& s, auto& q) {
             s.driver.put_descriptor(q.descriptors, 0, 0x1000, 16, 1, 1);
             s.driver.put_descriptor(q.descriptors, 1, 0x1000, 16, 1, 0);
             s.driver.offer_head(0, 0);
         }},
        {"a head out of range", [](Board& s, auto&) { s.driver.offer_head(0, 64); }},
        {"a next out of range",
         [](Board& s, auto& q) {
             s.driver.put_descriptor(q.descriptors, 0, 0x1000, 16, 1, 999);
             s.driver.offer_head(0, 0);
         }},
        {"more offered than there is",
         [](Board& s, auto& q) { s.bench.dma.put(q.available + 2, u16(q.next_available + 65)); }},
        {"write before read",
         [](Board& s, auto&) {
             s.driver.offer(0, {{0x1000, 16, true}, {0x2000, 16, false}});
         }},
        {"a buffer outside memory",
         [](Board& s, auto&) {
             s.driver.offer(0, {{nowhere, 0xffffffff, false}, {0x2000, 16, true}});
         }},
        {"a buffer to write outside memory",
         [](Board& s, auto&) {
             s.driver.offer(0, {{0x1000, 16, false}, {nowhere, 16, true}});
         }},
        {"an indirect table outside memory",
         [](Board& s, auto& q) {
             s.driver.put_descriptor(q.descriptors, 0, nowhere, 0xfffffff0, 4, 0);
             s.driver.offer_head(0, 0);
         }},
        {"an indirect table of 15 bytes",
         [](Board& s, auto& q) {
             s.driver.put_descriptor(q.descriptors, 0, 0x1000, 15, 4, 0);
             s.driver.offer_head(0, 0);
         }},
        {"an indirect table in one",
         [](Board& s, auto& q) {
             s.driver.put_descriptor(0x100000, 0, 0x100000, 16, 4, 0);
             s.driver.put_descriptor(q.descriptors, 0, 0x100000, 16, 4, 0);
             s.driver.offer_head(0, 0);
         }},
        {"an indirect table that loops",
         [](Board& s, auto& q) {
             s.driver.put_descriptor(0x100000, 0, 0x1000, 16, 1, 0);
             s.driver.put_descriptor(q.descriptors, 0, 0x100000, 0xfffffff0, 4, 0);
             s.driver.offer_head(0, 0);
         }},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.what);
        Board s;
        ASSERT_TRUE(s.driver.start(kIndirectBit));
        c.lie(s, s.driver.queues[0]);
        s.driver.ring(0);
        EXPECT_TRUE(s.driver.status() & kVirtioNeedsReset);
        EXPECT_EQ(s.driver.isr() & 2, 2) << "the driver is told";
        EXPECT_TRUE(s.exchange(kWord).empty()) << "nothing works until a reset";
        ASSERT_TRUE(s.driver.start(kIndirectBit));
        EXPECT_EQ(s.exchange(kWord), kDrow);
    }
    Board s; // rings outside memory
    ASSERT_TRUE(s.driver.start());
    s.device().queues()[0].state().place = {nowhere, nowhere, nowhere};
    s.driver.ring(0);
    EXPECT_TRUE(s.driver.status() & kVirtioNeedsReset);
}

// What was taken before a reset is not given back into the rings set up after it.
TEST(Virtio, LateCompletionsAreDropped) {
    Board s;
    ASSERT_TRUE(s.driver.start());
    s.driver.offer(1, {{0x1000, 16, true}});
    const auto chain = s.device().queues()[1].pop();
    ASSERT_TRUE(chain);
    ASSERT_TRUE(s.driver.start());
    s.device().queues()[1].push(*chain, 16);
    EXPECT_FALSE(s.driver.take_used(1));
}

TEST(Virtio, HostileGuest) {
    for (unsigned seed = 1; seed <= 40; ++seed) {
        SCOPED_TRACE(::testing::Message() << "seed " << seed);
        std::mt19937_64 random(seed);
        Board s({.vectors = 2}, seed % 2);
        for (unsigned n = 0; n < 4000; ++n) {
            const u64 value = random() >> random() % 64;
            const unsigned size = 1u << random() % 4;
            switch (random() % 12) {
            case 0:
                s.bench.store(VirtioDriver::kCommonAt + random() % 0x4000 / size * size, size, value);
                break;
            case 1: s.bench.store(VirtioDriver::kCommonAt + random() % 64 / size * size, size, value); break;
            case 2:
                (void)s.bench.load(VirtioDriver::kCommonAt + random() % 0x4000 / size * size, size);
                break;
            case 3: s.bench.ports.out(u16(0xc000 + random() % 32), std::min(size, 4u), u32(value)); break;
            case 4: (void)s.bench.ports.in(u16(0xc000 + random() % 32), std::min(size, 4u)); break;
            case 5: {
                const u8 at = u8(0x40 + random() % 0xc0);
                s.bench.pci.config_write(at, 1, u32(value));
                s.bench.pci.config_reading(at, 1);
                break;
            }
            case 6: s.bench.store(0xfebf0000 + random() % 0x1000 / size * size, size, value); break;
            case 7:
                if (random() % 8 == 0) (void)s.driver.start(kIndirectBit | (random() % 2 ? kEventBit : 0));
                break;
            default: { // a chain that may be sound, and a ring in which something is broken
                if (s.driver.queues.empty()) break;
                const unsigned q = unsigned(random() % s.driver.queues.size());
                auto& queue = s.driver.queues[q];
                for (unsigned i = 0; i < 4; ++i)
                    s.driver.put_descriptor(queue.descriptors, unsigned(random() % queue.size),
                                            random() >> (random() % 2 ? 44 : random() % 64),
                                            u32(random() >> (32 + random() % 32)), u16(random() % 8),
                                            u16(random() % (queue.size + 1)));
                s.driver.offer_head(q, u16(random() % (queue.size + (random() % 16 == 0))));
                if (random() % 64 == 0) s.bench.dma.put(queue.available + 2, u16(random()));
                s.driver.ring(q);
                break;
            }
            }
        }
    }
}

} // namespace
} // namespace dragoman::hw::test
