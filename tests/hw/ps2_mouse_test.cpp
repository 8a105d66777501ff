#include "hw/ps2_mouse.h"

#include "chip_test_support.h"

#include <climits>
#include <string>

namespace dragoman::hw {
namespace {

class MouseTest : public ::testing::Test {
  protected:
    std::string said() {
        std::string text;
        while (mouse.has_data()) {
            char byte[8];
            std::snprintf(byte, sizeof byte, "%02x ", mouse.take());
            text += byte;
        }
        return text;
    }
    std::string tell(std::initializer_list<u8> bytes) {
        for (const u8 byte : bytes)
            mouse.receive(byte);
        return said();
    }
    test::QuietLog log;
    Ps2Mouse mouse{log};
};

TEST_F(MouseTest, ResetAndIdentity) {
    EXPECT_EQ(tell({0xff}), "fa aa 00 ");
    EXPECT_EQ(tell({0xf2}), "fa 00 ");
    mouse.move(1, 1, 0);
    mouse.buttons(1);
    EXPECT_EQ(said(), "") << "reporting is off after reset";
}

TEST_F(MouseTest, StandardPackets) {
    tell({0xf4});
    mouse.move(5, 3, 0);
    EXPECT_EQ(said(), "28 05 fd ") << "down the screen is negative on the wire";
    mouse.move(-1, -2, 9);
    EXPECT_EQ(said(), "18 ff 02 ");
    mouse.buttons(Ps2Mouse::Left | Ps2Mouse::Middle);
    EXPECT_EQ(said(), "0d 00 00 ");
    mouse.buttons(Ps2Mouse::Left | Ps2Mouse::Middle);
    EXPECT_EQ(said(), "") << "nothing changed";
    mouse.buttons(0);
    EXPECT_EQ(said(), "08 00 00 ");
}

TEST_F(MouseTest, MovementAddsUpWhileAPacketWaits) {
    tell({0xf4});
    mouse.move(1, 0, 0);
    mouse.move(2, 0, 0);
    mouse.move(3, 0, 0);
    EXPECT_EQ(said(), "08 01 00 08 05 00 ");
    mouse.move(600, 0, 0);
    EXPECT_EQ(said(), "08 ff 00 08 ff 00 08 5a 00 ") << "what does not fit comes later";
}

TEST_F(MouseTest, ShortClickIsNotLost) {
    tell({0xf4});
    mouse.move(1, 0, 0);
    mouse.buttons(1);
    mouse.buttons(0);
    EXPECT_EQ(said(), "08 01 00 09 00 00 08 00 00 ");
}

TEST_F(MouseTest, WheelMouse) {
    EXPECT_EQ(tell({0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2}), "fa fa fa fa fa fa fa 03 ");
    tell({0xf4});
    mouse.move(0, 0, -1);
    EXPECT_EQ(said(), "08 00 00 ff ");
    tell({0xff});
    EXPECT_EQ(tell({0xf2}), "fa 00 ");
}

TEST_F(MouseTest, FiveButtonMouse) {
    EXPECT_EQ(tell({0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2}), "fa fa fa fa fa fa fa 04 ");
    tell({0xf4});
    mouse.buttons(Ps2Mouse::Side | Ps2Mouse::Right);
    EXPECT_EQ(said(), "0a 00 00 10 ");
    mouse.move(0, 0, 10);
    EXPECT_EQ(said(), "0a 00 00 17 0a 00 00 13 ");
}

TEST_F(MouseTest, StatusAndSettings) {
    EXPECT_EQ(tell({0xe9}), "fa 00 02 64 ");
    EXPECT_EQ(tell({0xe8, 3, 0xf3, 40, 0xe7, 0xf4}), "fa fa fa fa fa fa ");
    mouse.buttons(Ps2Mouse::Left);
    said();
    EXPECT_EQ(tell({0xe9}), "fa 34 03 28 ");
    EXPECT_EQ(tell({0xf6, 0xe9}), "fa fa 04 02 64 ");
}

TEST_F(MouseTest, Scaling) {
    tell({0xe7, 0xf4});
    mouse.move(3, 0, 0);
    EXPECT_EQ(said(), "08 03 00 ");
    mouse.move(4, 0, 0);
    EXPECT_EQ(said(), "08 06 00 ");
    mouse.move(-10, 0, 0);
    EXPECT_EQ(said(), "18 ec 00 ");
}

TEST_F(MouseTest, RemoteAndWrapMode) {
    EXPECT_EQ(tell({0xf0}), "fa ");
    mouse.move(4, 0, 0);
    mouse.buttons(2);
    EXPECT_EQ(said(), "");
    EXPECT_EQ(tell({0xeb}), "fa 0a 04 00 ");
    EXPECT_EQ(tell({0xeb}), "fa 0a 00 00 ");
    EXPECT_EQ(tell({0xea, 0xee, 0xf2, 0x12}), "fa fa f2 12 ");
    EXPECT_EQ(tell({0xec, 0xf2}), "fa fa 00 ");
}

TEST_F(MouseTest, UnknownAndResend) {
    EXPECT_EQ(tell({0xf1}), "fe ");
    EXPECT_EQ(tell({0xf2}), "fa 00 ");
    EXPECT_EQ(tell({0xfe}), "00 ");
}

TEST_F(MouseTest, BoundedUnderAnyInput) {
    tell({0xf4});
    for (int i = 0; i < 1000; i++) {
        mouse.move(INT_MAX, INT_MIN, INT_MAX);
        mouse.buttons(u8(i));
    }
    for (int i = 0; i < 1000; i++)
        mouse.receive(u8(i));
    mouse.receive(0xff);
    mouse.receive(0xff);
    EXPECT_NE(said(), "");
}

TEST_F(MouseTest, RoundTrip) {
    tell({0xf3, 200, 0xf3, 100, 0xf3, 80, 0xe8, 1, 0xe7, 0xf4});
    mouse.buttons(4);
    mouse.move(300, -7, 2);
    mouse.receive(0xf2);
    mouse.move(10, 20, 1);
    mouse.move(10, 20, 1);
    test::check_round_trip(mouse, [&] {
        tell({0xff});
        mouse.buttons(0);
    });
}

} // namespace
} // namespace dragoman::hw
