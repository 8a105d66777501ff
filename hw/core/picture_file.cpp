#include "hw/core/picture_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <png.h>

namespace dragoman::hw {

namespace {

void put_rgb(std::vector<u8>& to, const Surface& surface) {
    to.reserve(to.size() + surface.pixels.size() * 3);
    for (const u32 pixel : surface.pixels) {
        to.push_back(static_cast<u8>(pixel >> 16));
        to.push_back(static_cast<u8>(pixel >> 8));
        to.push_back(static_cast<u8>(pixel));
    }
}

// Each makes the whole file in memory: so that only complete pictures reach the disk.
Result<std::vector<u8>> encode_ppm(const Surface& surface) {
    const std::string header =
        "P6\n" + std::to_string(surface.width) + " " + std::to_string(surface.height) + "\n255\n";
    std::vector<u8> file(header.begin(), header.end());
    put_rgb(file, surface);
    return file;
}

Result<std::vector<u8>> encode_png(const Surface& surface) {
    std::vector<u8> rgb;
    put_rgb(rgb, surface);
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = surface.width;
    image.height = surface.height;
    image.format = PNG_FORMAT_RGB;
    png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
    std::vector<u8> file(bytes);
    if (!png_image_write_to_memory(&image, file.data(), &bytes, 0, rgb.data(), 0, nullptr))
        return Error{image.message};
    file.resize(bytes);
    return file;
}

} // namespace

Status write_picture(const Surface& surface, const std::string& path, PictureFormat format) {
    const auto failed = [&path](const std::string& why) {
        return Error{"screenshot '" + path + "': " + why};
    };
    if (surface.width == 0 || surface.height == 0) return failed("the picture is empty");
    auto file = format == PictureFormat::Png ? encode_png(surface) : encode_ppm(surface);
    if (!file) return failed(file.error().message);

    std::FILE* out = std::fopen(path.c_str(), "wb");
    if (out == nullptr) return failed(std::string("cannot be created: ") + std::strerror(errno));
    errno = 0;
    bool ok = std::fwrite(file->data(), 1, file->size(), out) == file->size();
    int reason = errno;
    if (std::fclose(out) != 0 && ok) {
        ok = false;
        reason = errno;
    }
    if (!ok) return failed(std::string("write failed: ") + std::strerror(reason));
    return Ok{};
}

} // namespace dragoman::hw
