// The translation of one block in progress: what every translate function works with.
#pragma once

#include "frontend/x86/cpuid.h"
#include "frontend/x86/instruction.h"
#include "frontend/x86/mode.h"
#include "frontend/x86/near_branch.h"
#include "ir/builder.h"
#include "ir/memory.h"

#include <utility>

namespace dragoman::x86 {

class Translation {
  public:
    // `limit`: of CS, in bytes; all ones in 64-bit mode.
    Translation(ir::Block& block, const Mode& block_mode, const CpuModel& cpu_model, u64 limit)
        : ir(block), mode(block_mode), model(cpu_model), code_limit(limit) {}

    ir::Builder ir;
    const Mode mode;
    const CpuModel& model;
    const u64 code_limit;
    bool inline_time = false; // Context::time is the time stamp

    // ---- operands. `n` numbers Zydis's operands; sizes are bytes.
    // The register of an operand as a Ref; AH CH DH BH are not: read_gpr/write_gpr handle them.
    static ir::Ref gpr(ZydisRegister reg);
    static bool is_high_byte(ZydisRegister reg);
    // The memory operand's address. When its segment needs a base or checks in this mode, emits SegAddr for
    // an access of `size` bytes and returns the checked linear address; otherwise an effective address used
    // as it is. `offset` is added to the displacement (bit strings, far pointers).
    // Where alignment is checked (#AC), an access of 2, 4, 8 or 10 bytes is taken for one datum; `align` says
    // what of others must be aligned, in bytes.
    ir::Address address(const Instruction& insn, unsigned n, unsigned size, ir::Access access, i64 offset = 0,
                        unsigned align = 0);
    // The same for an address made of registers (string instructions, stack).
    ir::Address address(ir::Seg seg, ir::Ref base, i64 disp, unsigned address_size, unsigned size,
                        ir::Access access, unsigned align = 0);
    // Effective address without segment, for LEA and the like.
    static ir::Address effective(const Instruction& insn, unsigned n);
    // An effective address put into its segment: as the two above.
    ir::Address in_segment(ir::Address a, ir::Seg seg, unsigned size, ir::Access access, unsigned align = 0);
    // The linear address that an address from above stands for, in a temporary: what helpers take.
    ir::Ref linear(const ir::Address& a);
    // The segment that memory operand n is in (after prefixes).
    static ir::Seg segment(const Instruction& insn, unsigned n);

    // The value of operand n (register, memory or immediate): a GPR itself, a temporary, or Ref::imm() with
    // `imm` set.
    ir::Ref read(const Instruction& insn, unsigned n, unsigned size, i64& imm);
    // The same but never an immediate.
    ir::Ref read_reg(const Instruction& insn, unsigned n, unsigned size);
    // Stores a value into operand n (register or memory).
    void write(const Instruction& insn, unsigned n, unsigned size, ir::Ref value, i64 imm = 0);

    // ---- stack: width by Mode::stack_bits, segment SS. `size` 2, 4 or 8. RSP is committed after the access
    // (design: precise state), `pop` returns a temporary and leaves RSP alone until `release`.
    void push(unsigned size, ir::Ref value, i64 imm = 0);
    ir::Ref pop_value(unsigned size, i64 offset = 0);          // [SS:RSP + offset]
    ir::Ref pop_to(ir::Ref to, unsigned size, i64 offset = 0); // the same, to there
    void adjust_stack(i64 bytes);
    unsigned stack_size() const { return mode.stack_bits / 8; }

    // ---- ends
    // Cuts a rip to the operand size of a branch.
    u64 cut_rip(u64 rip, unsigned operand_size) const;
    // Emits the exception; ends the block. Returns false, for `return t.raise(...)`.
    bool raise(Vector vector);
    bool raise(Vector vector, u32 error);
    // Calls a helper after which nothing known at translation time may hold any more; goes on at next_rip in
    // a new block.
    bool call_and_exit(const Instruction& insn, const ir::Helper& helper, ir::Ref a = {}, ir::Ref b = {},
                       i64 imm = 0);

    // STI, MOV SS, POP SS: the next instruction must be in the same block with no interrupt before it; after
    // it, a poll. The translate function of such an instruction calls this and returns true.
    void shadow_next(Shadow kind) { shadow_ = kind; }
    Shadow take_shadow() { return std::exchange(shadow_, kNoShadow); }

    // The instruction leaves to the run loop, whatever it is (single steps, shadows).
    bool leaves = false;
    // The instruction that ends the block is an indirect near branch of 64-bit code.
    void set_near_branch(NearBranch branch) { near_branch_ = branch; }
    NearBranch near_branch() const { return near_branch_; }

  private:
    void check_alignment(const ir::Address& a, unsigned align);

    Shadow shadow_ = kNoShadow;
    NearBranch near_branch_;
};

} // namespace dragoman::x86
