// CLI, STI, PUSHF, POPF with the rules of IOPL, virtual-8086 mode extensions and protected-mode virtual
// interrupts (SDM vol. 2; vol. 3, 20.3 and 20.4).
#include "frontend/x86/system_helpers.h"

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

namespace {

// imm: 1 STI, 0 CLI. For CPL above 0 and virtual-8086 mode.
u64 set_if(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (cpu.iopl() >= cpu.cpl) {
        cpu.interrupt_flag = u8(imm);
        return 0;
    }
    const bool virtual_if = cpu.v86() ? cpu.cr4 & kCr4VME : cpu.cpl == 3 && (cpu.cr4 & kCr4PVI);
    if (!virtual_if || (imm && (cpu.system_flags & kVIP))) {
        raise(ctx, kGP, 0);
        return 0;
    }
    cpu.system_flags = imm ? cpu.system_flags | kVIF : cpu.system_flags & ~u32(kVIF);
    return 0;
}
constexpr ir::Helper set_if_info{"set_if", set_if};

void emit_set_if(Translation& t, bool on) {
    if (t.mode.cpl == 0)
        t.ir.store_state(1, offsetof(ir::Context, interrupt_flag), Ref::imm(), on);
    else
        t.ir.call(set_if_info, {}, {}, {}, on);
}

constexpr u32 kImage =
    ir::kAllFlags | kTF | kIF | kDF | kIOPL | kNT | kAC | kVIF | kVIP | kID | 2; // not RF and VM

// The image that PUSHF pushes in virtual-8086 mode.
u64 v86_image(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    u32 flags = cpu.eflags() & kImage;
    if (cpu.iopl() < 3) {
        if (!(cpu.cr4 & kCr4VME) || imm != 2) {
            raise(ctx, kGP, 0);
            return 0;
        }
        flags = (flags & ~u32(kIF)) | kIOPL | (flags & kVIF ? u32(kIF) : 0);
    }
    return flags;
}
constexpr ir::Helper v86_image_info{"v86_flags", v86_image, 0, ir::kAllFlags};

// RFLAGS in a temporary, made of bits that do not overlap by additions, which leave the flags alone.
Ref compose_flags(Translation& t) {
    const Ref flags = t.ir.temp(), system = t.ir.temp(), high = t.ir.temp(), direction = t.ir.temp();
    t.ir.add({.op = Op::GetFlags, .d = flags});
    t.ir.load_state(4, system, at::system_flags);
    t.ir.load_state(1, high, offsetof(ir::Context, interrupt_flag));
    t.ir.load_state(1, direction, offsetof(ir::Context, direction_flag));
    t.ir.lea(8, high, {.base = high, .index = direction, .scale = 1});
    for (unsigned i = 0; i < 3; ++i)
        t.ir.lea(8, high, {.index = high, .scale = 3}); // to bits 9 and 10
    t.ir.lea(8, flags, {.base = flags, .index = system, .disp = 2});
    t.ir.lea(8, flags, {.base = flags, .index = high});
    return flags;
}

u32 popf_mask(const Cpu& cpu, unsigned size) {
    u32 mask = ir::kAllFlags | kTF | kDF | kNT;
    if (size > 2) mask |= kAC | kID;
    if (cpu.cpl <= cpu.iopl()) mask |= kIF;
    if (cpu.cpl == 0) mask |= kIOPL;
    return mask;
}

void apply(Cpu& cpu, u32 value, u32 mask) {
    cpu.set_eflags((cpu.eflags() & ~mask & ~u32(kRF)) | (value & mask));
}

// Outside virtual-8086 mode POPF ignores what it may not change; it never faults. a: value.
u64 popf_helper(ir::Context& ctx, u64 a, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    apply(cpu, u32(a), popf_mask(cpu, size_in(imm)));
    leave_if_mode_changed(cpu, next_rip_in(cpu, imm));
    return 0;
}
constexpr ir::Helper popf_info{"popf", popf_helper, ir::kAllFlags, ir::kAllFlags};

u64 popf_v86_helper(ir::Context& ctx, u64 a, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const u32 value = u32(a);
    const unsigned size = size_in(imm);
    u32 mask = ir::kAllFlags | kTF | kDF | kNT | (size > 2 ? u32(kAC | kID) : 0);
    if (cpu.iopl() == 3) {
        apply(cpu, value, mask | kIF);
    } else if (!(cpu.cr4 & kCr4VME) || size != 2 || (value & kTF) ||
               ((value & kIF) && (cpu.system_flags & kVIP))) {
        raise(ctx, kGP, 0);
    } else {
        apply(cpu, (value & ~u32(kVIF)) | (value & kIF ? u32(kVIF) : 0), mask | kVIF);
    }
    return 0;
}
constexpr ir::Helper popf_v86_info{"popf_v86", popf_v86_helper, ir::kAllFlags, ir::kAllFlags};

} // namespace

bool CLI(Translation& t, const Instruction&) {
    emit_set_if(t, false);
    return true;
}

bool STI(Translation& t, const Instruction&) {
    emit_set_if(t, true);
    t.shadow_next(kShadowSti);
    return true;
}

bool PUSHF(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operand_size();
    if (!t.mode.v86) {
        t.push(size, compose_flags(t));
        return true;
    }
    const Ref image = t.ir.temp();
    t.ir.call(v86_image_info, image, {}, {}, size);
    t.push(size, image);
    return true;
}

bool POPF(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operand_size();
    const Ref value = t.pop_value(size);
    if (t.mode.v86) {
        t.ir.call(popf_v86_info, {}, value, {}, size_and_length(size, insn));
        t.adjust_stack(size);
        t.ir.exit_to(insn.next_rip);
        return false;
    }
    t.adjust_stack(size);
    t.ir.call(popf_info, {}, value, {}, size_and_length(size, insn));
    t.ir.add({.op = Op::PollIntr, .imm = i64(insn.next_rip)});
    return true;
}

} // namespace dragoman::x86
