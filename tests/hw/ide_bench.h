// A PIIX3 IDE function on a bench, and the steps that a driver makes.
#pragma once

#include "chip_test_support.h"
#include "pci_test_support.h"

#include "hw/ata_disk.h"
#include "hw/atapi_cd.h"
#include "hw/piix3_ide.h"

namespace dragoman::hw::test {

struct IdeBench : Bench {
    static constexpr u16 base = 0x1f0, control = 0x3f6, master = 0xc000;

    explicit IdeBench(u64 disk_sectors = 4096, u64 cd_blocks = 64) : disk(disk_sectors), disc(cd_blocks * 4) {
        auto drive = std::make_unique<AtapiCd>(&disc, "C1", log);
        cd = drive.get();
        ide.primary().attach(std::make_unique<AtaDisk>(disk, "D1", log), nullptr);
        ide.secondary().attach(std::move(drive), nullptr);
        ide.connect(bus, map, memory, nullptr);
        ide.map_ports(bus);
        enable();
    }
    void enable() {
        ide.config_write(0x40, 4, 0x80008000);
        ide.config_write(0x20, 4, master);
        ide.config_write(kPciCommand, 2, 5);
    }

    u8 status() { return in(base + 7); }
    u8 error() { return in(base + 1); }
    void lba28(u32 lba, u8 count) {
        out(base + 2, count);
        out(base + 3, u8(lba));
        out(base + 4, u8(lba >> 8));
        out(base + 5, u8(lba >> 16));
        out(base + 6, u8(0xe0 | (lba >> 24)));
    }
    void lba48(u64 lba, u16 count) {
        out(base + 6, 0xe0);
        out(base + 2, u8(count >> 8));
        for (unsigned i = 0; i < 3; ++i)
            out(u16(base + 3 + i), u8(lba >> (24 + 8 * i)));
        out(base + 2, u8(count));
        for (unsigned i = 0; i < 3; ++i)
            out(u16(base + 3 + i), u8(lba >> (8 * i)));
    }
    void command(u8 code) { out(base + 7, code); }
    std::vector<u8> take(std::size_t bytes, u16 port = base) {
        std::vector<u8> data;
        while (data.size() < bytes) {
            const u32 word = bus.in(port, 2);
            data.push_back(u8(word));
            data.push_back(u8(word >> 8));
        }
        return data;
    }
    void give(const std::vector<u8>& data, u16 port = base) {
        for (std::size_t i = 0; i + 1 < data.size(); i += 2)
            bus.out(port, 2, u32(data[i] | data[i + 1] << 8));
    }
    u16 word(const std::vector<u8>& data, unsigned index) const {
        return u16(data[2 * index] | data[2 * index + 1] << 8);
    }
    std::vector<u8> sectors(u64 first, u64 count) const {
        return {disk.data.begin() + long(first * 512), disk.data.begin() + long((first + count) * 512)};
    }

    // A descriptor table at `table`; the last entry gets the end mark.
    void descriptors(u32 table, const std::vector<std::pair<u32, u32>>& entries) {
        for (std::size_t i = 0; i < entries.size(); ++i) {
            memory.put<u32>(table + 8 * i, entries[i].first);
            memory.put<u32>(table + 8 * i + 4,
                            (entries[i].second & 0xffff) | (i + 1 == entries.size() ? 0x80000000u : 0));
        }
    }
    void start_dma(u32 table, bool to_memory, u16 channel = 0) {
        const u16 at = u16(master + 8 * channel);
        bus.out(u16(at + 4), 4, table);
        out(at + 2, 0x06);
        out(at, to_memory ? 8 : 0);
        out(at, to_memory ? 9 : 1);
    }

    // A packet command on the secondary channel by PIO; the data that came.
    std::vector<u8> packet(std::vector<u8> cdb, u16 limit = 0xfffe) {
        cdb.resize(12);
        out(0x176, 0xa0);
        out(0x171, 0);
        out(0x174, u8(limit));
        out(0x175, u8(limit >> 8));
        out(0x177, 0xa0);
        give(cdb, 0x170);
        std::vector<u8> all;
        for (unsigned piece = 0; (in(0x177) & 8) && piece < 200000; ++piece) {
            const std::size_t bytes = in(0x174) | in(0x175) << 8;
            EXPECT_EQ(in(0x172), 2) << "interrupt reason of a data piece";
            const auto data = take(bytes, 0x170);
            all.insert(all.end(), data.begin(), data.begin() + long(bytes));
        }
        return all;
    }
    u8 cd_status() { return in(0x177); }
    // Key, code and qualifier of REQUEST SENSE.
    std::array<u8, 3> sense() {
        const auto r = packet({0x03, 0, 0, 0, 18});
        if (r.size() != 18) return {0xff, 0xff, 0xff};
        return {r[2], r[12], r[13]};
    }

    Log log;
    FakeMemory memory{1 << 20};
    FakeMap map;
    FakeDisk disk, disc;
    RecordingLine irq14, irq15;
    Piix3Ide ide{irq14, irq15, log};
    AtapiCd* cd = nullptr;
};

} // namespace dragoman::hw::test
