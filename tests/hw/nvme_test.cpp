// NVM Express by its specification: admin and I/O queues, data pointers, errors, events, interrupts.
#include "chip_test_support.h"
#include "pci_test_support.h"

#include "hw/nvme.h"

namespace dragoman::hw::test {
namespace {

using nvme::Command;
using nvme::Completion;

struct NvmeBench : Bench, testing::Test {
    static constexpr u32 bar = 0xfe000000, table = 0xfe010000;
    static constexpr u32 asq = 0x1000, acq = 0x2000, isq = 0x3000, icq = 0x4000, data = 0x10000;

    NvmeBench() {
        chip.connect(bus, map, memory, &line);
        chip.config_write(kPciBar0, 4, bar);
        chip.config_write(kPciBar0 + 16, 4, table);
        chip.config_write(kPciCommand, 2, 6);
        registers = map.at(bar)->handler;
        enable();
    }
    void enable() {
        set(0x24, 15 << 16 | 15);
        set(0x28, asq);
        set(0x30, acq);
        set(0x14, 4 << 20 | 6 << 16 | 1);
        tail = {}, head = {}, phase = {1, 1};
        memory.bytes.assign(memory.bytes.size(), 0);
    }
    u32 get(u32 offset) { return u32(registers->read(offset, 4)); }
    void set(u32 offset, u32 value) { registers->write(offset, 4, value); }

    // Puts a command into queue 0 or 1 (both of 16 entries) and rings.
    void submit(unsigned queue, const Command& command) {
        memory.put(u64{queue ? isq : asq} + tail[queue] * 64, command);
        tail[queue] = (tail[queue] + 1) % 16;
        set(0x1000 + 8 * queue, tail[queue]);
    }
    bool completed(unsigned queue) { return (entry(queue).status & 1) == phase[queue]; }
    Completion entry(unsigned queue) {
        return memory.get<Completion>(u64{queue ? icq : acq} + head[queue] * 16);
    }
    Completion take(unsigned queue) {
        const Completion e = entry(queue);
        EXPECT_EQ(e.status & 1, phase[queue]) << "no completion in queue " << queue;
        if (++head[queue] == 16) {
            head[queue] = 0;
            phase[queue] ^= 1;
        }
        set(0x1004 + 8 * queue, head[queue]);
        return e;
    }
    // The status field of a command that ends at once.
    u16 run(unsigned queue, const Command& command) {
        submit(queue, command);
        const Completion e = take(queue);
        EXPECT_EQ(e.id, command.id);
        result = e.result;
        return u16(e.status >> 1);
    }
    void make_queues() {
        EXPECT_EQ(run(0, {.opcode = 5, .prp1 = icq, .cdw10 = 15 << 16 | 1, .cdw11 = 3}), 0);
        EXPECT_EQ(run(0, {.opcode = 1, .prp1 = isq, .cdw10 = 15 << 16 | 1, .cdw11 = 1 << 16 | 1}), 0);
    }
    static Command io(u8 opcode, u64 lba, u32 count, u64 prp1, u64 prp2 = 0, u16 id = 7) {
        return {.opcode = opcode,
                .id = id,
                .nsid = 1,
                .prp1 = prp1,
                .prp2 = prp2,
                .cdw10 = u32(lba),
                .cdw11 = u32(lba >> 32),
                .cdw12 = count - 1};
    }
    std::vector<u8> ram(u32 from, u32 bytes) {
        return {memory.bytes.begin() + from, memory.bytes.begin() + from + bytes};
    }
    std::vector<u8> sectors(u64 first, u64 count) {
        return {disk.data.begin() + long(first * 512), disk.data.begin() + long((first + count) * 512)};
    }

