// VNC: a small viewer against the server, through a local socket; and viewers that mean harm.
#include "runtime/vnc_server.h"

#include "base/bits.h"

#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <random>
#include <sys/socket.h>
#include <unistd.h>

namespace dragoman::runtime {
namespace {

using Bytes = std::vector<u8>;
using hw::KeyCode;

class Picture final : public hw::DisplaySource {
  public:
    void render(hw::Surface& surface) override { surface = now; }
    bool take_changed() override { return std::exchange(changed, false); }
    void resize(u32 width, u32 height, u32 first) {
        now.resize(width, height);
        for (u32 n = 0; n < now.pixels.size(); ++n)
            now.pixels[n] = (first + n * 0x10203) & 0xffffff;
        changed = true;
    }
    hw::Surface now;
    bool changed = true;
};

class Vnc : public ::testing::Test {
  protected:
    Vnc() {
        std::string name = std::filesystem::temp_directory_path() / "dragoman-vnc.XXXXXX";
        folder = ::mkdtemp(name.data());
        picture.resize(200, 100, 0x123456);
    }
    ~Vnc() override {
        for (const int fd : viewers)
            close(fd);
        server.reset();
        std::filesystem::remove_all(folder);
    }
    void open(std::optional<std::string> password = {}) {
        VncScreen screen;
        screen.name = "here";
        screen.guarded = password.has_value();
        screen.password = std::move(password);
        screen.key = [this](KeyCode key, bool down) { keys.emplace_back(key, down); };
        screen.mouse = [this](int dx, int dy, int wheel, unsigned buttons) {
            moves.push_back({dx, dy, wheel, int(buttons)});
        };
        VncOption option;
        option.path = folder + "/socket";
        auto opened = VncServer::open(option, std::move(screen), picture, waker, scheduler);
        ASSERT_TRUE(opened) << opened.error().message;
        server = std::move(*opened);
    }
    // Lets the server do what it can.
    void turn(unsigned ms = 40) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
        do {
            waker.dispatch();
            clock.set(clock.now() + 5'000'000);
            scheduler.run_due();
            usleep(500);
        } while (std::chrono::steady_clock::now() < end);
    }
    int connect() {
        auto fd = connect_unix(folder + "/socket");
        EXPECT_TRUE(fd);
        fcntl(*fd, F_SETFL, O_NONBLOCK);
        viewers.push_back(*fd);
        return *fd;
    }
    static void say(int fd, const Bytes& bytes) {
        EXPECT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), ssize_t(bytes.size()));
    }
    static void say(int fd, const std::string& text) { say(fd, Bytes(text.begin(), text.end())); }
    // So many bytes from the server; fewer: there are no more, or it has hung up.
    Bytes hear(int fd, std::size_t count) {
        Bytes all;
        for (unsigned tries = 0; all.size() < count && tries < 400; ++tries) {
            u8 buffer[4096];
            const ssize_t n = recv(fd, buffer, std::min(sizeof buffer, count - all.size()), 0);
            if (n == 0) break;
            if (n > 0)
                all.insert(all.end(), buffer, buffer + n);
            else
                turn(5);
        }
        return all;
    }
    bool ended(int fd) {
        for (unsigned tries = 0; tries < 400; ++tries) {
            u8 buffer[4096];
            const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
            if (n == 0 || (n < 0 && errno != EAGAIN)) return true;
            turn(5);
        }
        return false;
    }
    // A viewer that is in, past ServerInit.
    int enter() {
        const int fd = connect();
        EXPECT_EQ(hear(fd, 12), Bytes({'R', 'F', 'B', ' ', '0', '0', '3', '.', '0', '0', '8', '\n'}));
        say(fd, "RFB 003.008\n");
        EXPECT_EQ(hear(fd, 2), Bytes({1, 1}));
        say(fd, Bytes{1});
        EXPECT_EQ(hear(fd, 4), Bytes({0, 0, 0, 0}));
        say(fd, Bytes{1});
        const Bytes init = hear(fd, 28);
        EXPECT_EQ(init.size(), 28u);
        EXPECT_EQ(rfb::get16(&init[0]), picture.now.width);
        EXPECT_EQ(rfb::get16(&init[2]), picture.now.height);
        EXPECT_EQ(std::string(init.begin() + 24, init.end()), "here");
        return fd;
    }
    static Bytes request(bool incremental) { return {3, incremental, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}; }
    struct Part {
        u32 x, y, width, height;
        i32 encoding;
        Bytes data;
    };
    // An update: of raw rectangles with 4 bytes a pixel, or of zlib ones.
    std::vector<Part> update(int fd, unsigned pixel_bytes = 4) {
        std::vector<Part> parts;
        const Bytes head = hear(fd, 4);
        if (head.size() != 4 || head[0] != 0) return parts;
        for (u32 n = rfb::get16(&head[2]); n; --n) {
            const Bytes at = hear(fd, 12);
            if (at.size() != 12) return {};
            Part part{rfb::get16(&at[0]), rfb::get16(&at[2]),      rfb::get16(&at[4]),
                      rfb::get16(&at[6]), i32(rfb::get32(&at[8])), {}};
            const std::size_t raw = std::size_t{part.width} * part.height * pixel_bytes;
            if (part.encoding == 0) part.data = hear(fd, raw);
            if (part.encoding == 6) {
                Bytes packed = hear(fd, rfb::get32(hear(fd, 4).data()));
                part.data.resize(raw);
                if (!inflating) inflateInit((inflating = std::make_unique<z_stream>()).get());
                inflating->next_in = packed.data(), inflating->avail_in = uInt(packed.size());
                inflating->next_out = part.data.data(), inflating->avail_out = uInt(raw);
                EXPECT_EQ(inflate(inflating.get(), Z_SYNC_FLUSH), Z_OK);
                EXPECT_EQ(inflating->avail_out, 0u);
            }
            parts.push_back(part);
        }
        return parts;
    }
    // The parts hold what the picture shows, and nothing twice. Returns the number of pixels.
    u32 check(const std::vector<Part>& parts) {
        u32 pixels = 0;
        for (const Part& part : parts) {
            if (part.encoding < 0) continue;
            pixels += part.width * part.height;
            for (u32 y = 0; y < part.height; ++y)
                for (u32 x = 0; x < part.width; ++x) {
                    const u8* p = &part.data[4 * (std::size_t{y} * part.width + x)];
                    const u32 got = p[0] | p[1] << 8 | p[2] << 16;
                    if (got != picture.now.line(part.y + y)[part.x + x]) {
                        ADD_FAILURE() << part.x + x << "," << part.y + y << ": " << std::hex << got;
                        return 0;
                    }
                }
        }
        return pixels;
    }

    std::string folder;
    hw::SteppedClock clock;
    hw::Scheduler scheduler{clock};
    Waker waker{[] {}};
    Picture picture;
    std::unique_ptr<VncServer> server;
    std::vector<int> viewers;
    std::vector<std::pair<KeyCode, bool>> keys;
    std::vector<std::array<int, 4>> moves;
    std::unique_ptr<z_stream> inflating;
};

