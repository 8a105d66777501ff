// What stands behind network cards: the user network, cables between emulators, captures.
#include "runtime/net_stream.h"
#include "runtime/net_user.h"
#include "runtime/socket.h"

#include <arpa/inet.h>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sstream>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace dragoman::runtime {
namespace {

using Frame = std::vector<u8>;

class Card final : public hw::NetReceiver {
  public:
    explicit Card(NetPort& port) : up(port.link()) { port.attach(*this); }
    bool can_receive() override { return received.size() < room; }
    void receive(std::span<const u8> frame) override { received.emplace_back(frame.begin(), frame.end()); }
    void link_changed(bool to) override { up = to; }
    std::vector<Frame> received;
    std::size_t room = ~std::size_t{0};
    bool up;
};

Frame frame_of(std::size_t bytes, u8 seed) {
    Frame frame(bytes);
    for (std::size_t n = 0; n < bytes; ++n)
        frame[n] = u8(n * 31 + seed);
    return frame;
}

class NetworkTest : public testing::Test {
  protected:
    NetworkTest() {
        char name[] = "/tmp/dragoman-network-XXXXXX";
        directory_ = mkdtemp(name);
    }
    ~NetworkTest() override { std::ignore = std::system(("rm -r " + directory_).c_str()); }

    std::unique_ptr<NetStream> stream(bool server) {
        StreamNetwork option;
        option.server = server;
        option.path = directory_ + "/cable";
        auto opened = NetStream::open("n0", option, waker_, log_, [] {});
        EXPECT_TRUE(opened) << opened.error().message;
        return opened ? std::move(*opened) : nullptr;
    }
    std::unique_ptr<NetUser> user(const UserNetwork& option = {}) {
        auto opened = NetUser::open("u0", option, waker_, scheduler_, log_, [] {});
        EXPECT_TRUE(opened) << opened.error().message;
        return opened ? std::move(*opened) : nullptr;
    }
    // Plays the run loop until `done`, or long enough.
    template <class F> bool run_until(std::vector<NetPort*> ports, F done) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!done()) {
            if (std::chrono::steady_clock::now() > end) return false;
            waker_.dispatch();
            for (NetPort* port : ports)
                port->service(true);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return true;
    }

    std::string directory_;
    Log log_{std::fopen("/dev/null", "w")};
    hw::SteppedClock clock_;
    hw::Scheduler scheduler_{clock_};
    Waker waker_{[] {}};
};

TEST_F(NetworkTest, ACableCarriesFrames) {
    auto a = stream(true);
    ASSERT_TRUE(a);
    Card card_a(*a);
    EXPECT_FALSE(card_a.up) << "nobody at the other end";
    a->send(frame_of(60, 1));
    auto b = stream(false);
    ASSERT_TRUE(b);
    Card card_b(*b);
    EXPECT_TRUE(card_b.up);
    ASSERT_TRUE(run_until({a.get(), b.get()}, [&] { return card_a.up; }));
    std::vector<Frame> sent;
    for (unsigned n = 0; n < 300; ++n)
        sent.push_back(frame_of(14 + n * 50, u8(n)));
    for (std::size_t n = 0; n < sent.size(); ++n) {
        a->send(sent[n]);
        if (n % 10 != 9) continue;
        ASSERT_TRUE(run_until({a.get(), b.get()}, [&] { return card_b.received.size() == n + 1; })) << n;
    }
    b->send(sent[7]);
    ASSERT_TRUE(run_until({a.get(), b.get()}, [&] { return !card_a.received.empty(); }));
    EXPECT_EQ(card_b.received, sent);
    EXPECT_EQ(card_a.received[0], sent[7]);
    b.reset();
    ASSERT_TRUE(run_until({a.get()}, [&] { return !card_a.up; }));
    b = stream(false);
    EXPECT_TRUE(run_until({a.get()}, [&] { return card_a.up; })) << "the next client";
}

