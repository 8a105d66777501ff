// Follows constants and copies through the block. An operand that is known becomes an immediate where the op
// can take one, a temporary that is a copy is replaced by what it is a copy of, and an op whose result is
// known and whose flags nobody looks at becomes a Mov of it. dead_code removes what is no longer used.
#include "base/bits.h"
#include "ir/alu.h"
#include "ir/operands.h"
#include "ir/passes/passes.h"

#include <optional>
#include <utility>

namespace dragoman::ir {

namespace {

bool fits32(u64 v) {
    return i64(v) == i32(i64(v));
}

class Propagation {
  public:
    void run(Block& block) {
        for (Inst& inst : block.insts) {
            if (inst.op == Op::Insn) {
                for (unsigned n = 0; n < kTemps; ++n)
                    forget(Ref::temp(n));
                continue;
            }
            replace_copies(inst);
            replace_constants(inst);
            simplify(inst);
            record(inst);
        }
        block.pinned |= pinned_;
    }

  private:
    enum class Kind : u8 { Unknown, Constant, Copy };
    struct Known {
        Kind kind = Kind::Unknown;
        u8 bytes = 0;         // Copy: the low bytes that are the same
        Ref source;           // Copy
        u32 version = 0;      // Copy: versions_[source] when it was made
        bool from_pc = false; // Constant: as Inst::from_pc
        u64 value = 0;        // Constant: all 64 bits
    };
    // A result that is known: what it is made of says whether it moves with the block.
    struct Value {
        u64 value = 0;
        bool from_pc = false;
    };

    Known& known(Ref r) { return known_[r.id()]; }
    // Whoever asks for the number itself uses it in a way that does not move with the block.
    std::optional<u64> constant(Ref r) const {
        const std::optional<Value> v = constant_or_address(r);
        if (!v) return {};
        pinned_ |= v->from_pc;
        return v->value;
    }
    std::optional<Value> constant_or_address(Ref r) const {
        if (!r.is_reg() || known_[r.id()].kind != Kind::Constant) return {};
        return Value{known_[r.id()].value, known_[r.id()].from_pc};
    }
    // Only Mov takes one as an immediate.
    bool is_address(Ref r) const {
        const std::optional<Value> v = constant_or_address(r);
        return v && v->from_pc;
    }
    void forget(Ref r) {
        ++versions_[r.id()];
        known_[r.id()].kind = Kind::Unknown;
    }

    // ---- copies
    void replace_copy(Ref& r, unsigned bytes) {
        if (!r.is_temp()) return;
        const Known& k = known(r);
        if (k.kind == Kind::Copy && k.bytes >= bytes && k.version == versions_[k.source.id()]) r = k.source;
    }
    void replace_copies(Inst& inst) {
        const unsigned size = inst.op == Op::Call || inst.op == Op::JumpInd ? 8 : inst.size;
        switch (inst.op) {
        case Op::ExtHi: replace_copy(inst.a, 2); break;
        case Op::InsHi: replace_copy(inst.a, 1); break;
        case Op::SetFlags: replace_copy(inst.a, 8); break;
        case Op::Bsf:
        case Op::Bsr: replace_copy(inst.b, size); break; // `a` may be kept with all its bits
        case Op::Crc32: replace_copy(inst.a, 4), replace_copy(inst.b, size); break;
        case Op::Vec: replace_copy(inst.a, 8); break;
        case Op::Mulx: replace_copy(inst.a, size); break; // `c` is a result
        default:
            replace_copy(inst.a, size);
            replace_copy(inst.b, size);
            replace_copy(inst.c, 1);
        }
        replace_copy(inst.mem.base, inst.mem.size);
        replace_copy(inst.mem.index, inst.mem.size);
    }

