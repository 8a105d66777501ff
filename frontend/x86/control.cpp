// Control transfer within a code segment (SDM vol. 1, 5.1.7). In 64-bit mode an operand-size prefix is
// ignored (SDM vol. 2, JMP; Zydis reports 64 bits).
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"
#include "frontend/x86/translate_system.h"

#include "base/bits.h"
#include "frontend/x86/exception.h"
#include "ir/memory.h"

#include <cstring>

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

namespace {

u64 relative_target(const Translation& t, const Instruction& insn) {
    return t.cut_rip(insn.next_rip + insn.operands[0].imm.value.u, insn.operand_size());
}

// A target beyond the limit of CS is refused by the branch itself, before it changes a register (SDM vol. 2,
// JMP, CALL, RET, Jcc, LOOP). a: target, imm: limit
u64 check_target(ir::Context& ctx, u64 a, u64, u64 imm) {
    if (a > imm) raise(ctx, kGP, 0);
    return 0;
}
// The branch whose target is beyond the limit is taken if `a` is not 0.
u64 refuse_if(ir::Context& ctx, u64 a, u64, u64) {
    if (a) raise(ctx, kGP, 0);
    return 0;
}
u64 refuse_unless(ir::Context& ctx, u64 a, u64, u64) {
    if (!a) raise(ctx, kGP, 0);
    return 0;
}
constexpr ir::Helper check_target_info{"check_target", check_target}, refuse_if_info{"refuse_if", refuse_if},
    refuse_unless_info{"refuse_unless", refuse_unless};

// The target of an indirect near branch, as JumpInd takes it: 64 bits, in a temporary, inside the limit.
void check_indirect_target(Translation& t, Ref target, unsigned size) {
    if (size_mask(size) > t.code_limit) t.ir.call(check_target_info, {}, target, {}, i64(t.code_limit));
}

Ref indirect_target(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operand_size();
    const Ref target = t.ir.temp();
    if (is_memory(insn, 0)) {
        const ir::Address a = t.address(insn, 0, size, ir::Access::Read);
        t.ir.load_extend(Op::LoadZx, size, 8, target, a);
    } else if (size < 8) {
        t.ir.extend(Op::Zext, size, 8, target, Translation::gpr(insn.operands[0].reg.value));
    } else {
        t.ir.mov(8, target, Translation::gpr(insn.operands[0].reg.value));
    }
    return target;
}

} // namespace

bool JMP(Translation& t, const Instruction& insn) {
    if (is_far(insn)) return far_jump(t, insn);
    if (!is_immediate(insn, 0)) {
        const Ref to = indirect_target(t, insn);
        check_indirect_target(t, to, insn.operand_size());
        t.ir.jump_ind(to);
        return false;
    }
    const u64 target = relative_target(t, insn);
    if (target > t.code_limit) return t.raise(kGP, 0);
    t.ir.jump(target);
    return false;
}

bool Jcc(Translation& t, const Instruction& insn) {
    const u64 target = relative_target(t, insn);
    if (target <= t.code_limit) {
        t.ir.branch(condition(insn), target, insn.next_rip);
        return false;
    }
    const Ref taken = t.ir.temp();
    t.ir.mov_imm(8, taken, 0);
    t.ir.add({.op = Op::Setcc, .size = 1, .cond = condition(insn), .d = taken});
    t.ir.call(refuse_if_info, {}, taken);
    t.ir.jump(insn.next_rip);
    return false;
}

namespace {

// RCX, ECX or CX by the address size, plus `change`, as 64 bits.
Ref counter(Translation& t, const Instruction& insn, i64 change) {
    const unsigned size = insn.address_size();
    const Ref count = t.ir.temp();
    t.ir.add_noflags(size, count, ir::kRcx, change);
    if (size < 8) t.ir.extend(Op::Zext, size, 8, count, count);
    return count;
}
// Counts down without touching flags.
void count_down(Translation& t, const Instruction& insn) {
    t.ir.add_noflags(insn.address_size(), ir::kRcx, ir::kRcx, -1);
}
// The new count where the condition holds, else 0.
Ref loop_decider(Translation& t, const Instruction& insn, ir::Cond cond) {
    const Ref count = counter(t, insn, -1), decider = t.ir.temp();
    t.ir.mov_imm(8, decider, 0);
    t.ir.add({.op = Op::Cmov, .size = 8, .cond = cond, .d = decider, .a = count});
    return decider;
}

bool loop_while(Translation& t, const Instruction& insn, ir::Cond cond) {
    const Ref decider = loop_decider(t, insn, cond);
    const u64 target = relative_target(t, insn);
    const bool reachable = target <= t.code_limit;
    if (!reachable) t.ir.call(refuse_if_info, {}, decider);
    count_down(t, insn);
    if (reachable)
        t.ir.branch_nz(8, decider, target, insn.next_rip);
    else
        t.ir.jump(insn.next_rip);
    return false;
}

} // namespace

