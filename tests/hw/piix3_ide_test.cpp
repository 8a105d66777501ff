// The bus masters of the PIIX3 IDE function, its state, and hostile descriptor tables.
#include "ide_bench.h"

#include <random>

namespace dragoman::hw::test {
namespace {

constexpr u16 kStatus = IdeBench::master + 2;

TEST(Piix3Ide, Identity) {
    IdeBench t;
    EXPECT_EQ(t.ide.config_read(0, 4), 0x70108086u);
    EXPECT_EQ(t.ide.config_read(8, 4) >> 8, 0x010180u);
    EXPECT_EQ(t.ide.config_read(0x20, 4), 0xc001u);
}

TEST(Piix3Ide, DecodesFromResetUntilItIsTurnedOff) {
    IdeBench t;
    t.ide.reset();
    t.ide.config_write(kPciCommand, 2, 1);
    t.out(0x1f4, 0x5a);
    EXPECT_EQ(t.in(0x1f4), 0x5a);
    t.ide.config_write(0x40, 2, 0);
    EXPECT_EQ(t.in(0x1f4), 0xff);
}

TEST(Piix3Ide, AChannelWithoutDevicesIsNotBusy) {
    IdeBench t;
    t.ide.primary().attach(nullptr, nullptr);
    t.out(0x1f6, 0xa0);
    t.out(0x1f7, 0x90);
    EXPECT_EQ(t.in(0x1f7), 0x7f);
    EXPECT_EQ(t.in(0x3f6), 0x7f);
    EXPECT_EQ(t.bus.in(0x1f0, 2), 0xff7fu);
}

TEST(Piix3Ide, ReadDmaScatters) {
    IdeBench t;
    t.descriptors(0x1000, {{0x2000, 512}, {0x8000, 1024}, {0x10000, 512}});
    t.lba28(10, 4);
    t.command(0xc8);
    EXPECT_EQ(t.irq14.rises, 0u);
    t.start_dma(0x1000, true);
    EXPECT_EQ(t.in(kStatus)&7, 4) << "Interrupt, not Active";
    EXPECT_TRUE(t.irq14.level);
    EXPECT_EQ(t.status(), 0x50);
    const auto want = t.sectors(10, 4);
    EXPECT_TRUE(std::equal(want.begin(), want.begin() + 512, t.memory.bytes.begin() + 0x2000));
    EXPECT_TRUE(std::equal(want.begin() + 512, want.begin() + 1536, t.memory.bytes.begin() + 0x8000));
    EXPECT_TRUE(std::equal(want.begin() + 1536, want.end(), t.memory.bytes.begin() + 0x10000));
    t.out(kStatus, 4);
    EXPECT_EQ(t.in(kStatus)&7, 0);
}

TEST(Piix3Ide, EngineBeforeCommand) {
    IdeBench t;
    t.descriptors(0x1000, {{0x20000, 0}}); // 0 is 64 KiB
    t.start_dma(0x1000, true);
    EXPECT_EQ(t.in(kStatus)&7, 1);
    t.lba28(0, 128);
    t.command(0xc8);
    EXPECT_EQ(t.in(kStatus)&7, 4);
    const auto want = t.sectors(0, 128);
    EXPECT_TRUE(std::equal(want.begin(), want.end(), t.memory.bytes.begin() + 0x20000));
}

TEST(Piix3Ide, WriteDmaExtLongerThanTheBuffer) {
    IdeBench t;
    const unsigned count = 600; // three pieces of the image
    std::vector<std::pair<u32, u32>> list;
    for (unsigned i = 0; i < 10; ++i)
        list.push_back({0x10000 + i * 0x8000, 60 * 512});
    for (std::size_t i = 0x10000; i < 0x80000; ++i)
        t.memory.bytes[i] = u8(i * 13 + (i >> 8));
    t.descriptors(0x1000, list);
    t.lba48(1000, count);
    t.command(0x35);
    t.start_dma(0x1000, false);
    EXPECT_EQ(t.in(kStatus)&7, 4);
    EXPECT_EQ(t.status(), 0x50);
    for (unsigned i = 0; i < 10; ++i)
        EXPECT_TRUE(std::equal(t.disk.data.begin() + (1000 + 60 * i) * 512,
                               t.disk.data.begin() + (1060 + 60 * i) * 512,
                               t.memory.bytes.begin() + list[i].first))
            << "piece " << i;
}

TEST(Piix3Ide, TableShorterOrLonger) {
    IdeBench t;
    t.descriptors(0x1000, {{0x2000, 512}});
    t.lba28(0, 2);
    t.command(0xc8);
    t.start_dma(0x1000, true);
    EXPECT_EQ(t.in(kStatus)&7, 0) << "table exhausted: neither Active nor Interrupt";
    EXPECT_EQ(t.in(0x1f7) & 8, 8) << "the disk waits";
    t.out(IdeBench::control, 4);
    t.out(IdeBench::control, 0);

    t.descriptors(0x1000, {{0x2000, 4096}});
    t.lba28(0, 2);
    t.command(0xc8);
    t.out(IdeBench::master, 8);
    t.start_dma(0x1000, true);
    EXPECT_EQ(t.in(kStatus)&7, 5) << "table longer: Active and Interrupt";
    t.out(IdeBench::master, 8);
    EXPECT_EQ(t.in(kStatus)&7, 4);
}

TEST(Piix3Ide, ErrorsStopTheEngine) {
    IdeBench t;
    const auto attempt = [&t](u32 table, bool to_memory) {
        t.lba28(0, 2);
        t.command(0xc8);
        t.out(IdeBench::master, 0);
        t.start_dma(table, to_memory);
        const u8 status = t.in(kStatus)&7;
        t.out(IdeBench::control, 4);
        t.out(IdeBench::control, 0);
        return status;
    };
    t.descriptors(0x1000, {{0xfff00000, 1024}});
    EXPECT_EQ(attempt(0x1000, true), 2) << "data outside memory";
    EXPECT_EQ(attempt(0xfffffff8, true), 2) << "table outside memory";
    t.descriptors(0x1000, {{0x2000, 1024}});
    EXPECT_EQ(attempt(0x1000, false), 2) << "direction";
    EXPECT_EQ(attempt(0x1000, true), 4);
    t.ide.config_write(kPciCommand, 2, 1); // no bus master
    EXPECT_EQ(attempt(0x1000, true), 1) << "waits for ever, as the guest asked";
}

TEST(Piix3Ide, DiskErrorDuringDma) {
    IdeBench t;
    t.disk.bad.insert(300);
    t.descriptors(0x1000, {{0x10000, 0}, {0x20000, 0}, {0x30000, 0}});
    t.lba28(0, 0); // 256 sectors, and then the bad one
    t.lba48(0, 320);
    t.command(0x25);
    t.start_dma(0x1000, true);
    EXPECT_EQ(t.in(kStatus)&4, 4);
    EXPECT_EQ(t.status(), 0x51);
    EXPECT_EQ(t.error(), 0x40);
}

TEST(Piix3Ide, DmaPacket) {
    IdeBench t;
    t.sense();
    t.descriptors(0x1000, {{0x4000, 4096}});
    t.out(0x171, 1);
    t.out(0x177, 0xa0);
    t.give({0x28, 0, 0, 0, 0, 5, 0, 0, 2, 0, 0, 0}, 0x170);
    t.start_dma(0x1000, true, 1);
    EXPECT_EQ(t.in(kStatus + 8) & 7, 4);
    EXPECT_EQ(t.in(0x172), 3);
    EXPECT_EQ(t.in(0x177), 0x50);
    EXPECT_TRUE(std::equal(t.disc.data.begin() + 5 * 2048, t.disc.data.begin() + 7 * 2048,
                           t.memory.bytes.begin() + 0x4000));
}

TEST(Piix3Ide, RandomTablesAreHarmless) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    IdeBench t;
    for (unsigned round = 0; round < 300; ++round) {
        const u32 table = u32(random() % 3 == 0 ? random() : random() % (1 << 20)) & ~3u;
        for (unsigned i = 0; i < 64; ++i) {
            const u32 address = u32(random() % 8 == 0 ? random() : random() % (1 << 20));
            t.memory.put<u32>(u64{table} + 8 * i, address);
            t.memory.put<u32>(u64{table} + 8 * i + 4,
                              u32(random()) & (random() % 8 ? 0x00000fff : 0xffffffff));
        }
        const u8 codes[] = {0xc8, 0xca, 0x25, 0x35, 0x20, 0x30, 0xc4, 0xc5, 0xec, 0xa0};
        t.lba48(random() % 5000, u16(random() % 1000));
        t.command(codes[random() % std::size(codes)]);
        t.start_dma(table, random() % 2);
        for (unsigned i = 0; i < 20; ++i) {
            const u16 port = u16((random() % 2 ? 0x1f0 : 0x170) + random() % 8);
            if (random() % 2)
                t.bus.in(port, 1u << random() % 3);
            else
                t.bus.out(port, 1u << random() % 3, u32(random()));
        }
        if (random() % 4 == 0) t.out(IdeBench::master, u8(random()));
        if (random() % 8 == 0) t.out(IdeBench::control, u8(random()));
        if (random() % 8 == 0) t.out(IdeBench::control, 0);
    }
    t.out(IdeBench::control, 4);
    t.out(IdeBench::control, 0);
    EXPECT_EQ(t.status(), 0x50);
}

TEST(Piix3Ide, SaveChangeLoadCompare) {
    IdeBench t;
    t.lba28(7, 3);
    t.command(0x20);
    t.take(512 + 100);
    t.packet({0x1e, 0, 0, 0, 1});
    check_round_trip(t.ide, [&t] {
        t.out(IdeBench::control, 4);
        t.out(IdeBench::control, 0);
        t.lba28(99, 1);
        t.command(0xec);
        t.packet({0x1b, 0, 0, 0, 2});
        t.out(kStatus, 0x60);
    });
}

TEST(Piix3Ide, LoadedTransferGoesOn) {
    IdeBench t, other;
    t.lba28(7, 2);
    t.command(0x20);
    t.take(100);
    EXPECT_TRUE(load(other.ide, save(t.ide)));
    EXPECT_TRUE(other.irq14.level);
    const auto want = t.sectors(7, 2);
    EXPECT_EQ(other.take(924), std::vector<u8>(want.begin() + 100, want.end()));
    EXPECT_EQ(other.status(), 0x50);
}

} // namespace
} // namespace dragoman::hw::test
