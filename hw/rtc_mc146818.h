// Real-time clock and CMOS RAM (MC146818A data sheet; 82371SB data sheet for the extended bank and the NMI
// mask).
#pragma once

#include "base/log.h"
#include "hw/core/irq.h"
#include "hw/core/port_range.h"
#include "hw/core/scheduler.h"
#include "hw/core/state.h"

#include <array>

namespace dragoman::hw {

class Rtc final : public Device {
  public:
    // The clock shows `start` (seconds since 1970, UTC) at the scheduler's present time. All others are
    // borrowed.
    Rtc(Scheduler& scheduler, IrqLine& irq8, i64 start, Log& log);

    void map(IoBus& bus); // 0x70-0x73

    // CMOS RAM as the machine's wiring sets it up (memory sizes, drive types). 0x0e..0x7f is the standard
    // bank, 0x80..0xff the extended bank at 0x72/0x73. Kept over reset: the battery does.
    void set_cmos(u8 index, u8 value);
    u8 cmos(u8 index) const { return ram_[index]; }

    // Sets date and time, as the constructor does.
    void set_time(i64 seconds_since_1970);

    // Bit 7 of the last write to 0x70.
    bool nmi_masked() const { return nmi_masked_; }

    const char* name() const override { return "rtc_mc146818"; }
    void reset() override; // the RESET pin: interrupts off; time and RAM stay
    void visit(StateVisitor& visitor) override;

  private:
    u8 read(u32 offset);
    void write(u32 offset, u8 value);
    u8 read_register(u8 index);
    void write_register(u8 index, u8 value);
    void write_a(u8 value);
    void write_b(u8 value);

    unsigned decode(u8 value) const; // by register B.DM
    u8 encode(unsigned value) const;
    unsigned hour() const; // 0..23, whatever the format
    void set_hour(unsigned hour);
    void count_second();
    void count_day();
    bool alarm_matches() const;

    bool dividing() const; // the divider chain runs
    bool update_in_progress() const;
    void end_update();
    i64 next_update() const;
    u64 period_ticks() const;   // of 32768 Hz; 0 when off
    i64 periods_passed() const; // since the divider's origin
    void follow_periods();      // sets PF for what has passed
    void update_irq();
    void rearm();
    i64 now() const { return static_cast<i64>(scheduler_.now()); }

    Scheduler& scheduler_;
    IrqLine& irq8_;
    Log& log_;
    PortRange ports_;
    Timer update_timer_, periodic_timer_;

    std::array<u8, 256> ram_{}; // registers A to D included
    u8 index_ = 0, extended_index_ = 0;
    bool nmi_masked_ = false;
    bool irq_level_ = false;
    i64 divider_origin_ = 0; // ns; updates end at whole seconds from here
    i64 updates_ = 0;        // seconds of the divider that were counted
    i64 periods_ = 0;        // periods of the periodic interrupt that were seen
};

} // namespace dragoman::hw
