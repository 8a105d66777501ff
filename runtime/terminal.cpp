#include "runtime/chardev.h"

#include "base/assert.h"

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

class Terminal::Front final : public Chardev {
  public:
    Front(Terminal& terminal, unsigned number) : terminal_(terminal), number_(number) {}
    void write(std::span<const u8> bytes) override {
        if (terminal_.active_ != number_ && !terminal_.mux_) return;
        write_all(STDOUT_FILENO, bytes.data(), bytes.size());
        if (!bytes.empty()) terminal_.at_line_start_ = bytes.back() == '\n';
    }
    bool attended() const override { return terminal_.active_ == number_; }
    void type(u8 byte) {
        if (!full()) input(&byte, 1);
    }
    void send_break() {
        if (receiver_) receiver_->receive_break();
    }

  private:
    Terminal& terminal_;
    unsigned number_;
};

Terminal::Terminal(Waker& waker, Hooks hooks, bool mux, u8 escape)
    : waker_(waker), hooks_(std::move(hooks)), mux_(mux),
      escape_(escape), fronts_{std::make_unique<Front>(*this, 0), std::make_unique<Front>(*this, 1)} {
    if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved_terminal) == 0) {
        termios raw = saved_terminal;
        cfmakeraw(&raw);
        raw.c_oflag |= OPOST;
        if (!mux_) raw.c_lflag |= ISIG; // without the escape key, Ctrl-C must still end the emulator
        terminal_is_raw = 1;
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        std::atexit(restore_terminal);
        for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGSEGV, SIGABRT, SIGBUS, SIGILL})
            std::signal(signal, restore_and_die);
    }
    waker_.watch(STDIN_FILENO, [this] { readable(); });
}

Terminal::~Terminal() {
    waker_.unwatch(STDIN_FILENO);
    restore_terminal();
}

Chardev& Terminal::front(unsigned n) {
    DRAGOMAN_ASSERT(n < 2);
    return *fronts_[n];
}

void Terminal::service() {
    for (const auto& front : fronts_)
        front->service();
}

void Terminal::readable() {
    u8 bytes[256];
    const ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        waker_.unwatch(STDIN_FILENO); // end of input: the machine goes on
        return;
    }
    for (ssize_t i = 0; i < n; ++i)
        take(bytes[i]);
}

void Terminal::take(u8 byte) {
    if (!mux_) {
        fronts_[active_]->type(byte);
    } else if (escaped_) {
        escaped_ = false;
        command(byte);
    } else if (byte == escape_) {
        escaped_ = true;
    } else {
        fronts_[active_]->type(byte);
    }
}

void Terminal::command(u8 byte) {
    if (byte == escape_) return fronts_[active_]->type(byte);
    const std::string key = std::string("Ctrl-") + char('@' + escape_);
    std::string help = "\r\n";
    for (const char* line :
         {"h  this help", "x  quit", "c  switch between serial port and monitor", "b  send a break"})
        help += key + " " + line + "\r\n";
    help += key + " " + key + "  send " + key + "\r\n";
    switch (byte) {
    case 'h':
    case '?': write_all(STDOUT_FILENO, help.data(), help.size()); break;
    case 'x':
        write_all(STDOUT_FILENO, "\r\n", 2);
        hooks_.quit();
        break;
    case 'c': switch_to(1 - active_); break;
    case 'b': fronts_[active_]->send_break(); break;
    default: break;
    }
}

void Terminal::switch_to(unsigned n) {
    active_ = n;
    if (n == 1) fronts_[1]->type('\r'); // the monitor answers with its prompt
}

} // namespace dragoman::runtime
