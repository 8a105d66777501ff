// Far JMP, CALL and RET (SDM vol. 2; vol. 3, 5.8).
#include "frontend/x86/far_transfer.h"

#include "base/bits.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/system_registers.h"

namespace dragoman::x86 {

namespace {

bool fail(Cpu& cpu, Vector vector, u16 selector) {
    raise(cpu, vector, selector & 0xfffc);
    return false;
}

bool real_addressing(const Cpu& cpu) {
    return cpu.real_mode() || cpu.v86();
}

bool is_64bit_code(const Cpu& cpu, const Descriptor& code) {
    return cpu.long_mode() && code.long_code();
}

// Is `rip` one that this code segment can run?
bool check_target(Cpu& cpu, const Descriptor& code, u64 rip) {
    const bool ok = is_64bit_code(cpu, code) ? canonical(cpu, rip) : rip <= code.limit();
    return ok || fail(cpu, kGP, 0);
}

// A code segment reached without a gate, at the same CPL.
bool check_direct_code(Cpu& cpu, const Descriptor& code) {
    if (is_64bit_code(cpu, code) && code.default_big()) return fail(cpu, kGP, code.selector);
    const bool level_ok =
        code.conforming() ? code.dpl() <= cpu.cpl : rpl(code.selector) <= cpu.cpl && code.dpl() == cpu.cpl;
    if (!level_ok) return fail(cpu, kGP, code.selector);
    return code.present() || fail(cpu, kNP, code.selector);
}

void enter(Cpu& cpu, const Descriptor& code, unsigned level, u64 rip) {
    cpu.seg[1] = code.segment(with_rpl(code.selector, level));
    cpu.cpl = u8(level);
    cpu.view = u8(access_view(cpu));
    cpu.rip = rip;
}

// The checks of a call gate, TSS or task gate named by a far transfer; the gate's own presence included.
bool check_gate(Cpu& cpu, const Descriptor& d) {
    if (d.dpl() < cpu.cpl || rpl(d.selector) > d.dpl()) return fail(cpu, kGP, d.selector);
    return d.present() || fail(cpu, kNP, d.selector);
}

u64 gate_target(const Cpu& cpu, const Descriptor& gate) {
    if (cpu.long_mode()) return gate.gate_offset64();
    return gate.gate_offset() & (gate.type() == kCallGate16 ? 0xffff : 0xffffffff);
}

// JMP and CALL to a TSS or through a task gate.
bool switch_by(Cpu& cpu, const Descriptor& d, TaskSwitch how, u64 next_rip) {
    if (!check_gate(cpu, d)) return false;
    if (d.type() != kTaskGate) return task_switch(cpu, d.selector, how, next_rip);
    return task_switch(cpu, d.gate_selector(), how, next_rip);
}

enum class Way : u8 { CallGate, Task, Bad };
Way way_of(const Cpu& cpu, const Descriptor& d) {
    switch (d.type()) {
    case kCallGate32: return Way::CallGate;
    case kCallGate16: return cpu.long_mode() ? Way::Bad : Way::CallGate;
    case kTss16:
    case kTss32:
    case kTaskGate: return cpu.long_mode() ? Way::Bad : Way::Task;
    default: return Way::Bad;
    }
}

// The 16-byte call gate of long mode must have a 0 type in its upper half.
bool sane_wide_gate(const Cpu& cpu, const Descriptor& d) {
    return !cpu.long_mode() || !((d.high >> 40) & 0x1f);
}

bool call_inner(Cpu& cpu, const Descriptor& gate, Descriptor& code, u64 target, u64 next_rip) {
    const unsigned level = code.dpl();
    const unsigned size = cpu.long_mode() ? 8 : gate.type() == kCallGate16 ? 2 : 4;
    InnerStack inner;
    if (!open_inner_stack(cpu, level, 0, inner)) return false;
    Frame frame(size);
    frame.push(cpu.seg[2].selector);
    frame.push(cpu.gpr[4]);
    if (!cpu.long_mode()) {
        u64 parameters[31];
        const unsigned count = gate.gate_parameters();
        if (count && !read_stack(cpu, current_stack(cpu), 0, size, count, parameters)) return false;
        for (unsigned i = count; i-- > 0;)
            frame.push(parameters[i]);
    }
    frame.push(cpu.seg[1].selector);
    frame.push(next_rip);
    if (!frame.fits(cpu, inner.stack) || !check_target(cpu, code, target)) return false;
    if (!mark_accessed(cpu, inner) || !set_accessed(cpu, code) || !frame.write(cpu, inner.stack))
        return false;
    cpu.seg[2] = inner.segment;
    set_stack_pointer(cpu, inner.stack);
    enter(cpu, code, level, target);
    return true;
}

// The return address on the present stack, then on to `rip`: of the same privilege level.
bool call_same(Cpu& cpu, Descriptor& code, u64 rip, Stack& stack, unsigned size, u64 next_rip) {
    Frame frame(size);
    frame.push(cpu.seg[1].selector);
    frame.push(next_rip);
    // Processors push before they look at the target.
    if (!frame.write(cpu, stack) || !check_target(cpu, code, rip) || !set_accessed(cpu, code)) return false;
    set_stack_pointer(cpu, stack);
    enter(cpu, code, cpu.cpl, rip);
    return true;
}

// The checks of a gate's code segment but for its presence, which comes last.
bool read_gate_code(Cpu& cpu, u16 selector, Descriptor& code) {
    if (is_null(selector)) return fail(cpu, kGP, 0);
    if (!read_descriptor(cpu, selector, code, kGP)) return false;
    if (!code.is_code() || code.dpl() > cpu.cpl) return fail(cpu, kGP, selector);
    if (cpu.long_mode() && (!code.long_code() || code.default_big())) return fail(cpu, kGP, selector);
    return true;
}

} // namespace

bool read_gate_target(Cpu& cpu, u16 selector, Descriptor& code) {
    if (!read_gate_code(cpu, selector, code)) return false;
    return code.present() || fail(cpu, kNP, selector);
}

bool read_return_target(Cpu& cpu, u16 selector, Descriptor& code) {
    if (is_null(selector)) return fail(cpu, kGP, 0);
    if (!read_descriptor(cpu, selector, code, kGP)) return false;
    const unsigned level = rpl(selector);
    const bool level_ok = code.conforming() ? code.dpl() <= level : code.dpl() == level;
    if (!code.is_code() || level < cpu.cpl || !level_ok) return fail(cpu, kGP, selector);
    if (is_64bit_code(cpu, code) && code.default_big()) return fail(cpu, kGP, selector);
    return code.present() || fail(cpu, kNP, selector);
}

bool return_real(Cpu& cpu, Stack& stack, u64 rip, u16 selector, u64 bytes) {
    if (rip > cpu.seg[1].limit) return fail(cpu, kGP, 0);
    stack.pointer += bytes;
    set_stack_pointer(cpu, stack);
    load_real_segment(cpu, ir::Seg::CS, selector);
    cpu.rip = rip;
    return true;
}

bool open_inner_stack(Cpu& cpu, unsigned level, unsigned ist, InnerStack& inner) {
    Stack& stack = inner.stack;
    stack.view = view_at(cpu, level);
    if (cpu.long_mode()) {
        stack.bits = 64;
        inner.segment = null_segment(u16(level), level);
        return inner_stack64(cpu, level, ist, stack.pointer);
    }
    u64 pointer = 0;
    u16 selector = 0;
    if (!inner_stack(cpu, level, selector, pointer)) return false;
    if (!check_stack_segment(cpu, selector, level, kTS, inner.descriptor)) return false;
    inner.segment = inner.descriptor.segment(selector);
    stack.segment = inner.segment;
    stack.bits = inner.descriptor.default_big() ? 32 : 16;
    stack.pointer = pointer & stack.mask();
    stack.error = selector & 0xfffc;
    return true;
}

bool mark_accessed(Cpu& cpu, InnerStack& inner) {
    if (cpu.long_mode()) return true;
    if (!set_accessed(cpu, inner.descriptor)) return false;
    inner.segment = inner.descriptor.segment(inner.segment.selector);
    return true;
}

u64 instruction_pointer_mask(const Cpu& cpu) {
    return cpu.code64() ? ~u64{0} : 0xffffffff;
}

bool far_jump(Cpu& cpu, u16 selector, u64 offset, unsigned size, u64 next_rip) {
    offset &= size_mask(size);
    if (real_addressing(cpu)) {
        if (offset > cpu.seg[1].limit) return fail(cpu, kGP, 0);
        load_real_segment(cpu, ir::Seg::CS, selector);
        cpu.rip = offset;
        return true;
    }
    if (is_null(selector)) return fail(cpu, kGP, 0);
    Descriptor d;
    if (!read_descriptor(cpu, selector, d, kGP, true)) return false;
    if (d.is_segment()) {
        if (!d.is_code()) return fail(cpu, kGP, selector);
        if (!check_direct_code(cpu, d) || !check_target(cpu, d, offset) || !set_accessed(cpu, d))
            return false;
        enter(cpu, d, cpu.cpl, offset);
        return true;
    }
    switch (way_of(cpu, d)) {
    case Way::CallGate: {
        Descriptor code;
        if (!sane_wide_gate(cpu, d)) return fail(cpu, kGP, selector);
        if (!check_gate(cpu, d) || !read_gate_code(cpu, d.gate_selector(), code)) return false;
        if (!code.conforming() && code.dpl() != cpu.cpl) return fail(cpu, kGP, code.selector);
        if (!code.present()) return fail(cpu, kNP, code.selector);
        if (!check_target(cpu, code, gate_target(cpu, d)) || !set_accessed(cpu, code)) return false;
        enter(cpu, code, cpu.cpl, gate_target(cpu, d));
        return true;
    }
    case Way::Task: return switch_by(cpu, d, TaskSwitch::Jump, next_rip);
    case Way::Bad: break;
    }
    return fail(cpu, kGP, selector);
}

bool far_call(Cpu& cpu, u16 selector, u64 offset, unsigned size, u64 next_rip) {
    offset &= size_mask(size);
    Stack stack = current_stack(cpu);
    if (real_addressing(cpu)) {
        if (offset > cpu.seg[1].limit) return fail(cpu, kGP, 0);
        Frame frame(size);
        frame.push(cpu.seg[1].selector);
        frame.push(next_rip);
        if (!frame.write(cpu, stack)) return false;
        return return_real(cpu, stack, offset, selector, 0);
    }
    if (is_null(selector)) return fail(cpu, kGP, 0);
    Descriptor d;
    if (!read_descriptor(cpu, selector, d, kGP, true)) return false;
    if (d.is_segment()) {
        if (!d.is_code()) return fail(cpu, kGP, selector);
        return check_direct_code(cpu, d) && call_same(cpu, d, offset, stack, size, next_rip);
    }
    switch (way_of(cpu, d)) {
    case Way::CallGate: {
        Descriptor code;
        if (!sane_wide_gate(cpu, d)) return fail(cpu, kGP, selector);
        if (!check_gate(cpu, d) || !read_gate_target(cpu, d.gate_selector(), code)) return false;
        const u64 target = gate_target(cpu, d);
        if (!code.conforming() && code.dpl() < cpu.cpl) return call_inner(cpu, d, code, target, next_rip);
        const unsigned gate_size = cpu.long_mode() ? 8 : d.type() == kCallGate16 ? 2 : 4;
        if (cpu.long_mode()) { // the handler is 64-bit code: so is its stack
            stack.bits = 64;
            stack.pointer = cpu.gpr[4];
        }
        return call_same(cpu, code, target, stack, gate_size, next_rip);
    }
    case Way::Task: return switch_by(cpu, d, TaskSwitch::Call, next_rip);
    case Way::Bad: break;
    }
    return fail(cpu, kGP, selector);
}

bool far_return(Cpu& cpu, unsigned size, u16 release) {
    Stack stack = current_stack(cpu);
    u64 rip = 0, selector_slot = 0; // of which 16 bits are read, and first
    if (!read_stack(cpu, stack, size, 2, 1, &selector_slot)) return false;
    if (!read_stack(cpu, stack, 0, size, 1, &rip)) return false;
    const u16 selector = u16(selector_slot);
    if (real_addressing(cpu)) return return_real(cpu, stack, rip, selector, 2 * size + release);
    Descriptor code;
    if (!read_return_target(cpu, selector, code)) return false;
    const unsigned level = rpl(selector);
    if (level == cpu.cpl) {
        if (!check_target(cpu, code, rip) || !set_accessed(cpu, code)) return false;
        stack.pointer += 2 * size + release;
        set_stack_pointer(cpu, stack);
        enter(cpu, code, level, rip);
        return true;
    }

    u64 outer[2]; // ESP, SS
    if (!read_stack(cpu, stack, 2 * size + release, size, 2, outer)) return false;
    return return_to_outer(cpu, code, rip, outer[0], u16(outer[1]), release);
}

bool return_to_outer(Cpu& cpu, Descriptor& code, u64 rip, u64 rsp, u16 new_ss, u16 release) {
    const unsigned level = rpl(code.selector);
    const bool to_64 = is_64bit_code(cpu, code);
    Descriptor ss;
    Stack stack;
    if (is_null(new_ss) && to_64 && level != 3) {
        if (rpl(new_ss) != level) return fail(cpu, kGP, new_ss);
        stack.segment = null_segment(new_ss, level);
    } else {
        if (!check_stack_segment(cpu, new_ss, level, kGP, ss)) return false;
        if (!set_accessed(cpu, ss)) return false;
        stack.segment = ss.segment(new_ss);
    }
    if (!check_target(cpu, code, rip) || !set_accessed(cpu, code)) return false;
    stack.bits = to_64 ? 64 : ss.default_big() ? 32 : 16;
    cpu.seg[2] = stack.segment;
    stack.pointer = rsp + release;
    set_stack_pointer(cpu, stack);
    enter(cpu, code, level, rip);
    drop_inner_segments(cpu);
    return true;
}

bool return_to_same(Cpu& cpu, Descriptor& code, u64 rip) {
    if (!check_target(cpu, code, rip) || !set_accessed(cpu, code)) return false;
    enter(cpu, code, cpu.cpl, rip);
    return true;
}

} // namespace dragoman::x86
