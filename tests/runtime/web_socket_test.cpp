// The WebSocket of browsers' VNC viewers, by the examples of RFC 6455.
#include "runtime/web_socket.h"

#include <gtest/gtest.h>

namespace dragoman::runtime {
namespace {

using Bytes = std::vector<u8>;

Bytes bytes(const std::string& text) {
    return {text.begin(), text.end()};
}
std::string text(const Bytes& from) {
    return {from.begin(), from.end()};
}
const std::string request =
    "GET /chat HTTP/1.1\r\nHost: x\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, binary\r\n\r\n";

struct Line {
    WebSocket socket;
    Bytes input, data, output;
    void bring(const Bytes& more) {
        input.insert(input.end(), more.begin(), more.end());
        const std::size_t taken = socket.take(input, data, output);
        input.erase(input.begin(), input.begin() + long(taken));
    }
    void enter() {
        bring(bytes(request));
        output.clear();
    }
};

TEST(WebSocket, Handshake) {
    Line line;
    for (const char c : request)
        line.bring({u8(c)});
    EXPECT_TRUE(line.socket.open());
    const std::string said = text(line.output);
    EXPECT_EQ(said.rfind("HTTP/1.1 101 ", 0), 0u);
    EXPECT_NE(said.find("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), std::string::npos)
        << said;
    EXPECT_NE(said.find("\r\nSec-WebSocket-Protocol: binary\r\n"), std::string::npos);
    EXPECT_EQ(said.substr(said.size() - 4), "\r\n\r\n");
}

TEST(WebSocket, OtherRequests) {
    for (const std::string& other :
         {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string("RFB 003.008\n\r\n\r\n"),
          std::string(WebSocket::most_header + 1, 'x')}) {
        Line line;
        line.bring(bytes(other));
        EXPECT_TRUE(line.socket.ended());
        EXPECT_EQ(text(line.output).rfind("HTTP/1.1 400 ", 0), 0u);
    }
}

TEST(WebSocket, Messages) {
    Line line;
    line.enter();
    line.bring({0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d}); // 5.7, in two pieces
    line.bring({0x51, 0x58});
    EXPECT_EQ(text(line.data), "Hello");
    line.bring({0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}); // a ping
    EXPECT_EQ(line.output, Bytes({0x8a, 5, 'H', 'e', 'l', 'l', 'o'}));
    line.data.clear();
    Bytes large = {0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4};
    for (unsigned n = 0; n < 256; ++n)
        large.push_back(u8(n ^ (1 + (n & 3))));
    line.bring(large);
    ASSERT_EQ(line.data.size(), 256u);
    EXPECT_EQ(line.data[255], 255);
    line.output.clear();
    WebSocket::put(Bytes(200, 7), line.output);
    EXPECT_EQ(Bytes(line.output.begin(), line.output.begin() + 5), Bytes({0x82, 126, 0, 200, 7}));
    line.output.clear();
    line.bring({0x88, 0x80, 0, 0, 0, 0});
    EXPECT_EQ(line.output, Bytes({0x88, 0}));
    EXPECT_TRUE(line.socket.ended());
}

TEST(WebSocket, FramesOfNoForm) {
    for (const Bytes& bad : {Bytes{0x82, 0x05}, Bytes{0xc2, 0x80}, Bytes{0x83, 0x80}, Bytes{0x09, 0x80},
                             Bytes{0x89, 0xfe}, Bytes{0x8b, 0x80}}) {
        Line line;
        line.enter();
        line.bring(bad);
        EXPECT_TRUE(line.socket.ended()) << int(bad[0]) << " " << int(bad[1]);
        EXPECT_TRUE(line.data.empty());
    }
}

} // namespace
} // namespace dragoman::runtime
