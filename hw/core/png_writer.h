// Screenshots.
#pragma once

#include "base/result.h"
#include "hw/core/display.h"

#include <string>

namespace dragoman::hw {

// Writes `surface` as an 8-bit RGB PNG, replacing the file. The error names the file and what failed.
Status write_png(const Surface& surface, const std::string& path);

} // namespace dragoman::hw
