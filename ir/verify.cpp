#include "ir/verify.h"

#include "base/bits.h"
#include "ir/memory.h"
#include "ir/text.h"
#include "ir/vec.h"
#include "ir/vex.h"

namespace dragoman::ir {

namespace {

enum : u8 { B = 1, W = 2, D = 4, Q = 8, X = 16 }; // allowed sizes

u8 allowed_sizes(Op op) {
    switch (op) {
    case Op::Imul:
    case Op::Shld:
    case Op::Shrd:
    case Op::Bt:
    case Op::Bsf:
    case Op::Bsr:
    case Op::Popcnt:
    case Op::Tzcnt:
    case Op::Lzcnt:
    case Op::Bswap:
    case Op::Cmov:
    case Op::Lea: return W | D | Q;
    case Op::Andn:
    case Op::Bextr:
    case Op::Bzhi:
    case Op::Blsi:
    case Op::Blsmsk:
    case Op::Blsr:
    case Op::Pdep:
    case Op::Pext:
    case Op::Rorx:
    case Op::Sarx:
    case Op::Shlx:
    case Op::Shrx:
    case Op::Adcx:
    case Op::Adox:
    case Op::Mulx: return D | Q;
    case Op::VLoad: return D | Q | X;
    case Op::ClearUpper: return Q | X;
    case Op::VStore: return B | W | D | Q | X;
    default: return B | W | D | Q;
    }
}

bool allowed_in_rmw(Op sub) {
    switch (sub) {
    case Op::Add:
    case Op::Or:
    case Op::Adc:
    case Op::Sbb:
    case Op::And:
    case Op::Sub:
    case Op::Xor:
    case Op::Inc:
    case Op::Dec:
    case Op::Neg:
    case Op::Not:
    case Op::Shl:
    case Op::Shr:
    case Op::Sar:
    case Op::Rol:
    case Op::Ror:
    case Op::Rcl:
    case Op::Rcr:
    case Op::Shld:
    case Op::Shrd:
    case Op::Bts:
    case Op::Btr:
    case Op::Btc:
    case Op::Xadd:
    case Op::Xchg:
    case Op::Cmpxchg: return true;
    default: return false;
    }
}

bool fits32(i64 v) {
    return v == i32(v);
}

class Verifier {
  public:
    explicit Verifier(const Block& block) : block_(block) {}

    std::vector<std::string> run() {
        if (block_.mode_bits != 16 && block_.mode_bits != 32 && block_.mode_bits != 64)
            problem("mode is not 16, 32 or 64");
        if (block_.insts.empty() || block_.insts.front().op != Op::Insn) problem("does not begin with Insn");
        for (; index_ < block_.insts.size(); ++index_)
            instruction(block_.insts[index_]);
        if (block_.insts.empty() || !ends(block_.insts.back()))
            problem("does not end with an op that ends a block");
        if (instructions_ != block_.guest_instructions)
            problem("has " + std::to_string(instructions_) + " instructions, guest_instructions says " +
                    std::to_string(block_.guest_instructions));
        return std::move(problems_);
    }

  private:
    static bool ends(const Inst& i) { return i.op < Op::Count && (info(i.op).effects & kEndsBlock); }

    void problem(const std::string& what) { problems_.push_back("block: " + what); }
    void check(bool ok, const char* what) {
        if (ok) return;
        const Inst& i = block_.insts[index_];
        problems_.push_back("#" + std::to_string(index_) + " " + text::op_name(i.op) + ": " + what);
    }

    void instruction(const Inst& i) {
        if (i.op >= Op::Count) {
            problem("#" + std::to_string(index_) + ": no such op");
            return;
        }
        check(!ends(i) || index_ + 1 == block_.insts.size(), "ends the block but is not the last");
        check(!(i.live & ~kAllFlags), "live has bits that are not flags");
        check(!i.lock || i.op == Op::Rmw, "only Rmw can be locked");
        check(u8(i.cond) < 16, "no such condition");
        if (i.op == Op::Insn) {
            temps_ = 0;
            ++instructions_;
            if (block_.follows) {
                check((block_.linear_pc ^ (block_.linear_pc + u64(i.imm))) < 4096, "lies in another page");
            } else {
                check(i.imm >= 0 && i.imm > last_offset_, "offsets must rise");
                check(block_.guest_bytes == 0 || u64(i.imm) < block_.guest_bytes, "lies behind the guest's code");
            }
            last_offset_ = i.imm;
            return;
        }
        sizes(i);
        operands(i);
    }

