#include "hw/rtc_mc146818.h"

#include "base/assert.h"
#include "base/bits.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

enum Register : u8 {
    kSeconds = 0x00,
    kSecondsAlarm = 0x01,
    kMinutes = 0x02,
    kMinutesAlarm = 0x03,
    kHours = 0x04,
    kHoursAlarm = 0x05,
    kDayOfWeek = 0x06, // 1 is Sunday
    kDayOfMonth = 0x07,
    kMonth = 0x08,
    kYear = 0x09,
    kA = 0x0a,
    kB = 0x0b,
    kC = 0x0c,
    kD = 0x0d,
    kCentury = 0x32, // by the PC's custom: RAM to the chip, kept right by the board
};

constexpr u8 kUip = 0x80;                                                      // A
constexpr u8 kSet = 0x80, kPie = 0x40, kAie = 0x20, kUie = 0x10, kSqwe = 0x08; // B
constexpr u8 kBinary = 0x04, k24Hours = 0x02, kDaylight = 0x01;                // B
constexpr u8 kIrqf = 0x80, kPf = 0x40, kAf = 0x20, kUf = 0x10;                 // C
constexpr u8 kValidRam = 0x80;                                                 // D
constexpr u8 kPm = 0x80;

constexpr i64 second_ns = 1'000'000'000;
constexpr u64 crystal = 32768; // Hz
// UIP rises 244 us before the update cycle, which takes 1984 us with this crystal (data sheet, table 6).
constexpr i64 uip_ns = 244'000 + 1'984'000;

constexpr unsigned month_days[13] = {31, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

struct Date {
    i64 year;
    unsigned month, day;
};

// Days since 1970-01-01 to the Gregorian date, counting years from March so that the leap day comes last.
Date date_of(i64 days) {
    const i64 z = days + 719468; // since 0000-03-01
    const i64 era = (z >= 0 ? z : z - 146096) / 146097;
    const unsigned day_of_era = unsigned(z - era * 146097);
    const unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const unsigned m = (5 * day_of_year + 2) / 153;
    const unsigned month = m < 10 ? m + 3 : m - 9;
    return {i64(year_of_era) + era * 400 + (month <= 2 ? 1 : 0), month, day_of_year - (153 * m + 2) / 5 + 1};
}

} // namespace

Rtc::Rtc(Scheduler& scheduler, IrqLine& irq8, i64 start, Log& log)
    : scheduler_(scheduler), irq8_(irq8), log_(log),
      ports_([this](u32 o) { return read(o); }, [this](u32 o, u8 v) { write(o, v); }),
      update_timer_(scheduler,
                    [this] {
                        end_update();
                        rearm();
                    }),
      periodic_timer_(scheduler, [this] {
          follow_periods();
          update_irq();
          rearm();
      }) {
    ram_[kA] = 0x26; // 32768 Hz, 1024 Hz periodic rate
    ram_[kB] = k24Hours;
    ram_[kD] = kValidRam;
    set_time(start);
}

void Rtc::map(IoBus& bus) {
    bus.map(0x70, 4, ports_, PortRange::byte_wide);
}

void Rtc::set_cmos(u8 index, u8 value) {
    DRAGOMAN_ASSERT(index > kD);
    ram_[index] = value;
}

void Rtc::set_time(i64 seconds) {
    const i64 days = seconds >= 0 ? seconds / 86400 : (seconds - 86399) / 86400;
    const unsigned of_day = unsigned(seconds - days * 86400);
    const Date date = date_of(days);
    ram_[kSeconds] = encode(of_day % 60);
    ram_[kMinutes] = encode(of_day / 60 % 60);
    set_hour(of_day / 3600);
    ram_[kDayOfWeek] = encode(unsigned((days % 7 + 11) % 7) + 1); // 1970-01-01 was a Thursday
    ram_[kDayOfMonth] = encode(date.day);
    ram_[kMonth] = encode(date.month);
    ram_[kYear] = encode(unsigned(((date.year % 100) + 100) % 100));
    ram_[kCentury] = encode(unsigned(std::clamp<i64>(date.year / 100, 0, 99)));
    divider_origin_ = now();
    updates_ = 0;
    periods_ = 0;
    rearm();
}

