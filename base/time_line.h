// Time as a linear function of the host's time-stamp counter.
#pragma once

#include "base/types.h"

namespace dragoman {

// The host's RDTSC (SDM vol. 2). Not ordered with what surrounds it.
inline u64 host_counter() {
    return __builtin_ia32_rdtsc();
}

struct TimeLine {
    u64 scale = 0;  // per tick of the counter, in units of 2^-64; 0: time stands still
    u64 offset = 0; // what is shown at a count of 0, modulo 2^64

    u64 at(u64 count) const { return u64(static_cast<unsigned __int128>(count) * scale >> 64) + offset; }
};

} // namespace dragoman
