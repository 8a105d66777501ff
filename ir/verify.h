// Checks that a block keeps the rules of docs/ir.md. For debug builds, tests and the fuzzer: a problem is a mistake of the
// translator or of a pass.
#pragma once

#include "ir/block.h"

#include <string>
#include <vector>

namespace dragoman::ir {

// One line for each problem, with the number of the instruction and its text; empty: the block is sound.
std::vector<std::string> verify(const Block& block);

} // namespace dragoman::ir
