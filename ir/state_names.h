// Names of the fields of Context, for listings of LoadState and StoreState.
#pragma once

#include "base/types.h"

#include <string_view>

namespace dragoman::ir {

// The name of the field at this byte offset; empty if it has none.
std::string_view state_name(u32 offset);
// The offset of a named field, or -1.
i64 state_offset(std::string_view name);

} // namespace dragoman::ir