    void sizes(const Inst& i) {
        if (i.op == Op::SegAddr)
            check(i.size != 0, "size is 0");
        else if (text::has_size(i.op))
            check(i.size && !(i.size & (i.size - 1)) && (i.size & allowed_sizes(i.op)), "size");
        if (text::has_size2(i.op))
            check(i.size2 <= 8 && i.size2 >= i.size && !(i.size2 & (i.size2 - 1)),
                  "size2 is not a size from size to 8");
    }

    // ---- operands
    void source(Ref r) {
        check(r.is_reg(), "a source is not a GPR or temporary");
        if (r.is_temp())
            check(temps_ >> r.index() & 1, "reads a temporary that is not defined in this instruction");
    }
    void source_or_imm(const Inst& i, Ref r) {
        if (!r.is_imm()) return source(r);
        const bool fits = fits32(i.imm) || (i.size < 8 && u64(i.imm) <= size_mask(i.size));
        check(fits, "an immediate does not fit 32 bits");
    }
    void destination(Ref r) {
        check(r.is_reg(), "d is not a GPR or temporary");
        if (r.is_temp()) temps_ |= 1u << r.index();
    }
    void vector(Ref r) { check(r.is_xmm() || r.is_mm(), "not a vector register"); }
    void memory(const Inst& i) {
        const Address& m = i.mem;
        if (!m.base.is_none()) source(m.base);
        if (!m.index.is_none()) source(m.index);
        check(m.scale <= 3, "scale");
        check(!m.from_pc || (m.base.is_none() && m.index.is_none()), "an address from the pc has registers");
        check(m.size == 2 || m.size == 4 || m.size == 8, "address size");
        check(m.linear_size == 4 || m.linear_size == 8, "linear size");
        check(u8(m.seg) <= u8(Seg::None), "no such segment");
        const bool absolute = m.base.is_none() && m.index.is_none();
        check(absolute || m.size != 8 || fits32(m.disp), "displacement does not fit 32 bits");
    }

    void operands(const Inst& i) {
        switch (info(i.op).form) {
        case Form::None: break;
        case Form::D: destination(i.d); break;
        case Form::A: source(i.a); break;
        case Form::DA:
            if (i.op != Op::Mov)
                source(i.a);
            else if (!i.a.is_imm())
                source(i.a);
            if (i.op == Op::Cmov || i.op == Op::InsHi) source(i.d);
            destination(i.d);
            break;
        case Form::AB: source(i.a), source_or_imm(i, i.b); break;
        case Form::DAB: source(i.a), source_or_imm(i, i.b), destination(i.d); break;
        case Form::DABC: source(i.a), source(i.b), source_or_imm(i, i.c), destination(i.d); break;
        case Form::DCA: source(i.a), destination(i.c), destination(i.d); break;
        case Form::DM:
            memory(i);
            if (i.op == Op::VLoad)
                vector(i.d);
            else
                destination(i.d);
            break;
        case Form::MA: memory_and_source(i); break;
        case Form::D_Mem:
            memory(i);
            check(i.mem.seg != Seg::None, "needs a segment");
            check(i.imm >= 0 && i.imm <= i64(Access::Any), "no such kind of access");
            destination(i.d);
            break;
        case Form::D_Imm: state(i), destination(i.d); break;
        case Form::A_Imm:
            if (!i.a.is_imm()) source(i.a);
            if (i.op == Op::StoreState)
                state(i);
            else if (i.op == Op::SetFlags)
                check(!(u64(i.imm) & ~u64{kAllFlags}), "the mask has bits that are not flags");
            break;
        case Form::Imm: check(rip_ok(i.imm), "rip is wider than the mode"); break;
        case Form::Branch:
            if (i.op == Op::BranchNz) source(i.a);
            check(rip_ok(i.imm) && rip_ok(i.imm2), "rip is wider than the mode");
            break;
        case Form::Rmw: check(false, "is not an op of its own"); break;
        case Form::ImmSize: check(i.size <= 16 && i.imm >= 0 && i.imm < 64, "imm or size"); break;
        case Form::Vec: vec(i); break;
        case Form::Vex: vex(i); break;
        case Form::X87:
            check(i.helper, "has no helper");
            if (i.from_memory) memory(i);
            if (!i.a.is_none()) source(i.a);
            break;
        case Form::Call: call(i); break;
        }
    }
    bool rip_ok(i64 rip) const { return block_.mode_bits == 64 || u64(rip) <= 0xffffffff; }

