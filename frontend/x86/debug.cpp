#include "frontend/x86/debug.h"

#include "base/bits.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/system_registers.h"

namespace dragoman::x86 {

namespace {

constexpr u8 kLengths[4] = {1, 2, 8, 4}; // LEN of DR7

bool in_force(const Cpu& cpu, const Breakpoint& b) {
    return b.enabled && (b.kind != Breakpoint::Io || (cpu.cr4 & kCr4DE));
}

// The bits of those that `matches`, if at least one of them is in force.
template <class Matches> u32 met(const Cpu& cpu, Matches matches) {
    if (!(cpu.dr[7] & kDr7Enables)) return 0;
    u32 all = 0;
    bool any = false;
    for (unsigned n = 0; n < 4; ++n) {
        const Breakpoint b = breakpoint(cpu, n);
        if (!matches(b)) continue;
        all |= 1u << n;
        any |= in_force(cpu, b);
    }
    return any ? all : 0;
}

bool overlaps(const Breakpoint& b, u64 first, u64 size) {
    return first - b.address < b.bytes || b.address - first < size;
}

} // namespace

Breakpoint breakpoint(const Cpu& cpu, unsigned n) {
    const u64 dr7 = cpu.dr[7];
    Breakpoint b;
    b.kind = Breakpoint::Kind(dr7 >> (16 + n * 4) & 3);
    b.bytes = b.kind == Breakpoint::Execute ? 1 : kLengths[dr7 >> (18 + n * 4) & 3];
    b.address = align_down(cpu.dr[n], b.bytes);
    b.enabled = dr7 >> n * 2 & 3;
    return b;
}

std::vector<Breakpoint> breakpoints_in_force(const Cpu& cpu) {
    std::vector<Breakpoint> found;
    for (unsigned n = 0; n < 4; ++n)
        if (const Breakpoint b = breakpoint(cpu, n); in_force(cpu, b)) found.push_back(b);
    return found;
}

void write_debug_register(Cpu& cpu, unsigned n, u64 value) {
    constexpr u64 dr6_fixed = 0xffff0ff0, dr6_settable = 0xe00f;
    constexpr u64 dr7_fixed = 0x400, dr7_settable = 0xffff23ff;
    if (n == 6)
        cpu.dr[6] = (value & dr6_settable) | dr6_fixed;
    else
        cpu.dr[n] = n == 7 ? (value & dr7_settable) | dr7_fixed : value;
    if (n != 6) breakpoints_changed(cpu);
}

u32 met_by_execution(const Cpu& cpu, u64 linear) {
    return met(cpu,
               [&](const Breakpoint& b) { return b.kind == Breakpoint::Execute && b.address == linear; });
}

u32 met_by_access(const Cpu& cpu, u64 linear, u32 size, bool write) {
    return met(cpu, [&](const Breakpoint& b) {
        const bool way = b.kind == Breakpoint::Access || (b.kind == Breakpoint::Write && write);
        return way && overlaps(b, linear, size);
    });
}

void port_accessed(Cpu& cpu, u16 port, unsigned size) {
    if (!(cpu.cr4 & kCr4DE) || !(cpu.dr[7] & kDr7Enables)) return;
    const u32 bits =
        met(cpu, [&](const Breakpoint& b) { return b.kind == Breakpoint::Io && overlaps(b, port, size); });
    if (!bits) return;
    cpu.debug_hits |= bits;
    request_poll(cpu);
}

void end_instruction(Cpu& cpu, BranchKind branch, u64 next_rip) {
    cpu.debug_traps |= std::exchange(cpu.debug_hits, 0);
    if (!std::exchange(cpu.stepping, false)) return;
    const bool taken =
        branch == BranchKind::Always || (branch == BranchKind::Conditional && cpu.rip != next_rip);
    if (taken || !(cpu.debugctl & kDebugCtlBTF)) cpu.debug_traps |= kDr6BS;
}

void deliver_debug_traps(Cpu& cpu) {
    cpu.halted = false;
    cpu.interrupt_shadow = 0;
    cpu.fault = {.vector = kDB, .address = std::exchange(cpu.debug_traps, 0)};
    deliver_fault(cpu);
}

void deliver_instruction_breakpoint(Cpu& cpu, u32 met) {
    cpu.fault = {.vector = kDB, .address = met};
    deliver_fault(cpu);
}

} // namespace dragoman::x86
