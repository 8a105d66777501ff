// Files read where one wants to, in pieces: a kernel with its symbols, of 66 MB, need not be in memory twice.
#pragma once

#include "base/result.h"
#include "base/types.h"

#include <functional>
#include <span>
#include <string>

namespace dragoman::runtime {

struct FileReader {
    u64 bytes = 0;
    // Fills `to` with what lies there, all of it within `bytes`. Errors do not name the file.
    std::function<Status(u64 at, std::span<u8> to)> read;

    // A regular file. The error names it and says what is wrong.
    static Result<FileReader> open(const std::string& path);
    static FileReader over(std::span<const u8> file); // borrowed

    bool holds(u64 at, u64 count) const { return at <= bytes && count <= bytes - at; }
};

} // namespace dragoman::runtime
