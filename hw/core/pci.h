// PCI (Local Bus Specification 3.0): configuration space, BARs, INTx pins, and the bus that finds functions.
#pragma once

#include "base/io.h"
#include "hw/core/io_bus.h"
#include "hw/core/irq.h"
#include "hw/core/pci_msi.h"
#include "hw/core/state.h"

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dragoman::hw {

// Offsets in the type 0 header (PCI 3.0, 6.1).
enum PciConfig : u8 {
    kPciVendorId = 0x00,
    kPciDeviceId = 0x02,
    kPciCommand = 0x04, // bit 0 I/O space, 1 memory space, 2 bus master, 10 INTx disable
    kPciStatus = 0x06,
    kPciRevision = 0x08,
    kPciClass = 0x09, // programming interface, subclass, class
    kPciHeaderType = 0x0e,
    kPciBar0 = 0x10,
    kPciSubsystemVendor = 0x2c,
    kPciSubsystem = 0x2e,
    kPciRomBar = 0x30,
    kPciCapabilities = 0x34, // offset of the first capability
    kPciInterruptLine = 0x3c,
    kPciInterruptPin = 0x3d,
};

struct PciIdentity {
    u16 vendor = 0, device = 0;
    u8 revision = 0;
    u32 class_code = 0; // class << 16 | subclass << 8 | programming interface
    u16 subsystem_vendor = 0x1af4, subsystem = 0x1100;
    u8 interrupt_pin = 0; // 1 = INTA#; 0 = none
};

// One PCI function. Derived chips set BARs and read-only bits in their constructor. All configuration
// accesses are 1, 2 or 4 bytes, inside one dword.
class PciFunction : public Device {
  public:
    PciFunction(std::string name, const PciIdentity& identity);

    const char* name() const override { return name_.c_str(); }
    u32 config_read(u8 offset, unsigned size) const; // without side effects
    void config_write(u8 offset, unsigned size, u32 value);
    // Before the guest reads a register: for those that show something else than what was written.
    virtual void config_reading(u8 /*offset*/, unsigned /*size*/) {}

    void reset() override;                      // configuration back to power-on; unmaps BARs
    void visit(StateVisitor& visitor) override; // configuration space; remaps BARs after loading

    // Connects the function to the machine, once, before any access. Everything is borrowed; `intx` may be
    // null.
    void connect(IoBus& ports, MemoryMap& memory, DmaBus& dma, IrqLine* intx);
    // The other way: nothing of it is decoded any more, its pin is low, it masters no bus.
    void disconnect();
    // Puts `image` (1 byte to 16 MiB) behind the expansion ROM BAR, before connect().
    void install_rom(std::vector<u8> image);
    // Did the guest turn on bus mastering? A function without it must not do DMA.
    bool bus_master() const { return config_[kPciCommand] & 4; }

  protected:
    enum class BarKind { None, Io, Memory, Memory64, MemoryRam };
    // `bytes`: a power of two, at least 4 (I/O) or 4096 (memory). For MemoryRam, `ram` is mapped instead of
    // `handler`.
    void set_bar(unsigned index, BarKind kind, u64 bytes, IoHandler* handler, u8* ram = nullptr);
    void set_rom(u8* image, u64 bytes); // expansion ROM BAR; bytes a power of two; borrowed
    void set_config(u8 offset, unsigned size, u32 value, u32 writable_mask = 0);
    void set_writable(u8 offset, unsigned size, u32 mask); // for registers that lock; not undone by reset
    // Adds `bytes` of capability `id` (PCI 3.0, 6.7; ID and next pointer are counted and filled in) to the
    // list, at `at` where a data sheet says so, else behind the last one. Returns its offset.
    u8 add_capability(u8 id, unsigned bytes, u8 at = 0);
    // Message-signalled interrupts: MSI with one vector and a 64-bit address; MSI-X with its table in `bar`.
    void set_msi(u8 at = 0);
    void set_msix(unsigned bar, unsigned vectors, u8 at = 0);
    bool msi_enabled() const { return msi_ && (config_[msi_ + 2] & 1); }
    bool msix_enabled() const { return msix_ && msix_->enabled(); }
    void send_msi();                    // while MSI is enabled
    void notify_msix(unsigned vector) { // while MSI-X is enabled
        if (msix_) msix_->notify(vector);
    }
    // After the guest wrote a configuration register outside the header's common part.
    virtual void config_written(u8 /*offset*/, unsigned /*size*/) {}
    void set_intx(bool level); // honours Command bit 10 and Status bit 3
    DmaBus& dma() { return *dma_; }
    MemoryMap& memory() { return *memory_; }
    // The handle of a mapped MemoryRam BAR (for take_dirty), 0 while unmapped.
    MemoryMap::Handle bar_handle(unsigned index) const { return bars_[index].handle; }

    std::array<u8, 256> config_{};

  private:
    struct Bar {
        BarKind kind = BarKind::None;
        u64 bytes = 0;
        IoHandler* handler = nullptr;
        u8* ram = nullptr;
        u64 mapped_at = 0;
        bool mapped = false;
        MemoryMap::Handle handle = 0;
    };
    void update_bars();
    void update_msix();
    void send_message(u64 address, u32 data);

    std::string name_;
    std::vector<u8> rom_; // of install_rom()
    PciIdentity identity_;
    std::array<u8, 256> initial_{}, writable_{};
    std::array<Bar, 7> bars_{}; // 6 is the expansion ROM
    IoBus* ports_ = nullptr;
    MemoryMap* memory_ = nullptr;
    DmaBus* dma_ = nullptr;
    IrqLine* intx_ = nullptr;
    bool intx_level_ = false;
    u8 last_capability_ = 0, free_ = 0x40; // offset of the last one (0: none), and of the next one
    u8 msi_ = 0, msix_at_ = 0;             // offsets of these capabilities
    std::unique_ptr<Msix> msix_;
};

// Bus 0 with configuration mechanism #1 (PCI 3.0, 3.2.2.3.2): CONFIG_ADDRESS 0xcf8, CONFIG_DATA 0xcfc.
// Functions that do not exist read as ones.
class PciBus final : public IoHandler {
  public:
    // Borrowed; slot 0..31, function 0..7, each place once.
    void attach(unsigned slot, unsigned function, PciFunction& pci);
    void detach(unsigned slot, unsigned function) { functions_[slot * 8 + function] = nullptr; }
    PciFunction* at(unsigned slot, unsigned function) const { return functions_[slot * 8 + function]; }

    u64 read(u64 offset, unsigned size) override; // offset from 0xcf8, 8 ports
    void write(u64 offset, unsigned size, u64 value) override;
    // 0xcf9 shares the range: the reset control register of the south bridge, a byte access.
    void set_reset_control(IoHandler* handler) { reset_control_ = handler; }

    u32 config_address = 0; // the latch at 0xcf8, saved by the host bridge

  private:
    std::array<PciFunction*, 256> functions_{};
    IoHandler* reset_control_ = nullptr;
};

} // namespace dragoman::hw
