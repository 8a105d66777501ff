// The parts of the remote framebuffer protocol (RFC 6143) that are only values: pixel formats, the password's
// cipher, keys by X11's key symbols.
#pragma once

#include "base/types.h"
#include "hw/core/display.h"
#include "hw/keys.h"

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace dragoman::runtime::rfb {

// Big-endian, as everything in the protocol.
inline u16 get16(const u8* at) {
    return u16(at[0] << 8 | at[1]);
}
inline u32 get32(const u8* at) {
    return u32{get16(at)} << 16 | get16(at + 2);
}
inline void put16(std::vector<u8>& to, u32 value) {
    to.insert(to.end(), {u8(value >> 8), u8(value)});
}
inline void put32(std::vector<u8>& to, u32 value) {
    put16(to, value >> 16);
    put16(to, value);
}

struct Rect {
    u32 x = 0, y = 0, width = 0, height = 0; // pixels
};

// How a client wants its pixels (7.4). By itself that of hw::Surface.
class PixelFormat {
  public:
    static constexpr std::size_t bytes = 16;
    // Nothing: a format that there is not, or one with a colour map.
    static std::optional<PixelFormat> parse(std::span<const u8, bytes> text);
    void write(std::vector<u8>& to) const;
    // The rectangle, which lies inside the surface, line after line behind what is in `to`.
    void convert(const hw::Surface& from, const Rect& rect, std::vector<u8>& to) const;

  private:
    struct Part {
        u32 max, shift;
    };
    u8 depth_ = 24;
    u8 pixel_bytes_ = 4;
    bool big_endian_ = false;
    Part parts_[3] = {{255, 16}, {255, 8}, {255, 0}}; // red, green, blue
};

// What a client answers to a challenge that knows the password (7.2.2): of that the first eight bytes count.
std::array<u8, 16> auth_response(const std::string& password, const std::array<u8, 16>& challenge);

struct Key {
    hw::KeyCode code;
    bool shifted = false; // the symbol is the one above the key's other (US layout)
};
std::optional<Key> key_of(u32 symbol);

} // namespace dragoman::runtime::rfb
