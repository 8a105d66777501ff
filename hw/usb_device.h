// A device on the USB (USB 1.1, chapters 8 and 9), as a host controller speaks to it: packet by packet.
#pragma once

#include "hw/core/state.h"

#include <array>
#include <span>

namespace dragoman::hw {

enum class UsbPid : u8 { Out = 0xe1, In = 0x69, Setup = 0x2d };

struct UsbAnswer {
    enum Kind : u8 {
        Ack,   // `bytes` were taken or given
        Nak,   // not now
        Stall, // not at all
        None   // nobody is there
    };
    Kind kind = None;
    unsigned bytes = 0;
};

// Control transfers over endpoint 0, and the requests that every device has. A full-speed device with one
// configuration and one interface.
class UsbDevice : public Device {
  public:
    static constexpr unsigned packet_bytes = 8; // of endpoint 0

    void reset() override; // the bus's reset: address 0, not configured
    void visit(StateVisitor& visitor) override;

    u8 address() const { return s_.address; }
    bool configured() const { return s_.configuration != 0; }
    // Is there something for the host that it does not know of? Then it will want to ask soon.
    virtual bool has_data() const = 0;

    // One packet to or from this device. `data`: what is sent, or the room for what is received.
    UsbAnswer packet(UsbPid pid, unsigned endpoint, std::span<u8> data);

  protected:
    struct Setup {
        u8 type, request;
        u16 value, index, length;
    };
    // The bytes of a descriptor (9.4.3); empty: there is none.
    virtual std::span<const u8> descriptor(u8 type, u8 index) = 0;
    // A request of the class or for the interface. `reply`: the room for an answer. The bytes of the answer,
    // or a negative number: it is not known. What comes with it is ignored.
    virtual int request(const Setup& setup, std::span<u8> reply) = 0;
    // An IN packet of another endpoint than 0.
    virtual UsbAnswer in(unsigned endpoint, std::span<u8> data) = 0;
    virtual void bus_reset() = 0;

  private:
    enum Stage : u8 { Idle, DataIn, DataOut, Status };
    static constexpr unsigned most = 256; // bytes of an answer

    UsbAnswer control(UsbPid pid, std::span<u8> data);
    void begin(const Setup& setup);
    int standard(const Setup& setup);

    struct State {
        u8 address = 0, next_address = 0; // the second counts after the transfer that gives it
        u8 configuration = 0;
        Stage stage = Idle;
        bool refused = false;
        u16 length = 0, done = 0; // of the answer
        std::array<u8, most> answer{};
    };
    State s_;
};

} // namespace dragoman::hw
