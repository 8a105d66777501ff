// Ethernet frames between a network card and what the runtime put behind it. Frames are whole: from the
// destination address to the end of the payload, without preamble and FCS, not padded.
#pragma once

#include "base/types.h"

#include <array>
#include <span>

namespace dragoman::hw {

using MacAddress = std::array<u8, 6>;

// No frame is longer: a back-end does not deliver, and a card does not send, more than this.
inline constexpr std::size_t max_frame_bytes = 65536 + 64;

// The card's side.
class NetReceiver {
  public:
    virtual ~NetReceiver() = default;
    // Can the card store a frame now? The back-end asks before each receive(), and keeps what does not fit.
    virtual bool can_receive() = 0;
    virtual void receive(std::span<const u8> frame) = 0;
    virtual void link_changed(bool up) = 0;
};

// The back-end's side.
class NetBackend {
  public:
    virtual ~NetBackend() = default;
    virtual void attach(NetReceiver& receiver) = 0; // the card introduces itself in its constructor; borrowed
    // Takes what the card sends. Must not block and must not call the receiver from inside; what it cannot
    // send is dropped, as a wire does.
    virtual void send(std::span<const u8> frame) = 0;
    virtual void room() {} // can_receive() may be true again. Called inside guest accesses: only take note.
    virtual bool link() const { return true; }
};

} // namespace dragoman::hw
