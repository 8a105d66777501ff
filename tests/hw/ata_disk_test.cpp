// The ATA command set by programmed I/O (ATA/ATAPI-6).
#include "ide_bench.h"

namespace dragoman::hw::test {
namespace {

using Ata = IdeBench;

constexpr u8 kReady = 0x50, kReadyDrq = 0x58, kReadyErr = 0x51;

std::string text(const std::vector<u8>& identify, unsigned word, unsigned words) {
    std::string s;
    for (unsigned i = 0; i < words; ++i) {
        s += static_cast<char>(identify[2 * (word + i) + 1]);
        s += static_cast<char>(identify[2 * (word + i)]);
    }
    s.erase(s.find_last_not_of(' ') + 1);
    return s;
}

TEST(AtaDisk, SignatureAfterReset) {
    Ata t;
    EXPECT_EQ(t.in(0x1f2), 1);
    EXPECT_EQ(t.in(0x1f3), 1);
    EXPECT_EQ(t.in(0x1f4), 0);
    EXPECT_EQ(t.in(0x1f5), 0);
    EXPECT_EQ(t.status(), kReady);
    EXPECT_EQ(t.in(0x174), 0x14);
    EXPECT_EQ(t.in(0x175), 0xeb);
    EXPECT_EQ(t.in(0x177), 0) << "a packet device is not DRDY before its first command";
}

TEST(AtaDisk, SoftwareReset) {
    Ata t;
    t.lba28(5, 7);
    t.out(0x1f6, 0xb0);
    t.out(Ata::control, 4);
    EXPECT_EQ(t.in(Ata::control), 0x80) << "BSY while SRST is set";
    t.out(Ata::control, 0);
    EXPECT_EQ(t.status(), kReady);
    EXPECT_EQ(t.in(0x1f2), 1);
    EXPECT_EQ(t.in(0x1f6), 0xa0) << "device 0 is selected";
    EXPECT_EQ(t.irq14.rises, 0u);
}

TEST(AtaDisk, Identify) {
    Ata t(200000);
    t.out(0x1f6, 0xa0);
    t.command(0xec);
    EXPECT_TRUE(t.irq14.level);
    EXPECT_EQ(t.status(), kReadyDrq);
    EXPECT_FALSE(t.irq14.level) << "reading Status acknowledges";
    const auto id = t.take(512);
    EXPECT_EQ(t.status(), kReady);
    EXPECT_EQ(text(id, 27, 20), "DRAGOMAN DISK");
    EXPECT_EQ(text(id, 10, 10), "D1");
    EXPECT_EQ(t.word(id, 0), 0x40);
    EXPECT_EQ(t.word(id, 1), 200000 / (16 * 63));
    EXPECT_EQ(t.word(id, 60) | t.word(id, 61) << 16, 200000);
    EXPECT_EQ(t.word(id, 100) | t.word(id, 101) << 16, 200000);
    EXPECT_EQ(t.word(id, 93) & 0xdf61, 0x4041) << "device 0 answers for device 1";
}

TEST(AtaDisk, ReadByLba28WithOneInterruptPerSector) {
    Ata t;
    t.lba28(100, 3);
    t.command(0x20);
    for (unsigned i = 0; i < 3; ++i) {
        EXPECT_EQ(t.irq14.rises, i + 1);
        EXPECT_EQ(t.status(), kReadyDrq);
        EXPECT_EQ(t.take(512), t.sectors(100 + i, 1)) << "sector " << i;
    }
    EXPECT_EQ(t.irq14.rises, 3u);
    EXPECT_EQ(t.status(), kReady);
    EXPECT_EQ(t.in(0x1f3), 102) << "the last sector read";
}

TEST(AtaDisk, DwordsCrossBlocks) {
    Ata t;
    t.lba28(8, 2);
    t.command(0x20);
    std::vector<u8> data;
    for (unsigned i = 0; i < 256; ++i) {
        const u32 v = t.bus.in(0x1f0, 4);
        for (unsigned b = 0; b < 4; ++b)
            data.push_back(u8(v >> (8 * b)));
    }
    EXPECT_EQ(data, t.sectors(8, 2));
}

TEST(AtaDisk, ReadByChs) {
    Ata t;
    t.out(0x1f2, 16);   // sectors of a track
    t.out(0x1f6, 0xa3); // 4 heads
    t.command(0x91);
    EXPECT_EQ(t.status(), kReady);
    // C 5, H 2, S 7 -> (5 * 4 + 2) * 16 + 6
    t.out(0x1f2, 1);
    t.out(0x1f3, 7);
    t.out(0x1f4, 5);
    t.out(0x1f5, 0);
    t.out(0x1f6, 0xa2);
    t.command(0x20);
    EXPECT_EQ(t.take(512), t.sectors(358, 1));
    t.out(0x1f3, 17); // no such sector
    t.command(0x20);
    EXPECT_EQ(t.status(), kReadyErr);
    EXPECT_EQ(t.error(), 0x10);
    t.out(0x1f3, 0); // sectors count from 1
    t.command(0x20);
    EXPECT_EQ(t.error(), 0x10);
}

TEST(AtaDisk, Lba48AndPreviousContent) {
    Ata t(300000);
    t.lba48(0x12345, 2);
    t.out(Ata::control, 0x80);
    EXPECT_EQ(t.in(0x1f3), 0) << "bits 31:24";
    t.out(Ata::control, 0);
    EXPECT_EQ(t.in(0x1f3), 0x45);
    t.command(0x24);
    EXPECT_EQ(t.take(1024), t.sectors(0x12345, 2));
    // 65536 sectors when the count is 0.
    t.lba48(0, 0);
    t.command(0x42);
    EXPECT_EQ(t.status(), kReady);
    EXPECT_EQ(t.in(0x1f3) | t.in(0x1f4) << 8, 0xffff);
    t.lba48(u64{1} << 40, 1);
    t.command(0x24);
    EXPECT_EQ(t.status(), kReadyErr);
    EXPECT_EQ(t.error(), 0x10);
}

TEST(AtaDisk, WriteAndReadBack) {
    Ata t;
    std::vector<u8> data(1024);
    for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = u8(i * 7 + 3);
    t.lba28(20, 2);
    t.command(0x30);
    EXPECT_EQ(t.irq14.rises, 0u) << "the first block is announced by DRQ alone";
    EXPECT_EQ(t.status(), kReadyDrq);
    t.give({data.begin(), data.begin() + 512});
    EXPECT_EQ(t.irq14.rises, 1u);
    EXPECT_EQ(t.status(), kReadyDrq);
    t.give({data.begin() + 512, data.end()});
    EXPECT_EQ(t.irq14.rises, 2u);
    EXPECT_EQ(t.status(), kReady);
    EXPECT_EQ(t.sectors(20, 2), data);
    t.command(0xe7);
    EXPECT_EQ(t.disk.flushes, 1u);
    EXPECT_EQ(t.status(), kReady);
}

TEST(AtaDisk, Multiple) {
    Ata t;
    t.out(0x1f2, 8);
    t.command(0xc6);
    EXPECT_EQ(t.status(), kReady);
    const unsigned before = t.irq14.rises;
    t.lba28(0, 20);
    t.command(0xc4);
    unsigned first = 0;
    for (const unsigned block : {8u, 8u, 4u}) { // Status is read before each, which acknowledges the interrupt
        EXPECT_EQ(t.status(), kReadyDrq);
        EXPECT_EQ(t.take(block * 512), t.sectors(first, block));
        first += block;
    }
    EXPECT_EQ(t.status(), kReady);
    EXPECT_EQ(t.irq14.rises - before, 3u);
    t.out(0x1f2, 5);
    t.command(0xc6);
    EXPECT_EQ(t.status(), kReadyErr);
    EXPECT_EQ(t.error(), 4);
    t.out(0x1f2, 0);
    t.command(0xc6);
    t.lba28(0, 1);
    t.command(0xc4);
    EXPECT_EQ(t.error(), 4) << "multiple mode is off";
}

TEST(AtaDisk, Errors) {
    Ata t;
    t.lba28(4095, 2); // the second sector is not there
    t.command(0x20);
    EXPECT_EQ(t.status(), kReadyErr);
    EXPECT_EQ(t.error(), 0x10);
    EXPECT_EQ(t.in(0x1f3) | t.in(0x1f4) << 8, 4096);

    t.disk.bad.insert(50);
    t.lba28(49, 2);
    t.command(0x20);
    t.take(512);
    EXPECT_EQ(t.status(), kReadyErr);
    EXPECT_EQ(t.error(), 0x40) << "UNC";
    EXPECT_EQ(t.in(0x1f3), 50);

    const unsigned rises = t.irq14.rises;
    t.lba28(50, 1);
    t.command(0x30);
    t.give(std::vector<u8>(512, 1));
    EXPECT_EQ(t.irq14.rises, rises + 1);
    EXPECT_EQ(t.status(), kReadyErr) << "an image that cannot be written is the guest's to know";
    EXPECT_EQ(t.error(), 4);

    t.disk.flush_fails = true;
    t.command(0xea);
    EXPECT_EQ(t.status(), kReadyErr);

    t.disk.protect = true;
    t.lba28(1, 1);
    t.command(0x30);
    EXPECT_EQ(t.status(), kReadyErr);
    EXPECT_EQ(t.error(), 4);

    t.command(0x77 ^ 0xff); // 0x88 is no command
    EXPECT_EQ(t.error(), 4);
    t.command(0x00);
    EXPECT_EQ(t.error(), 4);
}

TEST(AtaDisk, SmallCommands) {
    Ata t;
    for (const u8 code : {0x10, 0x1f, 0xe0, 0xe1, 0xe2, 0xe3, 0x94, 0x95}) {
        const unsigned rises = t.irq14.rises;
        t.command(u8(code));
        EXPECT_EQ(t.irq14.rises, rises + 1) << std::hex << code;
        EXPECT_EQ(t.status(), kReady) << std::hex << code;
    }
    t.command(0xe0);
    t.command(0xe5);
    EXPECT_EQ(t.in(0x1f2), 0x00) << "standby";
    t.lba28(0, 0);
    t.command(0xf8);
    EXPECT_EQ(t.in(0x1f3) | t.in(0x1f4) << 8, 4095);
    t.out(0x1f1, 0x03);
    t.out(0x1f2, 0x22);
    t.command(0xef);
    EXPECT_EQ(t.status(), kReady);
    t.command(0xec);
    EXPECT_EQ(t.word(t.take(512), 63), 0x0407);
    t.out(0x1f2, 0x4e); // no such mode
    t.command(0xef);
    EXPECT_EQ(t.error(), 4);
}

TEST(AtaDisk, Diagnostic) {
    Ata t;
    t.out(0x1f6, 0xb0);
    t.command(0x90);
    EXPECT_TRUE(t.irq14.level);
    EXPECT_EQ(t.error(), 1);
    EXPECT_EQ(t.in(0x1f2), 1);
    EXPECT_EQ(t.status(), kReady);
}

TEST(AtaDisk, InterruptEnable) {
    Ata t;
    t.out(Ata::control, 2);
    t.command(0xe1);
    EXPECT_FALSE(t.irq14.level);
    t.out(Ata::control, 0);
    EXPECT_TRUE(t.irq14.level) << "the request was only held back";
    t.in(Ata::control);
    EXPECT_TRUE(t.irq14.level) << "Alternate Status does not acknowledge";
}

TEST(AtaDisk, AbsentDevices) {
    Ata t;
    t.out(0x1f6, 0xb0);
    EXPECT_EQ(t.status(), 0) << "device 0 answers for device 1";
    t.command(0xec);
    EXPECT_EQ(t.status(), 0);
    EXPECT_FALSE(t.irq14.level);
    t.out(0x1f2, 0x55);
    EXPECT_EQ(t.in(0x1f2), 0x55) << "with its own registers";
    t.out(0x1f6, 0xa0);
    EXPECT_EQ(t.status(), kReady);
    t.out(0x176, 0xb0);
    t.out(0x172, 0x55);
    EXPECT_EQ(t.in(0x172), 0) << "a packet device answers with zeros";
    EXPECT_EQ(t.in(0x176), 0);

    Bench b;
    Log log;
    FakeMemory memory(4096);
    FakeMap map;
    FakeDisk disk(100);
    RecordingLine l14, l15;
    Piix3Ide other(l14, l15, log);
    other.secondary().attach(nullptr, std::make_unique<AtaDisk>(disk, "x", log));
    other.connect(b.bus, map, memory, nullptr);
    other.map_ports(b.bus);
    EXPECT_EQ(b.in(0x177), 0xff) << "the ports are not decoded yet";
    other.config_write(0x40, 4, 0x80008000);
    other.config_write(kPciCommand, 2, 1);
    EXPECT_EQ(b.in(0x1f7), 0x7f) << "an empty channel: only DD7 is pulled";
    EXPECT_EQ(b.in(0x177), 0) << "nobody is device 0";
    b.out(0x176, 0xb0);
    EXPECT_EQ(b.in(0x177), kReady);
}

TEST(AtaDisk, CompletionAfterResetIsIgnored) {
    Ata t;
    t.disk.later = true;
    t.lba28(0, 1);
    t.command(0x20);
    EXPECT_EQ(t.status(), 0x80);
    t.command(0xec); // while busy: ignored
    EXPECT_EQ(t.status(), 0x80);
    t.out(Ata::control, 4);
    t.out(Ata::control, 0);
    t.disk.complete_pending();
    EXPECT_EQ(t.status(), kReady);
    EXPECT_EQ(t.irq14.rises, 0u);
    t.lba28(0, 1);
    t.command(0x20);
    t.disk.complete_pending();
    EXPECT_EQ(t.status(), kReadyDrq);
    EXPECT_EQ(t.take(512), t.sectors(0, 1));
}

} // namespace
} // namespace dragoman::hw::test
