#include "runtime/net_tap.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {
constexpr unsigned kFramesAtOnce = 64;
}

Result<std::unique_ptr<NetTap>> NetTap::open(const std::string& id, const TapNetwork& option, Waker& waker,
                                             std::function<void()> wake) {
    if (option.fd) {
        if (fcntl(*option.fd, F_SETFL, O_NONBLOCK) != 0)
            return Error{"fd=" + std::to_string(*option.fd) + ": " + std::strerror(errno)};
        return std::unique_ptr<NetTap>(
            new NetTap(id, *option.fd, "descriptor " + std::to_string(*option.fd), waker, std::move(wake)));
    }
    const int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return Error{std::string("/dev/net/tun: ") + std::strerror(errno)};
    ifreq request{};
    request.ifr_flags = short(IFF_TAP | IFF_NO_PI | (option.shared ? IFF_MULTI_QUEUE : 0));
    std::strncpy(request.ifr_name, option.interface.c_str(), IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &request) != 0) {
        const Error error{"interface '" + option.interface + "': " + std::strerror(errno)};
        close(fd);
        return error;
    }
    return std::unique_ptr<NetTap>(new NetTap(id, fd, request.ifr_name, waker, std::move(wake)));
}

NetTap::NetTap(const std::string& id, int fd, std::string interface, Waker& waker, std::function<void()> wake)
    : NetPort(id, std::move(wake)), fd_(fd), interface_(std::move(interface)), waker_(waker) {
    waker_.watch(fd_, [this] { ready(); });
}

NetTap::~NetTap() {
    waker_.unwatch(fd_);
    close(fd_);
}

void NetTap::ready() {
    std::vector<u8> frame(hw::max_frame_bytes);
    for (unsigned left = kFramesAtOnce; left && !full(); --left) {
        const ssize_t n = read(fd_, frame.data(), frame.size());
        if (n <= 0) break;
        input(std::span(frame).first(std::size_t(n)));
    }
    waker_.wait_for(fd_, !full(), false);
}

void NetTap::transmit(std::span<const u8> frame) {
    (void)!write(fd_, frame.data(), frame.size()); // what the host does not take is lost, as on a wire
}

} // namespace dragoman::runtime
