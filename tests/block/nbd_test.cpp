// Disks on a server: QEMU's lends them here.
#include "block/nbd_image.h"

#include "block_test_support.h"

#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

namespace dragoman::block::test {
namespace {

TEST(NbdNames, WhatIsOne) {
    const auto tcp = parse_nbd("nbd:host:10809:exportname=a:b");
    ASSERT_TRUE(tcp);
    EXPECT_EQ(tcp->host, "host");
    EXPECT_EQ(tcp->port, "10809");
    EXPECT_EQ(tcp->name, "a:b");
    EXPECT_EQ(parse_nbd("nbd:[::1]:1")->host, "::1");
    EXPECT_EQ(parse_nbd("nbd:unix:/run/s:exportname=x")->socket, "/run/s");
    EXPECT_EQ(parse_nbd("nbd+unix:///x?socket=/run/s")->uri, "nbd+unix:///x?socket=/run/s");
    for (const char* other : {"nbd", "./nbd:x:1", "nbdx:a:1", "file:nbd:x", "/dev/nbd0", ""})
        EXPECT_FALSE(parse_nbd(other)) << other;
}

class NbdTest : public BlockTest {
  protected:
    void TearDown() override {
        if (server > 0) {
            kill(server, SIGTERM);
            waitpid(server, nullptr, 0);
        }
        BlockTest::TearDown();
    }
    std::string name() const { return "nbd:unix:" + path("socket"); }
    // A disk of 3 MiB and one byte's sector, full of a pattern.
    void serve(bool read_only = false) {
        std::ofstream out(path("disk"), std::ios::binary);
        for (std::size_t n = 0; n < bytes; ++n)
            out.put(char(n / 4096 + n));
        out.close();
        server = fork();
        ASSERT_GE(server, 0);
        if (server == 0) {
            const std::string socket = path("socket"), disk = path("disk");
            execlp("qemu-nbd", "qemu-nbd", "-k", socket.c_str(), "-f", "raw", "-t", "--discard=unmap",
                   disk.c_str(), read_only ? "-r" : nullptr, nullptr);
            _exit(1);
        }
        for (unsigned n = 0; n < 500 && access(path("socket").c_str(), F_OK) != 0; ++n)
            usleep(10'000);
    }
    std::unique_ptr<Image> open_it(bool read_only = false) {
        OpenOptions options;
        options.read_only = read_only;
        auto opened = open_image(name(), options);
        EXPECT_TRUE(opened) << (opened ? "" : opened.error().message);
        return opened ? std::move(*opened) : nullptr;
    }
    std::vector<u8> contents() const {
        std::ifstream in(path("disk"), std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    static constexpr std::size_t bytes = 3 * MiB + 512;
    pid_t server = -1;
};

#define NEEDS_SERVER                                                                                         \
    if (std::system("command -v qemu-nbd >/dev/null 2>&1") != 0) GTEST_SKIP() << "no qemu-nbd here"

TEST_F(NbdTest, ReadsAndWrites) {
    NEEDS_SERVER;
    serve();
    const auto image = open_it();
    ASSERT_TRUE(image);
    EXPECT_EQ(image->bytes(), bytes);
    EXPECT_FALSE(image->read_only());
    std::vector<u8> wanted = contents(), got(bytes);
    ASSERT_FALSE(image->read(0, got.data(), bytes).failed()) << "more than one request takes";
    EXPECT_EQ(got, wanted);
    const std::vector<u8> news(2 * MiB, 0x5a);
    ASSERT_FALSE(image->write(512, news.data(), news.size()).failed());
    std::copy(news.begin(), news.end(), wanted.begin() + 512);
    ASSERT_FALSE(image->write_zeroes(1 * MiB, 4096, false).failed());
    ASSERT_FALSE(image->write_zeroes(2 * MiB, 65536, true).failed());
    std::fill_n(wanted.begin() + 1 * MiB, 4096, u8{0});
    std::fill_n(wanted.begin() + 2 * MiB, 65536, u8{0});
    ASSERT_FALSE(image->discard(bytes - 512, 512).failed());
    ASSERT_FALSE(image->flush().failed());
    ASSERT_FALSE(image->read(0, got.data(), bytes).failed());
    std::vector<u8> disk = contents();
    EXPECT_EQ(got, disk);
    disk.resize(bytes - 512), wanted.resize(bytes - 512); // what was discarded may be anything
    EXPECT_EQ(disk, wanted);
    EXPECT_TRUE(image->resize(2 * bytes).failed());
}

TEST_F(NbdTest, ReadingOnly) {
    NEEDS_SERVER;
    serve(true);
    EXPECT_NE(error_of(name(), false).find("readonly=on"), std::string::npos);
    const auto image = open_it(true);
    ASSERT_TRUE(image);
    u8 sector[512];
    EXPECT_FALSE(image->read(0, sector, sizeof sector).failed());
    EXPECT_TRUE(image->write(0, sector, sizeof sector).failed());
}

TEST_F(NbdTest, AServerThatGoesAway) {
    NEEDS_SERVER;
    serve();
    const auto image = open_it();
    ASSERT_TRUE(image);
    kill(server, SIGKILL);
    waitpid(server, nullptr, 0);
    server = -1;
    u8 sector[512] = {};
    const Outcome o = image->read(0, sector, sizeof sector);
    EXPECT_TRUE(o.failed());
    EXPECT_NE(o.message.find(name()), std::string::npos) << o.message;
    EXPECT_TRUE(image->write(0, sector, sizeof sector).failed());
    EXPECT_TRUE(image->flush().failed());
}

TEST_F(NbdTest, WhatIsNoServer) {
    EXPECT_NE(error_of(name()).find(name()), std::string::npos) << "nobody there";
    EXPECT_NE(error_of("nbd:nowhere").find("expected nbd:HOST:PORT"), std::string::npos);
    EXPECT_NE(error_of(name(), false, "qcow2").find("expected raw"), std::string::npos);
    // One that says anything but what the protocol has it say.
    const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path("socket").c_str());
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener, 1), 0);
    server = fork();
    if (server == 0) {
        const int to = accept(listener, nullptr, nullptr);
        for (const char* noise = "NBDMAGIC and nothing that fits"; *noise; ++noise)
            (void)!write(to, noise, 1);
        _exit(0);
    }
    close(listener);
    EXPECT_NE(error_of(name()).find(name()), std::string::npos);
}

} // namespace
} // namespace dragoman::block::test
