// Arithmetic and logic. Host instructions keep and set the guest's flags as they are; moves between them use
// no instruction that touches EFLAGS.
#include "backend/x64/emitter.h"

namespace dragoman::backend {

using namespace asmjit;
namespace I = x86::Inst;

// d = a op b
void Emitter::two_operands(InstId id, const Inst& inst, bool commutes) {
    guest_flags(inst);
    const unsigned size = inst.size;
    const Ref d = inst.d;
    Operand b = source(inst.b, size, inst.imm, host::address);
    if (d == inst.a) {
        if (in_register(d)) {
            a.emit(id, gp(host_of(d), size), b);
            return narrow_temp(d, size);
        }
        if (works_in_slot(d, size)) {
            if (b.isMem()) {
                load_value(host::scratch, inst.b, size, 0);
                b = gp(host::scratch, size);
            }
            a.emit(id, slot(d, size), b);
            return;
        }
    } else if (in_register(d) && size >= 4) {
        if (d != inst.b) {
            load_value(host_of(d), inst.a, size, inst.imm);
            a.emit(id, gp(host_of(d), size), b);
            return;
        }
        if (commutes) {
            a.emit(id, gp(host_of(d), size), source(inst.a, size, inst.imm, host::address));
            return;
        }
    }
    load_value(host::scratch, inst.a, size, inst.imm);
    a.emit(id, gp(host::scratch, size), b);
    define(d, size, host::scratch);
}

void Emitter::compare(const Inst& inst) {
    const InstId id = inst.op == ir::Op::Cmp ? I::kIdCmp : I::kIdTest;
    Operand left = source(inst.a, inst.size, inst.imm, host::scratch);
    const Operand right = source(inst.b, inst.size, inst.imm, host::address);
    if (left.isImm() || (left.isMem() && right.isMem())) {
        load_value(host::scratch, inst.a, inst.size, inst.imm);
        left = gp(host::scratch, inst.size);
    }
    if (id == I::kIdTest && right.isMem())
        a.emit(id, right, left); // TEST has its memory operand first
    else
        a.emit(id, left, right);
}

// d = op a
void Emitter::one_operand(InstId id, const Inst& inst) {
    guest_flags(inst);
    const unsigned size = inst.size;
    const Ref d = inst.d;
    if (d == inst.a && in_register(d)) {
        a.emit(id, gp(host_of(d), size));
        return narrow_temp(d, size);
    }
    if (d == inst.a && works_in_slot(d, size)) {
        a.emit(id, slot(d, size));
        return;
    }
    const unsigned at = in_register(d) && size >= 4 ? host_of(d) : host::scratch;
    load_value(at, inst.a, size, inst.imm);
    a.emit(id, gp(at, size));
    if (at == host::scratch) define(d, size, host::scratch);
}

void Emitter::emit_Add(const Inst& inst) {
    two_operands(I::kIdAdd, inst, true);
}
void Emitter::emit_Or(const Inst& inst) {
    two_operands(I::kIdOr, inst, true);
}
void Emitter::emit_Adc(const Inst& inst) {
    two_operands(I::kIdAdc, inst, true);
}
void Emitter::emit_Sbb(const Inst& inst) {
    two_operands(I::kIdSbb, inst, false);
}
void Emitter::emit_And(const Inst& inst) {
    two_operands(I::kIdAnd, inst, true);
}
void Emitter::emit_Sub(const Inst& inst) {
    two_operands(I::kIdSub, inst, false);
}
void Emitter::emit_Xor(const Inst& inst) {
    two_operands(I::kIdXor, inst, true);
}
void Emitter::emit_Cmp(const Inst& inst) {
    guest_flags(inst);
    compare(inst);
}
void Emitter::emit_Test(const Inst& inst) {
    guest_flags(inst);
    compare(inst);
}
void Emitter::emit_Inc(const Inst& inst) {
    one_operand(I::kIdInc, inst);
}
void Emitter::emit_Dec(const Inst& inst) {
    one_operand(I::kIdDec, inst);
}
void Emitter::emit_Neg(const Inst& inst) {
    one_operand(I::kIdNeg, inst);
}
void Emitter::emit_Not(const Inst& inst) {
    one_operand(I::kIdNot, inst);
}

void Emitter::emit_Imul(const Inst& inst) {
    const unsigned size = inst.size;
    if (size == 1) return interpret(inst);
    guest_flags(inst);
    const bool straight = in_register(inst.d) && size >= 4;
    Ref left = inst.a, right = inst.b;
    if (left.is_imm()) std::swap(left, right);
    Operand b = source(right, size, inst.imm, host::address);
    if (b.isImm() && left.is_reg()) {
        const unsigned to = straight ? host_of(inst.d) : host::scratch;
        const Operand from = source(left, size, 0, host::scratch);
        a.emit(I::kIdImul, gp(to, size), from, b);
        if (!straight) define(inst.d, size, host::scratch);
        return;
    }
    if (b.isImm()) {
        load_value(host::address, right, size, inst.imm);
        b = gp(host::address, size);
    }
    const unsigned to = straight && (inst.d == left || inst.d != right) ? host_of(inst.d) : host::scratch;
    if (!(to != host::scratch && inst.d == left)) load_value(to, left, size, inst.imm);
    a.emit(I::kIdImul, gp(to, size), b);
    if (to == host::scratch) define(inst.d, size, host::scratch);
}

// All flags are written, so RAX is free.
void Emitter::multiply(InstId id, const Inst& inst) {
    guest_flags(inst);
    const unsigned guest_rax = host::counted[0];
    const Operand by = register_or_memory(inst.a, inst.size, inst.imm, host::scratch);
    a.mov(x86::rax, gp(guest_rax, 8));
    a.emit(id, by);
    const unsigned result = inst.size == 1 ? 2 : inst.size;
    a.mov(gp(guest_rax, result), gp(host::rax, result));
}
void Emitter::emit_MulWide(const Inst& inst) {
    multiply(I::kIdMul, inst);
}
void Emitter::emit_ImulWide(const Inst& inst) {
    multiply(I::kIdImul, inst);
}

// The host divides only what cannot raise #DE there; the rest is the interpreter's, which raises the guest's.
// Signed: that is when the dividend is no wider than the divisor, and the divisor neither 0 nor -1.
void Emitter::divide(InstId id, const Inst& inst) {
    const bool is_signed = id == I::kIdIdiv;
    const unsigned size = inst.size, guest_rax = host::counted[0];
    static_assert(host::counted[2] == host::rdx);
    clobber(needed_before_);
    const Label back = a.newLabel();
    const Label slow = interpret_out_of_line(inst, back);
    unsigned by = host::address;
    if (is_signed && size < 4) {
        Operand from = source(inst.a, size, inst.imm, host::address);
        if (from.isImm()) {
            load_value(host::address, inst.a, size, inst.imm);
            from = gp(host::address, size);
        }
        a.emit(I::kIdMovsx, x86::r14d, from);
    } else {
        load_zero_extended(host::address, inst.a, size, inst.imm);
    }
    const unsigned wide = size == 8 ? 8 : 4;
    if (!is_signed) {
        if (size == 1) {
            a.mov(x86::ecx, gp(guest_rax, 4));
            a.movzx(x86::ecx, x86::ch);
            a.cmp(x86::ecx, x86::r14d);
        } else {
            a.cmp(gp(host::rdx, size), gp(by, size));
        }
        a.jae(slow);
    } else {
        if (size == 1) {
            a.movsx(x86::ecx, gp(guest_rax, 1));
            a.cmp(x86::cx, gp(guest_rax, 2));
        } else {
            if (size == 2)
                a.movsx(x86::ecx, gp(guest_rax, 2));
            else
                a.mov(gp(host::scratch, wide), gp(guest_rax, wide));
            a.sar(gp(host::scratch, wide), wide * 8 - 1);
            a.cmp(gp(host::scratch, size), gp(host::rdx, size));
        }
        a.jne(slow);
        a.lea(gp(host::scratch, wide), x86::ptr(x86::r14, 1));
        a.cmp(gp(host::scratch, wide), 1);
        a.jbe(slow);
    }
    settle_flags();
    a.mov(x86::rax, gp(guest_rax, 8));
    a.emit(id, gp(by, size));
    const unsigned result = size == 1 ? 2 : size;
    a.mov(gp(guest_rax, result), gp(host::rax, result));
    at_ = FlagsAt::Eflags;
    if (needed_after_) {
        save_flags(); // the slow way comes back with saved flags
        at_ = FlagsAt::Saved;
    } else {
        at_ = FlagsAt::Nowhere;
    }
    a.bind(back);
}
void Emitter::emit_DivWide(const Inst& inst) {
    divide(I::kIdDiv, inst);
}
void Emitter::emit_IdivWide(const Inst& inst) {
    divide(I::kIdIdiv, inst);
}

// `by_register`: the BMI2 form that leaves EFLAGS alone, 0 if there is none.
void Emitter::shift(InstId id, InstId by_register, const Inst& inst) {
    const unsigned size = inst.size;
    const Ref d = inst.d, count = inst.b;
    const bool straight = in_register(d) && size >= 4;
    const bool flags_wanted = needed_after_ & ir::flags_written(inst);
    if (by_register && bmi2() && !flags_wanted && size >= 4 && count.is_reg() && inst.a.is_reg()) {
        const unsigned by = value(count, 4, 0, host::scratch), to = straight ? host_of(d) : host::address;
        a.emit(by_register, gp(to, size), source(inst.a, size, 0, host::address), gp(by, size));
        if (!straight) define(d, size, to);
        return;
    }
    guest_flags(inst);
    if (count.is_reg()) load_value(host::scratch, count, 4, 0);
    const Operand by = count.is_imm() ? Operand(imm(u8(inst.imm))) : Operand(x86::cl);
    if (d == inst.a && in_register(d)) {
        a.emit(id, gp(host_of(d), size), by);
        return narrow_temp(d, size);
    }
    if (d == inst.a && works_in_slot(d, size)) {
        a.emit(id, slot(d, size), by);
        return;
    }
    const unsigned at = straight ? host_of(d) : host::address; // the count is in CL already
    load_value(at, inst.a, size, inst.imm);
    a.emit(id, gp(at, size), by);
    if (!straight) define(d, size, host::address);
}
void Emitter::emit_Shl(const Inst& inst) {
    shift(I::kIdShl, I::kIdShlx, inst);
}
void Emitter::emit_Shr(const Inst& inst) {
    shift(I::kIdShr, I::kIdShrx, inst);
}
void Emitter::emit_Sar(const Inst& inst) {
    shift(I::kIdSar, I::kIdSarx, inst);
}
void Emitter::emit_Rol(const Inst& inst) {
    shift(I::kIdRol, 0, inst);
}
void Emitter::emit_Ror(const Inst& inst) {
    shift(I::kIdRor, 0, inst);
}
void Emitter::emit_Rcl(const Inst& inst) {
    shift(I::kIdRcl, 0, inst);
}
void Emitter::emit_Rcr(const Inst& inst) {
    shift(I::kIdRcr, 0, inst);
}

// d = a shifted, filled from b, count c. The value goes through R14, a count through CL, a filler in memory
// through RCX.
void Emitter::double_shift(InstId id, const Inst& inst) {
    const unsigned size = inst.size;
    const bool filler_in_register = inst.b.is_reg() && in_register(inst.b);
    if (size == 1 || (inst.c.is_reg() && !filler_in_register)) return interpret(inst);
    guest_flags(inst);
    load_value(host::address, inst.a, size, inst.imm);
    const unsigned filler = value(inst.b, size, inst.imm, host::scratch);
    if (inst.c.is_reg()) load_value(host::scratch, inst.c, 4, 0);
    const Operand by = inst.c.is_imm() ? Operand(imm(u8(inst.imm))) : Operand(x86::cl);
    a.emit(id, gp(host::address, size), gp(filler, size), by);
    define(inst.d, size, host::address);
}
void Emitter::emit_Shld(const Inst& inst) {
    double_shift(I::kIdShld, inst);
}
void Emitter::emit_Shrd(const Inst& inst) {
    double_shift(I::kIdShrd, inst);
}

// Bit b of a; the register form takes it modulo the operand size.
void Emitter::bit_op(InstId id, const Inst& inst) {
    const unsigned size = inst.size;
    if (size == 1) return interpret(inst);
    guest_flags(inst);
    const bool writes = id != I::kIdBt;
    const Operand bit = inst.b.is_imm() ? Operand(imm(inst.imm & (size * 8 - 1)))
                                        : Operand(gp(value(inst.b, size, 0, host::scratch), size));
    if (!writes) {
        a.emit(id, gp(value(inst.a, size, inst.imm, host::address), size), bit);
    } else if (inst.d == inst.a && in_register(inst.d)) {
        a.emit(id, gp(host_of(inst.d), size), bit);
        narrow_temp(inst.d, size);
    } else {
        load_value(host::address, inst.a, size, inst.imm);
        a.emit(id, gp(host::address, size), bit);
        define(inst.d, size, host::address);
    }
}
void Emitter::emit_Bt(const Inst& inst) {
    bit_op(I::kIdBt, inst);
}
void Emitter::emit_Bts(const Inst& inst) {
    bit_op(I::kIdBts, inst);
}
void Emitter::emit_Btr(const Inst& inst) {
    bit_op(I::kIdBtr, inst);
}
void Emitter::emit_Btc(const Inst& inst) {
    bit_op(I::kIdBtc, inst);
}

// A source of 0 leaves the destination, all 64 bits of a 32-bit one.
void Emitter::scan(InstId id, const Inst& inst) {
    const unsigned size = inst.size;
    if (size == 1) return interpret(inst);
    guest_flags(inst);
    load_value(host::scratch, inst.a, 8, inst.imm);
    a.emit(id, gp(host::scratch, size), register_or_memory(inst.b, size, inst.imm, host::address));
    define(inst.d, size == 4 ? 8 : size, host::scratch);
}
void Emitter::emit_Bsf(const Inst& inst) {
    scan(I::kIdBsf, inst);
}
void Emitter::emit_Bsr(const Inst& inst) {
    scan(I::kIdBsr, inst);
}

void Emitter::emit_Crc32(const Inst& inst) {
    if (!features_.has(HostFeature::Sse42)) return interpret(inst);
    load_value(host::scratch, inst.a, 4, inst.imm);
    const Operand data = register_or_memory(inst.b, inst.size, inst.imm, host::address);
    a.emit(I::kIdCrc32, gp(host::scratch, inst.size == 8 ? 8 : 4), data);
    define(inst.d, 4, host::scratch);
}

} // namespace dragoman::backend
