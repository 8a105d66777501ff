// The virtio disk: requests, their errors, and drivers that mean harm.
#include "hw/virtio_blk.h"

#include "pci_test_support.h"
#include "virtio_test_support.h"

#include <gtest/gtest.h>
#include <random>

namespace dragoman::hw::test {
namespace {

constexpr u64 kFlushBit = 1 << 9, kDiscardBit = 1 << 13, kZeroesBit = 1 << 14;

// A disk that can discard and write zeroes, and counts.
class FullDisk final : public BlockDevice {
  public:
    explicit FullDisk(u64 sectors) : disk(sectors) {}
    u64 sectors() const override { return disk.sectors(); }
    bool read_only() const override { return disk.read_only(); }
    void read(u64 s, u32 n, u8* to, Completion done) override { disk.read(s, n, to, std::move(done)); }
    void write(u64 s, u32 n, const u8* from, Completion done) override {
        disk.write(s, n, from, std::move(done));
    }
    void flush(Completion done) override { disk.flush(std::move(done)); }
    bool can_discard() const override { return true; }
    bool can_write_zeroes() const override { return true; }
    void discard(u64 sector, u64 count, Completion done) override {
        if (sector > sectors() || count > sectors() - sector) return done(BlockStatus::OutOfRange);
        discarded += count;
        done(BlockStatus::Ok);
    }
    void write_zeroes(u64 sector, u64 count, bool unmap, Completion done) override {
        if (sector > sectors() || count > sectors() - sector) return done(BlockStatus::OutOfRange);
        std::fill_n(disk.data.begin() + long(sector * 512), count * 512, u8{0});
        unmapped += unmap;
        done(BlockStatus::Ok);
    }
    FakeDisk disk;
    u64 discarded = 0;
    unsigned unmapped = 0;
};

struct Blk {
    explicit Blk(bool modern = true, u64 features = kFlushBit, unsigned queues = 1)
        : bench(std::make_unique<VirtioBlk>(full, VirtioBlk::Options{queues, "SERIAL-1"}, log),
                {.vectors = 0}),
          driver(bench, modern) {
        EXPECT_TRUE(driver.start(features));
    }
    u64 header(u32 type, u64 sector) {
        std::vector<u8> bytes(16);
        std::memcpy(bytes.data(), &type, 4);
        std::memcpy(bytes.data() + 8, &sector, 8);
        return driver.place(bytes);
    }
    // The status of one request, 0xee: none came.
    u8 request(u32 type, u64 sector, std::vector<VirtioDriver::Buffer> data, unsigned queue = 0,
               bool indirect = false) {
        const u64 status = driver.place({0xee});
        data.insert(data.begin(), {header(type, sector), 16, false});
        data.push_back({status, 1, true});
        if (indirect)
            driver.offer_indirect(queue, data);
        else
            driver.offer(queue, data);
        driver.ring(queue);
        used = driver.take_used(queue);
        return driver.fetch(status, 1)[0];
    }
    std::vector<u8> sectors(u64 first, u64 count) const {
        return {full.disk.data.begin() + long(first * 512),
                full.disk.data.begin() + long((first + count) * 512)};
    }
    Log log;
    FullDisk full{8192};
    VirtioBench bench;
    VirtioDriver driver;
    std::optional<VirtioDriver::Used> used;
};

TEST(VirtioBlk, ReadsAndWrites) {
    for (const bool modern : {true, false}) {
        Blk t(modern, kFlushBit | u64{1} << kVirtioIndirect);
        EXPECT_EQ(t.driver.config(0, 4), 8192u) << "capacity";
        const u64 a = t.driver.allocate(1024), b = t.driver.allocate(512);
        EXPECT_EQ(t.request(0, 5, {{a, 1024, true}, {b, 512, true}}), 0);
        ASSERT_TRUE(t.used);
        EXPECT_EQ(t.used->written, 1537u);
        auto data = t.driver.fetch(a, 1024);
        const auto more = t.driver.fetch(b, 512);
        data.insert(data.end(), more.begin(), more.end());
        EXPECT_EQ(data, t.sectors(5, 3));

        const u64 c = t.driver.place(std::vector<u8>(1000, 0x5a)),
                  d = t.driver.place(std::vector<u8>(536, 0xa5));
        EXPECT_EQ(t.request(1, 100, {{c, 1000, false}, {d, 536, false}}, 0, true), 0)
            << "indirect, uneven pieces";
        EXPECT_EQ(t.used->written, 1u);
        EXPECT_EQ(t.sectors(100, 3)[999], 0x5a);
        EXPECT_EQ(t.sectors(100, 3)[1000], 0xa5);
        EXPECT_EQ(t.full.disk.flushes, 0u);
        EXPECT_EQ(t.request(4, 0, {}), 0);
        EXPECT_EQ(t.full.disk.flushes, 1u);
        const u64 id = t.driver.allocate(20);
        EXPECT_EQ(t.request(8, 0, {{id, 20, true}}), 0);
        EXPECT_EQ(t.driver.fetch(id, 9), (std::vector<u8>{'S', 'E', 'R', 'I', 'A', 'L', '-', '1', 0}));
    }
}

TEST(VirtioBlk, LargeRequestsGoInPieces) {
    Blk t;
    const u64 at = t.driver.allocate(5 * 512 * 512);
    EXPECT_EQ(t.request(0, 0, {{at, 5 * 512 * 512, true}}), 0);
    EXPECT_EQ(t.driver.fetch(at, 5 * 512 * 512), t.sectors(0, 2560));
    EXPECT_EQ(t.full.disk.reads, 2u);
}

TEST(VirtioBlk, ADriverWithoutFlushWritesThrough) {
    Blk t(true, 0);
    const u64 data = t.driver.place(std::vector<u8>(512, 1));
    EXPECT_EQ(t.request(1, 1, {{data, 512, false}}), 0);
    EXPECT_EQ(t.full.disk.flushes, 1u);
    Blk off(true, kFlushBit | 1 << 11);
    off.driver.set_config(32, 1, 0); // writeback
    EXPECT_EQ(off.request(1, 1, {{off.driver.place(std::vector<u8>(512, 1)), 512, false}}), 0);
    EXPECT_EQ(off.full.disk.flushes, 1u);
}

TEST(VirtioBlk, DiscardsAndZeroes) {
    Blk t(true, kFlushBit | kDiscardBit | kZeroesBit);
    const auto range = [&](u64 sector, u32 count, u32 flags) {
        std::vector<u8> bytes(16);
        std::memcpy(bytes.data(), &sector, 8);
        std::memcpy(bytes.data() + 8, &count, 4);
        std::memcpy(bytes.data() + 12, &flags, 4);
        return VirtioDriver::Buffer{t.driver.place(bytes), 16, false};
    };
    EXPECT_EQ(t.request(11, 0, {range(0, 8, 0), range(100, 16, 0)}), 0);
    EXPECT_EQ(t.full.discarded, 24u);
    EXPECT_EQ(t.request(13, 0, {range(8, 8, 1)}), 0);
    EXPECT_EQ(t.full.unmapped, 1u);
    EXPECT_EQ(t.sectors(8, 8), std::vector<u8>(4096));
    EXPECT_EQ(t.request(11, 0, {range(0, 8, 1)}), 2) << "unmap is for zeroes";
    EXPECT_EQ(t.request(13, 0, {range(0, 8, 2)}), 2) << "reserved";
    EXPECT_EQ(t.request(13, 0, {range(8190, 8, 0)}), 1);
    EXPECT_EQ(t.request(13, 0, {range(0, ~0u, 0)}), 1);
    EXPECT_EQ(t.request(13, 0, {}), 2);
    EXPECT_EQ(t.request(13, 0, std::vector(17, range(0, 1, 0))), 1);
    Blk without;
    EXPECT_EQ(without.request(11, 0, {{without.driver.allocate(16), 16, false}}), 2) << "not negotiated";
}

TEST(VirtioBlk, Errors) {
    Blk t;
    const u64 at = t.driver.allocate(4096);
    EXPECT_EQ(t.request(0, 8191, {{at, 1024, true}}), 1);
    EXPECT_EQ(t.request(0, ~u64{0}, {{at, 512, true}}), 1);
    EXPECT_EQ(t.request(0, 0, {{at, 100, true}}), 1) << "not whole sectors";
    EXPECT_EQ(t.request(77, 0, {}), 2);
    t.full.disk.bad.insert(50);
    EXPECT_EQ(t.request(0, 49, {{at, 1024, true}}), 1);
    EXPECT_EQ(t.request(1, 50, {{at, 512, false}}), 1);
    t.full.disk.flush_fails = true;
    EXPECT_EQ(t.request(4, 0, {}), 1);
    t.full.disk.protect = true;
    EXPECT_EQ(t.request(1, 1, {{at, 512, false}}), 1);
    EXPECT_EQ(t.driver.status() & 0x40, 0) << "none of these is the driver's mistake";
}

TEST(VirtioBlk, ManyQueues) {
    Blk t(true, kFlushBit | 1 << 12, 4);
    EXPECT_EQ(t.driver.queues.size(), 4u);
    EXPECT_EQ(t.driver.config(34, 2), 4u);
    const u64 at = t.driver.allocate(512);
    for (unsigned queue = 0; queue < 4; ++queue) {
        EXPECT_EQ(t.request(0, queue, {{at, 512, true}}, queue), 0);
        EXPECT_EQ(t.driver.fetch(at, 512), t.sectors(queue, 1));
    }
}

TEST(VirtioBlk, CompletionAfterResetIsForgotten) {
    Blk t;
    t.full.disk.later = true;
    const u64 at = t.driver.place(std::vector<u8>(512, 0x77));
    EXPECT_EQ(t.request(0, 3, {{at, 512, true}}), 0xee);
    t.driver.set_status(0);
    t.full.disk.complete_pending();
    EXPECT_EQ(t.driver.fetch(at, 512), std::vector<u8>(512, 0x77))
        << "the buffer is not the device's any more";
    ASSERT_TRUE(t.driver.start(kFlushBit));
    const u64 fresh = t.driver.allocate(512);
    EXPECT_EQ(t.request(0, 3, {{fresh, 512, true}}), 0xee);
    t.full.disk.complete_pending();
    EXPECT_EQ(t.driver.fetch(fresh, 512), t.sectors(3, 1));
}

// A write of before the reset may still be on its way to the disk: a new driver's requests wait for its end.
TEST(VirtioBlk, NothingOvertakesWhatAResetForgot) {
    Blk t;
    t.full.disk.later = true;
    const u64 old = t.driver.place(std::vector<u8>(512, 0x77)),
              fresh = t.driver.place(std::vector<u8>(512, 0));
    EXPECT_EQ(t.request(1, 3, {{old, 512, false}}), 0xee);
    t.driver.set_status(0);
    ASSERT_TRUE(t.driver.start(kFlushBit));
    const unsigned reads = t.full.disk.reads;
    EXPECT_EQ(t.request(0, 3, {{fresh, 512, true}}), 0xee);
    EXPECT_EQ(t.full.disk.reads, reads) << "before the old write has ended";
    t.full.disk.complete_pending();
    EXPECT_EQ(t.full.disk.reads, reads + 1);
    t.full.disk.complete_pending();
    EXPECT_EQ(t.driver.fetch(fresh, 512), std::vector<u8>(512, 0x77));
    EXPECT_TRUE(t.driver.take_used(0));
}

TEST(VirtioBlk, WhatIsUnderWayIsBounded) {
    Blk t;
    t.full.disk.later = true;
    const u64 at = t.driver.allocate(MiB), header = t.header(0, 0), status = t.driver.place({0xee});
    for (unsigned n = 0; n < 80; ++n) // 80 MiB
        t.driver.offer(0, {{header, 16, false}, {at, MiB, true}, {status, 1, true}});
    t.driver.ring(0);
    EXPECT_EQ(t.full.disk.pending.size(), 32u);
    unsigned done = 0;
    for (unsigned n = 0; n < 200 && done < 80; ++n) {
        t.full.disk.complete_pending();
        while (t.driver.take_used(0))
            ++done;
    }
    EXPECT_EQ(done, 80u) << "the rest follows by itself";
}

TEST(VirtioBlk, MistakesAskForAReset) {
    for (unsigned kind = 0; kind < 4; ++kind) {
        Blk t;
        const u64 header = t.header(0, 0), out = t.header(1, 0), status = t.driver.place({0xee});
        switch (kind) {
        case 0: t.driver.offer(0, {{header, 8, false}, {status, 1, true}}); break;
        case 1: t.driver.offer(0, {{header, 16, false}}); break;
        case 2: t.driver.offer(0, {{header, 16, false}, {u64{1} << 40, 512, true}, {status, 1, true}}); break;
        case 3: t.driver.offer(0, {{out, 16, false}, {u64{1} << 40, 512, false}, {status, 1, true}}); break;
        }
        t.driver.ring(0);
        EXPECT_TRUE(t.driver.status() & 0x40) << kind;
        ASSERT_TRUE(t.driver.start(kFlushBit));
        const u64 at = t.driver.allocate(512);
        EXPECT_EQ(t.request(0, 0, {{at, 512, true}}), 0) << "after the reset it works again";
    }
}

TEST(VirtioBlk, AnythingInTheRings) {
    std::mt19937_64 random(5);
    for (unsigned round = 0; round < 200; ++round) {
        Blk t(round % 2, kFlushBit | (round % 2 ? kDiscardBit | kZeroesBit : 0));
        t.full.disk.later = round % 3 == 0;
        const auto& q = t.driver.queues[0];
        for (unsigned n = 0; n < 64; ++n)
            t.driver.put_descriptor(q.descriptors, n, 0x40000 + random() % 0x8000, u32(random() % 3000),
                                    u16(random() % 8), u16(random() % 64));
        for (unsigned n = 0; n < 0x8000; n += 16)
            t.bench.dma.put<u64>(0x40000 + n, random() % 16);
        for (unsigned n = 0; n < 20; ++n) {
            t.driver.offer_head(0, u16(random() % 70));
            t.driver.ring(0);
            t.full.disk.complete_pending();
        }
        t.driver.set_status(0);
        t.full.disk.complete_pending();
    }
}

} // namespace
} // namespace dragoman::hw::test
