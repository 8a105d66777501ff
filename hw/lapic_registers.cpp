// The registers of the local APIC (SDM vol. 3, 11.4.1 and 11.12.1.2) and its timer (11.5.4).
#include "base/bits.h"
#include "hw/lapic.h"

#include <algorithm>
#include <cstdio>

namespace dragoman::hw {

namespace {

enum Register : unsigned { // the xAPIC offset / 16; the x2APIC MSR is 0x800 + this
    kId = 0x02,
    kVersion = 0x03,
    kTpr = 0x08,
    kApr = 0x09,
    kPpr = 0x0a,
    kEoi = 0x0b,
    kRrd = 0x0c,
    kLdr = 0x0d,
    kDfr = 0x0e,
    kSvr = 0x0f,
    kIsr = 0x10,
    kTmr = 0x18,
    kIrr = 0x20,
    kIrrEnd = 0x28,
    kEsr = 0x28,
    kIcrLow = 0x30,
    kIcrHigh = 0x31,
    kLvt0 = 0x32,
    kLvtEnd = 0x38,
    kInitialCount = 0x38,
    kCurrentCount = 0x39,
    kDivide = 0x3e,
    kSelfIpi = 0x3f,
};

constexpr u32 kMasked = 1u << 16, kRemoteIrr = 1u << 14;
constexpr u32 kSvrEnable = 1u << 8;
constexpr u8 kIllegalRegister = 1 << 7; // ESR
constexpr u32 kIcrWritable = 0x000ccfff;
enum TimerMode : unsigned { kOneShot = 0, kPeriodic = 1, kTscDeadline = 2 };

// Writable bits of the LVT entries: timer, thermal, performance, LINT0, LINT1, error.
constexpr u32 kLvtWritable[] = {0x000700ff, 0x000107ff, 0x000107ff, 0x0001a7ff, 0x0001a7ff, 0x000100ff};

// A guest may ask for a timer interrupt every few ns. It gets one in at most this many ns, which it cannot
// tell from the missed ones having merged in IRR, and the run loop gets on.
constexpr u64 kShortestPeriodNs = 10000;

unsigned timer_mode(u32 lvt) {
    return unsigned(bits(lvt, 18, 17));
}

} // namespace

u64 Lapic::read(u64 offset, unsigned size) {
    const unsigned within = unsigned(offset & 15);
    if (within >= 4) return 0;
    return (u64{read_register(unsigned(offset >> 4) & 0xff)} >> (8 * within)) & size_mask(size);
}

void Lapic::write(u64 offset, unsigned size, u64 value) {
    // Anything but an aligned 32-bit write is undefined (11.4.1).
    if ((offset & 15) || size < 4) {
        log_.print(LogItem::GuestError, "lapic: write of %u bytes at offset 0x%03x is ignored\n", size,
                   unsigned(offset));
        return;
    }
    const unsigned reg = unsigned(offset >> 4) & 0xff;
    const u32 v = u32(value);
    switch (reg) {    // registers that x2APIC mode has not, or has otherwise
    case kId: return; // read-only here, as on recent processors
    case kLdr: s_.ldr = v & 0xff000000; return;
    case kDfr: s_.dfr = v | 0x0fffffff; return;
    case kIcrHigh: s_.icr = u64{v & 0xff000000} << 32 | u32(s_.icr); return;
    case kIcrLow:
        s_.icr = (s_.icr & ~u64{0xffffffff}) | (v & kIcrWritable);
        send_ipi();
        return;
    default: write_register(reg, v); return;
    }
}

u32 Lapic::read_register(unsigned reg) {
    switch (reg) {
    case kId: return x2apic() ? s_.id : s_.id << 24;
    case kVersion: return (kLvtCount - 1) << 16 | 0x14;
    case kTpr: return s_.tpr;
    case kPpr: return ppr();
    case kApr:
    case kEoi:
    case kRrd: return 0;
    case kLdr: return s_.ldr;
    case kDfr: return s_.dfr;
    case kSvr: return s_.svr;
    case kEsr: return s_.esr;
    case kIcrLow: return u32(s_.icr);
    case kIcrHigh: return u32(s_.icr >> 32);
    case kInitialCount: return timer_mode(s_.lvt[kTimer]) == kTscDeadline ? 0 : s_.initial_count;
    case kCurrentCount: return current_count();
    case kDivide: return s_.divide;
    default: break;
    }
    if (reg >= kLvt0 && reg < kLvtEnd) return s_.lvt[reg - kLvt0];
    if (reg >= kIsr && reg < kTmr) return s_.isr[reg - kIsr];
    if (reg >= kTmr && reg < kIrr) return s_.tmr[reg - kTmr];
    if (reg >= kIrr && reg < kIrrEnd) return s_.irr[reg - kIrr];
    error(kIllegalRegister);
    return 0;
}

void Lapic::write_register(unsigned reg, u32 value) {
    switch (reg) {
    case kTpr:
        s_.tpr = u8(value);
        update_intr();
        return;
    case kEoi: end_of_interrupt(); return;
    case kSvr: write_svr(value); return;
    case kEsr: // the write makes the errors since the last write readable (11.5.3)
        s_.esr = s_.esr_pending;
        s_.esr_pending = 0;
        return;
    case kInitialCount:
        if (timer_mode(s_.lvt[kTimer]) == kTscDeadline) return;
        settle_timer();
        s_.initial_count = value;
        s_.running = value != 0;
        s_.timer_start = scheduler_.now();
        update_timer();
        return;
    case kDivide: {
        settle_timer();
        const u32 count = current_count();
        const unsigned old = divisor();
        s_.divide = value & 0xb;
        if (divisor() != old) rebase_timer(count);
        update_timer();
        return;
    }
    default: break;
    }
    if (reg >= kLvt0 && reg < kLvtEnd)
        write_lvt(Lvt(reg - kLvt0), value);
    else if (reg != kVersion && reg != kCurrentCount && reg != kApr && reg != kPpr && reg != kRrd &&
             !(reg >= kIsr && reg < kIrrEnd))
        error(kIllegalRegister);
}

void Lapic::write_svr(u32 value) {
    s_.svr = value & 0x3ff;
    if (!(s_.svr & kSvrEnable)) { // 11.4.7.2
        settle_timer();
        for (u32& lvt : s_.lvt)
            lvt |= kMasked;
        update_timer();
    }
    update_intr();
}

void Lapic::write_lvt(Lvt lvt, u32 value) {
    if (lvt == kTimer) settle_timer();
    const u32 old = s_.lvt[lvt];
    u32 entry = value & kLvtWritable[lvt];
    if (!(s_.svr & kSvrEnable)) entry |= kMasked;
    if (lvt == kTimer) {
        if (timer_mode(entry) >= kTscDeadline && (!pins_.tsc || timer_mode(entry) == 3)) {
            log_.once("lapic: timer mode %u is not emulated", timer_mode(entry));
            entry &= ~(3u << 17);
        }
        const u32 count = current_count();
        s_.lvt[lvt] = entry;
        const unsigned from = timer_mode(old), to = timer_mode(entry);
        if (from != to && (from == kTscDeadline || to == kTscDeadline)) { // the change disarms (11.5.4.1)
            s_.tsc_deadline = 0;
            s_.initial_count = 0;
            s_.running = 0;
        } else if (from != to) {
            rebase_timer(count);
        }
        update_timer();
        return;
    }
    s_.lvt[lvt] = entry | (old & kRemoteIrr);
    if (lvt == kLint0 || lvt == kLint1) {
        if ((entry & 0x8700) != 0x8000) s_.lvt[lvt] &= ~kRemoteIrr; // only level, fixed has it
        evaluate_level_pin(lvt);
    }
    update_intr();
}

bool Lapic::read_msr(u32 msr, u64& value) {
    const unsigned reg = msr - 0x800;
    if (!x2apic() || reg > 0xff) return false;
    switch (reg) {
    case kIcrLow: value = s_.icr; return true;
    case kApr:
    case kEoi:
    case kRrd:
    case kDfr:
    case kIcrHigh:
    case kSelfIpi: return false;
    case kId:
    case kVersion:
    case kTpr:
    case kPpr:
    case kLdr:
    case kSvr:
    case kEsr:
    case kInitialCount:
    case kCurrentCount:
    case kDivide: break;
    default:
        if (!(reg >= kIsr && reg < kIrrEnd) && !(reg >= kLvt0 && reg < kLvtEnd)) return false;
    }
    value = read_register(reg);
    return true;
}

bool Lapic::write_msr(u32 msr, u64 value) {
    const unsigned reg = msr - 0x800;
    if (!x2apic() || reg > 0xff) return false;
    if (reg == kIcrLow) {
        if (value & (0xffffffff & ~(kIcrWritable | 1u << 12))) return false;
        s_.icr = value & ~u64{1u << 12};
        send_ipi();
        return true;
    }
    u64 allowed;
    switch (reg) {
    case kTpr:
    case kSelfIpi: allowed = 0xff; break;
    case kEoi:
    case kEsr: allowed = 0; break;
    case kSvr: allowed = 0x3ff; break;
    case kInitialCount: allowed = 0xffffffff; break;
    case kDivide: allowed = 0xb; break;
    default:
        if (reg < kLvt0 || reg >= kLvtEnd) return false; // read-only or not there
        allowed = kLvtWritable[reg - kLvt0] | 1u << 12 | kRemoteIrr;
    }
    if (value & ~allowed) return false;
    if (reg == kSelfIpi) {
        s_.icr = 1u << 18 | u8(value);
        send_ipi();
    } else {
        write_register(reg, u32(value));
    }
    return true;
}

// The timer: counts at timer_hz / divisor, so one tick lasts `divisor` ns.

unsigned Lapic::divisor() const {
    const unsigned code = (s_.divide & 3) | (s_.divide >> 1 & 4); // 11.5.4, figure 11-10: 000 = 2 ... 111 = 1
    return code == 7 ? 1 : 2u << code;
}

u32 Lapic::current_count() const {
    const unsigned mode = timer_mode(s_.lvt[kTimer]);
    if (!s_.running || s_.initial_count == 0 || mode == kTscDeadline) return 0;
    const u64 elapsed = (scheduler_.now() - s_.timer_start) / divisor();
    if (mode == kPeriodic) return s_.initial_count - u32(elapsed % s_.initial_count);
    return elapsed >= s_.initial_count ? 0 : s_.initial_count - u32(elapsed);
}

// Goes on from `count` after the mode or the divisor changed. Time 0 may lie before timer_start: it wraps.
void Lapic::rebase_timer(u32 count) {
    s_.running = s_.running && count != 0;
    s_.timer_start = scheduler_.now() - u64{s_.initial_count - count} * divisor();
}

// An expiry that is due but not yet run happened before what the guest does now; one that came while masked
// is gone.
void Lapic::settle_timer() {
    const u64 now = scheduler_.now();
    if (timer_.armed() && timer_.deadline() <= now) {
        timer_.cancel();
        timer_fired();
    }
    const u32 lvt = s_.lvt[kTimer];
    if (timer_mode(lvt) == kOneShot && (lvt & kMasked) &&
        now - s_.timer_start >= u64{s_.initial_count} * divisor())
        s_.running = 0;
}

void Lapic::timer_fired() {
    const unsigned mode = timer_mode(s_.lvt[kTimer]);
    if (mode == kTscDeadline) {
        if (s_.tsc_deadline == 0 || pins_.tsc() < s_.tsc_deadline) {
            update_timer();
            return;
        }
        s_.tsc_deadline = 0;
    } else if (mode == kOneShot) {
        s_.running = 0;
    }
    local_interrupt(kTimer);
    update_timer();
}

void Lapic::update_timer() {
    timer_.cancel();
    if (!hardware_enabled()) return;
    const u64 now = scheduler_.now();
    const u32 lvt = s_.lvt[kTimer];
    if (timer_mode(lvt) == kTscDeadline) {
        if (s_.tsc_deadline == 0 || !pins_.tsc) return;
        const u64 tsc = pins_.tsc();
        u64 wait = 0;
        if (tsc < s_.tsc_deadline) {
            const auto ns = static_cast<unsigned __int128>(s_.tsc_deadline - tsc) * 1000000000 /
                                std::max<u64>(pins_.tsc_hz, 1) +
                            1;
            const u64 farthest = Scheduler::never - 1 - now;
            wait = ns > farthest ? farthest : u64(ns);
        }
        timer_.arm(now + wait);
        return;
    }
    if (!s_.running || s_.initial_count == 0) return;
    u64 period = u64{s_.initial_count} * divisor();
    const u64 elapsed = now - s_.timer_start;
    if (lvt & kMasked) return;
    if (timer_mode(lvt) == kOneShot) {
        timer_.arm(s_.timer_start + period); // if that is past, at the next run_due()
        return;
    }
    if (period < kShortestPeriodNs) period *= (kShortestPeriodNs + period - 1) / period;
    timer_.arm(now + (period - elapsed % period));
}

void Lapic::tsc_changed() {
    if (timer_mode(s_.lvt[kTimer]) == kTscDeadline) update_timer();
}

void Lapic::write_tsc_deadline(u64 value) {
    if (timer_mode(s_.lvt[kTimer]) != kTscDeadline) return; // ignored in the other modes (11.5.4.1)
    settle_timer();
    s_.tsc_deadline = value;
    update_timer();
}

// The monitor's view.

std::string Lapic::describe() const {
    std::string out;
    auto line = [&out](const char* format, auto... args) {
        char text[160];
        std::snprintf(text, sizeof text, format, args...);
        out += text;
    };
    auto vectors = [&](const char* title, const Vectors& v) {
        out += title;
        bool any = false;
        for (unsigned n = 0; n < 256; n++) {
            if (!bit(v[n / 32], n % 32)) continue;
            line(" %02x%s", n, bit(s_.tmr[n / 32], n % 32) ? "(level)" : "");
            any = true;
        }
        out += any ? "\n" : " none\n";
    };
    const char* mode = !hardware_enabled() ? "disabled" : x2apic() ? "x2APIC" : "xAPIC";
    line("local APIC %u: %s, base %09llx%s\n", s_.id, mode,
         static_cast<unsigned long long>(s_.base & ~u64{0xfff}), bit(s_.base, 8) ? ", BSP" : "");
    line("SVR %08x (%s, spurious vector %02x)  TPR %02x  PPR %02x  ESR %02x\n", s_.svr,
         s_.svr & kSvrEnable ? "enabled" : "software-disabled", s_.svr & 0xff, s_.tpr, ppr(), s_.esr);
    line("LDR %08x  DFR %08x  ICR %016llx\n", s_.ldr, s_.dfr, static_cast<unsigned long long>(s_.icr));
    static constexpr const char* names[] = {"timer", "thermal", "perfmon", "LINT0", "LINT1", "error"};
    static constexpr const char* modes[] = {"fixed", "lowest", "SMI",  "reserved",
                                            "NMI",   "INIT",   "SIPI", "ExtINT"};
    for (unsigned i = 0; i < kLvtCount; i++) {
        const u32 lvt = s_.lvt[i];
        line("LVT %-8s %08x  vector %02x %s%s%s\n", names[i], lvt, lvt & 0xff, modes[bits(lvt, 10, 8)],
             lvt & 1u << 15 ? " level" : "", lvt & kMasked ? " masked" : "");
    }
    static constexpr const char* timer_modes[] = {"one-shot", "periodic", "TSC-deadline", "reserved"};
    line("timer: %s, divide by %u, initial %u, current %u, deadline %llu\n",
         timer_modes[timer_mode(s_.lvt[kTimer])], divisor(), s_.initial_count, current_count(),
         static_cast<unsigned long long>(s_.tsc_deadline));
    vectors("IRR:", s_.irr);
    vectors("ISR:", s_.isr);
    line("pins: LINT0 %u, LINT1 %u; INTR %s\n", s_.lint0, s_.lint1, has_interrupt() ? "asserted" : "idle");
    return out;
}

} // namespace dragoman::hw
