#include "frontend/x86/cpu.h"

#include "frontend/x86/cpuid.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/system_registers.h"

#include <atomic>

namespace dragoman::x86 {

namespace {

constexpr u32 kHeldElsewhere = ir::kAllFlags | kIF | kDF;
constexpr u32 kDefined = kHeldElsewhere | kTF | kIOPL | kNT | kRF | kVM | kAC | kVIF | kVIP | kID;

ir::Segment reset_segment(u16 selector, u64 base, u16 attributes) {
    return {.base = base, .limit = 0xffff, .selector = selector, .attributes = attributes};
}

} // namespace

u32 Cpu::eflags() const {
    return (flags & ir::kAllFlags) | 2 | (interrupt_flag ? u32(kIF) : 0) | (direction_flag ? u32(kDF) : 0) |
           system_flags;
}

void Cpu::set_eflags(u32 value) {
    flags = value & ir::kAllFlags;
    interrupt_flag = (value & kIF) != 0;
    direction_flag = (value & kDF) != 0;
    system_flags = value & kDefined & ~kHeldElsewhere;
    view = u8(access_view(*this));
    if (interrupt_flag && interrupt_line) request_poll(*this);
}

void request_poll(ir::Context& ctx) {
    ir::ask_for_poll(ctx);
}

softmmu::View access_view(const Cpu& cpu) {
    if (cpu.cpl == 3) return softmmu::View::User;
    if ((cpu.cr4 & kCr4SMAP) && !(cpu.system_flags & kAC)) return softmmu::View::SupervisorSmap;
    return softmmu::View::Supervisor;
}

void set_cpl(Cpu& cpu, unsigned cpl) {
    cpu.cpl = u8(cpl);
    cpu.view = u8(access_view(cpu));
}

void halt(Cpu& cpu) {
    cpu.halted = true;
    if (cpu.platform) cpu.halted_since = cpu.platform->time_stamp();
}

void wake(Cpu& cpu) {
    if (cpu.halted && cpu.platform) cpu.halted_ticks += cpu.platform->time_stamp() - cpu.halted_since;
    cpu.halted = cpu.monitor.waiting = false;
}

void update_time(Cpu& cpu) {
    const TimeLine* line = cpu.platform ? cpu.platform->time_line() : nullptr;
    if (line) cpu.time = {line->scale, line->offset + cpu.tsc_offset};
}

void reset(Cpu& cpu) {
    Cpu fresh;
    fresh.debug_version = cpu.debug_version + 1;
    fresh.code_segments = std::move(cpu.code_segments);
    fresh.model = cpu.model;
    fresh.platform = cpu.platform;
    fresh.mmu = cpu.mmu;
    fresh.log = cpu.log;
    fresh.memory = cpu.memory;
    fresh.jump_cache = cpu.jump_cache;
    fresh.jump_table = cpu.jump_table;
    fresh.jumps = cpu.jumps;
    fresh.interrupt_line = cpu.interrupt_line;
    fresh.poll = cpu.poll;
    fresh.budget = cpu.budget;
    fresh.host_mxcsr = cpu.host_mxcsr;
    fresh.host_return = cpu.host_return;
    fresh.interpreted_block = cpu.interpreted_block;
    fresh.interpreted_instruction = cpu.interpreted_instruction;

    constexpr u16 data = kSegP | kSegS | kSegWritable | kSegAccessed;
    for (unsigned i = 0; i < 6; ++i)
        fresh.seg[i] = reset_segment(0, 0, data);
    fresh.seg[1] = reset_segment(0xf000, 0xffff0000, data);
    fresh.ldtr = reset_segment(0, 0, kSegP | 0x2);
    fresh.tr = reset_segment(0, 0, kSegP | 0xb);
    fresh.gdtr = fresh.idtr = {.base = 0, .limit = 0xffff};
    fresh.rip = 0xfff0;
    fresh.cr0 = kCr0CD | kCr0NW | kCr0ET;
    fresh.dr[6] = 0xffff0ff0;
    fresh.dr[7] = 0x400;
    fresh.fpu.control = 0x40;
    fresh.fpu.tag = 0xff; // every register holds +0
    if (cpu.model && cpu.model->has(Feature::Monitor)) fresh.misc_enable |= 1 << 18;
    if (cpu.model) fresh.gpr[2] = cpuid(cpu, 1, 0).eax;
    if (cpu.platform) {
        const u64 before_zero = u64{0} - cpu.platform->time_stamp();
        fresh.tsc_offset = fresh.mperf_offset = fresh.aperf_offset = before_zero;
    }
    cpu = std::move(fresh);
    update_time(cpu);
    update_paging(cpu);
    flush_translations(cpu, false);
}

} // namespace dragoman::x86
