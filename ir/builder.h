// Appends instructions to a block; what translate functions are written with.
#pragma once

#include "ir/block.h"

#include "base/assert.h"

namespace dragoman::ir {

class Builder {
  public:
    explicit Builder(Block& block) : block_(block) {}

    // A fresh temporary of this guest instruction.
    Ref temp() {
        DRAGOMAN_ASSERT(next_temp_ < kTemps);
        return Ref::temp(next_temp_++);
    }
    // A guest instruction begins, `offset` bytes into the block.
    void insn(i32 offset) {
        next_temp_ = 0;
        add(Op::Insn).imm = offset;
    }

    // Most ops are made where they come to lie: what was just written field by field is not copied, for which
    // the host would have to wait.
    Inst& add(Op op, unsigned size = 8) {
        Inst& inst = block_.insts.emplace_back();
        inst.op = op;
        inst.size = u8(size);
        return inst;
    }
    Inst& add(const Inst& inst) { return block_.insts.emplace_back(inst); }

    // d = op(a, b); b may be Ref::imm() with the value in imm.
    Inst& alu(Op op, unsigned size, Ref d, Ref a, Ref b, i64 imm = 0) {
        Inst& inst = unary(op, size, d, a, imm);
        inst.b = b;
        return inst;
    }
    Inst& unary(Op op, unsigned size, Ref d, Ref a, i64 imm = 0) {
        Inst& inst = add(op, size);
        inst.d = d;
        inst.a = a;
        inst.imm = imm;
        return inst;
    }
    Inst& mov(unsigned size, Ref d, Ref a) { return unary(Op::Mov, size, d, a); }
    Inst& mov_imm(unsigned size, Ref d, i64 imm) { return unary(Op::Mov, size, d, Ref::imm(), imm); }
    Inst& extend(Op op, unsigned from, unsigned to, Ref d, Ref a) {
        Inst& inst = unary(op, from, d, a);
        inst.size2 = u8(to);
        return inst;
    }
    // d = a + imm without touching flags.
    Inst& add_noflags(unsigned size, Ref d, Ref a, i64 imm) {
        Inst& inst = add(Op::Lea, size);
        inst.d = d;
        inst.mem.base = a;
        inst.mem.size = 8;
        inst.mem.disp = imm;
        return inst;
    }
    Inst& lea(unsigned size, Ref d, const Address& mem) { return with_memory(Op::Lea, size, d, mem); }
    Inst& load(unsigned size, Ref d, const Address& mem) { return with_memory(Op::Load, size, d, mem); }
    Inst& load_extend(Op op, unsigned from, unsigned to, Ref d, const Address& mem) {
        Inst& inst = with_memory(op, from, d, mem);
        inst.size2 = u8(to);
        return inst;
    }
    Inst& store(unsigned size, const Address& mem, Ref a, i64 imm = 0) {
        Inst& inst = add(Op::Store, size);
        inst.a = a;
        inst.mem = mem;
        inst.imm = imm;
        return inst;
    }
    // [mem] = [mem] `sub` a
    Inst& rmw(Op sub, unsigned size, const Address& mem, Ref a, i64 imm, bool lock) {
        Inst& inst = add(Op::Rmw, size);
        inst.sub = sub;
        inst.lock = lock;
        inst.a = a;
        inst.mem = mem;
        inst.imm = imm;
        return inst;
    }
    // `offset`: offsetof(Context, field) or of a field of the frontend's state that derives from Context.
    Inst& load_state(unsigned size, Ref d, u32 offset) {
        Inst& inst = add(Op::LoadState, size);
        inst.d = d;
        inst.imm = offset;
        return inst;
    }
    // The value is a register, or an immediate in imm2 with a = Ref::imm().
    Inst& store_state(unsigned size, u32 offset, Ref a, i64 value = 0) {
        Inst& inst = add(Op::StoreState, size);
        inst.a = a;
        inst.imm = offset;
        inst.imm2 = value;
        return inst;
    }
    Inst& call(const Helper& helper, Ref d = {}, Ref a = {}, Ref b = {}, i64 imm = 0) {
        Inst& inst = add(Op::Call);
        inst.d = d;
        inst.a = a;
        inst.b = b;
        inst.imm = imm;
        inst.helper = &helper;
        return inst;
    }
    Inst& x87(const Helper& helper, Ref a, i64 imm) {
        Inst& inst = add(Op::X87);
        inst.a = a;
        inst.imm = imm;
        inst.helper = &helper;
        return inst;
    }
    Inst& x87(const Helper& helper, const Address& mem, unsigned bytes, i64 imm) {
        Inst& inst = add(Op::X87, bytes);
        inst.from_memory = true;
        inst.mem = mem;
        inst.imm = imm;
        inst.helper = &helper;
        return inst;
    }
    void jump(u64 rip) { add(Op::Jump).imm = i64(rip); }
    void branch(Cond cond, u64 taken, u64 otherwise) {
        Inst& inst = add(Op::Branch);
        inst.cond = cond;
        inst.imm = i64(taken);
        inst.imm2 = i64(otherwise);
    }
    void branch_nz(unsigned size, Ref a, u64 taken, u64 otherwise) {
        Inst& inst = add(Op::BranchNz, size);
        inst.a = a;
        inst.imm = i64(taken);
        inst.imm2 = i64(otherwise);
    }
    void jump_ind(Ref a) { add(Op::JumpInd).a = a; }
    void exit_to(u64 rip) { add(Op::ExitTo).imm = i64(rip); }
    void exit_here() { add(Op::ExitHere); }

    Block& block() { return block_; }

  private:
    Inst& with_memory(Op op, unsigned size, Ref d, const Address& mem) {
        Inst& inst = add(op, size);
        inst.d = d;
        inst.mem = mem;
        return inst;
    }

    Block& block_;
    unsigned next_temp_ = 0;
};

} // namespace dragoman::ir
