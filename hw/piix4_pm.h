// Intel 82371AB (PIIX4) power management, PCI function 1:0.3: ACPI PM1a registers and PM timer, GPE0, SMBus
// host and the APM ports (data sheet 290562, 7; ACPI 6.4, 4.8).
#pragma once

#include "base/io.h"
#include "base/log.h"
#include "hw/core/irq.h"
#include "hw/core/pci.h"
#include "hw/core/scheduler.h"

#include <functional>

namespace dragoman::hw {

class Piix4Pm final : public PciFunction {
  public:
    static constexpr u64 pm_timer_hz = 3579545;
    static constexpr u16 gpe0_base = 0xafe0; // status 2 bytes, enable 2 bytes
    static constexpr u16 apm_base = 0xb2;    // APMC, APMS

    // Which ISA devices the firmware's tables may announce (DEVRESA-C).
    struct Presence {
        bool lpt = true, com1 = true, com2 = true;
    };

    struct Pins { // called inside guest accesses: only take note
        std::function<void()> power_off, smi;
    };
    // `ports` is where PMBASE, SMBBA, GPE0 and the APM ports appear. `sci` is the level-triggered line to ISA
    // IRQ 9. All borrowed.
    Piix4Pm(IoBus& ports, Scheduler& scheduler, IrqLine& sci, Log& log, Pins pins, Presence presence);
    ~Piix4Pm() override;

    // The user pressed the button: PWRBTN_STS, and an SCI if the guest wants one.
    void press_power_button();
    // Sets GPE0 status bit `n`, 0..15.
    void raise_gpe(unsigned n);

    void reset() override;
    void visit(StateVisitor& visitor) override;

  protected:
    void config_written(u8 offset, unsigned size) override;

  private:
    template <void (Piix4Pm::*Write)(unsigned, u8), u8 (Piix4Pm::*Read)(unsigned)>
    class Ports final : public IoHandler { // byte registers of one block
      public:
        explicit Ports(Piix4Pm& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override {
            u64 value = 0;
            for (unsigned i = 0; i < size; i++)
                value |= u64{(owner_.*Read)(unsigned(offset) + i)} << (8 * i);
            return value;
        }
        void write(u64 offset, unsigned size, u64 value) override {
            for (unsigned i = 0; i < size; i++)
                (owner_.*Write)(unsigned(offset) + i, u8(value >> (8 * i)));
        }

      private:
        Piix4Pm& owner_;
    };
    class PmPorts final : public IoHandler {
      public:
        explicit PmPorts(Piix4Pm& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        Piix4Pm& owner_;
    };

    struct State {             // without padding: it is saved as it is
        u64 next_overflow = 0; // PM timer tick at which bit 23 next changes
        u32 pcntrl = 0;        // kept without effect, as GPSTS and GPEN
        u32 glbctl = 0;        // SMI_EN; the rest is kept without effect
        u16 gpsts = 0, gpen = 0;
        u16 pmsts = 0, pmen = 0, pmcntrl = 0;
        u16 gpe_sts = 0, gpe_en = 0;
        u16 slvevt = 0;
        u16 glbsts = 0; // APM_STS
        u8 apmc = 0, apms = 0;
        // SMBus host
        u8 hststs = 0, hstcnt = 0, hstcmd = 0, hstadd = 0, hstdat0 = 0, hstdat1 = 0, block_index = 0;
        u8 slvcnt = 0, shdwcmd = 0, unused[3] = {};
        u8 block[32] = {};
    };

    static_assert(std::has_unique_object_representations_v<State>);

    void gpe_write(unsigned offset, u8 value);
    u8 gpe_read(unsigned offset);
    void apm_write(unsigned offset, u8 value);
    u8 apm_read(unsigned offset);
    void smb_write(unsigned offset, u8 value);
    u8 smb_read(unsigned offset);
    u8 pm_read(unsigned offset, u64 ticks_now) const;
    void pm_write(unsigned offset, unsigned size, u16 value);
    void sleep(u8 type);
    u64 ticks() const;
    void update_timer();
    void update_sci();
    void update_ports();

    IoBus& ports_;
    Scheduler& scheduler_;
    IrqLine& sci_;
    Log& log_;
    Pins pins_;
    State s_;
    Timer overflow_;
    PmPorts pm_ports_{*this};
    Ports<&Piix4Pm::smb_write, &Piix4Pm::smb_read> smb_ports_{*this};
    Ports<&Piix4Pm::gpe_write, &Piix4Pm::gpe_read> gpe_ports_{*this};
    Ports<&Piix4Pm::apm_write, &Piix4Pm::apm_read> apm_ports_{*this};
    u16 pm_at_ = 0, smb_at_ = 0; // 0 = not mapped
};

} // namespace dragoman::hw
