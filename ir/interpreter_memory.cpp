// Ops that access memory or check addresses. Protocol: ir/memory.h.
#include "ir/alu.h"
#include "ir/memory.h"
#include "ir/operands.h"
#include "ir/passes/passes.h"

#include <cstring>

namespace dragoman::ir {

namespace {

u64 get(const u8* from, unsigned size) {
    u64 value = 0;
    std::memcpy(&value, from, size);
    return value;
}

// False: it faulted.
bool load(Context& ctx, const Inst& inst, u64& value) {
    const u8* host = ctx.memory->acquire(ctx, linear_address(ctx, inst.mem), inst.size, Access::Read);
    if (!host) return false;
    value = get(host, inst.size);
    return true;
}

// What a read-modify-write puts in place of `old`.
u64 modified(Context& ctx, const Inst& inst, u64 old, Flags& flags) {
    const u64 a = inst.a.is_none() ? 0 : read(ctx, inst.a, inst.size, inst.imm);
    const u64 c = inst.c.is_none() ? 0 : read(ctx, inst.c, inst.size, inst.imm);
    if (inst.sub == Op::Xchg) return a;
    if (flags_settled(inst)) flags = kSettled;
    return alu_function(inst.sub, inst.size)(old, a, c, flags);
}

// CMPXCHG: the destination is always written, with its old value on a mismatch.
void compare_and_exchange(Context& ctx, const Inst& inst, u8* host) {
    const u64 expected = ctx.gpr[0] & size_mask(inst.size);
    const u64 desired = read(ctx, inst.a, inst.size, inst.imm);
    u64 old = get(host, inst.size);
    if (inst.lock)
        old = compare_exchange(host, inst.size, expected, desired);
    else
        std::memcpy(host, old == expected ? &desired : &old, inst.size);
    alu_function(Op::Cmp, inst.size)(expected, old, 0, ctx.flags);
    if (old != expected) write(ctx, kRax, inst.size, old);
}

// The lowest and highest offset inside a segment (SDM vol. 3, 5.3).
bool inside_limit(const Segment& seg, u64 first, u64 last) {
    const bool expand_down = (seg.attributes & 0x0c) == 0x04;
    if (!expand_down) return last <= seg.limit || (seg.base == 0 && seg.limit == 0xffffffff); // flat: wraps
    const u64 top = seg.attributes & 0x4000 /* B */ ? 0xffffffff : 0xffff;
    return first > seg.limit && last <= top;
}
// By the descriptor's type (SDM vol. 3, 3.4.5.1): data is readable and writable by bit 1, code is never
// writable and readable by bit 1.
bool allowed_by_type(const Segment& seg, Access access) {
    if (access == Access::Any) return true;
    const bool code = seg.attributes & 0x08, bit1 = seg.attributes & 0x02;
    const bool readable = !code || bit1, writable = !code && bit1;
    return access == Access::Read ? readable : writable && (access == Access::Write || readable);
}

} // namespace

bool run_Load(Context& ctx, const Inst& inst) {
    u64 value;
    if (!load(ctx, inst, value)) return false;
    write(ctx, inst.d, inst.size, value);
    return true;
}
bool run_LoadZx(Context& ctx, const Inst& inst) {
    u64 value;
    if (!load(ctx, inst, value)) return false;
    write(ctx, inst.d, inst.size2, value);
    return true;
}
bool run_LoadSx(Context& ctx, const Inst& inst) {
    u64 value;
    if (!load(ctx, inst, value)) return false;
    write(ctx, inst.d, inst.size2, u64(sign_extend(value, inst.size)));
    return true;
}
bool run_Store(Context& ctx, const Inst& inst) {
    const u64 value = read(ctx, inst.a, inst.size, inst.imm);
    u8* host = ctx.memory->acquire(ctx, linear_address(ctx, inst.mem), inst.size, Access::Write);
    if (!host) return false;
    std::memcpy(host, &value, inst.size);
    ctx.memory->commit(ctx);
    return true;
}

bool run_Rmw(Context& ctx, const Inst& inst) {
    u8* host = ctx.memory->acquire(ctx, linear_address(ctx, inst.mem), inst.size, Access::ReadWrite);
    if (!host) return false;
    if (inst.sub == Op::Cmpxchg) {
        compare_and_exchange(ctx, inst, host);
        ctx.memory->commit(ctx);
        return true;
    }
    u64 old = get(host, inst.size);
    Flags flags = ctx.flags;
    u64 value = modified(ctx, inst, old, flags);
    if (inst.lock) { // another vCPU may have stored meanwhile: compute again
        for (u64 seen; (seen = compare_exchange(host, inst.size, old, value)) != old; old = seen) {
            flags = ctx.flags;
            value = modified(ctx, inst, seen, flags);
        }
    } else {
        std::memcpy(host, &value, inst.size);
    }
    ctx.memory->commit(ctx);
    ctx.flags = flags;
    if (!inst.d.is_none()) write(ctx, inst.d, inst.size, old);
    return true;
}

bool run_SegAddr(Context& ctx, const Inst& inst) {
    const Segment& seg = ctx.seg[u8(inst.mem.seg)];
    const u64 offset = effective_address(ctx, inst.mem);
    constexpr u16 present = 0x80; // clear in a segment register loaded with a null selector
    if (!(seg.attributes & present) || !allowed_by_type(seg, Access(inst.imm)) ||
        !inside_limit(seg, offset, offset + inst.size - 1))
        return raise_fault(ctx, inst.mem.seg == Seg::SS ? kVectorSS : kVectorGP, true);
    write(ctx, inst.d, 8, (offset + seg.base) & size_mask(inst.mem.linear_size));
    return true;
}

bool run_CheckAlign(Context& ctx, const Inst& inst) {
    if (linear_address(ctx, inst.mem) & u64(inst.imm)) return raise_fault(ctx, kVectorGP, true);
    return true;
}
bool run_CheckAc(Context& ctx, const Inst& inst) {
    if (linear_address(ctx, inst.mem) & u64(inst.imm)) return raise_fault(ctx, kVectorAC, true);
    return true;
}

// Only as Inst::sub of Rmw; the verifier lets no such op through.
bool run_Xadd(Context&, const Inst&) {
    DRAGOMAN_ASSERT(!"Xadd is not an op of its own");
    return false;
}
bool run_Xchg(Context&, const Inst&) {
    DRAGOMAN_ASSERT(!"Xchg is not an op of its own");
    return false;
}
bool run_Cmpxchg(Context&, const Inst&) {
    DRAGOMAN_ASSERT(!"Cmpxchg is not an op of its own");
    return false;
}

} // namespace dragoman::ir
