// VEX and EVEX instructions, emitted as themselves: the first 16 vector registers are the host's own, like
// XMM. The others and the opmask registers live in Context; the host's are loaded for each instruction that
// names them.
#include "backend/x64/emitter.h"

#include "ir/vex.h"

#include <bit>

namespace dragoman::backend {

using namespace asmjit;
using ir::Access;
using ir::Context;
using ir::VexOperand;

namespace {

constexpr unsigned kPinned = 16; // vector registers

x86::Vec vector(unsigned n, unsigned bytes) {
    return bytes == 64 ? x86::Vec(x86::zmm(n)) : bytes == 32 ? x86::Vec(x86::ymm(n)) : x86::Vec(x86::xmm(n));
}
x86::Mem vector_slot(unsigned n) {
    return in_context(i64(offsetof(Context, vec) + sizeof(Context::vec[0]) * n), sizeof(Context::vec[0]));
}
x86::Mem opmask_slot(unsigned n) {
    return in_context(i64(offsetof(Context, opmask) + sizeof(Context::opmask[0]) * n), 8);
}

InstOptions options_of(const ir::Inst& inst) {
    InstOptions options = inst.zeroing ? InstOptions::kX86_ZMask : InstOptions::kNone;
    switch (inst.rounding) {
    case ir::Rounding::Mxcsr: return options;
    case ir::Rounding::Suppress: return options | InstOptions::kX86_SAE;
    case ir::Rounding::Nearest: return options | InstOptions::kX86_ER | InstOptions::kX86_RN_SAE;
    case ir::Rounding::Down: return options | InstOptions::kX86_ER | InstOptions::kX86_RD_SAE;
    case ir::Rounding::Up: return options | InstOptions::kX86_ER | InstOptions::kX86_RU_SAE;
    case ir::Rounding::Zero: return options | InstOptions::kX86_ER | InstOptions::kX86_RZ_SAE;
    }
    return options;
}

// The memory operand with {1toN}.
x86::Mem broadcasting(const x86::Mem& memory, ir::Inst inst) {
    const unsigned one = ir::vex_memory_bytes(inst);
    inst.broadcast = false;
    x86::Mem m = memory;
    m.setSize(one);
    m.setBroadcast(x86::Mem::Broadcast(std::countr_zero(ir::vex_memory_bytes(inst) / one)));
    return m;
}

// What asmjit's tables lack.
bool asmjit_refuses(const ir::Inst& inst) {
    const std::string_view mnemonic = ir::vex_op(inst.vec).mnemonic;
    return (inst.broadcast && mnemonic.starts_with("vgf2p8affine")) ||
           (inst.rounding != ir::Rounding::Mxcsr && mnemonic.starts_with("vreduce"));
}

} // namespace

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
            to = inst.broadcast ? broadcasting(*memory, inst) : *memory;
            continue;
        }
        switch (kind) {
        case VexOperand::Imm: to = imm(u8(inst.imm)); break;
        case VexOperand::Vector:
        case VexOperand::Half:
        case VexOperand::Xmm: {
            const unsigned bytes = ir::vex_vector_bytes(kind, inst.size), number = refs[n].index();
            to = vector(number, bytes);
            const bool merges = !inst.mask.is_none() && !inst.zeroing;
            if (number >= kPinned && (n != 0 || op.reads_d || merges))
                a.vmovaps(x86::zmm(number),
                          vector_slot(number)); // whole: it may be there twice, in two lengths
            break;
        }
        case VexOperand::Opmask:
            to = x86::k(2 + n);
            if (n != 0 || !op.writes_d) a.kmovq(x86::k(2 + n), opmask_slot(refs[n].index()));
            break;
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
    if (!inst.mask.is_none()) {
        a.kmovq(x86::k1, opmask_slot(inst.mask.index()));
        a.setExtraReg(x86::k1);
    }
    a.addInstOptions(options_of(inst));
    a.emitOpArray(vex_ids_[inst.vec], operands, count);
    if (!op.writes_d) return;
    if (inst.d.is_opmask())
        a.kmovq(opmask_slot(inst.d.index()), x86::k2);
    else if (inst.d.is_xmm() && inst.d.index() >= kPinned)
        a.vmovaps(vector_slot(inst.d.index()), x86::zmm(inst.d.index()));
    else if (defines)
        define(inst.d, width, host::scratch);
}

void Emitter::vex_memory(const Inst& inst, const Mem& m) {
    vex_op(inst, &m);
}

bool Emitter::vex_by_interpreter(const Inst& inst) const {
    // #XM is raised before anything changes
    return (ir::vex_op(inst.vec).numeric && block_->simd_unmasked) || asmjit_refuses(inst);
}

bool Emitter::vex_is_partial(const Inst& inst) {
    const ir::VexOp& op = ir::vex_op(inst.vec);
    const bool stores_number =
        op.stores() && op.numeric; // the exception flags come up even if the store faults
    return ir::vex_spares_memory(inst) || (op.stores() && !inst.mask.is_none()) || stores_number;
}

void Emitter::emit_Vex(const Inst& inst) {
    const ir::VexOp& op = ir::vex_op(inst.vec);
    if (vex_by_interpreter(inst)) return interpret(inst);
    if (!inst.from_memory) return vex_op(inst, nullptr);

    const unsigned bytes = ir::vex_memory_bytes(inst);
    if (!op.aligned && !vex_is_partial(inst)) {
        return access_memory(inst, bytes, op.stores() ? Access::Write : Access::Read, &Emitter::vex_memory);
    }
    // The interpreter knows what to raise, and which elements are touched.
    const Label back = a.newLabel();
    const Mem m =
        check_or_interpret(inst, bytes, op.stores() ? Access::Write : Access::Read, op.aligned, back);
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
