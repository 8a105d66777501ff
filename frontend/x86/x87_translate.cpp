// x87 instructions (SDM vol. 1, 5.2). Those that compute are ops of their own where nothing can trap, and
// calls of helpers elsewhere.
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"
#include "frontend/x86/x87_ops.h"

namespace dragoman::x86 {

using ir::Ref;

namespace {

constexpr u32 fpu_field(std::size_t offset) {
    return u32(offsetof(ir::Context, fpu) + offset);
}
constexpr u32 kControlAt = fpu_field(offsetof(ir::Fpu, control));

X87Call describe(const Instruction& insn) {
    const auto& modrm = insn.zydis.raw.modrm;
    return {.opcode = u16((insn.zydis.opcode & 7) << 8 | modrm.mod << 6 | modrm.reg << 3 | modrm.rm),
            .length = u8(insn.length()),
            .segment = u8(ir::Seg::DS)};
}

bool has_memory(const Instruction& insn) {
    return insn.zydis.operand_count_visible && is_memory(insn, 0);
}

X87Call describe_memory(const Instruction& insn, unsigned operand) {
    X87Call call = describe(insn);
    call.segment = u8(Translation::segment(insn, 0));
    call.operand = u8(operand);
    return call;
}

// What the processor keeps of the last instruction when that has raised nothing: see note() in x87_ops.cpp.
u8 notes(const Translation& t) {
    return (t.model.has(Feature::LongMode) ? 0 : ir::kX87NoteOpcode) |
           (t.model.has(Feature::FdpExceptionOnly) ? 0 : ir::kX87NoteData) |
           (t.model.has(Feature::ZeroFcsFds) ? 0 : ir::kX87NoteSelectors);
}

// Neither an exception nor a waiting one can be reported: the host executes the instruction as itself.
bool cannot_trap(const Translation& t) {
    return !t.mode.x87_unmasked && !t.mode.fpu_pending;
}

// `align`: what of the operand must be aligned where that is checked; 0: all of it.
bool memory_call(Translation& t, const Instruction& insn, const ir::Helper& helper, unsigned bytes,
                 unsigned operand, ir::Access access, unsigned align = 0) {
    const Ref linear = t.linear(t.address(insn, 0, bytes, access, 0, align));
    t.ir.call(helper, {}, linear, {}, describe_memory(insn, operand).pack());
    return true;
}

// Stores. An unmasked exception comes before any fault of the access, and keeps it from happening: the helper
// sees to it; where the access is checked by translated code, before that.
bool store_call(Translation& t, const Instruction& insn, unsigned bytes) {
    if (t.mode.alignment_check || !(t.mode.long64() || t.mode.is_flat(Translation::segment(insn, 0)))) {
        const ir::Address offset = Translation::effective(insn, 0);
        const Ref a = t.ir.temp();
        t.ir.lea(offset.size, a, offset);
        if (offset.size == 2) t.ir.extend(ir::Op::Zext, 2, 8, a, a);
        t.ir.call(x87_store_raises, {}, a, {}, describe_memory(insn, bytes).pack());
    }
    return memory_call(t, insn, x87_store_form, bytes, bytes, ir::Access::Write);
}

bool register_call(Translation& t, const Instruction& insn, const ir::Helper& helper) {
    t.ir.call(helper, {}, {}, {}, describe(insn).pack());
    return true;
}

bool compute(Translation& t, const Instruction& insn, const ir::Helper& helper) {
    wait_x87(t);
    if (!cannot_trap(t)) return register_call(t, insn, helper);
    X87Call call = describe(insn);
    call.notes = notes(t);
    t.ir.x87(helper, {}, call.pack());
    return true;
}

bool compute_memory(Translation& t, const Instruction& insn, const ir::Helper& helper, ir::Access access) {
    const unsigned bytes = operand_bytes(insn, 0);
    wait_x87(t);
    if (!cannot_trap(t) && access == ir::Access::Write) return store_call(t, insn, bytes);
    if (!cannot_trap(t)) return memory_call(t, insn, helper, bytes, bytes, access);
    X87Call call = describe_memory(insn, bytes);
    call.notes = notes(t);
    t.ir.x87(helper, t.address(insn, 0, bytes, access), bytes, call.pack());
    return true;
}

unsigned format(const Instruction& insn) {
    return insn.operand_size() == 2 ? 2 : 4;
}

} // namespace

bool X87(Translation& t, const Instruction& insn) {
    if (!has_memory(insn)) return compute(t, insn, x87_register_form);
    if (insn.operands[0].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
        return compute_memory(t, insn, x87_store_form, ir::Access::Write);
    return compute_memory(t, insn, x87_load_form, ir::Access::Read);
}

bool FCOMI(Translation& t, const Instruction& insn) {
    return compute(t, insn, x87_compare);
}

bool FCMOV(Translation& t, const Instruction& insn) {
    return compute(t, insn, x87_conditional_move);
}

bool FWAIT(Translation& t, const Instruction&) {
    if (t.mode.wait_traps) return t.raise(kNM);
    wait_x87(t);
    return true;
}

// The 8087's and 287's FENI, FDISI and FSETPM, which do nothing any more.
bool FENI(Translation&, const Instruction&) {
    return true;
}

// ---- control: FN instructions do not wait
bool FNINIT(Translation& t, const Instruction& insn) {
    return register_call(t, insn, x87_init);
}
bool FNCLEX(Translation& t, const Instruction& insn) {
    return register_call(t, insn, x87_clear);
}

bool FLDCW(Translation& t, const Instruction& insn) {
    wait_x87(t);
    const Ref value = t.ir.temp();
    t.ir.load_extend(ir::Op::LoadZx, 2, 8, value, t.address(insn, 0, 2, ir::Access::Read));
    if (cannot_trap(t))
        t.ir.x87(x87_load_control, value, describe(insn).pack());
    else
        t.ir.call(x87_load_control, {}, value, {}, describe(insn).pack());
    return true;
}

bool FNSTCW(Translation& t, const Instruction& insn) {
    const Ref value = t.ir.temp();
    t.ir.load_state(2, value, kControlAt);
    t.write(insn, 0, 2, value);
    return true;
}

bool FNSTSW(Translation& t, const Instruction& insn) {
    const Ref value = t.ir.temp();
    if (cannot_trap(t))
        t.ir.add({.op = ir::Op::X87Status, .size = 2, .d = value});
    else
        t.ir.call(x87_status, value);
    t.write(insn, 0, 2, value);
    return true;
}

bool FNSTENV(Translation& t, const Instruction& insn) {
    return memory_call(t, insn, x87_store_environment, 7 * format(insn), format(insn), ir::Access::Write,
                       format(insn));
}
bool FLDENV(Translation& t, const Instruction& insn) {
    wait_x87(t);
    return memory_call(t, insn, x87_load_environment, 7 * format(insn), format(insn), ir::Access::Read,
                       format(insn));
}
bool FNSAVE(Translation& t, const Instruction& insn) {
    return memory_call(t, insn, x87_save, 7 * format(insn) + 80, format(insn), ir::Access::Write,
                       format(insn));
}
bool FRSTOR(Translation& t, const Instruction& insn) {
    wait_x87(t);
    return memory_call(t, insn, x87_restore, 7 * format(insn) + 80, format(insn), ir::Access::Read,
                       format(insn));
}

} // namespace dragoman::x86
