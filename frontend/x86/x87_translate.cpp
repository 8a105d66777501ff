// x87 instructions (SDM vol. 1, 5.2). Those that compute are calls of helpers; the control word and the
// status word are read in place.
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"
#include "frontend/x86/x87_ops.h"

namespace dragoman::x86 {

using ir::Ref;

namespace {

constexpr u32 fpu_field(std::size_t offset) {
    return u32(offsetof(ir::Context, fpu) + offset);
}
constexpr u32 kControlAt = fpu_field(offsetof(ir::Fpu, control)),
              kStatusAt = fpu_field(offsetof(ir::Fpu, status)), kTopAt = fpu_field(offsetof(ir::Fpu, top));

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

// The operand is loaded by translated code.
bool load_call(Translation& t, const Instruction& insn, unsigned bytes) {
    const ir::Address a = t.address(insn, 0, bytes, ir::Access::Read);
    const Ref value = t.ir.temp();
    t.ir.load(bytes, value, a);
    t.ir.call(x87_value_form, {}, t.linear(a), value, describe_memory(insn, bytes).pack());
    return true;
}

bool register_call(Translation& t, const Instruction& insn, const ir::Helper& helper) {
    t.ir.call(helper, {}, {}, {}, describe(insn).pack());
    return true;
}

unsigned format(const Instruction& insn) {
    return insn.operand_size() == 2 ? 2 : 4;
}

// SW with TOP put into its place; the flags stay as they are.
Ref status_word(Translation& t) {
    const Ref word = t.ir.temp(), top = t.ir.temp();
    t.ir.load_state(2, word, kStatusAt);
    t.ir.load_state(1, top, kTopAt);
    for (unsigned n = 0; n < 3; ++n)
        t.ir.lea(8, top, {.index = top, .scale = 3});
    t.ir.lea(8, word, {.base = word, .index = top, .scale = 2}); // TOP << 11
    return word;
}

} // namespace

bool X87(Translation& t, const Instruction& insn) {
    wait_x87(t);
    if (!has_memory(insn)) return register_call(t, insn, x87_register_form);
    const bool store = insn.operands[0].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    const unsigned bytes = operand_bytes(insn, 0);
    if (store) return store_call(t, insn, bytes);
    if (bytes <= 8) return load_call(t, insn, bytes);
    return memory_call(t, insn, x87_load_form, bytes, bytes, ir::Access::Read);
}

bool FCOMI(Translation& t, const Instruction& insn) {
    wait_x87(t);
    return register_call(t, insn, x87_compare);
}

bool FCMOV(Translation& t, const Instruction& insn) {
    wait_x87(t);
    return register_call(t, insn, x87_conditional_move);
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
    t.write(insn, 0, 2, status_word(t));
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
