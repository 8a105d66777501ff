// A driver for virtio devices behind PCI, as small as one can be: finds the structures by the capabilities,
// negotiates, lays out rings, offers buffers. For the tests of every virtio device.
#pragma once

#include "base/bits.h"
#include "chip_test_support.h"
#include "hw/virtio_pci.h"
#include "memory_test_support.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace dragoman::hw::test {

// A virtio device on a bus of its own, with memory and a recording interrupt line.
struct VirtioBench {
    explicit VirtioBench(std::unique_ptr<VirtioDevice> device, VirtioPci::Options options = {},
                         std::size_t ram_bytes = 4 * MiB)
        : dma(ram_bytes), pci(std::move(device), options) {
        pci.connect(ports, map, dma, &line);
        pci.reset();
        pci.config_write(kPciBar0, 4, 0xc000);
        pci.config_write(kPciBar0 + 4, 4, 0xfebf0000);
        pci.config_write(kPciBar0 + 16, 4, 0xfe000000);
        pci.config_write(kPciCommand, 2, 7);
    }
    IoBus ports;
    FakeMemoryMap map;
    FakeDma dma;
    RecordingLine line;
    VirtioPci pci;

    // Memory-mapped registers of any size.
    u64 load(u64 gpa, unsigned size) {
        const auto* region = map.at(gpa);
        return region && region->io ? region->io->read(gpa - region->gpa, size) : ~u64{0};
    }
    void store(u64 gpa, unsigned size, u64 value) {
        const auto* region = map.at(gpa);
        if (region && region->io) region->io->write(gpa - region->gpa, size, value);
    }
};

class VirtioDriver {
  public:
    static constexpr u64 kCommonAt = 0xfe000000, kIsrAt = 0xfe001000, kConfigAt = 0xfe002000,
                         kNotifyAt = 0xfe003000;
    static constexpr u16 kLegacyAt = 0xc000;

    // A modern driver, or one from before version 1.
    VirtioDriver(VirtioBench& bench, bool modern = true) : b(bench), modern_(modern) {}

    // Negotiates `features` (all must be offered), and sets up every queue with the size the device proposes.
    // False: the device refuses.
    bool start(u64 features = 0) {
        features_ = features;
        set_status(0);
        set_status(1), set_status(3);
        if (modern_) {
            features_ |= u64{1} << kVirtioVersion1;
            for (unsigned half = 0; half < 2; ++half) {
                b.store(kCommonAt + 8, 4, half);
                b.store(kCommonAt + 12, 4, u32(features_ >> (32 * half)));
            }
            set_status(11);
            if (!(status() & kVirtioFeaturesOk)) return false;
        } else {
            b.ports.out(kLegacyAt + 4, 4, u32(features_));
        }
        queues.clear();
        u64 at = 0x10000;
        for (unsigned n = 0; queue_exists(n); ++n)
            at = add_queue(n, at);
        free_ = align_up(at, 0x1000);
        set_status(u8(status() | kVirtioDriverOk));
        return true;
    }
    u64 offered() {
        if (!modern_) return b.ports.in(kLegacyAt, 4);
        u64 features = 0;
        for (unsigned half = 0; half < 2; ++half) {
            b.store(kCommonAt, 4, half);
            features |= b.load(kCommonAt + 4, 4) << (32 * half);
        }
        return features;
    }
    u8 status() { return modern_ ? u8(b.load(kCommonAt + 20, 1)) : u8(b.ports.in(kLegacyAt + 18, 1)); }
    void set_status(u8 value) {
        if (modern_)
            b.store(kCommonAt + 20, 1, value);
        else
            b.ports.out(kLegacyAt + 18, 1, value);
    }
    u8 isr() { return modern_ ? u8(b.load(kIsrAt, 1)) : u8(b.ports.in(kLegacyAt + 19, 1)); }
    u64 config(u64 offset, unsigned size) {
        return modern_ ? b.load(kConfigAt + offset, size) : b.ports.in(u16(kLegacyAt + 20 + offset), size);
    }
    void set_config(u64 offset, unsigned size, u64 value) {
        if (modern_)
            b.store(kConfigAt + offset, size, value);
        else
            b.ports.out(u16(kLegacyAt + 20 + offset), size, u32(value));
    }

    // Guest memory for buffers; never given back.
    u64 allocate(u64 bytes) {
        const u64 at = free_;
        free_ = align_up(free_ + bytes, 16);
        EXPECT_LE(free_, b.dma.ram.size());
        return at;
    }
    u64 place(const std::vector<u8>& bytes) {
        const u64 at = allocate(bytes.size());
        b.dma.write(at, bytes.data(), bytes.size());
        return at;
    }
    std::vector<u8> fetch(u64 gpa, u64 bytes) {
        std::vector<u8> result(bytes);
        EXPECT_TRUE(b.dma.read(gpa, result.data(), bytes));
        return result;
    }

