// Control transfer within a code segment (SDM vol. 1, 5.1.7). In 64-bit mode an operand-size prefix is
// ignored (SDM vol. 2, JMP; Zydis reports 64 bits).
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"
#include "frontend/x86/translate_system.h"

#include "base/bits.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/system_registers.h"
#include "ir/memory.h"

#include <cstring>

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

namespace {

u64 relative_target(const Translation& t, const Instruction& insn) {
    return t.cut_rip(insn.next_rip + insn.operands[0].imm.value.u, insn.operand_size());
}

// A target beyond the limit of CS, or that is not canonical in 64-bit mode, is refused by the branch itself,
// before it changes a register (SDM vol. 2, JMP, CALL, RET, Jcc, LOOP). a: target
u64 check_target(ir::Context& ctx, u64 a, u64, u64) {
    const Cpu& cpu = static_cast<Cpu&>(ctx);
    const bool reached = cpu.code64() ? canonical(cpu, a) : a <= cpu.seg[unsigned(ir::Seg::CS)].limit;
    if (!reached) raise(ctx, kGP, 0);
    return 0;
}
// The same for a branch that is taken if `a` is not 0, or is 0. b: target
u64 check_if(ir::Context& ctx, u64 a, u64 b, u64) {
    return a ? check_target(ctx, b, 0, 0) : 0;
}
u64 check_unless(ir::Context& ctx, u64 a, u64 b, u64) {
    return a ? 0 : check_target(ctx, b, 0, 0);
}
constexpr ir::Helper check_target_info{"check_target", check_target}, check_if_info{"check_if", check_if},
    check_unless_info{"check_unless", check_unless};

// Must the processor look at this target when it branches? With five-level paging more is canonical.
bool in_doubt(const Translation& t, u64 target) {
    return t.mode.long64() ? !canonical(target, 48) : target > t.code_limit;
}
Ref in_temp(Translation& t, u64 target) {
    const Ref ref = t.ir.temp();
    t.ir.mov_imm(8, ref, i64(target));
    t.ir.block().pinned = true; // elsewhere there may be no doubt
    return ref;
}
void check_direct(Translation& t, u64 target) {
    if (in_doubt(t, target)) t.ir.call(check_target_info, {}, in_temp(t, target));
}

// `target` is 64 bits in a temporary, as JumpInd takes it. In 64-bit mode the run loop finds what is not
// canonical (take_back_branch), so that good targets cost nothing. `stack`: what the branch adds to the stack
// pointer.
void jump_indirect(Translation& t, const Instruction& insn, Ref target, i64 stack) {
    const bool late = t.mode.long64() && !t.leaves;
    if (late)
        t.set_near_branch({u8(insn.length()), i32(stack)});
    else if (t.mode.long64() || size_mask(insn.operand_size()) > t.code_limit)
        t.ir.call(check_target_info, {}, target);
    if (stack) t.adjust_stack(stack);
    t.ir.jump_ind(target);
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
        jump_indirect(t, insn, indirect_target(t, insn), 0);
        return false;
    }
    const u64 target = relative_target(t, insn);
    check_direct(t, target);
    t.ir.jump(target);
    return false;
}

bool Jcc(Translation& t, const Instruction& insn) {
    const u64 target = relative_target(t, insn);
    if (in_doubt(t, target)) {
        const Ref taken = t.ir.temp();
        t.ir.mov_imm(8, taken, 0);
        t.ir.add({.op = Op::Setcc, .size = 1, .cond = condition(insn), .d = taken});
        t.ir.call(check_if_info, {}, taken, in_temp(t, target));
    }
    t.ir.branch(condition(insn), target, insn.next_rip);
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
    if (in_doubt(t, target)) t.ir.call(check_if_info, {}, decider, in_temp(t, target));
    count_down(t, insn);
    t.ir.branch_nz(8, decider, target, insn.next_rip);
    return false;
}

} // namespace

bool JCXZ(Translation& t, const Instruction& insn) {
    const u64 target = relative_target(t, insn);
    if (in_doubt(t, target)) t.ir.call(check_unless_info, {}, counter(t, insn, 0), in_temp(t, target));
    t.ir.branch_nz(insn.address_size(), ir::kRcx, insn.next_rip, target);
    return false;
}

bool LOOP(Translation& t, const Instruction& insn) {
    const u64 target = relative_target(t, insn);
    if (in_doubt(t, target)) t.ir.call(check_if_info, {}, counter(t, insn, -1), in_temp(t, target));
    count_down(t, insn);
    t.ir.branch_nz(insn.address_size(), ir::kRcx, target, insn.next_rip);
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
        t.ir.store(size, top, Ref::imm(), i64(insn.next_rip)).from_pc = true;
    } else { // a store takes 32 bits
        const Ref next = t.ir.temp();
        t.ir.mov_imm(8, next, i64(insn.next_rip)).from_pc = true;
        t.ir.store(size, top, next);
    }
    // Processors look at the target when the return address is on the stack, but RSP not yet moved.
    if (!direct) {
        jump_indirect(t, insn, target, -i64(size));
        return false;
    }
    check_direct(t, relative_target(t, insn));
    t.adjust_stack(-i64(size));
    t.ir.jump(relative_target(t, insn));
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
    jump_indirect(t, insn, target, i64(size) + extra);
    return false;
}

bool take_back_branch(Cpu& cpu, const NearBranch& branch, u64 end) {
    if (!branch.bytes || canonical(cpu, cpu.rip)) return false;
    cpu.rip = end - branch.bytes;
    cpu.gpr[4] -= u64(i64(branch.stack));
    raise(cpu, kGP, 0);
    return true;
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
