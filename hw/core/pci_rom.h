// Images of expansion ROMs (PCI 3.0, 6.3).
#pragma once

#include "base/types.h"

#include <span>

namespace dragoman::hw {

// Firmware runs a ROM only if the IDs in its data structure (6.3.1.2) are the function's, and many images
// serve several devices of one vendor: puts these IDs into an image that is for the vendor, and makes its
// bytes add up to zero again. Other images, and what is no ROM at all, stay as they are.
void adapt_rom(std::span<u8> image, u16 vendor, u16 device);

} // namespace dragoman::hw