bool JCXZ(Translation& t, const Instruction& insn) {
    const u64 target = relative_target(t, insn);
    if (target <= t.code_limit) {
        t.ir.branch_nz(insn.address_size(), ir::kRcx, insn.next_rip, target);
        return false;
    }
    t.ir.call(refuse_unless_info, {}, counter(t, insn, 0));
    t.ir.jump(insn.next_rip);
    return false;
}

bool LOOP(Translation& t, const Instruction& insn) {
    const u64 target = relative_target(t, insn);
    const bool reachable = target <= t.code_limit;
    if (!reachable) t.ir.call(refuse_if_info, {}, counter(t, insn, -1));
    count_down(t, insn);
    if (reachable)
        t.ir.branch_nz(insn.address_size(), ir::kRcx, target, insn.next_rip);
    else
        t.ir.jump(insn.next_rip);
    return false;
}
bool LOOPE(Translation& t, const Instruction& insn) {
    return loop_while(t, insn, ir::Cond::Z);
}
bool LOOPNE(Translation& t, const Instruction& insn) {
    return loop_while(t, insn, ir::Cond::NZ);
}

bool CALL(Translation& t, const Instruction& insn) {
    if (is_far(insn)) return far_call(t, insn);
    const unsigned size = insn.operand_size();
    const bool direct = is_immediate(insn, 0);
    const Ref target = direct ? Ref::none() : indirect_target(t, insn);
    const ir::Address top =
        t.address(ir::Seg::SS, ir::kRsp, -i64(size), t.stack_size(), size, ir::Access::Write);
    if (insn.next_rip == u64(i64(i32(insn.next_rip)))) {
        t.ir.store(size, top, Ref::imm(), i64(insn.next_rip));
    } else { // a store takes 32 bits
        const Ref next = t.ir.temp();
        t.ir.mov_imm(8, next, i64(insn.next_rip));
        t.ir.store(size, top, next);
    }
    // Processors look at the target when the return address is on the stack, but RSP not yet moved.
    if (direct && relative_target(t, insn) > t.code_limit) return t.raise(kGP, 0);
    if (!direct) check_indirect_target(t, target, size);
    t.adjust_stack(-i64(size));
    if (direct)
        t.ir.jump(relative_target(t, insn));
    else
        t.ir.jump_ind(target);
    return false;
}

bool RET(Translation& t, const Instruction& insn) {
    if (is_far(insn)) return far_return(t, insn);
    const unsigned size = insn.operand_size();
    const i64 extra = insn.zydis.operand_count_visible ? insn.operands[0].imm.value.s & 0xffff : 0;
    const ir::Address a = t.address(ir::Seg::SS, ir::kRsp, 0, t.stack_size(), size, ir::Access::Read);
    const Ref target = t.ir.temp();
    if (size < 8)
        t.ir.load_extend(Op::LoadZx, size, 8, target, a);
    else
        t.ir.load(8, target, a);
    check_indirect_target(t, target, size);
    t.adjust_stack(i64(size) + extra);
    t.ir.jump_ind(target);
    return false;
}

namespace {

// BOUND, one bound after the other. a: index, b: bound, imm: operand size
u64 check_lower(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    if (sign_extend(a, unsigned(imm)) < sign_extend(b, unsigned(imm))) raise(ctx, kBR);
    return 0;
}
u64 check_upper(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    if (sign_extend(a, unsigned(imm)) > sign_extend(b, unsigned(imm))) raise(ctx, kBR);
    return 0;
}
constexpr ir::Helper check_lower_info{"check_lower", check_lower},
    check_upper_info{"check_upper", check_upper};

} // namespace

bool BOUND(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref index = Translation::gpr(insn.operands[0].reg.value), bound = t.ir.temp();
    t.ir.load(size, bound, t.address(insn, 1, size, ir::Access::Read));
    t.ir.call(check_lower_info, {}, index, bound, size);
    t.ir.load(size, bound, t.address(insn, 1, size, ir::Access::Read, size));
    t.ir.call(check_upper_info, {}, index, bound, size);
    return true;
}

} // namespace dragoman::x86
