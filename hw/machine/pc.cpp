#include "hw/machine/pc.h"

#include "base/bits.h"
#include "hw/ata_disk.h"
#include "hw/core/map_priority.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

// ISA IRQ 0 is wired to IO-APIC input 2, all others to the input of their number (the MADT says so too).
unsigned ioapic_input(unsigned irq) {
    return irq == 0 ? 2 : irq;
}

constexpr unsigned kIsaIrqs = 16;

std::array<IrqLine*, 24> hpet_routes(Ioapic& ioapic) {
    std::array<IrqLine*, 24> routes{};
    for (unsigned n = 0; n < routes.size(); ++n)
        if (bit(Hpet::route_capability, n)) routes[n] = &ioapic.pin(n);
    return routes;
}

std::array<IrqLine*, kIsaIrqs> pointers(const std::vector<std::unique_ptr<IrqLine>>& lines) {
    std::array<IrqLine*, kIsaIrqs> result{};
    for (unsigned irq = 0; irq < kIsaIrqs; ++irq)
        result[irq] = lines[irq].get();
    return result;
}

std::vector<std::unique_ptr<IrqLine>> make_isa_lines(PicPair& pic, Ioapic& ioapic) {
    std::vector<std::unique_ptr<IrqLine>> lines;
    for (unsigned irq = 0; irq < kIsaIrqs; ++irq) {
        lines.push_back(std::make_unique<FunctionLine>([&pic, &ioapic, irq](bool level) {
            if (irq != 2) pic.line(irq).set(level);
            ioapic.pin(ioapic_input(irq)).set(level);
        }));
    }
    return lines;
}

Lapic::Pins lapic_pins(const PcPins& pins, PicPair& pic) {
    return {.nmi = pins.nmi,
            .smi = pins.smi,
            .init = pins.init,
            .startup = {},
            .extint = [&pic] { return pic.acknowledge(); },
            .tsc = pins.tsc,
            .tsc_hz = pins.tsc_hz};
}

} // namespace

