// The guest's flags: where they are, and the ops that are about nothing else.
#include "backend/x64/emitter.h"

#include <algorithm>
#include <utility>

namespace dragoman::backend {

using namespace asmjit;

void Emitter::save_flags() {
    if (at_ == FlagsAt::Again) make_flags_again();
    if (at_ != FlagsAt::Eflags) return;
    a.lahf();
    a.seto(x86::al);
    at_ = FlagsAt::Both;
}

void Emitter::clobber(Flags needed) {
    if (needed) save_flags();
    at_ = needed ? FlagsAt::Saved : FlagsAt::Nowhere;
}

void Emitter::clobber_cheaply(Flags needed) {
    if (at_ == FlagsAt::Eflags && needed && again_[position_] != kNoMaker) at_ = FlagsAt::Again;
    if (at_ != FlagsAt::Again || !needed) clobber(needed);
}

namespace {

// Its flags are those of a comparison of equals, whatever the operand is.
bool is_difference_of_equals(const ir::Inst& inst) {
    return (inst.op == ir::Op::Xor || inst.op == ir::Op::Sub) && inst.a.is_gpr() && inst.a == inst.b;
}

// Of shifts by a constant that is not 0; other ops: none.
InstId shift_by_constant(const ir::Inst& inst) {
    if (!inst.a.is_gpr() || !inst.b.is_imm() || ir::flags_replaced(inst) != ir::kAllFlags)
        return x86::Inst::kIdNone;
    switch (inst.op) {
    case ir::Op::Shl: return x86::Inst::kIdShl;
    case ir::Op::Shr: return x86::Inst::kIdShr;
    case ir::Op::Sar: return x86::Inst::kIdSar;
    default: return x86::Inst::kIdNone;
    }
}

} // namespace

void Emitter::make_flags_again() {
    const u32 maker = again_[position_];
    DRAGOMAN_ASSERT(maker != kNoMaker);
    const bool from_pc = std::exchange(imm_from_pc_, false);
    if (remake_[maker] == Remake::InPlace)
        remake_in_place(block_->insts[maker]);
    else
        remake_shift(maker);
    imm_from_pc_ = from_pc;
    at_ = FlagsAt::Eflags;
}

void Emitter::remake_in_place(const Inst& inst) {
    const auto operand = [&](Ref r) { return source(r, inst.size, inst.imm, host::scratch); };
    if (is_difference_of_equals(inst)) return settle_flags();
    switch (inst.op) {
    case ir::Op::Add:
        a.emit(x86::Inst::kIdSub, operand(inst.d), operand(inst.b));
        a.emit(x86::Inst::kIdAdd, operand(inst.d), operand(inst.b));
        break;
    case ir::Op::Sub:
        a.emit(x86::Inst::kIdAdd, operand(inst.d), operand(inst.b));
        a.emit(x86::Inst::kIdSub, operand(inst.d), operand(inst.b));
        break;
    case ir::Op::And:
    case ir::Op::Or:
    case ir::Op::Xor: // AF too: it is what the host makes of them, and that is 0
        a.emit(x86::Inst::kIdCmp, operand(inst.d), imm(0));
        break;
    default: compare(inst);
    }
}

// RAX is free, as the flags are not there.
void Emitter::remake_shift(size_t at) {
    const Inst& inst = block_->insts[at];
    if (remake_[at] == Remake::ShiftCopy)
        a.mov(x86::rax, x86::ptr(x86::rsp, frame::shifted, 8));
    else
        load_value(host::rax, shifted_from(at), 8, 0);
    settle_flags();
    a.emit(shift_by_constant(inst), gp(host::rax, inst.size), imm(u8(inst.imm)));
}

// The register that still has what the shift at `at` shifts: its own if the result goes elsewhere, or the one
// from which it was moved just before.
ir::Ref Emitter::shifted_from(size_t at) const {
    const std::vector<Inst>& insts = block_->insts;
    const Inst& shift = insts[at];
    if (shift.d != shift.a) return shift.a;
    do {
        if (!at--) return Ref::none();
    } while (insts[at].op == ir::Op::Insn);
    const Inst& move = insts[at];
    const bool same = move.op == ir::Op::Mov && move.d == shift.a && move.a.is_gpr() && move.a != move.d &&
                      move.size >= shift.size;
    return same ? move.a : Ref::none();
}

// The registers from which the flags of the op at `at` can be made again in this way; nothing: they cannot.
std::optional<ir::RegSet> Emitter::flags_come_from(size_t at, Remake way) const {
    const Inst& inst = block_->insts[at];
    if (way == Remake::InPlace) return flags_come_from_place(inst);
    if (!shift_by_constant(inst)) return {};
    if (way == Remake::ShiftCopy && in_register(inst.a)) return ir::RegSet{0};
    if (way == Remake::Shift && shifted_from(at).is_gpr()) return ir::reg_set(shifted_from(at));
    return {};
}

// The same of others than shifts, without a scratch register.
std::optional<ir::RegSet> Emitter::flags_come_from_place(const Inst& inst) const {
    const auto right = [&](Ref left) {
        if (inst.b.is_gpr()) return in_register(left) || in_register(inst.b);
        return inst.b.is_imm() && !inst.from_pc && (inst.size < 8 || inst.imm == i32(inst.imm));
    };
    if (is_difference_of_equals(inst)) return ir::RegSet{0};
    switch (inst.op) {
    case ir::Op::Cmp:
    case ir::Op::Test:
        if (!inst.a.is_gpr() || !right(inst.a)) return {};
        return ir::reg_set(inst.a) | ir::reg_set(inst.b);
    case ir::Op::Add:
    case ir::Op::Sub:
        if (!inst.d.is_gpr() || inst.d != inst.a || inst.d == inst.b || !right(inst.d)) return {};
        return ir::reg_set(inst.d) | ir::reg_set(inst.b);
    case ir::Op::And:
    case ir::Op::Or:
    case ir::Op::Xor:
        if (!inst.d.is_gpr()) return {};
        return ir::reg_set(inst.d);
    default: return {};
    }
}

// Most accesses to memory lie behind a comparison and a branch, and if one faults the flags are still those.
// Saving them each time costs more than to make them once more where an access is slow.
void Emitter::find_flag_makers() {
    const std::vector<Inst>& insts = block_->insts;
    again_.assign(insts.size(), kNoMaker);
    remake_.assign(insts.size(), Remake::No);
    if (!options_.compare_again) return;
    for (size_t at = 0; at < insts.size(); ++at) {
        if (!ir::flags_written(insts[at])) continue;
        size_t last;
        remake_[at] = find_remake(at, last);
        if (remake_[at] != Remake::No)
            std::fill(again_.begin() + i64(at) + 1, again_.begin() + i64(last) + 1, u32(at));
    }
}

// The cheapest that can be, and up to where. A shift need not settle what it leaves undefined then, but who
// looks at its flags would make them each time.
Emitter::Remake Emitter::find_remake(size_t at, size_t& last) const {
    for (const Remake way : {Remake::InPlace, Remake::Shift, Remake::ShiftCopy}) {
        const auto registers = flags_come_from(at, way);
        if (!registers) continue;
        last = last_to_make_again(at, *registers);
        if (last > at && (way == Remake::InPlace || only_accesses_lose_flags(at + 1, last))) return way;
    }
    return Remake::No;
}

// Is there one among these ops that checks an access while the flags are needed, and none that wants them in
// EFLAGS?
bool Emitter::only_accesses_lose_flags(size_t first, size_t last) const {
    bool lost = false;
    for (size_t n = first; n <= last; ++n) {
        const Inst& inst = block_->insts[n];
        const Flags keeps = needed_[n + 1] & live_[n + 1] & ~ir::flags_replaced(inst);
        if (ir::flags_read(inst) || (ir::flags_written(inst) && keeps) || inst.op == ir::Op::BranchNz)
            return false;
        lost |= ir::info(inst.op).effects & ir::kTouchesMemory && needed_[n] & live_[n];
    }
    return lost;
}

void Emitter::copy_shifted() {
    a.mov(x86::ptr(x86::rsp, frame::shifted, 8), gp(host_of(block_->insts[position_].a), 8));
}

bool Emitter::never_in_eflags() const {
    return remake_[position_] == Remake::Shift || remake_[position_] == Remake::ShiftCopy;
}

// The last instruction before which the flags of the op at `at` may be needed, if they can be made
// again there, and mostly are not; `at` itself: they are better saved.
size_t Emitter::last_to_make_again(size_t at, ir::RegSet operands) const {
    const std::vector<Inst>& insts = block_->insts;
    const auto needed = [&](size_t n) { return needed_[n] & live_[n]; };
    for (size_t n = at + 1; n < insts.size(); ++n) {
        const Inst& inst = insts[n];
        if (!needed(n) || ir::flags_written(inst)) return n;
        switch (inst.op) {
        case ir::Op::Branch:
        case ir::Op::BranchNz: return n;
        case ir::Op::Jump: // these want them saved, or lead to who does
        case ir::Op::JumpInd:
        case ir::Op::JumpOut:
        case ir::Op::Call:
        case ir::Op::ExitTo:
        case ir::Op::ExitHere: return at;
        default: break;
        }
        if (ir::registers_written(inst) & operands) return needed(n + 1) ? at : n;
    }
    return at;
}

bool Emitter::wants_eflags_soon(size_t from) const {
    const std::vector<Inst>& insts = block_->insts;
    for (size_t n = from; n < insts.size(); ++n) {
        const Inst& inst = insts[n];
        if (ir::flags_read(inst)) return true;
        const Flags writes = ir::flags_written(inst), needed = (*needed_now_)[n + 1] & live_[n + 1];
        if (writes) return needed & writes && needed & ~writes; // INC lets one be
        if (!needed || ir::info(inst.op).effects & ir::kEndsBlock) return false;
    }
    return false;
}

void Emitter::want_eflags() {
    if (at_ == FlagsAt::Again) make_flags_again();
    if (at_ != FlagsAt::Saved) return;
    a.cmp(x86::al, 0x81); // 1 - 0x81 overflows, 0 - 0x81 does not
    a.sahf();
    at_ = FlagsAt::Both;
}

void Emitter::guest_flags(Flags writes, Flags replaced, Flags reads) {
    const Flags produced = needed_after_ & writes;
    const Flags kept = needed_after_ & ~replaced;
    if (reads || (produced && kept)) want_eflags();
    // As the way out of line has it, which comes with them saved.
    if (at_ == FlagsAt::Again && writes && kept) save_flags();
    if (produced)
        at_ = FlagsAt::Eflags;
    else if (!kept)
        at_ = FlagsAt::Nowhere;
    else if (at_ == FlagsAt::Both && writes)
        at_ = FlagsAt::Saved;
}

void Emitter::guest_flags(const Inst& inst) {
    guest_flags(ir::flags_written(inst), ir::flags_replaced(inst), ir::flags_read(inst));
    if (needed_after_ & ir::flags_settled(inst) && !never_in_eflags()) settle_flags();
}

void Emitter::flags_to_value(unsigned to) {
    a.movzx(x86::ecx, x86::ah);
    a.and_(x86::ecx, ir::kAllFlags & 0xff);
    a.and_(x86::eax, 1);
    a.shl(x86::eax, 11);
    a.or_(x86::ecx, x86::eax);
    if (to != host::scratch) a.mov(gp(to, 4), x86::ecx);
}

void Emitter::value_to_flags() {
    a.mov(x86::eax, x86::r14d);
    a.mov(x86::ecx, x86::r14d);
    a.shr(x86::ecx, 11);
    a.and_(x86::ecx, 1);
    a.mov(x86::ah, x86::al);
    a.mov(x86::al, x86::cl);
}

void Emitter::emit_GetFlags(const Inst& inst) {
    save_flags();
    // Not flags_to_value(): the saved flags must stay.
    a.movzx(x86::ecx, x86::ah);
    a.and_(x86::ecx, ir::kAllFlags & 0xff);
    a.movzx(x86::r14d, x86::al);
    a.and_(x86::r14d, 1);
    a.shl(x86::r14d, 11);
    a.or_(x86::r14d, x86::ecx);
    at_ = FlagsAt::Saved;
    define(inst.d, inst.size, host::address);
}

void Emitter::emit_SetFlags(const Inst& inst) {
    const Flags mask = Flags(inst.imm) & ir::kAllFlags;
    if (mask == ir::kAllFlags) {
        load_value(host::address, inst.a, 8, inst.imm2);
    } else {
        save_flags();
        flags_to_value(host::address);
        load_value(host::scratch, inst.a, 8, inst.imm2);
        a.and_(x86::ecx, imm(mask));
        a.and_(x86::r14d, imm(i32(~mask)));
        a.or_(x86::r14d, x86::ecx);
    }
    value_to_flags();
    at_ = FlagsAt::Saved;
}

void Emitter::emit_Cmc(const Inst& inst) {
    guest_flags(inst);
    a.cmc();
}
void Emitter::emit_Clc(const Inst& inst) {
    guest_flags(inst);
    a.clc();
}
void Emitter::emit_Stc(const Inst& inst) {
    guest_flags(inst);
    a.stc();
}

// A 1-byte result, and nothing of the flags is changed.
void Emitter::emit_Setcc(const Inst& inst) {
    want_eflags();
    const auto cc = x86::CondCode(u8(inst.cond));
    if (in_register(inst.d)) {
        a.set(cc, gp(host_of(inst.d), 1));
        narrow_temp(inst.d, 1);
    } else if (inst.d.is_gpr()) {
        a.set(cc, slot(inst.d, 1));
    } else {
        a.set(cc, x86::cl);
        define(inst.d, 1, host::scratch);
    }
}

// Not taken, a 4-byte destination is still zero-extended; other sizes keep all of it.
void Emitter::emit_Cmov(const Inst& inst) {
    want_eflags();
    const auto cc = x86::CondCode(u8(inst.cond));
    const unsigned size = inst.size;
    if (inst.a.is_reg() && in_register(inst.d) && (size >= 4 || (size == 2 && inst.d.is_gpr()))) {
        a.emit(x86::Inst::cmovccFromCond(cc), gp(host_of(inst.d), size),
               source(inst.a, size, 0, host::address));
        return;
    }
    // The whole old value to RCX; of the new one what is no operand to R14.
    load_value(host::scratch, inst.d, 8, 0);
    if (size >= 4) {
        a.emit(x86::Inst::cmovccFromCond(cc), gp(host::scratch, size),
               register_or_memory(inst.a, size, inst.imm, host::address));
        define(inst.d, 8, host::scratch);
    } else if (inst.d.is_temp()) {
        load_zero_extended(host::address, inst.a, size, inst.imm);
        a.cmov(cc, x86::rcx, x86::r14);
        define(inst.d, 8, host::scratch);
    } else {
        load_value(host::address, inst.a, size, inst.imm);
        a.cmov(cc, x86::ecx, x86::r14d);
        define(inst.d, size, host::scratch);
    }
}

} // namespace dragoman::backend
