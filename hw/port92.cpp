#include "hw/port92.h"

namespace dragoman::hw {

namespace {
constexpr u8 kFastInit = 0x01, kFastA20 = 0x02;
} // namespace

u64 Port92::read(u64 /*offset*/, unsigned /*size*/) {
    return value_;
}

void Port92::write(u64 /*offset*/, unsigned /*size*/, u64 value) {
    const bool init = (value & kFastInit) && !(value_ & kFastInit);
    value_ = u8(value & (kFastInit | kFastA20));
    gate_.set_port92(value_ & kFastA20);
    if (init) fast_init_(); // last: it may reset this chip as well
}

void Port92::reset() {
    value_ = 0;
    gate_.set_port92(false);
}

void Port92::visit(StateVisitor& visitor) {
    visitor.field("value", value_);
    if (!visitor.loading()) return;
    value_ &= kFastInit | kFastA20;
    gate_.set_port92(value_ & kFastA20);
}

} // namespace dragoman::hw
