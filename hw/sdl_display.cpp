#include "hw/sdl_display.h"

#include "base/late_library.h"

#define SDL_MAIN_HANDLED
#include <SDL.h>
#include <array>
#include <optional>

namespace dragoman::hw {

namespace {

struct KeyPair {
    SDL_Scancode scancode;
    KeyCode key;
};

// Where SDL and the PC name the same key. SDL's scancodes are places on the keyboard, so the guest's layout
// decides.
constexpr KeyPair key_pairs[] = {
    {SDL_SCANCODE_ESCAPE, KeyCode::Esc},
    {SDL_SCANCODE_1, KeyCode::Digit1},
    {SDL_SCANCODE_2, KeyCode::Digit2},
    {SDL_SCANCODE_3, KeyCode::Digit3},
    {SDL_SCANCODE_4, KeyCode::Digit4},
    {SDL_SCANCODE_5, KeyCode::Digit5},
    {SDL_SCANCODE_6, KeyCode::Digit6},
    {SDL_SCANCODE_7, KeyCode::Digit7},
    {SDL_SCANCODE_8, KeyCode::Digit8},
    {SDL_SCANCODE_9, KeyCode::Digit9},
    {SDL_SCANCODE_0, KeyCode::Digit0},
    {SDL_SCANCODE_MINUS, KeyCode::Minus},
    {SDL_SCANCODE_EQUALS, KeyCode::Equal},
    {SDL_SCANCODE_BACKSPACE, KeyCode::Backspace},
    {SDL_SCANCODE_TAB, KeyCode::Tab},
    {SDL_SCANCODE_A, KeyCode::A},
    {SDL_SCANCODE_B, KeyCode::B},
    {SDL_SCANCODE_C, KeyCode::C},
    {SDL_SCANCODE_D, KeyCode::D},
    {SDL_SCANCODE_E, KeyCode::E},
    {SDL_SCANCODE_F, KeyCode::F},
    {SDL_SCANCODE_G, KeyCode::G},
    {SDL_SCANCODE_H, KeyCode::H},
    {SDL_SCANCODE_I, KeyCode::I},
    {SDL_SCANCODE_J, KeyCode::J},
    {SDL_SCANCODE_K, KeyCode::K},
    {SDL_SCANCODE_L, KeyCode::L},
    {SDL_SCANCODE_M, KeyCode::M},
    {SDL_SCANCODE_N, KeyCode::N},
    {SDL_SCANCODE_O, KeyCode::O},
    {SDL_SCANCODE_P, KeyCode::P},
    {SDL_SCANCODE_Q, KeyCode::Q},
    {SDL_SCANCODE_R, KeyCode::R},
    {SDL_SCANCODE_S, KeyCode::S},
    {SDL_SCANCODE_T, KeyCode::T},
    {SDL_SCANCODE_U, KeyCode::U},
    {SDL_SCANCODE_V, KeyCode::V},
    {SDL_SCANCODE_W, KeyCode::W},
    {SDL_SCANCODE_X, KeyCode::Xx},
    {SDL_SCANCODE_Y, KeyCode::Y},
    {SDL_SCANCODE_Z, KeyCode::Z},
    {SDL_SCANCODE_LEFTBRACKET, KeyCode::BracketLeft},
    {SDL_SCANCODE_RIGHTBRACKET, KeyCode::BracketRight},
    {SDL_SCANCODE_RETURN, KeyCode::Return},
    {SDL_SCANCODE_LCTRL, KeyCode::Ctrl},
    {SDL_SCANCODE_SEMICOLON, KeyCode::Semicolon},
    {SDL_SCANCODE_APOSTROPHE, KeyCode::Apostrophe},
    {SDL_SCANCODE_GRAVE, KeyCode::GraveAccent},
    {SDL_SCANCODE_LSHIFT, KeyCode::Shift},
    {SDL_SCANCODE_BACKSLASH, KeyCode::Backslash},
    {SDL_SCANCODE_NONUSHASH, KeyCode::Backslash},
    {SDL_SCANCODE_COMMA, KeyCode::Comma},
    {SDL_SCANCODE_PERIOD, KeyCode::Dot},
    {SDL_SCANCODE_SLASH, KeyCode::Slash},
    {SDL_SCANCODE_RSHIFT, KeyCode::ShiftRight},
    {SDL_SCANCODE_LALT, KeyCode::Alt},
    {SDL_SCANCODE_SPACE, KeyCode::Space},
    {SDL_SCANCODE_CAPSLOCK, KeyCode::CapsLock},
    {SDL_SCANCODE_F1, KeyCode::F1},
    {SDL_SCANCODE_F2, KeyCode::F2},
    {SDL_SCANCODE_F3, KeyCode::F3},
    {SDL_SCANCODE_F4, KeyCode::F4},
    {SDL_SCANCODE_F5, KeyCode::F5},
    {SDL_SCANCODE_F6, KeyCode::F6},
    {SDL_SCANCODE_F7, KeyCode::F7},
    {SDL_SCANCODE_F8, KeyCode::F8},
    {SDL_SCANCODE_F9, KeyCode::F9},
    {SDL_SCANCODE_F10, KeyCode::F10},
    {SDL_SCANCODE_F11, KeyCode::F11},
    {SDL_SCANCODE_F12, KeyCode::F12},
    {SDL_SCANCODE_NUMLOCKCLEAR, KeyCode::NumLock},
    {SDL_SCANCODE_SCROLLLOCK, KeyCode::ScrollLock},
    {SDL_SCANCODE_KP_MULTIPLY, KeyCode::KpMultiply},
    {SDL_SCANCODE_KP_MINUS, KeyCode::KpSubtract},
    {SDL_SCANCODE_KP_PLUS, KeyCode::KpAdd},
    {SDL_SCANCODE_KP_PERIOD, KeyCode::KpDecimal},
    {SDL_SCANCODE_KP_DIVIDE, KeyCode::KpDivide},
    {SDL_SCANCODE_KP_ENTER, KeyCode::KpEnter},
    {SDL_SCANCODE_KP_0, KeyCode::Kp0},
    {SDL_SCANCODE_KP_1, KeyCode::Kp1},
    {SDL_SCANCODE_KP_2, KeyCode::Kp2},
    {SDL_SCANCODE_KP_3, KeyCode::Kp3},
    {SDL_SCANCODE_KP_4, KeyCode::Kp4},
    {SDL_SCANCODE_KP_5, KeyCode::Kp5},
    {SDL_SCANCODE_KP_6, KeyCode::Kp6},
    {SDL_SCANCODE_KP_7, KeyCode::Kp7},
    {SDL_SCANCODE_KP_8, KeyCode::Kp8},
    {SDL_SCANCODE_KP_9, KeyCode::Kp9},
    {SDL_SCANCODE_NONUSBACKSLASH, KeyCode::Less},
    {SDL_SCANCODE_RCTRL, KeyCode::CtrlRight},
    {SDL_SCANCODE_RALT, KeyCode::AltRight},
    {SDL_SCANCODE_LGUI, KeyCode::MetaLeft},
    {SDL_SCANCODE_RGUI, KeyCode::MetaRight},
    {SDL_SCANCODE_APPLICATION, KeyCode::Menu},
    {SDL_SCANCODE_HOME, KeyCode::Home},
    {SDL_SCANCODE_END, KeyCode::End},
    {SDL_SCANCODE_PAGEUP, KeyCode::PageUp},
    {SDL_SCANCODE_PAGEDOWN, KeyCode::PageDown},
    {SDL_SCANCODE_UP, KeyCode::Up},
    {SDL_SCANCODE_DOWN, KeyCode::Down},
    {SDL_SCANCODE_LEFT, KeyCode::Left},
    {SDL_SCANCODE_RIGHT, KeyCode::Right},
    {SDL_SCANCODE_INSERT, KeyCode::Insert},
    {SDL_SCANCODE_DELETE, KeyCode::Delete},
    {SDL_SCANCODE_PRINTSCREEN, KeyCode::Print},
    {SDL_SCANCODE_PAUSE, KeyCode::Pause},
    {SDL_SCANCODE_INTERNATIONAL1, KeyCode::Ro},
    {SDL_SCANCODE_INTERNATIONAL2, KeyCode::Hiragana},
    {SDL_SCANCODE_INTERNATIONAL3, KeyCode::Yen},
    {SDL_SCANCODE_INTERNATIONAL4, KeyCode::Henkan},
    {SDL_SCANCODE_INTERNATIONAL5, KeyCode::Muhenkan},
};

std::optional<KeyCode> key_of(SDL_Scancode scancode) {
    for (const KeyPair& pair : key_pairs)
        if (pair.scancode == scancode) return pair.key;
    return std::nullopt;
}

// What is called of SDL.
struct Sdl {
    LateLibrary library{"libSDL2-2.0.so.0"};
#define OF_SDL(name) decltype(&SDL_##name) name = library.function("SDL_" #name)
    OF_SDL(CreateRenderer);
    OF_SDL(CreateTexture);
    OF_SDL(CreateWindow);
    OF_SDL(DestroyRenderer);
    OF_SDL(DestroyTexture);
    OF_SDL(DestroyWindow);
    OF_SDL(GetError);
    OF_SDL(InitSubSystem);
    OF_SDL(PollEvent);
    OF_SDL(QuitSubSystem);
    OF_SDL(RenderClear);
    OF_SDL(RenderCopy);
    OF_SDL(RenderPresent);
    OF_SDL(RenderSetLogicalSize);
    OF_SDL(SetHint);
    OF_SDL(SetMainReady);
    OF_SDL(SetRelativeMouseMode);
    OF_SDL(SetWindowSize);
    OF_SDL(SetWindowTitle);
    OF_SDL(UpdateTexture);
#undef OF_SDL
};

class Window final : public SdlDisplay {
  public:
    Window(const Sdl& sdl, std::string title, DisplaySource& source, Callbacks callbacks)
        : sdl_(sdl), title_(std::move(title)), source_(source), callbacks_(std::move(callbacks)) {}

