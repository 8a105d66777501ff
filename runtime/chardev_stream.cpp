#include "runtime/chardev_stream.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace dragoman::runtime {

void Stream::open_stream(int in, int out) {
    in_ = in;
    out_ = out;
    for (const int fd : {in, out})
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    output_.clear();
    paused_ = false;
    waker_.watch(in_, [this] { ready(); });
    if (out_ != in_) {
        waker_.watch(out_, [this] { ready(); });
        waker_.wait_for(out_, false, false);
    }
}

void Stream::close_stream() {
    if (in_ < 0) return;
    waker_.unwatch(in_);
    close(in_);
    if (out_ != in_) {
        waker_.unwatch(out_);
        close(out_);
    }
    in_ = out_ = -1;
    output_.clear();
}

void Stream::update_interest() {
    if (in_ == out_) {
        waker_.wait_for(in_, !paused_, !output_.empty());
    } else {
        waker_.wait_for(in_, !paused_, false);
        waker_.wait_for(out_, false, !output_.empty());
    }
}

void Stream::ready() {
    if (in_ >= 0 && !output_.empty()) flush();
    if (in_ >= 0) receive_input();
    if (in_ >= 0) update_interest();
}

void Stream::receive_input() {
    if (full()) {
        paused_ = true;
        return;
    }
    u8 bytes[1024];
    const ssize_t n = read(in_, bytes, sizeof bytes);
    if (n > 0) {
        const std::size_t count = filter_input(bytes, std::size_t(n));
        input(bytes, count);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close_stream();
        gone();
    }
}

void Stream::service() {
    Chardev::service();
    if (paused_ && !full() && in_ >= 0) {
        paused_ = false;
        update_interest();
    }
}

void Stream::write(std::span<const u8> bytes) {
    if (out_ >= 0) send(filter_output(bytes));
}

void Stream::send(const std::string& bytes) {
    if (out_ < 0) return;
    output_ += bytes;
    flush();
    if (output_.size() > kMaxOutput) {
        output_.resize(kMaxOutput);
        log_.once("%s: the other end does not read; output is lost", name_.c_str());
    }
    update_interest();
}

void Stream::flush() {
    std::size_t done = 0;
    while (done < output_.size()) {
        // Sockets must not raise SIGPIPE; for the others send() does not work.
        ssize_t n = ::send(out_, output_.data() + done, output_.size() - done, MSG_NOSIGNAL);
        if (n < 0 && errno == ENOTSOCK) n = ::write(out_, output_.data() + done, output_.size() - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) done = output_.size(); // closed: the next read says so
        if (n <= 0) break;
        done += std::size_t(n);
    }
    output_.erase(0, done);
}

} // namespace dragoman::runtime
