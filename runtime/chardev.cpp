#include "runtime/chardev.h"

#include "runtime/chardev_ring.h"
#include "runtime/chardev_stream.h"
#include "runtime/option_text.h"
#include "runtime/socket.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

using Opened = Result<std::unique_ptr<Chardev>>;

struct Request {
    const std::string& option;
    const std::string& spec;
    const std::string& label;
    Waker& waker;
    Log& log;

    Error error(const std::string& what) const { return Error{option + " " + spec + ": " + what}; }
    std::string name() const { return option + " " + spec; }
};

// The terminal and the streams below have nothing to do with files: a file never blocks.
class FileSink final : public Chardev {
  public:
    FileSink(int fd, std::string name, Log& log) : fd_(fd), name_(std::move(name)), log_(log) {}
    ~FileSink() override { close(fd_); }
    void write(std::span<const u8> bytes) override {
        const u8* p = bytes.data();
        std::size_t left = bytes.size();
        while (left) {
            const ssize_t n = ::write(fd_, p, left);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) {
                log_.once("%s: output is lost: %s", name_.c_str(), std::strerror(errno));
                return;
            }
            p += n;
            left -= std::size_t(n);
        }
    }

  private:
    int fd_;
    std::string name_;
    Log& log_;
};

Opened open_file(const Request& r, const std::string& name, int flag) { // O_TRUNC or O_APPEND
    const int fd = open(name.c_str(), O_WRONLY | O_CREAT | flag | O_CLOEXEC | O_NONBLOCK, 0666);
    if (fd < 0) return r.error("cannot write to the file: " + std::string(std::strerror(errno)));
    return Opened(std::make_unique<FileSink>(fd, r.name(), r.log));
}

class Descriptors final : public Stream {
  public:
    Descriptors(const Request& r, int in, int out) : Stream(r.name(), r.waker, r.log) {
        open_stream(in, out);
    }
};

