// The window, on SDL's dummy video driver: what SDL tells becomes keys, mouse moves and the wish to close.
#include "hw/sdl_display.h"

#define SDL_MAIN_HANDLED
#include <SDL.h>
#include <gtest/gtest.h>

namespace dragoman::hw::test {
namespace {

struct Picture final : DisplaySource {
    void render(Surface& s) override {
        ++renders;
        s.resize(width, 400);
    }
    bool take_changed() override { return changed; }
    unsigned renders = 0;
    u32 width = 640;
    bool changed = false;
};

class SdlDisplayTest : public ::testing::Test {
  protected:
    void SetUp() override {
        ::setenv("SDL_VIDEODRIVER", "dummy", 1);
        auto opened = SdlDisplay::open("test", picture,
                                       {.key =
                                            [this](KeyCode k, bool down) {
                                                keys.push_back({k, down});
                                            },
                                        .mouse =
                                            [this](int dx, int dy, int wheel, unsigned buttons) {
                                                moves.push_back({dx, dy, wheel, int(buttons)});
                                            },
                                        .close = [this] { ++closes; }});
        ASSERT_TRUE(opened) << opened.error().message;
        display = std::move(*opened);
        display->refresh();
        keys.clear();
        moves.clear();
    }
    static void key(SDL_Scancode code, bool down, u16 modifiers = 0, u8 repeat = 0) {
        SDL_Event e{};
        e.type = down ? SDL_KEYDOWN : SDL_KEYUP;
        e.key.keysym.scancode = code;
        e.key.keysym.mod = modifiers;
        e.key.repeat = repeat;
        SDL_PushEvent(&e);
    }
    static void button(u8 which, bool down) {
        SDL_Event e{};
        e.type = down ? SDL_MOUSEBUTTONDOWN : SDL_MOUSEBUTTONUP;
        e.button.button = which;
        SDL_PushEvent(&e);
    }
    static void motion(int dx, int dy) {
        SDL_Event e{};
        e.type = SDL_MOUSEMOTION;
        e.motion.xrel = dx;
        e.motion.yrel = dy;
        SDL_PushEvent(&e);
    }

    using Keys = std::vector<std::pair<KeyCode, bool>>;
    using Moves = std::vector<std::array<int, 4>>;
    Picture picture;
    Keys keys;
    Moves moves;
    unsigned closes = 0;
    std::unique_ptr<SdlDisplay> display;
};

TEST_F(SdlDisplayTest, KeysWithoutRepeats) {
    key(SDL_SCANCODE_X, true);
    key(SDL_SCANCODE_X, true, 0, 1);
    key(SDL_SCANCODE_X, false);
    key(SDL_SCANCODE_RCTRL, true);
    key(SDL_SCANCODE_AUDIOMUTE, true); // not on a PC keyboard
    display->refresh();
    EXPECT_EQ(keys, (Keys{{KeyCode::Xx, true}, {KeyCode::Xx, false}, {KeyCode::CtrlRight, true}}));
    keys.clear();
    SDL_Event e{};
    e.type = SDL_WINDOWEVENT;
    e.window.event = SDL_WINDOWEVENT_FOCUS_LOST;
    SDL_PushEvent(&e);
    display->refresh();
    EXPECT_EQ(keys, (Keys{{KeyCode::CtrlRight, false}})) << "no key stays down when the focus goes";
}

TEST_F(SdlDisplayTest, MouseOnlyWhileGrabbed) {
    motion(3, 4);
    display->refresh();
    EXPECT_TRUE(moves.empty());
    button(SDL_BUTTON_LEFT, true);
    button(SDL_BUTTON_LEFT, false);
    button(SDL_BUTTON_RIGHT, true);
    display->refresh();
    ASSERT_FALSE(moves.empty());
    EXPECT_EQ(moves.back(), (std::array<int, 4>{0, 0, 0, 2}));
    moves.clear();
    motion(3, -4);
    display->refresh();
    ASSERT_EQ(moves.size(), 1u);
    EXPECT_EQ(moves[0], (std::array<int, 4>{3, -4, 0, 2}));
    moves.clear();
    keys.clear();
    key(SDL_SCANCODE_G, true, KMOD_LCTRL | KMOD_LALT);
    motion(5, 5);
    display->refresh();
    EXPECT_EQ(moves, (Moves{{0, 0, 0, 0}})) << "released buttons are told, movement no more";
    EXPECT_TRUE(keys.empty()) << "the G of Ctrl-Alt-G is not the guest's";
}

TEST_F(SdlDisplayTest, ShowsOnlyChanges) {
    display->refresh(); // the resize by the first picture exposes the window once more
    display->refresh();
    const unsigned before = picture.renders;
    EXPECT_GT(before, 0u) << "the first picture";
    display->refresh();
    display->refresh();
    EXPECT_EQ(picture.renders, before);
    picture.changed = true;
    picture.width = 800;
    display->refresh();
    EXPECT_EQ(picture.renders, before + 1);
}

TEST_F(SdlDisplayTest, Close) {
    SDL_Event e{};
    e.type = SDL_QUIT;
    SDL_PushEvent(&e);
    display->refresh();
    EXPECT_EQ(closes, 1u);
}

TEST(SdlDisplay, NoDisplay) {
    ::setenv("SDL_VIDEODRIVER", "no-such-driver", 1);
    Picture picture;
    auto opened = SdlDisplay::open("test", picture, {});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().message.find("display: no window can be opened: "), 0u)
        << opened.error().message;
    ::setenv("SDL_VIDEODRIVER", "dummy", 1);
}

} // namespace
} // namespace dragoman::hw::test
