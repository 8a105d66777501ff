// Memory as the PCI functions see it: RAM, and the local APICs' message window (SDM vol. 3, 11.11.1), where a
// dword written is an interrupt.
#pragma once

#include "base/io.h"
#include "hw/apic_bus.h"

namespace dragoman::hw {

class PciDma final : public DmaBus {
  public:
    PciDma(DmaBus& ram, ApicBus& apics) : ram_(ram), apics_(apics) {} // borrowed

    bool read(u64 gpa, void* to, u64 bytes) override { return ram_.read(gpa, to, bytes); }
    bool write(u64 gpa, const void* from, u64 bytes) override {
        if (gpa >> 20 != 0xfee) return ram_.write(gpa, from, bytes);
        if (bytes != 4) return false;
        u32 data;
        std::memcpy(&data, from, sizeof data);
        apics_.msi(gpa, data);
        return true;
    }

  private:
    DmaBus& ram_;
    ApicBus& apics_;
};

} // namespace dragoman::hw
