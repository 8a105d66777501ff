// Guest code to IR: reads bytes through the MMU, decodes them (decode.h), and calls one translate function
// per instruction.
#pragma once

#include "frontend/x86/debug.h"
#include "frontend/x86/mode.h"
#include "frontend/x86/near_branch.h"
#include "ir/block.h"

#include <set>

namespace dragoman::x86 {

class Translator {
  public:
    static constexpr unsigned max_instructions = 64;

    Translator(softmmu::Mmu& mmu, Log& log);
    ~Translator();

    // Where the guest bytes are: at most two pages, the second only for a block of one instruction or a loop
    // (edge_loop.h); and what was followed, in the first page.
    struct Source {
        enum : unsigned { First, Second, Followed, Parts };
        u64 gpa[Parts] = {};
        u32 bytes[Parts] = {};
        BranchKind branch = BranchKind::None; // of the last instruction
        NearBranch near_branch;               // the last instruction, if it is one
        i32 end = 0;                          // of the last instruction, from the start of the block
    };
    // Translates the block at cpu.rip under cpu's mode, at most `limit` instructions. A block ends at the end
    // of its page, unless it goes on to a jump back to its start; an instruction that crosses the page is a
    // block of its own. False: the first instruction cannot be fetched, and the exception is recorded in cpu
    // (Exit::Fault). An undecodable or unsupported instruction becomes one that raises #UD.
    bool translate(Cpu& cpu, ir::Block& block, Source& source, unsigned limit = max_instructions);

    // Linear addresses before which blocks end (a debugger's breakpoints): no block holds one of them other
    // than at its start. Borrowed; null: none. Blocks made before keep their ends.
    void set_stops(const std::set<u64>* linear) { stops_ = linear; }

    // How many conditional branches forward a block may go on behind.
    static constexpr unsigned max_side_exits = 3;
    void set_side_exits(unsigned most) { side_exits_ = most; }
    // Direct calls into the block's page are followed, and the returns from them.
    void set_follow_calls(bool on) { follow_calls_ = on; }
    // A loop that lies over the end of a page is one block.
    void set_edge_loops(bool on) { edge_loops_ = on; }

  private:
    struct Decoders;
    softmmu::Mmu& mmu_;
    Log& log_;
    Decoders* decoders_;
    const std::set<u64>* stops_ = nullptr;
    unsigned side_exits_ = max_side_exits;
    bool follow_calls_ = true;
    bool edge_loops_ = true;
};

} // namespace dragoman::x86
