// The dispatch table and the ops without memory. Memory ops are in interpreter_memory.cpp, vectors in
// interpreter_vec.cpp, the arithmetic itself in alu.h.
#include "ir/interpreter.h"

#include "ir/alu.h"
#include "ir/operands.h"
#include "ir/passes/passes.h"

#include <atomic>
#include <cstring>

namespace dragoman::ir {

namespace {

using RunFn = bool (*)(Context& ctx, const Inst& inst);
constexpr RunFn table[] = {
#define OP(name, ...) run_##name,
#include "ir/ops.inc"
#undef OP
};

// ---- arithmetic by form
bool alu_dab(Context& ctx, const Inst& inst) {
    const u64 a = read(ctx, inst.a, inst.size, inst.imm), b = read(ctx, inst.b, inst.size, inst.imm);
    write(ctx, inst.d, inst.size, alu_function(inst.op, inst.size)(a, b, 0, ctx.flags));
    return true;
}
bool alu_ab(Context& ctx, const Inst& inst) {
    const u64 a = read(ctx, inst.a, inst.size, inst.imm), b = read(ctx, inst.b, inst.size, inst.imm);
    alu_function(inst.op, inst.size)(a, b, 0, ctx.flags);
    return true;
}
bool alu_da(Context& ctx, const Inst& inst) {
    const u64 a = read(ctx, inst.a, inst.size, inst.imm);
    write(ctx, inst.d, inst.size, alu_function(inst.op, inst.size)(a, 0, 0, ctx.flags));
    return true;
}
bool alu_dabc(Context& ctx, const Inst& inst) {
    const u64 a = read(ctx, inst.a, inst.size, inst.imm), b = read(ctx, inst.b, inst.size, inst.imm);
    const u64 c = read(ctx, inst.c, inst.size, inst.imm);
    write(ctx, inst.d, inst.size, alu_function(inst.op, inst.size)(a, b, c, ctx.flags));
    return true;
}
bool shift(Context& ctx, const Inst& inst) {
    if (flags_settled(inst)) ctx.flags = kSettled;
    return info(inst.op).form == Form::DABC ? alu_dabc(ctx, inst) : alu_dab(ctx, inst);
}
bool multiply(Context& ctx, const Inst& inst) {
    const u64 b = read(ctx, inst.a, inst.size, inst.imm);
    const Wide r = multiply_wide(inst.op, inst.size, ctx.gpr[0] & size_mask(inst.size), b, ctx.flags);
    if (inst.size == 1) {
        write(ctx, kRax, 2, r.lo);
    } else {
        write(ctx, kRax, inst.size, r.lo);
        write(ctx, kRdx, inst.size, r.hi);
    }
    return true;
}
bool divide(Context& ctx, const Inst& inst) {
    const u64 b = read(ctx, inst.a, inst.size, inst.imm);
    Wide value{ctx.gpr[0] & size_mask(inst.size == 1 ? 2 : inst.size), ctx.gpr[2] & size_mask(inst.size)};
    if (!divide_wide(inst.op, inst.size, value, b, ctx.flags)) return raise_fault(ctx, kVectorDE, false);
    if (inst.size == 1) {
        write(ctx, kRax, 2, value.lo | value.hi << 8);
    } else {
        write(ctx, kRax, inst.size, value.lo);
        write(ctx, kRdx, inst.size, value.hi);
    }
    return true;
}
bool multiply_without_flags(Context& ctx, const Inst& inst) {
    const u64 a = read(ctx, inst.a, inst.size, inst.imm);
    Flags unused = 0;
    const Wide r = multiply_wide(Op::MulWide, inst.size, ctx.gpr[2] & size_mask(inst.size), a, unused);
    write(ctx, inst.c, inst.size, r.lo);
    write(ctx, inst.d, inst.size, r.hi);
    return true;
}
// BSF, BSR: a source of 0 leaves all 64 bits of a 32-bit destination alone.
bool scan(Context& ctx, const Inst& inst) {
    const u64 a = read(ctx, inst.a, 8, inst.imm), b = read(ctx, inst.b, inst.size, inst.imm);
    const u64 r = alu_function(inst.op, inst.size)(a, b, 0, ctx.flags);
    write(ctx, inst.d, b == 0 && inst.size == 4 ? 8 : inst.size, b == 0 ? a : r);
    return true;
}

// ---- leaving
bool leave(Context& ctx, u64 rip, bool poll_point) {
    const bool poll =
        poll_point && (std::atomic_ref(ctx.poll).load(std::memory_order_relaxed) || ctx.budget < 0);
    ctx.rip = rip;
    ctx.exit = poll ? Exit::Event : Exit::Lookup;
    return false;
}
bool leave_direct(Context& ctx, u64 rip) {
    return leave(ctx, rip, rip <= ctx.rip);
}

} // namespace

#define ARITHMETIC(name, form)                                                                               \
    bool run_##name(Context& ctx, const Inst& inst) {                                                        \
        return form(ctx, inst);                                                                              \
    }
