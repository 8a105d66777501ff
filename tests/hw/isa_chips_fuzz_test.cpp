// All ISA chips on one bus under a hostile guest: random port accesses, random waits, users who type and move
// the mouse, DMA, snapshots of random bytes. Nothing may crash, hang, or keep the host busy without the
// guest's doing.
#include "chip_test_support.h"
#include "hw/dma8237.h"
#include "hw/i8042.h"
#include "hw/pic8259.h"
#include "hw/pit8254.h"
#include "hw/port92.h"
#include "hw/ps2_keyboard.h"
#include "hw/ps2_mouse.h"
#include "hw/rtc_mc146818.h"

#include <cstring>
#include <random>

namespace dragoman::hw {
namespace {

using test::Bench;
using test::RecordingLine;

class NoMemory final : public DmaBus {
  public:
    bool read(u64, void* to, u64 bytes) override { return std::memset(to, 0xff, bytes), false; }
    bool write(u64, const void*, u64) override { return false; }
};

struct IsaBoard {
    IsaBoard() {
        pic.map(bench.bus), pit.map(bench.bus), rtc.map(bench.bus), dma.map(bench.bus);
        i8042.map(bench.bus), port92.map(bench.bus);
    }
    Bench bench;
    test::QuietLog log;
    NoMemory memory;
    RecordingLine intr;
    A20Gate gate{[](bool) {}};
    PicPair pic{intr, log};
    Pit8254 pit{bench.scheduler, pic.line(0)};
    Rtc rtc{bench.scheduler, pic.line(8), 1'000'000'000, log};
    Dma8237 dma{memory, log};
    Ps2Keyboard keyboard{log};
    Ps2Mouse mouse{log};
    I8042 i8042{bench.scheduler, keyboard, mouse,
                I8042::Pins{pic.line(1), pic.line(12),
                            [this](bool level) { gate.set_keyboard_controller(level); },
                            [this] { reset_asked = true; }},
                log};
    Port92 port92{gate, [this] { reset_asked = true; }};
    std::array<Device*, 8> devices{&pic, &pit, &rtc, &dma, &keyboard, &mouse, &i8042, &port92};
    bool reset_asked = false;
};

constexpr u16 first_ports[] = {0x00, 0x20, 0x40, 0x60, 0x70, 0x80, 0x92, 0xa0, 0xc0, 0x4d0};
constexpr unsigned port_counts[] = {16, 2, 4, 5, 4, 16, 1, 2, 32, 2};

TEST(IsaChipsFuzz, RandomGuest) {
    for (unsigned seed = 1; seed <= 20; seed++) {
        SCOPED_TRACE(::testing::Message() << "seed " << seed);
        std::mt19937 random(seed);
        IsaBoard board;
        std::array<u8, 600> buffer{};
        for (unsigned step = 0; step < 20000; step++) {
            const unsigned range = random() % std::size(first_ports);
            const u16 port = u16(first_ports[range] + random() % port_counts[range]);
            const unsigned size = 1u << random() % 3;
            switch (random() % 16) {
            case 0: board.bench.run_for(random() % 3'000'000); break;
            case 1: board.keyboard.key(static_cast<KeyCode>(random() % key_count), random() & 1); break;
            case 2: board.mouse.move(int(random()), int(random()), int(random())); break;
            case 3: board.mouse.buttons(u8(random())); break;
            case 4: {
                constexpr unsigned channels[] = {0, 1, 2, 3, 5, 6, 7};
                const unsigned asked = random() % buffer.size();
                const unsigned moved =
                    board.dma.transfer(channels[random() % 7], std::span(buffer).first(asked),
                                       random() & 1 ? DmaDirection::WriteMemory : DmaDirection::ReadMemory);
                ASSERT_LE(moved, asked);
                break;
            }
            case 5:
                if (board.pic.intr()) board.pic.acknowledge();
                break;
            case 6:
            case 7:
            case 8: board.bench.bus.in(port, size); break;
            default: board.bench.bus.out(port, size, random()); break;
            }
            if (board.reset_asked) {
                board.reset_asked = false;
                for (Device* device : board.devices)
                    device->reset();
            }
        }
    }
}

// A machine that is left alone must not be woken more often than its timers' rates allow.
TEST(IsaChipsFuzz, IdleWakeupsAreBounded) {
    IsaBoard board;
    board.bench.out(0x43, 0x36), board.bench.out(0x40, 2),
        board.bench.out(0x40, 0); // the fastest square wave
    board.bench.out(0x70, 0x0b), board.bench.out(0x71, 0x72);
    unsigned wakeups = 0;
    const u64 end = 10'000'000;
    while (board.bench.scheduler.next_deadline() <= end) {
        board.bench.clock.set(board.bench.scheduler.next_deadline());
        board.bench.scheduler.run_due();
        wakeups++;
    }
    EXPECT_LE(wakeups, 11931u + 10);
}

// A snapshot file may hold anything.
TEST(IsaChipsFuzz, RandomSnapshotsAreHarmless) {
    class RandomBytes final : public StateVisitor {
      public:
        explicit RandomBytes(std::mt19937& random) : random_(random) {}
        bool loading() const override { return true; }

      protected:
        void bytes(const char*, void* data, std::size_t size) override {
            for (std::size_t i = 0; i < size; i++)
                static_cast<u8*>(data)[i] = u8(random_());
        }

      private:
        std::mt19937& random_;
    };
    for (unsigned seed = 1; seed <= 120; seed++) {
        SCOPED_TRACE(::testing::Message() << "seed " << seed);
        std::mt19937 random(seed);
        IsaBoard board;
        board.bench.run_for(5'000'000'000);
        RandomBytes visitor(random);
        for (Device* device : board.devices)
            device->visit(visitor);
        for (unsigned i = 0; i < 200; i++) {
            const unsigned range = random() % std::size(first_ports);
            const u16 port = u16(first_ports[range] + random() % port_counts[range]);
            if (random() & 1)
                board.bench.in(port);
            else
                board.bench.out(port, u8(random()));
            board.bench.clock.set(board.bench.clock.now() + random() % 1'000'000);
            board.bench.scheduler.run_due();
        }
        for (Device* device : board.devices)
            device->reset();
    }
}

} // namespace
} // namespace dragoman::hw
