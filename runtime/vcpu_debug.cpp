// Breakpoints and watchpoints of the debugger, and those of the guest's debug registers.
#include "runtime/vcpu.h"

#include "frontend/x86/debug.h"

#include <algorithm>
#include <iterator>

namespace dragoman::runtime {

void Vcpu::set_breakpoints(std::set<u64> linear) {
    breakpoints_ = std::move(linear);
    apply_stops();
}

void Vcpu::set_watchpoints(std::vector<softmmu::Mmu::Watch> watches) {
    watchpoints_ = std::move(watches);
    apply_watches();
}

void Vcpu::apply_debug_registers() {
    debug_version_ = cpu().debug_version;
    apply_stops();
    apply_watches();
}

void Vcpu::apply_stops() {
    std::set<u64> stops = breakpoints_;
    for (const x86::Breakpoint& b : x86::breakpoints_in_force(cpu()))
        if (b.kind == x86::Breakpoint::Execute) stops.insert(b.address);
    if (stops == stops_) return;
    std::vector<u64> changed;
    std::set_symmetric_difference(stops.begin(), stops.end(), stops_.begin(), stops_.end(),
                                  std::back_inserter(changed));
    stops_ = std::move(stops);
    translator_.set_stops(stops_.empty() ? nullptr : &stops_);
    for (const u64 address :
         changed) // nothing leads to the blocks that start at a new one, or went on over it
        cache_->invalidate_linear(address);
    previous_site_ = nullptr;
}

void Vcpu::apply_watches() {
    std::vector<softmmu::Mmu::Watch> watches = watchpoints_;
    for (const x86::Breakpoint& b : x86::breakpoints_in_force(cpu())) {
        if (b.kind != x86::Breakpoint::Write && b.kind != x86::Breakpoint::Access) continue;
        const bool reads = b.kind == x86::Breakpoint::Access;
        watches.push_back({.linear = b.address, .bytes = b.bytes, .on_read = reads, .guest = true});
    }
    if (watches == mmu_.watches()) return;
    mmu_.set_watches(std::move(watches),
                     [this](const softmmu::Mmu::Watch& watch, u64 linear, u32 size,
                            softmmu::AccessKind kind) { return watched_access(watch, linear, size, kind); });
}

// A hit ends its instruction. A block cannot be left between instructions at any place, so the access is
// refused there; the run loop runs the instruction again by itself, and then it is noted.
bool Vcpu::watched_access(const softmmu::Mmu::Watch& watch, u64 linear, u32 size, softmmu::AccessKind kind) {
    x86::Cpu& c = cpu();
    if (in_block_ && !c.irrevocable) return false;
    if (watch.guest) {
        c.debug_hits |= x86::met_by_access(c, linear, size, kind != softmmu::AccessKind::Read);
    } else {
        watch_triggered_ = true;
        watch_hit_ = watch;
    }
    return true;
}

bool Vcpu::deliver_debug_trap() {
    x86::Cpu& c = cpu();
    c.debug_traps |= std::exchange(c.debug_hits, 0); // of a delivery
    if (!x86::debug_trap_due(c)) return false;
    previous_site_ = nullptr;
    x86::deliver_debug_traps(c);
    return true;
}

bool Vcpu::deliver_instruction_breakpoint() {
    x86::Cpu& c = cpu();
    if (c.debug_version != debug_version_) apply_debug_registers();
    if (stops_.empty() || (c.system_flags & x86::kRF) || c.interrupt_shadow == x86::kShadowMovSs)
        return false;
    const u32 met = x86::met_by_execution(c, linear_pc());
    if (!met) return false;
    previous_site_ = nullptr;
    x86::deliver_instruction_breakpoint(c, met);
    return true;
}

} // namespace dragoman::runtime
