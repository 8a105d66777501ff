#include "hw/parallel_port.h"

#include "chip_test_support.h"

#include <gtest/gtest.h>
#include <string>

namespace dragoman::hw::test {
namespace {

struct Printer final : CharSink {
    void write(std::span<const u8> bytes) override { text.append(bytes.begin(), bytes.end()); }
    std::string text;
};

struct Port {
    explicit Port(CharSink* sink) : chip(line, sink) { chip.reset(); }
    void print(const std::string& text, u8 control) {
        for (const char c : text) {
            chip.write(0, 1, u8(c));
            chip.write(2, 1, control | 1);
            chip.write(2, 1, control);
        }
    }
    RecordingLine line;
    ParallelPort chip;
};

TEST(ParallelPort, PrintsWhatIsStrobed) {
    Printer printer;
    Port port(&printer);
    EXPECT_EQ(port.chip.read(1, 1) & 0xf8, 0xd8u) << "not busy, no acknowledge, selected, no error";
    port.chip.write(0, 1, 'x');
    EXPECT_EQ(port.chip.read(0, 1), u64{'x'});
    EXPECT_EQ(printer.text, "") << "before the strobe";
    port.print("hello", 0x0c);
    EXPECT_EQ(printer.text, "hello");
    EXPECT_EQ(port.line.rises, 0u);
    port.print("a", 0x1c);
    EXPECT_EQ(port.line.rises, 1u) << "an interrupt, now enabled";
    EXPECT_FALSE(port.line.level);
    port.print("b", 0x08);
    port.print("c", 0x2c);
    EXPECT_EQ(printer.text, "helloa") << "neither while it is initialised nor as an input";
    EXPECT_EQ(port.chip.read(2, 1), 0xecu);
    EXPECT_EQ(port.chip.read(0, 1), 0xffu) << "input";
}

TEST(ParallelPort, NobodyConnected) {
    Port port(nullptr);
    EXPECT_EQ(port.chip.read(1, 1) & 0x90, 0u) << "busy, not selected";
    port.print("x", 0x1c);
    EXPECT_EQ(port.line.rises, 0u);
}

TEST(ParallelPort, SavesItsState) {
    Port port(nullptr);
    check_round_trip(port.chip, [&] {
        port.chip.write(0, 1, 0x55);
        port.chip.write(2, 1, 0x3c);
    });
}

} // namespace
} // namespace dragoman::hw::test
