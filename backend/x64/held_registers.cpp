#include "backend/x64/held_registers.h"

#include <algorithm>

namespace dragoman::backend {

using ir::Inst;
using ir::Op;
using ir::Ref;
using ir::RegSet;

namespace {

constexpr int kFetch = 2; // halves of a host instruction, as all of these
constexpr int kLeast = 2; // what is worth the trouble

// Of an op that finds r in a register, and writes it to two places.
int gain_of(const Inst& inst, Ref r) {
    const bool modifies = inst.d == r && inst.a == r;
    int gain = 3 * ((inst.mem.base == r) + (inst.mem.index == r)); // two instructions, or a shorter check
    gain += (inst.a == r && !modifies) + (inst.b == r) + (inst.c == r);
    if (modifies)
        gain += inst.size == 4 ? 2 : -1; // there it is done in place, but of 4 bytes
    else if (inst.d == r && (inst.op == Op::Mov || inst.op == Op::Setcc))
        gain -= inst.size == 4 && inst.a.is_reg() ? 1 : 2;
    return gain;
}

// x - x is 0 whatever x is.
bool is_zero(const Inst& inst) {
    return (inst.op == Op::Xor || inst.op == Op::Sub) && inst.size >= 4 && inst.a == inst.b &&
           inst.d == inst.a;
}

} // namespace

void HeldRegisters::note(const Inst& inst, RegSet flags_from, RegSet in_memory, Instruction& at) {
    const RegSet read = ir::registers_read(inst) & in_memory,
                 written = ir::registers_written(inst) & in_memory, wanted_by_flags = flags_from & in_memory;
    if (!(read | written | wanted_by_flags)) return; // most ops
    const RegSet replaced = ir::register_replaced(inst) & in_memory;
    const RegSet wanted = is_zero(inst) ? 0 : read | (written & ~replaced);
    at.fetched |= (wanted | wanted_by_flags) & ~at.replaced;
    at.replaced |= replaced;
    at.named |= read | written;
    for (unsigned n = 0; n < count; ++n) {
        const Ref r = Ref::gpr(first + n);
        if ((read | written) & ir::reg_set(r)) at.gain[n] = i16(at.gain[n] + gain_of(inst, r));
    }
}

void HeldRegisters::plan(const ir::Block& block, RegSet in_memory,
                         const std::function<bool(std::size_t)>& is_operand,
                         const std::function<RegSet(std::size_t)>& flags_from) {
    instructions_.clear();
    named_ = 0;
    Ref operand; // of the op behind a load, which takes it from memory
    for (std::size_t i = 0; i < block.insts.size(); ++i) {
        const Inst& inst = block.insts[i];
        if (inst.op == Op::Insn) {
            instructions_.emplace_back();
            continue;
        }
        if (instructions_.empty()) continue;
        Instruction& at = instructions_.back();
        const bool loads_operand = inst.op == Op::Load && inst.d.is_temp() && is_operand(i);
        const auto in_temporary = [&](Ref r) { return r.is_temp() && r != operand; };
        at.needs_temporary |= inst.op == Op::Call || inst.op == Op::JumpInd || inst.op == Op::JumpOut ||
                              (in_temporary(inst.d) && !loads_operand) || in_temporary(inst.a) ||
                              in_temporary(inst.b) || in_temporary(inst.c) || in_temporary(inst.mem.base) ||
                              in_temporary(inst.mem.index);
        operand = loads_operand ? inst.d : Ref::none();
        note(inst, flags_from(i), in_memory, at);
        named_ |= at.named;
    }
    holds_.clear();
    if (!named_) return;
    holds_.resize(instructions_.size());
    for (std::size_t begin = 0; begin < instructions_.size(); ++begin) {
        std::size_t end = begin;
        while (end < instructions_.size() && !instructions_[end].needs_temporary)
            ++end;
        hold_best(begin, end);
        begin = end;
    }
}

// The register and the instructions for which most is gained, then the same on either side of these.
void HeldRegisters::hold_best(std::size_t begin, std::size_t end) {
    int most = kLeast - 1;
    u8 best = none;
    std::size_t best_first = 0, best_last = 0;
    for (unsigned n = 0; n < count; ++n) {
        const RegSet r = ir::reg_set(Ref::gpr(first + n));
        if (!(named_ & r)) continue;
        int gain = 0; // from `from` to here
        std::size_t from = end;
        for (std::size_t k = begin; k < end; ++k) {
            const Instruction& at = instructions_[k];
            if (!(at.named & r)) continue;
            gain += at.gain[n];
            const int alone = at.gain[n] - (at.fetched & r ? kFetch : 0);
            if (from == end || alone > gain) gain = alone, from = k;
            if (gain > most) most = gain, best = u8(first + n), best_first = from, best_last = k;
        }
    }
    if (best == none) return;
    for (std::size_t k = best_first; k <= best_last; ++k)
        holds_[k].id = best;
    holds_[best_first].fetch = instructions_[best_first].fetched & ir::reg_set(Ref::gpr(best));
    hold_best(begin, best_first);
    hold_best(best_last + 1, end);
}

} // namespace dragoman::backend
