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

// The flags that `op` with this count replaces. SDM vol. 2: undefined flags may be kept.
Flags replaced_by_count(Op op, unsigned size, Ref count, i64 imm) {
    if (!count.is_imm()) return 0;
    const u64 n = u64(imm) & (size == 8 ? 63 : 31);
    if (n == 0) return 0;
    const Flags overflow = n == 1 ? Flags{kOF} : 0;
    switch (op) {
    case Op::Shl:
    case Op::Shr:
    case Op::Sar: return kCF | kPF | kZF | kSF | overflow;
    case Op::Shld:
    case Op::Shrd: return n <= size * 8 ? kCF | kPF | kZF | kSF | overflow : 0;
    case Op::Rol:
    case Op::Ror: return kCF | overflow;
    default: return 0; // Rcl, Rcr
    }
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

Flags flags_replaced(const Inst& inst) {
    if (inst.op == Op::Call) return 0;
    if (inst.op == Op::SetFlags) return Flags(inst.imm) & kAllFlags;
    const Op op = inst.op == Op::Rmw ? inst.sub : inst.op;
    if (!(info(op).effects & kFlagsMaybe)) return flags_written(inst);
    switch (op) {
    case Op::Bt:
    case Op::Bts:
    case Op::Btr:
    case Op::Btc: return kCF;
    case Op::Shld:
    case Op::Shrd: return replaced_by_count(op, inst.size, inst.c, inst.imm);
    default: return replaced_by_count(op, inst.size, inst.op == Op::Rmw ? inst.a : inst.b, inst.imm);
    }
}

} // namespace dragoman::ir
