// Calls into C++, polls, and the ways out of a block.
#include "backend/x64/emitter.h"

#include "ir/interpreter.h"
#include "ir/memory.h"
#include "softmmu/tlb.h"

#include <algorithm>

namespace dragoman::backend {

using namespace asmjit;
using ir::Context;

u64 run_interpreter(Context& ctx, u64, u64, u64 inst) {
    ir::execute(ctx, *reinterpret_cast<const ir::Inst*>(inst));
    return 0;
}

// ---- calls. R14 and frame::argument are set; the result comes in R14, flags are saved before and after.

void Emitter::call(const void* fn, u64 imm, bool imm_from_pc, ir::Bulk bulk) {
    const Label record = a.newLabel();
    records_.push_back({record, CallRecord{fn, imm, current_rip()}, imm_from_pc});
    a.lea(x86::rcx, x86::ptr(record));
    if (bulk.kind && window() && options_.bulk)
        call_to(stubs_.bulk[block_->view][block_->mode_bits == 64][bulk.kind][std::countr_zero(bulk.size)]);
    else
        call_to(stubs_.call);
    note_side_point();
    x87_there_ = false;
    fetch_held(); // it may be another
}

void Emitter::emit_Call(const Inst& inst) {
    clobber(needed_before_);
    if (!inst.b.is_none())
        a.mov(x86::ptr(x86::rsp, frame::argument, 8), gp(value(inst.b, 8, inst.imm, host::scratch), 8));
    if (!inst.a.is_none()) load_value(host::address, inst.a, 8, inst.imm);
    call(reinterpret_cast<const void*>(inst.helper->fn), u64(inst.imm), inst.from_pc, inst.helper->bulk);
    at_ = needed_after_ ? FlagsAt::Saved : FlagsAt::Nowhere;
    if (!inst.d.is_none()) define(inst.d, 8, host::address);
}

void Emitter::interpret(const Inst& inst) {
    clobber(needed_before_);
    bool uses_home = false;
    for (Ref r : {inst.d, inst.a, inst.b, inst.c, inst.mem.base, inst.mem.index})
        uses_home |= r.is_temp() && r.id() == home_;
    if (uses_home) a.mov(slot(Ref::temp(home_ & 15), 8), gp(host::temp, 8));
    out_->kept.push_back(std::make_unique<Inst>(inst));
    call(reinterpret_cast<const void*>(run_interpreter), reinterpret_cast<u64>(out_->kept.back().get()));
    if (inst.d.is_temp() && inst.d.id() == home_) a.mov(gp(host::temp, 8), slot(inst.d, 8));
    at_ = needed_after_ ? FlagsAt::Saved : FlagsAt::Nowhere;
}

void Emitter::interpret_slowly(const OutOfLine& o) {
    interpret(*o.inst);
    keep_x87(o);
    a.jmp(o.back);
}

// Flags must be saved by now, and must be saved where `back` is bound.
const Emitter::Label& Emitter::interpret_out_of_line(const Inst& inst, const Label& back) {
    OutOfLine& o = out_of_line(&Emitter::interpret_slowly, inst);
    o.back = back;
    return o.entry;
}

// ---- polls

// A comparison and a jump that is not taken. Where the guest's flags are in EFLAGS alone it must do without
// touching them.
void Emitter::poll(const Inst& inst, OutOfLineFn leave) {
    const bool keep_eflags = at_ == FlagsAt::Eflags;
    if (!keep_eflags) clobber_cheaply(needed_before_);
    OutOfLine& o = out_of_line(leave, inst);
    const Label out = o.entry;
    const Label done = o.back = a.newLabel(); // the guest's flags are where they were at the poll
    if (keep_eflags)
        poll_around_eflags(out, done);
    else
        poll_by_compare(out);
    a.bind(done);
}

// Every loop over blocks has a jump that leads backward in this sense: only those are polled. By all others
// the starts of the blocks rise, so they make no loop, in whatever pages they are. A block that followed a
// call may end before its own start.
bool Emitter::backward(i64 target) const {
    return u64(target) <= std::max(current_rip(), block_->pc);
}

void Emitter::poll_by_compare(const Label& out) {
    a.cmp(in_context(offsetof(Context, poll), 4), 0);
    a.jne(out);
    if (!options_.count_exact) return;
    a.test(x86::r15, x86::r15);
    a.js(out);
}

void Emitter::poll_around_eflags(const Label& out, const Label& done) {
    const Label quiet = a.newLabel();
    a.mov(x86::ecx, in_context(offsetof(Context, poll), 4));
    a.jecxz(x86::rcx, quiet);
    a.jmp(out);
    a.bind(quiet);
    if (!options_.count_exact) return;
    if (bmi2()) {
        a.mov(x86::ecx, 63);
        a.shrx(x86::rcx, x86::r15, x86::rcx);
    } else { // spread the sign bit over a byte
        a.mov(x86::rcx, x86::r15);
        a.bswap(x86::rcx);
        a.movsx(x86::ecx, x86::cl);
        a.bswap(x86::ecx);
        a.movzx(x86::ecx, x86::cl);
    }
    a.jecxz(x86::rcx, done);
    a.jmp(out);
}

// A conditional jump backward polls before what sets its flags, where no flags are alive: from the position
// returned (kNoPoll if there is none such) to the branch nothing touches memory or may leave.
size_t Emitter::early_poll(const ir::Block& block) const {
    constexpr size_t longest = 6; // these ops are emitted twice
    const size_t end = block.insts.size() - 1;
    const Inst& last = block.insts[end];
    if (!options_.early_polls || last.op != ir::Op::Branch) return kNoPoll;
    size_t insn = end;
    while (block.insts[insn].op != ir::Op::Insn && insn)
        --insn;
    const u64 rip = std::max(rip_of(i32(block.insts[insn].imm)), block.pc);
    if (u64(last.imm) > rip && u64(last.imm2) > rip) return kNoPoll;
    for (size_t at = end; at-- > 0 && end - at <= longest;) {
        const u8 effects = ir::info(block.insts[at].op).effects;
        if (effects & (ir::kTouchesMemory | ir::kMayFault | ir::kTouchesState | ir::kEndsBlock)) break;
        if (ir::may_leave(block.insts[at])) break;
        if (!(needed_[at] & live_[at])) return at;
    }
    return kNoPoll;
}

void Emitter::emit_early_poll() {
    at_ = FlagsAt::Nowhere;
    poll_by_compare(out_of_line(&Emitter::event_before_branch, block_->insts.back()).entry);
}

// RAX holds the flags from here on, as the exit stubs expect.
void Emitter::saved_for_exit() {
    if (at_ == FlagsAt::Again) make_flags_again();
    if (at_ == FlagsAt::Eflags) {
        a.lahf();
        a.seto(x86::al);
    }
}

void Emitter::event_to_target(const OutOfLine& o) {
    saved_for_exit();
    move_pc(host::scratch, u64(o.inst->imm));
    jump_to(stubs_.exit_event);
}
// Only a jump backward is polled: the other way goes on as if nothing were.
void Emitter::event_of_branch(const OutOfLine& o) {
    const bool taken_backward = backward(o.inst->imm), else_backward = backward(o.inst->imm2);
    const ir::Cond cond = o.inst->cond;
    want_eflags();
    if (!else_backward) a.j(x86::CondCode(u8(ir::negate(cond))), o.back);
    if (!taken_backward) a.j(x86::CondCode(u8(cond)), o.back);
    leave_by_branch(*o.inst, taken_backward, else_backward);
}
// To that side, or those sides, of a branch that leads backward. The condition is in EFLAGS.
void Emitter::leave_by_branch(const Inst& branch, bool taken_backward, bool else_backward) {
    saved_for_exit();
    move_pc(host::scratch, u64(taken_backward ? branch.imm : branch.imm2));
    if (taken_backward && else_backward) {
        const Label taken = a.newLabel();
        a.j(x86::CondCode(u8(branch.cond)), taken);
        move_pc(host::scratch, u64(branch.imm2));
        a.bind(taken);
    }
    jump_to(stubs_.exit_event);
}
// Polled early: the way to the branch, and what the branch does.
void Emitter::event_before_branch(const OutOfLine& o) {
    const Inst& branch = *o.inst;
    emit_range(early_poll_, block_->insts.size() - 1, false);
    want_eflags();
    const bool taken_backward = backward(branch.imm), else_backward = backward(branch.imm2);
    if (!taken_backward) link_jump_if(branch.cond, branch, u64(branch.imm));
    if (!else_backward) link_jump_if(ir::negate(branch.cond), branch, u64(branch.imm2));
    leave_by_branch(branch, taken_backward, else_backward);
}
void Emitter::event_of_value(const OutOfLine& o) {
    const bool taken_backward = backward(o.inst->imm), else_backward = backward(o.inst->imm2);
    const Label zero = a.newLabel(), leave = a.newLabel();
    load_zero_extended(host::scratch, o.inst->a, o.inst->size, 0);
    a.jecxz(x86::rcx, zero);
    move_pc(host::scratch, u64(o.inst->imm));
    a.jmp(taken_backward ? leave : o.back);
    a.bind(zero);
    if (!else_backward) a.jmp(o.back);
    move_pc(host::scratch, u64(o.inst->imm2));
    a.bind(leave);
    saved_for_exit();
    jump_to(stubs_.exit_event);
}
void Emitter::event_of_register(const OutOfLine&) {
    saved_for_exit();
    a.mov(x86::rcx, x86::r13);
    call_to(stubs_.exit_side); // the run loop must know which block branched: take_back_branch
}
// The instruction that polls has retired.
void Emitter::event_in_block(const OutOfLine& o) {
    saved_for_exit();
    move_pc(host::scratch, u64(o.inst->imm));
    call_to(stubs_.exit_side);
    note_side_point();
}

void Emitter::emit_PollIntr(const Inst& inst) {
    const Label out = out_of_line(&Emitter::event_in_block, inst).entry;
    const Label no_poll = a.newLabel(), quiet = a.newLabel();
    a.mov(x86::ecx, in_context(offsetof(Context, poll), 4));
    a.jecxz(x86::rcx, no_poll);
    a.jmp(out);
    a.bind(no_poll);
    a.movzx(x86::ecx, in_context(offsetof(Context, interrupt_line), 1));
    a.jecxz(x86::rcx, quiet);
    a.movzx(x86::ecx, in_context(offsetof(Context, interrupt_flag), 1));
    a.jecxz(x86::rcx, quiet);
    a.jmp(out);
    a.bind(quiet);
}

// ---- ends

void Emitter::finish_flags() {
    if (needed_before_) want_eflags();
}

// ---- to and from other pages

// Another page may be mapped elsewhere tomorrow. Whoever comes from one enters here, with the flags saved;
// the block's page must have the number that it had when the block was made.
void Emitter::ask_for_page(unsigned part, u64 linear, const Label& other) {
    a.long_().cmp(in_context(tlb_field(softmmu::TlbTables::code_number_of(linear, block_->user)), 4),
                  imm(i32(block_->code_pages[part])));
    out_->numbers[part] = u32(a.offset()) - 4;
    note_pc(PcForm::PageSlot, linear, 8);
    a.jne(other);
}
// Or it has only been forgotten. Which block asks is told by where the call returns to.
void Emitter::enter_other_page(unsigned part, const Label& same) {
    call_to(stubs_.may_enter[part]);
    if (part == 0) a.short_();
    a.jmp(same);
}
void Emitter::second_page_is_another(const OutOfLine& o) {
    enter_other_page(1, o.back);
}

// From the first of the two, with the flags in EFLAGS: the second must be asked for, too.
void Emitter::entry_of_two_pages(const OutOfLine& o) {
    out_->entry = u32(a.offset());
    a.lahf();
    a.seto(x86::al);
    a.jmp(o.back);
}

bool Emitter::far(u64 target) const {
    const u64 linear = block_->linear_pc;
    return block_->crosses_page() || ((linear - block_->pc + target) ^ linear) >> softmmu::kPageBits;
}

// Where the jump leads is told by the LinkSite, and which that is by where the call returns to.
void Emitter::link_stub(const OutOfLine& o) {
    const bool far = this->far(o.value);
    if (far && !options_.far_links) {
        move_pc(host::scratch, o.value);
        return call_to(options_.inline_lookup ? stubs_.look_up : stubs_.exit_jump);
    }
    const u32 stub = u32(a.offset());
    const bool saved = at_ == FlagsAt::Saved || at_ == FlagsAt::Both;
    if (!saved) want_eflags();
    call_to(saved ? stubs_.exit_link_saved : stubs_.exit_link);
    out_->links.push_back({.jump_offset = u16(o.jump_offset),
                           .stub_offset = u16(stub),
                           .return_offset = u16(a.offset()),
                           .saved_flags = options_.saved_flags && o.flags_at != FlagsAt::Eflags,
                           .far = far,
                           .target = o.value});
}

void Emitter::link_jump(const Inst& inst, u64 target) {
    const FlagsAt before = at_;
    if (far(target))
        save_flags();
    else if (at_ == FlagsAt::Again)
        make_flags_again();
    OutOfLine& o = out_of_line(&Emitter::link_stub, inst);
    o.value = target;
    o.jump_offset = u32(a.offset());
    a.jmp(o.entry);
    at_ = before; // where the code goes on that did not come this way
}
void Emitter::link_jump_if(ir::Cond cond, const Inst& inst, u64 target) {
    const bool save = at_ == FlagsAt::Eflags && far(target);
    OutOfLine& o = out_of_line(save ? &Emitter::far_branch : &Emitter::link_stub, inst);
    o.value = target;
    o.jump_offset = u32(a.offset());
    a.j(x86::CondCode(u8(cond)), o.entry);
}
void Emitter::far_branch(const OutOfLine& o) {
    link_jump(*o.inst, o.value);
}

void Emitter::emit_Jump(const Inst& inst) {
    if (backward(inst.imm)) {
        if (options_.saved_flags) save_flags();
        poll(inst, &Emitter::event_to_target);
    }
    if (!options_.saved_flags) finish_flags();
    link_jump(inst, u64(inst.imm));
}

void Emitter::emit_Branch(const Inst& inst) {
    if ((backward(inst.imm) || backward(inst.imm2)) && early_poll_ == kNoPoll)
        poll(inst, &Emitter::event_of_branch);
    finish_flags();
    if (shared_.loop())
        next_round(inst);
    else
        link_jump_if(inst.cond, inst, u64(inst.imm));
    link_jump(inst, u64(inst.imm2));
}

void Emitter::take_budget() {
    if (!options_.uncounted) a.lea(x86::r15, x86::ptr(x86::r15, -i32(block_->guest_instructions)));
}
// The budget was taken for the whole block.
void Emitter::give_back_budget(unsigned own) {
    if (options_.uncounted) return;
    a.lea(x86::r15, x86::ptr(x86::r15, i32(block_->guest_instructions - instruction_index_ - 1 + own)));
}
void Emitter::side_exit(const OutOfLine& o) {
    give_back_budget(0);
    link_jump(*o.inst, u64(o.inst->imm));
}
void Emitter::emit_BranchOut(const Inst& inst) {
    finish_flags();
    if (options_.uncounted) return link_jump_if(inst.cond, inst, u64(inst.imm));
    const Label out = out_of_line(&Emitter::side_exit, inst).entry;
    a.j(x86::CondCode(u8(inst.cond)), out);
}

void Emitter::emit_BranchNz(const Inst& inst) {
    if (backward(inst.imm) || backward(inst.imm2)) poll(inst, &Emitter::event_of_value);
    if (!options_.saved_flags) finish_flags();
    const Label zero = a.newLabel();
    load_zero_extended(host::scratch, inst.a, inst.size, inst.imm);
    a.jecxz(x86::rcx, zero);
    link_jump(inst, u64(inst.imm));
    a.bind(zero);
    link_jump(inst, u64(inst.imm2));
}

// JumpCache::index, inline, in the table of the present mode. Flags stay saved, as the cache's entries want
// them. When a poll is asked for nothing is found, and Stubs::jump_missed leaves.
void Emitter::emit_JumpInd(const Inst& inst) {
    const Gp to = gp(jump_target(inst), 8);
    if (to.id() == host::temp && inst.a.id() != home_) load_value(host::temp, inst.a, 8, inst.imm);
    clobber(needed_before_);
    if (!options_.inline_lookup) {
        poll(inst, &Emitter::event_of_register);
        a.mov(x86::rcx, x86::r13);
        return call_to(stubs_.exit_jump);
    }
    if (options_.count_exact) {
        a.test(x86::r15, x86::r15);
        a.js(out_of_line(&Emitter::event_of_register, inst).entry);
    }
    const Label miss = out_of_line(&Emitter::lookup_miss, inst).entry;
    if (options_.use_pext) {
        a.pdep(x86::ecx, to.r32(), x86::ptr(x86::rsp, frame::jump_mask, 4));
    } else {
        a.mov(x86::ecx, to.r32());
        a.shl(x86::ecx, 32 - ir::JumpCache::bits);
        a.shr(x86::ecx, 32 - ir::JumpCache::bits - kJumpBits);
    }
    using Entry = ir::JumpCache::Entry;
    a.add(x86::rcx, in_context(offsetof(Context, jump_table), 8));
    a.cmp(to, x86::ptr(x86::rcx, offsetof(Entry, pc)));
    a.jne(miss);
    a.jmp(x86::ptr(x86::rcx, offsetof(Entry, host)));
}

// Its own register, or the one that the stubs take it from.
unsigned Emitter::jump_target(const Inst& inst) const {
    const bool own =
        inst.a.is_gpr() && in_register(inst.a) && options_.inline_lookup && !options_.count_exact;
    return own ? host_of(inst.a) : host::temp;
}

void Emitter::lookup_miss(const OutOfLine& o) {
    const unsigned to = jump_target(*o.inst);
    if (to != host::temp) a.mov(gp(host::temp, 8), gp(to, 8));
    call_to(stubs_.jump_missed);
}

// Mostly a return to the call that the block has followed.
void Emitter::emit_JumpOut(const Inst& inst) {
    if (inst.a.id() != home_) load_value(host::temp, inst.a, 8, inst.imm2);
    clobber(needed_before_);
    if (inst.imm == i32(inst.imm)) {
        const u32 begin = u32(a.offset());
        a.cmp(x86::r13, imm(inst.imm));
        note_pc_signed(begin, 7, u64(inst.imm));
    } else {
        move_pc(host::address, u64(inst.imm));
        a.cmp(x86::r13, x86::r14);
    }
    if (options_.uncounted && options_.saved_flags) return link_jump_if(ir::Cond::NZ, inst, current_rip());
    a.jne(out_of_line(&Emitter::jump_out, inst).entry);
}
// The return has not happened: it goes on in a block of its own, at its end, which polls.
void Emitter::jump_out(const OutOfLine& o) {
    give_back_budget(1);
    if (!options_.saved_flags) finish_flags();
    link_jump(*o.inst, current_rip());
}

void Emitter::emit_ExitTo(const Inst& inst) {
    saved_for_exit();
    move_pc(host::scratch, u64(inst.imm));
    a.mov(in_context(offsetof(Context, rip), 8), x86::rcx);
    jump_to(stubs_.exit_here);
}
void Emitter::emit_ExitHere(const Inst&) {
    saved_for_exit();
    jump_to(stubs_.exit_here);
}

} // namespace dragoman::backend
