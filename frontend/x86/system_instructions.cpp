// MOV CR and DR, MSRs, time stamps, CPUID, HLT, INVLPG and other single system instructions (SDM vol. 2).
#include "frontend/x86/system_helpers.h"

#include "frontend/x86/cpuid.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/msr.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/smm.h"
#include "frontend/x86/xsave_layout.h"

namespace dragoman::x86 {

using ir::Ref;

namespace {

// ---- control registers
// imm: the register's number in size_and_length()
u64 write_cr(ir::Context& ctx, u64 a, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const u64 next = next_rip_in(cpu, imm);
    switch (size_in(imm)) {
    case 0: write_cr0(cpu, a); break;
    case 3: write_cr3(cpu, a); break;
    case 4: write_cr4(cpu, a); break;
    }
    return continue_at(cpu, next);
}
constexpr ir::Helper write_cr_info{"write_cr", write_cr};

u64 read_cr8(ir::Context& ctx, u64, u64, u64) {
    return cpu_of(ctx).platform->apic_tpr();
}
u64 write_cr8(ir::Context& ctx, u64 a, u64, u64) {
    if (a >> 4)
        raise(ctx, kGP, 0);
    else
        cpu_of(ctx).platform->set_apic_tpr(u8(a));
    return 0;
}
constexpr ir::Helper read_cr8_info{"read_cr8", read_cr8}, write_cr8_info{"write_cr8", write_cr8};

bool mov_from_cr(Translation& t, unsigned n, Ref to) {
    const unsigned size = t.mode.long64() ? 8 : 4;
    switch (n) {
    case 0: t.ir.load_state(size, to, at::cr0); return true;
    case 2: t.ir.load_state(size, to, at::cr2); return true;
    case 3: t.ir.load_state(size, to, at::cr3); return true;
    case 4: t.ir.load_state(size, to, at::cr4); return true;
    default: t.ir.call(read_cr8_info, to); return true;
    }
}

bool mov_to_cr(Translation& t, const Instruction& insn, unsigned n, Ref from) {
    Ref value = from;
    if (!t.mode.long64()) {
        value = t.ir.temp();
        t.ir.extend(ir::Op::Zext, 4, 8, value, from);
    }
    if (n == 2) {
        t.ir.store_state(8, at::cr2, value);
        return true;
    }
    if (n == 8) {
        t.ir.call(write_cr8_info, {}, value);
        t.ir.add(
            {.op = ir::Op::PollIntr, .imm = i64(insn.next_rip)}); // a pending interrupt may be let through
        return true;
    }
    return call_and_leave(t, write_cr_info, value, {}, size_and_length(n, insn));
}

// ---- debug registers
// DR4 and DR5 stand for DR6 and DR7 unless CR4.DE is set. Also the general-detect fault.
bool debug_register(Cpu& cpu, unsigned& n) {
    if (n == 4 || n == 5) {
        if (cpu.cr4 & kCr4DE) {
            raise(cpu, kUD);
            return false;
        }
        n += 2;
    }
    if (cpu.dr[7] & kDr7GD) {
        cpu.fault = {.vector = kDB, .address = kDr6BD};
        cpu.exit = ir::Exit::Fault;
        return false;
    }
    return true;
}

u64 read_dr(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    unsigned n = unsigned(imm);
    return debug_register(cpu, n) ? cpu.dr[n] : 0;
}

u64 write_dr(ir::Context& ctx, u64 a, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    unsigned n = unsigned(imm);
    if (!debug_register(cpu, n)) return 0;
    if (n >= 6 && a >> 32)
        raise(ctx, kGP, 0);
    else
        write_debug_register(cpu, n, a);
    return 0;
}
constexpr ir::Helper read_dr_info{"read_dr", read_dr}, write_dr_info{"write_dr", write_dr};

} // namespace

bool mov_segment(Translation& t, const Instruction& insn); // segment_instructions.cpp

bool mov_system(Translation& t, const Instruction& insn) {
    const ZydisDecodedOperand &to = insn.operands[0], &from = insn.operands[1];
    const auto is_in = [](const ZydisDecodedOperand& op, ZydisRegister first, ZydisRegister last) {
        return op.type == ZYDIS_OPERAND_TYPE_REGISTER && op.reg.value >= first && op.reg.value <= last;
    };
    const auto is_cr = [&](const auto& op) { return is_in(op, ZYDIS_REGISTER_CR0, ZYDIS_REGISTER_CR15); };
    const auto is_dr = [&](const auto& op) { return is_in(op, ZYDIS_REGISTER_DR0, ZYDIS_REGISTER_DR15); };
    if (is_cr(to) || is_cr(from)) {
        const bool writes = is_cr(to);
        const unsigned n = unsigned((writes ? to : from).reg.value - ZYDIS_REGISTER_CR0);
        if (n == 1 || (n > 4 && n != 8)) return t.raise(kUD);
        if (refused_above_ring0(t)) return false;
        if (n == 4 && t.model.family < 5 && !t.model.has(Feature::Vme)) return t.raise(kUD);
        const Ref gpr = Translation::gpr((writes ? from : to).reg.value);
        return writes ? mov_to_cr(t, insn, n, gpr) : mov_from_cr(t, n, gpr);
    }
    if (is_dr(to) || is_dr(from)) {
        const bool writes = is_dr(to);
        const unsigned n = unsigned((writes ? to : from).reg.value - ZYDIS_REGISTER_DR0);
        if (n > 7) return t.raise(kUD);
        if (refused_above_ring0(t)) return false;
        const Ref gpr = Translation::gpr((writes ? from : to).reg.value);
        if (writes) {
            Ref value = gpr;
            if (!t.mode.long64()) {
                value = t.ir.temp();
                t.ir.extend(ir::Op::Zext, 4, 8, value, gpr);
            }
            return t.call_and_exit(insn, write_dr_info, value, {}, n);
        }
        const Ref value = t.ir.temp();
        t.ir.call(read_dr_info, value, {}, {}, n);
        t.ir.mov(t.mode.long64() ? 8 : 4, gpr, value);
        return true;
    }
    return mov_segment(t, insn);
}

// ---- CR0 by its old names
// ------------------------------------------------------------------------------------------
namespace {

u64 lmsw_helper(ir::Context& ctx, u64 a, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    write_cr0(cpu, (cpu.cr0 & ~u64{0xe}) | (a & 0xf)); // PE can be set but not cleared
    return 0;
}
u64 clts_helper(ir::Context& ctx, u64, u64, u64) {
    cpu_of(ctx).cr0 &= ~u64{kCr0TS};
    return 0;
}
u64 check_umip(ir::Context& ctx, u64, u64, u64) {
    if (cpu_of(ctx).cr4 & kCr4UMIP) raise(ctx, kGP, 0);
    return 0;
}
constexpr ir::Helper lmsw_info{"lmsw", lmsw_helper}, clts_info{"clts", clts_helper},
    check_umip_info{"check_umip", check_umip};

} // namespace

bool LMSW(Translation& t, const Instruction& insn) {
    if (refused_above_ring0(t)) return false;
    return t.call_and_exit(insn, lmsw_info, t.read_reg(insn, 0, 2));
}

bool SMSW(Translation& t, const Instruction& insn) {
    if (t.mode.cpl != 0 && t.model.has(Feature::Umip)) t.ir.call(check_umip_info);
    const Ref value = t.ir.temp();
    t.ir.load_state(8, value, at::cr0);
    const ZydisDecodedOperand& to = insn.operands[0];
    t.write(insn, 0, to.type == ZYDIS_OPERAND_TYPE_MEMORY ? 2 : to.size / 8u, value);
    return true;
}

bool CLTS(Translation& t, const Instruction& insn) {
    if (refused_above_ring0(t)) return false;
    return t.call_and_exit(insn, clts_info);
}

// ---- MSRs, time stamps, CPUID
// --------------------------------------------------------------------------------------
namespace {

void set_pair(Cpu& cpu, u64 value) {
    cpu.gpr[0] = u32(value);
    cpu.gpr[2] = u32(value >> 32);
}
u64 get_pair(const Cpu& cpu) {
    return u32(cpu.gpr[0]) | cpu.gpr[2] << 32;
}

u64 rdmsr_helper(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    u64 value = 0;
    if (read_msr(cpu, u32(cpu.gpr[1]), value))
        set_pair(cpu, value);
    else
        raise(ctx, kGP, 0);
    return 0;
}
u64 wrmsr_helper(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    if (!write_msr(cpu, u32(cpu.gpr[1]), get_pair(cpu)) && cpu.exit == ir::Exit::None) raise(ctx, kGP, 0);
    return 0;
}

u64 rdtsc_helper(ir::Context& ctx, u64, u64, u64) {
    const Cpu& cpu = cpu_of(ctx);
    return cpu.platform->time_stamp() + cpu.tsc_offset;
}
constexpr ir::Helper rdmsr_info{"rdmsr", rdmsr_helper}, wrmsr_info{"wrmsr", wrmsr_helper},
    rdtsc_info{"rdtsc", rdtsc_helper};

u64 cpuid_helper(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    const CpuidRegisters r = cpuid(cpu, u32(cpu.gpr[0]), u32(cpu.gpr[1]));
    cpu.gpr[0] = r.eax;
    cpu.gpr[3] = r.ebx;
    cpu.gpr[1] = r.ecx;
    cpu.gpr[2] = r.edx;
    return 0;
}
constexpr ir::Helper cpuid_info{"cpuid", cpuid_helper};

u64 xgetbv_helper(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    if (!(cpu.cr4 & kCr4OSXSAVE))
        raise(ctx, kUD);
    else if (u32(cpu.gpr[1]) == 0)
        set_pair(cpu, cpu.xcr0);
    else if (u32(cpu.gpr[1]) == 1 && cpu.model->has(Feature::Xgetbv1))
        set_pair(cpu, cpu.xcr0 & components_in_use(cpu));
    else
        raise(ctx, kGP, 0);
    return 0;
}
u64 xsetbv_helper(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    const u64 value = get_pair(cpu);
    const bool avx_without_sse = (value & (kSseState | kAvxState)) == kAvxState;
    const u64 avx512 = value & kAvx512States; // all or none, and not without AVX
    const bool bad_avx512 = avx512 && (avx512 != kAvx512States || !(value & kAvxState));
    if (!(cpu.cr4 & kCr4OSXSAVE))
        raise(ctx, kUD);
    else if (cpu.cpl != 0 || u32(cpu.gpr[1]) != 0 || !(value & kX87State) ||
             (value & ~state_components(*cpu.model)) || avx_without_sse || bad_avx512)
        raise(ctx, kGP, 0);
    else
        cpu.xcr0 = value;
    return 0;
}
constexpr ir::Helper xgetbv_info{"xgetbv", xgetbv_helper}, xsetbv_info{"xsetbv", xsetbv_helper};

} // namespace

bool RDMSR(Translation& t, const Instruction&) {
    if (refused_above_ring0(t)) return false;
    t.ir.call(rdmsr_info);
    return true;
}
bool WRMSR(Translation& t, const Instruction& insn) {
    if (refused_above_ring0(t)) return false;
    return t.call_and_exit(insn, wrmsr_info);
}
bool RDTSC(Translation& t, const Instruction&) {
    if (t.mode.tsc_refused) return t.raise(kGP, 0);
    const ir::Ref stamp = t.ir.temp();
    if (t.inline_time)
        t.ir.add({.op = ir::Op::TimeStamp, .d = stamp});
    else
        t.ir.call(rdtsc_info, stamp);
    t.ir.mov(4, ir::kRax, stamp);
    t.ir.alu(ir::Op::Shrx, 8, ir::kRdx, stamp, ir::Ref::imm(), 32);
    return true;
}
bool RDTSCP(Translation& t, const Instruction& insn) {
    if (!RDTSC(t, insn)) return false;
    t.ir.load_state(4, ir::kRcx, at::tsc_aux);
    return true;
}
bool RDPID(Translation& t, const Instruction& insn) {
    t.ir.load_state(t.mode.long64() ? 8 : 4, Translation::gpr(insn.operands[0].reg.value), at::tsc_aux);
    return true;
}
// There are no performance counters: every number is out of range.
bool RDPMC(Translation& t, const Instruction&) {
    return t.raise(kGP, 0);
}

bool CPUID(Translation& t, const Instruction&) {
    t.ir.call(cpuid_info);
    return true;
}
bool XGETBV(Translation& t, const Instruction&) {
    t.ir.call(xgetbv_info);
    return true;
}
bool XSETBV(Translation& t, const Instruction& insn) {
    return t.call_and_exit(insn, xsetbv_info);
}

// ---- FS and GS bases
// -----------------------------------------------------------------------------------------------
namespace {

u64 check_fsgsbase(ir::Context& ctx, u64, u64, u64) {
    if (!(cpu_of(ctx).cr4 & kCr4FSGSBASE)) raise(ctx, kUD);
    return 0;
}
// a: new base, imm: 4 FS, 5 GS
u64 write_base(ir::Context& ctx, u64 a, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (!(cpu.cr4 & kCr4FSGSBASE))
        raise(ctx, kUD);
    else if (!canonical_base(cpu, a))
        raise(ctx, kGP, 0);
    else
        cpu.seg[imm].base = a;
    return 0;
}
constexpr ir::Helper check_fsgsbase_info{"check_fsgsbase", check_fsgsbase},
    write_base_info{"write_base", write_base};

bool read_base_of(Translation& t, const Instruction& insn, unsigned seg) {
    if (!t.mode.long64()) return t.raise(kUD);
    t.ir.call(check_fsgsbase_info);
    const unsigned size = insn.operands[0].size / 8u;
    t.ir.load_state(size, Translation::gpr(insn.operands[0].reg.value), at::segment(seg) + at::base);
    return true;
}
bool write_base_of(Translation& t, const Instruction& insn, unsigned seg) {
    if (!t.mode.long64()) return t.raise(kUD);
    Ref value = Translation::gpr(insn.operands[0].reg.value);
    if (insn.operands[0].size == 32) {
        const Ref wide = t.ir.temp();
        t.ir.extend(ir::Op::Zext, 4, 8, wide, value);
        value = wide;
    }
    t.ir.call(write_base_info, {}, value, {}, seg);
    return true;
}

} // namespace

bool RDFSBASE(Translation& t, const Instruction& insn) {
    return read_base_of(t, insn, 4);
}
bool RDGSBASE(Translation& t, const Instruction& insn) {
    return read_base_of(t, insn, 5);
}
bool WRFSBASE(Translation& t, const Instruction& insn) {
    return write_base_of(t, insn, 4);
}
bool WRGSBASE(Translation& t, const Instruction& insn) {
    return write_base_of(t, insn, 5);
}

bool SWAPGS(Translation& t, const Instruction&) {
    if (!t.mode.long64()) return t.raise(kUD);
    if (refused_above_ring0(t)) return false;
    const Ref gs = t.ir.temp(), kernel = t.ir.temp();
    t.ir.load_state(8, gs, at::segment(5) + at::base);
    t.ir.load_state(8, kernel, at::kernel_gs_base);
    t.ir.store_state(8, at::segment(5) + at::base, kernel);
    t.ir.store_state(8, at::kernel_gs_base, gs);
    return true;
}

// ---- randomness
// ----------------------------------------------------------------------------------------------------
namespace {

u64 random_helper(ir::Context& ctx, u64, u64, u64) {
    u64 value = 0;
    const bool ok = cpu_of(ctx).platform->random(value);
    ctx.flags = ok ? ir::Flags{ir::kCF} : 0;
    return ok ? value : 0;
}
constexpr ir::Helper random_info{"random", random_helper, ir::kAllFlags};

} // namespace

bool RDRAND(Translation& t, const Instruction& insn) { // and RDSEED
    const Ref value = t.ir.temp();
    t.ir.call(random_info, value);
    t.ir.mov(insn.operands[0].size / 8u, Translation::gpr(insn.operands[0].reg.value), value);
    return true;
}

// ---- the rest
// ------------------------------------------------------------------------------------------------------
namespace {

u64 hlt_helper(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    halt(cpu);
    cpu.rip = imm;
    cpu.exit = ir::Exit::Halt;
    return 0;
}
constexpr ir::Helper hlt_info{"hlt", hlt_helper};

u64 set_ac(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    cpu.system_flags = size_in(imm) ? cpu.system_flags | kAC : cpu.system_flags & ~u32(kAC);
    cpu.rip = next_rip_in(cpu, imm);
    return continue_at_rip(cpu);
}
constexpr ir::Helper set_ac_info{"set_ac", set_ac};

bool change_ac(Translation& t, const Instruction& insn, bool on) {
    if (t.mode.cpl != 0) return t.raise(kUD);
    return call_and_leave(t, set_ac_info, {}, {}, size_and_length(on, insn)); // the access view changes
}

} // namespace

bool HLT(Translation& t, const Instruction& insn) {
    if (refused_above_ring0(t)) return false;
    return call_with_next_rip(t, insn, hlt_info);
}

bool STAC(Translation& t, const Instruction& insn) {
    return change_ac(t, insn, true);
}
bool CLAC(Translation& t, const Instruction& insn) {
    return change_ac(t, insn, false);
}

u64 rsm_helper(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    if (cpu.smm)
        leave_smm(cpu);
    else
        raise(ctx, kUD);
    return 0;
}
constexpr ir::Helper rsm_info{"rsm", rsm_helper};

bool RSM(Translation& t, const Instruction&) {
    return call_and_leave(t, rsm_info);
}

} // namespace dragoman::x86
