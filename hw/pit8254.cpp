#include "hw/pit8254.h"

#include "base/bits.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

using u128 = unsigned __int128;
constexpr u64 ns_per_second = 1'000'000'000;

// Control word: counter select 3 is the read-back command.
constexpr unsigned kReadBack = 3;

// Port 0x61 (82371SB, NMISC).
constexpr u8 kGate2 = 0x01, kSpeakerData = 0x02, kWritable = 0x0f;
constexpr unsigned kRefreshToggleBit = 4, kOut2Bit = 5;
// Counter 1 asks for a refresh every 18 pulses (15.1 us); the toggle bit changes with each.
constexpr i64 refresh_pulses = 18;

} // namespace

i64 Pit8254::pulses_at(u64 ns) {
    return i64(u128{ns} * frequency / ns_per_second);
}

u64 Pit8254::time_of(i64 pulse) {
    const u128 ns = (u128(pulse) * ns_per_second + frequency - 1) / frequency;
    return ns >= Scheduler::never ? Scheduler::never : u64(ns);
}

Pit8254::Pit8254(Scheduler& scheduler, IrqLine& irq0)
    : scheduler_(scheduler), irq0_(irq0),
      ports_([this](u32 o) { return read(o); }, [this](u32 o, u8 v) { write(o, v); }),
      control_b_port_([this](u32) { return read_control_b(); }, [this](u32, u8 v) { write_control_b(v); }),
      timer_(scheduler,
             [this] {
                 follow_out0(now());
                 rearm(followed_);
             }),
      late_(scheduler, [this] {
          follow_out0(now());
          if (!irq_level_) return false; // one would not stay high until it is taken
          set_irq(false);
          set_irq(true);
          return true;
      }) {
    reset();
}

void Pit8254::map(IoBus& bus) {
    bus.map(0x40, 4, ports_, PortRange::byte_wide);
    bus.map(0x61, 1, control_b_port_, PortRange::byte_wide);
}

void Pit8254::reset() {
    counters_ = {};
    control_b_ = 0;
    counters_[2].set_gate(false, now());
    late_.forget();
    followed_ = now();
    set_irq(false);
    rearm(followed_);
}

void Pit8254::visit(StateVisitor& visitor) {
    counters_[0].visit(visitor, "counter0.");
    counters_[1].visit(visitor, "counter1.");
    counters_[2].visit(visitor, "counter2.");
    visitor.field("control_b", control_b_);
    bool level = irq_level_;
    visitor.field("irq_level", level);
    visitor.field("followed", followed_);
    late_.visit(visitor, "late");
    if (!visitor.loading()) return;
    set_irq(level);
    rearm(followed_);
}

// --- OUT0
// ------------------------------------------------------------------------------------------------------------

void Pit8254::set_irq(bool level) {
    if (level == irq_level_) return;
    irq_level_ = level;
    irq0_.set(level);
}

void Pit8254::follow_out0(i64 to) {
    PitCounter& counter = counters_[0];
    // When the host was late by many periods, the edges in between would only meet a request that is already
    // latched: one now, the others later. A count of 2 must not keep us here.
    constexpr unsigned most_events = 8;
    if (const i64 cycles = counter.cycles(followed_, to); cycles > 1) {
        late_.add(u64(cycles - 1), time_of(counter.cycle()));
        set_irq(false);
        set_irq(true);
        followed_ = to;
    }
    for (unsigned i = 0; i < most_events; i++) {
        const i64 event = counter.next_event(followed_);
        if (event > to) break;
        followed_ = std::max(event, followed_);
        counter.advance(followed_);
        set_irq(counter.out(followed_));
    }
    followed_ = std::max(to, followed_);
    counter.advance(followed_);
    set_irq(counter.out(followed_));
}

void Pit8254::rearm(i64 after) {
    const i64 event = counters_[0].next_event(after);
    if (event == PitCounter::never)
        timer_.cancel();
    else
        timer_.arm(time_of(event));
}

// --- Ports
// ---------------------------------------------------------------------------------------------------------

u8 Pit8254::read(u32 offset) {
    if (offset == 3) return 0xff; // the control word cannot be read
    const i64 at = now();
    follow_out0(at);
    return counters_[offset].read(at);
}

void Pit8254::write(u32 offset, u8 value) {
    const i64 at = now();
    follow_out0(at);
    const unsigned select = value >> 6;
    if (offset == 0 || (offset == 3 && select == 0 && (value & 0x30))) late_.forget();
    if (offset != 3) {
        counters_[offset].write_count(value, at);
    } else if (select == kReadBack) {
        for (unsigned i = 0; i < 3; i++) {
            if (!bit(value, i + 1)) continue;
            if (!bit(value, 5)) counters_[i].latch_count(at);
            if (!bit(value, 4)) counters_[i].latch_status(at);
        }
    } else if ((value & 0x30) == 0) {
        counters_[select].latch_count(at);
    } else {
        counters_[select].write_control(value, at);
    }
    set_irq(counters_[0].out(at));
    rearm(at);
}

bool Pit8254::speaker_level() {
    const i64 at = now();
    counters_[2].advance(at);
    return (control_b_ & kSpeakerData) && counters_[2].out(at);
}

u8 Pit8254::read_control_b() {
    const i64 at = now();
    counters_[2].advance(at);
    const unsigned toggle = unsigned(at / refresh_pulses) & 1;
    return u8(control_b_ | toggle << kRefreshToggleBit | unsigned(counters_[2].out(at)) << kOut2Bit);
}

void Pit8254::write_control_b(u8 value) {
    control_b_ = value & kWritable;
    counters_[2].set_gate(value & kGate2, now());
}

} // namespace dragoman::hw
