// PC16550D UART (data sheet TL/C/8652).
#include "hw/uart16550.h"

#include "chip_test_support.h"

#include <random>

namespace dragoman::hw::test {
namespace {

class Terminal final : public CharBackend {
  public:
    void write(std::span<const u8> bytes) override { got.append(bytes.begin(), bytes.end()); }
    void attach(CharReceiver& to) override { receiver = &to; }
    void room() override { rooms++; }
    std::string got;
    CharReceiver* receiver = nullptr;
    unsigned rooms = 0;
};

class UartTest : public ::testing::Test, protected Bench {
  protected:
    static constexpr u16 kData = 0x3f8, kIer = 0x3f9, kIir = 0x3fa, kFcr = 0x3fa, kLcr = 0x3fb, kMcr = 0x3fc,
                         kLsr = 0x3fd, kMsr = 0x3fe, kScr = 0x3ff;
    // 115200 baud, 8N1: 10 bits of 8.68 us
    static constexpr u64 kCharacter = 86805;

    void SetUp() override {
        bus.map(0x3f8, 8, uart, {1, 1});
        out(kLcr, 0x83);
        out(kData, 1);
        out(kIer, 0);
        out(kLcr, 0x03);
        out(kMcr, 0x0b); // DTR, RTS, OUT2
    }
    void type(const std::string& text) {
        for (char c : text) {
            ASSERT_TRUE(uart.can_receive()) << "before '" << c << "'";
            uart.receive(u8(c));
        }
    }
    Terminal terminal;
    RecordingLine irq;
    Uart16550 uart{"com1", irq, scheduler, &terminal};
};

TEST_F(UartTest, ResetState) {
    uart.reset();
    EXPECT_EQ(in(kIer), 0);
    EXPECT_EQ(in(kIir), 1);
    EXPECT_EQ(in(kLcr), 0);
    EXPECT_EQ(in(kMcr), 0);
    EXPECT_EQ(in(kLsr), 0x60);
    EXPECT_EQ(in(kMsr), 0xb0) << "DCD, DSR, CTS of the connected back-end, no deltas";
    out(kScr, 0xa5);
    EXPECT_EQ(in(kScr), 0xa5);
    EXPECT_EQ(terminal.receiver, &uart);
}

TEST_F(UartTest, DivisorLatch) {
    out(kLcr, 0x83);
    out(kData, 0x34);
    out(kIer, 0x12);
    EXPECT_EQ(in(kData), 0x34);
    EXPECT_EQ(in(kIer), 0x12);
    out(kLcr, 0x03);
    EXPECT_EQ(in(kIer), 0) << "the interrupt enable register is another one";
    EXPECT_TRUE(terminal.got.empty());
}

TEST_F(UartTest, Transmit) {
    for (char c : std::string("hello")) {
        EXPECT_EQ(in(kLsr)&0x60, 0x60);
        out(kData, u8(c));
    }
    EXPECT_EQ(terminal.got, "hello");
}

TEST_F(UartTest, TransmitInterrupt) {
    out(kIer, 2);
    EXPECT_TRUE(irq.level) << "at once when the register is empty";
    EXPECT_EQ(in(kIir), 2);
    EXPECT_FALSE(irq.level) << "reading IIR clears it";
    EXPECT_EQ(in(kIir), 1);
    out(kData, 'a');
    EXPECT_TRUE(irq.level);
    out(kData, 'b');
    EXPECT_EQ(irq.rises, 3u) << "each character makes a new edge";
    out(kIer, 0);
    EXPECT_FALSE(irq.level);
    out(kIer, 2);
    EXPECT_TRUE(irq.level);
}

TEST_F(UartTest, ReceiveWithoutFifo) {
    out(kIer, 1);
    type("x");
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(in(kIir), 4);
    EXPECT_FALSE(uart.can_receive());
    EXPECT_EQ(in(kLsr), 0x61);
    EXPECT_EQ(in(kData), 'x');
    EXPECT_FALSE(irq.level);
    EXPECT_EQ(in(kLsr), 0x60);
    EXPECT_EQ(terminal.rooms, 1u);
    EXPECT_EQ(in(kData), 'x') << "an empty receiver still shows the last character";
}

TEST_F(UartTest, OverrunWithoutFifoLosesTheOld) {
    out(kIer, 4);
    uart.receive('a');
    uart.receive('b');
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(in(kIir), 6);
    EXPECT_EQ(in(kLsr), 0x63);
    EXPECT_FALSE(irq.level) << "reading LSR clears it";
    EXPECT_EQ(in(kData), 'b');
}

TEST_F(UartTest, FifoHoldsSixteen) {
    out(kFcr, 0x01);
    EXPECT_EQ(in(kIir), 0xc1);
    type("0123456789abcdef");
    EXPECT_FALSE(uart.can_receive());
    uart.receive('!');
    EXPECT_EQ(in(kLsr), 0x63) << "overrun";
    std::string got;
    while (in(kLsr)&1)
        got += char(in(kData));
    EXPECT_EQ(got, "0123456789abcdef");
}

TEST_F(UartTest, TriggerLevels) {
    const unsigned levels[] = {1, 4, 8, 14};
    for (unsigned i = 0; i < 4; i++) {
        out(kFcr, u8(i << 6 | 3));
        out(kIer, 1);
        for (unsigned n = 1; n <= 16; n++) {
            uart.receive(u8(n));
            EXPECT_EQ(irq.level, n >= levels[i]) << "trigger " << levels[i] << " after " << n;
        }
        EXPECT_EQ(in(kIir), 0xc4);
        for (unsigned n = 16; n > levels[i]; n--)
            in(kData);
        EXPECT_TRUE(irq.level);
        in(kData);
        EXPECT_FALSE(irq.level) << "below trigger " << levels[i];
        out(kIer, 0);
    }
}

TEST_F(UartTest, CharacterTimeout) {
    out(kFcr, 0xc1); // trigger 14
    out(kIer, 1);
    type("ab");
    run_for(4 * kCharacter - 100);
    EXPECT_FALSE(irq.level);
    type("c"); // starts the time anew
    run_for(4 * kCharacter - 100);
    EXPECT_FALSE(irq.level);
    run_for(200);
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(in(kIir), 0xcc);
    EXPECT_EQ(in(kData), 'a');
    EXPECT_FALSE(irq.level);
    run_for(5 * kCharacter);
    EXPECT_TRUE(irq.level) << "some are left: again";
    in(kData);
    in(kData);
    run_for(10 * kCharacter);
    EXPECT_FALSE(irq.level) << "empty";
}

TEST_F(UartTest, FifoResetAndToggle) {
    out(kFcr, 1);
    type("abc");
    out(kFcr, 3);
    EXPECT_EQ(in(kLsr), 0x60);
    type("abc");
    out(kFcr, 0);
    EXPECT_EQ(in(kLsr), 0x60);
    EXPECT_EQ(in(kIir), 1);
}

TEST_F(UartTest, BreakTravelsWithItsCharacter) {
    out(kFcr, 1);
    type("a");
    uart.receive_break();
    EXPECT_EQ(in(kLsr), 0xe1) << "an error further down in the FIFO";
    EXPECT_EQ(in(kData), 'a');
    EXPECT_EQ(in(kLsr), 0xf1) << "the break is on top";
    EXPECT_EQ(in(kData), 0);
    EXPECT_EQ(in(kLsr), 0x60);
}

TEST_F(UartTest, Priorities) {
    out(kIer, 0x0f);
    out(kMcr, 0x1b); // loopback: RTS and DTR as before, so only DCD and RI may change
    out(kMcr, 0x18); // CTS, DSR drop
    uart.reset();
    out(kMcr, 0x08);
    out(kIer, 0x0f);
    uart.receive('a');
    uart.receive('b'); // overrun
    out(kMcr, 0x18);   // all inputs change
    EXPECT_EQ(in(kIir), 6);
    in(kLsr);
    EXPECT_EQ(in(kIir), 4);
    in(kData);
    EXPECT_EQ(in(kIir), 2);
    EXPECT_EQ(in(kIir), 0) << "modem status is last";
    EXPECT_EQ(in(kMsr)&0x0f, 0x03);
    EXPECT_EQ(in(kIir), 1);
    EXPECT_FALSE(irq.level);
}

TEST_F(UartTest, Loopback) {
    out(kMcr, 0x1f);
    EXPECT_EQ(in(kMsr)&0xf0, 0xf0);
    out(kMcr, 0x10);
    EXPECT_EQ(in(kMsr), 0x0f) << "all deltas; RI by its trailing edge";
    out(kMcr, 0x14);
    EXPECT_EQ(in(kMsr), 0x40) << "RI rising makes no delta";
    out(kData, 0x5a);
    EXPECT_EQ(terminal.got, "");
    EXPECT_EQ(in(kLsr), 0x61);
    EXPECT_EQ(in(kData), 0x5a);
    EXPECT_FALSE(uart.can_receive());
    uart.receive('x');
    EXPECT_EQ(in(kLsr), 0x60) << "the line is cut off";
    const unsigned rooms = terminal.rooms;
    out(kMcr, 0x0b);
    EXPECT_GT(terminal.rooms, rooms);
    EXPECT_TRUE(uart.can_receive());
}

TEST_F(UartTest, Out2GatesTheInterrupt) {
    out(kMcr, 0x03);
    out(kIer, 1);
    type("a");
    EXPECT_FALSE(irq.level);
    EXPECT_EQ(in(kIir), 4);
    out(kMcr, 0x0b);
    EXPECT_TRUE(irq.level);
}

TEST_F(UartTest, NobodyConnected) {
    RecordingLine line;
    Uart16550 lonely("com2", line, scheduler, nullptr);
    EXPECT_EQ(lonely.read(6, 1), 0u);
    lonely.write(0, 1, 'x');
    EXPECT_EQ(lonely.read(5, 1), 0x60u);
}

TEST_F(UartTest, RandomGuest) {
    const u32 seed = 99;
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int i = 0; i < 200000; i++) {
        switch (random() % 5) {
        case 0: uart.receive(u8(random())); break;
        case 1: in(u16(0x3f8 + random() % 8)); break;
        case 2: run_for(random() % 100000); break;
        case 3: uart.receive_break(); break;
        default: out(u16(0x3f8 + random() % 8), u8(random()));
        }
    }
}

TEST_F(UartTest, RoundTrip) {
    out(kFcr, 0xc1);
    out(kIer, 1);
    type("abc");
    const StateImage image = save(uart);
    in(kData);
    out(kFcr, 0);
    ASSERT_TRUE(load(uart, image));
    run_for(4 * kCharacter + 100);
    EXPECT_TRUE(irq.level) << "the timeout is armed again after loading";
    EXPECT_EQ(in(kData), 'a');
    check_round_trip(uart, [this] { out(kScr, 1); });
}

} // namespace
} // namespace dragoman::hw::test