void Rtc::reset() {
    end_update(); // what was due before belongs to the flags that are cleared here
    follow_periods();
    ram_[kB] &= u8(~(kPie | kAie | kUie | kSqwe));
    ram_[kC] = 0;
    nmi_masked_ = false;
    index_ = extended_index_ = 0;
    update_irq();
    rearm();
}

void Rtc::visit(StateVisitor& visitor) {
    visitor.field("ram", ram_);
    visitor.field("index", index_);
    visitor.field("extended_index", extended_index_);
    visitor.field("nmi_masked", nmi_masked_);
    visitor.field("divider_origin", divider_origin_);
    visitor.field("updates", updates_);
    visitor.field("periods", periods_);
    if (!visitor.loading()) return;
    index_ &= 0x7f;
    extended_index_ &= 0x7f;
    ram_[kD] = kValidRam;
    constexpr i64 far = i64{1} << 60;
    divider_origin_ = std::clamp(divider_origin_, -far, far);
    // A file may claim that ages were not counted yet: a year's worth is counted, the rest dropped.
    constexpr i64 most_behind = 366 * 86400;
    const i64 due = (now() - divider_origin_) / second_ns;
    updates_ = std::clamp(updates_, std::max<i64>(0, due - most_behind), far / second_ns);
    periods_ = std::clamp<i64>(periods_, 0, (i64{1} << 45) / i64(std::max<u64>(1, period_ticks())));
    update_irq();
    rearm();
}

// --- The calendar
// ----------------------------------------------------------------------------------------------------

unsigned Rtc::decode(u8 value) const {
    return ram_[kB] & kBinary ? value : (value >> 4) * 10u + (value & 15);
}
u8 Rtc::encode(unsigned value) const {
    return u8(ram_[kB] & kBinary ? value : (value / 10) << 4 | value % 10);
}

unsigned Rtc::hour() const {
    if (ram_[kB] & k24Hours) return decode(ram_[kHours]);
    return decode(ram_[kHours] & 0x7f) % 12 + (ram_[kHours] & kPm ? 12 : 0);
}

void Rtc::set_hour(unsigned value) {
    if (ram_[kB] & k24Hours)
        ram_[kHours] = encode(value);
    else
        ram_[kHours] = u8(encode(value % 12 ? value % 12 : 12) | (value >= 12 ? kPm : 0));
}

void Rtc::count_second() {
    const auto carry = [this](u8 index, unsigned limit) {
        const unsigned value = decode(ram_[index]) + 1;
        ram_[index] = encode(value < limit ? value : 0);
        return value >= limit;
    };
    if (!carry(kSeconds, 60) || !carry(kMinutes, 60)) return;
    const unsigned next = hour() + 1;
    set_hour(next < 24 ? next : 0);
    if (next >= 24) count_day();
}

void Rtc::count_day() {
    const unsigned weekday = decode(ram_[kDayOfWeek]) + 1;
    ram_[kDayOfWeek] = encode(weekday <= 7 ? weekday : 1);
    const unsigned month = decode(ram_[kMonth]), year = decode(ram_[kYear]);
    // The chip knows two digits of the year: every fourth is a leap year, which is right from 1901 to 2099.
    const unsigned days = month == 2 && year % 4 == 0 ? 29 : month_days[month <= 12 ? month : 0];
    const unsigned day = decode(ram_[kDayOfMonth]) + 1;
    ram_[kDayOfMonth] = encode(day <= days ? day : 1);
    if (day <= days) return;
    ram_[kMonth] = encode(month < 12 ? month + 1 : 1);
    if (month < 12) return;
    ram_[kYear] = encode(year < 99 ? year + 1 : 0);
    if (year < 99) return;
    const unsigned century = decode(ram_[kCentury]) + 1;
    ram_[kCentury] = encode(century < 100 ? century : 0);
}

bool Rtc::alarm_matches() const {
    const auto match = [this](u8 time, u8 alarm) {
        return (ram_[alarm] & 0xc0) == 0xc0 /* don't care */ || ram_[alarm] == ram_[time];
    };
    return match(kSeconds, kSecondsAlarm) && match(kMinutes, kMinutesAlarm) && match(kHours, kHoursAlarm);
}

// --- Updates and interrupts
// --------------------------------------------------------------------------------------------

bool Rtc::dividing() const {
    return (ram_[kA] & 0x70) == 0x20;
}

i64 Rtc::next_update() const {
    return divider_origin_ + (updates_ + 1) * second_ns;
}