    ~Window() override {
        if (texture_ != nullptr) sdl_.DestroyTexture(texture_);
        if (renderer_ != nullptr) sdl_.DestroyRenderer(renderer_);
        if (window_ != nullptr) sdl_.DestroyWindow(window_);
        if (started_) sdl_.QuitSubSystem(SDL_INIT_VIDEO);
    }

    // Null on success, or SDL's words on what is missing.
    const char* start() {
        sdl_.SetMainReady();
        sdl_.SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1"); // signals are the runtime's
        sdl_.SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
        if (sdl_.InitSubSystem(SDL_INIT_VIDEO) != 0) return sdl_.GetError();
        started_ = true;
        window_ = sdl_.CreateWindow(title_.c_str(), SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED, 720,
                                    400, SDL_WINDOW_RESIZABLE);
        if (window_ == nullptr) return sdl_.GetError();
        renderer_ = sdl_.CreateRenderer(window_, -1, 0);
        if (renderer_ == nullptr) renderer_ = sdl_.CreateRenderer(window_, -1, SDL_RENDERER_SOFTWARE);
        if (renderer_ == nullptr) return sdl_.GetError();
        set_title();
        return nullptr;
    }

    void refresh() override {
        SDL_Event event;
        while (sdl_.PollEvent(&event) != 0)
            handle(event);
        const bool changed = source_.take_changed();
        if (changed || exposed_) show();
        exposed_ = false;
    }

