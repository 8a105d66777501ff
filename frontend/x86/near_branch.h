// Indirect near branches of 64-bit code. Where they lead is looked at only after the fact, by the run loop
// when it finds no translation there, so that a good target costs nothing.
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

struct NearBranch {
    u8 bytes = 0;  // of the instruction; 0: it is something else
    i32 stack = 0; // what it adds to RSP
};

// For a block that was left at its end, which lies at `end`: a branch to an address that is not canonical did
// not happen; #GP(0) is raised at the branch, with RSP as it was (SDM vol. 2, JMP, CALL, RET). False: all is
// well.
bool take_back_branch(Cpu& cpu, const NearBranch& branch, u64 end);

} // namespace dragoman::x86