ARITHMETIC(Add, alu_dab)
ARITHMETIC(Or, alu_dab)
ARITHMETIC(Adc, alu_dab)
ARITHMETIC(Sbb, alu_dab)
ARITHMETIC(And, alu_dab)
ARITHMETIC(Sub, alu_dab)
ARITHMETIC(Xor, alu_dab)
ARITHMETIC(Cmp, alu_ab)
ARITHMETIC(Test, alu_ab)
ARITHMETIC(Inc, alu_da)
ARITHMETIC(Dec, alu_da)
ARITHMETIC(Neg, alu_da)
ARITHMETIC(Not, alu_da)
ARITHMETIC(Imul, alu_dab)
ARITHMETIC(MulWide, multiply)
ARITHMETIC(ImulWide, multiply)
ARITHMETIC(DivWide, divide)
ARITHMETIC(IdivWide, divide)
ARITHMETIC(Shl, shift)
ARITHMETIC(Shr, shift)
ARITHMETIC(Sar, shift)
ARITHMETIC(Rol, alu_dab)
ARITHMETIC(Ror, alu_dab)
ARITHMETIC(Rcl, alu_dab)
ARITHMETIC(Rcr, alu_dab)
ARITHMETIC(Shld, shift)
ARITHMETIC(Shrd, shift)
ARITHMETIC(Bt, alu_ab)
ARITHMETIC(Bts, alu_dab)
ARITHMETIC(Btr, alu_dab)
ARITHMETIC(Btc, alu_dab)
ARITHMETIC(Bsf, scan)
ARITHMETIC(Bsr, scan)
ARITHMETIC(Popcnt, alu_da)
ARITHMETIC(Tzcnt, alu_da)
ARITHMETIC(Lzcnt, alu_da)
ARITHMETIC(Andn, alu_dab)
ARITHMETIC(Bextr, alu_dab)
ARITHMETIC(Bzhi, alu_dab)
ARITHMETIC(Blsi, alu_da)
ARITHMETIC(Blsmsk, alu_da)
ARITHMETIC(Blsr, alu_da)
ARITHMETIC(Pdep, alu_dab)
ARITHMETIC(Pext, alu_dab)
ARITHMETIC(Rorx, alu_dab)
ARITHMETIC(Sarx, alu_dab)
ARITHMETIC(Shlx, alu_dab)
ARITHMETIC(Shrx, alu_dab)
ARITHMETIC(Adcx, alu_dab)
ARITHMETIC(Adox, alu_dab)
ARITHMETIC(Mulx, multiply_without_flags)
#undef ARITHMETIC

bool run_Crc32(Context& ctx, const Inst& inst) {
    const u64 crc = read(ctx, inst.a, 4, inst.imm), data = read(ctx, inst.b, inst.size, inst.imm);
    write(ctx, inst.d, 4, crc32c(u32(crc), data, inst.size));
    return true;
}

// ---- moving
bool run_Mov(Context& ctx, const Inst& inst) {
    write(ctx, inst.d, inst.size, read(ctx, inst.a, inst.size, inst.imm));
    return true;
}
bool run_Zext(Context& ctx, const Inst& inst) {
    write(ctx, inst.d, inst.size2, read(ctx, inst.a, inst.size, inst.imm));
    return true;
}
bool run_Sext(Context& ctx, const Inst& inst) {
    write(ctx, inst.d, inst.size2, u64(sign_extend(read(ctx, inst.a, inst.size, inst.imm), inst.size)));
    return true;
}
bool run_ExtHi(Context& ctx, const Inst& inst) {
    write(ctx, inst.d, 1, reg(ctx, inst.a) >> 8);
    return true;
}
bool run_InsHi(Context& ctx, const Inst& inst) {
    const u64 value = read(ctx, inst.a, 1, inst.imm);
    u64& d = reg(ctx, inst.d);
    d = (d & ~u64{0xff00}) | value << 8;
    return true;
}
bool run_Lea(Context& ctx, const Inst& inst) {
    write(ctx, inst.d, inst.size, effective_address(ctx, inst.mem));
    return true;
}
bool run_Bswap(Context& ctx, const Inst& inst) {
    const u64 a = read(ctx, inst.a, inst.size, inst.imm);
    write(ctx, inst.d, inst.size, __builtin_bswap64(a) >> (64 - inst.size * 8));
    return true;
}
bool run_LoadState(Context& ctx, const Inst& inst) {
    u64 value = 0;
    std::memcpy(&value, reinterpret_cast<const u8*>(&ctx) + inst.imm, inst.size);
    write(ctx, inst.d, 8, value);
    return true;
}
bool run_TimeStamp(Context& ctx, const Inst& inst) {
    write(ctx, inst.d, 8, ctx.time.at(host_counter()));
    return true;
}
bool run_StoreState(Context& ctx, const Inst& inst) {
    const u64 value = read(ctx, inst.a, inst.size, inst.imm2);
    std::memcpy(reinterpret_cast<u8*>(&ctx) + inst.imm, &value, inst.size);
    return true;
}

