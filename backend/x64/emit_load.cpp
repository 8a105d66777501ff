// Loads and stores, and the checks that precede some accesses.
#include "backend/x64/emitter.h"

namespace dragoman::backend {

using namespace asmjit;
using ir::Access;
using ir::Context;
using ir::Op;

void Emitter::load_to(const Inst& inst, const Mem& m) {
    const Ref d = inst.d;
    const unsigned size = inst.size;
    const bool extends = inst.op != Op::Load;
    const unsigned size2 = extends ? inst.size2 : size;
    if (!extends && size < 4 && d.is_gpr()) { // merges
        if (in_register(d)) {
            a.mov(gp(host_of(d), size), m);
        } else {
            a.mov(gp(host::scratch, size), m);
            define(d, size, host::scratch);
        }
        return;
    }
    const bool straight = in_register(d) && (size2 >= 4 || (d.is_temp() && inst.op != Op::LoadSx));
    const unsigned to = straight ? host_of(d) : host::scratch;
    const unsigned wide = size2 == 8 ? 8 : 4;
    if (inst.op == Op::LoadSx && size < wide)
        a.emit(size == 4 ? x86::Inst::kIdMovsxd : x86::Inst::kIdMovsx, gp(to, wide), m);
    else if (size < 4)
        a.movzx(gp(to, 4), m);
    else
        a.mov(gp(to, size), m);
    if (straight) return;
    if (!in_register(d) && size2 >= 4)
        a.mov(slot(d, 8), x86::rcx); // is zero-extended already
    else
        define(d, size2, host::scratch);
}

// What is loaded only to be an operand of the next op is one there, as the guest's instruction has it. The op
// must need no scratch register before it, nor be the interpreter's; and nothing may come between the two.
bool Emitter::is_operand_of_next(size_t at) const {
    const std::vector<Inst>& insts = block_->insts;
    const Inst& load = insts[at];
    if (!options_.load_operands || !window() || load.op != Op::Load || !load.d.is_temp()) return false;
    const Inst& next = insts[at + 1];
    const Ref loaded = load.d;
    if (at + 1 == early_poll_ || next.size != load.size || next.from_pc) return false;
    for (size_t i = at + 2; i < insts.size() && insts[i].op != Op::Insn; ++i)
        if (ir::registers_read(insts[i]) & ir::reg_set(loaded)) return false;
    const bool small = next.size < 4, right = next.b == loaded && next.a.is_gpr();
    switch (next.op) {
    case Op::Add:
    case Op::Or:
    case Op::Adc:
    case Op::Sbb:
    case Op::And:
    case Op::Sub:
    case Op::Xor: return right && next.d == next.a && (in_register(next.d) || !small);
    case Op::Imul: return right && next.d == next.a && !small;
    case Op::Adcx:
    case Op::Adox: return right && next.d == next.a && features_.has(HostFeature::Adx);
    case Op::Mulx: return next.a == loaded && bmi2();
    case Op::Cmp:
    case Op::Test:
        if (right) return true;
        if (next.a != loaded) return false;
        return next.b.is_gpr() ? in_register(next.b)
                               : next.b.is_imm() && (next.size < 8 || next.imm == i32(next.imm));
    default: return false;
    }
}

void Emitter::use_operand(const Inst& load, const Mem& m) {
    const Inst& next = block_->insts[++position_];
    find_needed();
    operand_ = load.d;
    operand_at_ = m;
    (this->*table_[u8(next.op)])(next);
    operand_ = Ref::none();
}

void Emitter::emit_Load(const Inst& inst) {
    access_memory(inst, inst.size, Access::Read,
                  is_operand_of_next(position_) ? &Emitter::use_operand : &Emitter::load_to);
}
void Emitter::emit_LoadZx(const Inst& inst) {
    access_memory(inst, inst.size, Access::Read, &Emitter::load_to);
}
void Emitter::emit_LoadSx(const Inst& inst) {
    emit_LoadZx(inst);
}

void Emitter::store_op(const Inst& inst, const Mem& m) {
    if (inst.a.is_imm() && inst.from_pc && inst.size == 8 && inst.imm == i32(inst.imm)) { // of a CALL
        a.mov(m, imm(inst.imm));
        return note_pc(PcForm::Signed, u64(inst.imm));
    }
    const Operand from = source(inst.a, inst.size, inst.imm, host::scratch);
    if (from.isMem()) {
        load_value(host::scratch, inst.a, inst.size, 0);
        a.mov(m, gp(host::scratch, inst.size));
    } else {
        a.emit(x86::Inst::kIdMov, m, from);
    }
}
void Emitter::emit_Store(const Inst& inst) {
    access_memory(inst, inst.size, Access::Write, &Emitter::store_op);
}

// ---- checks

void Emitter::emit_CheckAlign(const Inst& inst) {
    if (shared() && checked_before(*shared())) return; // with its alignment
    address(inst.mem, true);
    clobber(needed_before_);
    const Label back = a.newLabel();
    a.test(x86::r14d, imm(i32(inst.imm)));
    a.jnz(interpret_out_of_line(inst, back));
    a.bind(back);
}

void Emitter::emit_CheckAc(const Inst& inst) {
    emit_CheckAlign(inst);
}

// Inline for a present, writable, expand-up data segment, or readable code for a read; the interpreter's
// meaning decides all others.
void Emitter::emit_SegAddr(const Inst& inst) {
    const u8 number = u8(inst.mem.seg);
    const auto field = [&](size_t f, unsigned bytes) {
        return in_context(i64(offsetof(Context, seg) + number * sizeof(ir::Segment) + f), bytes);
    };
    address(inst.mem, false);
    clobber(needed_before_);
    const Label back = a.newLabel();
    const Label slow = interpret_out_of_line(inst, back);
    const bool code = inst.mem.seg == ir::Seg::CS && Access(inst.imm) == Access::Read;
    a.movzx(x86::ecx, field(offsetof(ir::Segment, attributes), 2));
    if (code) { // P, S, and readable code, or data that does not expand down
        const Label ok = a.newLabel();
        a.and_(x86::ecx, 0x9e);
        a.cmp(x86::ecx, 0x92);
        a.je(ok);
        a.and_(x86::ecx, 0x9a);
        a.cmp(x86::ecx, 0x9a);
        a.jne(slow);
        a.bind(ok);
    } else {
        a.and_(x86::ecx, 0x9e);
        a.cmp(x86::ecx, 0x92);
        a.jne(slow);
    }
    a.mov(x86::ecx, field(offsetof(ir::Segment, limit), 4));
    if (inst.size > 1) {
        a.sub(x86::rcx, inst.size - 1);
        a.jb(slow);
    }
    a.cmp(x86::rcx, x86::r14);
    a.jb(slow);
    a.mov(x86::rcx, field(offsetof(ir::Segment, base), 8));
    const unsigned wide = inst.mem.linear_size == 8 ? 8 : 4;
    const unsigned to = in_register(inst.d) ? host_of(inst.d) : host::address;
    a.lea(gp(to, wide), x86::ptr(x86::r14, x86::rcx));
    if (!in_register(inst.d)) define(inst.d, 8, host::address);
    a.bind(back);
}

} // namespace dragoman::backend
