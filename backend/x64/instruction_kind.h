// Kinds of guest instructions, by what their code is made of: how many host instructions each takes is asked
// by `info jit` and bench/.
#pragma once

#include "ir/inst.h"

#include <array>
#include <span>

namespace dragoman::backend {

enum class InstructionKind : u8 {
    Registers, // no memory, no jump
    Loads,
    Stores,
    ReadsAndWrites, // of memory, by one instruction
    Jumps,          // calls and returns too
    Vectors,        // with memory or without
    X87,
    Calls, // of C++ code
};
inline constexpr unsigned kInstructionKinds = 8;
inline constexpr const char* kInstructionKindNames[kInstructionKinds] = {
    "registers", "loads", "stores", "reads and writes", "jumps", "vectors", "x87", "calls of C++"};

struct KindCount {
    u16 guest = 0, host = 0; // instructions; those of the host in line
};
using KindCounts = std::array<KindCount, kInstructionKinds>; // of a block

// `ops`: of one guest instruction, which are several kinds at times: the last of the list counts.
InstructionKind kind_of(std::span<const ir::Inst> ops);

} // namespace dragoman::backend
