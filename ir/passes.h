// The passes over a block, in their order, each with a name and a switch.
#pragma once

#include "base/types.h"
#include "ir/block.h"

#include <functional>
#include <span>
#include <string_view>

namespace dragoman::ir {

struct Pass {
    std::string_view name;
    void (*run)(Block& block);
    std::string_view what; // one line for the user
};

std::span<const Pass> passes();

// Bit n switches pass n of passes().
struct PassSwitches {
    u32 on = ~u32{0};

    bool enabled(std::size_t pass) const { return on >> pass & 1; }
    // False: there is no pass of that name.
    bool set(std::string_view name, bool value);
    static PassSwitches none() { return {0}; }
};

// Called after each pass that ran, with its name.
using DumpHook = std::function<void(std::string_view pass, const Block& block)>;

// Runs the passes that are switched on. In builds without NDEBUG the block is verified after each of them.
void run_passes(Block& block, PassSwitches switches = {}, const DumpHook& dump = {});

} // namespace dragoman::ir