Opened open_pipe(const Request& r, const std::string& name) {
    // Opened for both ways, so that neither end has to be there first.
    const int in = open((name + ".in").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    const int out = open((name + ".out").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (in >= 0 && out >= 0) return Opened(std::make_unique<Descriptors>(r, in, out));
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    const int both = open(name.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (both >= 0) return Opened(std::make_unique<Descriptors>(r, both, both));
    return r.error("expected named pipes " + name + ".in and " + name + ".out, or " + name + ": " +
                   std::strerror(errno));
}

// A device of the host, such as a serial port.
Opened open_host_device(const Request& r) {
    const int fd = open(r.spec.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return r.error("cannot be opened: " + std::string(std::strerror(errno)));
    termios raw;
    if (tcgetattr(fd, &raw) == 0) {
        cfmakeraw(&raw);
        tcsetattr(fd, TCSANOW, &raw);
    }
    return Opened(std::make_unique<Descriptors>(r, fd, fd));
}

class Pty final : public Stream {
  public:
    // `slave` stays open: without it the master reports an error whenever nobody else has the terminal open.
    Pty(const Request& r, int master, int slave) : Stream(r.name(), r.waker, r.log), slave_(slave) {
        open_stream(master, master);
    }
    ~Pty() override { close(slave_); }

  private:
    int slave_;
};

Opened open_pty(const Request& r) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char path[128];
    int slave = -1;
    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 &&
        ptsname_r(master, path, sizeof path) == 0)
        slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        const Error error = r.error("no pseudo-terminal to be had: " + std::string(std::strerror(errno)));
        if (master >= 0) close(master);
        return error;
    }
    termios raw;
    if (tcgetattr(slave, &raw) == 0) {
        cfmakeraw(&raw);
        tcsetattr(slave, TCSANOW, &raw);
    }
    std::fprintf(stderr, "char device redirected to %s (label %s)\n", path, r.label.c_str());
    return Opened(std::make_unique<Pty>(r, master, slave));
}

// One connection at a time: a server takes the next client when the last one has gone.
class Socket final : public Stream {
  public:
    Socket(const Request& r, bool telnet) : Stream(r.name(), r.waker, r.log), telnet_(telnet) {}
    ~Socket() override {
        if (listener_ < 0) return;
        waker_.unwatch(listener_);
        close(listener_);
        if (!path_.empty()) unlink(path_.c_str());
    }
    void serve(int listener, std::string path) { // the descriptor is taken over
        listener_ = listener;
        path_ = std::move(path); // of a local socket
        fcntl(listener_, F_SETFL, O_NONBLOCK);
        waker_.watch(listener_, [this] { take_client(); });
    }
    void wait_for_client() {
        while (!attended()) {
            pollfd p{.fd = listener_, .events = POLLIN, .revents = 0};
            poll(&p, 1, -1);
            take_client();
        }
    }
    void begin(int fd) {
        open_stream(fd, fd);
        if (telnet_) send({kHello, sizeof kHello}); // the final 0 is the last command's
        announce();
    }

  protected:
    void gone() override {
        telnet_state_ = Telnet::Data;
        announce_end();
        if (listener_ >= 0) waker_.wait_for(listener_, true, false);
    }

    // Telnet (RFC 854): 255 starts a command; a data byte 255 comes and goes twice.
    std::size_t filter_input(u8* bytes, std::size_t count) override {
        if (!telnet_) return count;
        std::size_t kept = 0;
        for (std::size_t i = 0; i < count; ++i)
            if (is_data(bytes[i])) bytes[kept++] = bytes[i];
        return kept;
    }
    std::string filter_output(std::span<const u8> bytes) override {
        std::string out;
        for (const u8 byte : bytes) {
            out += char(byte);
            if (telnet_ && byte == 255) out += char(byte);
        }
        return out;
    }

  private:
    // IAC WILL ECHO, IAC WILL SUPPRESS-GO-AHEAD, IAC WILL BINARY, IAC DO BINARY: a client then sends single
    // characters as they are.
    static constexpr char kHello[] = "\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd";
    enum class Telnet : u8 { Data, Command, Option, Sub, SubCommand };

    bool is_data(u8 byte) {
        constexpr u8 iac = 255, sb = 250, se = 240;
        switch (telnet_state_) {
        case Telnet::Data:
            if (byte != iac) return true;
            telnet_state_ = Telnet::Command;
            return false;
        case Telnet::Command:
            telnet_state_ = byte == sb                ? Telnet::Sub
                            : byte > sb && byte < iac ? Telnet::Option
                                                      : Telnet::Data;
            return byte == iac;
        case Telnet::Option: telnet_state_ = Telnet::Data; return false;
        case Telnet::Sub:
            if (byte == iac) telnet_state_ = Telnet::SubCommand;
            return false;
        case Telnet::SubCommand: telnet_state_ = byte == se ? Telnet::Data : Telnet::Sub; return false;
        }
        return false;
    }
    void take_client() {
        const int fd = accept_client(listener_);
        if (fd < 0) return;
        waker_.wait_for(listener_, false, false);
        begin(fd);
    }

    bool telnet_;
    Telnet telnet_state_ = Telnet::Data;
    int listener_ = -1;
    std::string path_;
};

struct SocketWords {
    std::string address;
    bool server = false, wait = true, telnet = false;
};

// "ADDRESS[,server[=on|off]][,nowait][,wait=on|off][,nodelay][,telnet=on|off]"; nothing: the text is none of
// these.
std::optional<SocketWords> parse_words(const std::string& text) {
    SocketWords words;
    std::size_t at = text.find(',');
    words.address = text.substr(0, at);
    while (at != std::string::npos) {
        const std::size_t next = text.find(',', at + 1);
        const std::string word = text.substr(at + 1, next == std::string::npos ? next : next - at - 1);
        at = next;
        const std::size_t equals = word.find('=');
        const std::string key = word.substr(0, equals);
        const std::string value = equals == std::string::npos ? "on" : word.substr(equals + 1);
        if (value != "on" && value != "off") return std::nullopt;
        const bool on = value == "on";
        if (key == "server")
            words.server = on;
        else if (key == "wait")
            words.wait = on;
        else if (key == "nowait")
            words.wait = !on;
        else if (key == "telnet")
            words.telnet = on;
        else if (key != "nodelay")
            return std::nullopt;
    }
    return words;
}

enum class Kind { Tcp, Telnet, Unix, Fd };

// `fd` listens, or is connected; `path` is that of a local one that listens.
Opened start_socket(const Request& r, int fd, const SocketWords& words, const std::string& path,
                    bool telnet) {
    auto socket = std::make_unique<Socket>(r, telnet || words.telnet);
    if (!words.server) {
        socket->begin(fd);
        return Opened(std::move(socket));
    }
    socket->serve(fd, path);
    if (words.wait) {
        std::fprintf(stderr, "dragoman: %s: waiting for a connection\n", r.name().c_str());
        socket->wait_for_client();
    }
    return Opened(std::move(socket));
}

Opened open_socket(const Request& r, const std::string& rest, Kind kind) {
    const auto words = parse_words(rest);
    const bool tcp = kind == Kind::Tcp || kind == Kind::Telnet;
    const auto address = words && tcp ? parse_tcp_address(words->address) : std::nullopt;
    if (!words || words->address.empty() || (tcp && !address))
        return r.error("expected " +
                       std::string(kind == Kind::Tcp      ? "tcp:[HOST]:PORT"
                                   : kind == Kind::Telnet ? "telnet:[HOST]:PORT"
                                   : kind == Kind::Fd     ? "fd:NUMBER"
                                                          : "unix:PATH") +
                       "[,server][,nowait]");
    if (kind == Kind::Fd) {
        const auto number = parse_number(words->address);
        int type = 0;
        socklen_t size = sizeof type;
        if (!number || *number > 0x7fffffff ||
            getsockopt(int(*number), SOL_SOCKET, SO_TYPE, &type, &size) != 0)
            return r.error("expected fd=NUMBER of an open socket");
        fcntl(int(*number), F_SETFD, FD_CLOEXEC);
        return start_socket(r, int(*number), *words, "", false);
    }
    auto fd = words->server ? (tcp ? listen_tcp(*address) : listen_unix(words->address))
                            : (tcp ? connect_tcp(*address) : connect_unix(words->address));
    if (!fd) return r.error(fd.error().message);
    return start_socket(r, *fd, *words, tcp ? "" : words->address, kind == Kind::Telnet);
}

} // namespace

