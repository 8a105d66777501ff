#include "hw/i6300esb.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

constexpr PciIdentity kIdentity{
    .vendor = 0x8086, .device = 0x25ab, .revision = 2, .class_code = 0x088000, .interrupt_pin = 1};

// Configuration: WDT configuration, 16 bits, and WDT lock.
constexpr u8 kConfig = 0x60, kLock = 0x68;
constexpr u16 kInterruptType = 0x0003, kFastClock = 0x0004, kOutputOff = 0x0020;
constexpr u8 kLocked = 1, kEnable = 2, kFreeRunning = 4;

// Memory.
enum Register : u64 { kPreload1 = 0, kPreload2 = 4, kInterruptStatus = 8, kReload = 12 };
constexpr u32 kPreloadMask = 0xfffff;
constexpr u32 kReloadBit = 0x100, kTimeoutBit = 0x200;
constexpr u8 kUnlock[2] = {0x80, 0x86};

// The preload value counts 2^15 (2^5 with the fast clock) periods of the PCI clock, 33 MHz.
u64 stage_ns(u32 preload, bool fast) {
    const u64 clocks = (u64{preload} + 1) << (fast ? 5 : 15);
    return std::max<u64>(clocks * 30, 1000);
}

} // namespace

I6300esb::I6300esb(Scheduler& scheduler, std::function<void()> time_out)
    : PciFunction("i6300esb", kIdentity), scheduler_(scheduler), time_out_(std::move(time_out)),
      timer_(scheduler, [this] { expired(); }) {
    set_bar(0, BarKind::Memory, 4096, &registers_);
    set_config(kConfig, 2, 0, kInterruptType | kFastClock | kOutputOff);
    set_config(kLock, 1, 0, kLocked | kEnable | kFreeRunning);
}

bool I6300esb::enabled() const {
    return config_[kLock] & kEnable;
}

void I6300esb::start(unsigned stage) {
    s_.stage = stage;
    s_.deadline = scheduler_.now() + stage_ns(s_.preload[stage - 1], config_[kConfig] & kFastClock);
    timer_.arm(s_.deadline);
}

void I6300esb::expired() {
    if (s_.stage == 1) {
        if (!(config_[kLock] & kFreeRunning)) { // watchdog mode: the first stage warns
            s_.interrupt = 1;
            update_interrupt();
        }
        start(2);
        return;
    }
    s_.timed_out = 1;
    const bool free_running = config_[kLock] & kFreeRunning;
    if (!(config_[kConfig] & kOutputOff)) time_out_();
    if (free_running && enabled()) {
        start(1);
    } else {
        s_.stage = 0;
    }
}

void I6300esb::update_interrupt() {
    // Type 0 goes to an APIC pin, which here is the PCI interrupt; SMI is not wired.
    set_intx(s_.interrupt && (config_[kConfig] & kInterruptType) == 0);
}

void I6300esb::config_written(u8 offset, unsigned size) {
    if (offset <= kConfig + 1u && kConfig < offset + size) update_interrupt();
    if (offset > kLock || offset + size <= kLock) return;
    if (config_[kLock] & kLocked) set_writable(kLock, 1, 0); // until reset
    if (!enabled()) {
        timer_.cancel();
        s_.stage = 0;
    } else if (s_.stage == 0) {
        start(1);
    }
}

u64 I6300esb::read(u64 offset, unsigned size) {
    u32 value = 0;
    switch (offset & ~u64{3}) {
    case kPreload1: value = s_.preload[0]; break;
    case kPreload2: value = s_.preload[1]; break;
    case kInterruptStatus: value = s_.interrupt; break;
    case kReload: value = s_.timed_out ? kTimeoutBit : 0; break;
    default: break;
    }
    return (value >> (8 * (offset & 3))) & (size >= 4 ? 0xffffffff : (1u << (8 * size)) - 1);
}

void I6300esb::write(u64 offset, unsigned size, u64 value) {
    if (offset == kReload && s_.unlocked < 2 && value == kUnlock[s_.unlocked]) {
        ++s_.unlocked;
        return;
    }
    if (offset == kInterruptStatus && (value & 1)) {
        s_.interrupt = 0;
        update_interrupt();
    }
    if (s_.unlocked < 2) {
        s_.unlocked = 0;
        return;
    }
    s_.unlocked = 0;
    if ((offset == kPreload1 || offset == kPreload2) && size >= 4) {
        s_.preload[offset / 4] = u32(value) & kPreloadMask;
    } else if (offset == kReload) {
        if (value & kTimeoutBit) s_.timed_out = 0;
        if ((value & kReloadBit) && enabled()) start(1);
    }
}

void I6300esb::reset() {
    PciFunction::reset();
    set_writable(kLock, 1, kLocked | kEnable | kFreeRunning);
    const u32 timed_out = s_.timed_out; // in the battery's well: it tells why the machine started
    s_ = {};
    s_.timed_out = timed_out;
    timer_.cancel();
}

void I6300esb::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    visitor.field("preload1", s_.preload[0]);
    visitor.field("preload2", s_.preload[1]);
    visitor.field("unlocked", s_.unlocked);
    visitor.field("interrupt", s_.interrupt);
    visitor.field("timed_out", s_.timed_out);
    visitor.field("stage", s_.stage);
    visitor.field("deadline", s_.deadline);
    if (!visitor.loading()) return;
    for (u32& preload : s_.preload)
        preload &= kPreloadMask;
    s_.unlocked = std::min<u32>(s_.unlocked, 2);
    s_.stage = std::min<u32>(s_.stage, 2);
    set_writable(kLock, 1, config_[kLock] & kLocked ? 0 : kLocked | kEnable | kFreeRunning);
    timer_.cancel();
    if (s_.stage) timer_.arm(s_.deadline);
    update_interrupt();
}

} // namespace dragoman::hw
