// Read-modify-writes of memory: one host instruction each, with LOCK where the guest has it.
#include "backend/x64/emitter.h"

namespace dragoman::backend {

using namespace asmjit;
using ir::Access;
using ir::Op;

void Emitter::rmw_op(const Inst& inst, const Mem& m) {
    InstId id = 0;
    bool has_source = true;
    switch (inst.sub) {
    case Op::Add: id = x86::Inst::kIdAdd; break;
    case Op::Or: id = x86::Inst::kIdOr; break;
    case Op::Adc: id = x86::Inst::kIdAdc; break;
    case Op::Sbb: id = x86::Inst::kIdSbb; break;
    case Op::And: id = x86::Inst::kIdAnd; break;
    case Op::Sub: id = x86::Inst::kIdSub; break;
    case Op::Xor: id = x86::Inst::kIdXor; break;
    case Op::Inc: id = x86::Inst::kIdInc, has_source = false; break;
    case Op::Dec: id = x86::Inst::kIdDec, has_source = false; break;
    case Op::Neg: id = x86::Inst::kIdNeg, has_source = false; break;
    case Op::Not: id = x86::Inst::kIdNot, has_source = false; break;
    default: DRAGOMAN_ASSERT(!"an op of Rmw");
    }
    guest_flags(inst);
    if (!has_source) {
        if (inst.lock) a.lock();
        a.emit(id, m);
        return;
    }
    Operand from = source(inst.a, inst.size, inst.imm, host::scratch);
    if (from.isMem()) {
        load_value(host::scratch, inst.a, inst.size, 0);
        from = gp(host::scratch, inst.size);
    }
    if (inst.lock) a.lock();
    a.emit(id, m, from);
}

void Emitter::rmw_by_count(const Inst& inst, const Mem& m) {
    guest_flags(inst);
    const bool is_double = inst.sub == Op::Shld || inst.sub == Op::Shrd;
    const Ref count = is_double ? inst.c : inst.a;
    InstId id = 0;
    switch (inst.sub) {
    case Op::Shl: id = x86::Inst::kIdShl; break;
    case Op::Shr: id = x86::Inst::kIdShr; break;
    case Op::Sar: id = x86::Inst::kIdSar; break;
    case Op::Rol: id = x86::Inst::kIdRol; break;
    case Op::Ror: id = x86::Inst::kIdRor; break;
    case Op::Rcl: id = x86::Inst::kIdRcl; break;
    case Op::Rcr: id = x86::Inst::kIdRcr; break;
    case Op::Shld: id = x86::Inst::kIdShld; break;
    default: id = x86::Inst::kIdShrd; break;
    }
    if (count.is_reg()) load_value(host::scratch, count, 4, 0);
    const Operand by = count.is_imm() ? Operand(imm(u8(inst.imm))) : Operand(x86::cl);
    if (is_double)
        a.emit(id, m, gp(value(inst.a, inst.size, inst.imm, host::scratch), inst.size), by);
    else
        a.emit(id, m, by);
}

// With a register the host instruction would look beyond the operand: the bit number is cut here.
void Emitter::rmw_bit(const Inst& inst, const Mem& m) {
    const InstId id = inst.sub == Op::Bts   ? x86::Inst::kIdBts
                      : inst.sub == Op::Btr ? x86::Inst::kIdBtr
                                            : x86::Inst::kIdBtc;
    const int mask = inst.size * 8 - 1;
    if (inst.a.is_imm()) {
        guest_flags(inst);
        if (inst.lock) a.lock();
        a.emit(id, m, imm(inst.imm & mask));
        return;
    }
    load_value(host::scratch, inst.a, 4, 0);
    clobber(needed_before_); // a shared check leaves the guest's flags where they are
    a.and_(x86::ecx, mask);
    guest_flags(inst);
    if (inst.lock) a.lock();
    a.emit(id, m, gp(host::scratch, inst.size));
}

void Emitter::rmw_exchange(const Inst& inst, const Mem& m) {
    guest_flags(inst);
    load_value(host::scratch, inst.a, inst.size, inst.imm);
    if (inst.sub == Op::Xadd) {
        if (inst.lock) a.lock();
        a.xadd(m, gp(host::scratch, inst.size));
    } else {
        a.xchg(m, gp(host::scratch, inst.size));
    }
    if (!inst.d.is_none()) define(inst.d, inst.size, host::scratch);
}

void Emitter::rmw_compare(const Inst& inst, const Mem& m) {
    guest_flags(inst); // all are written: RAX is free
    const unsigned from = value(inst.a, inst.size, inst.imm, host::scratch);
    const unsigned guest_rax = host::counted[0];
    a.mov(x86::rax, gp(guest_rax, 8));
    if (inst.lock) a.lock();
    a.cmpxchg(m, gp(from, inst.size));
    if (inst.size >= 4)
        a.cmovnz(gp(guest_rax, 8), x86::rax);
    else
        a.mov(gp(guest_rax, inst.size), gp(host::rax, inst.size));
}

// Shapes that would need one more scratch register, or results that nothing asks for.
bool Emitter::rmw_by_interpreter(const Inst& inst) const {
    const bool gives_old = inst.sub == Op::Xadd || inst.sub == Op::Xchg || inst.sub == Op::Cmpxchg;
    if (!gives_old && !inst.d.is_none()) return true;
    if (inst.sub == Op::Cmpxchg) return !inst.d.is_none();
    if (inst.sub == Op::Shld || inst.sub == Op::Shrd)
        return inst.c.is_reg() && !(inst.a.is_reg() && in_register(inst.a));
    const bool bit = inst.sub == Op::Bts || inst.sub == Op::Btr || inst.sub == Op::Btc;
    return bit && inst.size == 1;
}

void Emitter::emit_Rmw(const Inst& inst) {
    if (rmw_by_interpreter(inst)) return interpret(inst);
    AccessFn op = &Emitter::rmw_op;
    switch (inst.sub) {
    case Op::Shl:
    case Op::Shr:
    case Op::Sar:
    case Op::Rol:
    case Op::Ror:
    case Op::Rcl:
    case Op::Rcr:
    case Op::Shld:
    case Op::Shrd: op = &Emitter::rmw_by_count; break;
    case Op::Bts:
    case Op::Btr:
    case Op::Btc: op = &Emitter::rmw_bit; break;
    case Op::Xadd:
    case Op::Xchg: op = &Emitter::rmw_exchange; break;
    case Op::Cmpxchg: op = &Emitter::rmw_compare; break;
    default: break;
    }
    access_memory(inst, inst.size, Access::ReadWrite, op);
}

// They exist as Inst::sub only.
void Emitter::emit_Xadd(const Inst&) {
    DRAGOMAN_ASSERT(!"Xadd is not an op of its own");
}
void Emitter::emit_Xchg(const Inst&) {
    DRAGOMAN_ASSERT(!"Xchg is not an op of its own");
}
void Emitter::emit_Cmpxchg(const Inst&) {
    DRAGOMAN_ASSERT(!"Cmpxchg is not an op of its own");
}

} // namespace dragoman::backend
