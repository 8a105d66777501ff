// The A20 gate and the system control port 0x92 (82371SB data sheet: "Port 92", A20M#).
#pragma once

#include "base/io.h"
#include "hw/core/io_bus.h"
#include "hw/core/state.h"

#include <functional>
#include <utility>

namespace dragoman::hw {

// A20M# as the south bridge makes it: address line 20 passes when port 0x92 or the keyboard controller says
// so. It holds no state of its own to save: both sources repeat their level after loading.
class A20Gate {
  public:
    // `changed` is told of every change. A20 starts enabled.
    explicit A20Gate(std::function<void(bool enabled)> changed) : changed_(std::move(changed)) {}

    void set_port92(bool level) { set(level, keyboard_controller_); }
    void set_keyboard_controller(bool level) { set(port92_, level); }
    bool enabled() const { return port92_ || keyboard_controller_; }

  private:
    void set(bool port92, bool keyboard_controller) {
        const bool was = enabled();
        port92_ = port92;
        keyboard_controller_ = keyboard_controller;
        if (enabled() != was) changed_(enabled());
    }

    std::function<void(bool)> changed_;
    bool port92_ = false;
    bool keyboard_controller_ = true;
};

class Port92 final : public Device, public IoHandler {
  public:
    // `fast_init` is called when bit 0 goes from 0 to 1: the processor is to be reset. `gate` is borrowed.
    Port92(A20Gate& gate, std::function<void()> fast_init) : gate_(gate), fast_init_(std::move(fast_init)) {}

    void map(IoBus& bus) { bus.map(0x92, 1, *this, {1, 1}); }

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

    const char* name() const override { return "port92"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    A20Gate& gate_;
    std::function<void()> fast_init_;
    u8 value_ = 0; // bit 0 FAST_INIT, bit 1 FAST_A20
};

} // namespace dragoman::hw