Pc::Pc(PcConfig config, PcPins pins, MemoryMap& memory, DmaBus& dma, Scheduler& scheduler, Log& log)
    : config_(std::move(config)), pins_(std::move(pins)), log_(log), memory_(memory),
      pci_dma_(dma, apic_bus_),
      lapic_({}, scheduler, memory, apic_bus_, *pins_.intr, log, lapic_pins(pins_, pic_)), ioapic_(apic_bus_),
      pic_(lapic_.lint0(), log), isa_lines_(make_isa_lines(pic_, ioapic_)),
      hpet_(scheduler, hpet_routes(ioapic_), *isa_lines_[0], *isa_lines_[8]), pit_(scheduler, hpet_.pit_in()),
      rtc_(scheduler, hpet_.rtc_in(), config_.rtc_start, log), dma8237_(dma, log), a20_(pins_.a20),
      port92_(a20_, pins_.init),
      piix3_(pointers(isa_lines_), [this](bool hard) { hard ? pins_.reset() : pins_.init(); }),
      fpu_error_(piix3_.isa(13)), host_bridge_(memory, pci_, config_.ram, config_.bios),
      pm_(ports_, scheduler, piix3_.isa(9), log, {.power_off = pins_.power_off, .smi = pins_.smi},
          {.lpt = config_.parallel.has_value()}),
      hotplug_({.notify = [this] { pm_.raise_gpe(PciHotplug::gpe); },
                .eject = [this](unsigned slot) { eject(slot); }}),
      ide_(piix3_.isa(14), piix3_.isa(15), log), fdc_(piix3_.isa(6), dma8237_, scheduler, log),
      keyboard_(log), mouse_(log), i8042_(scheduler, keyboard_, mouse_,
                                          {.irq1 = piix3_.isa(1),
                                           .irq12 = piix3_.isa(12),
                                           .a20 = [this](bool level) { a20_.set_keyboard_controller(level); },
                                           .reset = pins_.init},
                                          log),
      fw_cfg_(dma, log) {
    apic_bus_.attach(lapic_);
    apic_bus_.on_eoi([this](u8 vector) { ioapic_.end_of_interrupt(vector); });
    memory_.map_io(Ioapic::base, 4096, ioapic_, kMapApic);
    if (config_.hpet) memory_.map_io(Hpet::base, 4096, hpet_, kMapApic);

    ports_.map(0xcf8, 8, pci_, {1, 4});
    pci_.set_reset_control(&piix3_.reset_control());
    pic_.map(ports_);
    pit_.map(ports_);
    rtc_.map(ports_);
    port92_.map(ports_);
    fpu_error_.map(ports_);
    i8042_.map(ports_);
    dma8237_.map(ports_);
    ports_.map(PciHotplug::base, PciHotplug::port_count, hotplug_, {4, 4});
    ports_.map(PostPort::port, 1, post_, {1, 1}, true);
    ports_.map(FwCfg::base, FwCfg::port_count, fw_cfg_, {1, 4});

    const auto attach = [&](unsigned slot, unsigned function, PciFunction& device, unsigned pin) {
        device.connect(ports_, memory, pci_dma_, pin ? &piix3_.intx(slot, function, pin) : nullptr);
        pci_.attach(slot, function, device);
    };
    attach(0, 0, host_bridge_, 0);
    attach(1, 0, piix3_, 0);
    attach(1, 1, ide_, 0);
    if (config_.acpi) attach(1, 3, pm_, 0);
    ide_.map_ports(ports_);
    fdc_.map(ports_);
    if (config_.usb || config_.tablet) {
        usb_ = std::make_unique<Uhci>(scheduler, log);
        if (config_.tablet) {
            tablet_ = std::make_unique<UsbTablet>([this] { usb_->wake(); });
            usb_->attach(0, *tablet_);
        }
        attach(1, 2, *usb_, 4);
    }
    if (config_.vga) {
        vga_ = std::make_unique<Vga>(scheduler, config_.vga_bios, log);
        attach(2, 0, *vga_, 0);
        vga_->map_legacy(ports_, memory);
    }

    for (const PcConfig::Flash& flash : config_.flashes)
        flashes_.push_back(std::make_unique<NorFlash>(memory, flash.gpa, flash.cells, flash.read_only));

    attach_cards();

    static constexpr u16 serial_base[2] = {0x3f8, 0x2f8};
    static constexpr unsigned serial_irq[2] = {4, 3};
    for (unsigned n = 0; n < 2; ++n) {
        serial_[n] = std::make_unique<Uart16550>(n ? "com2" : "com1", piix3_.isa(serial_irq[n]), scheduler,
                                                 config_.serial[n]);
        ports_.map(serial_base[n], 8, *serial_[n], {1, 1});
    }
    if (config_.parallel) {
        parallel_ = std::make_unique<ParallelPort>(piix3_.isa(ParallelPort::irq), config_.parallel->sink);
        ports_.map(ParallelPort::base, ParallelPort::port_count, *parallel_, {1, 1});
    }
    if (config_.panic_register) {
        panic_ = std::make_unique<PanicRegister>(pins_.panic);
        ports_.map(PanicRegister::port, 1, *panic_, {1, 1});
    }
    if (config_.debug_console) {
        debug_console_ = std::make_unique<DebugConsole>(*config_.debug_console);
        ports_.map(config_.debug_console_port, 1, *debug_console_, {1, 1});
    }
    if (config_.debug_exit) {
        debug_exit_ = std::make_unique<IsaDebugExit>(pins_.exit);
        ports_.map(config_.debug_exit->iobase, config_.debug_exit->iosize, *debug_exit_, {1, 4});
    }

    attach_drives();
    fill_cmos();
    fill_fw_cfg();

    devices_ = {
        &lapic_,          &ioapic_,         &pic_,    &hpet_, &pit_,       &rtc_,      &dma8237_, &port92_,
        &piix3_,          &host_bridge_,    &pm_,     &ide_,  &fdc_,       &keyboard_, &mouse_,   &i8042_,
        serial_[0].get(), serial_[1].get(), &fw_cfg_, &post_, &fpu_error_, &hotplug_};
    if (vga_) devices_.push_back(vga_.get());
    for (const auto& flash : flashes_)
        devices_.push_back(flash.get());
    if (usb_) devices_.push_back(usb_.get());
    if (tablet_) devices_.push_back(tablet_.get());
    if (parallel_) devices_.push_back(parallel_.get());
    for (const PcConfig::Card& card : config_.cards)
        devices_.push_back(card.function.get());
}

Pc::~Pc() = default;

void Pc::reset() {
    hotplug_.eject_pending();
    for (Device* device : devices_)
        device->reset();
}

AtapiCd* Pc::cd(unsigned drive) {
    return drive < cds_.size() ? cds_[drive] : nullptr;
}

void Pc::attach_card(PcConfig::Card& card, unsigned slot) {
    PciFunction& function = *card.function;
    if (!card.rom.empty()) function.install_rom(std::move(card.rom));
    card.slot = slot;
    const unsigned pin = function.config_read(kPciInterruptPin, 1);
    function.connect(ports_, memory_, pci_dma_, pin ? &piix3_.intx(slot, 0, pin) : nullptr);
    pci_.attach(slot, 0, function);
}

std::optional<unsigned> Pc::free_slot(unsigned from) const {
    for (unsigned slot = from; slot < 32; ++slot)
        if (!pci_.at(slot, 0)) return slot;
    return {};
}

