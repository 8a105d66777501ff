#include "ir/passes.h"

#include "base/assert.h"
#include "ir/passes/passes.h"
#include "ir/verify.h"

#include <cstdio>
#include <iterator>

namespace dragoman::ir {

namespace {

constexpr Pass list[] = {
    {"dead-flags", dead_flags, "flags that nobody looks at are not computed"},
    {"constant-propagation", constant_propagation, "known values and copies take the place of registers"},
    {"dead-code", dead_code, "what nobody uses is not computed"},
};

void verify_after(std::string_view pass, const Block& block) {
    const std::vector<std::string> problems = verify(block);
    if (problems.empty()) return;
    std::fprintf(stderr, "after pass %.*s:\n%s", int(pass.size()), pass.data(), print(block).c_str());
    for (const std::string& p : problems)
        std::fprintf(stderr, "  %s\n", p.c_str());
    DRAGOMAN_ASSERT(!"a pass broke the block");
}

} // namespace

std::span<const Pass> passes() {
    return list;
}

bool PassSwitches::set(std::string_view name, bool value) {
    for (std::size_t n = 0; n < std::size(list); ++n) {
        if (list[n].name != name) continue;
        on = value ? on | 1u << n : on & ~(1u << n);
        return true;
    }
    return false;
}

void run_passes(Block& block, PassSwitches switches, const DumpHook& dump) {
    for (std::size_t n = 0; n < std::size(list); ++n) {
        if (!switches.enabled(n)) continue;
        list[n].run(block);
#ifndef NDEBUG
        verify_after(list[n].name, block);
#else
        (void)verify_after;
#endif
        if (dump) dump(list[n].name, block);
    }
}

} // namespace dragoman::ir
