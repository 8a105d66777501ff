// In the sandbox a guest on the user network asks 10.0.2.3 for names, and the host's resolver answers; and it
// gets the files of tftp= from 10.0.2.2.
#include "base/types.h"
#include "child.h"
#include "runtime/known_files.h"
#include "runtime/net_user.h"
#include "runtime/sandbox.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace dragoman::runtime {
namespace {

using Frame = std::vector<u8>;

class Card final : public hw::NetReceiver {
  public:
    bool can_receive() override { return true; }
    void receive(std::span<const u8> frame) override { received.emplace_back(frame.begin(), frame.end()); }
    void link_changed(bool) override {}
    std::vector<Frame> received;
};

u16 checksum(const u8* from, std::size_t bytes) {
    u32 sum = 0;
    for (std::size_t n = 0; n < bytes; n += 2)
        sum += u32{from[n]} << 8 | from[n + 1];
    return u16(~(sum + (sum >> 16)));
}

// UDP from the guest's port 4000 to a port of 10.0.2.`host`.
Frame udp(u8 host, u8 port, const std::string& text) {
    const u8 ip_bytes = u8(28 + text.size()), udp_bytes = u8(8 + text.size());
    Frame frame = {0x52, 0x55, 10, 0,        2, host, 0x52, 0x54, 0,  0x12, 0x34, 0x56,      8,  0,
                   0x45, 0,    0,  ip_bytes, 0, 1,    0,    0,    64, 17,   0,    0,         10, 0,
                   2,    15,   10, 0,        2, host, 0x0f, 0xa0, 0,  port, 0,    udp_bytes, 0,  0};
    const u16 sum = checksum(&frame[14], 20);
    frame[24] = u8(sum >> 8), frame[25] = u8(sum);
    frame.resize(std::max<std::size_t>(42 + text.size(), 60));
    std::copy(text.begin(), text.end(), frame.begin() + 42);
    return frame;
}

// By which libslirp learns the guest's address.
Frame introduction() {
    Frame arp = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0x12, 0x34, 0x56, 8,    6,
                 0,    1,    8,    0,    6,    4,    0,    1,    0x52, 0x54, 0,    0x12, 0x34, 0x56,
                 10,   0,    2,    15,   0,    0,    0,    0,    0,    0,    10,   0,    2,    3};
    arp.resize(60);
    return arp;
}

// The text of the UDP packet in a frame; empty: there is none.
std::string text_in(const Frame& frame) {
    if (frame.size() < 42 || frame[23] != 17) return "";
    const std::size_t bytes = frame[38] * 256u + frame[39];
    return std::string(frame.begin() + 42, frame.begin() + long(std::min(34 + bytes, frame.size())));
}

// A resolver that answers every question with its own address.
bool start_resolver(const char* address) {
    sockaddr_in at{};
    at.sin_family = AF_INET, at.sin_port = htons(53);
    inet_pton(AF_INET, address, &at.sin_addr);
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) return false;
    std::thread([fd, address] {
        for (;;) {
            char text[512];
            sockaddr_in from{};
            socklen_t size = sizeof from;
            if (recvfrom(fd, text, sizeof text, 0, reinterpret_cast<sockaddr*>(&from), &size) < 0) return;
            (void)sendto(fd, address, std::strlen(address), 0, reinterpret_cast<sockaddr*>(&from), size);
        }
    }).detach();
    return true;
}

// A host of one's own: a loopback interface, and `file` in the place of /etc/resolv.conf.
bool make_host(const std::string& file) {
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0)
        return false;
    if (mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
    if (mount(file.c_str(), "/etc/resolv.conf", nullptr, MS_BIND, nullptr) != 0) return false;
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ifreq lo{};
    std::strcpy(lo.ifr_name, "lo");
    lo.ifr_flags = IFF_UP | IFF_RUNNING;
    return ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
}

enum Outcome { Good, NoNamespaces, NoResolver, NoSandbox, FirstAnswer, SecondAnswer };

