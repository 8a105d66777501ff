// The server's end of a WebSocket (RFC 6455): a browser's connection as a stream of bytes. Only values: who
// has the connection brings what came and sends what is made.
#pragma once

#include "base/types.h"

#include <array>
#include <span>
#include <string>
#include <vector>

namespace dragoman::runtime {

class WebSocket {
  public:
    static constexpr std::size_t most_header = 8 * KiB; // of the request

    // Takes what it can of `input`: what was sent to us goes behind `data`, answers behind `output`. How many
    // bytes that were; the rest is to be brought again, with more.
    std::size_t take(std::span<const u8> input, std::vector<u8>& data, std::vector<u8>& output);
    bool open() const { return state_ == State::Open; }
    bool ended() const { return state_ == State::Ended; } // to be closed when the output is gone
    // `data` as a message.
    static void put(std::span<const u8> data, std::vector<u8>& output);

  private:
    enum class State : u8 { Request, Open, Ended };

    void answer(const std::string& request, std::vector<u8>& output);
    std::size_t take_frame(std::span<const u8> input, std::vector<u8>& data, std::vector<u8>& output);

    State state_ = State::Request;
    u64 left_ = 0; // bytes of a message that are still to come
    std::array<u8, 4> mask_{};
    unsigned mask_at_ = 0;
};

} // namespace dragoman::runtime
