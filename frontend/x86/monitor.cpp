// MONITOR and MWAIT (SDM vol. 3, 9.10.4).
#include "frontend/x86/system_helpers.h"

#include <cstring>

namespace dragoman::x86 {

namespace {

constexpr u64 kLine = 64;

// a: linear address of a byte that can be read
u64 monitor(ir::Context& ctx, u64 a, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    if (u32(cpu.gpr[1]) != 0) return raise(ctx, kGP, 0), 0; // no extensions
    const auto at = cpu.mmu->probe(a);
    cpu.monitor.line = at.gpa & ~(kLine - 1);
    // Where there is no memory nothing is watched, and MWAIT does not wait.
    cpu.monitor.armed = at.ok && cpu.mmu->map().read(cpu.monitor.line, cpu.monitor.bytes, kLine);
    return 0;
}

u64 mwait(ir::Context& ctx, u64, u64, u64 imm) {
    constexpr u32 interrupts_break = 1; // even where they are masked
    Cpu& cpu = cpu_of(ctx);
    const u32 extensions = u32(cpu.gpr[1]);
    if (extensions & ~interrupts_break) return raise(ctx, kGP, 0), 0;
    cpu.rip = imm;
    u8 now[kLine];
    const bool wait = std::exchange(cpu.monitor.armed, false) &&
                      cpu.mmu->map().read(cpu.monitor.line, now, kLine) &&
                      !std::memcmp(now, cpu.monitor.bytes, kLine) &&
                      !((extensions & interrupts_break) && cpu.interrupt_line);
    if (!wait) return continue_at_rip(cpu);
    halt(cpu);
    cpu.monitor.waiting = true;
    cpu.exit = ir::Exit::Halt;
    return 0;
}
constexpr ir::Helper monitor_info{"monitor", monitor}, mwait_info{"mwait", mwait};

ir::Seg data_segment(const Instruction& insn) {
    static constexpr struct {
        ZydisInstructionAttributes prefix;
        ir::Seg seg;
    } overrides[] = {{ZYDIS_ATTRIB_HAS_SEGMENT_ES, ir::Seg::ES},
                     {ZYDIS_ATTRIB_HAS_SEGMENT_CS, ir::Seg::CS},
                     {ZYDIS_ATTRIB_HAS_SEGMENT_SS, ir::Seg::SS},
                     {ZYDIS_ATTRIB_HAS_SEGMENT_FS, ir::Seg::FS},
                     {ZYDIS_ATTRIB_HAS_SEGMENT_GS, ir::Seg::GS}};
    for (const auto& o : overrides)
        if (insn.zydis.attributes & o.prefix) return o.seg;
    return ir::Seg::DS;
}

} // namespace

bool MONITOR(Translation& t, const Instruction& insn) {
    if (t.mode.cpl != 0) return t.raise(kUD);
    const ir::Address a =
        t.address(data_segment(insn), ir::kRax, 0, insn.address_size(), 1, ir::Access::Read);
    t.ir.load(1, t.ir.temp(), a);
    t.ir.call(monitor_info, {}, t.linear(a));
    return true;
}

bool MWAIT(Translation& t, const Instruction& insn) {
    if (t.mode.cpl != 0) return t.raise(kUD);
    return call_with_next_rip(t, insn, mwait_info);
}

} // namespace dragoman::x86