    // ---- constants as immediates
    static bool takes_immediate_b(Op op) {
        switch (op) {
        case Op::Add:
        case Op::Or:
        case Op::Adc:
        case Op::Sbb:
        case Op::And:
        case Op::Sub:
        case Op::Xor:
        case Op::Cmp:
        case Op::Test:
        case Op::Imul:
        case Op::Shl:
        case Op::Shr:
        case Op::Sar:
        case Op::Rol:
        case Op::Ror:
        case Op::Rcl:
        case Op::Rcr:
        case Op::Bt:
        case Op::Bts:
        case Op::Btr:
        case Op::Btc: return true;
        default: return false;
        }
    }
    static bool commutes(Op op) {
        switch (op) {
        case Op::Add:
        case Op::Or:
        case Op::Adc:
        case Op::And:
        case Op::Xor:
        case Op::Test:
        case Op::Imul: return true;
        default: return false;
        }
    }
    // An operand of `size` bytes as the immediate that the op shall have; those of 8 bytes must fit 32 bits
    // signed.
    void replace_constant(Ref& r, unsigned size, i64& imm) {
        if (is_address(r)) return;
        const std::optional<u64> v = constant(r);
        if (!v) return;
        const i64 value = sign_extend(*v, size);
        if (!fits32(u64(value))) return;
        r = Ref::imm();
        imm = value;
    }
    void replace_constants(Inst& inst) {
        fold_address(inst.mem);
        switch (inst.op) {
        case Op::Store: replace_constant(inst.a, inst.size, inst.imm); return;
        case Op::StoreState: replace_constant(inst.a, inst.size, inst.imm2); return;
        case Op::Mov:
            if (is_address(inst.a) && inst.size < 8) return;
            if (const std::optional<Value> v = constant_or_address(inst.a)) {
                inst.a = Ref::imm();
                inst.imm = sign_extend(v->value, inst.size);
                inst.from_pc = v->from_pc;
            }
            return;
        case Op::Shld:
        case Op::Shrd: replace_constant(inst.c, 1, inst.imm); return;
        case Op::Rmw:
            if (takes_immediate_b(inst.sub))
                replace_constant(inst.a, inst.size, inst.imm);
            else if (inst.sub == Op::Shld || inst.sub == Op::Shrd)
                replace_constant(inst.c, 1, inst.imm);
            return;
        default: break;
        }
        if (!takes_immediate_b(inst.op)) return;
        if (commutes(inst.op) && inst.b.is_reg() && !is_address(inst.a) && !is_address(inst.b) &&
            constant(inst.a) && !constant(inst.b))
            std::swap(inst.a, inst.b);
        replace_constant(inst.b, inst.size, inst.imm);
    }
    void fold_address(Address& mem) {
        if (is_address(mem.index) || (is_address(mem.base) && (mem.size < 8 || !mem.index.is_none()))) return;
        const std::optional<Value> base = constant_or_address(mem.base);
        const std::optional<u64> index = constant(mem.index);
        u64 disp = u64(mem.disp);
        Address folded = mem;
        if (base) disp += base->value, folded.base = Ref::none(), folded.from_pc = base->from_pc;
        if (index) disp += *index << mem.scale, folded.index = Ref::none(), folded.scale = 0;
        if (!base && !index) return;
        folded.disp = mem.size == 8 ? i64(disp) : sign_extend(disp, mem.size);
        const bool absolute = folded.base.is_none() && folded.index.is_none();
        if (absolute) folded.disp = i64(disp & size_mask(mem.size));
        if (absolute || fits32(u64(folded.disp))) mem = folded;
    }

    // ---- known results
    // The value that the op gives to the written bytes of d, if it is known.
    std::optional<Value> result(const Inst& inst) const {
        if (const std::optional<Value> address = address_result(inst)) return address;
        const std::optional<u64> v = number_result(inst);
        return v ? std::optional<Value>{{*v, false}} : std::nullopt;
    }
    // An address from the pc, and a constant added to it.
    std::optional<Value> address_result(const Inst& inst) const {
        if (inst.size != 8) return {};
        const auto moved = [&](Ref r, u64 by) -> std::optional<Value> {
            if (!is_address(r)) return {};
            return Value{known_[r.id()].value + by, true};
        };
        switch (inst.op) {
        case Op::Mov:
            if (inst.a.is_imm() && inst.from_pc) return Value{u64(inst.imm), true};
            return moved(inst.a, 0);
        case Op::Lea:
            if (inst.mem.size != 8 || !inst.mem.index.is_none()) return {};
            if (inst.mem.from_pc) return Value{u64(inst.mem.disp), true};
            return moved(inst.mem.base, u64(inst.mem.disp));
        case Op::Add: return inst.b.is_imm() ? moved(inst.a, u64(inst.imm)) : std::nullopt;
        case Op::Sub: return inst.b.is_imm() ? moved(inst.a, u64{0} - u64(inst.imm)) : std::nullopt;
        default: return {};
        }
    }
    std::optional<u64> number_result(const Inst& inst) const {
        const auto value = [&](Ref r, unsigned size) -> std::optional<u64> {
            if (is_address(r)) return {}; // not known, so that the op does it wherever the block lies
            if (r.is_imm()) {
                if (inst.from_pc) return {};
                return u64(inst.imm) & size_mask(size);
            }
            if (const std::optional<u64> v = constant(r)) return *v & size_mask(size);
            return {};
        };
        switch (inst.op) {
        case Op::Mov:
        case Op::Zext: return value(inst.a, inst.size);
        case Op::Sext:
            if (const auto v = value(inst.a, inst.size))
                return u64(sign_extend(*v, inst.size)) & size_mask(inst.size2);
            return {};
        case Op::ExtHi:
            if (const auto v = value(inst.a, 2)) return *v >> 8;
            return {};
        case Op::Bswap:
            if (const auto v = value(inst.a, inst.size)) return __builtin_bswap64(*v) >> (64 - inst.size * 8);
            return {};
        case Op::Lea:
            if (!inst.mem.base.is_none() || !inst.mem.index.is_none() || inst.mem.from_pc) return {};
            return u64(inst.mem.disp) & size_mask(inst.mem.size) & size_mask(inst.size);
        case Op::Xor:
        case Op::Sub: // the idioms that make zero
            if (inst.a == inst.b && inst.a.is_reg()) return 0;
            break;
        case Op::Add:
        case Op::Or:
        case Op::And:
        case Op::Imul:
        case Op::Inc:
        case Op::Dec:
        case Op::Neg:
        case Op::Not:
        case Op::Shl:
        case Op::Shr:
        case Op::Sar:
        case Op::Rol:
        case Op::Ror: break;
        default: return {};
        }
        const auto a = value(inst.a, inst.size);
        const auto b = info(inst.op).form == Form::DA ? std::optional<u64>{0} : value(inst.b, inst.size);
        if (!a || !b) return {};
        Flags unused = 0;
        return alu_function(inst.op, inst.size)(*a, *b, 0, unused);
    }

