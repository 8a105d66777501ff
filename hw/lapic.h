// Local APIC (SDM vol. 3, chapter 11): xAPIC registers in memory, x2APIC registers as MSRs, timer,
// interprocessor interrupts, and the LINT0 pin through which the 8259s reach the processor.
#pragma once

#include "base/io.h"
#include "base/log.h"
#include "hw/core/apic_message.h"
#include "hw/core/irq.h"
#include "hw/core/scheduler.h"
#include "hw/core/state.h"

#include <array>
#include <functional>
#include <string>
#include <type_traits>

namespace dragoman::hw {

class Lapic final : public Device, public IoHandler {
  public:
    static constexpr u64 default_base = 0xfee00000;
    static constexpr u64 timer_hz = 1000000000; // before the divide configuration register

    struct Config {
        u32 id = 0;
        bool bootstrap = true; // IA32_APIC_BASE.BSP
        bool x2apic = true;    // may the guest switch to x2APIC mode? (CPUID.1:ECX[21])
        unsigned address_bits = 40;
    };
    // What the chip does to the processor and asks from it. All may be empty. Called inside guest accesses
    // and timer calls: only take note.
    struct Pins {
        std::function<void()> nmi, smi, init;
        std::function<void(u8 vector)> startup;
        std::function<u8()> extint; // the INTA cycle of the 8259s: their vector
        std::function<u64()> tsc;   // the guest's time stamp counter
        u64 tsc_hz = 1000000000;
    };

    // `intr` is the processor's interrupt request: high while has_interrupt(). The registers are mapped into
    // `memory` where IA32_APIC_BASE says. Everything is borrowed.
    Lapic(const Config& config, Scheduler& scheduler, MemoryMap& memory, ApicSink& bus, IrqLine& intr,
          Log& log, Pins pins);
    ~Lapic() override;

    // Is an interrupt waiting that the task priority lets through (IF is the processor's business)?
    bool has_interrupt() const;
    // The processor takes the interrupt: its vector, or -1 if none is waiting.
    int acknowledge();

    IrqLine& lint0() { return lint0_; }
    IrqLine& lint1() { return lint1_; }

    // A message for this APIC, from the bus. deliver() says false if it is not taken: the APIC is disabled.
    bool is_destination(const ApicMessage& message) const;
    bool deliver(u8 vector, TriggerMode trigger, DeliveryMode mode);
    u8 ppr() const;
    bool enabled() const; // IA32_APIC_BASE.EN and SVR bit 8

    // CR8: the task priority class, 0..15.
    u8 tpr() const { return s_.tpr >> 4; }
    void set_tpr(u8 cr8);

    // IA32_APIC_BASE (MSR 0x1b), the x2APIC MSRs 0x800-0x8ff, IA32_TSC_DEADLINE (0x6e0). False means #GP.
    u64 apic_base() const { return s_.base; }
    bool write_apic_base(u64 value);
    bool read_msr(u32 msr, u64& value);
    bool write_msr(u32 msr, u64 value);
    u64 tsc_deadline() const { return s_.tsc_deadline; }
    void write_tsc_deadline(u64 value);
    void tsc_changed(); // the guest wrote IA32_TIME_STAMP_COUNTER or IA32_TSC_ADJUST

    u32 id() const { return s_.id; } // x2APIC: 32 bits; xAPIC: 8 bits

    // xAPIC registers: 32 bits each, 16 bytes apart.
    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

    const char* name() const override { return "lapic"; }
    void reset() override; // the RESET pin; the INIT pin leaves ID and IA32_APIC_BASE alone and is init()
    void init();
    void visit(StateVisitor& visitor) override;

    std::string describe() const; // several lines, for the monitor

  private:
    enum Lvt : unsigned { kTimer, kThermal, kPerf, kLint0, kLint1, kError, kLvtCount };
    class Pin final : public IrqLine {
      public:
        Pin(Lapic& owner, Lvt lvt) : owner_(owner), lvt_(lvt) {}
        void set(bool level) override { owner_.pin_changed(lvt_, level); }

      private:
        Lapic& owner_;
        Lvt lvt_;
    };
    using Vectors = std::array<u32, 8>; // 256 bits

    struct State { // without padding: it is saved as it is
        u64 base = 0;
        u64 icr = 0;
        u64 timer_start = 0; // ns at which the initial count was loaded
        u64 tsc_deadline = 0;
        Vectors isr{}, tmr{}, irr{};
        std::array<u32, kLvtCount> lvt{};
        u32 id = 0, ldr = 0, dfr = 0xffffffff, svr = 0xff;
        u32 initial_count = 0, divide = 0;
        u8 esr = 0, esr_pending = 0;
        u8 tpr = 0;
        u8 lint0 = 0, lint1 = 0; // pin levels
        u8 extint = 0;           // an ExtINT message from the IO-APIC waits
        u8 running = 0;          // the timer counts (not in TSC-deadline mode)
        u8 unused = 0;
    };
    static_assert(std::has_unique_object_representations_v<State>);

    bool hardware_enabled() const { return s_.base & (1u << 11); }
    bool x2apic() const { return s_.base & (1u << 10); }
    bool takes_extint() const;
    int highest_deliverable() const;
    u32 read_register(unsigned reg);
    void write_register(unsigned reg, u32 value);
    void write_lvt(Lvt lvt, u32 value);
    void write_svr(u32 value);
    void send_ipi();
    void end_of_interrupt();
    void pin_changed(Lvt lvt, bool level);
    void evaluate_level_pin(Lvt lvt);
    void local_interrupt(Lvt lvt);
    void error(u8 bits);
    unsigned divisor() const;
    void rebase_timer(u32 count);
    void settle_timer();
    u32 current_count() const;
    void timer_fired();
    void update_timer();
    void update_mapping();
    void update_intr();

    const Config config_;
    Scheduler& scheduler_;
    MemoryMap& memory_;
    ApicSink& bus_;
    IrqLine& intr_;
    Log& log_;
    Pins pins_;
    State s_;
    Timer timer_;
    Pin lint0_{*this, kLint0}, lint1_{*this, kLint1};
    MemoryMap::Handle mapping_ = 0;
    u64 mapped_at_ = 0;
    bool intr_level_ = false;
};

} // namespace dragoman::hw
