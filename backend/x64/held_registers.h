// A guest register that has no host register may be *held* in host::temp, over guest instructions that need
// no temporary there. It is read from there, and each write goes to its place in memory too, so whoever
// leaves the block finds it where it always is.
#pragma once

#include "ir/block.h"
#include "ir/passes/passes.h"

#include <functional>
#include <vector>

namespace dragoman::backend {

class HeldRegisters {
  public:
    static constexpr u8 none = 0xff;
    struct Hold {
        u8 id = none;       // Ref::id() of what is held
        bool fetch = false; // its value comes from memory before the instruction
    };

    // `in_memory`: the registers that have no host register. Of the op at a position, `is_operand`: it is a
    // load that is an operand of the op behind it, so its temporary needs no register; `flags_from`: the
    // registers that the flags before it may be made of again.
    void plan(const ir::Block& block, ir::RegSet in_memory,
              const std::function<bool(std::size_t)>& is_operand,
              const std::function<ir::RegSet(std::size_t)>& flags_from);
    void clear() { holds_.clear(); }
    // For a guest instruction, by its number in the block.
    Hold of(std::size_t instruction) const {
        return instruction < holds_.size() ? holds_[instruction] : Hold{};
    }

  private:
    static constexpr unsigned first = 8, count = 8; // registers that may have no host register
    struct Instruction {
        i16 gain[count] = {};         // of each, in halves of a host instruction, if it is held
        ir::RegSet named = 0;         // those that lie in memory
        ir::RegSet fetched = 0;       // those whose old value matters
        ir::RegSet replaced = 0;      // those that have a new one
        bool needs_temporary = false; // in host::temp
    };
    void note(const ir::Inst& inst, ir::RegSet flags_from, ir::RegSet in_memory, Instruction& at);
    void hold_best(std::size_t begin, std::size_t end);

    std::vector<Instruction> instructions_;
    std::vector<Hold> holds_;
    ir::RegSet named_ = 0; // by any instruction
};

} // namespace dragoman::backend
