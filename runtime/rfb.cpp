#include "runtime/rfb.h"

#include <algorithm>
#include <cstring>
#include <nettle/des.h>

namespace dragoman::runtime::rfb {

using hw::KeyCode;

// --- pixels

std::optional<PixelFormat> PixelFormat::parse(std::span<const u8, bytes> text) {
    const u8 bits = text[0];
    PixelFormat format;
    format.depth_ = text[1];
    format.pixel_bytes_ = bits / 8;
    format.big_endian_ = text[2];
    if ((bits != 8 && bits != 16 && bits != 32) || !text[3]) return std::nullopt;
    for (unsigned n = 0; n < 3; ++n) {
        format.parts_[n] = {get16(&text[4 + 2 * n]), text[10 + n]};
        if (format.parts_[n].shift >= bits) return std::nullopt;
    }
    return format;
}

void PixelFormat::write(std::vector<u8>& to) const {
    to.insert(to.end(), {u8(8 * pixel_bytes_), depth_, u8(big_endian_), 1});
    for (const Part& part : parts_)
        put16(to, part.max);
    for (const Part& part : parts_)
        to.push_back(u8(part.shift));
    to.insert(to.end(), 3, 0);
}

void PixelFormat::convert(const hw::Surface& from, const Rect& rect, std::vector<u8>& to) const {
    to.reserve(to.size() + std::size_t{rect.width} * rect.height * pixel_bytes_);
    for (u32 y = rect.y; y < rect.y + rect.height; ++y) {
        const u32* const line = from.line(y) + rect.x;
        for (u32 x = 0; x < rect.width; ++x) {
            u32 pixel = 0;
            for (unsigned n = 0; n < 3; ++n)
                pixel |= (line[x] >> (16 - 8 * n) & 0xff) * parts_[n].max / 255 << parts_[n].shift;
            for (unsigned n = 0; n < pixel_bytes_; ++n)
                to.push_back(u8(pixel >> 8 * (big_endian_ ? pixel_bytes_ - 1 - n : n)));
        }
    }
}

// --- the password

std::array<u8, 16> auth_response(const std::string& password, const std::array<u8, 16>& challenge) {
    std::array<u8, DES_KEY_SIZE> key{};
    for (std::size_t n = 0; n < std::min(password.size(), key.size()); ++n)
        for (unsigned bit = 0; bit < 8; ++bit) // the lowest bit first, unlike anybody else
            key[n] = u8(key[n] | (u8(password[n]) >> bit & 1) << (7 - bit));
    des_ctx cipher;
    (void)des_set_key(&cipher, key.data()); // its result is about weak keys
    std::array<u8, 16> response;
    des_encrypt(&cipher, response.size(), response.data(), challenge.data());
    return response;
}

// --- keys

namespace {

struct SymbolRow {
    u32 symbol;
    KeyCode code;
};
// Those that make no character: X11's keysymdef.h.
constexpr SymbolRow symbols[] = {
    {0xff08, KeyCode::Backspace},  {0xff09, KeyCode::Tab},        {0xfe20, KeyCode::Tab},
    {0xff0d, KeyCode::Return},     {0xff13, KeyCode::Pause},      {0xff14, KeyCode::ScrollLock},
    {0xff15, KeyCode::Print},      {0xff1b, KeyCode::Esc},        {0xff50, KeyCode::Home},
    {0xff51, KeyCode::Left},       {0xff52, KeyCode::Up},         {0xff53, KeyCode::Right},
    {0xff54, KeyCode::Down},       {0xff55, KeyCode::PageUp},     {0xff56, KeyCode::PageDown},
    {0xff57, KeyCode::End},        {0xff61, KeyCode::Print},      {0xff63, KeyCode::Insert},
    {0xff67, KeyCode::Menu},       {0xff7f, KeyCode::NumLock},    {0xff8d, KeyCode::KpEnter},
    {0xff95, KeyCode::Kp7},        {0xff96, KeyCode::Kp4},        {0xff97, KeyCode::Kp8},
    {0xff98, KeyCode::Kp6},        {0xff99, KeyCode::Kp2},        {0xff9a, KeyCode::Kp9},
    {0xff9b, KeyCode::Kp3},        {0xff9c, KeyCode::Kp1},        {0xff9d, KeyCode::Kp5},
    {0xff9e, KeyCode::Kp0},        {0xff9f, KeyCode::KpDecimal},  {0xffaa, KeyCode::KpMultiply},
    {0xffab, KeyCode::KpAdd},      {0xffad, KeyCode::KpSubtract}, {0xffae, KeyCode::KpDecimal},
    {0xffaf, KeyCode::KpDivide},   {0xffb0, KeyCode::Kp0},        {0xffb1, KeyCode::Kp1},
    {0xffb2, KeyCode::Kp2},        {0xffb3, KeyCode::Kp3},        {0xffb4, KeyCode::Kp4},
    {0xffb5, KeyCode::Kp5},        {0xffb6, KeyCode::Kp6},        {0xffb7, KeyCode::Kp7},
    {0xffb8, KeyCode::Kp8},        {0xffb9, KeyCode::Kp9},        {0xffbe, KeyCode::F1},
    {0xffbf, KeyCode::F2},         {0xffc0, KeyCode::F3},         {0xffc1, KeyCode::F4},
    {0xffc2, KeyCode::F5},         {0xffc3, KeyCode::F6},         {0xffc4, KeyCode::F7},
    {0xffc5, KeyCode::F8},         {0xffc6, KeyCode::F9},         {0xffc7, KeyCode::F10},
    {0xffc8, KeyCode::F11},        {0xffc9, KeyCode::F12},        {0xffe1, KeyCode::Shift},
    {0xffe2, KeyCode::ShiftRight}, {0xffe3, KeyCode::Ctrl},       {0xffe4, KeyCode::CtrlRight},
    {0xffe5, KeyCode::CapsLock},   {0xffe7, KeyCode::MetaLeft},   {0xffe8, KeyCode::MetaRight},
    {0xffe9, KeyCode::Alt},        {0xffea, KeyCode::AltRight},   {0xfe03, KeyCode::AltRight},
    {0xffeb, KeyCode::MetaLeft},   {0xffec, KeyCode::MetaRight},  {0xffff, KeyCode::Delete},
};

struct CharacterRow {
    char plain, shifted;
    KeyCode code;
};
constexpr CharacterRow characters[] = {
    {' ', ' ', KeyCode::Space},      {'1', '!', KeyCode::Digit1},      {'2', '@', KeyCode::Digit2},
    {'3', '#', KeyCode::Digit3},     {'4', '$', KeyCode::Digit4},      {'5', '%', KeyCode::Digit5},
    {'6', '^', KeyCode::Digit6},     {'7', '&', KeyCode::Digit7},      {'8', '*', KeyCode::Digit8},
    {'9', '(', KeyCode::Digit9},     {'0', ')', KeyCode::Digit0},      {'-', '_', KeyCode::Minus},
    {'=', '+', KeyCode::Equal},      {'[', '{', KeyCode::BracketLeft}, {']', '}', KeyCode::BracketRight},
    {';', ':', KeyCode::Semicolon},  {'\'', '"', KeyCode::Apostrophe}, {'`', '~', KeyCode::GraveAccent},
    {'\\', '|', KeyCode::Backslash}, {',', '<', KeyCode::Comma},       {'.', '>', KeyCode::Dot},
    {'/', '?', KeyCode::Slash},
};

} // namespace

std::optional<Key> key_of(u32 symbol) {
    for (const SymbolRow& row : symbols)
        if (symbol == row.symbol) return Key{row.code};
    if (symbol < 0x20 || symbol >= 0x7f) return std::nullopt;
    for (const CharacterRow& row : characters) {
        if (symbol == u32(row.plain)) return Key{row.code};
        if (symbol == u32(row.shifted)) return Key{row.code, true};
    }
    const bool upper = symbol >= 'A' && symbol <= 'Z';
    const char name = char(upper ? symbol - 'A' + 'a' : symbol);
    if (const auto code = hw::key_by_name({&name, 1})) return Key{*code, upper};
    return std::nullopt;
}

} // namespace dragoman::runtime::rfb
