// Intel 82371SB (PIIX3) PCI-to-ISA bridge, PCI function 1:0.0: PCI interrupt routing and the reset control
// register (data sheet 290550, 2.2 and 2.5.5).
#pragma once

#include "hw/core/irq.h"
#include "hw/core/pci.h"

#include <array>
#include <functional>
#include <memory>
#include <vector>

namespace dragoman::hw {

class Piix3 final : public PciFunction {
  public:
    // `outputs[n]`: what ISA IRQ n drives (interrupt controllers), may be null; borrowed.
    // `reset_machine(hard)` is called inside a guest access: only take note and reset when the access is
    // over.
    Piix3(const std::array<IrqLine*, 16>& outputs, std::function<void(bool hard)> reset_machine);
    ~Piix3() override;

    // The IRQ line of an ISA device; ORed with the PCI interrupts routed to it. Several devices of one IRQ
    // need one line each: every call makes a new one. Owned by the bridge.
    IrqLine& isa(unsigned irq);
    // INTx# of a PCI function, pin 1 (INTA#) to 4. Reaches PIRQ (pin - 1 + slot - 1) mod 4, the usual swizzle
    // of the PC's main board. One line per function; owned by the bridge.
    IrqLine& intx(unsigned slot, unsigned function, unsigned pin);

    // Port 0xcf9, for PciBus::set_reset_control.
    IoHandler& reset_control() { return rcr_; }

    // The ISA IRQ that PIRQA#..PIRQD# (0..3) is routed to, or -1.
    int pirq_route(unsigned pirq) const;

    void reset() override;
    void visit(StateVisitor& visitor) override;

  protected:
    void config_written(u8 offset, unsigned size) override;

  private:
    class Input;
    class ResetControl final : public IoHandler {
      public:
        explicit ResetControl(Piix3& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;
        u8 value = 0; // 2 RCPU, 1 SRST (hard)

      private:
        Piix3& owner_;
    };

    void update();

    std::array<IrqLine*, 16> outputs_;
    std::function<void(bool)> reset_machine_;
    ResetControl rcr_{*this};
    std::vector<std::unique_ptr<Input>> inputs_; // in the order of wiring, which the machine fixes
    u16 levels_ = 0;                             // what the outputs were last set to
};

} // namespace dragoman::hw
