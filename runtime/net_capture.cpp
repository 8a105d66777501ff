#include "runtime/net_capture.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace dragoman::runtime {

Result<std::unique_ptr<NetCapture>> NetCapture::create(const std::string& file, u32 snap_bytes) {
    std::FILE* opened = std::fopen(file.c_str(), "wbe");
    if (!opened) return Error{std::strerror(errno)};
    const struct {
        u32 magic = 0xa1b2c3d4;
        u16 major = 2, minor = 4;
        u32 zone = 0, accuracy = 0;
        u32 snap_bytes;
        u32 link_type = 1; // Ethernet
    } header{.snap_bytes = snap_bytes};
    std::fwrite(&header, sizeof header, 1, opened);
    std::fflush(opened);
    return std::unique_ptr<NetCapture>(new NetCapture(opened, snap_bytes));
}

void NetCapture::write(std::span<const u8> frame) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    const u32 kept = u32(std::min<std::size_t>(frame.size(), snap_bytes_));
    const u32 header[4] = {u32(now.tv_sec), u32(now.tv_nsec / 1000), kept, u32(frame.size())};
    std::fwrite(header, sizeof header, 1, file_.get());
    std::fwrite(frame.data(), kept, 1, file_.get());
    std::fflush(file_.get()); // so that another program can follow
}

} // namespace dragoman::runtime
