#include "frontend/x86/guest_memory.h"

#include "base/bits.h"
#include "frontend/x86/exception.h"

namespace dragoman::x86 {

bool canonical(const softmmu::PagingState& paging, u64 linear, u32 size) {
    if (!paging.long_mode) return true;
    const unsigned shift = paging.la57 ? 7 : 16;
    auto fits = [&](u64 at) { return (i64(at << shift) >> shift) == i64(at); };
    return fits(linear) && fits(linear + size - 1);
}

u8* GuestMemory::acquire(ir::Context& ctx, u64 linear, u32 size, ir::Access access) {
    if (!canonical(mmu_.paging(), linear, size)) [[unlikely]] {
        raise_not_canonical(ctx, linear);
        return nullptr;
    }
    static constexpr softmmu::AccessKind kinds[] = {softmmu::AccessKind::Read, softmmu::AccessKind::Write,
                                                    softmmu::AccessKind::ReadWrite};
    const auto got = mmu_.acquire(linear, size, kinds[unsigned(access)], softmmu::View(ctx.view));
    if (got.host) [[likely]]
        return got.host;
    if (got.restart)
        ctx.exit = ir::Exit::Restart;
    else
        raise_page_fault(ctx, got.fault);
    return nullptr;
}

void GuestMemory::commit(ir::Context&) {
    mmu_.commit();
}

bool GuestMemory::may_enter(ir::Context& ctx, unsigned part) {
    const auto entered = mmu_.map().watcher()->entered(part);
    ctx.rip = entered.rip;
    if (!canonical(mmu_.paging(), entered.linear, 1)) return false;
    const auto page = mmu_.fetch(entered.linear, ctx.cpl == 3 ? softmmu::View::User : softmmu::View::Supervisor);
    return page.ok && page.number == entered.number;
}

void GuestMemory::warm(ir::Context& ctx, u64 linear) {
    mmu_.promote(linear, softmmu::View(ctx.view));
}

} // namespace dragoman::x86