TEST_F(Vnc, APictureAndWhatChangesInIt) {
    open();
    for (const bool zlib : {false, true}) {
        const int fd = enter();
        if (zlib) say(fd, Bytes{2, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0, 0});
        say(fd, request(false));
        EXPECT_EQ(check(update(fd)), 200u * 100u);
        say(fd, request(true));
        turn();
        u8 nothing;
        EXPECT_LT(recv(fd, &nothing, 1, 0), 0) << "nothing is new";
        picture.now.line(70)[130] ^= 0xff;
        picture.changed = true;
        const auto parts = update(fd);
        ASSERT_EQ(parts.size(), 1u);
        EXPECT_EQ(parts[0].encoding, zlib ? 6 : 0);
        EXPECT_EQ(parts[0].x, 128u);
        EXPECT_EQ(parts[0].y, 64u);
        EXPECT_EQ(check(parts), 64u * 36u);
        say(fd, request(false));
        EXPECT_EQ(check(update(fd)), 200u * 100u);
        if (inflating) inflateEnd(inflating.get());
    }
    EXPECT_EQ(server->describe(), "VNC at " + folder + "/socket: 2 viewers\n");
}

TEST_F(Vnc, AnotherSize) {
    open();
    const int plain = enter(), knows = enter();
    say(knows, Bytes{2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21});
    for (const int fd : {plain, knows}) {
        say(fd, request(false));
        EXPECT_EQ(check(update(fd)), 200u * 100u);
        say(fd, request(true));
    }
    picture.resize(300, 80, 7);
    const auto parts = update(knows);
    ASSERT_FALSE(parts.empty());
    EXPECT_EQ(parts[0].encoding, -223);
    EXPECT_EQ(parts[0].width, 300u);
    EXPECT_EQ(check(parts), 300u * 80u);
    EXPECT_EQ(check(update(plain)), 200u * 80u) << "no more than the viewer has room for";
}

