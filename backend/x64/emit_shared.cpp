// Accesses that share a TLB check (shared_checks.h).
#include "backend/x64/emitter.h"

#include "ir/vec.h"
#include "ir/vex.h"
#include "ir/x87.h"

namespace dragoman::backend {

using namespace asmjit;
using ir::Op;

namespace {

x86::Mem addend_slot(u8 slot) {
    return x86::ptr(x86::rsp, frame::addend + 8 * slot, 8);
}

} // namespace

SharedChecks::Use Emitter::shared_use(const Inst& inst) const {
    const bool traps = block_->simd_unmasked; // then numeric ones are the interpreter's
    switch (inst.op) {
    case Op::Load:
    case Op::LoadZx:
    case Op::LoadSx: return {.bytes = inst.size};
    case Op::Store: return {.bytes = inst.size, .write = true};
    case Op::VLoad:
        if (inst.d.is_xmm()) return {.bytes = inst.size};
        break;
    case Op::VStore:
        if (inst.a.is_xmm()) return {.bytes = inst.size, .write = true};
        break;
    case Op::X87:
        if (inst.from_memory && x87_)
            return {.bytes = inst.size, .write = ir::X87Call::unpack(u64(inst.imm)).stores()};
        break;
    case Op::Rmw:
        if (!rmw_by_interpreter(inst)) return {.bytes = inst.size, .write = true};
        break;
    case Op::Vec: {
        const ir::VecOp& op = ir::vec_op(inst.vec);
        if (!inst.from_memory || !inst.d.is_xmm() || op.flags || (op.numeric && traps)) break;
        if (inst.vec >= vec_ids_.size() || !vec_ids_[inst.vec]) break;
        const unsigned bytes = ir::vec_source_bytes(inst);
        return {.bytes = bytes, .aligned = u8(op.aligned ? bytes - 1 : 0)};
    }
    case Op::Vex: {
        const ir::VexOp& op = ir::vex_op(inst.vec);
        if (!inst.from_memory || op.flags || vex_by_interpreter(inst) || vex_is_partial(inst)) break;
        const unsigned bytes = ir::vex_memory_bytes(inst);
        return {.bytes = bytes, .write = op.stores(), .aligned = u8(op.aligned ? bytes - 1 : 0)};
    }
    default: break;
    }
    return {};
}

// Does the code of the op leave RCX alone? Accesses see to it themselves.
bool Emitter::keeps_scratch(const Inst& inst) const {
    switch (inst.op) {
    case Op::Insn:
    case Op::Load:
    case Op::VLoad:
    case Op::Store:
    case Op::VStore:
    case Op::BranchOut:
    case Op::JumpOut: return true;
    case Op::X87: return x87_there_ && block_->mode_bits == 64;
    case Op::Lea:
        return in_register(inst.d) && inst.size >= 4 && in_register(inst.mem.base) &&
               inst.mem.index.is_none();
    default: return false;
    }
}

// PUSH and POP move RSP each time. Where the check that they share is behind them nobody can look at it, and
// it moves once, when somebody may.
bool Emitter::moves_stack_late(const Inst& inst) const {
    const ir::Address& m = inst.mem;
    return options_.late_stack && window() && share_ && !shared_.loop() && inst.op == Op::Lea &&
           inst.d == ir::kRsp && inst.size == 8 && m.size == 8 && m.base == ir::kRsp && m.index.is_none() &&
           i64{late_stack_} + m.disp == i32(late_stack_ + m.disp);
}

bool Emitter::bears_late_stack(const Inst& inst) const {
    const auto names_it = [&] {
        return (ir::registers_read(inst) | ir::registers_written(inst)) & ir::reg_set(ir::kRsp);
    };
    const ir::Address& m = inst.mem;
    const auto needs_no_check = [&] {
        return shared() && checked_before(*shared()) && is_simple(m) &&
               m.disp + late_stack_ == i32(m.disp + late_stack_);
    };
    if (position_ == early_poll_) return false;
    switch (inst.op) {
    case Op::Insn: return true;
    case Op::Lea: return moves_stack_late(inst) || !names_it();
    case Op::Mov: return !names_it();
    case Op::Load: return needs_no_check() && inst.d != ir::kRsp && !is_operand_of_next(position_);
    case Op::Store: return needs_no_check() && inst.a != ir::kRsp;
    default: return false;
    }
}

void Emitter::move_stack() {
    const Gp rsp = gp(host_of(ir::kRsp), 8);
    if (late_stack_) a.lea(rsp, x86::ptr(rsp, late_stack_));
    late_stack_ = 0;
}

void Emitter::begin_shared_region() {
    if (!share_ && region_ < shared_.regions().size() && position_ == shared_.regions()[region_].first) {
        share_ = true;
        checked_.assign(kMostShared, false);
        loaded_ = kNoSlot;
    }
    if (share_ && !keeps_scratch(block_->insts[position_])) loaded_ = kNoSlot;
}

void Emitter::end_shared_region(size_t at) {
    if (!share_ || at != shared_.regions()[region_].last) return;
    move_stack();
    share_ = false;
    ends_[region_++] = at_;
    if (!shared_.loop()) a.bind(back_of_region_);
}

Emitter::Mem Emitter::shared_access(const Inst& inst, unsigned size, bool one_register) {
    const SharedGroup& group = *shared();
    const Mem slot_of_group = addend_slot(group.slot);
    if (!checked_before(group)) {
        ir::Address all = inst.mem;
        all.disp = i64(u64(all.disp) + group.first - shared_.offset(position_));
        const bool keep = !group.aligned && stays_in_eflags(all);
        if (!keep) clobber_cheaply(needed_before_);
        if (position_ == shared_.regions()[region_].first) {
            OutOfLine& o = out_of_line(&Emitter::region_alone, inst);
            o.region = u32(region_);
            back_of_region_ = o.back = a.newLabel();
        }
        alone_[position_] = a.newLabel();
        alone_at_[position_] = at_;
        const ir::Access access = group.write ? ir::Access::Write : ir::Access::Read;
        if (group.aligned || !check_constant(all, group.span, access, alone_[position_])) {
            address(all, true);
            if (keep)
                tlb_check_beside_eflags(group.span, access, alone_[position_]);
            else
                tlb_check(group.span, access, false, alone_[position_]);
        }
        if (group.aligned) { // R14 is group.first's place in its page, for a window tag plus one
            const i32 from_first = i32((group.aligned_at - group.first - window()) & group.aligned);
            if (from_first) a.add(x86::r14d, from_first);
            a.test(x86::r14b, group.aligned);
            a.jnz(alone_[position_]);
        }
        if (!window()) {
            a.mov(x86::rcx, tlb_addend());
            a.mov(slot_of_group, x86::rcx);
        }
        checked_[group.slot] = true;
        loaded_ = group.slot;
    }
    const ir::Address& m = inst.mem;
    if (window()) return in_window(m, size);
    Gp base = x86::r14;
    i32 disp = 0;
    if (m.size == 8 && m.base.is_reg() && in_register(m.base) && m.index.is_none() && m.disp == i32(m.disp)) {
        base = gp(host_of(m.base), 8);
        disp = i32(m.disp);
    } else {
        // Only what lies in memory goes through RCX.
        if (address(m, true) == Shape::Complex) loaded_ = kNoSlot;
    }
    if (loaded_ != group.slot) a.mov(x86::rcx, slot_of_group);
    loaded_ = group.slot;
    const bool needs_scratch = !(inst.op == Op::VLoad || inst.op == Op::VStore || inst.op == Op::X87 ||
                                 (inst.op == Op::Load && in_register(inst.d)) ||
                                 (inst.op == Op::Store && inst.a.is_reg() && in_register(inst.a)));
    if (needs_scratch) loaded_ = kNoSlot;
    const Mem at = x86::ptr(base, x86::rcx, 0, disp, size);
    if (!one_register) return at;
    a.lea(x86::r14, at);
    return x86::ptr(x86::r14, 0, size);
}

void Emitter::region_alone(const OutOfLine& o) {
    const SharedRegion& region = shared_.regions()[o.region];
    in_copy_ = true;
    end_of_copy_ = region.last + 1;
    emit_range(region.first, end_of_copy_, false);
    in_copy_ = false;
    meet_flags(ends_[o.region]);
    a.jmp(o.back);
}

// Before an access: where a check in line that failed goes.
void Emitter::bind_alone() {
    const FlagsAt from = alone_at_[position_];
    if (from == FlagsAt::Eflags || from == FlagsAt::Both) {
        want_eflags();
        a.bind(alone_[position_]);
        at_ = FlagsAt::Eflags;
        return clobber_cheaply(needed_before_);
    }
    clobber_cheaply(needed_before_);
    if (!alone_[position_].isValid()) return;
    if (alone_at_[position_] == FlagsAt::Again)
        at_ = FlagsAt::Again;
    else
        clobber(needed_before_);
    a.bind(alone_[position_]);
}

void Emitter::meet_flags(FlagsAt at) {
    if (at == FlagsAt::Eflags || at == FlagsAt::Both) want_eflags();
    if (at == FlagsAt::Saved || at == FlagsAt::Both) save_flags();
}

} // namespace dragoman::backend
