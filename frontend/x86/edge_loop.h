// Loops over the edge of a page. A block ends where its page ends, but for one that goes on there to a jump
// back to its own start: that one is worth the question for its second page at each entry.
#pragma once

#include "frontend/x86/translator.h"
#include "ir/block.h"

namespace dragoman::x86 {

class EdgeLoop {
  public:
    // The block goes on behind `offset` as if it were such a loop: no instruction before it may hold
    // interrupts off for the next.
    void begin(const ir::Block& block, const Translator::Source& source, i64 offset) {
        begun_ = true;
        edge_ = {block.insts.size(), block.guest_instructions, block.code_pages[1], source, offset};
    }
    bool begun() const { return begun_; }

    // The block has come to its end. If that is no jump to its start, it ends where begin() was called
    // instead, without an end of its own. True: it does.
    bool end(ir::Block& block, Translator::Source& source, i64& offset) const {
        if (!begun_) return false;
        const ir::Inst& last = block.insts.back();
        if ((last.op == ir::Op::Branch || last.op == ir::Op::Jump) && u64(last.imm) == block.pc) return false;
        block.insts.resize(edge_.insts);
        block.guest_instructions = edge_.instructions;
        block.code_pages[1] = edge_.second_page;
        source = edge_.source;
        offset = edge_.offset;
        return true;
    }

  private:
    bool begun_ = false;
    struct { // the block at the edge
        std::size_t insts;
        u32 instructions, second_page;
        Translator::Source source;
        i64 offset;
    } edge_{};
};

} // namespace dragoman::x86
