// Guest memory that goes back to the host.
#pragma once

#include "hw/core/memory_giver.h"
#include "softmmu/physical_map.h"

namespace dragoman::runtime {

class MemoryRelease final : public hw::MemoryGiver {
  public:
    explicit MemoryRelease(softmmu::PhysicalMap& map) : map_(map) {} // borrowed
    void give_back(u64 gpa, u64 bytes) override;

  private:
    softmmu::PhysicalMap& map_;
};

} // namespace dragoman::runtime