    void simplify(Inst& inst) {
        switch (inst.op) {
        case Op::BranchNz:
            if (const auto v = constant(inst.a))
                inst = {.op = Op::Jump, .imm = *v & size_mask(inst.size) ? inst.imm : inst.imm2};
            return;
        case Op::JumpInd: // which also polls when it jumps forward; a direct jump does not have to
            if (const auto v = constant_or_address(inst.a)) {
                inst = {.op = Op::Jump, .imm = i64(v->value)};
                pinned_ |= !v->from_pc; // direct jumps are taken to move
            }
            return;
        case Op::Lea: // without arithmetic it is a move
            if (inst.mem.size == 8 && inst.mem.index.is_none() && inst.mem.disp == 0 &&
                inst.mem.base.is_reg())
                inst = {.op = Op::Mov, .size = inst.size, .d = inst.d, .a = inst.mem.base};
            break;
        default: break;
        }
        if (inst.op == Op::Mov || !inst.d.is_reg() || (flags_written(inst) & inst.live)) return;
        const std::optional<Value> v = result(inst);
        if (!v) return;
        const unsigned size = written_bytes(inst);
        inst = {.op = Op::Mov,
                .size = u8(size),
                .from_pc = v->from_pc,
                .d = inst.d,
                .a = Ref::imm(),
                .imm = sign_extend(v->value, size)};
    }

    // ---- what is known after the op
    void record(const Inst& inst) {
        if (inst.op == Op::Mov && inst.d == inst.a && inst.size == 8) return;
        const std::optional<Value> v = inst.d.is_reg() ? result(inst) : std::nullopt;
        const std::optional<Value> old = constant_or_address(inst.d);
        const bool copies =
            (inst.op == Op::Mov || inst.op == Op::Zext) && inst.a.is_reg() && inst.d != inst.a;

        for (RegSet written = registers_written(inst); written; written &= written - 1)
            forget_id(unsigned(std::countr_zero(written)));
        if (!inst.d.is_reg()) return;

        const unsigned size = written_bytes(inst);
        if (v && (old || register_replaced(inst))) {
            const bool replaced = register_replaced(inst);
            const u64 keep = replaced ? 0 : old->value & ~size_mask(size);
            pinned_ |= !replaced && old->from_pc;
            known(inst.d) = {
                .kind = Kind::Constant, .from_pc = v->from_pc, .value = keep | (v->value & size_mask(size))};
        } else if (copies && inst.d.is_temp()) {
            // Of a copy of 4 bytes the low 4 are the source's.
            known(inst.d) = {
                .kind = Kind::Copy, .bytes = inst.size, .source = inst.a, .version = versions_[inst.a.id()]};
        }
    }
    void forget_id(unsigned id) { forget(id < 16 ? Ref::gpr(id) : Ref::temp(id - 16)); }

    Known known_[32];
    u32 versions_[32] = {};
    mutable bool pinned_ = false;
};

} // namespace

void constant_propagation(Block& block) {
    Propagation().run(block);
}

} // namespace dragoman::ir
