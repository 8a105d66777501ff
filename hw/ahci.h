// An AHCI host bus adapter as the 82801IB (ICH9) has it: 6 ports, 32 slots, native command queuing (Serial
// ATA AHCI 1.3.1; ICH9 data sheet, 15).
#pragma once

#include "hw/ahci_port.h"
#include "hw/core/pci.h"

#include <vector>

namespace dragoman::hw {

class Ahci final : public PciFunction, private IoHandler {
  public:
    static constexpr unsigned ports = 6;

    Ahci(Scheduler& scheduler, Log& log); // borrowed

    // Puts a device on port 0..5, before the machine runs.
    template <class T> void attach(unsigned port, std::unique_ptr<T> device) {
        ports_[port]->attach(std::move(device));
    }

    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;
    u32 read_register(u32 offset) const;
    void write_register(u32 offset, u32 value, u32 mask);
    void update(bool acknowledged);
    void reset_ports(void (AhciPort::*how)());

    struct State {
        u32 control = 0, interrupts = 0; // GHC, IS
        bool level = false;              // what interrupts() comes to
    };
    std::vector<std::unique_ptr<AhciPort>> ports_;
    State state_;
};

} // namespace dragoman::hw
