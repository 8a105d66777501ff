// DRAGOMAN_ASSERT: for what only a mistake of ours can make false. Never for what a guest, a file or a user can cause.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace dragoman {

[[noreturn]] inline void assertion_failed(const char* what, const char* file, int line) {
    std::fprintf(stderr, "dragoman: internal error: %s:%d: %s does not hold\n", file, line, what);
    std::abort();
}

} // namespace dragoman

#define DRAGOMAN_ASSERT(cond)                                                                                \
    do {                                                                                                     \
        if (!(cond)) [[unlikely]] ::dragoman::assertion_failed(#cond, __FILE__, __LINE__);                   \
    } while (false)