TEST_F(Vnc, OtherPixels) {
    open();
    const int fd = enter();
    // 16 bits, big-endian, 5-6-5
    say(fd, Bytes{0, 0, 0, 0, 16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0});
    say(fd, request(false));
    for (const Part& part : update(fd, 2))
        for (u32 n = 0; n < part.width * part.height; ++n) {
            const u32 wanted = picture.now.line(part.y + n / part.width)[part.x + n % part.width];
            const u32 got = rfb::get16(&part.data[2 * n]);
            ASSERT_EQ(got, (wanted >> 16) * 31 / 255 << 11 | (wanted >> 8 & 255) * 63 / 255 << 5 |
                               (wanted & 255) * 31 / 255);
        }
    say(fd, Bytes{0, 0, 0, 0, 8, 8, 0, 0, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0});
    EXPECT_TRUE(ended(fd)) << "a colour map, which there is not";
}

TEST_F(Vnc, KeysAndMouse) {
    open();
    const int fd = enter();
    const auto key = [&](u32 symbol, bool down) {
        say(fd, Bytes{4, down, 0, 0, u8(symbol >> 24), u8(symbol >> 16), u8(symbol >> 8), u8(symbol)});
    };
    key('a', true), key('a', false), key(0xff0d, true), key(0xff0d, false);
    key('B', true), key('B', false); // a program's capital
    key(0xffe1, true), key('!', true), key('!', false), key(0xffe1, false),
        key(0x2603, true); // a person's; a snowman
    for (const Bytes& event :
         {Bytes{5, 0, 0, 100, 0, 50}, {5, 1, 0, 110, 0, 45}, {5, 2, 0, 110, 0, 45}, {5, 12, 0, 110, 0, 45}})
        say(fd, event);
    say(fd, Bytes{6, 0, 0, 0, 0, 0, 0, 3, 'c', 'u', 't'}); // taken, and ignored
    key('z', true);
    turn();
    using K = KeyCode;
    const std::vector<std::pair<K, bool>> wanted = {
        {K::A, true},       {K::A, false},     {K::Return, true}, {K::Return, false}, {K::Shift, true},
        {K::B, true},       {K::B, false},     {K::Shift, false}, {K::Shift, true},   {K::Digit1, true},
        {K::Digit1, false}, {K::Shift, false}, {K::Z, true}};
    EXPECT_EQ(keys, wanted);
    const std::vector<std::array<int, 4>> way = {{10, -5, 0, 1}, {0, 0, 0, 4}, {0, 0, -1, 2}};
    EXPECT_EQ(moves, way);
    close(fd), viewers.clear();
    turn();
    EXPECT_EQ(keys.back(), std::make_pair(K::Z, false)) << "whoever leaves holds no keys";
    EXPECT_EQ(moves.back()[3], 0);
}