  private:
    void handle(const SDL_Event& event) {
        switch (event.type) {
        case SDL_QUIT:
            if (callbacks_.close) callbacks_.close();
            break;
        case SDL_WINDOWEVENT:
            exposed_ = true;
            if (event.window.event == SDL_WINDOWEVENT_FOCUS_LOST) {
                release_keys(); // their ends will be told to someone else
                set_grab(false);
            }
            break;
        case SDL_KEYDOWN:
        case SDL_KEYUP: on_key(event.key); break;
        case SDL_MOUSEMOTION:
            if (grabbed_) tell_mouse(event.motion.xrel, event.motion.yrel, 0);
            break;
        case SDL_MOUSEWHEEL:
            if (grabbed_) tell_mouse(0, 0, -event.wheel.y);
            break;
        case SDL_MOUSEBUTTONDOWN:
        case SDL_MOUSEBUTTONUP: on_button(event.button); break;
        default: break;
        }
    }

    void on_key(const SDL_KeyboardEvent& event) {
        if (event.repeat != 0) return;
        const bool down = event.type == SDL_KEYDOWN;
        const SDL_Keymod modifiers = static_cast<SDL_Keymod>(event.keysym.mod);
        if (event.keysym.scancode == SDL_SCANCODE_G && down && (modifiers & KMOD_CTRL) &&
            (modifiers & KMOD_ALT)) {
            set_grab(!grabbed_);
            return;
        }
        if (const auto key = key_of(event.keysym.scancode)) tell_key(*key, down);
    }