Outcome ask(const std::string& file) {
    std::FILE* resolver = std::fopen(file.c_str(), "w");
    const auto name_server = [&](const char* address) {
        std::rewind(resolver);
        std::fprintf(resolver, "nameserver %-12s\n", address);
        std::fflush(resolver);
    };
    name_server("127.0.0.2");
    if (!make_host(file)) return NoNamespaces;
    if (!start_resolver("127.0.0.2") || !start_resolver("127.0.0.33")) return NoResolver;
    Log log{std::fopen("/dev/null", "w")};
    hw::SteppedClock clock;
    hw::Scheduler scheduler{clock};
    Waker waker{[] {}};
    auto net = NetUser::open("u0", {}, waker, scheduler, log, [] {});
    if (!net) return NoResolver;
    Card card;
    (*net)->attach(card);
    if (!enter_sandbox({.connections = true})) return NoSandbox;
    const auto answered = [&](const std::string& text) {
        const auto holds = [&](const Frame& f) { return text_in(f).rfind(text, 0) == 0; };
        for (unsigned n = 0; n < 100; ++n) { // the clock is looked at after a question
            (*net)->send(udp(3, 53, "name?"));
            const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
            while (std::chrono::steady_clock::now() < end) {
                waker.dispatch();
                (*net)->service(true);
                if (std::any_of(card.received.begin(), card.received.end(), holds)) return true;
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
        }
        return false;
    };
    (*net)->send(introduction());
    if (!answered("127.0.0.2")) return FirstAnswer;
    name_server("127.0.0.33");
    clock.set(5'000'000'000);
    scheduler.run_due();
    if (!answered("127.0.0.33")) return SecondAnswer;
    return Good;
}

TEST(Sandbox, NamesOfAUserNetwork) {
    char file[] = "/tmp/dragoman-resolver-XXXXXX";
    close(mkstemp(file));
    const int result = in_child([&] { return ask(file); });
    unlink(file);
    ASSERT_GE(result, 0);
    if (result == NoNamespaces) GTEST_SKIP() << "no namespaces of one's own here";
    constexpr const char* failed[] = {
        "", "", "the resolver", "the sandbox", "no answer", "no answer after the resolver's address changed"};
    EXPECT_EQ(result, Good) << failed[result];
}

// What the guest gets when it asks for a file: its first block, or "error".
std::string tftp(NetUser& net, Card& card, const std::string& name) {
    card.received.clear();
    net.send(udp(2, 69, std::string("\0\1", 2) + name + '\0' + "octet" + '\0'));
    net.service(true);
    for (const Frame& frame : card.received) {
        const std::string text = text_in(frame);
        if (text.size() >= 4 && text[1] == 3) return text.substr(4);
        if (text.size() >= 4 && text[1] == 5) return "error";
    }
    return "nothing";
}

int ask_for_files(const std::string& folder) {
    const auto write = [](const std::string& path, const char* text) {
        std::FILE* file = std::fopen(path.c_str(), "w");
        std::fputs(text, file);
        std::fclose(file);
    };
    mkdir((folder + "/root").c_str(), 0700), mkdir((folder + "/root/sub").c_str(), 0700);
    write(folder + "/outside", "outside"), write(folder + "/root/loader", "loader");
    write(folder + "/root/sub/menu", "menu");
    (void)!symlink("../loader", (folder + "/root/sub/link").c_str());
    (void)!symlink("..", (folder + "/root/sub/circle").c_str());
    Log log{std::fopen("/dev/null", "w")};
    hw::SteppedClock clock;
    hw::Scheduler scheduler{clock};
    Waker waker{[] {}};
    UserNetwork option;
    option.tftp = folder + "/root";
    auto net = NetUser::open("u0", option, waker, scheduler, log, [] {});
    if (!net) return 1;
    Card card;
    (*net)->attach(card);
    const SandboxNeeds needs{.connections = true, .tftp_folders = {option.tftp}};
    if (const auto entered = enter_sandbox(needs); !entered) return 2;
    (*net)->send(introduction());
    const std::pair<const char*, const char*> files[] = {
        {"loader", "loader"},    {"/loader", "loader"},  {"sub/menu", "menu"},
        {"sub/./menu", "menu"},  {"sub/link", "loader"}, {"sub/circle/loader", "loader"},
        {"loader", "loader"},    {"nosuch", "error"},    {"sub", "error"},
        {"../outside", "error"}, {"loaderx", "error"},   {"/etc/passwd", "error"}};
    for (const auto& [name, wanted] : files)
        if (const std::string got = tftp(**net, card, name); got != wanted) {
            std::printf("%s: %s\n", name, got.c_str());
            return 3;
        }
    if (open((folder + "/root/loader").c_str(), O_RDWR) >= 0) return 4;
    return open((folder + "/outside").c_str(), O_RDONLY) >= 0 ? 5 : 0;
}

TEST(Sandbox, FilesOfAUserNetwork) {
    char folder[] = "/tmp/dragoman-tftp-XXXXXX";
    ASSERT_TRUE(mkdtemp(folder));
    const int result = in_child([&] { return ask_for_files(folder); });
    std::filesystem::remove_all(folder);
    constexpr const char* failed[] = {
        "", "the network", "the sandbox", "a file", "a file for writing is open", "a file outside is open"};
    ASSERT_GE(result, 0);
    EXPECT_EQ(result, 0) << failed[result];
}

TEST(KnownFiles, SpellingsAndLimits) {
    char folder[] = "/tmp/dragoman-known-XXXXXX";
    ASSERT_TRUE(mkdtemp(folder));
    const std::string name = folder;
    for (const char* file : {"/a", "/b"})
        std::fclose(std::fopen((name + file).c_str(), "w"));
    KnownFiles files;
    ASSERT_TRUE(files.add_folder(name));
    const auto knows = [&](const std::string& path) {
        const int fd = files.open(path.c_str());
        if (fd >= 0) close(fd);
        return fd >= 0;
    };
    for (const char* path : {"/a", "//a", "/./b", "/.//./b"})
        EXPECT_TRUE(knows(name + path)) << path;
    for (const char* path : {"", "/", "/aa", "/.a", "/a.", "/../a", "/a/b", "/."})
        EXPECT_FALSE(knows(name + path)) << path;
    EXPECT_TRUE(knows("/" + name + "/a"));
    EXPECT_FALSE(knows((name + "/a").substr(1))) << "a relative path is another one";
    EXPECT_FALSE(files.add_folder(name + "/nosuch"));
    std::filesystem::remove_all(folder);
}

} // namespace
} // namespace dragoman::runtime
