#include "hw/i8042.h"

#include "chip_test_support.h"
#include "hw/ps2_keyboard.h"
#include "hw/ps2_mouse.h"

#include <string>

namespace dragoman::hw {
namespace {

using test::Bench;
using test::RecordingLine;

class I8042Test : public ::testing::Test {
  protected:
    I8042Test() { controller.map(bench.bus); }
    void command(u8 value) { bench.out(0x64, value); }
    void command(u8 value, u8 argument) { bench.out(0x64, value), bench.out(0x60, argument); }
    u8 status() { return bench.in(0x64); }
    u8 data() { return bench.in(0x60); }
    u8 ask(u8 value) { return command(value), data(); }
    void wait() { bench.run_for(I8042::byte_ns); }
    // All that comes from the devices, with their interrupts where enabled; "m" marks the mouse's bytes.
    std::string all() {
        std::string text;
        for (wait(); status() & 1; wait()) {
            const char* mark = status() & 0x20 ? "m" : "";
            char byte[8];
            std::snprintf(byte, sizeof byte, "%s%02x ", mark, data());
            text += byte;
        }
        return text;
    }

    Bench bench;
    test::QuietLog log;
    RecordingLine irq1, irq12;
    Ps2Keyboard keyboard{log};
    Ps2Mouse mouse{log};
    bool a20 = true;
    unsigned resets = 0;
    I8042 controller{bench.scheduler, keyboard, mouse,
                     I8042::Pins{irq1, irq12, [this](bool level) { a20 = level; }, [this] { resets++; }},
                     log};
};

TEST_F(I8042Test, SelfTests) {
    EXPECT_EQ(status(), 0x10);
    command(0xaa);
    EXPECT_EQ(status(), 0x1d) << "OBF, system flag, last write was a command";
    EXPECT_EQ(data(), 0x55);
    EXPECT_EQ(status(), 0x1c);
    EXPECT_EQ(ask(0xab), 0x00);
    EXPECT_EQ(ask(0xa9), 0x00);
    EXPECT_EQ(ask(0xa4), 0xf1);
    EXPECT_EQ(ask(0xc0), 0x80);
    EXPECT_EQ(ask(0xe0), 0x00);
}

TEST_F(I8042Test, CommandByteAndRam) {
    command(0x60, 0x47);
    EXPECT_EQ(ask(0x20), 0x47);
    command(0x7f, 0x99);
    EXPECT_EQ(ask(0x3f), 0x99);
    EXPECT_EQ(status() & 0x08, 0x08);
    command(0x60, 0x00);
    EXPECT_EQ(status() & 0x08, 0x00);
    command(0xad), command(0xa7);
    EXPECT_EQ(ask(0x20), 0x30);
    command(0xae), command(0xa8);
    EXPECT_EQ(ask(0x20), 0x00);
}

TEST_F(I8042Test, KeyRaisesIrq1UntilRead) {
    command(0x60, 0x01);
    keyboard.key(KeyCode::A, true);
    EXPECT_EQ(status() & 1, 0) << "the byte is still on the wire";
    bench.run_for(I8042::byte_ns - 1);
    EXPECT_FALSE(irq1.level);
    bench.run_for(1);
    EXPECT_TRUE(irq1.level);
    EXPECT_EQ(status() & 0x21, 0x01);
    EXPECT_EQ(data(), 0x1c);
    EXPECT_FALSE(irq1.level);
    EXPECT_EQ(status() & 1, 0);
    EXPECT_EQ(data(), 0x1c) << "stays readable until the next byte comes";
}

TEST_F(I8042Test, EachByteMakesAnEdge) {
    command(0x60, 0x01);
    keyboard.key(KeyCode::Delete, true);
    keyboard.key(KeyCode::Delete, false);
    EXPECT_EQ(all(), "e0 71 e0 f0 71 ");
    EXPECT_EQ(irq1.rises, 5u);
}

TEST_F(I8042Test, Translation) {
    command(0x60, 0x41);
    keyboard.key(KeyCode::Delete, true);
    keyboard.key(KeyCode::Delete, false);
    keyboard.key(KeyCode::F7, true);
    EXPECT_EQ(all(), "e0 53 e0 d3 41 ");
    keyboard.key(KeyCode::Pause, true);
    EXPECT_EQ(all(), "e1 1d 45 e1 9d c5 ");
    bench.out(0x60, 0xf2);
    EXPECT_EQ(all(), "fa ab 41 ") << "the identity is translated as well";
}

TEST_F(I8042Test, KeyboardCommandAndDisabledInterface) {
    command(0xad);
    keyboard.key(KeyCode::A, true);
    EXPECT_EQ(all(), "");
    command(0xae);
    EXPECT_EQ(all(), "1c ");
    command(0xad);
    bench.out(0x60, 0xff); // to the keyboard: turns its wire on
    EXPECT_EQ(all(), "fa aa ");
    EXPECT_EQ(ask(0x20) & 0x10, 0);
}

TEST_F(I8042Test, Mouse) {
    command(0x60, 0x03);
    command(0xd4, 0xf4);
    EXPECT_EQ(all(), "mfa ");
    EXPECT_EQ(irq12.rises, 1u);
    mouse.move(1, 0, 0);
    mouse.move(2, 0, 0);
    EXPECT_EQ(all(), "m08 m01 m00 m08 m02 m00 ");
    EXPECT_EQ(irq12.rises, 7u);
    EXPECT_EQ(irq1.rises, 0u);
    command(0xa7);
    mouse.move(1, 0, 0);
    EXPECT_EQ(all(), "");
}

TEST_F(I8042Test, EachByteTakesItsTimeAfterTheOneBeforeWasRead) {
    command(0xd4, 0xf4);
    all();
    mouse.move(1, 0, 0);
    mouse.move(2, 0, 0); // a packet of its own, made when the first has gone
    for (int i = 0; i < 6; i++) {
        bench.run_for(I8042::byte_ns - 1);
        ASSERT_EQ(status() & 1, 0) << "byte " << i;
        bench.run_for(I8042::byte_ns / 2); // there, but the host takes its time
        ASSERT_EQ(status() & 1, 1) << "byte " << i;
        data();
    }
}

TEST_F(I8042Test, WriteBuffers) {
    command(0x60, 0x03);
    command(0xd2, 0x1e);
    EXPECT_TRUE(irq1.level);
    EXPECT_EQ(data(), 0x1e);
    command(0xd3, 0x5a);
    EXPECT_TRUE(irq12.level);
    EXPECT_EQ(status() & 0x21, 0x21);
    EXPECT_EQ(data(), 0x5a);
}

TEST_F(I8042Test, ControllerRepliesWaitForTheBufferAndGoFirst) {
    keyboard.key(KeyCode::A, true);
    keyboard.key(KeyCode::B, true);
    wait();
    command(0x60, 0x00);
    command(0x20);
    EXPECT_EQ(data(), 0x1c);
    EXPECT_EQ(status() & 1, 1);
    EXPECT_EQ(data(), 0x00) << "the command byte";
    EXPECT_EQ(all(), "32 ");
}

TEST_F(I8042Test, OutputPortA20AndReset) {
    EXPECT_EQ(ask(0xd0), 0xc3);
    command(0xd1, 0xdd);
    EXPECT_FALSE(a20);
    EXPECT_EQ(ask(0xd0) & 0x03, 0x01);
    command(0xd1, 0xdf);
    EXPECT_TRUE(a20);
    EXPECT_EQ(resets, 0u);
    command(0xd1, 0xde);
    EXPECT_EQ(resets, 1u);
    command(0xfe);
    EXPECT_EQ(resets, 2u);
    command(0xff);
    command(0xfd);
    EXPECT_EQ(resets, 2u);
    command(0x60, 0x01);
    command(0xd2, 0x00);
    command(0xd0);
    data();
    EXPECT_EQ(data() & 0x30, 0x10) << "IRQ1 was up when the port was read";
}

TEST_F(I8042Test, UnknownCommandsAndFloodsAreHarmless) {
    for (unsigned round = 0; round < 20; round++)
        for (unsigned value = 0; value < 256; value++) {
            command(u8(value));
            if (round & 1) bench.out(0x60, u8(value * 7 + round));
            if (round & 2) data();
            if (round & 4) wait();
        }
    controller.reset();
    keyboard.reset();
    mouse.reset();
    EXPECT_EQ(ask(0xaa), 0x55);
}

TEST_F(I8042Test, RoundTrip) {
    command(0x60, 0x43);
    command(0xd1, 0xdd);
    keyboard.key(KeyCode::A, true);
    wait();
    command(0x20); // waits behind the key
    command(0xd1); // waits for its byte
    test::check_round_trip(controller, [&] {
        bench.out(0x60, 0xdf);
        data(), data();
        command(0x60, 0x00);
    });
    EXPECT_TRUE(a20) << "reset opens the gate";
}

TEST_F(I8042Test, LoadingRestoresLinesAndWire) {
    command(0x60, 0x01);
    keyboard.key(KeyCode::A, true);
    const StateImage on_wire = test::save(controller), keys = test::save(keyboard);
    EXPECT_EQ(all(), "1c ");
    const u64 later = bench.scheduler.next_deadline();
    EXPECT_EQ(later, Scheduler::never);
    EXPECT_TRUE(test::load(keyboard, keys));
    EXPECT_TRUE(test::load(controller, on_wire));
    bench.scheduler.run_due();
    EXPECT_TRUE(irq1.level);
    EXPECT_EQ(data(), 0x1c);
}

} // namespace
} // namespace dragoman::hw
