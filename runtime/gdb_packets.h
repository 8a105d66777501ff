// Framing of the GDB remote serial protocol (GDB manual, "Remote Protocol", "Overview"): $data#checksum,
// acknowledgements, and the interrupt byte.
#pragma once

#include "base/types.h"

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dragoman::runtime {

class GdbPackets {
  public:
    static constexpr std::size_t kMaxPacket = 0x4000; // bytes of data; longer packets are ignored

    struct Hooks {
        std::function<void(const std::string& bytes)> send;
        std::function<void(const std::string& data)> packet; // escapes undone
        std::function<void()> interrupt;                     // Ctrl-C
    };
    explicit GdbPackets(Hooks hooks) : hooks_(std::move(hooks)) {}

    void take(u8 byte); // from the debugger
    void reply(std::string_view data);
    void stop_acknowledging() { acknowledge_ = false; } // after the reply to QStartNoAckMode
    void reset();                                       // a new connection

  private:
    void complete(u8 checksum);

    Hooks hooks_;
    enum class State : u8 { Idle, Data, Checksum1, Checksum2 } state_ = State::Idle;
    bool acknowledge_ = true;
    std::string data_, last_reply_;
    bool too_long_ = false;
    u8 sum_ = 0, given_ = 0;
};

std::string to_hex(std::span<const u8> bytes);
// Nothing: not pairs of hexadecimal digits.
std::optional<std::string> from_hex(std::string_view text);
// Takes a hexadecimal number off the front of `text`; nothing: there is none, or it has more than 64 bits.
std::optional<u64> take_hex(std::string_view& text);

} // namespace dragoman::runtime
