// One counter of the 8254: the six modes as functions of the pulses since the count was loaded.
#include "base/bits.h"
#include "hw/pit8254.h"

#include <algorithm>
#include <string>

namespace dragoman::hw {

namespace {

u32 from_bcd(u16 v) {
    return (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15);
}
u16 to_bcd(u32 v) {
    return u16(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

} // namespace

// Modes 6 and 7 are 2 and 3 (the third mode bit is "don't care" there).
unsigned PitCounter::mode() const {
    const unsigned m = (control_ >> 1) & 7;
    return m > 5 ? m - 4 : m;
}

u32 PitCounter::count_value() const {
    const u32 n = bcd() ? from_bcd(count_register_) % modulus() : count_register_;
    return n ? n : modulus();
}

i64 PitCounter::elapsed(i64 now) const {
    return stopped_ ? held_ : now - origin_;
}

void PitCounter::stop(i64 now) {
    if (stopped_) return;
    held_ = elapsed(now);
    stopped_ = true;
}

void PitCounter::run(i64 now) {
    if (!stopped_) return;
    origin_ = now - held_;
    stopped_ = false;
}

// --- Programming
// --------------------------------------------------------------------------------------------------

void PitCounter::write_control(u8 control, i64 now) {
    advance(now);
    idle_element_ = element(now);
    control_ = control & 0x3f;
    has_count_ = write_high_ = read_high_ = false;
    null_count_ = true;
    latched_bytes_ = 0;
    status_latched_ = false;
    loaded_ = false;
    stopped_ = false;
    reload_at_ = never;
}

void PitCounter::write_count(u8 byte, i64 now) {
    advance(now);
    switch (access()) {
    case Access::Low: count_register_ = byte; break;
    case Access::High: count_register_ = u16(byte << 8); break;
    case Access::Latch:
    case Access::LowThenHigh:
        if (!write_high_) {
            low_byte_ = byte;
            write_high_ = true;
            if (mode() == 0) { // the first byte stops the counting and drops OUT at once
                idle_element_ = element(now);
                loaded_ = false;
                reload_at_ = never;
            }
            return;
        }
        count_register_ = u16(byte << 8 | low_byte_);
        write_high_ = false;
        break;
    }
    count_written(now);
}

void PitCounter::count_written(i64 now) {
    has_count_ = true;
    null_count_ = true;
    switch (mode()) {
    case 0:
    case 4: reload_at_ = now + 1; break;
    case 1:
    case 5: break; // waits for the trigger
    default:
        if (!loaded_)
            reload_at_ = now + 1;
        else if (!stopped_ && reload_at_ == never) // a reload that is due anyway takes the new count
            reload_at_ = end_of_cycle(now);
        break;
    }
}

void PitCounter::set_gate(bool level, i64 now) {
    advance(now);
    if (level == gate_) return;
    gate_ = level;
    switch (mode()) {
    case 0:
    case 4: // the level enables counting
        if (level)
            run(now);
        else if (loaded_)
            stop(now);
        break;
    case 1:
    case 5: // the rising edge is the trigger
        if (level && has_count_) reload_at_ = now + 1;
        break;
    default: // both
        if (level) {
            if (has_count_) reload_at_ = now + 1;
        } else if (loaded_) {
            stop(now);
            reload_at_ = never;
        }
        break;
    }
}

void PitCounter::advance(i64 now) {
    if (reload_at_ > now) return;
    const i64 at = reload_at_;
    // Mode 3 may take up a new count in the middle of its cycle: it then goes on with the low half.
    const bool second_half = mode() == 3 && loaded_ && !stopped_ && gate_ && count_ > 1 &&
                             (at - origin_) % count_ == (count_ + 1) / 2;
    reload_at_ = never;
    null_count_ = false;
    loaded_ = true;
    count_ = count_value();
    origin_ = second_half ? at - i64((count_ + 1) / 2) : at;
    held_ = 0;
    stopped_ = !gate_ && mode() != 1 && mode() != 5;
}

// --- The waveforms (8254 data sheet, "Mode Definitions")
// -----------------------------------------------------------

bool PitCounter::out(i64 now) const {
    const i64 e = elapsed(now), n = count_;
    switch (mode()) {
    case 0: return loaded_ && e >= n;
    case 1: return !loaded_ || e >= n;
    case 2: return !loaded_ || !gate_ || stopped_ || n < 2 || e % n != n - 1;
    case 3: return !loaded_ || !gate_ || stopped_ || n < 2 || e % n < (n + 1) / 2;
    default: return !loaded_ || e != n; // 4 and 5: a strobe of one pulse
    }
}

i64 PitCounter::next_edge(i64 now) const {
    if (!loaded_ || stopped_) return never;
    const i64 e = now - origin_, n = count_;
    switch (mode()) {
    case 0:
    case 1: return e < n ? origin_ + n : never;
    case 2:
    case 3: {
        if (n < 2) return never; // a count of 1 is illegal: OUT stays high
        const i64 low_from = mode() == 2 ? n - 1 : (n + 1) / 2;
        const i64 in_cycle = e % n;
        return now - in_cycle + (in_cycle < low_from ? low_from : n);
    }
    default: return e < n ? origin_ + n : e == n ? origin_ + n + 1 : never;
    }
}

i64 PitCounter::cycles(i64 from, i64 to) const {
    if ((mode() != 2 && mode() != 3) || !loaded_ || stopped_ || count_ < 2 || reload_at_ != never ||
        from < origin_)
        return 0;
    return (to - origin_) / i64(count_) - (from - origin_) / i64(count_);
}

i64 PitCounter::next_event(i64 now) const {
    return std::min(next_edge(now), reload_at_);
}

i64 PitCounter::end_of_cycle(i64 now) const {
    const i64 n = count_, in_cycle = (now - origin_) % n;
    const i64 half = (n + 1) / 2;
    if (mode() == 3 && in_cycle < half) return now - in_cycle + half;
    return now - in_cycle + n;
}

u16 PitCounter::element(i64 now) const {
    if (!loaded_) return idle_element_;
    const i64 e = elapsed(now), n = count_, m = modulus();
    i64 value = 0;
    switch (mode()) {
    case 2: value = n - e % n; break;
    case 3: { // by twos, from the count made even
        const i64 half = (n + 1) / 2, in_cycle = e % n;
        value = (n & ~i64{1}) - 2 * (in_cycle < half ? in_cycle : in_cycle - half);
        break;
    }
    default: value = ((n - e) % m + m) % m; break; // goes on below zero
    }
    value %= m;
    return bcd() ? to_bcd(u32(value)) : u16(value);
}

// --- Reading back
// ----------------------------------------------------------------------------------------------------

void PitCounter::latch_count(i64 now) {
    if (latched_bytes_) return; // the first latch holds until it is read
    advance(now);
    latched_count_ = element(now);
    latched_bytes_ = access() == Access::LowThenHigh ? 2 : 1;
}

void PitCounter::latch_status(i64 now) {
    if (status_latched_) return;
    advance(now);
    status_ = u8(out(now) << 7 | null_count_ << 6 | (control_ & 0x3f));
    status_latched_ = true;
}

u8 PitCounter::read(i64 now) {
    if (status_latched_) {
        status_latched_ = false;
        return status_;
    }
    advance(now);
    const u16 value = latched_bytes_ ? latched_count_ : element(now);
    if (latched_bytes_) latched_bytes_--;
    switch (access()) {
    case Access::Low: return u8(value);
    case Access::High: return u8(value >> 8);
    default: break;
    }
    const bool high = read_high_;
    read_high_ = !read_high_;
    return u8(high ? value >> 8 : value);
}

void PitCounter::visit(StateVisitor& visitor, const char* prefix) {
    const auto field = [&](const char* name, auto& value) {
        visitor.field((std::string(prefix) + name).c_str(), value);
    };
    field("control", control_);
    field("count_register", count_register_);
    field("low_byte", low_byte_);
    field("has_count", has_count_);
    field("write_high", write_high_);
    field("read_high", read_high_);
    field("null_count", null_count_);
    field("gate", gate_);
    field("latched_bytes", latched_bytes_);
    field("latched_count", latched_count_);
    field("status_latched", status_latched_);
    field("status", status_);
    field("loaded", loaded_);
    field("stopped", stopped_);
    field("count", count_);
    field("idle_element", idle_element_);
    field("origin", origin_);
    field("held", held_);
    field("reload_at", reload_at_);
    if (visitor.loading()) { // a file may say anything; what the arithmetic relies on must hold
        control_ &= 0x3f;
        count_ = std::clamp<u32>(count_, 1, modulus());
        if (latched_bytes_ > 2) latched_bytes_ = 0;
        constexpr i64 far = i64{1} << 60;
        origin_ = std::clamp(origin_, -far, far);
        held_ = std::clamp<i64>(held_, 0, far);
        reload_at_ = std::max<i64>(reload_at_, 0);
    }
}

} // namespace dragoman::hw
