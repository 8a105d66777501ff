// Reading and writing the operands of IR ops, and address arithmetic: inside the interpreter only.
#pragma once

#include "base/assert.h"
#include "base/bits.h"
#include "ir/inst.h"

namespace dragoman::ir {

// The 64 bits of a GPR or temporary.
inline u64& reg(Context& ctx, Ref r) {
    DRAGOMAN_ASSERT(r.is_reg());
    return r.is_gpr() ? ctx.gpr[r.index()] : ctx.tmp[r.index()];
}

// A source operand cut to `size` bytes; Ref::imm() is `imm`.
inline u64 read(Context& ctx, Ref r, unsigned size, i64 imm) {
    return (r.is_imm() ? u64(imm) : reg(ctx, r)) & size_mask(size);
}

// A result of `size` bytes: 1 and 2 bytes keep the rest of a GPR, everything else is zero-extended.
inline void write(Context& ctx, Ref d, unsigned size, u64 value) {
    u64& r = reg(ctx, d);
    const u64 mask = size_mask(size);
    r = d.is_gpr() && size < 4 ? (r & ~mask) | (value & mask) : value & mask;
}

inline u64 effective_address(Context& ctx, const Address& mem) {
    u64 ea = u64(mem.disp);
    if (!mem.base.is_none()) ea += reg(ctx, mem.base);
    if (!mem.index.is_none()) ea += reg(ctx, mem.index) << mem.scale;
    return ea & size_mask(mem.size);
}

inline u64 linear_address(Context& ctx, const Address& mem) {
    u64 linear = effective_address(ctx, mem);
    if (mem.seg != Seg::None) linear += ctx.seg[u8(mem.seg)].base;
    return linear & size_mask(mem.linear_size);
}

// Records an exception with error code 0; returns false, for the op to return.
inline bool raise_fault(Context& ctx, u8 vector, bool has_error) {
    ctx.fault = {.vector = vector, .has_error = has_error};
    ctx.exit = Exit::Fault;
    return false;
}
inline constexpr u8 kVectorDE = 0, kVectorSS = 12, kVectorGP = 13, kVectorAC = 17, kVectorXM = 19;

// Each op's meaning: false when it left the block.
#define OP(name, ...) bool run_##name(Context& ctx, const Inst& inst);
#include "ir/ops.inc"
#undef OP

} // namespace dragoman::ir
