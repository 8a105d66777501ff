// printf into strings.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <string>

namespace dragoman::runtime {

// At most 511 characters.
[[gnu::format(printf, 1, 2)]] inline std::string format(const char* how, ...) {
    char line[512];
    std::va_list args;
    va_start(args, how);
    std::vsnprintf(line, sizeof line, how, args);
    va_end(args);
    return line;
}

} // namespace dragoman::runtime