    void memory_and_source(const Inst& i) {
        memory(i);
        switch (i.op) {
        case Op::CheckAlign:
        case Op::CheckAc: check(i.imm > 0 && i.imm < 64, "alignment mask"); break;
        case Op::VStore: vector(i.a); break;
        case Op::Store:
            if (!i.a.is_imm()) source(i.a);
            break;
        default: rmw(i);
        }
    }
    void rmw(const Inst& i) {
        check(i.sub < Op::Count && allowed_in_rmw(i.sub), "not an op that Rmw can do");
        if (i.sub >= Op::Count) return;
        const bool unary = info(i.sub).form == Form::DA, exchange = info(i.sub).form == Form::Rmw;
        const bool double_shift = info(i.sub).form == Form::DABC;
        if (unary)
            check(i.a.is_none(), "has no operand a");
        else if (exchange || double_shift)
            source(i.a);
        else
            source_or_imm(i, i.a);
        if (double_shift) {
            check(i.size != 1, "size");
            source_or_imm(i, i.c);
        } else {
            check(i.c.is_none(), "has no operand c");
        }
        if (i.sub == Op::Xadd || i.sub == Op::Xchg)
            destination(i.d);
        else
            check(i.d.is_none(), "has no operand d");
    }
    // GPRs, temporaries and arithmetic flags are operands, not state: passes keep track of them.
    void state(const Inst& i) {
        check(i.imm != offsetof(Context, flags), "the arithmetic flags are for GetFlags and SetFlags");
        check(i.imm >= i64(offsetof(Context, tmp) + sizeof(Context::tmp)) && i.imm < 0x10000,
              "not an offset of a field");
    }
    void vec(const Inst& i) {
        check(i.vec < vec_op_count(), "no such vector instruction");
        if (i.vec >= vec_op_count()) return;
        if (i.from_memory)
            memory(i);
        else if (i.a.is_reg())
            source(i.a);
        check(!i.a.is_imm() || !vec_op(i.vec).has_imm, "a and the imm8 are both immediates");
        if (i.d.is_reg()) destination(i.d);
        check(!i.d.is_imm(), "d is an immediate");
        check(i.imm >= -128 && i.imm <= 255, "imm is wider than a byte");
    }
    void vex(const Inst& i) {
        check(i.vec < vex_op_count(), "no such VEX instruction");
        if (i.vec >= vex_op_count()) return;
        const VexOp& op = vex_op(i.vec);
        check(op.exists(i.size), "vector length");
        check(i.size2 == 4 || i.size2 == 8, "width of a general register");
        check(op.memory || !i.from_memory, "has no memory operand");
        if (i.from_memory) memory(i);
        const Ref operands[] = {i.d, i.a, i.b, i.c};
        for (unsigned n = 0; n < 4; ++n) {
            const bool in_memory = i.from_memory && n == (op.stores() ? 0 : 2);
            switch (in_memory ? VexOperand::Memory : op.operands[n]) {
            case VexOperand::None:
            case VexOperand::Imm:
                check(operands[n].is_none(), "an operand that the row does not have");
                break;
            case VexOperand::Memory:
                check(in_memory && operands[n].is_none(), "needs a memory operand");
                break;
            case VexOperand::Vector:
            case VexOperand::Half:
            case VexOperand::Xmm:
                check(operands[n].is_xmm() && (op.evex || operands[n].index() < 16), "not a vector register");
                break;
            case VexOperand::Opmask: check(operands[n].is_opmask(), "not an opmask register"); break;
            default: n == 0 ? destination(operands[n]) : source(operands[n]);
            }
        }
        check(i.imm >= -128 && i.imm <= 255, "imm is wider than a byte");
        check(i.mask.is_none() || (op.element && i.mask.is_opmask() && i.mask.index()), "not a write mask");
        check(!i.zeroing || (!i.mask.is_none() && i.d.is_xmm()), "nothing to zero");
        check(!i.broadcast || (op.broadcast && i.from_memory), "no broadcast");
        check(i.rounding == Rounding::Mxcsr ||
                  (!i.from_memory && (i.rounding == Rounding::Suppress ? op.rounding == VexRounding::Suppress
                                                                       : op.rounding == VexRounding::Any)),
              "no such embedded rounding");
    }
    void call(const Inst& i) {
        check(i.helper, "has no helper");
        if (!i.a.is_none() && !i.a.is_imm()) source(i.a);
        if (!i.b.is_none() && !i.b.is_imm()) source(i.b);
        if (i.helper) check(!((i.helper->writes | i.helper->reads) & ~kAllFlags), "its helper's flags");
        if (!i.d.is_none()) destination(i.d);
    }

    const Block& block_;
    std::vector<std::string> problems_;
    std::size_t index_ = 0;
    u32 temps_ = 0; // defined in the current guest instruction
    u32 instructions_ = 0;
    i64 last_offset_ = -1;
};

} // namespace

std::vector<std::string> verify(const Block& block) {
    return Verifier(block).run();
}

} // namespace dragoman::ir
