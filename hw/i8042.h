// The keyboard controller (IBM PS/2 Technical Reference, "Keyboard/Auxiliary Device Controller"): an 8042
// with two PS/2 wires, the A20 gate and the reset line.
#pragma once

#include "base/log.h"
#include "hw/core/irq.h"
#include "hw/core/port_range.h"
#include "hw/core/scheduler.h"
#include "hw/ps2_device.h"

#include <array>
#include <functional>

namespace dragoman::hw {

class I8042 final : public Device {
  public:
    // Where the controller's pins lead. `a20` is told the level of output port bit 1 after every write and
    // load (see A20Gate); `reset` is called when bit 0 is driven low, and may reset this chip.
    struct Pins {
        IrqLine& irq1;
        IrqLine& irq12;
        std::function<void(bool level)> a20;
        std::function<void()> reset;
    };
    // The devices, the lines and the log are borrowed.
    I8042(Scheduler& scheduler, Ps2Device& keyboard, Ps2Device& mouse, Pins pins, Log& log);

    void map(IoBus& bus); // 0x60 and 0x64

    // How long a byte is on the wire, in ns: 11 bits at 16 kHz. Without it, a handler that chains to another
    // that reads port 0x60 again would lose a code.
    static constexpr u64 byte_ns = 700'000;

    const char* name() const override { return "i8042"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    u8 read_data();
    u8 read_status() const;
    void write_data(u8 value);
    void write_command(u8 value);
    void write_output_port(u8 value);
    u8 output_port() const;

    void put(u8 byte, bool aux);           // into the output buffer
    void reply(u8 byte, bool aux = false); // the controller's own byte: before those of the devices
    void refill();                         // what may follow when the output buffer is free
    void receive();                        // a byte has come over a wire
    bool keyboard_waits() const;
    bool mouse_waits() const;
    void update_irqs();

    Scheduler& scheduler_;
    Ps2Device& keyboard_;
    Ps2Device& mouse_;
    Pins pins_;
    Log& log_;
    PortRange data_port_, command_port_;
    Timer wire_;

    std::array<u8, 32> ram_{};     // byte 0 is the command byte
    BoundedQueue<u16, 8> replies_; // bit 8: for the auxiliary device's flag
    u8 output_ = 0;
    u8 output_port_ = 0;
    u8 pending_ = 0;           // the command that waits for its byte at 0x60; 0 none
    bool output_full_ = false; // status OBF
    bool output_aux_ = false;  // status: the byte is from the auxiliary device
    bool last_was_command_ = false;
    bool break_prefix_ = false; // translation saw 0xf0
    bool irq1_ = false, irq12_ = false;
    u64 wire_deadline_ = Scheduler::never;
};

} // namespace dragoman::hw
