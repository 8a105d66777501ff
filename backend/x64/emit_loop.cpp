// Blocks that jump to their own start, with checks made ahead for as many rounds as stay in the pages that
// are checked (shared_checks.h).
//
//     checks: any fails -> round_alone, out of line: one round with a check for each access
//     frame::round = the counter at the end of the last round that they hold for
//   round:
//     the block, whose accesses off these groups are the instruction alone
//     counter == frame::round? -> pause: polls, then leaves by the block's own jumps
//     the jump backward leads to `round`
//
// What a check has found holds until the pause: no op in the loop calls C++ code that could change it.
#include "backend/x64/emitter.h"

#include "softmmu/tlb.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace dragoman::backend {

using namespace asmjit;
using ir::Access;

namespace {

// A pause polls: strides count as four bytes at least, so that it comes after 1024 rounds.
constexpr i64 kLeastStride = 4;
constexpr u32 kMostRounds = softmmu::kPageSize / kLeastStride;

} // namespace

u32 Emitter::round_end(const ir::Block& block) const {
    const Inst& last = block.insts.back();
    if (!options_.loop_checks || options_.count_exact || early_poll_ == kNoPoll) return 0;
    return u64(last.imm) == block.pc && u64(last.imm2) != block.pc ? u32(early_poll_) : 0;
}

// As prepare does it, but accesses that were checked ahead do not leave.
void Emitter::find_needed_in_rounds() {
    needed_in_rounds_ = needed_;
    for (size_t i = shared_.loop()->end; i-- > 0;) {
        const Inst& inst = block_->insts[i];
        Flags needed = needed_in_rounds_[i + 1];
        needed &= ~ir::flags_replaced(inst);
        needed |= ir::flags_read(inst);
        const SharedGroup* const group = shared_.group(i);
        const bool stays = group && group->ahead && inst.op != ir::Op::X87;
        if (ir::may_leave(inst) && !stays) needed = ir::kAllFlags;
        needed_in_rounds_[i] = needed;
    }
}

void Emitter::begin_loop() {
    const SharedLoop& loop = *shared_.loop();
    needed_before_ = needed_[0] & live_[0];
    clobber(needed_before_);
    round_ = a.newLabel();
    pause_ = a.newLabel();
    OutOfLine& o = out_of_line(&Emitter::round_alone, block_->insts[0]);
    const Label fail = o.entry;

    const Gp least = gp(host::temp, 4), end = gp(host::temp, 8); // temporaries are dead here
    bool first = true;
    for (const SharedGroup& group : shared_.groups()) {
        if (!group.ahead) continue;
        check_ahead(group, fail);
        if (!group.stride) continue;
        keep_least(group, first);
        first = false;
    }
    if (first) a.mov(least, kMostRounds - 1);
    if (loop.stride) bytes_left(least, loop.stride);
    if (loop.step == loop.stride && loop.step >= kLeastStride && std::has_single_bit(u64(loop.step))) {
        a.and_(least, -i32(loop.step));
    } else {
        if (loop.stride) bytes_to_rounds(least, loop.stride);
        if (loop.step != 1) a.imul(end, end, imm(loop.step));
    }
    a.emit(x86::Inst::kIdAdd, end, source(loop.counter, 8, 0, host::scratch));
    if (loop.offset) a.add(end, imm(loop.offset));
    a.mov(x86::ptr(x86::rsp, frame::round, 8), end);

    a.bind(round_);
    if (!(needed_in_rounds_[0] & live_[0])) at_ = FlagsAt::Nowhere;
    if (at_ == FlagsAt::Both) at_ = FlagsAt::Saved;
    share_ = true;
    checked_.assign(kMostShared, false);
    loaded_ = kNoSlot;
}

// Leaves in R14 where the group's first byte is in its page; for a window tag plus one.
void Emitter::check_ahead(const SharedGroup& group, const Label& fail) {
    address(group.origin, true);
    tlb_check(group.span, group.write ? Access::Write : Access::Read, false, fail);
    if (!window()) {
        a.mov(x86::rcx, tlb_addend());
        a.mov(x86::ptr(x86::rsp, frame::addend + 8 * group.slot, 8), x86::rcx);
    }
    if (!group.aligned) return;
    a.lea(x86::ecx, x86::ptr(x86::r14, i32((group.aligned_at - group.first - window()) & group.aligned)));
    a.test(x86::cl, group.aligned);
    a.jnz(fail);
}

// Of R14, where the group's first byte is in its page: how many rounds may follow the first; the least of all
// groups is kept. Where all move alike it is the one that is nearest to the end it moves to, and what is kept
// is how near.
void Emitter::keep_least(const SharedGroup& group, bool first) {
    const i64 alike = shared_.loop()->stride;
    const Gp kept = gp(host::temp, 4), value = x86::r14d;
    const i32 last_byte = group.stride > 0 ? i32(group.span) - 1 - (window() ? 1 : 0) : 0;
    if (first && alike) return (void)a.lea(kept, x86::ptr(x86::r14, last_byte));
    if (last_byte) a.add(value, last_byte);
    if (!alike) {
        bytes_left(value, group.stride);
        bytes_to_rounds(value, group.stride);
        if (first) return (void)a.mov(kept, value);
    }
    a.cmp(value, kept);
    alike > 0 ? a.cmova(kept, value) : a.cmovb(kept, value);
}

// Where in its page the byte is that comes to an end of it first -> how far it may still move.
void Emitter::bytes_left(const Gp& value, i64 stride) {
    if (stride > 0)
        a.xor_(value, i32(softmmu::kPageSize - 1));
    else if (window())
        a.dec(value);
}

void Emitter::bytes_to_rounds(const Gp& value, i64 by) {
    const u32 stride = u32(std::max(std::abs(by), kLeastStride));
    if (std::has_single_bit(stride)) return (void)a.shr(value, std::countr_zero(stride));
    constexpr unsigned bits = 20; // rounded down, and so may be one less than it could be
    a.imul(value, value, imm((1 << bits) / stride));
    a.shr(value, bits);
}

// No flags are alive here.
void Emitter::end_round() {
    const ir::Ref counter = shared_.loop()->counter;
    const unsigned width = shared_.loop()->width;
    at_ = FlagsAt::Nowhere;
    out_of_line(&Emitter::pause_loop, block_->insts.back()).entry = pause_;
    Gp value = gp(host::scratch, width);
    if (in_register(counter))
        value = gp(host_of(counter), width);
    else
        a.mov(value, slot(counter, width));
    a.cmp(value, x86::ptr(x86::rsp, frame::round, width));
    a.je(pause_);
}

// The condition is in EFLAGS.
void Emitter::next_round(const Inst& branch) {
    const x86::CondCode taken = x86::CondCode(u8(branch.cond));
    if (!(needed_in_rounds_[0] & live_[0])) return (void)a.j(taken, round_);
    const Label over = a.newLabel();
    a.j(x86::CondCode(u8(ir::negate(branch.cond))), over);
    saved_for_exit();
    a.jmp(round_);
    a.bind(over);
}

void Emitter::round_alone(const OutOfLine&) {
    take_budget();
    emit_range(0, shared_.loop()->end, false);
    a.jmp(pause_);
}

void Emitter::pause_loop(const OutOfLine&) {
    const Inst& branch = block_->insts.back();
    emit_early_poll();
    emit_range(early_poll_, block_->insts.size() - 1, false);
    want_eflags();
    link_jump_if(branch.cond, branch, u64(branch.imm));
    link_jump(branch, u64(branch.imm2));
}

} // namespace dragoman::backend
