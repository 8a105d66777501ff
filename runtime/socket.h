// Stream sockets: TCP and local ones. Descriptors are the caller's to close; errors say what went wrong
// without naming the address.
#pragma once

#include "base/result.h"

#include <optional>
#include <string>

namespace dragoman::runtime {

struct TcpAddress {
    std::string host; // empty: the loopback interface
    std::string port; // decimal
};
// "[HOST]:PORT"; an IPv6 host stands in brackets.
std::optional<TcpAddress> parse_tcp_address(const std::string& text);

Result<int> listen_tcp(const TcpAddress& address);
Result<int> connect_tcp(const TcpAddress& address);
// A socket file that nobody listens at any more is replaced.
Result<int> listen_unix(const std::string& path);
Result<int> connect_unix(const std::string& path);

// The next client, non-blocking; -1: none came.
int accept_client(int listener);

} // namespace dragoman::runtime
