// The IDE function of the PIIX3 (82371SB data sheet, 2.6 and 2.7): two channels in compatibility mode and
// their bus masters.
#pragma once

#include "hw/core/io_bus.h"
#include "hw/core/pci.h"
#include "hw/ide_channel.h"

namespace dragoman::hw {

class Piix3Ide final : public PciFunction {
  public:
    // IRQ 14 and 15; borrowed, like the log.
    Piix3Ide(IrqLine& irq14, IrqLine& irq15, Log& log);

    IdeChannel& primary() { return channels_[0]; }
    IdeChannel& secondary() { return channels_[1]; }
    // Claims 0x1f0-0x1f7, 0x3f6, 0x170-0x177 and 0x376. The guest turns their decoding on and off in the
    // IDETIM registers (bit 15) and in the Command register (bit 0); off, they read as ones.
    void map_ports(IoBus& ports);

    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    // BAR 4: 16 ports, 8 for each channel.
    class BusMaster final : public IoHandler {
      public:
        explicit BusMaster(Piix3Ide& ide) : ide_(ide) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        Piix3Ide& ide_;
    };
    IdeChannel::Bus bus_of(unsigned channel);

    std::array<IdeChannel, 2> channels_;
    BusMaster bus_master_ports_{*this};
};

} // namespace dragoman::hw
