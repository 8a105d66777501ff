// Stack instructions: PUSH, POP, PUSHA, POPA, ENTER, LEAVE (SDM vol. 1, ch. 6). What faults comes before RSP
// changes.
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"
#include "frontend/x86/translate_system.h"

#include "base/bits.h"
#include "frontend/x86/system_memory.h"
#include "ir/memory.h"

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;
using ir::Seg;

bool PUSH(Translation& t, const Instruction& insn) {
    if (names_system_register(insn)) return push_segment(t, insn);
    const unsigned size = insn.operand_size();
    i64 imm = 0;
    const Ref value = t.read(insn, 0, size, imm);
    t.push(size, value, imm);
    return true;
}

bool POP(Translation& t, const Instruction& insn) {
    if (names_system_register(insn)) return pop_segment(t, insn);
    const unsigned size = insn.operand_size();
    if (is_memory(insn, 0)) {
        const Ref value = t.pop_value(size);
        // An address based on RSP is computed after the increment (SDM vol. 2, POP).
        const ZydisRegister base = insn.operands[0].mem.base;
        const bool by_rsp =
            base == ZYDIS_REGISTER_RSP || base == ZYDIS_REGISTER_ESP || base == ZYDIS_REGISTER_SP;
        const ir::Address a = t.address(insn, 0, size, ir::Access::Write, by_rsp ? size : 0);
        t.ir.store(size, a, value);
        t.adjust_stack(size);
        return true;
    }
    const Ref to = Translation::gpr(insn.operands[0].reg.value);
    const Ref value = t.pop_to(to == ir::kRsp ? t.ir.temp() : to, size);
    t.adjust_stack(size); // first: POP RSP ends with the value popped
    if (value != to) t.ir.mov(size, to, value);
    return true;
}

bool PUSHA(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operand_size();
    for (unsigned r = 0; r < 8; r++) {
        const ir::Address a =
            t.address(Seg::SS, ir::kRsp, -i64(size * (r + 1)), t.stack_size(), size, ir::Access::Write);
        t.ir.store(size, a, Ref::gpr(r)); // of RSP: the value before the instruction
    }
    t.adjust_stack(-i64(8 * size));
    return true;
}

bool POPA(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operand_size();
    Ref values[8];
    for (unsigned slot = 0; slot < 8; slot++)
        values[slot] = t.pop_value(size, i64(slot * size)); // the image of RSP is read, and dropped
    for (unsigned slot = 0; slot < 8; slot++)
        if (slot != 3) t.ir.mov(size, Ref::gpr(7 - slot), values[slot]);
    t.adjust_stack(8 * size);
    return true;
}

namespace {

// Copies the frame pointers of the outer levels for ENTER with a nesting level above 1. a: RBP, b: the stack
// pointer after RBP was pushed, imm: operand size in bytes | nesting level << 8.
u64 copy_frame_pointers(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    Cpu& cpu = static_cast<Cpu&>(ctx);
    const unsigned size = imm & 0xff, level = imm >> 8 & 0x1f;
    Stack from = current_stack(cpu), to = from;
    to.pointer = b;
    for (unsigned i = 1; i < level; i++) {
        u64 value = 0;
        from.pointer = a - u64{i} * size;
        if (!read_stack(cpu, from, 0, size, 1, &value)) return 0;
        Frame frame(size);
        frame.push(value);
        if (!frame.write(cpu, to)) return 0;
    }
    return 0;
}
// a: linear address, imm: bytes
u64 check_writable(ir::Context& ctx, u64 a, u64, u64 imm) {
    if (ctx.memory->acquire(ctx, a, u32(imm), ir::Access::ReadWrite)) ctx.memory->commit(ctx);
    return 0;
}
constexpr ir::Helper copy_frame_pointers_info{"enter", copy_frame_pointers},
    check_writable_info{"check_writable", check_writable};

} // namespace

bool ENTER(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operand_size(), stack = t.stack_size();
    const i64 locals = insn.operands[0].imm.value.s & 0xffff;
    const unsigned level = unsigned(insn.operands[1].imm.value.u) & 31;

    const ir::Address saved = t.address(Seg::SS, ir::kRsp, -i64(size), stack, size, ir::Access::Write);
    t.ir.store(size, saved, ir::kRbp);
    const Ref frame = t.ir.temp(); // the stack pointer after that push
    t.ir.add_noflags(stack, frame, ir::kRsp, -i64(size));
    Ref frame_value = frame;
    if (stack < size) { // a 16-bit stack under a 32-bit operand size: the whole of ESP
        frame_value = t.ir.temp();
        t.ir.add_noflags(size, frame_value, ir::kRsp, -i64(size));
    }
    if (level > 1) t.ir.call(copy_frame_pointers_info, {}, ir::kRbp, frame, i64(size | level << 8));
    if (level > 0) {
        const ir::Address own = t.address(Seg::SS, frame, -i64(size * level), stack, size, ir::Access::Write);
        t.ir.store(size, own, frame_value);
    }
    if (locals) { // the stack must be writable where it ends now
        const ir::Address end =
            t.address(Seg::SS, frame, -(locals + i64(size * level)), stack, size, ir::Access::Write);
        t.ir.call(check_writable_info, {}, t.linear(end), {}, size);
    }
    t.ir.mov(size, ir::kRbp, frame_value);
    t.ir.add_noflags(stack, ir::kRsp, frame, -(locals + i64(size * level)));
    return true;
}

bool LEAVE(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operand_size(), stack = t.stack_size();
    const ir::Address a = t.address(Seg::SS, ir::kRbp, 0, stack, size, ir::Access::Read);
    const Ref value = t.ir.temp();
    t.ir.load(size, value, a);
    t.ir.add_noflags(stack, ir::kRsp, ir::kRbp, size);
    t.ir.mov(size, ir::kRbp, value);
    return true;
}

} // namespace dragoman::x86
