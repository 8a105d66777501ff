// The bus between the APICs: carries messages to the local APICs they name and EOIs back to the IO-APICs, and
// turns MSI writes (SDM vol. 3, 11.11) into messages.
#pragma once

#include "hw/core/apic_message.h"

#include <functional>
#include <vector>

namespace dragoman::hw {

class Lapic;

class ApicBus final : public ApicSink {
  public:
    void attach(Lapic& lapic) { lapics_.push_back(&lapic); } // borrowed
    void on_eoi(std::function<void(u8 vector)> listener) { listeners_.push_back(std::move(listener)); }

    bool send(const ApicMessage& message) override;
    void end_of_interrupt(u8 vector) override;

    // A bus master wrote `data` to `address` in 0xfeexxxxx.
    void msi(u64 address, u32 data);

  private:
    std::vector<Lapic*> lapics_;
    std::vector<std::function<void(u8)>> listeners_;
};

} // namespace dragoman::hw
