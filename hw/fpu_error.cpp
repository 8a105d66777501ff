#include "hw/fpu_error.h"

namespace dragoman::hw {

void FpuError::set_ferr(bool level) {
    if (level && !state_.ferr) request(true);
    state_.ferr = level;
    if (!level) state_.ignne = false;
}

void FpuError::request(bool level) {
    state_.requested = level;
    irq13_.set(level);
}

void FpuError::write(u64 /*offset*/, unsigned /*size*/, u64 /*value*/) {
    request(false);
    state_.ignne = state_.ferr;
}

void FpuError::reset() {
    state_ = {};
    irq13_.lower();
}

void FpuError::visit(StateVisitor& visitor) {
    visitor.field("ferr", state_.ferr);
    visitor.field("requested", state_.requested);
    visitor.field("ignne", state_.ignne);
    if (visitor.loading()) irq13_.set(state_.requested);
}

} // namespace dragoman::hw
