// Streams of characters: between a chip (serial port, debug console) and what the runtime put behind it.
#pragma once

#include "base/types.h"

#include <span>

namespace dragoman::hw {

// Takes what a chip sends. Must not block; what it cannot take at once it keeps itself.
class CharSink {
  public:
    virtual ~CharSink() = default;
    virtual void write(std::span<const u8> bytes) = 0;
};

// The chip's side of incoming characters. The back-end asks can_receive() before each receive(); what does
// not fit stays in the back-end.
class CharReceiver {
  public:
    virtual ~CharReceiver() = default;
    virtual bool can_receive() const = 0;
    virtual void receive(u8 byte) = 0;
    // Several at once, as far as they fit; returns how many were taken. Only after can_receive().
    virtual std::size_t receive_some(std::span<const u8> bytes) {
        receive(bytes[0]);
        return 1;
    }
    virtual void receive_break() {}
};

// Both directions: what stands behind a serial port.
class CharBackend : public CharSink {
  public:
    // The chip introduces itself in its constructor; borrowed.
    virtual void attach(CharReceiver& receiver) = 0;
    // The chip has room again after can_receive() said no. Called inside guest accesses: only take note.
    virtual void room() {}
};

} // namespace dragoman::hw