TEST_F(NetworkTest, WhatNobodyTakesIsBounded) {
    auto a = stream(true), b = stream(false);
    ASSERT_TRUE(a && b);
    Card card_a(*a), card_b(*b);
    ASSERT_TRUE(run_until({a.get(), b.get()}, [&] { return card_a.up; }));
    card_b.room = 0;
    const Frame frame = frame_of(1514, 1);
    for (unsigned n = 0; n < 8000; ++n) { // 12 MB
        a->send(frame);
        if (n % 16 == 0)
            run_until({a.get(), b.get()}, [&, once = false]() mutable { return std::exchange(once, true); });
    }
    card_b.room = ~std::size_t{0};
    a->send(frame_of(99, 9));
    std::size_t before = 0;
    do {
        before = card_b.received.size();
        for (unsigned n = 0; n < 50; ++n)
            run_until({a.get(), b.get()}, [&, once = false]() mutable { return std::exchange(once, true); });
    } while (card_b.received.size() != before);
    EXPECT_GT(card_b.received.size(), 100u);
    EXPECT_LT(card_b.received.size(), 5000u) << "about 4 MB can be under way";
    for (const Frame& received : card_b.received)
        ASSERT_TRUE(received == frame || received.size() == 99) << "whole frames only";
    a->send(frame_of(77, 7));
    EXPECT_TRUE(run_until({a.get(), b.get()}, [&] { return card_b.received.back().size() == 77; }))
        << "it goes on";
}

TEST_F(NetworkTest, NoiseEndsTheConnection) {
    auto a = stream(true);
    ASSERT_TRUE(a);
    Card card(*a);
    const auto fd = connect_unix(directory_ + "/cable");
    ASSERT_TRUE(fd);
    const u8 noise[] = {0, 0, 0, 2, 1, 2, 0x7f, 0xff, 0xff, 0xff, 5, 5, 5};
    ASSERT_EQ(write(fd.value(), noise, sizeof noise), ssize_t(sizeof noise));
    pollfd p{.fd = fd.value(), .events = POLLIN, .revents = 0};
    EXPECT_TRUE(run_until({a.get()}, [&] { return poll(&p, 1, 0) == 1; })) << "the connection stays open";
    close(fd.value());
    EXPECT_FALSE(card.up);
}

TEST_F(NetworkTest, TheUserPullsTheCable) {
    auto a = stream(true), b = stream(false);
    ASSERT_TRUE(a && b);
    Card card_a(*a), card_b(*b);
    ASSERT_TRUE(run_until({a.get(), b.get()}, [&] { return card_a.up; }));
    b->plug(false);
    EXPECT_FALSE(card_b.up);
    b->send(frame_of(60, 1));
    a->send(frame_of(60, 2));
    b->plug(true);
    EXPECT_TRUE(card_b.up);
    b->send(frame_of(60, 3));
    ASSERT_TRUE(run_until({a.get(), b.get()}, [&] { return !card_a.received.empty(); }));
    EXPECT_EQ(card_a.received, std::vector<Frame>{frame_of(60, 3)});
}

TEST_F(NetworkTest, CaptureFile) {
    const std::string file = directory_ + "/x.pcap";
    auto a = user();
    Card card(*a);
    auto capture = NetCapture::create(file, 64);
    ASSERT_TRUE(capture);
    a->add_capture(std::move(*capture));
    a->send(frame_of(1000, 3));
    std::ostringstream text;
    text << std::ifstream(file, std::ios::binary).rdbuf();
    const std::string bytes = text.str();
    ASSERT_EQ(bytes.size(), 24u + 16u + 64u);
    u32 word[10];
    std::memcpy(word, bytes.data(), sizeof word);
    EXPECT_EQ(word[0], 0xa1b2c3d4u);
    EXPECT_EQ(word[1], 0x00040002u) << "version 2.4";
    EXPECT_EQ(word[4], 64u);
    EXPECT_EQ(word[5], 1u);
    EXPECT_EQ(word[8], 64u);
    EXPECT_EQ(word[9], 1000u);
    EXPECT_EQ(Frame(bytes.begin() + 40, bytes.end()), frame_of(64, 3));
    EXPECT_FALSE(NetCapture::create(directory_ + "/no/x", 64));
}

