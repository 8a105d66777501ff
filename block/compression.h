// Compressed clusters: raw deflate streams, or zstd frames.
#pragma once

#include "base/types.h"

#include <vector>

namespace dragoman::block {

enum class Compression : u8 { Zlib = 0, Zstd = 1 };

// Exactly `to_bytes` bytes come out, or false. What follows the stream in `from` is not looked at.
bool decompress(Compression method, const u8* from, u64 from_bytes, u8* to, u64 to_bytes);
// Empty if it would not become smaller.
std::vector<u8> compress(Compression method, const u8* from, u64 bytes);

} // namespace dragoman::block
