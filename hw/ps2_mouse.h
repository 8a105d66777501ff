// The PS/2 mouse (IBM PS/2 Technical Reference, "Auxiliary Device") with the IntelliMouse extensions:
// identity 3 has a wheel, identity 4 a wheel and five buttons.
#pragma once

#include "base/log.h"
#include "hw/ps2_device.h"

#include <array>

namespace dragoman::hw {

class Ps2Mouse final : public Device, public Ps2Device {
  public:
    enum Button : u8 { Left = 1, Right = 2, Middle = 4, Side = 8, Extra = 16 };

    explicit Ps2Mouse(Log& log) : log_(log) { reset(); } // borrowed

    // Counts moved since the last call: dx to the right, dy down the screen, dz of the wheel towards the
    // user. What cannot be sent at once adds up.
    void move(int dx, int dy, int dz);
    // All buttons held now, a mask of Button.
    void buttons(u8 mask);

    void receive(u8 byte) override;
    bool has_data() const override { return !replies_.empty() || !packets_.empty(); }
    u8 take() override;

    const char* name() const override { return "ps2_mouse"; }
    void reset() override; // power-on: stream mode, reporting disabled, identity 0
    void visit(StateVisitor& visitor) override;

  private:
    enum class Mode : u8 { Stream, Remote };

    void set_defaults();
    void command(u8 byte);
    void argument(u8 byte);
    void set_sample_rate(u8 rate);
    void reply(std::initializer_list<u8> bytes);
    void report(); // queues a packet when stream mode and room allow
    unsigned make_packet(std::array<u8, 4>& packet, bool scaled);
    bool reporting() const { return mode_ == Mode::Stream && enabled_ && !wrap_; }

    Log& log_;
    BoundedQueue<u8, 16> replies_; // go before the packets
    BoundedQueue<u8, 64> packets_;
    i32 dx_ = 0, dy_ = 0, dz_ = 0; // not yet sent
    u8 buttons_ = 0;
    u8 buttons_sent_ = 0;
    u8 identity_ = 0;
    u8 resolution_ = 2; // 4 counts per mm
    u8 sample_rate_ = 100;
    std::array<u8, 2> last_rates_{}; // the knock that changes the identity
    u8 pending_ = 0;
    u8 last_sent_ = 0;
    Mode mode_ = Mode::Stream;
    bool enabled_ = false;
    bool scaling_ = false; // 2:1
    bool wrap_ = false;
};

} // namespace dragoman::hw
