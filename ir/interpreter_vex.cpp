// VEX instructions: operands, memory, and what of them the host's instruction does not do here.
#include "ir/memory.h"
#include "ir/numeric.h"
#include "ir/operands.h"
#include "ir/vex.h"
#include "ir/vex_host.h"

#include <algorithm>
#include <cstring>

namespace dragoman::ir {

namespace {

void read_operand(Context& ctx, Ref r, unsigned n, VexOperands& to) {
    if (r.is_xmm())
        std::memcpy(to.vector[n], ctx.vec[r.index()], sizeof to.vector[n]);
    else if (r.is_reg())
        to.general[n / 2] = reg(ctx, r);
}

// Calls `each` with the offset of every element of [mem] that the mask in `a` chooses, until it returns
// false.
template <class F> bool chosen_elements(const VexOperands& o, const Inst& inst, F each) {
    const unsigned bytes = vex_op(inst.vec).masked;
    for (unsigned at = 0; at < inst.size; at += bytes)
        if ((o.vector[1][at + bytes - 1] & 0x80) && !each(at)) return false;
    return true;
}

// The memory operand that is read, into `o`. False: its access faulted.
bool load(Context& ctx, const Inst& inst, const VexOp& op, VexOperands& o) {
    const u64 linear = linear_address(ctx, inst.mem);
    const auto piece = [&](unsigned at, unsigned bytes) {
        const u8* host = ctx.memory->acquire(ctx, linear + at, bytes, Access::Read);
        if (host) std::memcpy(o.vector[2] + at, host, bytes);
        return host != nullptr;
    };
    if (op.masked) return chosen_elements(o, inst, [&](unsigned at) { return piece(at, op.masked); });
    const unsigned bytes = vex_memory_bytes(inst);
    if (op.aligned && (linear & (bytes - 1))) return raise_fault(ctx, kVectorGP, true);
    if (!piece(0, bytes)) return false;
    std::memcpy(&o.general[1], o.vector[2], 8); // for an instruction that takes a general register
    // VINSERTPS picks any element of a register, but memory has only the one; so it is with a broadcast one.
    if (bytes == 4)
        for (unsigned n = 4; n < 16; n += 4)
            std::memcpy(o.vector[2] + n, o.vector[2], 4);
    return true;
}

// Stores the memory operand. False: faulted, nothing is stored.
bool store(Context& ctx, const Inst& inst, const VexOp& op, const VexOperands& o) {
    const u64 linear = linear_address(ctx, inst.mem);
    const unsigned bytes = vex_memory_bytes(inst);
    if (op.aligned && (linear & (bytes - 1))) return raise_fault(ctx, kVectorGP, true);
    const auto piece = [&](unsigned at, unsigned size, Access access) {
        u8* host = ctx.memory->acquire(ctx, linear + at, size, access);
        if (!host) return false;
        if (access == Access::Write) std::memcpy(host, o.stored + at, size);
        ctx.memory->commit(ctx);
        return true;
    };
    if (!op.masked) return piece(0, bytes, Access::Write);
    const auto elements = [&](Access access) {
        return chosen_elements(o, inst, [&](unsigned at) { return piece(at, op.masked, access); });
    };
    // The second page may fault, too: none is stored until all can be.
    const bool crosses = (linear ^ (linear + bytes - 1)) >> 12;
    return (!crosses || elements(Access::ReadWrite)) && elements(Access::Write);
}

void write_result(Context& ctx, const Inst& inst, const VexOp& op, const VexOperands& o) {
    if (const unsigned bytes = vex_vector_bytes(op.operands[0], inst.size)) {
        u8* d = ctx.vec[inst.d.index()];
        std::memset(d + bytes, 0, sizeof ctx.vec[0] - bytes);
        std::memcpy(d, o.vector[0], bytes);
    } else {
        const bool wide = op.operands[0] == VexOperand::Reg64 ||
                          (op.operands[0] == VexOperand::RegSized && inst.size2 == 8);
        write(ctx, inst.d, wide ? 8 : 4, o.general[0]);
    }
}

// VCVTPS2PH knows no flushing to zero, which run_numeric() sees tiny results by (SDM vol. 2, VCVTPS2PH).
bool unmasked_tiny_half(const Context& ctx, const Inst& inst, const VexOp& op, const VexOperands& o) {
    constexpr u32 underflow_mask = 1u << 11;
    if ((ctx.mxcsr & underflow_mask) || op.mnemonic != "vcvtps2ph") return false;
    const u8* result = op.stores() ? o.stored : o.vector[0];
    for (unsigned at = 0; at < inst.size / 2u; at += 2) {
        const unsigned half = result[at] | result[at + 1] << 8;
        if (!(half & 0x7c00) && (half & 0x3ff)) return true;
    }
    return false;
}

} // namespace

bool run_Vex(Context& ctx, const Inst& inst) {
#if defined(__x86_64__)
    const VexOp& op = vex_op(inst.vec);
    VexOperands o{};
    read_operand(ctx, inst.d, 0, o);
    read_operand(ctx, inst.a, 1, o);
    read_operand(ctx, inst.b, 2, o);
    read_operand(ctx, inst.c, 3, o);
    if (inst.from_memory && !op.stores() && !load(ctx, inst, op, o)) return false;

    const bool sized =
        std::any_of(op.operands, op.operands + 4, [](VexOperand k) { return k == VexOperand::RegSized; });
    const u8* code = op.code[sized ? inst.size2 == 8 : inst.size == 32];
    if (op.has_imm()) code += u8(inst.imm) * vex_code_stride;
    const VexOperands before = o;
    const auto run = [&] {
        o = before;
        dragoman_vex_run(&o, code);
    };
    if (!op.numeric)
        run();
    else if (!run_numeric(ctx, run))
        return raise_fault(ctx, kVectorXM, false);
    if (op.numeric && unmasked_tiny_half(ctx, inst, op, o)) {
        ctx.mxcsr |= 1u << 4; // UE
        return raise_fault(ctx, kVectorXM, false);
    }

    if (op.flags) ctx.flags = Flags(o.flags) & kAllFlags;
    if (op.stores()) return store(ctx, inst, op, o); // processors keep the exception flags when it faults
    if (op.writes_d) write_result(ctx, inst, op, o);
    return true;
#else
    static_cast<void>(ctx), static_cast<void>(inst);
    DRAGOMAN_ASSERT(!"VEX instructions need an x86-64 host");
    return false;
#endif
}

bool run_ClearUpper(Context& ctx, const Inst& inst) {
    for (unsigned n = 0; n < inst.size; ++n)
        std::memset(ctx.vec[n] + inst.imm, 0, sizeof ctx.vec[n] - std::size_t(inst.imm));
    return true;
}

} // namespace dragoman::ir
