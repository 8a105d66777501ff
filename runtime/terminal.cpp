#include "runtime/chardev.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <poll.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

// What a signal handler needs to restore the terminal: the one process-wide thing, because signals are
// process-wide too.
termios saved_terminal;
volatile std::sig_atomic_t terminal_is_raw = 0;

void restore_terminal() {
    if (!terminal_is_raw) return;
    terminal_is_raw = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
}

void restore_and_die(int signal) {
    restore_terminal();
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

void write_all(int fd, const void* data, std::size_t count) {
    const char* p = static_cast<const char*>(data);
    while (count) {
        const ssize_t n = ::write(fd, p, count);
        if (n > 0) {
            p += n;
            count -= std::size_t(n);
        } else if (n < 0 && errno == EAGAIN) {
            pollfd out{.fd = fd, .events = POLLOUT, .revents = 0};
            poll(&out, 1, 100);
        } else if (n < 0 && errno != EINTR) {
            return; // nobody reads any more
        }
    }
}

} // namespace

void Chardev::input(const u8* bytes, std::size_t count) {
    pending_.insert(pending_.end(), bytes, bytes + count);
    service();
}

void Chardev::service() {
    while (!pending_.empty() && receiver_ && receiver_->can_receive()) {
        u8 bytes[512];
        const std::size_t count = std::min(pending_.size(), sizeof bytes);
        std::copy_n(pending_.begin(), count, bytes);
        // What is taken leaves first: the receiver may have more brought.
        const std::size_t taken = receiver_->receive_some({bytes, count});
        pending_.erase(pending_.begin(), pending_.begin() + std::ptrdiff_t(taken));
    }
    if (!receiver_) pending_.clear();
}

Terminal::Terminal(Waker& waker, bool signals) : waker_(waker) {
    if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved_terminal) == 0) {
        termios raw = saved_terminal;
        cfmakeraw(&raw);
        raw.c_oflag |= OPOST;
        if (signals) raw.c_lflag |= ISIG; // without an escape character, Ctrl-C must still end the emulator
        terminal_is_raw = 1;
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        std::atexit(restore_terminal);
        for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGSEGV, SIGABRT, SIGBUS, SIGILL})
            std::signal(signal, restore_and_die);
    }
    waker_.watch(STDIN_FILENO, [this] { readable(); });
}

Terminal::~Terminal() {
    if (!ended_) waker_.unwatch(STDIN_FILENO);
    restore_terminal();
}

void Terminal::write(std::span<const u8> bytes) {
    write_all(STDOUT_FILENO, bytes.data(), bytes.size());
}

void Terminal::service() {
    Chardev::service();
    if (paused_ && !full() && !ended_) {
        paused_ = false;
        waker_.wait_for(STDIN_FILENO, true, false);
    }
}

void Terminal::readable() {
    if (full()) { // it waits where it is
        paused_ = true;
        waker_.wait_for(STDIN_FILENO, false, false);
        return;
    }
    u8 bytes[256];
    const ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        waker_.unwatch(STDIN_FILENO); // end of input: the machine goes on
        ended_ = true;
        return;
    }
    if (n > 0) input(bytes, std::size_t(n));
}

} // namespace dragoman::runtime
