// Vectors: XMM registers are the host's own, and an instruction is emitted as itself.
#include "backend/x64/emitter.h"

#include "ir/vec.h"

namespace dragoman::backend {

using namespace asmjit;
using ir::Access;

namespace {

// Moves `size` bytes between an XMM register and memory.
InstId move_of(unsigned size) {
    return size == 4 ? x86::Inst::kIdMovss : size == 8 ? x86::Inst::kIdMovsd : x86::Inst::kIdMovups;
}

} // namespace

void Emitter::emit_VLoad(const Inst& inst) {
    if (!inst.d.is_xmm()) return interpret(inst);
    access_memory(inst, inst.size, Access::Read, &Emitter::vload_op);
}

void Emitter::vload_op(const Inst& inst, const Mem& m) {
    a.emit(move_of(inst.size), x86::xmm(inst.d.index()), m);
}

void Emitter::vstore_op(const Inst& inst, const Mem& m) {
    a.emit(move_of(inst.size), m, x86::xmm(inst.a.index()));
}
void Emitter::emit_VStore(const Inst& inst) {
    if (!inst.a.is_xmm()) return interpret(inst);
    access_memory(inst, inst.size, Access::Write, &Emitter::vstore_op);
}

// An XMM register, or a general one in its register or in R14.
Operand Emitter::vector_source(const Inst& inst, unsigned size) {
    if (inst.a.is_xmm()) return x86::xmm(inst.a.index());
    if (inst.a.is_imm()) return imm(u8(inst.imm)); // PSLLW xmm, imm8
    return gp(value(inst.a, 8, inst.imm, host::address), size);
}

void Emitter::emit_Vec(const Inst& inst) {
    const ir::VecOp& op = ir::vec_op(inst.vec);
    if (op.numeric && block_->simd_unmasked)
        return interpret(inst); // which raises #XM before anything changes
    const InstId id = inst.vec < vec_ids_.size() ? vec_ids_[inst.vec] : InstId(0);
    const bool operands = (inst.d.is_xmm() || inst.d.is_reg()) &&
                          (inst.from_memory || inst.a.is_xmm() || inst.a.is_reg() || inst.a.is_imm());
    const bool by_count = inst.a.is_imm() || (inst.a.is_none() && op.has_imm); // PSRLW xmm, imm8; PSLLDQ
    if (id && by_count && inst.d.is_xmm() && !inst.from_memory) {
        a.emit(id, x86::xmm(inst.d.index()), imm(u8(inst.imm)));
        return;
    }
    if (!id || !operands) return interpret(inst);
    const unsigned size = inst.size == 8 ? 8 : 4; // of a general register
    const bool sets_flags = op.flags != 0;

    Operand from;
    Label back;
    if (inst.from_memory) {
        back = a.newLabel();
        from = check_or_interpret(inst, ir::vec_source_bytes(inst), Access::Read, op.aligned, back);
    } else {
        from = vector_source(inst, size);
    }

    const FlagsAt before = at_;
    if (sets_flags) guest_flags(inst);
    const bool to_general = !inst.d.is_xmm();
    const bool straight = to_general && in_register(inst.d);
    const Operand to = to_general ? Operand(gp(straight ? host_of(inst.d) : host::scratch, size))
                                  : Operand(x86::xmm(inst.d.index()));
    // Not every form that the frontend may name exists by that name: the interpreter takes those.
    may_fail_ = true;
    const asmjit::Error error = op.has_imm ? a.emit(id, to, from, imm(u8(inst.imm))) : a.emit(id, to, from);
    may_fail_ = false;
    if (error) {
        at_ = before;
        interpret(inst);
        if (inst.from_memory) a.bind(back);
        return;
    }
    if (to_general && !straight) define(inst.d, size, host::scratch);
    if (!inst.from_memory) return;
    if (sets_flags && needed_after_) { // the slow way comes back with saved flags
        save_flags();
        at_ = FlagsAt::Saved;
    }
    a.bind(back);
}

} // namespace dragoman::backend
