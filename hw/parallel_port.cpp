#include "hw/parallel_port.h"

namespace dragoman::hw {

namespace {

enum Port : u64 { kData = 0, kStatus = 1, kControl = 2 };
// Status, as the computer reads it: nBUSY, nACK, PAPER OUT, SELECT, nERROR.
constexpr u8 kNotBusy = 0x80, kNotAck = 0x40, kSelect = 0x10, kNotError = 0x08, kStatusUnused = 0x07;
// Control: STROBE, AUTOFEED, nINIT, SELECT IN, interrupt enable, direction (1: input).
constexpr u8 kStrobe = 0x01, kNotInit = 0x04, kInterrupt = 0x10, kInput = 0x20, kControlUnused = 0xc0;

} // namespace

u64 ParallelPort::read(u64 offset, unsigned) {
    switch (offset) {
    case kData: return control_ & kInput ? 0xff : data_; // nobody drives the pins
    case kStatus:
        return kStatusUnused | (sink_ ? kNotBusy | kNotAck | kSelect | kNotError : kNotAck | kNotError);
    case kControl: return kControlUnused | control_;
    default: return 0xff;
    }
}

void ParallelPort::write(u64 offset, unsigned, u64 value) {
    if (offset == kData) data_ = u8(value);
    if (offset != kControl) return;
    const u8 before = control_;
    control_ = u8(value & ~kControlUnused);
    const bool strobed = (control_ & kStrobe) && !(before & kStrobe);
    if (!strobed || !sink_ || !(control_ & kNotInit) || (control_ & kInput)) return;
    sink_->write({&data_, 1});
    if (control_ & kInterrupt) line_.pulse(); // nACK
}

void ParallelPort::reset() {
    data_ = 0;
    control_ = kNotInit;
}

void ParallelPort::visit(StateVisitor& visitor) {
    visitor.field("data", data_);
    visitor.field("control", control_);
    if (visitor.loading()) control_ &= u8(~kControlUnused);
}

} // namespace dragoman::hw
