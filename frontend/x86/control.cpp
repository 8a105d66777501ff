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

// The target of an indirect near branch, as JumpInd takes it: 64 bits, in a temporary.
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
    if (is_immediate(insn, 0))
        t.ir.jump(relative_target(t, insn));
    else
        t.ir.jump_ind(indirect_target(t, insn));
    return false;
}

bool Jcc(Translation& t, const Instruction& insn) {
    t.ir.branch(condition(insn), relative_target(t, insn), insn.next_rip);
    return false;
}

bool JCXZ(Translation& t, const Instruction& insn) {
    t.ir.branch_nz(insn.address_size(), ir::kRcx, insn.next_rip, relative_target(t, insn));
    return false;
}

namespace {

// Counts RCX, ECX or CX down without touching flags, by the address size.
void count_down(Translation& t, const Instruction& insn) {
    t.ir.add_noflags(insn.address_size(), ir::kRcx, ir::kRcx, -1);
}

bool loop_while(Translation& t, const Instruction& insn, ir::Cond cond) {
    const unsigned size = insn.address_size();
    count_down(t, insn);
    // The count where the condition holds, else 0.
    const Ref decider = t.ir.temp(), count = t.ir.temp();
    if (size < 8)
        t.ir.extend(Op::Zext, size, 8, count, ir::kRcx);
    else
        t.ir.mov(8, count, ir::kRcx);
    t.ir.mov_imm(8, decider, 0);
    t.ir.add({.op = Op::Cmov, .size = 8, .cond = cond, .d = decider, .a = count});
    t.ir.branch_nz(8, decider, relative_target(t, insn), insn.next_rip);
    return false;
}

} // namespace

bool LOOP(Translation& t, const Instruction& insn) {
    count_down(t, insn);
    t.ir.branch_nz(insn.address_size(), ir::kRcx, relative_target(t, insn), insn.next_rip);
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
    if (insn.next_rip == u64(i64(i32(insn.next_rip)))) {
        t.push(size, Ref::imm(), i64(insn.next_rip));
    } else { // a store takes 32 bits
        const Ref next = t.ir.temp();
        t.ir.mov_imm(8, next, i64(insn.next_rip));
        t.push(size, next);
    }
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
    t.adjust_stack(i64(size) + extra);
    t.ir.jump_ind(target);
    return false;
}

namespace {

// BOUND: the signed index `b` against the two bounds at linear address `a`; imm: operand size.
u64 bound(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    const unsigned size = unsigned(imm);
    const u8* bounds = ctx.memory->acquire(ctx, a, 2 * size, ir::Access::Read);
    if (!bounds) return 0;
    u64 lower = 0, upper = 0;
    std::memcpy(&lower, bounds, size);
    std::memcpy(&upper, bounds + size, size);
    const i64 index = sign_extend(b, size);
    if (index < sign_extend(lower, size) || index > sign_extend(upper, size)) raise(ctx, kBR);
    return 0;
}
constexpr ir::Helper bound_info{"bound", bound};

} // namespace

bool BOUND(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    const ir::Address a = t.address(insn, 1, 2 * size, ir::Access::Read);
    const Ref linear = t.linear(a);
    t.ir.call(bound_info, {}, linear, Translation::gpr(insn.operands[0].reg.value), size);
    return true;
}

} // namespace dragoman::x86
