// Which code was met before, by what it is: a third of a boot's blocks are executed once, and only what comes
// again is worth compiling.
#pragma once

#include "base/types.h"
#include "base/zeros.h"

namespace dragoman::runtime {

// Forgets what others took the place of, and may take code for other code, seldom: then it is compiled a
// little too late or too early.
class SeenCode {
  public:
    // before() will be asked for this hash, in a moment: its place lies anywhere, mostly not in the host's
    // caches.
    void fetch(u64 hash) const { __builtin_prefetch(&places_[hash % kPlaces], 1); }
    // Was it asked for this hash before?
    bool before(u64 hash) {
        const u16 rest = u16(hash >> 48) | 1;
        u16& place = places_[hash % kPlaces];
        const bool seen = place == rest;
        place = rest;
        return seen;
    }

  private:
    static constexpr u64 kPlaces = 128 * KiB;
    Zeros<u16> places_{kPlaces, Zeros<u16>::Memory::AtOnce}; // 0: nothing
};

} // namespace dragoman::runtime
