// SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 2; vol. 3, 5.8.7, 5.8.8): segments are fixed values, nothing
// is read.
#include "frontend/x86/exception.h"
#include "frontend/x86/far_transfer.h"
#include "frontend/x86/system_registers.h"

namespace dragoman::x86 {

namespace {

bool fail(Cpu& cpu, Vector vector) {
    if (vector == kUD)
        raise(cpu, vector);
    else
        raise(cpu, vector, 0);
    return false;
}

void set_code_and_stack(Cpu& cpu, u16 code, u16 stack, unsigned level, bool code_is_64bit) {
    const u16 common = u16(kSegG | kSegP | level << 5 | kSegS | kSegAccessed);
    cpu.seg[1] = {.base = 0,
                  .limit = 0xffffffff,
                  .selector = with_rpl(code, level),
                  .attributes = u16(common | kSegCode | kSegReadable | (code_is_64bit ? kSegL : kSegDB))};
    cpu.seg[2] = {.base = 0,
                  .limit = 0xffffffff,
                  .selector = with_rpl(stack, level),
                  .attributes = u16(common | kSegWritable | kSegDB)};
    set_cpl(cpu, level);
}

} // namespace

bool syscall(Cpu& cpu, u64 next_rip) {
    if (!cpu.code64() || !(cpu.efer & kEferSCE)) return fail(cpu, kUD);
    const u32 flags = cpu.eflags() & ~u32(kRF);
    cpu.gpr[1] = next_rip;
    cpu.gpr[11] = flags;
    cpu.rip = cpu.lstar;
    const u16 selector = u16(cpu.star >> 32) & 0xfffc;
    cpu.cpl = 0;
    cpu.set_eflags((flags & ~u32(cpu.sfmask)) | 2);
    cpu.stepping = cpu.system_flags & kTF; // SYSCALL and SYSRET step by what TF is after them
    set_code_and_stack(cpu, selector, u16(selector + 8), 0, true);
    return true;
}

bool sysret(Cpu& cpu, unsigned size) {
    if (!cpu.code64() || !(cpu.efer & kEferSCE)) return fail(cpu, kUD);
    if (cpu.cpl != 0) return fail(cpu, kGP);
    const bool to64 = size == 8;
    if (to64 && !canonical(cpu, cpu.gpr[1])) return fail(cpu, kGP);
    constexpr u32 loaded = 0x3c7fd7; // without RF, VM and what is reserved
    cpu.rip = to64 ? cpu.gpr[1] : u32(cpu.gpr[1]);
    const u16 selector = u16(cpu.star >> 48);
    set_code_and_stack(cpu, u16(selector + (to64 ? 16 : 0)), u16(selector + 8), 3, to64);
    cpu.set_eflags((u32(cpu.gpr[11]) & loaded & ~u32(kRF)) | 2);
    cpu.stepping = cpu.system_flags & kTF;
    return true;
}

bool sysenter(Cpu& cpu) {
    const u16 selector = u16(cpu.sysenter_cs) & 0xfffc;
    if (!cpu.protected_mode() || selector == 0) return fail(cpu, kGP);
    const bool long_mode = cpu.long_mode();
    cpu.system_flags &= ~u32(kVM | kRF);
    cpu.interrupt_flag = 0;
    cpu.gpr[4] = long_mode ? cpu.sysenter_esp : u32(cpu.sysenter_esp);
    cpu.rip = long_mode ? cpu.sysenter_eip : u32(cpu.sysenter_eip);
    set_code_and_stack(cpu, selector, u16(selector + 8), 0, long_mode);
    return true;
}

bool sysexit(Cpu& cpu, unsigned size) {
    const u16 selector = u16(cpu.sysenter_cs);
    if (!cpu.protected_mode() || cpu.cpl != 0 || (selector & 0xfffc) == 0) return fail(cpu, kGP);
    const bool to64 = size == 8;
    if (to64 && (!canonical(cpu, cpu.gpr[1]) || !canonical(cpu, cpu.gpr[2]))) return fail(cpu, kGP);
    cpu.gpr[4] = to64 ? cpu.gpr[1] : u32(cpu.gpr[1]);
    cpu.rip = to64 ? cpu.gpr[2] : u32(cpu.gpr[2]);
    const u16 code = u16(selector + (to64 ? 32 : 16));
    set_code_and_stack(cpu, code, u16(code + 8), 3, to64);
    return true;
}

} // namespace dragoman::x86