    void tell_key(KeyCode key, bool down) {
        bool& held = held_[static_cast<unsigned>(key)];
        if (held == down) return;
        held = down;
        if (callbacks_.key) callbacks_.key(key, down);
    }

    void release_keys() {
        for (unsigned i = 0; i < key_count; ++i)
            tell_key(static_cast<KeyCode>(i), false);
    }

    void on_button(const SDL_MouseButtonEvent& event) {
        const bool down = event.type == SDL_MOUSEBUTTONDOWN;
        if (!grabbed_) { // the click that takes the mouse is not the guest's
            if (down) set_grab(true);
            return;
        }
        const unsigned mask = event.button == SDL_BUTTON_LEFT     ? 1
                              : event.button == SDL_BUTTON_RIGHT  ? 2
                              : event.button == SDL_BUTTON_MIDDLE ? 4
                                                                  : 0;
        buttons_ = down ? buttons_ | mask : buttons_ & ~mask;
        tell_mouse(0, 0, 0);
    }

    void tell_mouse(int dx, int dy, int wheel) {
        if (callbacks_.mouse) callbacks_.mouse(dx, dy, wheel, buttons_);
    }

    void set_grab(bool on) {
        if (on == grabbed_) return;
        grabbed_ = on;
        sdl_.SetRelativeMouseMode(on ? SDL_TRUE : SDL_FALSE);
        if (!on && buttons_ != 0) {
            buttons_ = 0;
            tell_mouse(0, 0, 0);
        }
        set_title();
    }

    void set_title() {
        const std::string text = title_ + (grabbed_ ? " - Ctrl-Alt-G releases the mouse" : "");
        sdl_.SetWindowTitle(window_, text.c_str());
    }

    void show() {
        source_.render(surface_);
        if (surface_.width != width_ || surface_.height != height_ || texture_ == nullptr) {
            if (texture_ != nullptr) sdl_.DestroyTexture(texture_);
            width_ = surface_.width;
            height_ = surface_.height;
            texture_ = sdl_.CreateTexture(renderer_, SDL_PIXELFORMAT_RGB888, SDL_TEXTUREACCESS_STREAMING,
                                          static_cast<int>(width_), static_cast<int>(height_));
            sdl_.SetWindowSize(window_, static_cast<int>(width_), static_cast<int>(height_));
            sdl_.RenderSetLogicalSize(renderer_, static_cast<int>(width_), static_cast<int>(height_));
            if (texture_ == nullptr) return; // larger than the host can show: the next refresh tries again
        }
        sdl_.UpdateTexture(texture_, nullptr, surface_.pixels.data(), static_cast<int>(width_ * sizeof(u32)));
        sdl_.RenderClear(renderer_);
        sdl_.RenderCopy(renderer_, texture_, nullptr, nullptr);
        sdl_.RenderPresent(renderer_);
    }

    const Sdl& sdl_;
    std::string title_;
    DisplaySource& source_;
    Callbacks callbacks_;
    bool started_ = false, exposed_ = true, grabbed_ = false;
    unsigned buttons_ = 0;
    std::array<bool, key_count> held_{};
    Surface surface_;
    u32 width_ = 0, height_ = 0;
    SDL_Window* window_ = nullptr;
    SDL_Renderer* renderer_ = nullptr;
    SDL_Texture* texture_ = nullptr;
};

} // namespace

Result<std::unique_ptr<SdlDisplay>> SdlDisplay::open(const std::string& title, DisplaySource& source,
                                                     Callbacks callbacks) {
    static const Sdl sdl;
    if (!sdl.library.missing().empty()) return Error{"display: " + sdl.library.missing()};
    auto window = std::make_unique<Window>(sdl, title, source, std::move(callbacks));
    if (const char* missing = window->start())
        return Error{std::string("display: no window can be opened: ") + missing +
                     " (expected a graphical session)"};
    return std::unique_ptr<SdlDisplay>(std::move(window));
}

} // namespace dragoman::hw
