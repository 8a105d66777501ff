// ir::Memory over the software MMU: adds what the processor checks before paging, and turns page faults into
// exceptions.
#pragma once

#include "frontend/x86/cpu.h"
#include "ir/memory.h"

namespace dragoman::x86 {

class GuestMemory final : public ir::Memory {
  public:
    explicit GuestMemory(softmmu::Mmu& mmu) : mmu_(mmu) {}
    u8* acquire(ir::Context& ctx, u64 linear, u32 size, ir::Access access) override;
    void commit(ir::Context& ctx) override;
    bool may_enter(ir::Context& ctx, unsigned part) override;
    void warm(ir::Context& ctx, u64 linear) override;

  private:
    softmmu::Mmu& mmu_;
};

// Is every byte of the access canonical (SDM vol. 1, 3.3.7.1)? Always true outside long mode.
bool canonical(const softmmu::PagingState& paging, u64 linear, u32 size);

} // namespace dragoman::x86
