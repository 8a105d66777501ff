// AHCI by its specification: frames, command lists, queued commands, errors, interrupts.
#include "chip_test_support.h"
#include "pci_test_support.h"

#include "hw/ahci.h"

namespace dragoman::hw::test {
namespace {

struct AhciBench : Bench, testing::Test {
    static constexpr u32 bar = 0xfe000000, list = 0x1000, frames = 0x2000, tables = 0x3000;

    AhciBench() {
        auto drive = std::make_unique<AtapiCd>(&disc, "C1", log);
        cd = drive.get();
        ahci.attach(0, std::make_unique<AtaDisk>(disk, "D1", log));
        ahci.attach(1, std::move(drive));
        ahci.connect(bus, map, memory, &line);
        enable();
    }
    void enable() {
        ahci.config_write(kPciBar0 + 20, 4, bar);
        ahci.config_write(kPciCommand, 2, 6);
        registers = map.at(bar)->handler;
        set(0x04, 2); // GHC.IE
        for (u32 port : {0u, 1u}) {
            set(at(port, 0x00), list + port * 0x400);
            set(at(port, 0x08), frames + port * 0x100);
            set(at(port, 0x30), ~0u);        // SERR
            set(at(port, 0x18), 0x10);       // FRE
            set(at(port, 0x18), 0x11);       // ST
            set(at(port, 0x14), 0x7dc0007f); // every interrupt
            set(at(port, 0x10), ~0u);
        }
        set(0x08, ~0u);
    }
    static u32 at(u32 port, u32 reg) { return 0x100 + port * 0x80 + reg; }
    u32 get(u32 offset) { return u32(registers->read(offset, 4)); }
    void set(u32 offset, u32 value) { registers->write(offset, 4, value); }
    u32 ci(u32 port = 0) { return get(at(port, 0x38)); }
    u32 is(u32 port = 0) { return get(at(port, 0x10)); }
    u32 tfd(u32 port = 0) { return get(at(port, 0x20)); }

    struct Part {
        u32 address, bytes;
    };
    u32 table(u32 port, u32 slot) { return tables + (port * 32 + slot) * 0x200; }
    void prepare(u32 slot, std::vector<u8> fis, const std::vector<Part>& parts, u32 port = 0) {
        fis.resize(20);
        const u32 t = table(port, slot), h = list + port * 0x400 + slot * 32;
        memory.put<u32>(h, 5 | u32(parts.size()) << 16);
        memory.put<u32>(h + 4, 0);
        memory.put<u64>(h + 8, t);
        memory.write(t, fis.data(), fis.size());
        for (std::size_t i = 0; i < parts.size(); ++i) {
            memory.put<u64>(t + 0x80 + 16 * i, parts[i].address);
            memory.put<u64>(t + 0x88 + 16 * i, u64{parts[i].bytes - 1} << 32);
        }
    }
    static std::vector<u8> lba48(u8 command, u64 lba, u16 count) {
        return {0x27,          0x80,          command,       0, u8(lba),   u8(lba >> 8),  u8(lba >> 16), 0x40,
                u8(lba >> 24), u8(lba >> 32), u8(lba >> 40), 0, u8(count), u8(count >> 8)};
    }
    static std::vector<u8> queued(u8 command, u64 lba, u16 count, u8 tag, bool through = false) {
        auto fis = lba48(command, lba, u16(tag << 3));
        fis[3] = u8(count);
        fis[11] = u8(count >> 8);
        fis[7] = through ? 0xc0 : 0x40;
        return fis;
    }
    void issue(u32 slots, u32 port = 0, bool tags = false) {
        if (tags) set(at(port, 0x34), slots);
        set(at(port, 0x38), slots);
    }
    std::vector<u8> ram(u32 from, u32 bytes) {
        return {memory.bytes.begin() + from, memory.bytes.begin() + from + bytes};
    }
    std::vector<u8> sectors(const FakeDisk& d, u64 first, u64 count) {
        return {d.data.begin() + long(first * 512), d.data.begin() + long((first + count) * 512)};
    }
    void packet(std::vector<u8> cdb, const std::vector<Part>& parts, bool dma = true) {
        prepare(0, {0x27, 0x80, 0xa0, u8(dma), 0, 0xff, 0xff}, parts, 1);
        cdb.resize(16);
        memory.write(table(1, 0) + 0x40, cdb.data(), cdb.size());
        issue(1, 1);
    }

