#include "backend/x64/instruction_kind.h"

#include "ir/op.h"

#include <algorithm>

namespace dragoman::backend {

namespace {

using ir::Op;

InstructionKind kind_of(const ir::Inst& inst) {
    const u8 effects = ir::info(inst.op).effects;
    switch (inst.op) {
    case Op::Call: return InstructionKind::Calls;
    case Op::X87: return InstructionKind::X87;
    case Op::Vec:
    case Op::Vex:
    case Op::VLoad:
    case Op::VStore: return InstructionKind::Vectors;
    case Op::BranchOut:
    case Op::JumpOut: return InstructionKind::Jumps;
    case Op::Rmw: return InstructionKind::ReadsAndWrites;
    case Op::Store: return InstructionKind::Stores;
    default: break;
    }
    if (effects & ir::kEndsBlock) return InstructionKind::Jumps;
    return effects & ir::kTouchesMemory ? InstructionKind::Loads : InstructionKind::Registers;
}

} // namespace

InstructionKind kind_of(std::span<const ir::Inst> ops) {
    bool loads = false;
    InstructionKind last = InstructionKind::Registers;
    for (const ir::Inst& inst : ops) {
        const InstructionKind kind = kind_of(inst);
        loads |= kind == InstructionKind::Loads;
        last = std::max(last, kind);
    }
    return last == InstructionKind::Stores && loads ? InstructionKind::ReadsAndWrites : last;
}

} // namespace dragoman::backend
