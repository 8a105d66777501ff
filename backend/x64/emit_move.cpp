// Moving values between registers, and Context's fields. None of these ops touches EFLAGS.
#include "backend/x64/emitter.h"

namespace dragoman::backend {

using namespace asmjit;
using ir::Context;

void Emitter::emit_Mov(const Inst& inst) {
    const unsigned size = inst.size;
    const Ref d = inst.d, s = inst.a;
    if (in_register(d) && size >= 4) {
        if (d != s || (size == 4 && !is_narrow(s))) load_value(host_of(d), s, size, inst.imm);
        return;
    }
    if (in_register(d) && d.is_temp()) { // 1 or 2 bytes
        load_zero_extended(host::temp, s, size, inst.imm);
        return;
    }
    if (s.is_imm() && !in_register(d) && !inst.from_pc) {
        const u64 v = u64(inst.imm) & (size == 8 ? ~u64{0} : (u64{1} << size * 8) - 1);
        const bool whole = size >= 4 || d.is_temp();
        if (!whole || v <= 0x7fffffff || (size == 8 && i64(v) == i32(v))) {
            a.mov(slot(d, whole ? 8 : size), imm(whole ? i64(v) : size == 1 ? i8(v) : i16(v)));
            return;
        }
    }
    if (s.is_imm() && in_register(d)) { // 1 or 2 bytes of a GPR
        a.mov(gp(host_of(d), size), imm(size == 1 ? i8(inst.imm) : i16(inst.imm)));
        return;
    }
    unsigned from = value(s, size, inst.imm, host::scratch);
    if (size == 4 && from != host::scratch && !is_narrow(s)) {
        a.mov(x86::ecx, gp(from, 4));
        from = host::scratch;
    }
    define(d, size, from);
}

void Emitter::emit_Zext(const Inst& inst) {
    if (in_register(inst.d) && (inst.size2 >= 4 || inst.d.is_temp())) {
        load_zero_extended(host_of(inst.d), inst.a, inst.size, inst.imm);
        if (inst.size2 == 2 && inst.size > 2) a.movzx(gp(host::temp, 4), gp(host::temp, 2));
        return;
    }
    load_zero_extended(host::scratch, inst.a, inst.size, inst.imm);
    define(inst.d, inst.size2, host::scratch);
}

void Emitter::emit_Sext(const Inst& inst) {
    const bool straight = in_register(inst.d) && inst.size2 >= 4;
    const unsigned to = straight ? host_of(inst.d) : host::scratch;
    const unsigned wide = inst.size2 == 8 ? 8 : 4;
    if (inst.a.is_imm()) load_value(host::scratch, inst.a, inst.size, inst.imm);
    const Operand from = inst.a.is_imm()       ? Operand(gp(host::scratch, inst.size))
                         : in_register(inst.a) ? Operand(gp(host_of(inst.a), inst.size))
                                               : Operand(slot(inst.a, inst.size));
    if (inst.size >= wide)
        a.emit(x86::Inst::kIdMov, gp(to, inst.size), from);
    else
        a.emit(inst.size == 4 ? x86::Inst::kIdMovsxd : x86::Inst::kIdMovsx, gp(to, wide), from);
    if (!straight) define(inst.d, inst.size2, host::scratch);
}

// CH is reachable by a MOVZX that needs no REX prefix; guest RAX is not in the host's.
void Emitter::emit_ExtHi(const Inst& inst) {
    load_value(host::scratch, inst.a, 4, inst.imm);
    a.movzx(x86::ecx, x86::ch);
    define(inst.d, 1, host::scratch);
}

void Emitter::emit_InsHi(const Inst& inst) {
    const bool in_place = in_register(inst.d);
    if (!in_place && inst.a.is_imm()) {
        Mem high = slot(inst.d, 1);
        high.addOffset(1);
        a.mov(high, imm(i8(inst.imm)));
        return;
    }
    if (!in_place) {
        Mem high = slot(inst.d, 1);
        high.addOffset(1);
        a.mov(high, gp(value(inst.a, 1, inst.imm, host::scratch), 1));
        return;
    }
    const unsigned d = host_of(inst.d);
    if (inst.a.is_imm() || !bmi2()) {
        // Through the stack: store, replace the byte, load.
        const Mem whole = x86::ptr(x86::rsp, frame::argument, 8);
        const Mem high = x86::ptr(x86::rsp, frame::argument + 1, 1);
        if (inst.a.is_imm())
            move_imm(host::scratch, u8(inst.imm));
        else
            load_value(host::scratch, inst.a, 4, 0);
        a.mov(whole, gp(d, 8));
        a.mov(high, x86::cl);
        a.mov(gp(d, 8), whole);
        return;
    }
    load_value(host::address, inst.a, 4, 0);
    a.rorx(x86::rcx, gp(d, 8), 8);
    a.mov(x86::cl, x86::r14b);
    a.rorx(gp(d, 8), x86::rcx, 56);
}

void Emitter::emit_Bswap(const Inst& inst) {
    if (inst.size < 4) return interpret(inst);
    if (in_register(inst.d)) {
        if (inst.d != inst.a) load_value(host_of(inst.d), inst.a, inst.size, inst.imm);
        a.bswap(gp(host_of(inst.d), inst.size));
    } else {
        load_value(host::scratch, inst.a, inst.size, inst.imm);
        a.bswap(gp(host::scratch, inst.size));
        define(inst.d, inst.size, host::scratch);
    }
}

void Emitter::emit_Lea(const Inst& inst) {
    const ir::Address& m = inst.mem;
    if (moves_stack_late(inst)) {
        late_stack_ += i32(m.disp);
        return;
    }
    const bool simple = in_register(inst.d) && inst.size >= 4 && m.size >= 4 &&
                        (!m.base.is_none() || !m.index.is_none()) && i64(i32(m.disp)) == m.disp &&
                        (m.base.is_none() || in_register(m.base)) &&
                        (m.index.is_none() || in_register(m.index));
    if (!simple) {
        address(m, false, inst.size == 8 ? 8 : 4);
        define(inst.d, inst.size, host::address);
        return;
    }
    const unsigned size = m.size < inst.size ? m.size : inst.size;
    const unsigned d = host_of(inst.d);
    if (m.index.is_none() && !m.disp)
        a.mov(gp(d, size), gp(host_of(m.base), size));
    else if (m.index.is_none())
        a.lea(gp(d, size), x86::ptr(gp(host_of(m.base), 8), i32(m.disp)));
    else if (m.base.is_none())
        a.lea(gp(d, size), x86::ptr(u64(i64(i32(m.disp))), gp(host_of(m.index), 8), m.scale));
    else
        a.lea(gp(d, size), x86::ptr(gp(host_of(m.base), 8), gp(host_of(m.index), 8), m.scale, i32(m.disp)));
}

namespace {

// Does [offset, offset+size) touch a field that generated code keeps elsewhere while it runs?
bool through_interpreter(i64 offset, unsigned size) {
    const auto touches = [&](size_t start, size_t bytes) {
        return offset + i64(size) > i64(start) && offset < i64(start + bytes);
    };
    return touches(offsetof(Context, gpr), sizeof(Context::gpr)) ||
           touches(offsetof(Context, tmp), sizeof(Context::tmp)) ||
           touches(offsetof(Context, flags), sizeof(Context::flags)) ||
           touches(offsetof(Context, budget), sizeof(Context::budget)) ||
           touches(offsetof(Context, mxcsr), sizeof(Context::mxcsr)) ||
           touches(offsetof(Context, vec), sizeof(Context::vec));
}

} // namespace

void Emitter::emit_LoadState(const Inst& inst) {
    if (through_interpreter(inst.imm, inst.size)) return interpret(inst);
    const unsigned to = in_register(inst.d) ? host_of(inst.d) : host::scratch;
    const Mem field = in_context(inst.imm, inst.size);
    if (inst.size >= 4)
        a.mov(gp(to, inst.size), field);
    else
        a.movzx(gp(to, 4), field);
    if (!in_register(inst.d)) define(inst.d, 8, host::scratch);
}

void Emitter::emit_StoreState(const Inst& inst) {
    if (through_interpreter(inst.imm, inst.size)) return interpret(inst);
    const Operand from = source(inst.a, inst.size, inst.imm2, host::scratch);
    if (from.isMem()) {
        load_value(host::scratch, inst.a, inst.size, 0);
        a.mov(in_context(inst.imm, inst.size), gp(host::scratch, inst.size));
    } else {
        a.emit(x86::Inst::kIdMov, in_context(inst.imm, inst.size), from);
    }
}

// RDTSC and the multiplication take RAX and RDX, which hold the saved flags and guest RDX.
void Emitter::emit_TimeStamp(const Inst& inst) {
    if (!bmi2()) clobber(needed_before_);
    const bool saved = at_ == FlagsAt::Saved || at_ == FlagsAt::Both;
    if (saved) a.mov(x86::r14, x86::rax);
    a.mov(x86::rcx, x86::rdx);
    a.rdtsc();
    if (bmi2()) {
        a.rorx(x86::rdx, x86::rdx, 32);
        a.lea(x86::rdx, x86::ptr(x86::rdx, x86::rax));
        a.mulx(x86::rdx, x86::rax, in_context(offsetof(Context, time) + offsetof(TimeLine, scale), 8));
    } else {
        a.shl(x86::rdx, 32);
        a.or_(x86::rax, x86::rdx);
        a.mul(in_context(offsetof(Context, time) + offsetof(TimeLine, scale), 8));
    }
    a.mov(x86::rax, in_context(offsetof(Context, time) + offsetof(TimeLine, offset), 8));
    a.lea(x86::rax, x86::ptr(x86::rax, x86::rdx));
    a.mov(x86::rdx, x86::rcx);
    define(inst.d, 8, host::flags);
    if (saved) a.mov(x86::rax, x86::r14);
}

} // namespace dragoman::backend
