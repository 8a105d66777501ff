#include "runtime/net_stream.h"

#include "runtime/socket.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

constexpr std::size_t kLengthBytes = 4;

u32 length_at(std::span<const u8> bytes) {
    return u32{bytes[0]} << 24 | u32{bytes[1]} << 16 | u32{bytes[2]} << 8 | bytes[3];
}

} // namespace

Result<std::unique_ptr<NetStream>> NetStream::open(const std::string& id, const StreamNetwork& option,
                                                   Waker& waker, Log& log, std::function<void()> wake) {
    const auto fd = option.server ? (option.tcp ? listen_tcp(*option.tcp) : listen_unix(option.path))
                                  : (option.tcp ? connect_tcp(*option.tcp) : connect_unix(option.path));
    if (!fd) return fd.error();
    const std::string address = option.tcp ? option.tcp->host + ":" + option.tcp->port : option.path;
    std::unique_ptr<NetStream> net(new NetStream(
        id, (option.server ? "listening at " : "connected to ") + address, waker, log, std::move(wake)));
    NetStream* const self = net.get();
    self->set_connected(false);
    if (!option.server) {
        self->begin(fd.value());
        return net;
    }
    self->listener_ = fd.value();
    if (!option.tcp) self->path_ = option.path;
    fcntl(self->listener_, F_SETFL, O_NONBLOCK);
    waker.watch(self->listener_, [self] { self->take_client(); });
    return net;
}

NetStream::~NetStream() {
    if (fd_ >= 0) {
        waker_.unwatch(fd_);
        close(fd_);
    }
    if (listener_ < 0) return;
    waker_.unwatch(listener_);
    close(listener_);
    if (!path_.empty()) unlink(path_.c_str());
}

std::string NetStream::describe() const {
    return "stream " + address_ + (fd_ < 0 ? ", nobody at the other end\n" : "\n");
}

void NetStream::take_client() {
    const int fd = accept_client(listener_);
    if (fd < 0) return;
    waker_.wait_for(listener_, false, false);
    begin(fd);
}

void NetStream::begin(int fd) {
    fd_ = fd;
    fcntl(fd_, F_SETFL, O_NONBLOCK);
    input_.clear();
    output_.clear();
    waker_.watch(fd_, [this] { ready(); });
    set_connected(true);
}

void NetStream::end() {
    waker_.unwatch(fd_);
    close(fd_);
    fd_ = -1;
    set_connected(false);
    if (listener_ >= 0) waker_.wait_for(listener_, true, false);
}

void NetStream::ready() {
    if (fd_ >= 0) flush();
    if (fd_ >= 0 && !full()) receive();
    if (fd_ >= 0) update_interest();
}

void NetStream::receive() {
    const std::size_t before = input_.size();
    input_.resize(before + 64 * KiB);
    const ssize_t n = recv(fd_, input_.data() + before, input_.size() - before, 0);
    const int error = errno;
    input_.resize(before + std::size_t(std::max<ssize_t>(n, 0)));
    if (n == 0 || (n < 0 && error != EAGAIN && error != EINTR)) return end();
    std::span<const u8> rest(input_);
    while (rest.size() >= kLengthBytes) {
        const u32 bytes = length_at(rest);
        if (bytes > hw::max_frame_bytes) {
            log_.once("network '%s': the other end sends no frames (a length of %u bytes); connection closed",
                      id().c_str(), bytes);
            return end();
        }
        if (rest.size() < kLengthBytes + bytes) break;
        input(rest.subspan(kLengthBytes, bytes));
        rest = rest.subspan(kLengthBytes + bytes);
    }
    input_.erase(input_.begin(), input_.end() - long(rest.size()));
}

void NetStream::transmit(std::span<const u8> frame) {
    if (fd_ < 0) return;
    if (output_.size() + frame.size() > kMaxOutput) {
        log_.once("network '%s': the other end does not read; frames are lost", id().c_str());
        return;
    }
    const u32 n = u32(frame.size());
    const u8 length[kLengthBytes] = {u8(n >> 24), u8(n >> 16), u8(n >> 8), u8(n)};
    output_.insert(output_.end(), length, length + kLengthBytes);
    output_.insert(output_.end(), frame.begin(), frame.end());
    flush();
    update_interest();
}

void NetStream::flush() {
    while (!output_.empty()) {
        const ssize_t n = ::send(fd_, output_.data(), output_.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) output_.clear(); // closed: the next read says so
        if (n <= 0) return;
        output_.erase(output_.begin(), output_.begin() + n);
    }
}

void NetStream::update_interest() {
    if (fd_ >= 0) waker_.wait_for(fd_, !full(), !output_.empty());
}

} // namespace dragoman::runtime
