// Vector ops: operands, memory sources, MXCSR and the MMX registers. What each instruction computes is in
// ir/vec.cpp.
#include "ir/memory.h"
#include "ir/numeric.h"
#include "ir/operands.h"
#include "ir/vec.h"

#include <algorithm>
#include <cstring>

namespace dragoman::ir {

namespace {

// An MMX instruction makes TOP 0 and all tags valid (SDM vol. 1, 9.5.1); st[] is relative to TOP, so it
// turns.
void enter_mmx(Context& ctx) {
    u8* st = ctx.fpu.st[0];
    std::rotate(st, st + ((8 - ctx.fpu.top) & 7) * sizeof ctx.fpu.st[0], st + sizeof ctx.fpu.st);
    ctx.fpu.top = 0;
    ctx.fpu.tag = 0xff;
}

bool uses_mmx(const Inst& inst) {
    return inst.d.is_mm() || inst.a.is_mm();
}

Vec128 read_vec(Context& ctx, Ref r) {
    Vec128 v{};
    if (r.is_xmm())
        std::memcpy(v.bytes, ctx.vec[r.index()], 16);
    else if (r.is_mm())
        std::memcpy(v.bytes, ctx.fpu.st[r.index() & 7], 8);
    else if (r.is_reg())
        std::memcpy(v.bytes, &reg(ctx, r), 8);
    return v;
}

void write_vec(Context& ctx, Ref d, const Vec128& v, unsigned size) {
    if (d.is_xmm()) {
        std::memcpy(ctx.vec[d.index()], v.bytes, 16);
    } else if (d.is_mm()) { // exponent and sign become ones
        std::memcpy(ctx.fpu.st[d.index() & 7], v.bytes, 8);
        std::memset(ctx.fpu.st[d.index() & 7] + 8, 0xff, 2);
    } else if (d.is_reg()) {
        u64 value;
        std::memcpy(&value, v.bytes, 8);
        write(ctx, d, size == 8 ? 8 : 4, value);
    }
}

// The value of the source. False: its access faulted.
bool read_source(Context& ctx, const Inst& inst, const VecOp& op, Vec128& s) {
    if (!inst.from_memory) {
        if (inst.a.is_imm())
            s.bytes[0] = u8(inst.imm); // a shift's count
        else
            s = read_vec(ctx, inst.a);
        return true;
    }
    const u64 linear = linear_address(ctx, inst.mem);
    const bool mmx = inst.d.is_mm() && op.mmx;
    if (op.aligned && !mmx && (linear & 15)) return raise_fault(ctx, kVectorGP, true);
    const unsigned bytes = vec_source_bytes(inst);
    const u8* host = ctx.memory->acquire(ctx, linear, bytes, Access::Read);
    if (!host) return false;
    std::memcpy(s.bytes, host, bytes);
    // INSERTPS picks any element of a register, but memory has only the one.
    if (bytes == 4)
        for (unsigned n = 4; n < 16; n += 4)
            std::memcpy(s.bytes + n, s.bytes, 4);
    return true;
}

} // namespace

bool run_VLoad(Context& ctx, const Inst& inst) {
    const u8* host = ctx.memory->acquire(ctx, linear_address(ctx, inst.mem), inst.size, Access::Read);
    if (!host) return false;
    Vec128 v{};
    std::memcpy(v.bytes, host, inst.size);
    if (uses_mmx(inst)) enter_mmx(ctx);
    write_vec(ctx, inst.d, v, 8);
    return true;
}

bool run_VStore(Context& ctx, const Inst& inst) {
    u8* host = ctx.memory->acquire(ctx, linear_address(ctx, inst.mem), inst.size, Access::Write);
    if (!host) return false;
    if (uses_mmx(inst)) enter_mmx(ctx);
    const Vec128 v = read_vec(ctx, inst.a);
    std::memcpy(host, v.bytes, inst.size);
    ctx.memory->commit(ctx);
    return true;
}

bool run_Vec(Context& ctx, const Inst& inst) {
    const VecOp& op = vec_op(inst.vec);
    const bool mmx = uses_mmx(inst);
    if (mmx && !inst.from_memory) enter_mmx(ctx);
    Vec128 s{};
    if (!read_source(ctx, inst, op, s)) return false;
    if (mmx) enter_mmx(ctx);
    Vec128 d = read_vec(ctx, inst.d);
    const bool all_mmx = mmx && op.mmx && !inst.d.is_xmm() && !inst.a.is_xmm();
    const VecFn fn = all_mmx ? op.mmx : op.fn;
    if (!op.numeric) {
        fn(ctx, d, s, u8(inst.imm), inst.size);
    } else {
        const Flags before = ctx.flags;
        const Vec128 old = d;
        const auto compute = [&] {
            d = old;
            fn(ctx, d, s, u8(inst.imm), inst.size);
        };
        if (!run_numeric(ctx, compute)) {
            ctx.flags = before;
            return raise_fault(ctx, kVectorXM, false);
        }
    }
    if (op.writes_d) write_vec(ctx, inst.d, d, inst.size);
    return true;
}

} // namespace dragoman::ir