    struct Buffer {
        u64 gpa;
        u32 bytes;
        bool write; // by the device
    };
    struct Queue {
        u16 size = 0;
        u64 descriptors = 0, available = 0, used = 0;
        u16 next_descriptor = 0, next_available = 0, next_used = 0;
    };
    std::vector<Queue> queues;

    void put_descriptor(u64 table, unsigned index, u64 gpa, u32 bytes, u16 flags, u16 next) {
        b.dma.put(table + 16 * u64{index}, gpa);
        b.dma.put(table + 16 * u64{index} + 8, bytes);
        b.dma.put(table + 16 * u64{index} + 12, flags);
        b.dma.put(table + 16 * u64{index} + 14, next);
    }
    void offer_head(unsigned n, u16 head) {
        Queue& q = queues[n];
        b.dma.put(q.available + 4 + 2 * u64(q.next_available++ % q.size), head);
        b.dma.put(q.available + 2, q.next_available);
    }
    // A chain in the ring of the queue. Returns its head.
    u16 offer(unsigned n, const std::vector<Buffer>& buffers) {
        Queue& q = queues[n];
        const u16 head = u16(q.next_descriptor % q.size);
        for (std::size_t i = 0; i < buffers.size(); ++i) {
            const u16 at = u16(q.next_descriptor++ % q.size);
            const bool last = i + 1 == buffers.size();
            put_descriptor(q.descriptors, at, buffers[i].gpa, buffers[i].bytes,
                           u16((buffers[i].write ? 2 : 0) | (last ? 0 : 1)), u16((at + 1) % q.size));
        }
        offer_head(n, head);
        return head;
    }
    // The same in a table of its own.
    u16 offer_indirect(unsigned n, const std::vector<Buffer>& buffers) {
        const u64 table = allocate(16 * buffers.size());
        for (std::size_t i = 0; i < buffers.size(); ++i)
            put_descriptor(table, unsigned(i), buffers[i].gpa, buffers[i].bytes,
                           u16((buffers[i].write ? 2 : 0) | (i + 1 == buffers.size() ? 0 : 1)), u16(i + 1));
        Queue& q = queues[n];
        const u16 head = u16(q.next_descriptor++ % q.size);
        put_descriptor(q.descriptors, head, table, u32(16 * buffers.size()), 4, 0);
        offer_head(n, head);
        return head;
    }
    void ring(unsigned n) {
        if (modern_)
            b.store(kNotifyAt + 4 * n, 2, n);
        else
            b.ports.out(kLegacyAt + 16, 2, n);
    }
    struct Used {
        u32 head, written;
    };
    std::optional<Used> take_used(unsigned n) {
        Queue& q = queues[n];
        if (b.dma.get<u16>(q.used + 2) == q.next_used) return {};
        return b.dma.get<Used>(q.used + 4 + 8 * u64(q.next_used++ % q.size));
    }

  private:
    bool queue_exists(unsigned n) {
        if (modern_) {
            b.store(kCommonAt + 22, 2, n);
            return b.load(kCommonAt + 24, 2) != 0;
        }
        b.ports.out(kLegacyAt + 14, 2, n);
        return b.ports.in(kLegacyAt + 12, 2) != 0;
    }
    u64 add_queue(unsigned, u64 at) {
        Queue q;
        q.size = u16(modern_ ? b.load(kCommonAt + 24, 2) : b.ports.in(kLegacyAt + 12, 2));
        q.descriptors = align_up(at, 0x1000);
        q.available = q.descriptors + 16 * u64{q.size};
        q.used = align_up(q.available + 6 + 2 * u64{q.size}, 0x1000);
        const u64 end = q.used + 6 + 8 * u64{q.size};
        std::fill(b.dma.ram.begin() + long(q.descriptors), b.dma.ram.begin() + long(end), u8{0});
        if (modern_) {
            b.store(kCommonAt + 32, 8, q.descriptors);
            b.store(kCommonAt + 40, 4, q.available); // in two halves, as 32-bit drivers do
            b.store(kCommonAt + 44, 4, q.available >> 32);
            b.store(kCommonAt + 48, 8, q.used);
            b.store(kCommonAt + 28, 2, 1);
        } else {
            b.ports.out(kLegacyAt + 8, 4, u32(q.descriptors >> 12));
        }
        queues.push_back(q);
        return end;
    }

    VirtioBench& b;
    bool modern_;
    u64 features_ = 0, free_ = 0;
};

} // namespace dragoman::hw::test
