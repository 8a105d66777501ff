#include "hw/fdc_82077.h"

#include "base/bits.h"
#include "hw/core/io_bus.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

enum Register : u32 {
    kStatusA = 0,
    kStatusB = 1,
    kDor = 2,
    kTape = 3,
    kMainStatus = 4,
    kFifo = 5,
    kDirection = 7
};
constexpr u8 kNotReset = 0x04, kGate = 0x08;                                       // DOR (2.1.3)
constexpr u8 kRequest = 0x80, kToHost = 0x40, kNonDma = 0x20, kCommandBusy = 0x10; // MSR (2.1.5)

} // namespace

Fdc82077::Fdc82077(IrqLine& irq, Dma8237& dma, Scheduler& scheduler, Log& log)
    : irq_(irq), dma_(dma), scheduler_(scheduler), log_(log),
      ports_([this](u32 o) { return read(o); }, [this](u32 o, u8 v) { write(o, v); }),
      direction_port_([this](u32) { return read(kDirection); }, [this](u32, u8 v) { write(kDirection, v); }),
      seek_timers_{Timer(scheduler, [this] { end_seek(0); }), Timer(scheduler, [this] { end_seek(1); })},
      buffer_(std::make_shared<Buffer>()) {}

void Fdc82077::map(IoBus& bus) {
    bus.map(0x3f0, 6, ports_, PortRange::byte_wide);
    bus.map(0x3f7, 1, direction_port_, PortRange::byte_wide);
}

// --- registers (2.1)

u8 Fdc82077::read(u32 offset) {
    switch (offset) {
    case kDor: return state_.dor;
    case kTape: return u8(0xfc | state_.tape);
    case kMainStatus: return main_status();
    case kFifo: return read_fifo();
    case kDirection: { // the change line of the selected drive, while its motor runs
        const unsigned n = state_.dor & 3;
        return n < drives && drives_[n].connected && bit(state_.dor, 4 + n) && drives_[n].changed() ? 0x80
                                                                                                    : 0;
    }
    default: return 0xff; // status registers A and B are of the PS/2 modes
    }
}

void Fdc82077::write(u32 offset, u8 value) {
    switch (offset) {
    case kDor: return write_dor(value);
    case kTape: state_.tape = value & 3; return;
    case kMainStatus: // DSR: a software reset clears itself
        state_.rate = value & 3;
        state_.precompensation = value >> 2 & 7;
        if (value & 0x80) soft_reset();
        return;
    case kFifo: return write_fifo(value);
    case kDirection: state_.rate = value & 3; return; // CCR
    default: return;
    }
}

u8 Fdc82077::main_status() const {
    const State& s = state_;
    if (!(s.dor & kNotReset)) return 0;
    u8 value = 0;
    for (unsigned n = 0; n < drives; ++n)
        if (s.seeks[n].running) value |= u8(1u << n);
    switch (s.phase) {
    case Phase::Command: return u8(value | kRequest | (s.have ? kCommandBusy : 0));
    case Phase::Execution: return u8(value | kCommandBusy);
    case Phase::Data:
        return u8(value | kRequest | kNonDma | kCommandBusy | (transfer_.writing ? 0 : kToHost));
    case Phase::Result: break;
    }
    return u8(value | kRequest | kToHost | kCommandBusy);
}

void Fdc82077::write_dor(u8 value) {
    const u8 before = state_.dor;
    state_.dor = value;
    if (before & ~value & kNotReset) { // held in reset
        soft_reset();
        state_.reset_pending = 0;
        set_irq(false);
    } else if (value & ~before & kNotReset) {
        soft_reset();
    } else if ((before ^ value) & kGate) {
        irq_.set(state_.irq && (value & kGate));
    }
}

// 2.2: the command under way ends; all four drives announce a change of state, with one interrupt.
void Fdc82077::soft_reset() {
    State& s = state_;
    ++epoch_;
    forgotten_ += at_image_;
    if (at_image_) buffer_ = std::make_shared<Buffer>(); // the old one is the image's
    at_image_ = 0;
    deferred_ = false;
    transfer_ = {};
    s.phase = Phase::Command;
    s.have = s.need = s.result_count = s.result_at = 0;
    s.seek_pending = 0;
    for (unsigned n = 0; n < drives; ++n) {
        seek_timers_[n].cancel();
        s.seeks[n] = {};
    }
    std::fill(std::begin(s.positions), std::end(s.positions), u8{0});
    s.perpendicular &= 0xfc;
    if (!s.locked) s.config = 0x20, s.pretrack = 0; // FIFO off, polling on
    s.reset_pending = 0x0f;
    if (s.dor & kNotReset) set_irq(true);
}

void Fdc82077::set_irq(bool level) {
    state_.irq = level;
    irq_.set(level && (state_.dor & kGate));
}

// --- phases

void Fdc82077::result(std::initializer_list<u8> bytes, bool interrupt) {
    State& s = state_;
    s.have = 0;
    s.result_at = 0;
    s.result_count = u8(bytes.size());
    std::copy(bytes.begin(), bytes.end(), s.results);
    s.phase = bytes.size() ? Phase::Result : Phase::Command;
    if (interrupt) set_irq(true);
}

u8 Fdc82077::read_fifo() {
    State& s = state_;
    if (!(s.dor & kNotReset)) return 0xff;
    if (s.phase == Phase::Data && !transfer_.writing) {
        const u8 value = (*buffer_)[transfer_.offset + transfer_.at];
        if (++transfer_.at == transfer_.end) sector_moved(false);
        return value;
    }
    if (s.phase != Phase::Result) return 0xff;
    if (s.result_at == 0) set_irq(false);
    const u8 value = s.results[s.result_at++];
    if (s.result_at >= s.result_count) {
        s.phase = Phase::Command;
        if (s.seek_pending) set_irq(true);
    }
    return value;
}

void Fdc82077::write_fifo(u8 value) {
    State& s = state_;
    if (!(s.dor & kNotReset)) return;
    if (s.phase == Phase::Data && transfer_.writing) {
        (*buffer_)[transfer_.offset + transfer_.at] = value;
        if (++transfer_.at == transfer_.end) sector_moved(false);
        return;
    }
    if (s.phase != Phase::Command) return;
    s.command[s.have++] = value;
    execute();
}

void Fdc82077::reset() {
    state_ = {};
    soft_reset();
    state_.reset_pending = 0;
    for (FloppyDrive& drive : drives_)
        drive.reset();
    set_irq(false);
}

void Fdc82077::visit(StateVisitor& visitor) {
    visitor.field("registers", state_);
    for (unsigned n = 0; n < drives; ++n)
        drives_[n].visit("floppy" + std::to_string(n) + ".", visitor);
    if (!visitor.loading()) return;
    State& s = state_;
    // A saved state is input from a file; no data command is under way in one.
    const bool results =
        s.phase == Phase::Result && s.result_count <= sizeof s.results && s.result_at < s.result_count;
    if (!results) s.phase = Phase::Command;
    if (results || s.have >= sizeof s.command || (s.have && !known(s.command[0]))) s.have = 0;
    s.rate &= 3;
    ++epoch_;
    transfer_ = {};
    for (unsigned n = 0; n < drives; ++n) {
        seek_timers_[n].cancel();
        if (s.seeks[n].running) seek_timers_[n].arm(scheduler_.now());
    }
    set_irq(s.irq);
}

} // namespace dragoman::hw
