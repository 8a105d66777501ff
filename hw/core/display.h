// A picture, and who makes one.
#pragma once

#include "base/types.h"

#include <vector>

namespace dragoman::hw {

struct Surface {
    u32 width = 0, height = 0; // pixels
    std::vector<u32> pixels;   // 0x00RRGGBB, line after line, without gaps

    void resize(u32 w, u32 h) {
        width = w;
        height = h;
        pixels.assign(std::size_t{w} * h, 0);
    }
    u32* line(u32 y) { return pixels.data() + std::size_t{y} * width; }
    const u32* line(u32 y) const { return pixels.data() + std::size_t{y} * width; }
};

class DisplaySource {
  public:
    virtual ~DisplaySource() = default;
    // What the monitor shows now. Sets the size; never empty.
    virtual void render(Surface& surface) = 0;
    // May the picture differ from what it was when this was last asked? For one refresher, to save work.
    virtual bool take_changed() = 0;
};

} // namespace dragoman::hw
