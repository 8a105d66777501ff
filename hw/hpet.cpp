#include "hw/hpet.h"

#include "base/bits.h"

namespace dragoman::hw {

namespace {

// Timer n Configuration and Capability (2.3.8)
constexpr u64 kLevel = 1 << 1, kEnable = 1 << 2, kPeriodic = 1 << 3, kPeriodicCap = 1 << 4, kSizeCap = 1 << 5,
              kValSet = 1 << 6, k32Mode = 1 << 8;
constexpr u64 kTimerWritable = kLevel | kEnable | kPeriodic | kValSet | k32Mode;

// General Capabilities (2.3.4): period in fs, vendor, LEG_RT_CAP, COUNT_SIZE_CAP, number of timers - 1,
// revision 1
constexpr u64 kCapabilities =
    (Hpet::tick_ns * 1000000) << 32 | 0x8086u << 16 | 1u << 15 | 1u << 13 | (Hpet::timer_count - 1) << 8 | 1;

// A shorter period than this many ticks (10 us) would keep the run loop from getting on; ticks merge instead.
constexpr u64 kShortestPeriod = 1000;

u64 width_mask(u64 config) {
    return config & k32Mode ? 0xffffffff : ~u64{0};
}

// Would anybody notice a match?
bool watched(u64 config) {
    return config & (kEnable | kLevel);
}

} // namespace

Hpet::Hpet(Scheduler& scheduler, const std::array<IrqLine*, 24>& routes, IrqLine& irq0, IrqLine& irq8)
    : scheduler_(scheduler), routes_(routes), irq0_(irq0), irq8_(irq8), pit_in_([this](bool level) {
          s_.pit = level;
          drive();
      }),
      rtc_in_([this](bool level) {
          s_.rtc = level;
          drive();
      }) {
    for (unsigned n = 0; n < timer_count; n++)
        timers_[n] = std::make_unique<Timer>(scheduler, [this, n] {
            settle();
            fired(n);
        });
    for (unsigned n = 0; n < timer_count; n++)
        late_[n] = std::make_unique<LateTicks>(scheduler, [this, n] { return pulse(n); });
    Hpet::reset();
}

Hpet::~Hpet() = default;

void Hpet::reset() {
    State fresh;
    fresh.pit = s_.pit; // levels belong to the wires
    fresh.rtc = s_.rtc;
    fresh.irq0 = s_.irq0;
    fresh.irq8 = s_.irq8;
    fresh.routes_high = s_.routes_high;
    for (Comparator& timer : fresh.timers)
        timer.value = ~u64{0};
    for (auto& late : late_)
        late->forget();
    s_ = fresh;
    take_time();
    arm_all();
    drive();
}

void Hpet::visit(StateVisitor& visitor) {
    if (!visitor.loading()) settle();
    visitor.field("hpet", s_);
    constexpr const char* names[timer_count] = {"hpet_late0", "hpet_late1", "hpet_late2"};
    for (unsigned n = 0; n < timer_count; n++)
        late_[n]->visit(visitor, names[n]);
    if (!visitor.loading()) return;
    take_time();
    arm_all();
}

u64 Hpet::read(u64 offset, unsigned size) {
    settle();
    if ((offset & 7) + size > 8) return 0;
    return (read_register(offset & 0xff8) >> (8 * (offset & 7))) & size_mask(size);
}

void Hpet::write(u64 offset, unsigned size, u64 value) {
    if (size < 4 || (offset & (size - 1))) return; // only aligned 32 and 64 bits (2.3.2)
    settle();
    const unsigned shift = 8 * unsigned(offset & 7);
    write_register(offset & 0xff8, value << shift, size_mask(size) << shift);
    arm_all();
    drive();
}

u64 Hpet::read_register(u64 offset) const {
    switch (offset) {
    case 0x000: return kCapabilities;
    case 0x010: return s_.config;
    case 0x020: return s_.status;
    case 0x0f0: return counter();
    default: break;
    }
    const u64 n = (offset - 0x100) / 0x20;
    if (offset < 0x100 || n >= timer_count) return 0;
    const Comparator& timer = s_.timers[n];
    switch (offset & 0x18) {
    case 0x00: return u64{route_capability} << 32 | kPeriodicCap | kSizeCap | (timer.config & ~kValSet);
    case 0x08: return timer.value & width_mask(timer.config);
    default: return 0;
    }
}

void Hpet::write_register(u64 offset, u64 value, u64 lanes) {
    switch (offset) {
    case 0x010: write_config((s_.config & ~lanes) | (value & lanes)); return;
    case 0x020: s_.status &= ~(value & lanes); return;
    case 0x0f0: {
        const u64 wanted = (counter() & ~lanes) | (value & lanes);
        s_.counter = running() ? wanted - ticks_ : wanted;
        return;
    }
    default: break;
    }
    const u64 n = (offset - 0x100) / 0x20;
    if (offset >= 0x100 && n < timer_count) write_timer(unsigned(n), offset & 0x18, value, lanes);
}

void Hpet::write_config(u64 value) {
    const u64 count = counter();
    for (auto& late : late_)
        late->forget();
    s_.config = value & 3;
    s_.counter = running() ? count - ticks_ : count;
}

void Hpet::write_timer(unsigned n, u64 reg, u64 value, u64 lanes) {
    Comparator& timer = s_.timers[n];
    late_[n]->forget();
    if (reg == 0x00) {
        const u64 wanted = (timer.config & ~lanes) | (value & lanes);
        u64 route = bits(wanted, 13, 9);
        if (!bit(route_capability, unsigned(route)) && route != 0) route = bits(timer.config, 13, 9);
        timer.config = (wanted & kTimerWritable) | route << 9;
        if (!(timer.config & kLevel)) s_.status &= ~(u64{1} << n);
    } else if (reg == 0x08) {
        // A periodic comparator takes the value itself only after Tn_VAL_SET_CNF; else it is the new period
        // (2.3.9.2.2).
        if (!(timer.config & kPeriodic) || (timer.config & kValSet))
            timer.value = (timer.value & ~lanes) | (value & lanes);
        if (timer.config & kPeriodic) timer.period = (timer.period & ~lanes) | (value & lanes);
        timer.config &= ~kValSet;
    }
}

// Expiries that are due but not yet run happened before what the guest does now.
void Hpet::settle() {
    const u64 before = counter();
    take_time();
    const u64 elapsed = counter() > before ? counter() - before : 0;
    // A periodic comparator without anybody to notice moves on all the same (arm() gave it no timer).
    for (Comparator& timer : s_.timers) {
        const u64 mask = width_mask(timer.config), period = timer.period & mask;
        const u64 first = ((timer.value - before - 1) & mask) + 1; // ticks until it matches
        if (watched(timer.config) || !(timer.config & kPeriodic) || !period || first == 0 || first > elapsed)
            continue;
        timer.value = (timer.value + ((elapsed - first) / period + 1) * period) & mask;
    }
    for (unsigned n = 0; n < timer_count; n++) {
        if (!timers_[n]->armed() || timers_[n]->deadline() > ticks_ * tick_ns) continue;
        timers_[n]->cancel();
        fired(n);
    }
}

void Hpet::fired(unsigned n) {
    Comparator& timer = s_.timers[n];
    const u64 mask = width_mask(timer.config);
    if (const u64 period = timer.period & mask; (timer.config & kPeriodic) && period) {
        const u64 missed = ((counter() - timer.value) & mask) / period;
        timer.value = (timer.value + (missed + 1) * period) & mask;
        if ((timer.config & (kEnable | kLevel)) == kEnable && period < Scheduler::never / tick_ns)
            late_[n]->add(missed, period * tick_ns);
    }
    if (timer.config & kLevel) {
        s_.status |= u64{1} << n;
        drive();
    } else if (timer.config & kEnable) {
        pulse(n);
    }
    arm(n);
}

bool Hpet::pulse(unsigned n) {
    if (IrqLine* line = line_of(n)) line->pulse();
    drive();
    return true;
}

void Hpet::arm(unsigned n) {
    timers_[n]->cancel();
    const Comparator& timer = s_.timers[n];
    if (!running() || !watched(timer.config)) return;
    const u64 mask = width_mask(timer.config);
    // The match is with equality: a value that went by comes round again only when the counter wraps.
    u64 distance = (timer.value - counter()) & mask;
    if (distance == 0) {
        if (mask == ~u64{0}) return;
        distance = mask + 1;
    }
    const u64 period = timer.period & mask;
    if ((timer.config & kPeriodic) && period && distance < kShortestPeriod && period < kShortestPeriod)
        distance += (kShortestPeriod - distance + period - 1) / period * period;
    if (distance > Scheduler::never / tick_ns - ticks_ - 1) return;
    timers_[n]->arm((ticks_ + distance) * tick_ns);
}

void Hpet::arm_all() {
    for (unsigned n = 0; n < timer_count; n++)
        arm(n);
}

IrqLine* Hpet::line_of(unsigned n) {
    if (legacy() && n == 0) return &irq0_;
    if (legacy() && n == 1) return &irq8_;
    const u64 route = bits(s_.timers[n].config, 13, 9);
    return route < routes_.size() ? routes_[route] : nullptr;
}

// Sets the lines of level-triggered comparators and of the legacy inputs.
void Hpet::drive() {
    u32 high = 0;
    bool irq0 = legacy() ? false : s_.pit, irq8 = legacy() ? false : s_.rtc;
    for (unsigned n = 0; n < timer_count; n++) {
        const u64 config = s_.timers[n].config;
        if (!running() || !bit(s_.status, n) || (config & (kLevel | kEnable)) != (kLevel | kEnable)) continue;
        if (legacy() && n == 0)
            irq0 = true;
        else if (legacy() && n == 1)
            irq8 = true;
        else
            high |= 1u << bits(config, 13, 9);
    }
    const u32 changed = high ^ s_.routes_high;
    const bool irq0_changed = irq0 != bool(s_.irq0), irq8_changed = irq8 != bool(s_.irq8);
    s_.routes_high = high;
    s_.irq0 = irq0;
    s_.irq8 = irq8;
    for (unsigned i = 0; i < routes_.size(); i++)
        if (bit(changed, i) && routes_[i]) routes_[i]->set(bit(high, i));
    if (irq0_changed) irq0_.set(irq0);
    if (irq8_changed) irq8_.set(irq8);
}

} // namespace dragoman::hw
