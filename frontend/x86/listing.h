// Guest code as text, in Intel syntax.
#pragma once

#include "base/types.h"

#include <span>
#include <string>

namespace dragoman::ir {
struct Block;
}

namespace dragoman::x86 {

// One line for each instruction in `bytes`, which start at `rip` in code of 16, 32 or 64 bits: address,
// bytes, text. What does not decode is shown byte by byte. At most `limit` instructions.
std::string list_guest(std::span<const u8> bytes, u64 rip, unsigned code_bits, unsigned limit = ~0u);
// The guest code of a block.
std::string list_guest(const ir::Block& block, std::span<const u8> bytes);

} // namespace dragoman::x86
