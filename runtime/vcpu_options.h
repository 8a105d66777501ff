// How a vCPU runs its guest: interpreted or translated, and which of the translator's parts are on.
#pragma once

#include "backend/x64/backend.h"
#include "base/types.h"
#include "ir/passes.h"

#include <string>

namespace dragoman::runtime {

struct VcpuOptions {
    bool interpret = false; // -accel interp
    bool verify = false;    // -verify
    u64 cache_bytes = 256 * MiB;
    ir::PassSwitches passes;
    bool side_exits = true;   // blocks go on behind branches
    bool follow_calls = true; // and in what they call
    bool edge_loops = true;   // loops over the end of a page are one block
    bool reuse = true;        // code of this run is used again for the same bytes at another address
    bool cold = true;         // code is interpreted when it is met first
    bool compiler_thread = true; // and compiled by another thread; not where instructions are counted
    bool inline_time = true;  // RDTSC works from a line of the host's TSC: whether the platform offers one
    backend::Options backend; // Vcpu fills in tlb_offset and window_base
    // Accesses through the TLB after which a page is mapped in the host window.
    u32 window_heat = 1000;
    std::string tb_cache; // file of translations (tb_cache.h); empty: none
};

} // namespace dragoman::runtime
