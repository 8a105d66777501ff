// The slots of the PCI bus into which cards are put, and from which they are taken, while the machine runs.
// The guest is told by general-purpose event 1 and reads the rest from these ports, which the DSDT's methods
// use:
//
//   +0   slots with a new card, a bit each; reading clears them
//   +4   slots whose card is asked for
//   +8   writing a bit ejects the card of its slot
//   +12  slots that can be ejected
#pragma once

#include "base/io.h"
#include "hw/core/state.h"

#include <functional>

namespace dragoman::hw {

class PciHotplug final : public Device, public IoHandler {
  public:
    static constexpr u16 base = 0xae00;
    static constexpr u32 port_count = 16;
    static constexpr unsigned gpe = 1;        // bit of GPE0
    static constexpr unsigned first_slot = 2; // to 31; before it are the board's own

    // Both are called inside guest accesses, `notify` by the user as well. After `eject` the slot is empty.
    struct Pins {
        std::function<void()> notify; // raises the event
        std::function<void(unsigned slot)> eject;
    };
    explicit PciHotplug(Pins pins) : pins_(std::move(pins)) {}

    static bool takes(unsigned slot) { return slot >= first_slot && slot < 32; }
    void inserted(unsigned slot); // a card is there now
    void ask_removal(unsigned slot);
    // Ejects what was asked for: after a reset no guest is left who would do it.
    void eject_pending();

    const char* name() const override { return "pci_hotplug"; }
    void reset() override { s_ = State{}; }
    void visit(StateVisitor& visitor) override { visitor.field("pci_hotplug", s_); }
    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

  private:
    struct State {
        u32 inserted = 0, asked = 0;
    };
    void eject(u32 slots);

    Pins pins_;
    State s_;
};

} // namespace dragoman::hw
