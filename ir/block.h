// A block: straight-line IR for a run of guest instructions, ending in exactly one op with the effect End.
#pragma once

#include "ir/inst.h"

#include <string>
#include <vector>

namespace dragoman::ir {

struct Block {
    u64 pc = 0;          // rip of its first guest instruction
    u64 linear_pc = 0;   // CS base + pc
    u32 guest_bytes = 0; // length of the guest code, without what was followed
    bool follows = false; // it goes on behind a call or return: instructions may lie anywhere in its page
    u32 guest_instructions = 0;
    // The numbers of its page, and of the next one if its code goes on there (softmmu/code_pages.h):
    // what is asked when it is entered from another page.
    static constexpr u32 no_number = ~u32{0};
    u32 code_pages[2] = {no_number, no_number};
    bool user = false; // code at CPL 3
    u8 mode_bits = 64;   // 16, 32 or 64; rip has 64 bits in 64-bit mode and 32 in the others
    u8 view = 0;         // softmmu::View of its data accesses
    u8 vector_bytes = 16; // Context::vector_bytes while it runs
    bool vectors_lazy = false; // Context::vectors_lazy may be set when it begins
    bool pinned = false; // depends on its pc in another way than Inst::from_pc says: it is not to be used elsewhere
    bool simd_unmasked = false; // MXCSR unmasks an exception: numeric vector instructions may raise #XM
    std::vector<Inst> insts;

    // Its code goes on in the page behind: that of an instruction, or of a loop.
    bool crosses_page() const { return (linear_pc + guest_bytes - 1) >> 12 != linear_pc >> 12; }
    // Linear address of the page behind its first: 4 GiB is followed by 0, but in 64-bit mode.
    u64 second_page() const {
        const u64 next = (linear_pc | 0xfff) + 1;
        return mode_bits == 64 ? next : u32(next);
    }
};

// Text form, one instruction a line: "op.size d, a, b" ... (docs/ir.md). parse() reads what print() writes.
// Address sizes are shown where they are not those of the mode.
std::string print(const Inst& inst);
std::string print(const Inst& inst, unsigned mode_bits);
std::string print(const Block& block);

} // namespace dragoman::ir
