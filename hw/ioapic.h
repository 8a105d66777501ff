// Intel 82093AA I/O APIC (data sheet 290566): 24 pins, redirection table, registers at 0xfec00000.
#pragma once

#include "base/io.h"
#include "hw/core/apic_message.h"
#include "hw/core/irq.h"
#include "hw/core/state.h"

#include <array>
#include <memory>
#include <string>

namespace dragoman::hw {

class Ioapic final : public Device, public IoHandler {
  public:
    static constexpr u64 base = 0xfec00000; // 4 KiB; the machine maps it
    static constexpr unsigned pin_count = 24;

    explicit Ioapic(ApicSink& bus); // borrowed
    ~Ioapic() override;

    // Input INTINn. Set means asserted, whatever polarity the guest programs: only the board knows the
    // wire's.
    IrqLine& pin(unsigned n);
    // From the APIC bus: a local APIC ended a level-triggered interrupt with this vector.
    void end_of_interrupt(u8 vector);

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

    const char* name() const override { return "ioapic"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

    std::string describe() const; // several lines, for the monitor

  private:
    class Pin;
    struct State {
        std::array<u64, pin_count> redirection{};
        u32 select = 0;
        u32 id = 0;
        u32 levels = 0; // of the pins
    };

    void pin_changed(unsigned n, bool level);
    void evaluate_level(unsigned n);
    bool send(unsigned n);
    u32 read_register(u8 reg) const;
    void write_register(u8 reg, u32 value);

    ApicSink& bus_;
    State s_;
    std::array<std::unique_ptr<Pin>, pin_count> pins_;
};

} // namespace dragoman::hw
