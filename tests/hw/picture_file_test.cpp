// Screenshots, read back by libpng.
#include "hw/core/picture_file.h"

#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <png.h>
#include <unistd.h>

namespace dragoman::hw::test {
namespace {

TEST(PictureFile, PngIsReadBack) {
    Surface s;
    s.resize(37, 11);
    for (u32 i = 0; i < s.pixels.size(); ++i)
        s.pixels[i] = (i * 0x010305 + (i << 17)) & 0xffffff;
    char path[] = "/tmp/dragoman-png-XXXXXX";
    const int fd = ::mkstemp(path);
    ASSERT_GE(fd, 0);
    ::close(fd);
    const Status status = write_picture(s, path, PictureFormat::Png);
    ASSERT_TRUE(status) << status.error().message;
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    ASSERT_TRUE(png_image_begin_read_from_file(&image, path)) << image.message;
    EXPECT_EQ(image.width, 37u);
    EXPECT_EQ(image.height, 11u);
    image.format = PNG_FORMAT_RGB;
    std::vector<u8> rgb(PNG_IMAGE_SIZE(image));
    ASSERT_TRUE(png_image_finish_read(&image, nullptr, rgb.data(), 0, nullptr)) << image.message;
    for (u32 i = 0; i < s.pixels.size(); ++i)
        ASSERT_EQ(s.pixels[i], u32(rgb[3 * i] << 16 | rgb[3 * i + 1] << 8 | rgb[3 * i + 2])) << "pixel " << i;
    std::remove(path);
}

TEST(PictureFile, Ppm) {
    Surface s;
    s.resize(2, 1);
    s.pixels = {0x0a0b0c, 0x800102};
    char path[] = "/tmp/dragoman-ppm-XXXXXX";
    const int fd = ::mkstemp(path);
    ASSERT_GE(fd, 0);
    const Status status = write_picture(s, path, PictureFormat::Ppm);
    ASSERT_TRUE(status) << status.error().message;
    char text[64] = {};
    const ssize_t bytes = ::read(fd, text, sizeof text);
    ::close(fd);
    using namespace std::string_literals;
    EXPECT_EQ(std::string(text, std::size_t(bytes)), "P6\n2 1\n255\n\x0a\x0b\x0c\x80\x01\x02"s);
    std::remove(path);
}

TEST(PictureFile, Errors) {
    Surface s;
    EXPECT_NE(write_picture(s, "/tmp/x.png", PictureFormat::Png).error().message.find("empty"), std::string::npos);
    s.resize(400, 400);
    const std::string missing = write_picture(s, "/nonexistent/shot.png", PictureFormat::Png).error().message;
    EXPECT_EQ(missing, "screenshot '/nonexistent/shot.png': cannot be created: No such file or directory");
    const std::string full = write_picture(s, "/dev/full", PictureFormat::Png).error().message;
    EXPECT_EQ(full, "screenshot '/dev/full': write failed: No space left on device");
}

} // namespace
} // namespace dragoman::hw::test
