// The PC: i440FX host bridge and PIIX3 south bridge, APICs, timers, serial ports, disks and display. The only
// place that wires chips together.
#pragma once

#include "base/block.h"
#include "base/io.h"
#include "base/log.h"
#include "hw/apic_bus.h"
#include "hw/atapi_cd.h"
#include "hw/core/chardev.h"
#include "hw/core/io_bus.h"
#include "hw/core/pci.h"
#include "hw/core/scheduler.h"
#include "hw/debug_ports.h"
#include "hw/dma8237.h"
#include "hw/fdc_82077.h"
#include "hw/fpu_error.h"
#include "hw/fw_cfg.h"
#include "hw/hpet.h"
#include "hw/i440fx.h"
#include "hw/i8042.h"
#include "hw/ioapic.h"
#include "hw/lapic.h"
#include "hw/nor_flash.h"
#include "hw/parallel_port.h"
#include "hw/pci_dma.h"
#include "hw/pci_hotplug.h"
#include "hw/pic8259.h"
#include "hw/piix3.h"
#include "hw/piix3_ide.h"
#include "hw/piix4_pm.h"
#include "hw/pit8254.h"
#include "hw/port92.h"
#include "hw/ps2_keyboard.h"
#include "hw/ps2_mouse.h"
#include "hw/pvpanic.h"
#include "hw/rtc_mc146818.h"
#include "hw/uart16550.h"
#include "hw/uhci.h"
#include "hw/usb_tablet.h"
#include "hw/vga.h"

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace dragoman::hw {

// What the machine is made of. All pointers and spans are borrowed and outlive the machine.
struct PcConfig {
    std::span<u8> ram; // guest memory in one piece; what lies over `ram_below_4g` is mapped from 4 GiB on
    u64 ram_below_4g = 0;
    std::vector<u8> bios; // firmware image, a multiple of 4 KiB, up to 16 MiB
    // Flashes in its place (of which `bios` is a copy then) or below it; multiples of NorFlash::block_bytes.
    struct Flash {
        u64 gpa = 0;
        std::span<u8> cells;
        bool read_only = false;
    };
    std::vector<Flash> flashes;
    std::vector<u8> vga_bios;
    bool vga = true;
    bool firmware_on_serial = false; // the firmware shows its text, and takes keys, on COM1 as well

    struct Drive {
        BlockDevice* image = nullptr;
        bool cd = false; // with a null image: an empty CD drive
        std::string serial_number;
    };
    std::array<std::optional<Drive>, 4>
        ide; // primary master, primary slave, secondary master, secondary slave
    // Floppy drives A and B: nothing, or a drive with an image of a size that floppy_geometry() takes, or
    // with null.
    std::array<std::optional<BlockDevice*>, Fdc82077::drives> floppies;
    std::array<CharBackend*, 2> serial{}; // COM1, COM2; null: the port exists, nobody is connected
    struct Parallel {
        CharSink* sink = nullptr;
    };
    std::optional<Parallel> parallel; // LPT1
    bool panic_register = false;      // at its ISA port
    CharSink* debug_console = nullptr;
    u16 debug_console_port = DebugConsole::default_port;
    struct DebugExit {
        u16 iobase = IsaDebugExit::default_port;
        u32 iosize = IsaDebugExit::default_size;
    };
    std::optional<DebugExit> debug_exit;
    struct Card {
        std::unique_ptr<PciFunction> function;
        std::vector<u8> rom;          // its expansion ROM; empty: none
        std::optional<unsigned> slot; // 1..31; nothing: the first free one after the display's
        std::string id;               // its name, unique
        bool removable = false;       // may be taken out while the machine runs
    };
    std::vector<Card> cards;       // PCI functions besides the machine's own; each is function 0 of its slot
    i64 rtc_start = 0;             // seconds since 1970, UTC
    std::string boot_order = "cd"; // letters: a floppy, c disk, d CD, n network
    bool boot_menu = false;
    bool hpet = true;                 // at its address
    bool acpi = true;                 // the function of power management is on the bus
    bool usb = false, tablet = false; // the USB controller, and on its first port a tablet
};

// What the machine does to the processor and to the emulator. Called inside guest accesses: only take note.
struct PcPins {
    IrqLine* intr = nullptr;
    std::function<void()> nmi;
    std::function<void()> smi;
    std::function<void()> init;      // INIT#, and the processor reset by the keyboard controller or port 0x92
    std::function<void()> reset;     // the whole machine
    std::function<void()> power_off; // S5
    std::function<void(int status)> exit; // isa-debug-exit
    std::function<void(u8 events)> panic; // the guest's kernel has crashed: PanicEvent
    std::function<void()> ejected;        // take_ejected() has something
    std::function<void(bool enabled)> a20;
    std::function<u64()> tsc;
    u64 tsc_hz = 1'000'000'000;
};

class Pc {
  public:
    Pc(PcConfig config, PcPins pins, MemoryMap& memory, DmaBus& dma, Scheduler& scheduler, Log& log);
    ~Pc();

    void reset(); // every chip's reset pin

    // What the firmware would do, for kernels that are started without one: routes PCI interrupts, gives
    // every BAR its place, turns on decoding.
    void set_up_without_firmware();

    // The processor's side.
    u32 port_in(u16 port, unsigned size) { return ports_.in(port, size); }
    void port_out(u16 port, unsigned size, u32 value) { ports_.out(port, size, value); }
    int acknowledge_interrupt() { return lapic_.acknowledge(); }
    FpuError& fpu_error() { return fpu_error_; }
    void system_management(bool active) { host_bridge_.set_smiact(active); }
    Lapic& lapic() { return lapic_; }

    // A slot that is free and into which cards can be put while the machine runs: the one that is wanted, or
    // any.
    std::optional<unsigned> slot_for_card(std::optional<unsigned> wanted) const;
    // Puts a card into such a slot, and tells the guest.
    void plug(PcConfig::Card card, unsigned slot);
    // Asks the guest to let go of the card `id`; take_ejected() has it when the guest did, or was reset.
    // False: there is none, or it is not removable, or in one of the board's slots.
    bool ask_removal(const std::string& id);
    std::vector<PcConfig::Card> take_ejected() { return std::exchange(ejected_, {}); }

    // For the next start: letters as in PcConfig.
    void set_boot_order(const std::string& letters);

    // The user's side.
    Ps2Keyboard& keyboard() { return keyboard_; }
    Ps2Mouse& mouse() { return mouse_; }
    UsbTablet* tablet() { return tablet_.get(); } // null: there is none
    Vga* vga() { return vga_.get(); }
    Piix4Pm& power() { return pm_; }
    AtapiCd* cd(unsigned drive); // null: no CD drive there
    FloppyDrive& floppy(unsigned drive) { return fdc_.drive(drive); }
    FwCfg& fw_cfg() { return fw_cfg_; }
    PciBus& pci() { return pci_; }
    const PicPair& pic() const { return pic_; }
    const Ioapic& ioapic() const { return ioapic_; }
    const std::vector<Device*>& devices() const { return devices_; }

  private:
    void attach_cards();
    void attach_card(PcConfig::Card& card, unsigned slot);
    std::optional<unsigned> free_slot(unsigned from) const;
    void eject(unsigned slot);
    void attach_drives();
    void fill_cmos();
    void fill_fw_cfg();

    PcConfig config_;
    PcPins pins_;
    Log& log_;
    MemoryMap& memory_;
    IoBus ports_;
    PciBus pci_;
    ApicBus apic_bus_;
    PciDma pci_dma_;
    Lapic lapic_;
    Ioapic ioapic_;
    PicPair pic_;
    std::vector<std::unique_ptr<IrqLine>> isa_lines_; // IRQ n to 8259 and IO-APIC
    Hpet hpet_;
    Pit8254 pit_;
    Rtc rtc_;
    Dma8237 dma8237_;
    A20Gate a20_;
    Port92 port92_;
    Piix3 piix3_;
    FpuError fpu_error_;
    I440fx host_bridge_;
    Piix4Pm pm_;
    PciHotplug hotplug_;
    Piix3Ide ide_;
    Fdc82077 fdc_;
    std::vector<std::unique_ptr<NorFlash>> flashes_;
    std::unique_ptr<UsbTablet> tablet_;
    std::unique_ptr<Uhci> usb_;
    std::unique_ptr<Vga> vga_;
    Ps2Keyboard keyboard_;
    Ps2Mouse mouse_;
    I8042 i8042_;
    std::array<std::unique_ptr<Uart16550>, 2> serial_;
    std::unique_ptr<ParallelPort> parallel_;
    std::unique_ptr<PanicRegister> panic_;
    FwCfg fw_cfg_;
    std::unique_ptr<DebugConsole> debug_console_;
    std::unique_ptr<IsaDebugExit> debug_exit_;
    PostPort post_;
    std::array<AtapiCd*, 4> cds_{};
    std::vector<Device*> devices_; // in reset order
    std::vector<PcConfig::Card> ejected_;
};

} // namespace dragoman::hw
