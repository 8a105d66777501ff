// The panic device: a register to which a guest's kernel writes that it has crashed, at an ISA port (found by
// ACPI, QEMU0001) or behind a PCI function. Bit 0: panicked; bit 1: panicked, and a crash kernel takes over.
#pragma once

#include "base/io.h"
#include "hw/core/pci.h"

#include <functional>

namespace dragoman::hw {

enum PanicEvent : u8 { kPanicked = 1, kCrashLoaded = 2 };

class PanicRegister final : public IoHandler {
  public:
    static constexpr u16 port = 0x505;

    // `tell` is called inside the guest's access: only take note.
    explicit PanicRegister(std::function<void(u8 events)> tell) : tell_(std::move(tell)) {}
    u64 read(u64 offset, unsigned) override { return offset ? 0 : kPanicked | kCrashLoaded; }
    void write(u64 offset, unsigned, u64 value) override {
        const u8 events = u8(value & (kPanicked | kCrashLoaded));
        if (offset == 0 && events) tell_(events);
    }

  private:
    std::function<void(u8)> tell_;
};

class PvpanicPci final : public PciFunction {
  public:
    explicit PvpanicPci(std::function<void(u8 events)> tell)
        : PciFunction("pvpanic-pci",
                      {.vendor = 0x1b36, .device = 0x0011, .revision = 1, .class_code = 0x088000}),
          register_(std::move(tell)) {
        set_bar(0, BarKind::Memory, 4096, &register_);
    }

  private:
    PanicRegister register_;
};

} // namespace dragoman::hw