Frame arp_request(u8 last) {
    Frame frame = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0x12, 0x34, 0x56, 8,    6,
                   0,    1,    8,    0,    6,    4,    0,    1,    0x52, 0x54, 0,    0x12, 0x34, 0x56,
                   10,   0,    2,    15,   0,    0,    0,    0,    0,    0,    10,   0,    2,    last};
    frame.resize(60);
    return frame;
}

TEST_F(NetworkTest, TheUserNetworkAnswers) {
    auto net = user();
    ASSERT_TRUE(net);
    Card card(*net);
    net->send(arp_request(2));
    ASSERT_TRUE(run_until({net.get()}, [&] { return !card.received.empty(); }));
    const Frame& reply = card.received[0];
    ASSERT_GE(reply.size(), 42u);
    EXPECT_EQ(reply[21], 2) << "an ARP reply";
    EXPECT_EQ(Frame(reply.begin() + 28, reply.begin() + 32), (Frame{10, 0, 2, 2}));
    card.received.clear();
    card.room = 0;
    net->send(arp_request(3));
    net->service(true);
    EXPECT_TRUE(card.received.empty());
    card.room = 1;
    net->service(false);
    EXPECT_TRUE(card.received.empty()) << "a machine that is stopped";
    net->service(true);
    EXPECT_EQ(card.received.size(), 1u);
}

TEST_F(NetworkTest, Forwards) {
    auto net = user();
    ASSERT_TRUE(net);
    Card card(*net);
    net->send(arp_request(2)); // libslirp learns the guest's address
    const int taken = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(bind(taken, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(taken, 1), 0);
    socklen_t size = sizeof address;
    getsockname(taken, reinterpret_cast<sockaddr*>(&address), &size);
    HostForward forward{false, INADDR_LOOPBACK, ntohs(address.sin_port), 0, 22};
    const auto refused = net->add_forward(forward);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("in use"), std::string::npos) << refused.error().message;
    close(taken);
    ASSERT_TRUE(net->add_forward(forward));
    const std::string port = std::to_string(forward.host_port);
    EXPECT_NE(net->describe().find(port), std::string::npos);
    const auto client = connect_tcp({"127.0.0.1", port});
    ASSERT_TRUE(client) << client.error().message;
    // The guest sees a SYN to its port 22.
    const auto is_syn = [](const Frame& f) {
        return f.size() >= 54 && f[12] == 8 && f[13] == 0 && f[23] == 6 && f[37] == 22 && (f[47] & 2);
    };
    EXPECT_TRUE(run_until({net.get()},
                          [&] { return std::any_of(card.received.begin(), card.received.end(), is_syn); }));
    close(client.value());
    EXPECT_TRUE(net->remove_forward(forward));
    EXPECT_FALSE(net->remove_forward(forward));
    EXPECT_FALSE(connect_tcp({"127.0.0.1", port}));
}

TEST_F(NetworkTest, AnyFramesIntoTheUserNetwork) {
    auto net = user();
    ASSERT_TRUE(net);
    Card card(*net);
    net->send({});
    net->send(frame_of(5, 1));
    for (u8 type : {u8{0x00}, u8{0x06}, u8{0xdd}})
        for (std::size_t bytes : {14, 15, 20, 34, 60, 1514, 9000, 65535}) {
            Frame frame = frame_of(bytes, type);
            frame[12] = type == 0xdd ? 0x86 : 0x08, frame[13] = type;
            if (bytes > 14) frame[14] = type == 0xdd ? 0x60 : 0x45;
            net->send(frame);
            net->service(true);
        }
    net->send(arp_request(2));
    EXPECT_TRUE(run_until({net.get()}, [&] { return !card.received.empty(); })) << "it still answers";
}

} // namespace
} // namespace dragoman::runtime
