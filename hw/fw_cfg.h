// The firmware configuration device: a selector and a data port through which the firmware reads what the
// machine is made of, and files by name; also by DMA. Ports 0x510-0x51b.
#pragma once

#include "base/io.h"
#include "base/log.h"
#include "base/result.h"
#include "hw/core/state.h"

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dragoman::hw {

enum FwCfgKey : u16 {
    kFwCfgSignature = 0x00, // "QEMU"
    kFwCfgId = 0x01,        // u32, bit 0 port interface, bit 1 DMA interface
    kFwCfgUuid = 0x02,
    kFwCfgRamSize = 0x03, // u64 bytes
    kFwCfgNoGraphic = 0x04,
    kFwCfgCpuCount = 0x05, // u16
    kFwCfgKernelAddress = 0x07,
    kFwCfgKernelSize = 0x08,
    kFwCfgInitrdAddress = 0x0a,
    kFwCfgInitrdSize = 0x0b,
    kFwCfgBootDevice = 0x0c,
    kFwCfgBootMenu = 0x0e, // u16
    kFwCfgMaxCpus = 0x0f,  // u16
    kFwCfgKernelEntry = 0x10,
    kFwCfgKernelData = 0x11,
    kFwCfgInitrdData = 0x12,
    kFwCfgCmdlineAddress = 0x13,
    kFwCfgCmdlineSize = 0x14,
    kFwCfgCmdlineData = 0x15,
    kFwCfgSetupAddress = 0x16,
    kFwCfgSetupSize = 0x17,
    kFwCfgSetupData = 0x18,
    kFwCfgFileDirectory = 0x19,
    kFwCfgFirstFile = 0x20,
    kFwCfgIrq0Override = 0x8002, // u32: ISA IRQ 0 is wired to IO-APIC input 2
    kFwCfgE820 = 0x8003,
};

class FwCfg final : public Device, public IoHandler {
  public:
    static constexpr u16 base = 0x510; // 12 ports, widths 1..4
    static constexpr u32 port_count = 12;
    static constexpr std::size_t longest_name = 55;

    FwCfg(DmaBus& dma, Log& log); // borrowed

    // Before the guest runs. An item that exists is replaced. Integers are little-endian.
    void add(u16 key, std::vector<u8> data);
    // An item that is made anew whenever the guest selects it.
    void add_made(u16 key, std::function<std::vector<u8>()> make);
    void add_u16(u16 key, u16 value);
    void add_u32(u16 key, u32 value);
    void add_u64(u16 key, u64 value);
    // A file of the directory; one that exists is replaced. `writable`: the guest may change its bytes, not
    // its size.
    Status add_file(std::string_view name, std::vector<u8> data, bool writable = false);
    // The bytes of a file as they are now; empty if there is none.
    std::span<const u8> file(std::string_view name) const;

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

    const char* name() const override { return "fw_cfg"; }
    void reset() override;
    // The items are the machine's configuration and not saved; only where the guest is reading.
    void visit(StateVisitor& visitor) override;

  private:
    struct Item {
        std::vector<u8> data;
        bool writable = false;
        std::function<std::vector<u8>()> make; // the data, at each selection; may be empty
    };
    Item* selected();
    void select(u16 key);
    u8 next_byte();
    void run_dma();
    bool transfer_read(u64 address, u32 length);
    bool transfer_write(u64 address, u32 length);
    void rebuild_directory();

    DmaBus& dma_;
    Log& log_;
    std::map<u16, Item> items_;
    std::map<std::string, u16, std::less<>> files_;
    u16 next_file_key_ = kFwCfgFirstFile;

    u16 key_ = 0;
    u32 position_ = 0;
    u64 dma_address_ = 0;
};

} // namespace dragoman::hw
