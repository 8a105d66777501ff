// Removes ops whose only effect is a register or flags that nobody looks at. Backwards over the block: at its
// end, and wherever it may be left, every GPR counts as looked at; temporaries are dead at an Insn.
#include "ir/passes/passes.h"

#include <algorithm>

namespace dragoman::ir {

namespace {

// No effect but on d and the flags?
bool removable(const Inst& inst) {
    if (inst.op == Op::LoadState || inst.op == Op::TimeStamp) return true;
    return !(info(inst.op).effects & (kKeep | kEndsBlock | kTouchesMemory | kMayFault | kTouchesState));
}

bool moves_to_itself(const Inst& inst) {
    return inst.op == Op::Mov && inst.d == inst.a && (inst.size == 8 || (inst.size < 4 && inst.d.is_gpr()));
}

} // namespace

void dead_code(Block& block) {
    RegSet live = kGprSet;
    constexpr Op removed = Op::Count;
    for (auto i = block.insts.rbegin(); i != block.insts.rend(); ++i) {
        Inst& inst = *i;
        if (inst.op == Op::Insn) {
            live &= ~kTempSet;
            continue;
        }
        const bool wanted = (registers_written(inst) & live) || (flags_written(inst) & inst.live);
        if (removable(inst) && (!wanted || moves_to_itself(inst))) {
            inst.op = removed;
            continue;
        }
        live = (live & ~register_replaced(inst)) | registers_read(inst);
        if (may_leave(inst)) live |= kGprSet;
    }
    std::erase_if(block.insts, [](const Inst& inst) { return inst.op == removed; });
}

} // namespace dragoman::ir
