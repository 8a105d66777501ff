// Guest registers that are held in the register for temporaries (held_registers.h).
#include "backend/x64/emitter.h"

namespace dragoman::backend {

using namespace asmjit;

void Emitter::plan_holds() {
    ir::RegSet in_memory = 0;
    for (unsigned n = 0; n < ir::kGprs; ++n)
        if (of_guest_[n] == host::memory) in_memory |= ir::reg_set(Ref::gpr(n));
    holds_.clear();
    if (!options_.hold_registers) return;
    holds_.plan(
        *block_, in_memory, [this](size_t load) { return is_operand_of_next(load); },
        [this](size_t at) {
            const u32 maker = again_[at];
            return maker == kNoMaker ? 0 : *flags_come_from(maker, remake_[maker]);
        });
}

void Emitter::fetch_held() {
    if (held_ != HeldRegisters::none) a.mov(gp(host::temp, 8), in_frame(held_, 8));
}

void Emitter::write_through(size_t first, size_t last) {
    if (held_ == HeldRegisters::none) return;
    for (size_t at = first; at <= last; ++at)
        if (ir::registers_written(block_->insts[at]) & ir::reg_set(Ref::gpr(held_)))
            return (void)a.mov(in_frame(held_, 8), gp(host::temp, 8));
}

} // namespace dragoman::backend