    QuietLog log;
    FakeMemory memory{2 << 20};
    FakeMap map;
    FakeDisk disk{8192};
    RecordingLine line;
    Nvme chip{disk, {"S1", 0}, scheduler, log};
    IoHandler* registers = nullptr;
    std::array<u32, 2> tail{}, head{};
    std::array<u16, 2> phase{1, 1};
    u32 result = 0;
};

TEST_F(NvmeBench, SaysWhatItIs) {
    EXPECT_EQ(chip.config_read(0, 4), 0x00101b36u);
    EXPECT_EQ(get(8), 0x00010400u);
    EXPECT_EQ(get(0x1c), 1u) << "ready";
    EXPECT_EQ(run(0, {.opcode = 6, .prp1 = data, .cdw10 = 1}), 0);
    EXPECT_EQ(std::string(memory.bytes.begin() + data + 4, memory.bytes.begin() + data + 6), "S1");
    EXPECT_EQ(memory.get<u8>(data + 512), 0x66);
    EXPECT_EQ(memory.get<u32>(data + 516), 1u);
    EXPECT_EQ(run(0, {.opcode = 6, .nsid = 1, .prp1 = data}), 0);
    EXPECT_EQ(memory.get<u64>(data), 8192u);
    EXPECT_EQ(memory.get<u32>(data + 128), 9u << 16);
    EXPECT_EQ(run(0, {.opcode = 6, .prp1 = data, .cdw10 = 2}), 0);
    EXPECT_EQ(memory.get<u64>(data), 1u);
    EXPECT_EQ(run(0, {.opcode = 6, .nsid = 1, .prp1 = data, .cdw10 = 3}), 0);
    EXPECT_EQ(memory.get<u16>(data), 0x1003u);
    EXPECT_EQ(run(0, {.opcode = 6, .nsid = 2, .prp1 = data}), nvme::kInvalidNamespace);
    EXPECT_EQ(run(0, {.opcode = 6, .prp1 = data, .cdw10 = 0x77}), nvme::kInvalidField);
    EXPECT_EQ(run(0, {.opcode = 0x55}), nvme::kInvalidOpcode);
}

TEST_F(NvmeBench, ReadsAndWritesByDataPointers) {
    make_queues();
    EXPECT_EQ(run(1, io(2, 10, 1, data + 0x200)), 0);
    EXPECT_EQ(ram(data + 0x200, 512), sectors(10, 1));
    EXPECT_EQ(run(1, io(2, 10, 12, data + 0x800, data + 0x3000)), 0) << "two pages";
    EXPECT_EQ(ram(data + 0x800, 0x800), sectors(10, 4));
    EXPECT_EQ(ram(data + 0x3000, 0x1000), sectors(14, 8));
    // A list that begins near the end of its page: its last entry there names the next page of it.
    const u64 list = 0x40ff0, more = 0x50000;
    memory.put<u64>(list, 0x60000);
    memory.put<u64>(list + 8, more);
    memory.put<u64>(more, 0x70000);
    memory.put<u64>(more + 8, 0x71000);
    EXPECT_EQ(run(1, io(2, 100, 32, data, list)), 0);
    EXPECT_EQ(ram(data, 4096), sectors(100, 8));
    EXPECT_EQ(ram(0x60000, 4096), sectors(108, 8));
    EXPECT_EQ(ram(0x70000, 8192), sectors(116, 16));
    for (u32 i = 0; i < 1024; ++i)
        memory.bytes[data + i] = u8(i * 7);
    EXPECT_EQ(run(1, io(1, 4, 2, data)), 0);
    EXPECT_EQ(sectors(4, 2), ram(data, 1024));
    EXPECT_EQ(disk.flushes, 0u);
    Command through = io(1, 4, 2, data);
    through.cdw12 |= 1u << 30;
    EXPECT_EQ(run(1, through), 0);
    EXPECT_EQ(disk.flushes, 1u) << "FUA";
    EXPECT_EQ(run(1, {.opcode = 0, .nsid = 0xffffffff}), 0);
    EXPECT_EQ(disk.flushes, 2u);
    EXPECT_EQ(run(0, {.opcode = 9, .cdw10 = 6, .cdw11 = 0}), 0) << "no volatile cache";
    EXPECT_EQ(run(1, io(1, 4, 2, data)), 0);
    EXPECT_EQ(disk.flushes, 3u);
}

TEST_F(NvmeBench, ErrorsAreOfTheirKind) {
    make_queues();
    EXPECT_EQ(run(1, io(2, 8192, 1, data)), nvme::kLbaOutOfRange);
    EXPECT_EQ(run(1, io(2, ~u64{0}, 2, data)), nvme::kLbaOutOfRange);
    EXPECT_EQ(run(1, io(2, 0, 1025, data)), nvme::kInvalidField) << "more than MDTS";
    EXPECT_EQ(run(1, io(2, 0, 1, data + 1)), nvme::kPrpOffsetInvalid);
    EXPECT_EQ(run(1, io(2, 0, 16, data, data + 8)), nvme::kPrpOffsetInvalid);
    EXPECT_EQ(run(1, io(2, 0, 32, data, 0xfffff000)), nvme::kTransferError);
    EXPECT_EQ(run(1, io(2, 0, 1, 0xfffff000)), nvme::kTransferError);
    Command other = io(2, 0, 1, data);
    other.nsid = 2;
    EXPECT_EQ(run(1, other), nvme::kInvalidNamespace);
    other.nsid = 1;
    other.flags = 0x40;
    EXPECT_EQ(run(1, other), nvme::kInvalidField) << "SGLs";
    disk.bad = {33};
    EXPECT_EQ(run(1, io(2, 33, 1, data)), nvme::kUnrecoveredRead);
    EXPECT_EQ(run(1, io(1, 33, 1, data)), nvme::kCapacityExceeded);
    disk.flush_fails = true;
    EXPECT_EQ(run(1, {.opcode = 0, .nsid = 1}), nvme::kWriteFault);
    disk.protect = true;
    EXPECT_EQ(run(1, io(1, 0, 1, data)), nvme::kReadOnlyRange);
    EXPECT_EQ(run(0, {.opcode = 2, .prp1 = data, .cdw10 = 63u << 16 | 1}), 0) << "the error log";
    EXPECT_EQ(memory.get<u16>(data + 12), nvme::kReadOnlyRange << 1) << "the newest error first";
}

TEST_F(NvmeBench, DeallocateReachesTheImage) {
    make_queues();
    memory.put<u32>(data + 4, 8);
    memory.put<u64>(data + 8, 100);
    memory.put<u32>(data + 20, 1);
    memory.put<u64>(data + 24, 8191);
    EXPECT_EQ(run(1, {.opcode = 9, .nsid = 1, .prp1 = data, .cdw10 = 1, .cdw11 = 4}), 0);
    EXPECT_EQ(disk.discarded, (std::vector<std::pair<u64, u64>>{{100, 8}, {8191, 1}}));
    memory.put<u32>(data + 20, 2);
    EXPECT_EQ(run(1, {.opcode = 9, .nsid = 1, .prp1 = data, .cdw10 = 1, .cdw11 = 4}), nvme::kLbaOutOfRange);
    EXPECT_EQ(run(1, io(8, 0, 16, 0)), 0);
    EXPECT_EQ(disk.zeroed, (std::vector<std::pair<u64, u64>>{{0, 16}}));
}

TEST_F(NvmeBench, QueuesAreMadeAndEndOnlyAsTheyMay) {
    EXPECT_EQ(run(0, {.opcode = 1, .prp1 = isq, .cdw10 = 15 << 16 | 1, .cdw11 = 1 << 16 | 1}),
              nvme::kInvalidCq);
    EXPECT_EQ(run(0, {.opcode = 5, .prp1 = icq, .cdw10 = 15 << 16 | 64, .cdw11 = 3}), nvme::kInvalidQueueId);
    EXPECT_EQ(run(0, {.opcode = 5, .prp1 = icq, .cdw10 = 1, .cdw11 = 3}), nvme::kInvalidQueueSize);
    EXPECT_EQ(run(0, {.opcode = 5, .prp1 = icq + 8, .cdw10 = 15 << 16 | 1, .cdw11 = 3}),
              nvme::kPrpOffsetInvalid);
    EXPECT_EQ(run(0, {.opcode = 5, .prp1 = icq, .cdw10 = 15 << 16 | 1, .cdw11 = 5 << 16 | 3}),
              nvme::kInvalidVector)
        << "without MSI-X there is one vector";
    make_queues();
    EXPECT_EQ(run(0, {.opcode = 5, .prp1 = icq, .cdw10 = 15 << 16 | 1, .cdw11 = 3}), nvme::kInvalidQueueId);
    EXPECT_EQ(run(0, {.opcode = 9, .cdw10 = 7, .cdw11 = 0x00030003}), nvme::kSequenceError);
    EXPECT_EQ(run(0, {.opcode = 4, .cdw10 = 1}), nvme::kInvalidQueueDeletion);
    disk.later = true;
    submit(1, io(2, 0, 1, data));
    submit(0, {.opcode = 0, .id = 99, .cdw10 = 1});
    EXPECT_FALSE(completed(0)) << "a command is under way in the queue";
    disk.complete_pending();
    EXPECT_EQ(take(0).id, 99);
    EXPECT_EQ(run(0, {.opcode = 4, .cdw10 = 1}), 0);
    set(0x1008, 3); // a doorbell of no queue
}

TEST_F(NvmeBench, NoCommandIsTakenWithoutRoomForItsCompletion) {
    make_queues();
    for (u32 i = 0; i < 15; ++i)
        memory.put(isq + i * 64, io(2, i, 1, data + i * 512, 0, u16(i)));
    set(0x1008, 15);
    EXPECT_EQ(disk.reads, 15u);
    memory.put(isq + 15 * 64, io(2, 15, 1, data, 0, 15));
    set(0x1008, 0);
    EXPECT_EQ(disk.reads, 15u) << "the completion queue is full";
    for (u16 i = 0; i < 15; ++i)
        EXPECT_EQ(take(1).id, i);
    EXPECT_EQ(disk.reads, 16u);
    EXPECT_EQ(take(1).id, 15);
}

TEST_F(NvmeBench, ResetWaitsForTheImage) {
    make_queues();
    disk.later = true;
    submit(1, io(1, 0, 8, data));
    set(0x14, 0);
    EXPECT_EQ(get(0x1c) & 1, 1u) << "the image still has the buffer";
    disk.complete_pending();
    EXPECT_EQ(get(0x1c) & 1, 0u);
    EXPECT_FALSE(completed(1));
    EXPECT_EQ(get(0x28), asq);
    enable();
    EXPECT_EQ(get(0x1c), 1u);
    set(0x14, get(0x14) | 1 << 14);
    EXPECT_EQ(get(0x1c) >> 2 & 3, 2u) << "shut down";
    EXPECT_EQ(disk.flushes, 1u);
    set(0x14, 0);
    set(0x14, 7 << 4 | 1);
    EXPECT_EQ(get(0x1c) & 3, 2u) << "a command set that is not there is fatal";
    set(0x14, 0);
    EXPECT_EQ(get(0x1c) & 3, 0u);
}

TEST_F(NvmeBench, EventsTellOfBadDoorbells) {
    submit(0, {.opcode = 12, .id = 50});
    submit(0, {.opcode = 12, .id = 51});
    EXPECT_FALSE(completed(0));
    set(0x1000 + 8 * 9, 1);
    Completion e = take(0);
    EXPECT_EQ(e.id, 51);
    EXPECT_EQ(e.result, 0x00010000u) << "error, invalid register, log page 1";
    set(0x1000, 99);
    EXPECT_FALSE(completed(0)) << "until the log page is read";
    submit(0, {.opcode = 2, .prp1 = data, .cdw10 = 15u << 16 | 1});
    e = take(0);
    EXPECT_EQ(e.id, 50);
    EXPECT_EQ(e.result, 0x00010100u) << "invalid value";
    take(0);
    EXPECT_EQ(run(0, {.opcode = 9, .cdw10 = 11, .cdw11 = 1 << 8}), 0);
    submit(0, {.opcode = 12, .id = 52});
    chip.size_changed();
    EXPECT_EQ(take(0).result, 0x00040002u) << "a namespace changed";
}

TEST_F(NvmeBench, InterruptsByPinAndByMessage) {
    submit(0, {.opcode = 6, .prp1 = data, .cdw10 = 1});
    EXPECT_TRUE(line.level);
    set(0x0c, 1);
    EXPECT_FALSE(line.level);
    set(0x10, 1);
    EXPECT_TRUE(line.level);
    take(0);
    EXPECT_FALSE(line.level);
    IoHandler* vectors = map.at(table)->handler;
    vectors->write(0, 8, 0x80000);
    vectors->write(8, 4, 0x77);
    vectors->write(12, 4, 0);
    const u8 at = u8(chip.config_read(kPciCapabilities, 1));
    chip.config_write(u8(at + 2), 2, 0x8000);
    submit(0, {.opcode = 6, .prp1 = data, .cdw10 = 1});
    EXPECT_EQ(memory.get<u32>(0x80000), 0x77u);
    EXPECT_FALSE(line.level);
}

TEST_F(NvmeBench, FeaturesAreKept) {
    EXPECT_EQ(run(0, {.opcode = 9, .cdw10 = 7, .cdw11 = 0x00ff00ff}), 0);
    EXPECT_EQ(result, 0x003e003eu) << "63 of each";
    EXPECT_EQ(run(0, {.opcode = 9, .cdw10 = 1, .cdw11 = 0x05040302}), 0);
    EXPECT_EQ(run(0, {.opcode = 10, .cdw10 = 1}), 0);
    EXPECT_EQ(result, 0x05040302u);
    EXPECT_EQ(run(0, {.opcode = 9, .cdw10 = 1u << 31 | 1}), nvme::kNotSaveable);
    EXPECT_EQ(run(0, {.opcode = 10, .cdw10 = 0x33}), nvme::kInvalidField);
}

TEST_F(NvmeBench, QueuesOutsideMemoryAreFatal) {
    set(0x14, 0);
    set(0x28, 0xfffff000);
    set(0x14, 4 << 20 | 6 << 16 | 1);
    set(0x1000, 1);
    EXPECT_EQ(get(0x1c), 3u) << "ready, but fatal";
}

TEST_F(NvmeBench, StateComesBack) {
    make_queues();
    check_round_trip(chip, [this] {
        EXPECT_EQ(run(0, {.opcode = 9, .cdw10 = 1, .cdw11 = 1}), 0);
        set(0x14, 0);
    });
}

} // namespace
} // namespace dragoman::hw::test
