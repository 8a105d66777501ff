// Screenshots.
#pragma once

#include "base/result.h"
#include "hw/core/display.h"

#include <string>

namespace dragoman::hw {

enum class PictureFormat : u8 { Ppm, Png };

// Writes `surface` with 8 bits for each of red, green and blue, replacing the file. The error names the file
// and what failed.
Status write_picture(const Surface& surface, const std::string& path, PictureFormat format);

} // namespace dragoman::hw
