#include "hw/core/pci_rom.h"

#include <cstring>

namespace dragoman::hw {

namespace {

constexpr std::size_t kLengthAt = 2, kDataAt = 0x18; // in the header, 6.3.1.1
constexpr std::size_t kChecksumAt = 6;               // a byte that is the image's own to use
constexpr std::size_t kVendorAt = 4, kDeviceAt = 6, kDataBytes = 0x18;
constexpr std::size_t kLengthUnit = 512;

u16 get16(std::span<const u8> image, std::size_t at) {
    return u16(image[at] | image[at + 1] << 8);
}

} // namespace

void adapt_rom(std::span<u8> image, u16 vendor, u16 device) {
    if (image.size() < kDataAt + 2 || image[0] != 0x55 || image[1] != 0xaa) return;
    const std::size_t data = get16(image, kDataAt), bytes = image[kLengthAt] * kLengthUnit;
    if (data + kDataBytes > image.size() || bytes > image.size() || bytes <= kChecksumAt) return;
    if (std::memcmp(&image[data], "PCIR", 4) != 0 || get16(image, data + kVendorAt) != vendor) return;
    image[data + kDeviceAt] = u8(device);
    image[data + kDeviceAt + 1] = u8(device >> 8);
    u8 sum = 0;
    for (const u8 byte : image.first(bytes))
        sum = u8(sum + byte);
    image[kChecksumAt] = u8(image[kChecksumAt] - sum);
}

} // namespace dragoman::hw