TEST_F(Vnc, Password) {
    open("secret");
    for (const bool right : {true, false}) {
        for (const char* version : {"RFB 003.003\n", "RFB 003.007\n", "RFB 003.008\n"}) {
            SCOPED_TRACE(version);
            const int fd = connect();
            EXPECT_EQ(hear(fd, 12).size(), 12u);
            say(fd, version);
            const bool old = version[10] == '3';
            EXPECT_EQ(hear(fd, old ? 4 : 2), old ? Bytes({0, 0, 0, 2}) : Bytes({1, 2}));
            if (!old) say(fd, Bytes{2});
            const Bytes heard = hear(fd, 16);
            ASSERT_EQ(heard.size(), 16u);
            std::array<u8, 16> challenge;
            std::copy(heard.begin(), heard.end(), challenge.begin());
            const auto answer = rfb::auth_response(right ? "secret" : "Secret", challenge);
            say(fd, Bytes(answer.begin(), answer.end()));
            EXPECT_EQ(hear(fd, 4), Bytes({0, 0, 0, u8(!right)}));
            if (right) {
                say(fd, Bytes{1});
                EXPECT_EQ(hear(fd, 28).size(), 28u);
            } else {
                EXPECT_TRUE(ended(fd));
            }
        }
    }
    const int fd = connect();
    say(fd, "RFB 003.008\n");
    say(fd, Bytes{1}); // "None" was not offered
    say(fd, Bytes{1});
    EXPECT_TRUE(ended(fd));
}

TEST(Rfb, CipherOfPasswords) {
    // A key and its block from the time of the standard; the password has the bits of each byte the other way
    // round.
    std::string password;
    for (const u8 byte : {0x13, 0x34, 0x57, 0x79, 0x9b, 0xbc, 0xdf, 0xf1}) {
        u8 mirrored = 0;
        for (unsigned n = 0; n < 8; ++n)
            mirrored = u8(mirrored | (byte >> n & 1) << (7 - n));
        password.push_back(char(mirrored));
    }
    const std::array<u8, 16> challenge = {1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                          1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    const std::array<u8, 16> wanted = {0x85, 0xe8, 0x13, 0x54, 0x0f, 0x0a, 0xb4, 0x05,
                                       0x85, 0xe8, 0x13, 0x54, 0x0f, 0x0a, 0xb4, 0x05};
    EXPECT_EQ(rfb::auth_response(password + "ignored", challenge), wanted);
}

TEST(Rfb, EveryCharacterHasItsKey) {
    for (u32 c = 0x20; c < 0x7f; ++c)
        EXPECT_TRUE(rfb::key_of(c)) << char(c);
    EXPECT_FALSE(rfb::key_of(0));
    EXPECT_FALSE(rfb::key_of(~0u));
    EXPECT_TRUE(rfb::key_of('?')->shifted);
    EXPECT_EQ(rfb::key_of('/')->code, KeyCode::Slash);
}

TEST_F(Vnc, ViewersThatMeanHarm) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    open();
    for (unsigned round = 0; round < 25; ++round) {
        const int fd = round % 4 ? enter() : connect();
        for (unsigned n = 0; n < 20; ++n) {
            Bytes bytes(1 + random() % 40);
            for (u8& byte : bytes)
                byte = u8(random() % 4 ? random() : random() % 8);
            bytes[0] = u8(random() % 7);
            (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (random() % 4 == 0) picture.resize(1 + random() % 300, 1 + random() % 300, u32(random()));
            turn(1);
        }
        if (random() % 2) close(fd), viewers.pop_back();
        while (viewers.size() > 10)
            close(viewers.front()), viewers.erase(viewers.begin());
    }
    for (const int fd : std::exchange(viewers, {}))
        close(fd);
    turn();
    const int fd = enter();
    say(fd, request(false));
    EXPECT_EQ(check(update(fd)), picture.now.width * picture.now.height);
    for (std::size_t n = 1; n < VncServer::most_clients; ++n)
        enter();
    EXPECT_TRUE(ended(connect())) << "one too many";
}

} // namespace
} // namespace dragoman::runtime