// Cards with a place of their own first, so that the others fill what is left.
void Pc::attach_cards() {
    std::vector<PcConfig::Card*> others;
    for (PcConfig::Card& card : config_.cards) {
        if (card.slot)
            attach_card(card, *card.slot);
        else
            others.push_back(&card);
    }
    for (PcConfig::Card* card : others)
        attach_card(*card, *free_slot(2));
}

std::optional<unsigned> Pc::slot_for_card(std::optional<unsigned> wanted) const {
    const auto slot = wanted ? wanted : free_slot(PciHotplug::first_slot);
    return slot && PciHotplug::takes(*slot) && !pci_.at(*slot, 0) ? slot : std::nullopt;
}

void Pc::plug(PcConfig::Card card, unsigned slot) {
    attach_card(card, slot);
    card.function->reset();
    devices_.push_back(card.function.get());
    config_.cards.push_back(std::move(card));
    hotplug_.inserted(slot);
}

bool Pc::ask_removal(const std::string& id) {
    for (const PcConfig::Card& card : config_.cards) {
        if (card.id != id || !card.removable || !PciHotplug::takes(*card.slot)) continue;
        hotplug_.ask_removal(*card.slot);
        return true;
    }
    return false;
}

// Its requests may be under way, so it lives on for a while.
void Pc::eject(unsigned slot) {
    const auto card = std::find_if(config_.cards.begin(), config_.cards.end(),
                                   [slot](const PcConfig::Card& c) { return c.slot == slot; });
    if (card == config_.cards.end() || !card->removable) return;
    pci_.detach(slot, 0);
    card->function->disconnect();
    std::erase(devices_, card->function.get());
    ejected_.push_back(std::move(*card));
    config_.cards.erase(card);
    pins_.ejected();
}

void Pc::attach_drives() {
    std::array<std::unique_ptr<AtaDevice>, 4> drives;
    for (unsigned n = 0; n < drives.size(); ++n) {
        if (!config_.ide[n]) continue;
        const PcConfig::Drive& drive = *config_.ide[n];
        if (drive.cd) {
            auto cd = std::make_unique<AtapiCd>(drive.image, drive.serial_number, log_);
            cds_[n] = cd.get();
            drives[n] = std::move(cd);
        } else {
            drives[n] = std::make_unique<AtaDisk>(*drive.image, drive.serial_number, log_);
        }
    }
    ide_.primary().attach(std::move(drives[0]), std::move(drives[1]));
    ide_.secondary().attach(std::move(drives[2]), std::move(drives[3]));
    for (unsigned n = 0; n < Fdc82077::drives; ++n) {
        fdc_.drive(n).connected = config_.floppies[n].has_value();
        fdc_.drive(n).insert(config_.floppies[n].value_or(nullptr));
    }
}

// CMOS bytes that PC firmware reads (as far as it does not ask fw_cfg).
void Pc::fill_cmos() {
    const u64 ram = config_.ram.size();
    const auto set16 = [&](u8 index, u64 value) {
        rtc_.set_cmos(index, u8(value));
        rtc_.set_cmos(index + 1, u8(value >> 8));
    };
    const u64 extended = std::min<u64>(ram / KiB - 1024, 0xffff); // KiB over 1 MiB
    const u64 below_4g = config_.ram_below_4g;
    set16(0x15, 640);
    set16(0x17, extended);
    set16(0x30, extended);
    set16(0x34, below_4g > 16 * MiB ? std::min<u64>((below_4g - 16 * MiB) / (64 * KiB), 0xffff) : 0);
    const u64 above_4g = (ram - below_4g) / (64 * KiB);
    rtc_.set_cmos(0x5b, u8(above_4g));
    rtc_.set_cmos(0x5c, u8(above_4g >> 8));
    rtc_.set_cmos(0x5d, u8(above_4g >> 16));
    // Floppy drives: their types, and how many there are; then a coprocessor, a PS/2 mouse, an EGA or better
    // display.
    u8 types = 0, equipment = 0x06;
    for (unsigned drive = 0; drive < Fdc82077::drives; ++drive) {
        if (!fdc_.drive(drive).connected) continue;
        types = u8(types | fdc_.drive(drive).geometry().drive_type << (drive == 0 ? 4 : 0));
        equipment = u8((equipment | 1) + (equipment & 1 ? 0x40 : 0));
    }
    rtc_.set_cmos(0x10, types);
    rtc_.set_cmos(0x14, equipment);
    rtc_.set_cmos(0x5f, 0); // one processor

    set_boot_order(config_.boot_order);

    // Disks: type 47 ("see the extension byte") and translation by LBA, as the firmware expects them.
    u8 translation = 0;
    for (unsigned drive = 0; drive < 4; ++drive)
        if (config_.ide[drive] && !config_.ide[drive]->cd) translation = u8(translation | 1u << (2 * drive));
    rtc_.set_cmos(0x39, translation);
}

