// How a block goes on in what it calls. A direct call into the block's page is no end: the called
// instructions follow, and at the return from them (Op::JumpOut, which compares the address that it took from
// the stack) the block goes on behind the call.
#pragma once

#include "frontend/x86/instruction.h"
#include "frontend/x86/translate_system.h"
#include "frontend/x86/translator.h"
#include "ir/block.h"

#include <algorithm>
#include <utility>

namespace dragoman::x86 {

class Follower {
  public:
    // `left`: bytes from `linear`, where the block starts, to the end of the page.
    Follower(u64 start, u64 linear, u64 left) : start_(start), linear_(linear), left_(i64(left)) {}

    // An instruction of this length ends at this offset.
    void decoded(i64 end, u64 length) {
        if (!inside_) {
            own_ = u64(end);
            return;
        }
        first_ = used_ ? std::min(first_, end - i64(length)) : end - i64(length);
        last_ = used_ ? std::max(last_, end) : end;
        used_ = true;
    }

    // The instruction before `offset` has ended the block. True: it goes on at `offset`, which may be
    // another.
    bool follow(ir::Block& block, Translator::Source& source, const Instruction& insn, i64& offset) {
        ir::Inst& last = block.insts.back();
        if (!inside_ && last.op == ir::Op::Jump && insn.mnemonic() == ZYDIS_MNEMONIC_CALL && !is_far(insn)) {
            const i64 target = i64(u64(last.imm) - start_), in_page = i64(linear_ & (softmmu::kPageSize - 1));
            if (target < -in_page || target >= left_ || insn.next_rip < insn.rip || offset >= left_)
                return false;
            if (used_ && (target < last_ - span || target > first_ + span)) return false;
            call_ = {
                block.insts.size() - 1, last, block.guest_instructions, source.branch, used_, first_, last_};
            block.insts.pop_back();
            inside_ = true;
            return_to_ = offset;
            offset = target;
            return true;
        }
        const std::size_t count = block.insts.size();
        if (inside_ && last.op == ir::Op::JumpInd && insn.mnemonic() == ZYDIS_MNEMONIC_RET && !is_far(insn) &&
            block.insts[count - 2].op == ir::Op::Lea && block.insts[count - 2].d == ir::kRsp) {
            // Looks at the address first: elsewhere the return begins again, in a block that ends with it.
            const u64 rip = start_ + u64(return_to_);
            last = {.op = ir::Op::JumpOut, .a = last.a, .imm = i64(rip)};
            std::swap(block.insts[count - 2], block.insts[count - 1]);
            inside_ = false;
            block.follows = true;
            offset = return_to_;
            return true;
        }
        return false;
    }

    // The block ends here. If it has not come to the return it ends with the call: what is called has blocks
    // of its own, and would be here once more for each caller.
    // True: it does.
    bool end(ir::Block& block, Translator::Source& source, i64& offset) {
        if (!inside_) return false;
        block.insts.resize(call_.at);
        block.insts.push_back(call_.jump);
        block.guest_instructions = call_.instructions;
        source.branch = call_.branch;
        used_ = call_.used, first_ = call_.first, last_ = call_.last;
        offset = return_to_;
        return true;
    }
    // At how many instructions the block ends at the latest, if that is `most` elsewhere.
    unsigned limit(unsigned most) const {
        return inside_ ? std::min(most, call_.instructions + longest) : most;
    }

    bool inside() const { return inside_; } // what was called
    u64 own_bytes() const { return own_; }
    void put(Translator::Source& source, u64 gpa) const {
        if (!used_) return;
        source.gpa[Translator::Source::Followed] = gpa + u64(first_);
        source.bytes[Translator::Source::Followed] = u32(last_ - first_);
    }

  private:
    static constexpr unsigned longest = 24; // instructions of what is called, up to its return
    static constexpr i64 span = 256;        // of all that is followed: what lies between is taken for code
    const u64 start_, linear_;
    const i64 left_;
    bool inside_ = false; // what was called
    i64 return_to_ = 0;
    struct { // the block as it was behind the call
        std::size_t at;
        ir::Inst jump;
        u32 instructions;
        BranchKind branch;
        bool used;
        i64 first, last;
    } call_{};
    u64 own_ = 0;
    bool used_ = false;
    i64 first_ = 0, last_ = 0; // of what was followed
};

} // namespace dragoman::x86
