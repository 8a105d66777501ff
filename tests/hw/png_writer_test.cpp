// Screenshots, read back by libpng.
#include "hw/core/png_writer.h"

#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <png.h>
#include <unistd.h>

namespace dragoman::hw::test {
namespace {

TEST(PngWriter, ReadBack) {
    Surface s;
    s.resize(37, 11);
    for (u32 i = 0; i < s.pixels.size(); ++i)
        s.pixels[i] = (i * 0x010305 + (i << 17)) & 0xffffff;
    char path[] = "/tmp/dragoman-png-XXXXXX";
    const int fd = ::mkstemp(path);
    ASSERT_GE(fd, 0);
    ::close(fd);
    const Status status = write_png(s, path);
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

TEST(PngWriter, Errors) {
    Surface s;
    EXPECT_NE(write_png(s, "/tmp/x.png").error().message.find("empty"), std::string::npos);
    s.resize(400, 400);
    const std::string missing = write_png(s, "/nonexistent/shot.png").error().message;
    EXPECT_EQ(missing, "screenshot '/nonexistent/shot.png': cannot be created: No such file or directory");
    const std::string full = write_png(s, "/dev/full").error().message;
    EXPECT_EQ(full, "screenshot '/dev/full': write failed: No space left on device");
}

} // namespace
} // namespace dragoman::hw::test
