#include "runtime/socket.h"

#include "base/types.h"

#include <cerrno>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

Error failed(const char* what) {
    return Error{std::string(what) + ": " + std::strerror(errno)};
}

// Tries the addresses of a name until `use` is content with a socket.
template <class Use> Result<int> try_addresses(const TcpAddress& address, const char* what, Use use) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* list = nullptr;
    const char* host = address.host.empty() ? "127.0.0.1" : address.host.c_str();
    if (const int code = getaddrinfo(host, address.port.c_str(), &hints, &list))
        return Error{std::string("host ") + host + ": " + gai_strerror(code)};
    Result<int> result = Error{std::string(what) + ": no address"};
    for (const addrinfo* a = list; a && !result; a = a->ai_next) {
        const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && use(fd, *a)) {
            result = fd;
        } else {
            result = failed(what);
            if (fd >= 0) close(fd);
        }
    }
    freeaddrinfo(list);
    return result;
}

Result<sockaddr_un> unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return Error{"expected a path of 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes"};
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

} // namespace

std::optional<TcpAddress> parse_tcp_address(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos) return std::nullopt;
    TcpAddress address{text.substr(0, colon), text.substr(colon + 1)};
    std::string& host = address.host;
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    if (address.port.empty() || address.port.size() > 5) return std::nullopt;
    unsigned port = 0;
    for (const char c : address.port) {
        if (c < '0' || c > '9') return std::nullopt;
        port = port * 10 + unsigned(c - '0');
    }
    if (port > 65535) return std::nullopt;
    return address;
}

Result<int> listen_tcp(const TcpAddress& address) {
    return try_addresses(address, "cannot listen", [](int fd, const addrinfo& a) {
        const int on = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        return bind(fd, a.ai_addr, a.ai_addrlen) == 0 && listen(fd, 4) == 0;
    });
}

Result<int> connect_tcp(const TcpAddress& address) {
    return try_addresses(address, "cannot connect",
                         [](int fd, const addrinfo& a) { return connect(fd, a.ai_addr, a.ai_addrlen) == 0; });
}

Result<int> connect_unix(const std::string& path) {
    const auto address = unix_address(path);
    if (!address) return address.error();
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return failed("cannot make a socket");
    const auto* to = reinterpret_cast<const sockaddr*>(&address.value());
    if (connect(fd, to, sizeof(sockaddr_un)) == 0) return fd;
    const Error error = failed("cannot connect");
    close(fd);
    return error;
}

Result<int> listen_unix(const std::string& path) {
    const auto address = unix_address(path);
    if (!address) return address.error();
    struct stat st {};
    if (lstat(path.c_str(), &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (auto other = connect_unix(path)) {
            close(*other);
            return Error{"cannot listen: another program does already"};
        }
        unlink(path.c_str());
    }
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return failed("cannot make a socket");
    const auto* at = reinterpret_cast<const sockaddr*>(&address.value());
    if (bind(fd, at, sizeof(sockaddr_un)) == 0 && listen(fd, 4) == 0) return fd;
    const Error error = failed("cannot listen");
    close(fd);
    return error;
}

int accept_client(int listener) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    const int on = 1;
    if (fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); // fails for a local one: no matter
    return fd;
}

} // namespace dragoman::runtime
