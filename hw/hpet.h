// High precision event timer (IA-PC HPET specification 1.0a): a 100 MHz counter of 64 bits with three
// comparators, registers at 0xfed00000.
#pragma once

#include "base/io.h"
#include "hw/core/irq.h"
#include "hw/core/late_ticks.h"
#include "hw/core/scheduler.h"
#include "hw/core/state.h"

#include <array>
#include <memory>
#include <type_traits>

namespace dragoman::hw {

class Hpet final : public Device, public IoHandler {
  public:
    static constexpr u64 base = 0xfed00000; // 4 KiB decoded, of which 1 KiB is used; the machine maps it
    static constexpr u64 tick_ns = 10;
    static constexpr unsigned timer_count = 3;
    static constexpr u32 route_capability = 0x00ff0104; // IO-APIC inputs 2, 8, 16..23

    // `routes[n]`: IO-APIC input n, null where route_capability has no bit. `irq0` and `irq8` are the legacy
    // lines (to 8259s and IO-APIC) that pit_in() and rtc_in() drive until the guest turns the replacement
    // route on. All borrowed.
    Hpet(Scheduler& scheduler, const std::array<IrqLine*, 24>& routes, IrqLine& irq0, IrqLine& irq8);
    ~Hpet() override;

    IrqLine& pit_in() { return pit_in_; }
    IrqLine& rtc_in() { return rtc_in_; }

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

    const char* name() const override { return "hpet"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    struct Comparator {
        u64 config = 0; // Timer n Configuration and Capability, the writable bits
        u64 value = 0;
        u64 period = 0; // what a periodic comparator grows by
    };
    struct State { // without padding: it is saved as it is
        u64 config = 0, status = 0;
        u64 counter = 0; // halted: the main counter; running: main counter - ticks since time 0
        std::array<Comparator, timer_count> timers{};
        u32 routes_high = 0;   // IO-APIC inputs held high
        u8 pit = 0, rtc = 0;   // levels of the inputs
        u8 irq0 = 0, irq8 = 0; // levels of the legacy outputs
    };
    static_assert(std::has_unique_object_representations_v<State>);

    bool running() const { return s_.config & 1; }
    bool legacy() const { return s_.config & 2; }
    u64 counter() const { return running() ? s_.counter + ticks_ : s_.counter; }
    u64 read_register(u64 offset) const;
    void write_register(u64 offset, u64 value, u64 lanes);
    void write_config(u64 value);
    void write_timer(unsigned n, u64 reg, u64 value, u64 lanes);
    void fired(unsigned n);
    bool pulse(unsigned n);
    void settle();
    void take_time() { ticks_ = scheduler_.now() / tick_ns; }
    void arm(unsigned n);
    void arm_all();
    void drive();
    IrqLine* line_of(unsigned n);

    Scheduler& scheduler_;
    std::array<IrqLine*, 24> routes_;
    IrqLine& irq0_;
    IrqLine& irq8_;
    State s_;
    // The time of the access or expiry that is being handled, in ticks. Read once: were the clock to go on in
    // between, a match could fall between looking and arming, and be lost.
    u64 ticks_ = 0;
    std::array<std::unique_ptr<Timer>, timer_count> timers_;
    std::array<std::unique_ptr<LateTicks>, timer_count> late_;
    FunctionLine pit_in_, rtc_in_;
};

} // namespace dragoman::hw
