// How the PC reports x87 errors (82371SB data sheet: FERR#, IGNNE#, "Coprocessor Error Register", port 0xF0):
// FERR# of the processor raises IRQ 13; its handler writes to port 0xF0, which ends the request and makes the
// processor ignore the error until it has been cleared. Always on: firmware does not set the bit that enables
// it (XBCS bit 5).
#pragma once

#include "base/io.h"
#include "hw/core/io_bus.h"
#include "hw/core/irq.h"
#include "hw/core/state.h"

namespace dragoman::hw {

class FpuError final : public Device, public IoHandler {
  public:
    // `irq13` is borrowed.
    explicit FpuError(IrqLine& irq13) : irq13_(irq13) {}

    void map(IoBus& bus) { bus.map(0xf0, 1, *this, {1, 1}); }

    void set_ferr(bool level);
    bool ignne() const { return state_.ignne; }

    u64 read(u64, unsigned) override { return 0xff; }
    void write(u64 offset, unsigned size, u64 value) override;

    const char* name() const override { return "fpu-error"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    struct State {
        bool ferr = false;
        bool requested = false; // IRQ 13
        bool ignne = false;
    };
    void request(bool level);

    IrqLine& irq13_;
    State state_;
};

} // namespace dragoman::hw
