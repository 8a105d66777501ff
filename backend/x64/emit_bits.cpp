// Bit counts, BMI and ADX. The host's own instruction where it has it; otherwise the interpreter's meaning.
#include "backend/x64/emitter.h"

namespace dragoman::backend {

using namespace asmjit;
namespace I = x86::Inst;

// d = id(a)
void Emitter::count_bits(InstId id, HostFeature needs, const Inst& inst) {
    const unsigned size = inst.size;
    if (size == 1 || !features_.has(needs)) return interpret(inst);
    guest_flags(inst);
    const Operand from = register_or_memory(inst.a, size, inst.imm, host::scratch);
    const bool straight = in_register(inst.d) && size >= 4;
    a.emit(id, gp(straight ? host_of(inst.d) : host::scratch, size), from);
    if (!straight) define(inst.d, size, host::scratch);
}
void Emitter::emit_Popcnt(const Inst& inst) {
    count_bits(I::kIdPopcnt, HostFeature::Popcnt, inst);
}
void Emitter::emit_Tzcnt(const Inst& inst) {
    count_bits(I::kIdTzcnt, HostFeature::Bmi1, inst);
}
void Emitter::emit_Lzcnt(const Inst& inst) {
    count_bits(I::kIdLzcnt, HostFeature::Lzcnt, inst);
}
void Emitter::emit_Blsi(const Inst& inst) {
    count_bits(I::kIdBlsi, HostFeature::Bmi1, inst);
}
void Emitter::emit_Blsmsk(const Inst& inst) {
    count_bits(I::kIdBlsmsk, HostFeature::Bmi1, inst);
}
void Emitter::emit_Blsr(const Inst& inst) {
    count_bits(I::kIdBlsr, HostFeature::Bmi1, inst);
}

// d = id(a, b): `a` may be in memory, `b` is a register, or RORX's immediate.
void Emitter::bits_by(InstId id, HostFeature needs, const Inst& inst) {
    if (!features_.has(needs)) return interpret(inst);
    guest_flags(inst);
    const unsigned size = inst.size, to = in_register(inst.d) ? host_of(inst.d) : host::scratch;
    const Operand from = register_or_memory(inst.a, size, inst.imm, host::address);
    const Operand by = id == I::kIdRorx ? Operand(imm(inst.imm & (size * 8 - 1)))
                                        : Operand(gp(value(inst.b, size, inst.imm, host::scratch), size));
    a.emit(id, gp(to, size), from, by);
    if (to == host::scratch) define(inst.d, size, to);
}
void Emitter::emit_Bextr(const Inst& inst) {
    bits_by(I::kIdBextr, HostFeature::Bmi1, inst);
}
void Emitter::emit_Bzhi(const Inst& inst) {
    bits_by(I::kIdBzhi, HostFeature::Bmi2, inst);
}
void Emitter::emit_Rorx(const Inst& inst) {
    bits_by(I::kIdRorx, HostFeature::Bmi2, inst);
}
void Emitter::emit_Sarx(const Inst& inst) {
    bits_by(I::kIdSarx, HostFeature::Bmi2, inst);
}
void Emitter::emit_Shlx(const Inst& inst) {
    bits_by(I::kIdShlx, HostFeature::Bmi2, inst);
}
void Emitter::emit_Shrx(const Inst& inst) {
    bits_by(I::kIdShrx, HostFeature::Bmi2, inst);
}

// d = id(a, b): `b` may be in memory.
void Emitter::bits_with(InstId id, HostFeature needs, const Inst& inst) {
    if (!features_.has(needs)) return interpret(inst);
    guest_flags(inst);
    const unsigned size = inst.size, to = in_register(inst.d) ? host_of(inst.d) : host::scratch;
    const unsigned left = value(inst.a, size, inst.imm, host::scratch);
    const Operand right = register_or_memory(inst.b, size, inst.imm, host::address);
    a.emit(id, gp(to, size), gp(left, size), right);
    if (to == host::scratch) define(inst.d, size, to);
}
void Emitter::emit_Andn(const Inst& inst) {
    bits_with(I::kIdAndn, HostFeature::Bmi1, inst);
}
void Emitter::emit_Pdep(const Inst& inst) {
    bits_with(I::kIdPdep, HostFeature::Bmi2, inst);
}
void Emitter::emit_Pext(const Inst& inst) {
    bits_with(I::kIdPext, HostFeature::Bmi2, inst);
}

// ADCX, ADOX: a sum through one flag alone.
void Emitter::add_with_flag(InstId id, const Inst& inst) {
    if (!features_.has(HostFeature::Adx)) return interpret(inst);
    guest_flags(inst);
    const unsigned size = inst.size;
    const unsigned to = in_register(inst.d) && inst.d != inst.b ? host_of(inst.d) : host::scratch;
    if (to == host::scratch || inst.d != inst.a) load_value(to, inst.a, size, inst.imm);
    a.emit(id, gp(to, size), register_or_memory(inst.b, size, inst.imm, host::address));
    if (to == host::scratch) define(inst.d, size, to);
}
void Emitter::emit_Adcx(const Inst& inst) {
    add_with_flag(I::kIdAdcx, inst);
}
void Emitter::emit_Adox(const Inst& inst) {
    add_with_flag(I::kIdAdox, inst);
}

// The high half is put away first: define() may need RCX for the low one.
void Emitter::emit_Mulx(const Inst& inst) {
    static_assert(host::counted[2] == host::rdx);
    if (!bmi2()) return interpret(inst);
    const unsigned size = inst.size;
    const bool one = inst.d == inst.c;
    const unsigned high = in_register(inst.d) ? host_of(inst.d) : host::scratch;
    const unsigned low = one ? high : in_register(inst.c) ? host_of(inst.c) : host::address;
    const Operand by = register_or_memory(inst.a, size, inst.imm, host::scratch);
    a.emit(I::kIdMulx, gp(high, size), gp(low, size), by);
    if (high == host::scratch) define(inst.d, size, high);
    if (low == host::address) define(inst.c, size, low);
}

} // namespace dragoman::backend
