// Which of the flags that an op writes may be looked at? Backwards over the block. Everything that may leave
// the block looks at all of them, since the guest's flags must be exact there, and so does the block's end.
#include "ir/passes/passes.h"

namespace dragoman::ir {

void dead_flags(Block& block) {
    Flags live = kAllFlags;
    for (auto i = block.insts.rbegin(); i != block.insts.rend(); ++i) {
        Inst& inst = *i;
        if (const Flags written = flags_written(inst)) inst.live = live & written;
        // SetFlags passes on the flags that it does not set: they are live if they were.
        const Flags read = inst.op == Op::SetFlags ? 0 : flags_read(inst);
        live = may_leave(inst) ? kAllFlags : (live & ~flags_replaced(inst)) | read;
    }
}

} // namespace dragoman::ir
