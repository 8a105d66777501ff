// The interval timer (8254 data sheet) and the system control port 0x61 beside it (82371SB data sheet,
// NMISC).
#pragma once

#include "hw/core/irq.h"
#include "hw/core/late_ticks.h"
#include "hw/core/port_range.h"
#include "hw/core/scheduler.h"
#include "hw/core/state.h"

#include <array>

namespace dragoman::hw {

// One of the three counters, as a function of time counted in CLK pulses. It holds no timer: whoever needs
// its edges asks when the next event is. All times given to it must not go back.
class PitCounter {
  public:
    static constexpr i64 never = INT64_MAX;

    void write_control(u8 control, i64 now); // the control word of this counter, RW not 0
    void write_count(u8 byte, i64 now);
    u8 read(i64 now);
    void latch_count(i64 now);
    void latch_status(i64 now);
    void set_gate(bool level, i64 now);
    bool gate() const { return gate_; }

    // Moves the state to `now`: does what a pending load of the count does.
    void advance(i64 now);
    // After advance(now): the OUT pin, and the first pulse after `now` at which it may change or a count is
    // loaded.
    bool out(i64 now) const;
    i64 next_event(i64 now) const;
    // Of a periodic mode: so many cycles end in (from, to], and how long each is, in pulses.
    i64 cycles(i64 from, i64 to) const;
    i64 cycle() const { return count_; }

    void visit(StateVisitor& visitor, const char* prefix);

  private:
    enum class Access : u8 { Latch, Low, High, LowThenHigh };

    Access access() const { return Access((control_ >> 4) & 3); }
    unsigned mode() const;
    bool bcd() const { return control_ & 1; }
    u32 modulus() const { return bcd() ? 10000 : 0x10000; }
    u32 count_value() const;    // the count register as a number, 1..modulus
    u16 element(i64 now) const; // the counting element as it is read
    i64 elapsed(i64 now) const; // pulses counted since the load
    i64 next_edge(i64 now) const;
    i64 end_of_cycle(i64 now) const; // where a periodic mode takes up a new count
    void count_written(i64 now);
    void stop(i64 now);
    void run(i64 now);

    u8 control_ = 0x30; // RW, mode and BCD bits as the status byte gives them
    u16 count_register_ = 0;
    u8 low_byte_ = 0;
    bool has_count_ = false;  // a count was written since the control word
    bool write_high_ = false; // next byte written is the high one
    bool read_high_ = false;
    bool null_count_ = true;
    bool gate_ = true;

    u8 latched_bytes_ = 0; // bytes of the latched count still to be read
    u16 latched_count_ = 0;
    bool status_latched_ = false;
    u8 status_ = 0;

    bool loaded_ = false;  // the counting element got a count since the control word
    bool stopped_ = false; // by GATE, or between the two bytes of a mode 0 count
    u32 count_ = 1;        // the count being counted, 1..modulus
    u16 idle_element_ = 0; // what is read before the first load
    i64 origin_ = 0;       // the pulse of the load
    i64 held_ = 0;         // elapsed pulses while stopped
    i64 reload_at_ = never;
};

class Pit8254 final : public Device {
  public:
    static constexpr u64 frequency = 1193182; // Hz

    // OUT0 goes to `irq0`. Both are borrowed.
    Pit8254(Scheduler& scheduler, IrqLine& irq0);

    void map(IoBus& bus); // 0x40-0x43 and 0x61

    // Counter 2 and the speaker, for a sound back-end: OUT2 and the speaker data enable.
    bool speaker_level();
    // Bits 2 and 3 of port 0x61: SERR# and IOCHK# reports are turned off.
    u8 nmi_disables() const { return control_b_ & 0x0c; }

    const char* name() const override { return "pit8254"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

    // Whole CLK pulses in `ns` nanoseconds, and the time of a pulse (the first nanosecond not before it).
    static i64 pulses_at(u64 ns);
    static u64 time_of(i64 pulse);

  private:
    u8 read(u32 offset);
    void write(u32 offset, u8 value);
    u8 read_control_b();
    void write_control_b(u8 value);
    i64 now() const { return pulses_at(scheduler_.now()); }
    void follow_out0(i64 to); // carries every edge of OUT0 up to `to` to the line
    void set_irq(bool level);
    void rearm(i64 after);

    Scheduler& scheduler_;
    IrqLine& irq0_;
    PortRange ports_, control_b_port_;
    Timer timer_;
    std::array<PitCounter, 3> counters_;
    u8 control_b_ = 0;
    bool irq_level_ = false;
    LateTicks late_;
    i64 followed_ = 0; // OUT0 has been carried to the line up to here
};

} // namespace dragoman::hw