Opened open_chardev(const std::string& option, const std::string& spec, const std::string& label,
                    Waker& waker, Log& log) {
    const Request r{option, spec, label, waker, log};
    const auto after = [&](const char* prefix) -> std::optional<std::string> {
        if (spec.rfind(prefix, 0) != 0) return std::nullopt;
        return spec.substr(std::strlen(prefix));
    };
    if (spec == "pty") return open_pty(r);
    if (const auto name = after("file:")) return open_file(r, *name, O_TRUNC);
    if (const auto name = after("append:")) return open_file(r, *name, O_APPEND);
    if (spec == "ringbuf") return Opened(std::make_unique<RingBuffer>(64 * KiB));
    if (const auto size = after("ringbuf:"))
        if (const auto bytes = parse_number(*size); bytes && *bytes && *bytes <= 16 * MiB)
            return Opened(std::make_unique<RingBuffer>(*bytes));
    if (const auto name = after("pipe:")) return open_pipe(r, *name);
    if (const auto rest = after("tcp:")) return open_socket(r, *rest, Kind::Tcp);
    if (const auto rest = after("telnet:")) return open_socket(r, *rest, Kind::Telnet);
    if (const auto rest = after("unix:")) return open_socket(r, *rest, Kind::Unix);
    if (const auto rest = after("fd:")) return open_socket(r, *rest, Kind::Fd);
    if (!spec.empty() && spec[0] == '/') return open_host_device(r);
    return r.error(
        "expected file:NAME, tcp:[HOST]:PORT, telnet:[HOST]:PORT, unix:PATH, pipe:NAME, /dev/NAME, "
        "ringbuf:SIZE or pty");
}

} // namespace dragoman::runtime
