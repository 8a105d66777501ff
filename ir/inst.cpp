#include "ir/inst.h"

#include "ir/vec.h"
#include "ir/vex.h"

namespace dragoman::ir::by_inst {

Flags flags_written(const Inst& inst) {
    switch (inst.op) {
    case Op::Rmw: return info(inst.sub).writes;
    case Op::Vec: return vec_op(inst.vec).flags;
    case Op::Vex: return vex_op(inst.vec).flags;
    default: return inst.helper ? inst.helper->writes : kAllFlags;
    }
}

Flags flags_read(const Inst& inst) {
    if (inst.op == Op::Rmw) return info(inst.sub).reads;
    return inst.helper ? inst.helper->reads : kAllFlags;
}

bool may_leave(const Inst& inst) {
    switch (inst.op) {
    case Op::Vec: return inst.from_memory || vec_op(inst.vec).numeric;
    case Op::Vex: return inst.from_memory || vex_op(inst.vec).numeric;
    case Op::PollIntr:
    case Op::BranchOut:
    case Op::JumpOut: return true;
    default: return false;
    }
}

} // namespace dragoman::ir::by_inst
