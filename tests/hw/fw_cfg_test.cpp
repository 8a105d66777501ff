// fw_cfg: port and DMA interfaces, the directory, hostile DMA structures.
#include "hw/fw_cfg.h"

#include "chip_test_support.h"
#include "memory_test_support.h"

#include <numeric>
#include <random>

namespace dragoman::hw::test {
namespace {

class FwCfgTest : public ::testing::Test, protected Bench {
  protected:
    void SetUp() override { bus.map(FwCfg::base, FwCfg::port_count, cfg); }
    std::string bytes(u16 key, unsigned count) {
        bus.out(0x510, 2, key);
        std::string text;
        while (count--)
            text += char(in(0x511));
        return text;
    }
    template <class T> static T swapped(T value) {
        T out = 0;
        for (unsigned i = 0; i < sizeof(T); i++)
            out = T(out << 8 | ((value >> (8 * i)) & 0xff));
        return out;
    }
    // Puts a control structure at `at`, starts it, and returns the control field afterwards.
    u32 run(u32 control, u32 length, u64 address, u64 at = 0x100) {
        if (at < dma.ram.size() - 16) {
            dma.put(at, swapped(control));
            dma.put(at + 4, swapped(length));
            dma.put(at + 8, swapped(address));
        }
        bus.out(0x514, 4, swapped(u32(at >> 32)));
        bus.out(0x518, 4, swapped(u32(at)));
        return at < dma.ram.size() - 16 ? swapped(dma.get<u32>(at)) : 0;
    }
    FakeDma dma{64 * 1024};
    Log log;
    FwCfg cfg{dma, log};
};

TEST_F(FwCfgTest, SignatureAndId) {
    EXPECT_EQ(bytes(0, 4), "QEMU");
    EXPECT_EQ(bytes(1, 4), std::string("\3\0\0\0", 4));
    EXPECT_EQ(bytes(0x1234, 2), std::string(2, '\0')) << "a missing item reads as zeros";
    EXPECT_EQ(bytes(0, 6), std::string("QEMU\0\0", 6)) << "beyond the end, too";
    EXPECT_EQ(bus.in(0x514, 4), 0x554d4551u) << "\"QEMU CFG\" in memory order";
    EXPECT_EQ(bus.in(0x518, 4), 0x47464320u);
}

TEST_F(FwCfgTest, WideReadsOfTheDataPort) {
    bus.out(0x510, 2, 0);
    EXPECT_EQ(bus.in(0x511, 2), 0x4551u);
    EXPECT_EQ(in(0x511), 'M');
}

TEST_F(FwCfgTest, Integers) {
    cfg.add_u16(kFwCfgCpuCount, 0x0102);
    cfg.add_u64(kFwCfgRamSize, 0x0102030405060708);
    EXPECT_EQ(bytes(kFwCfgCpuCount, 2), "\2\1");
    EXPECT_EQ(bytes(kFwCfgRamSize, 8), "\x8\7\6\5\4\3\2\1");
    cfg.add_u16(kFwCfgCpuCount, 3);
    EXPECT_EQ(bytes(kFwCfgCpuCount, 2), std::string("\3\0", 2));
}

TEST_F(FwCfgTest, MadeAtEachSelection) {
    u8 times = 0;
    cfg.add_made(0x8010, [&] { return std::vector<u8>{'n', u8('0' + ++times)}; });
    EXPECT_EQ(times, 0);
    EXPECT_EQ(bytes(0x8010, 3), std::string("n1\0", 3));
    EXPECT_EQ(bytes(0x8010, 2), "n2");
    dma.put<u32>(0x200, 0);
    EXPECT_EQ(run(0x80100000 | 8 | 2, 2, 0x200), 0u);
    EXPECT_EQ(dma.get<u16>(0x200), u16('n' | '3' << 8));
}

TEST_F(FwCfgTest, Directory) {
    EXPECT_EQ(bytes(0x19, 4), std::string(4, '\0'));
    ASSERT_TRUE(cfg.add_file("etc/b", {1, 2, 3}));
    ASSERT_TRUE(cfg.add_file("etc/a", std::vector<u8>(0x10203, 9)));
    const std::string directory = bytes(0x19, 4 + 2 * 64);
    EXPECT_EQ(directory.substr(0, 4), std::string("\0\0\0\2", 4));
    EXPECT_EQ(directory.substr(4, 8), std::string("\0\1\2\3\0\x21\0\0", 8));
    EXPECT_EQ(directory.substr(12, 56), "etc/a" + std::string(51, '\0'));
    EXPECT_EQ(directory.substr(68, 8), std::string("\0\0\0\3\0\x20\0\0", 8));
    EXPECT_EQ(bytes(0x20, 3), "\1\2\3");
    ASSERT_TRUE(cfg.add_file("etc/b", {7}));
    EXPECT_EQ(bytes(0x20, 2), std::string("\7\0", 2)) << "replaced, with the same key";
    EXPECT_EQ(cfg.file("etc/b").size(), 1u);
    EXPECT_TRUE(cfg.file("etc/c").empty());
    EXPECT_TRUE(cfg.add_file(std::string(55, 'x'), {}));
    EXPECT_FALSE(cfg.add_file(std::string(56, 'x'), {}));
    EXPECT_FALSE(cfg.add_file("", {}));
}

TEST_F(FwCfgTest, DmaReadSelectSkip) {
    std::vector<u8> data(10000);
    std::iota(data.begin(), data.end(), u8{0});
    ASSERT_TRUE(cfg.add_file("big", data));
    EXPECT_EQ(run(0x00200000 | 8 | 2, 9000, 0x1000), 0u);
    EXPECT_TRUE(std::equal(data.begin(), data.begin() + 9000, dma.ram.begin() + 0x1000));
    EXPECT_EQ(run(2, 500, 0x8000), 0u) << "goes on where it stopped";
    EXPECT_EQ(dma.ram[0x8000], data[9000]);
    EXPECT_EQ(run(4, 100, 0), 0u);
    EXPECT_EQ(run(2, 1, 0x8000), 0u);
    EXPECT_EQ(dma.ram[0x8000], data[9600]);
    std::fill(dma.ram.begin() + 0x9000, dma.ram.begin() + 0xa000, 0xcc);
    EXPECT_EQ(run(2, 1000, 0x9000), 0u);
    EXPECT_EQ(dma.ram[0x9000 + 398], data[9999]);
    EXPECT_EQ(dma.ram[0x9000 + 399], 0) << "zeros beyond the end";
    EXPECT_EQ(dma.ram[0x9000 + 999], 0);
    EXPECT_EQ(dma.ram[0x9000 + 1000], 0xcc);
}

TEST_F(FwCfgTest, DmaWrite) {
    ASSERT_TRUE(cfg.add_file("ro", {1, 2, 3, 4}));
    ASSERT_TRUE(cfg.add_file("rw", {1, 2, 3, 4}, true));
    dma.ram[0x1000] = 9;
    dma.ram[0x1001] = 8;
    EXPECT_EQ(run(0x00200000 | 8 | 16, 2, 0x1000), 1u) << "read-only";
    EXPECT_EQ(run(0x00210000 | 8 | 4, 1, 0), 0u);
    EXPECT_EQ(run(16, 2, 0x1000), 0u);
    const auto now = cfg.file("rw");
    EXPECT_EQ(std::vector<u8>(now.begin(), now.end()), (std::vector<u8>{1, 9, 8, 4}));
    EXPECT_EQ(run(16, 2, 0x1000), 1u) << "would grow it";
    EXPECT_EQ(run(16, 0xffffffff, 0x1000), 1u);
}

TEST_F(FwCfgTest, HostileDma) {
    ASSERT_TRUE(cfg.add_file("f", std::vector<u8>(100, 1)));
    EXPECT_EQ(run(0x00200000 | 8 | 2, 0xffffffff, 0x8000), 1u) << "out of memory";
    EXPECT_EQ(run(2, 16, 0xfffffffffffffff8), 1u);
    EXPECT_EQ(run(4, 0xffffffff, 0), 0u);
    EXPECT_EQ(run(4, 0xffffffff, 0), 0u);
    EXPECT_EQ(in(0x511), 0);
    EXPECT_EQ(run(0x12340000 | 8 | 2, 4, 0x1000), 0u) << "a missing item reads as zeros";
    EXPECT_EQ(run(0x12340000 | 8 | 16, 4, 0x1000), 1u);
    run(2, 4, 0x1000, 0xfffffffffffffff0); // the structure itself is nowhere
    EXPECT_EQ(run(0, 4, 0x1000), 0u) << "nothing asked";
    const u32 seed = 5;
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    for (int i = 0; i < 20000; i++)
        run(u32(random() & 0x3f003f), u32(random() >> random() % 64), random() >> random() % 64,
            random() % 0x8000);
    for (int i = 0; i < 20000; i++) {
        bus.out(u16(0x510 + random() % 12), 1u << random() % 3, u32(random()));
        bus.in(u16(0x510 + random() % 12), 1u << random() % 3);
    }
}

TEST_F(FwCfgTest, RoundTrip) {
    bus.out(0x510, 2, 0);
    in(0x511);
    const StateImage image = save(cfg);
    bus.out(0x510, 2, 1);
    ASSERT_TRUE(load(cfg, image));
    EXPECT_EQ(in(0x511), 'E');
    check_round_trip(cfg, [this] { in(0x511); });
}

} // namespace
} // namespace dragoman::hw::test