bool Rtc::update_in_progress() const {
    if (!dividing() || (ram_[kB] & kSet)) return false;
    return now() >= next_update() - uip_ns;
}

// Counts every second whose update cycle has ended by now.
void Rtc::end_update() {
    if (!dividing()) return;
    while (next_update() <= now()) {
        updates_++;
        if (ram_[kB] & kSet) continue;
        count_second();
        ram_[kC] |= u8(kUf | (alarm_matches() ? kAf : 0));
    }
    update_irq();
}

// The rate selection counts the divider's last fifteen stages; the two fastest taps repeat 256 and 128 Hz.
u64 Rtc::period_ticks() const {
    const unsigned rs = ram_[kA] & 15;
    if (rs == 0 || !dividing()) return 0;
    return u64{1} << (rs <= 2 ? rs + 6 : rs - 1);
}

i64 Rtc::periods_passed() const {
    const u64 passed = u64(std::max<i64>(0, now() - divider_origin_));
    const u64 ticks = passed / second_ns * crystal + passed % second_ns * crystal / second_ns;
    return i64(ticks / period_ticks());
}

void Rtc::follow_periods() {
    if (!period_ticks()) return;
    const i64 passed = periods_passed();
    if (passed > periods_) ram_[kC] |= kPf;
    periods_ = passed;
}

void Rtc::update_irq() {
    const bool level = ram_[kB] & ram_[kC] & (kPf | kAf | kUf);
    ram_[kC] = u8((ram_[kC] & ~kIrqf) | (level ? kIrqf : 0));
    if (level == irq_level_) return;
    irq_level_ = level;
    irq8_.set(level);
}

void Rtc::rearm() {
    if (dividing())
        update_timer_.arm(u64(std::max<i64>(0, next_update())));
    else
        update_timer_.cancel();
    // While PF is set another period changes nothing: the timer rests until register C is read.
    if (!period_ticks() || !(ram_[kB] & kPie) || (ram_[kC] & kPf)) {
        periodic_timer_.cancel();
        return;
    }
    const u64 ticks = u64(periods_ + 1) * period_ticks();
    const u64 after = ticks / crystal * second_ns + (ticks % crystal * second_ns + crystal - 1) / crystal;
    periodic_timer_.arm(u64(std::max<i64>(0, divider_origin_ + i64(after))));
}

// --- Ports
// -------------------------------------------------------------------------------------------------------------

u8 Rtc::read(u32 offset) {
    switch (offset) {
    case 1: return read_register(index_);
    case 3: return ram_[0x80 | extended_index_];
    default: return 0xff; // the index registers are write-only
    }
}

void Rtc::write(u32 offset, u8 value) {
    switch (offset) {
    case 0:
        nmi_masked_ = value & 0x80;
        index_ = value & 0x7f;
        break;
    case 1: write_register(index_, value); break;
    case 2: extended_index_ = value & 0x7f; break;
    case 3: ram_[0x80 | extended_index_] = value; break;
    }
}

u8 Rtc::read_register(u8 index) {
    end_update(); // a deadline may have passed that the run loop has not come to
    if (index == kA) return u8(ram_[kA] | (update_in_progress() ? kUip : 0));
    if (index != kC) return ram_[index];
    follow_periods();
    update_irq();
    const u8 value = ram_[kC];
    ram_[kC] = 0;
    update_irq();
    rearm();
    return value;
}

void Rtc::write_register(u8 index, u8 value) {
    end_update();
    follow_periods();
    switch (index) {
    case kA: write_a(value); break;
    case kB: write_b(value); break;
    case kC:
    case kD: return; // read-only
    default: ram_[index] = value; return;
    }
    update_irq();
    rearm();
}

void Rtc::write_a(u8 value) {
    const bool was = dividing();
    ram_[kA] = value & 0x7f;
    if (dividing() && !was) { // out of divider reset: the first update cycle begins half a second later
        divider_origin_ = now() - second_ns / 2;
        updates_ = 0;
    }
    periods_ = period_ticks() ? periods_passed() : 0;
}

void Rtc::write_b(u8 value) {
    if (value & kSet) value &= u8(~kUie);
    if (value & kDaylight) log_.once("MC146818: daylight saving (register B, DSE) is not emulated");
    ram_[kB] = value;
}

} // namespace dragoman::hw
