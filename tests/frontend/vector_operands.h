// Random operands of vector and x87 instructions, most of them near a limit of the arithmetic.
#pragma once

#include "base/types.h"

#include <random>

namespace dragoman::test {

// 16 bytes: floats, doubles, small numbers, anything.
void fill_vector(std::mt19937_64& random, u8* to);
// 10 bytes of the 80-bit format, also what no instruction makes: unnormals, pseudo-infinities.
void fill_x87(std::mt19937_64& random, u8* to);

} // namespace dragoman::test
