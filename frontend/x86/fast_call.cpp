// SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 2; vol. 3, 5.8.7, 5.8.8; APM vol. 3 under their names, vol.
// 2, 6.1): segments are fixed values, nothing is read.
#include "frontend/x86/cpuid.h"
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

void set_code(Cpu& cpu, u16 selector, unsigned level, bool is_64bit) {
    cpu.seg[1] = {.base = 0,
                  .limit = 0xffffffff,
                  .selector = with_rpl(selector, level),
                  .attributes = u16(kSegG | kSegP | level << 5 | kSegS | kSegAccessed | kSegCode |
                                    kSegReadable | (is_64bit ? kSegL : kSegDB))};
}

void set_stack(Cpu& cpu, u16 selector, unsigned level) {
    cpu.seg[2] = {.base = 0,
                  .limit = 0xffffffff,
                  .selector = with_rpl(selector, level),
                  .attributes =
                      u16(kSegG | kSegP | level << 5 | kSegS | kSegAccessed | kSegWritable | kSegDB)};
}

void set_code_and_stack(Cpu& cpu, u16 code, u16 stack, unsigned level, bool code_is_64bit) {
    set_code(cpu, code, level, code_is_64bit);
    set_stack(cpu, stack, level);
    set_cpl(cpu, level);
}

} // namespace

bool syscall(Cpu& cpu, u64 next_rip) {
    if (!(cpu.code64() || cpu.model->has(Feature::LegacySyscall)) || !(cpu.efer & kEferSCE))
        return fail(cpu, kUD);
    const bool long_mode = cpu.long_mode();
    const u16 selector = u16(cpu.star >> 32) & 0xfffc;
    u32 flags = cpu.eflags() & ~u32(kRF);
    cpu.gpr[1] = next_rip;
    if (long_mode) {
        cpu.gpr[11] = flags;
        cpu.rip = cpu.code64() ? cpu.lstar : cpu.cstar;
        flags &= ~u32(cpu.sfmask);
    } else {
        cpu.rip = u32(cpu.star);
        flags &= ~u32(kIF | kVM);
    }
    cpu.cpl = 0;
    cpu.set_eflags(flags | 2);
    cpu.stepping = cpu.system_flags & kTF; // SYSCALL and SYSRET step by what TF is after them
    set_code_and_stack(cpu, selector, u16(selector + 8), 0, long_mode);
    return true;
}

bool sysret(Cpu& cpu, unsigned size) {
    const bool from64 = cpu.code64();
    if (!(from64 || cpu.model->has(Feature::LegacySyscall)) || !(cpu.efer & kEferSCE)) return fail(cpu, kUD);
    if (!cpu.protected_mode() || cpu.cpl != 0) return fail(cpu, kGP);
    const bool whole_stack = cpu.model->has(Feature::SysretStack);
    const bool to64 = size == 8;
    if (to64 && whole_stack && !canonical(cpu, cpu.gpr[1])) return fail(cpu, kGP);
    constexpr u32 loaded = 0x3c7fd7; // without RF, VM and what is reserved
    cpu.rip = to64 ? cpu.gpr[1] : u32(cpu.gpr[1]);
    const u16 selector = u16(cpu.star >> 48);
    set_code(cpu, u16(selector + (to64 ? 16 : 0)), 3, to64);
    if (whole_stack)
        set_stack(cpu, u16(selector + 8), 3);
    else
        cpu.seg[2].selector = u16(selector + 8);
    set_cpl(cpu, 3);
    cpu.set_eflags(from64 ? (u32(cpu.gpr[11]) & loaded & ~u32(kRF)) | 2 : cpu.eflags() | kIF);
    cpu.stepping = cpu.system_flags & kTF;
    return true;
}

bool sysenter(Cpu& cpu) {
    const u16 selector = u16(cpu.sysenter_cs) & 0xfffc;
    const bool long_mode = cpu.long_mode();
    if (long_mode && !cpu.model->has(Feature::LongSysenter)) return fail(cpu, kUD);
    if (!cpu.protected_mode() || selector == 0) return fail(cpu, kGP);
    cpu.system_flags &= ~u32(kVM | kRF);
    cpu.interrupt_flag = 0;
    cpu.gpr[4] = long_mode ? cpu.sysenter_esp : u32(cpu.sysenter_esp);
    cpu.rip = long_mode ? cpu.sysenter_eip : u32(cpu.sysenter_eip);
    set_code_and_stack(cpu, selector, u16(selector + 8), 0, long_mode);
    return true;
}

bool sysexit(Cpu& cpu, unsigned size) {
    const u16 selector = u16(cpu.sysenter_cs);
    if (cpu.long_mode() && !cpu.model->has(Feature::LongSysenter)) return fail(cpu, kUD);
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