    QuietLog log;
    FakeMemory memory{1 << 20};
    FakeMap map;
    FakeDisk disk{4096}, disc{64 * 4};
    RecordingLine line;
    Ahci ahci{scheduler, log};
    AtapiCd* cd = nullptr;
    IoHandler* registers = nullptr;
};

TEST_F(AhciBench, RegistersAreReadAtAnyWidthAndAlignment) {
    const u64 version = get(0x10), ports = get(0x0c);
    EXPECT_NE(version & 0xffff, 0u);
    EXPECT_EQ(registers->read(0x0e, 4), (ports >> 16 | version << 16) & 0xffffffff);
    EXPECT_EQ(registers->read(0x0c, 8), ports | version << 32);
    EXPECT_EQ(registers->read(0x11, 1), version >> 8 & 0xff);
}

TEST_F(AhciBench, SaysWhatItIs) {
    EXPECT_EQ(ahci.config_read(0, 4), 0x29228086u);
    EXPECT_EQ(ahci.config_read(kPciClass, 2) | ahci.config_read(kPciClass + 2, 1) << 16, 0x010601u);
    EXPECT_EQ(get(0x00) & 0x1f, 5u);
    EXPECT_EQ(get(0x0c), 0x3fu);
    EXPECT_EQ(get(0x10), 0x00010300u);
    EXPECT_EQ(get(at(0, 0x24)), 0x00000101u);
    EXPECT_EQ(get(at(1, 0x24)), 0xeb140101u);
    EXPECT_EQ(get(at(0, 0x28)), 0x123u);
    EXPECT_EQ(get(at(2, 0x28)), 0u) << "nothing is on port 2";
    EXPECT_EQ(get(at(2, 0x24)), 0xffffffffu);
    EXPECT_EQ(get(at(2, 0x20)), 0x7fu);
}

TEST_F(AhciBench, IdentifyComesByPioThroughTheList) {
    prepare(3, {0x27, 0x80, 0xec}, {{0x8000, 100}, {0x9000, 412}});
    issue(1u << 3);
    EXPECT_EQ(ci(), 0u);
    EXPECT_EQ(is() & 3, 2u) << "the PIO frame interrupts, no register frame follows";
    EXPECT_EQ(memory.get<u16>(0x9000 - 100 + 2 * 76), 0x0106) << "word 76: queuing";
    EXPECT_EQ(memory.get<u16>(0x9000 - 100 + 2 * 93), 0) << "word 93 is the cable's";
    EXPECT_EQ(memory.get<u32>(list + 3 * 32 + 4), 512u) << "PRDBC";
    EXPECT_EQ(memory.get<u8>(frames + 0x20), 0x5f);
    EXPECT_EQ(tfd() & 0xff, 0x50u);
    EXPECT_TRUE(line.level);
    set(at(0, 0x10), ~0u);
    EXPECT_TRUE(line.level) << "IS is a latch of its own";
    set(0x08, 1);
    EXPECT_FALSE(line.level);
}

TEST_F(AhciBench, ReadsAndWritesByDma) {
    prepare(0, lba48(0x25, 100, 8), {{0x8000, 512}, {0xa000, 7 * 512}});
    issue(1);
    EXPECT_EQ(ram(0x8000, 512), sectors(disk, 100, 1));
    EXPECT_EQ(ram(0xa000, 7 * 512), sectors(disk, 101, 7));
    EXPECT_EQ(is() & 3, 1u);
    EXPECT_EQ(memory.get<u8>(frames + 0x40), 0x34);
    prepare(1, lba48(0x35, 200, 2), {{0x8000, 1024}});
    issue(2);
    EXPECT_EQ(sectors(disk, 200, 2), ram(0x8000, 1024));
    EXPECT_EQ(disk.flushes, 0u);
    prepare(2, lba48(0x3d, 300, 1), {{0x8000, 512}});
    issue(4);
    EXPECT_EQ(disk.flushes, 1u) << "WRITE DMA FUA EXT is on storage when it ends";
    prepare(2, lba48(0xea, 0, 0), {});
    issue(4);
    EXPECT_EQ(disk.flushes, 2u);
}

TEST_F(AhciBench, QueuedCommandsEndInTheOrderOfTheImage) {
    disk.later = true;
    for (u8 tag = 0; tag < 4; ++tag)
        prepare(tag, queued(tag == 2 ? 0x61 : 0x60, 10u * tag, 2, tag), {{0x8000u + tag * 1024u, 1024}});
    issue(0xf, 0, true);
    EXPECT_EQ(ci(), 0u) << "the disk has taken them all";
    EXPECT_EQ(get(at(0, 0x34)), 0xfu);
    EXPECT_EQ(disk.pending.size(), 4u);
    std::swap(disk.pending[0], disk.pending[3]);
    auto last = std::move(disk.pending.back());
    disk.pending.pop_back();
    disk.complete_pending();
    EXPECT_EQ(get(at(0, 0x34)), 1u) << "tag 0 is still under way";
    EXPECT_EQ(memory.get<u8>(frames + 0x58), 0xa1);
    EXPECT_EQ(is() & 8, 8u);
    last(BlockStatus::Ok);
    EXPECT_EQ(get(at(0, 0x34)), 0u);
    EXPECT_EQ(ram(0x8000, 1024), sectors(disk, 0, 2));
    EXPECT_EQ(ram(0x8400, 1024), sectors(disk, 10, 2));
    EXPECT_EQ(sectors(disk, 20, 2), ram(0x8800, 1024));
    disk.later = false;
    prepare(5, queued(0x61, 7, 1, 5, true), {{0x8000, 512}});
    issue(1u << 5, 0, true);
    EXPECT_EQ(disk.flushes, 1u) << "FUA";
}

TEST_F(AhciBench, AQueuedErrorIsInTheLog) {
    disk.bad = {55};
    disk.later = true;
    prepare(1, queued(0x60, 0, 1, 1), {{0x8000, 512}});
    prepare(4, queued(0x60, 55, 1, 4), {{0x8000, 512}});
    issue(0x12, 0, true);
    EXPECT_TRUE(is() & 1u << 30) << "task file error";
    EXPECT_EQ(tfd() & 0xffff, 0x4051u) << "uncorrectable";
    EXPECT_EQ(get(at(0, 0x34)), 0x12u) << "the tags stay until the list is stopped";
    set(at(0, 0x18), 0x10);
    EXPECT_EQ(get(at(0, 0x34)), 0u);
    set(at(0, 0x10), ~0u);
    set(at(0, 0x18), 0x11);
    auto fis = lba48(0x2f, 0, 1);
    fis[4] = 0x10;
    prepare(0, fis, {{0xc000, 512}});
    issue(1);
    EXPECT_EQ(ci(), 1u) << "the forgotten request must end first";
    disk.complete_pending();
    EXPECT_EQ(ci(), 0u);
    EXPECT_EQ(memory.get<u8>(0xc000), 4) << "the tag";
    EXPECT_EQ(memory.get<u8>(0xc003), 0x40);
    EXPECT_EQ(memory.get<u8>(0xc004), 55);
    u8 sum = 0;
    for (const u8 byte : ram(0xc000, 512))
        sum = u8(sum + byte);
    EXPECT_EQ(sum, 0) << "the log's checksum";
}

TEST_F(AhciBench, CommandsThatCannotBeAreErrors) {
    prepare(0, lba48(0x25, 4096, 1), {{0x8000, 512}});
    issue(1);
    EXPECT_TRUE(is() & 1u << 30);
    EXPECT_EQ(tfd() & 0x1001, 0x1001u) << "no such sector";
    EXPECT_EQ(ci(), 1u);
    prepare(1, lba48(0x25, 0, 1), {{0x8000, 512}});
    issue(2);
    EXPECT_EQ(ci(), 3u) << "nothing runs before the list was stopped";
    const auto restart = [this] {
        set(at(0, 0x18), 0x10);
        set(at(0, 0x2c), 1); // COMRESET
        set(at(0, 0x2c), 0);
        set(at(0, 0x30), ~0u);
        set(at(0, 0x10), ~0u);
        set(at(0, 0x18), 0x11);
    };
    restart();
    prepare(0, lba48(0x25, 0, 1), {{0xfffff000, 512}});
    issue(1);
    EXPECT_TRUE(is() & 1u << 29) << "host bus fatal error";
    restart();
    prepare(0, lba48(0x35, 0, 2), {{0x8000, 512}});
    issue(1);
    EXPECT_TRUE(is() & 1u << 27) << "a list too short to write from";
    EXPECT_NE(sectors(disk, 0, 1), ram(0x8000, 512));
    restart();
    prepare(0, lba48(0x25, 0, 2), {{0x8000, 512}});
    issue(1);
    EXPECT_TRUE(is() & 1u << 24) << "overflow";
    EXPECT_EQ(ci(), 0u);
    prepare(0, {0x46, 0x80, 0xec}, {});
    issue(1);
    EXPECT_TRUE(is() & 1u << 27) << "not a register frame";
}

TEST_F(AhciBench, TrimReachesTheImage) {
    prepare(0, {0x27, 0x80, 0x06, 1, 0, 0, 0, 0x40, 0, 0, 0, 0, 1}, {{0x8000, 512}});
    for (u32 i = 0; i < 512; i += 8)
        memory.put<u64>(0x8000 + i, 0);
    memory.put<u64>(0x8000, u64{16} << 48 | 64);
    memory.put<u64>(0x8008, u64{1} << 48 | 4095);
    issue(1);
    EXPECT_EQ(disk.discarded, (std::vector<std::pair<u64, u64>>{{64, 16}, {4095, 1}}));
    EXPECT_EQ(ci(), 0u);
    memory.put<u64>(0x8008, u64{2} << 48 | 4095);
    issue(1);
    EXPECT_EQ(tfd() & 1, 1u) << "a range beyond the end";
}

TEST_F(AhciBench, PacketsGoToTheCd) {
    packet({0x00}, {});
    EXPECT_EQ(tfd(1) & 1, 1u) << "power on: unit attention";
    set(at(1, 0x18), 0x10);
    set(at(1, 0x18), 0x11);
    packet({0x28, 0, 0, 0, 0, 5, 0, 0, 2}, {{0x8000, 4096}});
    EXPECT_EQ(ci(1), 0u);
    EXPECT_EQ(ram(0x8000, 4096), sectors(disc, 20, 8));
    packet({0x25}, {{0xa000, 8}}, false);
    EXPECT_EQ(memory.get<u32>(0xa000), 0x3f000000u) << "last block, big-endian, by PIO";
    EXPECT_EQ(memory.get<u32>(list + 0x400 + 4), 8u);
    cd->change_disc(nullptr, true);
    packet({0x00}, {});
    EXPECT_EQ(tfd(1) & 0xf001, 0x6001u) << "the medium changed";
}

TEST_F(AhciBench, SoftwareResetShowsTheSignature) {
    prepare(0, {0x27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4}, {});
    issue(1);
    EXPECT_EQ(ci(), 0u);
    prepare(0, {0x27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {});
    memory.bytes[frames + 0x40] = 0;
    issue(1);
    EXPECT_EQ(tfd(), 0x0150u);
    EXPECT_EQ(memory.get<u8>(frames + 0x40), 0x34) << "the frame with the signature";
}

TEST_F(AhciBench, AResetWaitsForTheImage) {
    disk.later = true;
    prepare(0, lba48(0x35, 0, 8), {{0x8000, 4096}});
    issue(1);
    set(at(0, 0x18), 0x10);
    set(at(0, 0x2c), 1);
    EXPECT_EQ(get(at(0, 0x28)), 0u);
    set(at(0, 0x2c), 0);
    EXPECT_TRUE(tfd() & 0x80) << "busy: the image still has the buffer";
    disk.complete_pending();
    EXPECT_EQ(tfd(), 0x0150u);
    set(0x04, 1); // the whole adapter
    EXPECT_EQ(get(0x04), 0x80000000u);
    EXPECT_EQ(get(at(0, 0x18)) & 0x11, 0u);
    EXPECT_EQ(get(at(0, 0x00)), list) << "addresses stay";
}

TEST_F(AhciBench, MessagesInsteadOfTheLine) {
    ahci.config_write(0x84, 4, 0xf000);
    ahci.config_write(0x8c, 2, 0x1234);
    ahci.config_write(0x82, 2, 1);
    prepare(0, lba48(0x25, 0, 1), {{0x8000, 512}});
    issue(1);
    EXPECT_EQ(memory.get<u32>(0xf000), 0x1234u);
    EXPECT_FALSE(line.level);
    memory.put<u32>(0xf000, 0);
    issue(1);
    EXPECT_EQ(memory.get<u32>(0xf000), 0u) << "no second message before the first was acknowledged";
    set(0x08, 1);
    EXPECT_EQ(memory.get<u32>(0xf000), 0x1234u) << "acknowledged, but the port still interrupts";
}

TEST_F(AhciBench, DmaOffMeansNothingMoves) {
    ahci.config_write(kPciCommand, 2, 2);
    prepare(0, lba48(0x25, 0, 1), {{0x8000, 512}});
    issue(1);
    EXPECT_EQ(ci(), 1u);
    EXPECT_EQ(memory.get<u8>(0x8001), 0);
}

TEST_F(AhciBench, StateComesBack) {
    prepare(0, lba48(0x25, 0, 1), {{0x8000, 512}});
    issue(1);
    check_round_trip(ahci, [this] {
        set(at(0, 0x14), 0);
        set(0x04, 0);
        prepare(0, lba48(0x25, 5, 1), {{0x8000, 512}});
        issue(1);
    });
}

} // namespace
} // namespace dragoman::hw::test
