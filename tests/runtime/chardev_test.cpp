#include "runtime/chardev.h"

#include "runtime/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace dragoman::runtime {
namespace {

class Receiver final : public hw::CharReceiver {
  public:
    bool can_receive() const override { return received.size() < room; }
    void receive(u8 byte) override { received += char(byte); }
    std::string received;
    std::size_t room = ~std::size_t{0};
};

// A port that nobody listens at.
unsigned free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    socklen_t size = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    close(fd);
    return ntohs(address.sin_port);
}

class ChardevTest : public testing::Test {
  protected:
    ChardevTest() {
        char name[] = "/tmp/dragoman-chardev-XXXXXX";
        directory_ = mkdtemp(name);
    }
    ~ChardevTest() override {
        chardev_.reset();
        std::ignore = std::system(("rm -r " + directory_).c_str());
        std::fclose(log_file_);
    }
    void open(const std::string& spec) {
        auto opened = open_chardev("-serial", spec, "serial0", waker_, log_);
        ASSERT_TRUE(opened) << opened.error().message;
        chardev_ = std::move(*opened);
        chardev_->attach(receiver_);
    }
    std::string error_of(const std::string& spec) {
        auto opened = open_chardev("-serial", spec, "serial0", waker_, log_);
        return opened ? "opened" : opened.error().message;
    }
    // Lets the character device work until `done`, at most five seconds.
    template <class Done> bool pump(Done done) {
        for (int i = 0; i < 5000; ++i) {
            waker_.dispatch();
            if (chardev_) chardev_->service();
            if (done()) return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return false;
    }
    bool pump_until_received(std::string_view text) {
        return pump([&] { return receiver_.received == text; });
    }
    void send(std::string_view text) {
        chardev_->write({reinterpret_cast<const u8*>(text.data()), text.size()});
    }
    // What the other end has to read now, at least `count` bytes.
    std::string read_from(int fd, std::size_t count) {
        std::string text;
        fcntl(fd, F_SETFL, O_NONBLOCK);
        pump([&] {
            char bytes[4096];
            const ssize_t n = ::read(fd, bytes, sizeof bytes);
            if (n > 0) text.append(bytes, std::size_t(n));
            return text.size() >= count;
        });
        return text;
    }
    std::string log_text() {
        std::fflush(log_file_);
        std::rewind(log_file_);
        char text[4096] = {};
        std::ignore = std::fread(text, 1, sizeof text - 1, log_file_);
        return text;
    }

    std::string directory_;
    std::FILE* log_file_ = std::tmpfile();
    Log log_{log_file_};
    Waker waker_{[] {}};
    Receiver receiver_;
    std::unique_ptr<Chardev> chardev_;
};

TEST_F(ChardevTest, FileTakesOutput) {
    const std::string name = directory_ + "/out";
    std::ofstream(name) << "what was there before is gone";
    open("file:" + name);
    send("hello ");
    send(std::string("\0\xff", 2));
    std::stringstream text;
    text << std::ifstream(name).rdbuf();
    EXPECT_EQ(text.str(), std::string("hello \0\xff", 8));
}

TEST_F(ChardevTest, TcpServerServesOneClientAfterTheOther) {
    const std::string port = std::to_string(free_port());
    open("tcp:127.0.0.1:" + port + ",server,nowait");
    unsigned greeted = 0, left = 0;
    chardev_->on_connect([&] { ++greeted; });
    chardev_->on_disconnect([&] { ++left; });
    EXPECT_FALSE(chardev_->attended());
    send("nobody hears this");
    for (unsigned round = 1; round <= 3; ++round) {
        auto client = connect_tcp({"127.0.0.1", port});
        ASSERT_TRUE(client) << client.error().message;
        ASSERT_TRUE(pump([&] { return greeted == round; })) << "round " << round;
        EXPECT_TRUE(chardev_->attended());
        receiver_.received.clear();
        ASSERT_EQ(::write(*client, "in\xff", 3), 3);
        EXPECT_TRUE(pump_until_received("in\xff")) << receiver_.received;
        send("out");
        EXPECT_EQ(read_from(*client, 3), "out");
        close(*client);
        ASSERT_TRUE(pump([&] { return left == round; })) << "round " << round;
        EXPECT_FALSE(chardev_->attended());
    }
}

TEST_F(ChardevTest, OtherSpellingsOfServerWords) {
    const std::string port = std::to_string(free_port());
    open("tcp::" + port + ",server=on,wait=off,nodelay=on");
    auto client = connect_tcp({"", port});
    ASSERT_TRUE(client) << client.error().message;
    EXPECT_TRUE(pump([&] { return chardev_->attended(); }));
    close(*client);
}

TEST_F(ChardevTest, TcpClient) {
    const std::string port = std::to_string(free_port());
    auto listener = listen_tcp({"", port});
    ASSERT_TRUE(listener) << listener.error().message;
    open("tcp::" + port);
    const int peer = accept_client(*listener);
    ASSERT_GE(peer, 0);
    send("x");
    EXPECT_EQ(read_from(peer, 1), "x");
    close(peer);
    EXPECT_TRUE(pump([&] { return !chardev_->attended(); }));
    send("into the void");
    close(*listener);
}

TEST_F(ChardevTest, ServerWithoutNowaitWaitsForItsClient) {
    const std::string path = directory_ + "/socket";
    std::thread later([&] {
        for (int i = 0; i < 5000; ++i) {
            if (auto client = connect_unix(path)) {
                std::ignore = ::write(*client, "late", 4);
                close(*client);
                return;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    open("unix:" + path + ",server");
    EXPECT_TRUE(chardev_->attended());
    later.join();
    EXPECT_TRUE(pump_until_received("late"));
}

TEST_F(ChardevTest, UnixSocketFileComesAndGoes) {
    const std::string path = directory_ + "/socket";
    open("unix:" + path + ",server,nowait");
    EXPECT_EQ(error_of("unix:" + path + ",server,nowait"),
              "-serial unix:" + path + ",server,nowait: cannot listen: another program does already");
    chardev_.reset();
    struct stat st;
    EXPECT_NE(lstat(path.c_str(), &st), 0) << "the socket is still there";
    // One left behind by a program that ended badly is replaced.
    auto left_behind = listen_unix(path);
    ASSERT_TRUE(left_behind);
    close(*left_behind);
    open("unix:" + path + ",server,nowait");
}

TEST_F(ChardevTest, SlowReceiverHoldsInputBack) {
    const std::string path = directory_ + "/socket";
    receiver_.room = 10;
    open("unix:" + path + ",server,nowait");
    auto client = connect_unix(path);
    ASSERT_TRUE(client);
    fcntl(*client, F_SETFL, O_NONBLOCK);
    std::string sent;
    for (int i = 0; i < 200; ++i) { // much more than is kept anywhere
        std::string piece(5000, char('a' + i % 26));
        const ssize_t n = ::write(*client, piece.data(), piece.size());
        if (n > 0) sent += piece.substr(0, std::size_t(n));
        waker_.dispatch();
        chardev_->service();
    }
    EXPECT_TRUE(pump([&] { return receiver_.received.size() == 10; })) << receiver_.received.size();
    EXPECT_LT(sent.size(), 1000000u) << "somebody took it all";
    receiver_.room = ~std::size_t{0};
    EXPECT_TRUE(pump_until_received(sent)) << "got " << receiver_.received.size() << " of " << sent.size();
    close(*client);
}

TEST_F(ChardevTest, SlowClientLosesOutputAndNobodyWaits) {
    const std::string path = directory_ + "/socket";
    open("unix:" + path + ",server,nowait");
    auto client = connect_unix(path);
    ASSERT_TRUE(client);
    ASSERT_TRUE(pump([&] { return chardev_->attended(); }));
    for (int i = 0; i < 1000; ++i)
        send(std::string(1000, 'x'));
    EXPECT_NE(log_text().find("output is lost"), std::string::npos) << log_text();
    // What was kept arrives once it reads, without anything more being written.
    const std::string got = read_from(*client, 65536);
    EXPECT_GE(got.size(), 65536u);
    EXPECT_LT(got.size(), 1000000u);
    close(*client);
    for (int i = 0; i < 100; ++i) // and no signal ends us
        send("y");
    EXPECT_TRUE(pump([&] { return !chardev_->attended(); }));
}

TEST_F(ChardevTest, TelnetCommandsAreNotData) {
    const std::string port = std::to_string(free_port());
    open("telnet::" + port + ",server,nowait");
    auto client = connect_tcp({"", port});
    ASSERT_TRUE(client);
    const std::string hello = read_from(*client, 12);
    EXPECT_EQ(hello, std::string("\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00", 12));
    const std::string in("a\xff\xfd\x01"
                         "b\xff\xff"
                         "c\xff\xfa\x18\x00\xff\xf0"
                         "d\xff\xf1"
                         "e",
                         18);
    ASSERT_EQ(::write(*client, in.data(), in.size()), ssize_t(in.size()));
    EXPECT_TRUE(pump_until_received("ab\xff"
                                    "cde"))
        << receiver_.received;
    send("\xff!");
    EXPECT_EQ(read_from(*client, 3), "\xff\xff!");
    close(*client);
}

TEST_F(ChardevTest, Pipes) {
    const std::string name = directory_ + "/pipe";
    EXPECT_NE(error_of("pipe:" + name).find("expected named pipes"), std::string::npos);
    ASSERT_EQ(mkfifo((name + ".in").c_str(), 0600), 0);
    ASSERT_EQ(mkfifo((name + ".out").c_str(), 0600), 0);
    open("pipe:" + name);
    const int in = ::open((name + ".in").c_str(), O_RDWR), out = ::open((name + ".out").c_str(), O_RDWR);
    ASSERT_EQ(::write(in, "in", 2), 2);
    EXPECT_TRUE(pump_until_received("in"));
    send("out");
    EXPECT_EQ(read_from(out, 3), "out");
    close(in);
    close(out);
}

TEST_F(ChardevTest, PseudoTerminal) {
    testing::internal::CaptureStderr();
    open("pty");
    const std::string said = testing::internal::GetCapturedStderr();
    const std::string before = "char device redirected to ", after = " (label serial0)\n";
    ASSERT_EQ(said.substr(0, before.size()), before);
    ASSERT_EQ(said.substr(said.size() - after.size()), after);
    const std::string path = said.substr(before.size(), said.size() - before.size() - after.size());
    for (int round = 0; round < 2; ++round) { // it may be closed and opened again
        const int fd = ::open(path.c_str(), O_RDWR | O_NOCTTY);
        ASSERT_GE(fd, 0) << path;
        receiver_.received.clear();
        ASSERT_EQ(::write(fd, "\x03\r", 2), 2);
        EXPECT_TRUE(pump_until_received("\x03\r")) << "raw, without line editing";
        send("a\n");
        EXPECT_EQ(read_from(fd, 2), "a\n");
        close(fd);
    }
}

TEST_F(ChardevTest, ErrorsNameOptionValueAndWhatWasExpected) {
    const unsigned busy = free_port();
    auto listener = listen_tcp({"", std::to_string(busy)});
    ASSERT_TRUE(listener);
    const std::string in_use = "tcp::" + std::to_string(busy) + ",server,nowait";
    const std::string nobody = "tcp:127.0.0.1:" + std::to_string(free_port());
    const std::pair<std::string, const char*> rows[] = {
        {"file:/nonexistent/x", "No such file"},
        {"file:/", "directory"},
        {in_use, "cannot listen: Address already in use"},
        {nobody, "cannot connect: Connection refused"},
        {"tcp:host.invalid:1", "host host.invalid"},
        {"tcp:noport", "expected tcp:[HOST]:PORT"},
        {"tcp::65536", "expected tcp:[HOST]:PORT"},
        {"tcp::-1", "expected tcp:[HOST]:PORT"},
        {"tcp::1,sever", "expected tcp:[HOST]:PORT"},
        {"tcp::1,server=maybe", "expected tcp:[HOST]:PORT"},
        {"telnet:x", "expected telnet:[HOST]:PORT"},
        {"unix:,server", "expected unix:PATH"},
        {"unix:/nonexistent/s,server,nowait", "cannot listen: No such file"},
        {"unix:/nonexistent/s", "cannot connect: No such file"},
        {"unix:" + std::string(200, 'x'), "expected a path"},
        {"foo:", "expected file:NAME"},
    };
    for (const auto& [spec, what] : rows) {
        const std::string message = error_of(spec);
        EXPECT_EQ(message.rfind("-serial " + spec + ": ", 0), 0u) << message;
        EXPECT_NE(message.find(what), std::string::npos) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
    close(*listener);
}

} // namespace
} // namespace dragoman::runtime
