#include "hw/virtio_console.h"

#include "virtio_test_support.h"

#include <gtest/gtest.h>

namespace dragoman::hw::test {
namespace {

struct Backend final : CharBackend {
    void attach(CharReceiver& receiver) override { to = &receiver; }
    void write(std::span<const u8> bytes) override { text.append(bytes.begin(), bytes.end()); }
    void room() override { ++rooms; }
    // How much of it the guest took.
    std::size_t type(const std::string& s) {
        std::size_t done = 0;
        while (done < s.size() && to->can_receive())
            done += to->receive_some({reinterpret_cast<const u8*>(s.data()) + done, s.size() - done});
        return done;
    }
    CharReceiver* to = nullptr;
    std::string text;
    unsigned rooms = 0;
};

constexpr u64 kMultiport = 2;
enum : u16 {
    kDeviceReady,
    kDeviceAdd,
    kDeviceRemove,
    kPortReady,
    kConsolePort,
    kResize,
    kPortOpen,
    kPortName
};

struct Console {
    explicit Console(u64 features = kMultiport)
        : bench(std::make_unique<VirtioConsole>(
              std::vector<VirtioConsole::PortConfig>{{0, true, "", &terminal},
                                                     {3, false, "org.agent", &agent}},
              log)),
          driver(bench) {
        EXPECT_TRUE(driver.start(features));
        device().on_guest_open([this](unsigned port, bool open) { opened.emplace_back(port, open); });
    }
    VirtioConsole& device() { return static_cast<VirtioConsole&>(bench.pci.device()); }
    void offer(unsigned queue, u32 bytes = 64) {
        const u64 at = driver.allocate(bytes);
        waiting[driver.offer(queue, {{at, bytes, true}})] = at;
        driver.ring(queue);
    }
    std::optional<std::string> take(unsigned queue) {
        const auto used = driver.take_used(queue);
        if (!used) return {};
        const auto bytes = driver.fetch(waiting.at(u16(used->head)), used->written);
        return std::string(bytes.begin(), bytes.end());
    }
    void send(unsigned queue, const std::string& text) {
        driver.offer(queue, {{driver.place({text.begin(), text.end()}), u32(text.size()), false}});
        driver.ring(queue);
    }
    static std::string message(u32 port, u16 event, u16 value) {
        std::string text(8, '\0');
        std::memcpy(text.data(), &port, 4);
        std::memcpy(text.data() + 4, &event, 2);
        std::memcpy(text.data() + 6, &value, 2);
        return text;
    }
    void tell(u32 port, u16 event, u16 value) {
        send(3, message(port, event, value));
        EXPECT_TRUE(driver.take_used(3));
    }
    std::map<u16, u64> waiting; // by head
    Backend terminal, agent;
    std::vector<std::pair<unsigned, bool>> opened;
    QuietLog log;
    VirtioBench bench;
    VirtioDriver driver;
};

TEST(VirtioConsole, OnePortWithoutControlMessages) {
    Console c(0);
    EXPECT_EQ(c.terminal.type("x"), 0u) << "no buffers yet";
    c.offer(0, 4);
    c.offer(0, 4);
    EXPECT_GT(c.terminal.rooms, 0u);
    EXPECT_EQ(c.terminal.type("hello, world"), 8u);
    EXPECT_EQ(c.take(0), "hell");
    EXPECT_EQ(c.take(0), "o, w");
    c.send(1, "answer");
    EXPECT_EQ(c.terminal.text, "answer");
    c.send(9, "nothing");
    EXPECT_EQ(c.agent.text, "nothing") << "port 3 has queues 8 and 9";
}

TEST(VirtioConsole, IntroducesItsPorts) {
    Console c;
    EXPECT_EQ(c.driver.config(4, 4), VirtioConsole::max_ports);
    for (unsigned n = 0; n < 8; ++n)
        c.offer(2);
    c.tell(0, kDeviceReady, 1);
    EXPECT_EQ(c.take(2), Console::message(0, kDeviceAdd, 1));
    EXPECT_EQ(c.take(2), Console::message(3, kDeviceAdd, 1));
    c.tell(0, kPortReady, 1);
    EXPECT_EQ(c.take(2), Console::message(0, kConsolePort, 1));
    EXPECT_EQ(c.take(2), Console::message(0, kPortOpen, 1));
    c.tell(3, kPortReady, 1);
    EXPECT_EQ(c.take(2), Console::message(3, kPortName, 1) + "org.agent");
    EXPECT_FALSE(c.take(2)) << "nobody is at the other end";
    c.device().set_host_open(3, true);
    EXPECT_EQ(c.take(2), Console::message(3, kPortOpen, 1));
    c.device().set_host_open(3, false);
    EXPECT_EQ(c.take(2), Console::message(3, kPortOpen, 0));

    c.offer(8);
    EXPECT_EQ(c.agent.type("x"), 0u) << "the guest has not opened it";
    c.tell(3, kPortOpen, 1);
    EXPECT_EQ(c.agent.type("ping"), 4u);
    EXPECT_EQ(c.take(8), "ping");
    c.send(9, "pong");
    EXPECT_EQ(c.agent.text, "pong");
    c.tell(3, kPortOpen, 0);
    const std::vector<std::pair<unsigned, bool>> wanted = {{3, true}, {3, false}};
    EXPECT_EQ(c.opened, wanted);
}

TEST(VirtioConsole, MessagesWaitForBuffers) {
    Console c;
    c.tell(0, kDeviceReady, 1);
    EXPECT_FALSE(c.take(2));
    c.offer(2);
    EXPECT_EQ(c.take(2), Console::message(0, kDeviceAdd, 1));
    c.offer(2);
    EXPECT_EQ(c.take(2), Console::message(3, kDeviceAdd, 1));
}

TEST(VirtioConsole, EmergencyWrite) {
    Console c;
    c.driver.set_status(0);
    c.driver.set_config(8, 4, 'E');
    EXPECT_EQ(c.terminal.text, "E");
}

TEST(VirtioConsole, HostileDrivers) {
    const auto needs_reset = [](Console& c) {
        const bool yes = c.driver.status() & kVirtioNeedsReset;
        EXPECT_TRUE(c.driver.start(kMultiport));
        return yes;
    };
    Console c;
    c.send(3, "short");
    EXPECT_TRUE(needs_reset(c)) << "a message without its form";
    c.tell(77, kPortReady, 1); // no such port: no harm
    c.tell(0, 999, 1);
    for (unsigned n = 0; n < 400 && !(c.driver.status() & kVirtioNeedsReset); ++n)
        c.send(3, Console::message(0, kDeviceReady, 1));
    EXPECT_TRUE(needs_reset(c)) << "asks and does not listen";
    c.offer(2, 4);
    c.send(3, Console::message(0, kDeviceReady, 1));
    EXPECT_TRUE(needs_reset(c)) << "a buffer too small for a message";
    c.driver.offer(1, {{u64{1} << 40, 16, false}});
    c.driver.ring(1);
    EXPECT_TRUE(needs_reset(c)) << "outside memory";
    c.driver.offer(0, {{0x10000, 0, true}});
    c.driver.ring(0);
    c.tell(0, kPortOpen, 1);
    EXPECT_EQ(c.terminal.type("x"), 1u);
    EXPECT_TRUE(needs_reset(c)) << "a buffer without room";
    // A whole GiB in one piece, of which only so much is taken.
    std::vector<VirtioDriver::Buffer> chain(64, {0x10000, 16 << 20, false});
    c.driver.offer(1, chain);
    c.driver.ring(1);
    EXPECT_LE(c.terminal.text.size(), std::size_t{1} << 20);
}

TEST(VirtioConsole, SavesItsState) {
    Console c;
    c.tell(3, kPortOpen, 1);
    c.tell(0, kDeviceReady, 1);
    check_round_trip(c.bench.pci, [&] { c.driver.set_status(0); });
}

} // namespace
} // namespace dragoman::hw::test
