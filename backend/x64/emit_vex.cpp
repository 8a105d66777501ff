// VEX instructions, emitted as themselves: YMM registers are the host's own, like XMM.
#include "backend/x64/emitter.h"

#include "ir/vex.h"

namespace dragoman::backend {

using namespace asmjit;
using ir::Access;
using ir::VexOperand;

// The host's instruction; `memory` takes the place of the operand that is in memory. Flags are where they
// must be.
void Emitter::vex_op(const Inst& inst, const Mem* memory) {
    const ir::VexOp& op = ir::vex_op(inst.vec);
    const Ref refs[4] = {inst.d, inst.a, inst.b, inst.c};
    Operand operands[4];
    size_t count = 0;
    bool defines = false; // a general register that is not in one of the host's
    unsigned width = 8;
    for (unsigned n = 0; n < 4; ++n) {
        const VexOperand kind = op.operands[n];
        if (kind == VexOperand::None) continue;
        Operand& to = operands[count++];
        if (memory && n == (op.stores() ? 0 : 2)) {
            to = *memory;
            continue;
        }
        switch (kind) {
        case VexOperand::Imm: to = imm(u8(inst.imm)); break;
        case VexOperand::Vector:
            to = inst.size == 32 ? Operand(x86::ymm(refs[n].index())) : Operand(x86::xmm(refs[n].index()));
            break;
        case VexOperand::Half:
        case VexOperand::Xmm: to = x86::xmm(refs[n].index()); break;
        default: {
            const unsigned bytes = kind == VexOperand::Reg32 ? 4 : kind == VexOperand::Reg64 ? 8 : inst.size2;
            if (n != 0) {
                to = gp(value(refs[n], 8, 0, host::address), bytes);
            } else {
                width = bytes;
                defines = !in_register(inst.d);
                to = gp(defines ? host::scratch : host_of(inst.d), bytes);
            }
        }
        }
    }
    if (op.flags) guest_flags(inst);
    a.emitOpArray(vex_ids_[inst.vec], operands, count);
    if (defines) define(inst.d, width, host::scratch);
}

void Emitter::vex_store(const Inst& inst, const Mem& m) {
    vex_op(inst, &m);
}

void Emitter::emit_Vex(const Inst& inst) {
    const ir::VexOp& op = ir::vex_op(inst.vec);
    if (op.numeric && block_->simd_unmasked)
        return interpret(inst); // which raises #XM before anything changes
    if (!inst.from_memory) return vex_op(inst, nullptr);

    const unsigned bytes = ir::vex_memory_bytes(inst);
    const bool stores_number =
        op.stores() && op.numeric; // the exception flags come up even if the store faults
    if (!op.aligned && !op.masked && !stores_number) {
        if (op.stores()) return write_access(inst, bytes, Access::Write, &Emitter::vex_store);
        Label back;
        const Mem m = begin_read(inst, bytes, false, back);
        return vex_op(inst, &m);
    }
    // A miss or a misaligned operand: the interpreter knows what to raise, and which elements are touched.
    const Label back = a.newLabel();
    const size_t number = out_of_line_.size();
    out_of_line(&Emitter::interpret_slowly, inst);
    const Label slow = out_of_line_[number].entry;
    const Mem m = check(inst, bytes, op.stores() ? Access::Write : Access::Read, op.aligned, slow);
    out_of_line_[number].flags_at = at_;
    out_of_line_[number].back = back;
    if (op.aligned) {
        a.test(x86::r14b, bytes - 1);
        a.jnz(slow);
    }
    vex_op(inst, &m);
    a.bind(back);
}

void Emitter::emit_ClearUpper(const Inst& inst) {
    if (inst.size == 16) {
        inst.imm ? a.vzeroupper() : a.vzeroall();
        return;
    }
    for (unsigned n = 0; n < inst.size; ++n) // outside 64-bit mode the other registers keep what they hold
        if (inst.imm)
            a.vmovaps(x86::xmm(n), x86::xmm(n));
        else
            a.vpxor(x86::xmm(n), x86::xmm(n), x86::xmm(n));
}

} // namespace dragoman::backend
