// Text to IR: reads what print() writes. For tests and tools.
#pragma once

#include "base/result.h"
#include "ir/block.h"

#include <functional>
#include <string_view>

namespace dragoman::ir {

// Finds the helper of a name that a Call uses; null: there is none of that name.
using FindHelper = std::function<const Helper*(std::string_view name)>;

// The header line may be missing, spaces do not matter, ";" begins a comment. If the header does not say
// otherwise guest_instructions is counted. Errors name the line. What it gives has been read, not verified
// (ir/verify.h).
Result<Block> parse(std::string_view text, const FindHelper& find_helper = {});

} // namespace dragoman::ir
