// VEX and EVEX instructions: operands, memory, and what of them the host's instruction does not do here.
#include "ir/memory.h"
#include "ir/numeric.h"
#include "ir/operands.h"
#include "ir/vex.h"
#include "ir/vex_host.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace dragoman::ir {

namespace {

void read_operand(Context& ctx, Ref r, unsigned n, VexOperands& to) {
    if (r.is_xmm())
        std::memcpy(to.vector[n], ctx.vec[r.index()], sizeof to.vector[n]);
    else if (r.is_opmask())
        to.opmask[n] = ctx.opmask[r.index()];
    else if (r.is_reg())
        to.general[n / 2] = reg(ctx, r);
}

// The elements that the write mask chooses, as bits.
u64 chosen(const VexOperands& o, const Inst& inst) {
    const unsigned elements = vex_elements(inst);
    return elements == 64 ? o.opmask[3] : o.opmask[3] & ((u64{1} << elements) - 1);
}

// Calls `each` with the place in the memory operand, and the bytes, of everything that is touched of it,
// until it returns false.
template <class F> bool touched(const VexOperands& o, const Inst& inst, F each) {
    const VexOp& op = vex_op(inst.vec);
    const unsigned bytes = vex_memory_bytes(inst);
    if (!op.masked && inst.mask.is_none()) return each(0, bytes);
    if (op.masked) { // by the signs of `a`
        for (unsigned at = 0; at < bytes; at += op.masked)
            if ((o.vector[1][at + op.masked - 1] & 0x80) && !each(at, op.masked)) return false;
        return true;
    }
    u64 mask = chosen(o, inst);
    unsigned elements = vex_elements(inst);
    if (inst.broadcast) {
        mask = mask != 0;
        elements = 1;
    } else if (op.contiguous) {
        const int n = std::popcount(mask);
        mask = n == 64 ? ~u64{0} : (u64{1} << n) - 1;
    } else if (op.repeated) { // an element is touched if any of its copies is wanted
        const unsigned different = bytes / op.element;
        for (unsigned n = different; n < elements; n += different)
            mask |= mask >> n;
        elements = different;
    }
    const unsigned size = bytes / elements;
    for (unsigned n = 0; n < elements; ++n)
        if ((mask >> n & 1) && !each(n * size, size)) return false;
    return true;
}

// Is the memory operand not aligned as it must be? Where nothing of it is touched that is no matter.
bool misaligned(const VexOperands& o, const Inst& inst, const VexOp& op, u64 linear) {
    if (!op.aligned || !(linear & (vex_memory_bytes(inst) - 1))) return false;
    return inst.mask.is_none() || chosen(o, inst);
}

// The memory operand that is read, into `o`. False: its access faulted.
bool load(Context& ctx, const Inst& inst, const VexOp& op, VexOperands& o) {
    const u64 linear = linear_address(ctx, inst.mem);
    const unsigned bytes = vex_memory_bytes(inst);
    if (misaligned(o, inst, op, linear)) return raise_fault(ctx, kVectorGP, true);
    const auto piece = [&](unsigned at, unsigned size) {
        const u8* host = ctx.memory->acquire(ctx, linear + at, size, Access::Read);
        if (host) std::memcpy(o.vector[2] + at, host, size);
        return host != nullptr;
    };
    if (!(op.whole ? piece(0, bytes) : touched(o, inst, piece))) return false;
    if (op.operands[2] == VexOperand::Opmask) { // KMOV
        o.opmask[2] = 0;
        std::memcpy(&o.opmask[2], o.vector[2], bytes);
    }
    std::memcpy(&o.general[1], o.vector[2], 8); // for an instruction that takes a general register
    // VINSERTPS picks any element of a register, but memory has only the one; so it is with a broadcast one.
    if (inst.broadcast || bytes == 4)
        for (unsigned at = bytes; at < sizeof o.vector[2]; at += bytes)
            std::memcpy(o.vector[2] + at, o.vector[2], bytes);
    return true;
}

// Stores the memory operand. False: faulted, nothing is stored.
bool store(Context& ctx, const Inst& inst, const VexOp& op, const VexOperands& o) {
    const u64 linear = linear_address(ctx, inst.mem);
    const unsigned bytes = vex_memory_bytes(inst);
    if (misaligned(o, inst, op, linear)) return raise_fault(ctx, kVectorGP, true);
    const auto elements = [&](Access access) {
        return touched(o, inst, [&](unsigned at, unsigned size) {
            u8* host = ctx.memory->acquire(ctx, linear + at, size, access);
            if (!host) return false;
            if (access == Access::Write) std::memcpy(host, o.stored + at, size);
            ctx.memory->commit(ctx);
            return true;
        });
    };
    if (op.whole && !inst.mask.is_none()) {
        if (!ctx.memory->acquire(ctx, linear, bytes, Access::ReadWrite)) return false;
        ctx.memory->commit(ctx);
    }
    // The second page may fault, too: none is stored until all can be.
    const bool crosses = (linear ^ (linear + bytes - 1)) >> 12;
    return (!crosses || !vex_spares_memory(inst) || elements(Access::ReadWrite)) && elements(Access::Write);
}

// What the host's instruction, which merges, left in elements that are masked off.
void zero_elements(const Inst& inst, const VexOp& op, VexOperands& o) {
    const u64 mask = chosen(o, inst);
    // A register that is compressed to the elements side by side.
    const bool compressed = op.contiguous && !op.memory;
    const auto number = unsigned(std::popcount(mask));
    for (unsigned n = 0; n < vex_elements(inst); ++n)
        if (compressed ? n >= number : !(mask >> n & 1))
            std::memset(o.vector[0] + n * op.element, 0, op.element);
}

void write_result(Context& ctx, const Inst& inst, const VexOp& op, const VexOperands& o) {
    if (const unsigned bytes = vex_vector_bytes(op.operands[0], inst.size)) {
        u8* d = ctx.vec[inst.d.index()];
        std::memset(d + bytes, 0, sizeof ctx.vec[0] - bytes);
        std::memcpy(d, o.vector[0], bytes);
    } else if (op.operands[0] == VexOperand::Opmask) {
        ctx.opmask[inst.d.index()] = o.opmask[0];
    } else {
        const bool wide = op.operands[0] == VexOperand::Reg64 ||
                          (op.operands[0] == VexOperand::RegSized && inst.size2 == 8);
        write(ctx, inst.d, wide ? 8 : 4, o.general[0]);
    }
}

// VCVTPS2PH knows no flushing to zero, which run_numeric() sees tiny results by (SDM vol. 2, VCVTPS2PH).
bool tiny_half(const Inst& inst, const VexOp& op, const VexOperands& o) {
    if (op.mnemonic != "vcvtps2ph") return false;
    const u8* result = op.stores() ? o.stored : o.vector[0];
    for (unsigned at = 0; at < inst.size / 2u; at += 2) {
        if (!(o.opmask[3] >> at / 2 & 1)) continue;
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
    o.opmask[3] = inst.mask.is_none() ? ~u64{0} : ctx.opmask[inst.mask.index()];
    if (inst.from_memory && !op.stores() && !load(ctx, inst, op, o)) return false;

    const bool sized =
        std::any_of(op.operands, op.operands + 4, [](VexOperand k) { return k == VexOperand::RegSized; });
    const u8* code = op.code[sized ? inst.size2 == 8 : inst.size / 32];
    if (op.has_imm()) code += u8(inst.imm) * vex_code_stride;
    const auto enter = op.evex || op.names_opmask() ? dragoman_evex_run : dragoman_vex_run;
    const VexOperands before = o;
    const auto run = [&] {
        o = before;
        enter(&o, code);
    };
    const bool suppressed = inst.rounding != Rounding::Mxcsr;
    if (!op.numeric)
        run();
    else if (suppressed)
        run_suppressed(ctx, inst.rounding, run);
    else if (!run_numeric(ctx, run, [&] { return tiny_half(inst, op, o); }))
        return raise_fault(ctx, kVectorXM, false);

    if (inst.zeroing) zero_elements(inst, op, o);
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
