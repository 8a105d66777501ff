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
        add({.op = Op::Insn, .imm = offset});
    }

    Inst& add(const Inst& inst) { return block_.insts.emplace_back(inst); }

    // d = op(a, b); b may be Ref::imm() with the value in imm.
    Inst& alu(Op op, unsigned size, Ref d, Ref a, Ref b, i64 imm = 0) {
        return add({.op = op, .size = u8(size), .d = d, .a = a, .b = b, .imm = imm});
    }
    Inst& unary(Op op, unsigned size, Ref d, Ref a, i64 imm = 0) {
        return add({.op = op, .size = u8(size), .d = d, .a = a, .imm = imm});
    }
    Inst& mov(unsigned size, Ref d, Ref a) { return unary(Op::Mov, size, d, a); }
    Inst& mov_imm(unsigned size, Ref d, i64 imm) { return unary(Op::Mov, size, d, Ref::imm(), imm); }
    Inst& extend(Op op, unsigned from, unsigned to, Ref d, Ref a) {
        return add({.op = op, .size = u8(from), .size2 = u8(to), .d = d, .a = a});
    }
    // d = a + imm without touching flags.
    Inst& add_noflags(unsigned size, Ref d, Ref a, i64 imm) {
        return add({.op = Op::Lea, .size = u8(size), .d = d, .mem = {.base = a, .size = 8, .disp = imm}});
    }
    Inst& lea(unsigned size, Ref d, const Address& mem) {
        return add({.op = Op::Lea, .size = u8(size), .d = d, .mem = mem});
    }
    Inst& load(unsigned size, Ref d, const Address& mem) {
        return add({.op = Op::Load, .size = u8(size), .d = d, .mem = mem});
    }
    Inst& load_extend(Op op, unsigned from, unsigned to, Ref d, const Address& mem) {
        return add({.op = op, .size = u8(from), .size2 = u8(to), .d = d, .mem = mem});
    }
    Inst& store(unsigned size, const Address& mem, Ref a, i64 imm = 0) {
        return add({.op = Op::Store, .size = u8(size), .a = a, .mem = mem, .imm = imm});
    }
    // [mem] = [mem] `sub` a
    Inst& rmw(Op sub, unsigned size, const Address& mem, Ref a, i64 imm, bool lock) {
        return add({.op = Op::Rmw, .size = u8(size), .sub = sub, .lock = lock, .a = a, .mem = mem, .imm = imm});
    }
    // `offset`: offsetof(Context, field) or of a field of the frontend's state that derives from Context.
    Inst& load_state(unsigned size, Ref d, u32 offset) {
        return add({.op = Op::LoadState, .size = u8(size), .d = d, .imm = offset});
    }
    // The value is a register, or an immediate in imm2 with a = Ref::imm().
    Inst& store_state(unsigned size, u32 offset, Ref a, i64 value = 0) {
        return add({.op = Op::StoreState, .size = u8(size), .a = a, .imm = offset, .imm2 = value});
    }
    Inst& call(const Helper& helper, Ref d = {}, Ref a = {}, Ref b = {}, i64 imm = 0) {
        return add({.op = Op::Call, .d = d, .a = a, .b = b, .imm = imm, .helper = &helper});
    }
    Inst& x87(const Helper& helper, Ref a, i64 imm) {
        return add({.op = Op::X87, .a = a, .imm = imm, .helper = &helper});
    }
    Inst& x87(const Helper& helper, const Address& mem, unsigned bytes, i64 imm) {
        return add({.op = Op::X87, .size = u8(bytes), .from_memory = true, .mem = mem, .imm = imm, .helper = &helper});
    }
    void jump(u64 rip) { add({.op = Op::Jump, .imm = i64(rip)}); }
    void branch(Cond cond, u64 taken, u64 otherwise) {
        add({.op = Op::Branch, .cond = cond, .imm = i64(taken), .imm2 = i64(otherwise)});
    }
    void branch_nz(unsigned size, Ref a, u64 taken, u64 otherwise) {
        add({.op = Op::BranchNz, .size = u8(size), .a = a, .imm = i64(taken), .imm2 = i64(otherwise)});
    }
    void jump_ind(Ref a) { add({.op = Op::JumpInd, .a = a}); }
    void exit_to(u64 rip) { add({.op = Op::ExitTo, .imm = i64(rip)}); }
    void exit_here() { add({.op = Op::ExitHere}); }

    Block& block() { return block_; }

  private:
    Block& block_;
    unsigned next_temp_ = 0;
};

} // namespace dragoman::ir