void Pc::set_boot_order(const std::string& letters) {
    // Boot order: nibbles 1 floppy, 2 disk, 3 CD, 4 network.
    u8 order[3] = {};
    unsigned n = 0;
    for (const char letter : letters) {
        const u8 code = letter == 'a' ? 1 : letter == 'c' ? 2 : letter == 'd' ? 3 : letter == 'n' ? 4 : 0;
        if (code && n < 3) order[n++] = code;
    }
    rtc_.set_cmos(0x3d, u8(order[1] << 4 | order[0]));
    rtc_.set_cmos(0x38, u8(order[2] << 4 | 1)); // and do not look for a floppy's boot signature
}

void Pc::fill_fw_cfg() {
    fw_cfg_.add_u64(kFwCfgRamSize, config_.ram.size());
    fw_cfg_.add_u16(kFwCfgNoGraphic, !config_.vga || config_.firmware_on_serial);
    fw_cfg_.add_u16(kFwCfgCpuCount, 1);
    fw_cfg_.add_u16(kFwCfgMaxCpus, 1);
    fw_cfg_.add_u16(kFwCfgBootMenu, config_.boot_menu);
    fw_cfg_.add_u32(kFwCfgIrq0Override, 1);
    std::vector<u8> max_cpus = {1, 0, 0, 0, 0, 0, 0, 0};
    (void)fw_cfg_.add_file("etc/max-cpus", std::move(max_cpus));
}

void Pc::set_up_without_firmware() {
    // 0xc0000-0xfffff becomes RAM (82441FX, PAM): tables are put there.
    PciFunction& bridge = *pci_.at(0, 0);
    bridge.config_write(0x59, 1, 0x30);
    for (u8 pam = 0x5a; pam <= 0x5f; ++pam)
        bridge.config_write(pam, 1, 0x33);

    // PIRQA..D to IRQ 10, 10, 11, 11: level-triggered in the 8259s (82371SB, PIRQRC and ELCR).
    static constexpr u8 routes[4] = {10, 10, 11, 11};
    PciFunction& isa = *pci_.at(1, 0);
    for (u8 pirq = 0; pirq < 4; ++pirq)
        isa.config_write(u8(0x60 + pirq), 1, routes[pirq]);
    ports_.out(0x4d1, 1, 0x0c | 0x02); // IRQ 10, 11 and the SCI, 9

    // The cascade of the DMA controllers is open: channel 4 in cascade mode, not masked.
    ports_.out(0xd6, 1, 0xc0);
    ports_.out(0xd4, 1, 0x00);

    // PMBASE where the tables say, decoding on (82371AB, PMBA and PMREGMISC).
    pm_.config_write(0x40, 4, 0x600 | 1);
    pm_.config_write(0x80, 1, 1);
    pm_.config_write(0x90, 4, 0x700 | 1);
    pm_.config_write(0xd2, 1, 0x09);

    // IDE channels decode their legacy ports (82371SB, IDETIM bit 15).
    PciFunction& ide = *pci_.at(1, 1);
    ide.config_write(0x40, 2, 0x8000);
    ide.config_write(0x42, 2, 0x8000);

    ports_.out(0x92, 1, 0x02); // A20 open
    if (vga_) vga_->set_text_mode();

    u32 io = 0xc000, memory = 0xfd000000;
    for (unsigned slot = 0; slot < 32; ++slot) {
        for (unsigned function = 0; function < 8; ++function) {
            PciFunction* device = pci_.at(slot, function);
            if (!device) continue;
            u16 command = 0;
            for (u8 bar = kPciBar0; bar < kPciBar0 + 24; bar += 4) {
                device->config_write(bar, 4, 0xffffffff);
                const u32 mask = device->config_read(bar, 4);
                if (mask == 0) continue;
                if (mask & 1) {
                    const u32 bytes = (~(mask & 0xfffc) & 0xffff) + 1;
                    io = u32(align_up(io, bytes));
                    device->config_write(bar, 4, io);
                    io += bytes;
                    command |= 1;
                } else {
                    const u32 bytes = ~(mask & 0xfffffff0) + 1;
                    memory = u32(align_up(memory, bytes));
                    device->config_write(bar, 4, memory);
                    memory += bytes;
                    command |= 2;
                    if ((mask & 6) == 4) { // 64 bits wide: below 4 GiB all the same
                        bar += 4;
                        device->config_write(bar, 4, 0);
                    }
                }
            }
            if (slot == 1 && function == 1) command |= 1 | 4;
            if (command) device->config_write(kPciCommand, 2, command);
            if (device == &pm_) continue; // its interrupt is the SCI, ISA IRQ 9 by wire
            if (const u32 pin = device->config_read(kPciInterruptPin, 1))
                device->config_write(kPciInterruptLine, 1, routes[(pin - 1 + slot - 1) & 3]);
        }
    }
}

} // namespace dragoman::hw
