// Exchanges: XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B (SDM vol. 1, 5.1.1).
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"

#include "base/bits.h"
#include "frontend/x86/exception.h"
#include "ir/alu.h"
#include "ir/memory.h"

#include <cstring>

namespace dragoman::x86 {

using ir::Flags;
using ir::Op;
using ir::Ref;

bool XCHG(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    if (is_memory(insn, 0) || is_memory(insn, 1)) { // always locked (SDM vol. 3, 9.1.2.1)
        const unsigned m = is_memory(insn, 0) ? 0 : 1, r = 1 - m;
        const Ref source = t.read_reg(insn, r, size);
        const ir::Address a = t.address(insn, m, size, ir::Access::ReadWrite);
        const Ref old = t.ir.temp();
        t.ir.rmw(Op::Xchg, size, a, source, 0, true).d = old;
        t.write(insn, r, size, old);
        return true;
    }
    const Ref first = t.ir.temp();
    t.ir.mov(size, first, t.read_reg(insn, 0, size));
    t.write(insn, 0, size, t.read_reg(insn, 1, size));
    t.write(insn, 1, size, first);
    return true;
}

bool XADD(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref source = t.read_reg(insn, 1, size);
    const Ref old = t.ir.temp();
    if (is_memory(insn, 0)) {
        const ir::Address a = t.address(insn, 0, size, ir::Access::ReadWrite);
        t.ir.rmw(Op::Xadd, size, a, source, 0, insn.lock()).d = old;
        t.write(insn, 1, size, old);
        return true;
    }
    const Ref sum = t.ir.temp();
    t.ir.mov(size, old, t.read_reg(insn, 0, size));
    t.ir.alu(Op::Add, size, sum, old, source);
    t.write(insn, 1, size, old);
    t.write(insn, 0, size, sum); // last: of XADD r, r the sum stays
    return true;
}

namespace {

// CMPXCHG r, r: destination `a`, source `b`, size `imm`; returns the new destination. On a mismatch the
// destination keeps all its 64 bits (observed on processors).
u64 cmpxchg_register(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    const u64 mask = size_mask(unsigned(imm));
    const u64 accumulator = ctx.gpr[0] & mask, old = a & mask;
    ir::alu_function(Op::Cmp, unsigned(imm))(accumulator, old, 0, ctx.flags);
    if (accumulator == old) return b & mask;
    ctx.gpr[0] = imm < 4 ? (ctx.gpr[0] & ~mask) | old : old;
    return a;
}
constexpr ir::Helper cmpxchg_register_info{"cmpxchg", cmpxchg_register, ir::kAllFlags};

void set_pair(ir::Context& ctx, u64 lo, u64 hi) {
    ctx.gpr[0] = lo;
    ctx.gpr[2] = hi;
}

// At linear address `a`.
u64 cmpxchg8b(ir::Context& ctx, u64 a, u64, u64) {
    u8* at = ctx.memory->acquire(ctx, a, 8, ir::Access::ReadWrite);
    if (!at) return 0;
    const u64 expected = u32(ctx.gpr[0]) | ctx.gpr[2] << 32;
    const u64 old = ir::compare_exchange(at, 8, expected, u32(ctx.gpr[3]) | ctx.gpr[1] << 32);
    ctx.memory->commit(ctx);
    ctx.flags = (ctx.flags & ~ir::kZF) | (old == expected ? Flags{ir::kZF} : 0);
    if (old != expected) set_pair(ctx, u32(old), old >> 32);
    return 0;
}
constexpr ir::Helper cmpxchg8b_info{"cmpxchg8b", cmpxchg8b, ir::kZF};

// If [at] == expected, [at] = desired, as one locked access; `expected` receives the old value.
bool compare_exchange_16(u8* at, u64 expected[2], const u64 desired[2]) {
#if defined(__x86_64__)
    bool equal;
    asm volatile("lock cmpxchg16b (%[at])"
                 : "=@ccz"(equal), "+a"(expected[0]), "+d"(expected[1])
                 : [at] "r"(at), "b"(desired[0]), "c"(desired[1])
                 : "memory");
    return equal;
#else
    unsigned __int128 want, put;
    std::memcpy(&want, expected, 16);
    std::memcpy(&put, desired, 16);
    const bool equal = __atomic_compare_exchange_n(reinterpret_cast<unsigned __int128*>(at), &want, put,
                                                   false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    std::memcpy(expected, &want, 16);
    return equal;
#endif
}

u64 cmpxchg16b(ir::Context& ctx, u64 a, u64, u64) {
    if (a & 15) {
        raise(ctx, kGP, 0);
        return 0;
    }
    u8* at = ctx.memory->acquire(ctx, a, 16, ir::Access::ReadWrite);
    if (!at) return 0;
    u64 expected[2] = {ctx.gpr[0], ctx.gpr[2]};
    const u64 desired[2] = {ctx.gpr[3], ctx.gpr[1]};
    // A bounce buffer is aligned too: it stands for whole aligned bytes, or starts at its own beginning.
    alignas(16) u8 copy[16];
    u8* target = at;
    if (reinterpret_cast<u64>(at) & 15) {
        std::memcpy(copy, at, 16);
        target = copy;
    }
    const bool equal = compare_exchange_16(target, expected, desired);
    if (target == copy) std::memcpy(at, copy, 16);
    ctx.memory->commit(ctx);
    ctx.flags = (ctx.flags & ~ir::kZF) | (equal ? Flags{ir::kZF} : 0);
    if (!equal) set_pair(ctx, expected[0], expected[1]);
    return 0;
}
constexpr ir::Helper cmpxchg16b_info{"cmpxchg16b", cmpxchg16b, ir::kZF};

bool compare_pair(Translation& t, const Instruction& insn, unsigned size, const ir::Helper& helper) {
    const ir::Address a = t.address(insn, 0, size, ir::Access::ReadWrite);
    const Ref linear = t.linear(a);
    t.ir.call(helper, {}, linear);
    return true;
}

} // namespace

bool CMPXCHG(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref source = t.read_reg(insn, 1, size);
    if (is_memory(insn, 0)) {
        const ir::Address a = t.address(insn, 0, size, ir::Access::ReadWrite);
        t.ir.rmw(Op::Cmpxchg, size, a, source, 0, insn.lock());
        return true;
    }
    const Ref old = t.read_reg(insn, 0, size), result = t.ir.temp();
    t.ir.call(cmpxchg_register_info, result, old, source, size);
    t.write(insn, 0, size == 4 ? 8 : size, result);
    return true;
}

bool CMPXCHG8B(Translation& t, const Instruction& insn) {
    return compare_pair(t, insn, 8, cmpxchg8b_info);
}
bool CMPXCHG16B(Translation& t, const Instruction& insn) {
    return compare_pair(t, insn, 16, cmpxchg16b_info);
}

} // namespace dragoman::x86
