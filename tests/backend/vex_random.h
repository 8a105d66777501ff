// What random VEX and EVEX instructions are made of.
#pragma once

#include "ir/vex.h"

#include <random>

namespace dragoman::test {

// How much of a vector register the host has, in bytes.
u8 host_vector_bytes();
// Does the host have the instruction of a row?
bool host_has(const ir::VexOp& op);
// A vector length in which a row exists.
u8 random_length(const ir::VexOp& op, std::mt19937_64& random);
// Adds mask, zeroing, broadcast and rounding to an instruction with operands: what its row knows of them.
void decorate(ir::Inst& inst, std::mt19937_64& random);

} // namespace dragoman::test
