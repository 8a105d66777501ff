// Intel 82441FX (i440FX) host bridge, PCI function 0:0.0: who answers 0xa0000-0xfffff (data sheet
// 290549, 3.2).
#pragma once

#include "base/io.h"
#include "hw/core/pci.h"

#include <array>
#include <span>

namespace dragoman::hw {

class I440fx final : public PciFunction {
  public:
    // `ram`: guest memory from address 0, at least 1 MiB. `bios`: the firmware image, a multiple of 4 KiB;
    // its last 128 KiB appear at 0xe0000-0xfffff, all of it below 4 GiB (mapped here). `bus` holds
    // CONFIG_ADDRESS, which is saved with this chip. Everything is borrowed.
    I440fx(MemoryMap& memory, PciBus& bus, std::span<u8> ram, std::span<u8> bios);
    ~I440fx() override;

    // SMIACT#: the processor is in system management mode and sees SMRAM at 0xa0000 if G_SMRAME is set.
    void set_smiact(bool active);

    void reset() override;
    void visit(StateVisitor& visitor) override;

  protected:
    void config_written(u8 offset, unsigned size) override;

  private:
    // How PAM has one segment decoded: bit 0 = reads, bit 1 = writes go to RAM; otherwise to the ROM, where
    // writes are lost.
    enum Access : u8 { kRom = 0, kReadRam = 1, kWriteRam = 2, kRam = 3, kUnmapped = 0xff };

    // Reads of the ROM together with writes to RAM, and segments without a ROM.
    class Segment final : public IoHandler {
      public:
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

        u32 base = 0, bytes = 0;
        u8* ram = nullptr;
        const u8* rom = nullptr; // null: nobody answers, reads as ones
        Access access = kUnmapped;
        MemoryMap::Handle handle = 0;
    };

    void update_segments();
    void update_smram();
    void unmap(MemoryMap::Handle& handle);

    MemoryMap& map_;
    PciBus& bus_;
    std::span<u8> ram_, bios_;
    std::array<Segment, 13> segments_;
    Segment video_; // 0xa0000-0xbffff, where no display answers
    MemoryMap::Handle bios_handle_ = 0, smram_handle_ = 0;
    bool smiact_ = false; // an input: not saved
};

} // namespace dragoman::hw
