// Debug console, exit port and POST port.
#include "hw/debug_ports.h"

#include "chip_test_support.h"

namespace dragoman::hw::test {
namespace {

class DebugPortsTest : public ::testing::Test, protected Bench {};

TEST_F(DebugPortsTest, Console) {
    struct Sink final : CharSink {
        void write(std::span<const u8> bytes) override { text.append(bytes.begin(), bytes.end()); }
        std::string text;
    } sink;
    DebugConsole console(sink);
    bus.map(DebugConsole::default_port, 1, console);
    bus.map(0x402, 1, console);
    EXPECT_EQ(in(0xe9), 0xe9);
    EXPECT_EQ(in(0x402), 0xe9);
    out(0xe9, 'a');
    out(0x402, 'b');
    console.write(0, 4, 0x66656463); // a wider write comes through whole
    EXPECT_EQ(sink.text, "abcdef");
}

TEST_F(DebugPortsTest, Exit) {
    int status = -1;
    IsaDebugExit port([&](int s) { status = s; });
    bus.map(IsaDebugExit::default_port, IsaDebugExit::default_size, port);
    EXPECT_EQ(in(0x501), 0);
    EXPECT_EQ(status, -1);
    out(0x501, 0x10);
    EXPECT_EQ(status, 0x21);
    bus.out(0x501, 2, 0);
    EXPECT_EQ(status, 1);
    port.write(0, 4, 0xffffffff); // no overflow
    EXPECT_EQ(u32(status), 0xffffffffu);
}

TEST_F(DebugPortsTest, Post) {
    std::vector<u8> codes;
    PostPort post([&](u8 code) { codes.push_back(code); });
    bus.map(PostPort::port, 1, post);
    out(0x80, 1);
    out(0x80, 1);
    out(0x80, 2);
    EXPECT_EQ(codes, (std::vector<u8>{1, 2}));
    EXPECT_EQ(in(0x80), 2);
    check_round_trip(post, [&] { out(0x80, 7); });
}

} // namespace
} // namespace dragoman::hw::test
