// The keys of a PC keyboard: their names and their codes in scan code sets 2 and 3.
#pragma once

#include "base/types.h"

#include <array>
#include <optional>
#include <string_view>

namespace dragoman::hw {

// Enumerator, name (what a user types after "sendkey"), set 2 make code (0xe0 in the high byte: extended),
// set 3 code. Print and Pause have make codes of their own shape, which the keyboard knows.
#define DRAGOMAN_KEYS(X)                                                                                     \
    X(Esc, "esc", 0x76, 0x08)                                                                                \
    X(Digit1, "1", 0x16, 0x16)                                                                               \
    X(Digit2, "2", 0x1e, 0x1e)                                                                               \
    X(Digit3, "3", 0x26, 0x26)                                                                               \
    X(Digit4, "4", 0x25, 0x25)                                                                               \
    X(Digit5, "5", 0x2e, 0x2e)                                                                               \
    X(Digit6, "6", 0x36, 0x36)                                                                               \
    X(Digit7, "7", 0x3d, 0x3d)                                                                               \
    X(Digit8, "8", 0x3e, 0x3e)                                                                               \
    X(Digit9, "9", 0x46, 0x46)                                                                               \
    X(Digit0, "0", 0x45, 0x45)                                                                               \
    X(Minus, "minus", 0x4e, 0x4e)                                                                            \
    X(Equal, "equal", 0x55, 0x55)                                                                            \
    X(Backspace, "backspace", 0x66, 0x66)                                                                    \
    X(Tab, "tab", 0x0d, 0x0d)                                                                                \
    X(Q, "q", 0x15, 0x15)                                                                                    \
    X(W, "w", 0x1d, 0x1d)                                                                                    \
    X(E, "e", 0x24, 0x24)                                                                                    \
    X(R, "r", 0x2d, 0x2d)                                                                                    \
    X(T, "t", 0x2c, 0x2c)                                                                                    \
    X(Y, "y", 0x35, 0x35)                                                                                    \
    X(U, "u", 0x3c, 0x3c)                                                                                    \
    X(I, "i", 0x43, 0x43)                                                                                    \
    X(O, "o", 0x44, 0x44)                                                                                    \
    X(P, "p", 0x4d, 0x4d)                                                                                    \
    X(BracketLeft, "bracket_left", 0x54, 0x54)                                                               \
    X(BracketRight, "bracket_right", 0x5b, 0x5b)                                                             \
    X(Return, "ret", 0x5a, 0x5a)                                                                             \
    X(Ctrl, "ctrl", 0x14, 0x11)                                                                              \
    X(A, "a", 0x1c, 0x1c)                                                                                    \
    X(S, "s", 0x1b, 0x1b)                                                                                    \
    X(D, "d", 0x23, 0x23)                                                                                    \
    X(F, "f", 0x2b, 0x2b)                                                                                    \
    X(G, "g", 0x34, 0x34)                                                                                    \
    X(H, "h", 0x33, 0x33)                                                                                    \
    X(J, "j", 0x3b, 0x3b)                                                                                    \
    X(K, "k", 0x42, 0x42)                                                                                    \
    X(L, "l", 0x4b, 0x4b)                                                                                    \
    X(Semicolon, "semicolon", 0x4c, 0x4c)                                                                    \
    X(Apostrophe, "apostrophe", 0x52, 0x52)                                                                  \
    X(GraveAccent, "grave_accent", 0x0e, 0x0e)                                                               \
    X(Shift, "shift", 0x12, 0x12)                                                                            \
    X(Backslash, "backslash", 0x5d, 0x5c)                                                                    \
    X(Z, "z", 0x1a, 0x1a)                                                                                    \
    X(Xx, "x", 0x22, 0x22)                                                                                   \
    X(C, "c", 0x21, 0x21)                                                                                    \
    X(V, "v", 0x2a, 0x2a)                                                                                    \
    X(B, "b", 0x32, 0x32)                                                                                    \
    X(N, "n", 0x31, 0x31)                                                                                    \
    X(M, "m", 0x3a, 0x3a)                                                                                    \
    X(Comma, "comma", 0x41, 0x41)                                                                            \
    X(Dot, "dot", 0x49, 0x49)                                                                                \
    X(Slash, "slash", 0x4a, 0x4a)                                                                            \
    X(ShiftRight, "shift_r", 0x59, 0x59)                                                                     \
    X(Alt, "alt", 0x11, 0x19)                                                                                \
    X(Space, "spc", 0x29, 0x29)                                                                              \
    X(CapsLock, "caps_lock", 0x58, 0x14)                                                                     \
    X(F1, "f1", 0x05, 0x07)                                                                                  \
    X(F2, "f2", 0x06, 0x0f)                                                                                  \
    X(F3, "f3", 0x04, 0x17)                                                                                  \
    X(F4, "f4", 0x0c, 0x1f)                                                                                  \
    X(F5, "f5", 0x03, 0x27)                                                                                  \
    X(F6, "f6", 0x0b, 0x2f)                                                                                  \
    X(F7, "f7", 0x83, 0x37)                                                                                  \
    X(F8, "f8", 0x0a, 0x3f)                                                                                  \
    X(F9, "f9", 0x01, 0x47)                                                                                  \
    X(F10, "f10", 0x09, 0x4f)                                                                                \
    X(F11, "f11", 0x78, 0x56)                                                                                \
    X(F12, "f12", 0x07, 0x5e)                                                                                \
    X(NumLock, "num_lock", 0x77, 0x76)                                                                       \
    X(ScrollLock, "scroll_lock", 0x7e, 0x5f)                                                                 \
    X(KpMultiply, "kp_multiply", 0x7c, 0x7e)                                                                 \
    X(KpSubtract, "kp_subtract", 0x7b, 0x84)                                                                 \
    X(KpAdd, "kp_add", 0x79, 0x7c)                                                                           \
    X(KpDecimal, "kp_decimal", 0x71, 0x71)                                                                   \
    X(KpDivide, "kp_divide", 0xe04a, 0x77)                                                                   \
    X(KpEnter, "kp_enter", 0xe05a, 0x79)                                                                     \
    X(Kp0, "kp_0", 0x70, 0x70)                                                                               \
    X(Kp1, "kp_1", 0x69, 0x69)                                                                               \
    X(Kp2, "kp_2", 0x72, 0x72)                                                                               \
    X(Kp3, "kp_3", 0x7a, 0x7a)                                                                               \
    X(Kp4, "kp_4", 0x6b, 0x6b)                                                                               \
    X(Kp5, "kp_5", 0x73, 0x73)                                                                               \
    X(Kp6, "kp_6", 0x74, 0x74)                                                                               \
    X(Kp7, "kp_7", 0x6c, 0x6c)                                                                               \
    X(Kp8, "kp_8", 0x75, 0x75)                                                                               \
    X(Kp9, "kp_9", 0x7d, 0x7d)                                                                               \
    X(Less, "less", 0x61, 0x13)                                                                              \
    X(CtrlRight, "ctrl_r", 0xe014, 0x58)                                                                     \
    X(AltRight, "alt_r", 0xe011, 0x39)                                                                       \
    X(MetaLeft, "meta_l", 0xe01f, 0x8b)                                                                      \
    X(MetaRight, "meta_r", 0xe027, 0x8c)                                                                     \
    X(Menu, "menu", 0xe02f, 0x8d)                                                                            \
    X(Home, "home", 0xe06c, 0x6e)                                                                            \
    X(End, "end", 0xe069, 0x65)                                                                              \
    X(PageUp, "pgup", 0xe07d, 0x6f)                                                                          \
    X(PageDown, "pgdn", 0xe07a, 0x6d)                                                                        \
    X(Up, "up", 0xe075, 0x63)                                                                                \
    X(Down, "down", 0xe072, 0x60)                                                                            \
    X(Left, "left", 0xe06b, 0x61)                                                                            \
    X(Right, "right", 0xe074, 0x6a)                                                                          \
    X(Insert, "insert", 0xe070, 0x67)                                                                        \
    X(Delete, "delete", 0xe071, 0x64)                                                                        \
    X(Print, "print", 0xe07c, 0x57)                                                                          \
    X(Pause, "pause", 0xe177, 0x62)                                                                          \
    X(Ro, "ro", 0x51, 0x51)                                                                                  \
    X(Yen, "yen", 0x6a, 0x5d)                                                                                \
    X(Muhenkan, "muhenkan", 0x67, 0x85)                                                                      \
    X(Henkan, "henkan", 0x64, 0x86)                                                                          \
    X(Hiragana, "hiragana", 0x13, 0x87)

enum class KeyCode : u8 {
#define DRAGOMAN_KEY(key, text, set2, set3) key,
    DRAGOMAN_KEYS(DRAGOMAN_KEY)
#undef DRAGOMAN_KEY
};

struct KeyRow {
    const char* name;
    u16 set2;
    u8 set3;
};

inline constexpr KeyRow key_rows[] = {
#define DRAGOMAN_KEY(key, text, set2, set3) {text, set2, set3},
    DRAGOMAN_KEYS(DRAGOMAN_KEY)
#undef DRAGOMAN_KEY
};
inline constexpr unsigned key_count = sizeof key_rows / sizeof key_rows[0];

constexpr const KeyRow& key_row(KeyCode key) {
    return key_rows[static_cast<unsigned>(key)];
}

// The key of a name as in the table, or of one of a few other names in use ("enter", "space", "asterisk",
// ...).
std::optional<KeyCode> key_by_name(std::string_view name);

// How the keyboard controller turns a byte of set 2 into set 1 (a make code; the break prefix is the
// caller's).
extern const std::array<u8, 256> set2_to_set1;

} // namespace dragoman::hw
