#include "ir/context.h"
#include "ir/passes/passes.h"
#include "ir/vec.h"

namespace dragoman::ir {

namespace {

// Does `d` hold a GPR or temporary that the op writes? (Ops without d leave it none.)
bool writes_part_only(const Inst& inst) {
    switch (inst.op) {
    case Op::InsHi:
    case Op::Cmov: return true;
    default: return inst.d.is_gpr() && written_bytes(inst) < 4;
    }
}

// The registers that lie where the op loads or stores state.
RegSet registers_in_state(const Inst& inst) {
    static_assert(offsetof(Context, gpr) == 0 && offsetof(Context, tmp) == 8 * kGprs);
    RegSet s = 0;
    for (u64 n = u64(inst.imm) / 8; n < kGprs + kTemps && n * 8 < u64(inst.imm) + inst.size; ++n)
        s |= RegSet{1} << n;
    return s;
}

// The operand that an op is shifted by; none: it is no shift.
Ref shift_count(const Inst& inst, Op op) {
    switch (op) {
    case Op::Shl:
    case Op::Shr:
    case Op::Sar:
    case Op::Rol:
    case Op::Ror: return inst.op == Op::Rmw ? inst.a : inst.b;
    case Op::Shld:
    case Op::Shrd: return inst.c;
    default: return Ref::none(); // Rcl and Rcr want the old carry
    }
}

// The flags that a shift by a constant gives a value to, by the manual.
Flags defined_by_shift(const Inst& inst, Op op) {
    if (!shift_count(inst, op).is_imm()) return 0;
    const u64 n = u64(inst.imm) & (inst.size == 8 ? 63 : 31);
    if (n == 0 || ((op == Op::Shld || op == Op::Shrd) && n > inst.size * 8u)) return 0;
    const Flags overflow = n == 1 ? Flags{kOF} : 0;
    return op == Op::Rol || op == Op::Ror ? kCF | overflow : kCF | kPF | kZF | kSF | overflow;
}

Op operation(const Inst& inst) {
    return inst.op == Op::Rmw ? inst.sub : inst.op;
}

} // namespace

unsigned written_bytes(const Inst& inst) {
    switch (inst.op) {
    case Op::Zext:
    case Op::Sext:
    case Op::LoadZx:
    case Op::LoadSx: return inst.size2;
    case Op::ExtHi:
    case Op::Setcc: return 1;
    case Op::InsHi: return 2;
    case Op::Crc32: return 4;
    case Op::LoadState:
    case Op::SegAddr:
    case Op::Call: return 8;
    case Op::Vec: return inst.size == 8 ? 8 : 4;
    case Op::Vex: return inst.size2 == 8 ? 8 : 4;
    default: return inst.size;
    }
}

RegSet registers_read(const Inst& inst) {
    RegSet s = reg_set(inst.a) | reg_set(inst.b) | reg_set(inst.c) | reg_set(inst.mem.base) |
               reg_set(inst.mem.index);
    switch (inst.op) {
    case Op::Mulx: return reg_set(inst.a) | reg_set(kRdx);
    case Op::InsHi:
    case Op::Cmov: return s | reg_set(inst.d);
    case Op::MulWide:
    case Op::ImulWide:
    case Op::DivWide:
    case Op::IdivWide: return s | reg_set(kRax) | reg_set(kRdx);
    case Op::Rmw: return inst.sub == Op::Cmpxchg ? s | reg_set(kRax) : s;
    case Op::Vec: return vec_op(inst.vec).implicit_registers ? s | kGprSet : s;
    case Op::Call: return s | kGprSet;
    case Op::LoadState: return s | registers_in_state(inst);
    default: return s;
    }
}

RegSet register_replaced(const Inst& inst) {
    if (inst.op == Op::Mulx) return reg_set(inst.d) | reg_set(inst.c); // never a part
    return writes_part_only(inst) ? 0 : reg_set(inst.d);
}

RegSet registers_written(const Inst& inst) {
    switch (inst.op) {
    case Op::StoreState: return registers_in_state(inst);
    case Op::MulWide:
    case Op::ImulWide:
    case Op::DivWide:
    case Op::IdivWide: return reg_set(kRax) | reg_set(kRdx);
    case Op::Mulx: return reg_set(inst.d) | reg_set(inst.c);
    case Op::Rmw: return inst.sub == Op::Cmpxchg ? reg_set(kRax) : reg_set(inst.d);
    case Op::Vec: return vec_op(inst.vec).implicit_registers ? reg_set(inst.d) | kGprSet : reg_set(inst.d);
    case Op::Call: return reg_set(inst.d) | kGprSet;
    default: return reg_set(inst.d);
    }
}

RegSet registers_narrowed(const Inst& inst) {
    switch (inst.op) {
    case Op::Zext:
    case Op::LoadZx: return inst.size2 >= 4 && inst.size <= 4 ? reg_set(inst.d) : 0;
    case Op::Bsf: // of 0 they leave all of d
    case Op::Bsr:
    case Op::Mulx: // these write more than d, or what size says nothing of
    case Op::Vec:
    case Op::Vex:
    case Op::Call: return 0;
    case Op::Rmw: return inst.sub != Op::Cmpxchg && inst.size == 4 ? reg_set(inst.d) : 0;
    default: return written_bytes(inst) == 4 ? reg_set(inst.d) : 0;
    }
}

Flags flags_replaced(const Inst& inst) {
    if (inst.op == Op::Call) return 0;
    if (inst.op == Op::SetFlags) return Flags(inst.imm) & kAllFlags;
    const Op op = operation(inst);
    if (!(info(op).effects & kFlagsMaybe)) return flags_written(inst);
    switch (op) {
    case Op::Bt:
    case Op::Bts:
    case Op::Btr:
    case Op::Btc: return kCF;
    default: return defined_by_shift(inst, op) | flags_settled(inst);
    }
}

Flags flags_settled(const Inst& inst) {
    const Op op = operation(inst);
    if (!(info(op).effects & kFlagsMaybe)) return flags_settled(op);
    const Flags defined = defined_by_shift(inst, op);
    return defined & kZF ? kAllFlags & ~defined : 0; // a rotation keeps some
}

} // namespace dragoman::ir
