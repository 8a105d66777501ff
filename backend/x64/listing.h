// Host code as text, for -d out_asm and the tests. Capstone, which makes it, is loaded for the first listing.
#pragma once

#include "base/types.h"

#include <string>

namespace dragoman::backend {

// One line for each instruction of the code, which says that it lies at `address`: address, bytes, text.
std::string list_host_code(const u8* code, u64 bytes, u64 address);

} // namespace dragoman::backend