// ---- conditions
bool run_Cmov(Context& ctx, const Inst& inst) {
    const u64 a = read(ctx, inst.a, inst.size, inst.imm);
    if (holds(inst.cond, ctx.flags))
        write(ctx, inst.d, inst.size, a);
    else if (inst.size == 4)
        write(ctx, inst.d, 4, reg(ctx, inst.d));
    return true;
}
bool run_Setcc(Context& ctx, const Inst& inst) {
    write(ctx, inst.d, 1, holds(inst.cond, ctx.flags));
    return true;
}
bool run_GetFlags(Context& ctx, const Inst& inst) {
    write(ctx, inst.d, inst.size, ctx.flags & kAllFlags);
    return true;
}
bool run_SetFlags(Context& ctx, const Inst& inst) {
    const Flags mask = Flags(inst.imm) & kAllFlags;
    ctx.flags = (ctx.flags & ~mask) | (Flags(read(ctx, inst.a, 8, inst.imm2)) & mask);
    return true;
}
bool run_Cmc(Context& ctx, const Inst&) {
    ctx.flags ^= kCF;
    return true;
}
bool run_Clc(Context& ctx, const Inst&) {
    ctx.flags &= ~kCF;
    return true;
}
bool run_Stc(Context& ctx, const Inst&) {
    ctx.flags |= kCF;
    return true;
}

// ---- calls, boundaries, ends
bool run_Call(Context& ctx, const Inst& inst) {
    const u64 a = inst.a.is_none() ? 0 : read(ctx, inst.a, 8, inst.imm);
    const u64 b = inst.b.is_none() ? 0 : read(ctx, inst.b, 8, inst.imm);
    const u64 result = inst.helper->fn(ctx, a, b, u64(inst.imm));
    if (ctx.exit != Exit::None) return false;
    if (!inst.d.is_none()) write(ctx, inst.d, 8, result);
    return true;
}
bool run_X87(Context& ctx, const Inst& inst) {
    const u64 a = inst.from_memory   ? linear_address(ctx, inst.mem)
                  : inst.a.is_none() ? 0
                                     : read(ctx, inst.a, 8, 0);
    inst.helper->fn(ctx, a, 0, u64(inst.imm));
    return ctx.exit == Exit::None;
}
bool run_X87Status(Context& ctx, const Inst& inst) {
    write(ctx, inst.d, 2, ctx.fpu.status | u64{ctx.fpu.top} << 11);
    return true;
}
bool run_Insn(Context& ctx, const Inst& inst) {
    DRAGOMAN_ASSERT(ctx.interpreted_block);
    const Block& block = *ctx.interpreted_block;
    ctx.rip = (block.pc + u64(inst.imm)) & low_mask(block.mode_bits == 64 ? 64 : 32);
    ++ctx.interpreted_instruction;
    return true;
}
bool run_PollIntr(Context& ctx, const Inst& inst) {
    const bool poll = std::atomic_ref(ctx.poll).load(std::memory_order_relaxed) ||
                      (ctx.interrupt_line && ctx.interrupt_flag);
    if (!poll) return true;
    ctx.rip = u64(inst.imm);
    ctx.exit = Exit::Event;
    return false;
}
bool run_Jump(Context& ctx, const Inst& inst) {
    return leave_direct(ctx, u64(inst.imm));
}
bool run_Branch(Context& ctx, const Inst& inst) {
    return leave_direct(ctx, u64(holds(inst.cond, ctx.flags) ? inst.imm : inst.imm2));
}
bool run_BranchOut(Context& ctx, const Inst& inst) {
    return !holds(inst.cond, ctx.flags) || leave_direct(ctx, u64(inst.imm));
}
bool run_BranchNz(Context& ctx, const Inst& inst) {
    return leave_direct(ctx, u64(read(ctx, inst.a, inst.size, 0) ? inst.imm : inst.imm2));
}
bool run_JumpInd(Context& ctx, const Inst& inst) {
    return leave(ctx, read(ctx, inst.a, 8, inst.imm), true);
}
bool run_JumpOut(Context& ctx, const Inst& inst) {
    if (read(ctx, inst.a, 8, inst.imm2) == u64(inst.imm)) return true;
    --ctx.interpreted_instruction; // it has not retired
    return leave(ctx, ctx.rip, false);
}
bool run_ExitTo(Context& ctx, const Inst& inst) {
    ctx.rip = u64(inst.imm);
    if (ctx.exit == Exit::None) ctx.exit = Exit::Lookup;
    return false;
}
bool run_ExitHere(Context& ctx, const Inst&) {
    if (ctx.exit == Exit::None) ctx.exit = Exit::Lookup;
    return false;
}

void interpret(Context& ctx, const Block& block) {
    ctx.exit = Exit::None;
    ctx.host_return = 0;
    ctx.interpreted_block = &block;
    ctx.interpreted_instruction = ~u32{0}; // the first Insn makes it 0
    ctx.budget -= block.guest_instructions;
    for (const Inst& inst : block.insts)
        if (!table[u8(inst.op)](ctx, inst)) break;
    DRAGOMAN_ASSERT(ctx.exit != Exit::None);
    ctx.interpreted_block = nullptr;
}

bool execute(Context& ctx, const Inst& inst) {
    return table[u8(inst.op)](ctx, inst);
}

} // namespace dragoman::ir
