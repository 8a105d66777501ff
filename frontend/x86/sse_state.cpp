// MXCSR, FXSAVE and FXRSTOR (SDM vol. 1, 10.5). XSAVE: xsave.cpp.
#include "frontend/x86/save_area.h"

#include <cstring>

namespace dragoman::x86 {

using ir::Ref;

namespace {

u64 fxsave(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (misaligned(cpu, linear, 16)) return 0;
    const u32 xmm_bytes = cpu.cr4 & kCr4OSFXSR ? vector_registers(cpu, kXmm) * kXmm.bytes : 0;
    if (!check_write(cpu, linear, sizeof(SaveArea), softmmu::View(cpu.view))) return 0;
    SaveArea area{};
    put_x87(cpu, is_wide(imm), area);
    area.mxcsr = cpu.mxcsr;
    area.mxcsr_mask = kMxcsrDefined;
    put_vectors(cpu, kXmm, area.xmm[0]);
    write_area(cpu, linear, &area, kXmmAt + xmm_bytes);
    return 0;
}

u64 fxrstor(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (misaligned(cpu, linear, 16)) return 0;
    SaveArea area;
    if (!read_area(cpu, linear, &area, sizeof area)) return 0;
    const bool sse = cpu.cr4 & kCr4OSFXSR;
    if (sse && (area.mxcsr & ~kMxcsrDefined)) return raise(cpu, kGP, 0), 0;
    get_x87(cpu, is_wide(imm), area);
    if (sse) {
        cpu.mxcsr = area.mxcsr;
        get_vectors(cpu, kXmm, area.xmm[0]);
    }
    leave_if_mode_changed(cpu, next_rip_in(cpu, imm));
    return 0;
}

u64 ldmxcsr(ir::Context& ctx, u64 value, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (value & ~u64{kMxcsrDefined}) return raise(cpu, kGP, 0), 0;
    cpu.mxcsr = u32(value);
    leave_if_mode_changed(cpu, next_rip_in(cpu, imm));
    return 0;
}

constexpr ir::Helper fxsave_info{"fxsave", fxsave}, fxrstor_info{"fxrstor", fxrstor},
    ldmxcsr_info{"ldmxcsr", ldmxcsr};

} // namespace

bool FXSAVE(Translation& t, const Instruction& insn) {
    return area_call(t, insn, fxsave_info, sizeof(SaveArea), ir::Access::Write);
}
bool FXRSTOR(Translation& t, const Instruction& insn) {
    return area_call(t, insn, fxrstor_info, sizeof(SaveArea), ir::Access::Read);
}

bool LDMXCSR(Translation& t, const Instruction& insn) {
    const Ref value = t.ir.temp();
    t.ir.load(4, value, t.address(insn, 0, 4, ir::Access::Read));
    t.ir.call(ldmxcsr_info, {}, value, {}, size_and_length(4, insn));
    return true;
}
bool STMXCSR(Translation& t, const Instruction& insn) {
    const Ref value = t.ir.temp();
    t.ir.load_state(4, value, offsetof(ir::Context, mxcsr));
    t.write(insn, 0, 4, value);
    return true;
}

} // namespace dragoman::x86
