// The PS/2 keyboard (IBM PS/2 Technical Reference, "Keyboards"): commands, scan code sets 1 to 3.
#pragma once

#include "base/log.h"
#include "hw/keys.h"
#include "hw/ps2_device.h"

#include <array>
#include <span>

namespace dragoman::hw {

class Ps2Keyboard final : public Device, public Ps2Device {
  public:
    explicit Ps2Keyboard(Log& log) : log_(log) { reset(); } // borrowed

    // The user pressed or released a key. A second press without a release is a repetition, as typematic
    // makes it; the keyboard itself repeats nothing. A release without a press is ignored.
    void key(KeyCode code, bool down);

    // Bit 0 scroll lock, 1 num lock, 2 caps lock.
    u8 leds() const { return leds_; }

    void receive(u8 byte) override;
    bool has_data() const override { return !replies_.empty() || !codes_.empty(); }
    u8 take() override;

    const char* name() const override { return "ps2_keyboard"; }
    void reset() override; // power-on: set 2, scanning
    void visit(StateVisitor& visitor) override;

  private:
    void set_defaults();
    void command(u8 byte);
    void argument(u8 byte);
    void reply(std::initializer_list<u8> bytes);
    void send_codes(std::span<const u8> set2);
    void send_set2(KeyCode code, bool down);
    void send_set3(KeyCode code, bool down);
    bool is_down(KeyCode code) const;

    Log& log_;
    BoundedQueue<u8, 16> replies_; // go before the codes
    BoundedQueue<u8, 256> codes_;
    std::array<u8, 32> down_{};     // keys held, a bit for each KeyCode
    std::array<u8, 32> no_break_{}; // set 3 codes without a break code, a bit for each
    u8 scan_set_ = 2;
    u8 leds_ = 0;
    u8 pending_ = 0; // the command that waits for its argument; 0 none
    u8 last_sent_ = 0;
    bool scanning_ = true;
    bool overrun_ = false;
};

} // namespace dragoman::hw
