#include "hw/ps2_keyboard.h"

#include "chip_test_support.h"

#include <set>
#include <string>

namespace dragoman::hw {
namespace {

class KeyboardTest : public ::testing::Test {
  protected:
    // Everything the keyboard has to say, in hex.
    std::string said() {
        std::string text;
        while (keyboard.has_data()) {
            char byte[8];
            std::snprintf(byte, sizeof byte, "%02x ", keyboard.take());
            text += byte;
        }
        return text;
    }
    std::string tell(std::initializer_list<u8> bytes) {
        for (const u8 byte : bytes)
            keyboard.receive(byte);
        return said();
    }
    std::string press(KeyCode code) { return keyboard.key(code, true), said(); }
    std::string release(KeyCode code) { return keyboard.key(code, false), said(); }

    test::QuietLog log;
    Ps2Keyboard keyboard{log};
};

TEST(Keys, NamesAreUniqueAndFound) {
    std::set<std::string> names;
    std::set<u16> set2;
    for (unsigned i = 0; i < key_count; i++) {
        EXPECT_TRUE(names.insert(key_rows[i].name).second) << key_rows[i].name;
        EXPECT_TRUE(set2.insert(key_rows[i].set2).second) << key_rows[i].name;
        EXPECT_EQ(key_by_name(key_rows[i].name), static_cast<KeyCode>(i));
    }
    for (const char* name :
         {"a", "ret", "ctrl", "alt", "f1", "delete", "spc", "shift", "enter", "sysrq", "kp_5"})
        EXPECT_TRUE(key_by_name(name)) << name;
    EXPECT_FALSE(key_by_name("nosuchkey"));
    EXPECT_FALSE(key_by_name(""));
    EXPECT_LE(key_count, 256u);
}

// The set 1 codes that every PC program knows, from the set 2 codes of the table.
TEST(Keys, TranslationGivesSet1) {
    const struct {
        const char* name;
        u8 set1;
    } cases[] = {{"esc", 0x01},       {"1", 0x02},          {"0", 0x0b},         {"backspace", 0x0e},
                 {"tab", 0x0f},       {"q", 0x10},          {"p", 0x19},         {"ret", 0x1c},
                 {"ctrl", 0x1d},      {"a", 0x1e},          {"l", 0x26},         {"shift", 0x2a},
                 {"z", 0x2c},         {"m", 0x32},          {"slash", 0x35},     {"shift_r", 0x36},
                 {"alt", 0x38},       {"spc", 0x39},        {"f1", 0x3b},        {"f7", 0x41},
                 {"f10", 0x44},       {"num_lock", 0x45},   {"kp_7", 0x47},      {"home", 0x47},
                 {"kp_add", 0x4e},    {"delete", 0x53},     {"f11", 0x57},       {"f12", 0x58},
                 {"up", 0x48},        {"less", 0x56},       {"caps_lock", 0x3a}, {"grave_accent", 0x29},
                 {"backslash", 0x2b}, {"kp_multiply", 0x37}};
    for (const auto& c : cases)
        EXPECT_EQ(set2_to_set1[u8(key_row(*key_by_name(c.name)).set2)], c.set1) << c.name;
    std::set<u8> seen;
    for (unsigned i = 1; i < 0x80; i++)
        EXPECT_TRUE(seen.insert(set2_to_set1[i]).second) << i;
}

TEST_F(KeyboardTest, Set2) {
    EXPECT_EQ(press(KeyCode::A), "1c ");
    EXPECT_EQ(press(KeyCode::A), "1c ") << "repetition";
    EXPECT_EQ(release(KeyCode::A), "f0 1c ");
    EXPECT_EQ(release(KeyCode::A), "") << "was not down";
    EXPECT_EQ(press(KeyCode::Delete), "e0 71 ");
    EXPECT_EQ(release(KeyCode::Delete), "e0 f0 71 ");
}

TEST_F(KeyboardTest, PrintAndPause) {
    EXPECT_EQ(press(KeyCode::Print), "e0 12 e0 7c ");
    EXPECT_EQ(release(KeyCode::Print), "e0 f0 7c e0 f0 12 ");
    EXPECT_EQ(press(KeyCode::Pause), "e1 14 77 e1 f0 14 f0 77 ");
    EXPECT_EQ(release(KeyCode::Pause), "");
    press(KeyCode::Alt);
    EXPECT_EQ(press(KeyCode::Print), "84 ");
    EXPECT_EQ(release(KeyCode::Print), "f0 84 ");
    release(KeyCode::Alt);
    press(KeyCode::CtrlRight);
    EXPECT_EQ(press(KeyCode::Print), "e0 7c ");
    EXPECT_EQ(press(KeyCode::Pause), "e0 7e e0 f0 7e ");
}

TEST_F(KeyboardTest, Sets1And3) {
    EXPECT_EQ(tell({0xf0, 0x01}), "fa fa ");
    EXPECT_EQ(press(KeyCode::Delete), "e0 53 ");
    EXPECT_EQ(release(KeyCode::Delete), "e0 d3 ");
    EXPECT_EQ(press(KeyCode::Pause), "e1 1d 45 e1 9d c5 ");
    EXPECT_EQ(tell({0xf0, 0x00}), "fa fa 01 ");
    EXPECT_EQ(tell({0xf0, 0x03}), "fa fa ");
    EXPECT_EQ(press(KeyCode::Delete), "64 ");
    EXPECT_EQ(release(KeyCode::Delete), "f0 64 ");
    EXPECT_EQ(tell({0xf9}), "fa "); // make only
    EXPECT_EQ(press(KeyCode::A) + release(KeyCode::A), "1c ");
    EXPECT_EQ(tell({0xfc, 0x1c, 0x1b, 0xee}), "fa fa fa ee ");
    EXPECT_EQ(press(KeyCode::A) + release(KeyCode::A), "1c f0 1c ");
    EXPECT_EQ(tell({0xf0, 0x04}), "fa fe ") << "no such set";
}

TEST_F(KeyboardTest, Commands) {
    EXPECT_EQ(tell({0xee}), "ee ");
    EXPECT_EQ(tell({0xf2}), "fa ab 83 ");
    EXPECT_EQ(tell({0xed, 0x05}), "fa fa ");
    EXPECT_EQ(keyboard.leds(), 5);
    EXPECT_EQ(tell({0xf3, 0x20}), "fa fa ");
    EXPECT_EQ(tell({0xff}), "fa aa ");
    EXPECT_EQ(keyboard.leds(), 0);
    EXPECT_EQ(tell({0xfe}), "aa ") << "the last byte again";
    EXPECT_EQ(tell({0x12}), "fe ");
    EXPECT_EQ(tell({0xed, 0xf2}), "fa fa ab 83 ") << "a command in place of the argument";
}

TEST_F(KeyboardTest, EnableAndDisable) {
    keyboard.key(KeyCode::A, true);
    EXPECT_EQ(tell({0xf5}), "fa ") << "what waited is dropped";
    EXPECT_EQ(press(KeyCode::B), "");
    EXPECT_EQ(tell({0xf4}), "fa ");
    EXPECT_EQ(release(KeyCode::A), "");
    EXPECT_EQ(press(KeyCode::B), "32 ");
    EXPECT_EQ(tell({0xf6}), "fa ");
    EXPECT_EQ(release(KeyCode::B), "f0 32 ") << "defaults keep it scanning";
}

TEST_F(KeyboardTest, RepliesGoBeforeCodes) {
    keyboard.key(KeyCode::A, true);
    EXPECT_EQ(tell({0xed, 0x00}), "fa fa 1c ");
}

TEST_F(KeyboardTest, OverrunIsToldOnceAndSequencesStayWhole) {
    for (int i = 0; i < 1000; i++)
        keyboard.key(KeyCode::Delete, true);
    const std::string text = said();
    EXPECT_EQ(text.substr(text.size() - 9), "e0 71 00 ");
    EXPECT_LE(text.size(), 256u * 3);
    EXPECT_EQ(press(KeyCode::A), "1c ") << "goes on when the queue was read";
    for (int i = 0; i < 1000; i++)
        keyboard.receive(0xf2);
    said();
}

TEST_F(KeyboardTest, RoundTrip) {
    tell({0xf0, 0x03, 0xfd, 0x1c, 0xed, 0x02});
    keyboard.key(KeyCode::A, true);
    keyboard.key(KeyCode::Shift, true);
    keyboard.receive(0xf3);
    test::check_round_trip(keyboard, [&] {
        tell({0xff});
        keyboard.key(KeyCode::B, true);
    });
}

} // namespace
} // namespace dragoman::hw
