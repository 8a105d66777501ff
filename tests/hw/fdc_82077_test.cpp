// The floppy controller by its data sheet: phases, seeks, data through DMA and FIFO, errors.
#include "chip_test_support.h"
#include "pci_test_support.h"

#include "hw/fdc_82077.h"

namespace dragoman::hw::test {
namespace {

struct FdcBench : Bench, testing::Test {
    static constexpr u16 dor = 0x3f2, msr = 0x3f4, fifo = 0x3f5, dir = 0x3f7;

    FdcBench() {
        fdc.drive(0).connected = true;
        fdc.drive(0).insert(&disk);
        dma.map(bus);
        fdc.map(bus);
        fdc.reset();
        out(dor, 0x1c); // out of reset, gate open, motor A
        for (u8 n = 0; n < 4; ++n)
            EXPECT_EQ(run({8}), (std::vector<u8>{u8(0xc0 | n), 0}));
        out(dir, 0); // 500 kb/s
        run({3, 0xdf, 2});
    }
    // Sends a command, and takes its result.
    std::vector<u8> run(const std::vector<u8>& bytes) {
        send(bytes);
        return results();
    }
    void send(const std::vector<u8>& bytes) {
        for (const u8 byte : bytes) {
            EXPECT_EQ(in(msr)&0xc0, 0x80) << "ready for a byte";
            out(fifo, byte);
        }
    }
    std::vector<u8> results() {
        std::vector<u8> all;
        while ((in(msr)&0xd0) == 0xd0)
            all.push_back(in(fifo));
        return all;
    }
    void program_dma(u32 address, u32 bytes, bool to_memory) {
        out(0x0a, 6);
        out(0x0c, 0);
        out(0x0b, to_memory ? 0x46 : 0x4a);
        out(0x04, u8(address));
        out(0x04, u8(address >> 8));
        out(0x81, u8(address >> 16));
        out(0x05, u8(bytes - 1));
        out(0x05, u8((bytes - 1) >> 8));
        out(0xd4, 0);
        out(0xd6, 0xc0);
        out(0x0a, 2);
    }
    std::vector<u8> seek(u8 track, u8 drive = 0) {
        send({0x0f, drive, track});
        run_for(1'000'000'000);
        EXPECT_TRUE(irq.level);
        return run({8});
    }
    std::vector<u8> data(u8 code, u8 c, u8 h, u8 r, u8 eot = 18, u8 drive = 0) {
        return run({code, u8(h << 2 | drive), c, h, r, 2, eot, 0x1b, 0xff});
    }
    std::vector<u8> sectors(u64 first, u64 count) {
        return {disk.data.begin() + long(first * 512), disk.data.begin() + long((first + count) * 512)};
    }
    std::vector<u8> ram(u32 from, u32 bytes) {
        return {memory.bytes.begin() + from, memory.bytes.begin() + from + bytes};
    }

    QuietLog log;
    FakeMemory memory{1 << 20};
    FakeDisk disk{2880}, small{3}, protect{1440};
    RecordingLine irq;
    Dma8237 dma{memory, log};
    Fdc82077 fdc{irq, dma, scheduler, log};
};

TEST_F(FdcBench, SaysWhatItIs) {
    EXPECT_EQ(run({0x10}), std::vector<u8>{0x90});
    EXPECT_EQ(run({0x18}), std::vector<u8>{0x80}) << "PART ID is the 82078's";
    EXPECT_EQ(run({0x13, 0, 0x57, 9}), std::vector<u8>{});
    EXPECT_EQ(run({0x94}), std::vector<u8>{0x10}) << "LOCK";
    run({0x12, 0x84});
    EXPECT_EQ(run({0x0e}), (std::vector<u8>{0, 0, 0, 0, 0xdf, 2, 0, 0x84, 0x57, 9})) << "DUMPREG";
    out(0x3f4, 0x80); // software reset
    EXPECT_TRUE(irq.level);
    run({8});
    EXPECT_FALSE(irq.level);
    EXPECT_EQ(run({0x0e})[8], 0x57) << "locked: CONFIGURE outlives the reset";
    EXPECT_EQ(run({0x14}), std::vector<u8>{0});
    EXPECT_EQ(run({0x04, 0}), std::vector<u8>{0x38}) << "at track 0";
}

TEST_F(FdcBench, SeeksTakeTheirTime) {
    EXPECT_EQ(in(dir)&0x80, 0x80) << "a disk was put in";
    send({0x0f, 0, 10});
    EXPECT_EQ(in(msr), 0x81) << "drive A is busy, the controller is not";
    run_for(10 * 1'500'000 - 1);
    EXPECT_FALSE(irq.level);
    run_for(1);
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(run({8}), (std::vector<u8>{0x20, 10}));
    EXPECT_EQ(run({8}), std::vector<u8>{0x80}) << "nothing is pending";
    EXPECT_EQ(in(dir)&0x80, 0) << "a step clears the change line";
    EXPECT_EQ(run({0x04, 0})[0] & 0x10, 0);
    send({0x07, 0});
    run_for(1'000'000'000);
    EXPECT_EQ(run({8}), (std::vector<u8>{0x20, 0}));
    send({0x07, 1});
    EXPECT_EQ(run({8}), (std::vector<u8>{0x71, 0})) << "no drive B: no track 0";
}

TEST_F(FdcBench, ReadsByDma) {
    program_dma(0x10000, 1024, true);
    EXPECT_EQ(data(0xe6, 0, 0, 1), (std::vector<u8>{0, 0, 0, 0, 0, 3, 2}));
    EXPECT_EQ(ram(0x10000, 1024), sectors(0, 2));
    seek(5);
    program_dma(0x10000, 36 * 512, true);
    EXPECT_EQ(data(0xe6, 5, 0, 1), (std::vector<u8>{4, 0, 0, 6, 0, 1, 2}))
        << "both sides, then the next cylinder";
    EXPECT_EQ(ram(0x10000, 36 * 512), sectors(5 * 36, 36));
    program_dma(0x10000, 3 * 512, true);
    EXPECT_EQ(data(0x66, 5, 1, 17)[1], 0x80) << "one side only: the end of the cylinder";
    EXPECT_EQ(ram(0x10000, 1024), sectors(5 * 36 + 18 + 16, 2));
    EXPECT_TRUE(run({0x4a, 0})[0] == 0);
}

TEST_F(FdcBench, WritesByDma) {
    for (u32 i = 0; i < 4096; ++i)
        memory.bytes[0x10000 + i] = u8(i * 13 + i / 512);
    program_dma(0x10000, 4096, false);
    EXPECT_EQ(data(0xc5, 0, 0, 15), (std::vector<u8>{4, 0, 0, 0, 1, 5, 2}));
    EXPECT_EQ(sectors(14, 8), ram(0x10000, 4096));
    // FORMAT TRACK
    seek(79);
    for (u8 i = 0; i < 18; ++i)
        memory.put<u32>(0x10000 + 4 * i, 79u | 1u << 8 | u32(i + 1) << 16 | 2u << 24);
    program_dma(0x10000, 18 * 4, false);
    EXPECT_EQ(run({0x4d, 4, 2, 18, 0x54, 0xf6})[1], 0);
    EXPECT_EQ(sectors(79 * 36 + 18, 18), std::vector<u8>(18 * 512, 0xf6));
}

TEST_F(FdcBench, WithoutDmaTheFifoMovesTheBytes) {
    run({3, 0xdf, 3});
    send({0x46, 0, 0, 0, 18, 2, 18, 0x1b, 0xff});
    std::vector<u8> got;
    while (in(msr) == 0xf0)
        got.push_back(in(fifo));
    EXPECT_EQ(got, sectors(17, 1));
    EXPECT_EQ(results(), (std::vector<u8>{0x40, 0x80, 0, 1, 0, 1, 2}))
        << "no terminal count: end of the cylinder";
    send({0x45, 0, 0, 0, 18, 2, 18, 0x1b, 0xff});
    for (unsigned i = 0; i < 512; ++i) {
        EXPECT_EQ(in(msr), 0xb0);
        out(fifo, u8(i));
    }
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(results().size(), 7u);
    EXPECT_EQ(disk.data[17 * 512 + 77], 77);
}

TEST_F(FdcBench, ErrorsAreOfTheirKind) {
    program_dma(0x10000, 512, true);
    EXPECT_EQ(data(0x46, 1, 0, 1)[2], 0x10) << "wrong cylinder";
    EXPECT_EQ(data(0x46, 0, 0, 19)[1], 0x04) << "no such sector";
    EXPECT_EQ(data(0x46, 0, 0, 1, 18, 1)[0] & 0xc8, 0x48) << "no such drive";
    out(dir, 2);
    EXPECT_EQ(data(0x46, 0, 0, 1)[1], 0x01) << "the wrong data rate";
    EXPECT_EQ(run({0x4a, 0})[1], 0x01);
    out(dir, 0);
    disk.bad = {3};
    program_dma(0x10000, 8 * 512, true);
    auto r = data(0x46, 0, 0, 1);
    EXPECT_EQ(r, (std::vector<u8>{0x40, 0x20, 0x20, 0, 0, 4, 2})) << "the fourth sector is bad";
    EXPECT_EQ(ram(0x10000, 3 * 512), sectors(0, 3)) << "those before it are good";
    out(0x0a, 6); // DMA channel masked
    EXPECT_EQ(data(0x46, 0, 0, 1)[1], 0x10) << "overrun";
    program_dma(0x10000, 512, false);
    disk.protect = true;
    EXPECT_EQ(data(0x45, 0, 0, 1)[1], 0x02) << "write protected";
    EXPECT_EQ(run({0x04, 0})[0] & 0x40, 0x40);
    fdc.drive(0).insert(nullptr);
    EXPECT_EQ(data(0x46, 0, 0, 1)[1], 0x01) << "no disk";
    EXPECT_EQ(in(dir), 0x80);
}

TEST_F(FdcBench, GeometryComesFromTheSize) {
    EXPECT_EQ(floppy_geometry(720)->drive_type, 1);
    EXPECT_EQ(floppy_geometry(1440)->rate, 2);
    EXPECT_EQ(floppy_geometry(2400)->sectors, 15);
    EXPECT_EQ(floppy_geometry(5760)->rate, 3);
    EXPECT_EQ(floppy_geometry(1)->all(), 2880u);
    EXPECT_FALSE(floppy_geometry(5761));
    fdc.drive(0).insert(&small);
    program_dma(0x10000, 4 * 512, true);
    EXPECT_EQ(data(0x46, 0, 0, 2)[1], 0);
    EXPECT_EQ(ram(0x10000, 1024), (std::vector<u8>{small.data.begin() + 512, small.data.end()}));
    EXPECT_EQ(ram(0x10000 + 1024, 1024), std::vector<u8>(1024)) << "what lies beyond a short image is zeroes";
    program_dma(0x10000, 512, false);
    EXPECT_EQ(data(0x45, 0, 0, 4)[1], 0x20) << "but cannot be written";
}

TEST_F(FdcBench, AResetDoesNotWaitButTheNextCommandDoes) {
    disk.later = true;
    program_dma(0x10000, 512, false);
    send({0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff});
    EXPECT_EQ(in(msr), 0x10);
    out(dor, 0x18);
    EXPECT_EQ(in(msr), 0);
    out(dor, 0x1c);
    EXPECT_EQ(in(msr), 0x80);
    EXPECT_EQ(run({8}), (std::vector<u8>{0xc0, 0}));
    disk.later = false;
    out(dir, 0);
    program_dma(0x10000, 512, true);
    send({0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff});
    EXPECT_EQ(in(msr), 0x10) << "the image still writes for the command before";
    disk.complete_pending();
    EXPECT_EQ(results().size(), 7u);
}

TEST_F(FdcBench, StateComesBack) {
    seek(3);
    check_round_trip(fdc, [this] {
        seek(7);
        run({0x12, 0x84});
    });
}

} // namespace
} // namespace dragoman::hw::test
