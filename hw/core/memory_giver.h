// How a chip gives memory that the guest does not need back to the host.
#pragma once

#include "base/types.h"

namespace dragoman::hw {

class MemoryGiver {
  public:
    virtual ~MemoryGiver() = default;
    // Of the guest-physical range, the whole pages of RAM: they read as zeros from now on, and cost nothing
    // until they are touched. The rest of the range is left alone.
    virtual void give_back(u64 gpa, u64 bytes) = 0;
};

} // namespace dragoman::hw
