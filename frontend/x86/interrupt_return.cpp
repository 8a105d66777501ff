// IRET in every mode (SDM vol. 2, IRET).
#include "base/bits.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/far_transfer.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/system_registers.h"

namespace dragoman::x86 {

namespace {

constexpr u32 kPlainFlags = ir::kAllFlags | kTF | kDF | kNT;

bool fail(Cpu& cpu, Vector vector, u16 selector) {
    raise(cpu, vector, selector & 0xfffc);
    return false;
}

// RF ends when the next instruction begins. It holds off instruction breakpoints: where there are none, it is
// not set, so that the run loop is not asked.
void merge_flags(Cpu& cpu, u32 value, u32 mask) {
    mask = cpu.dr[7] & kDr7Enables ? mask : mask & ~u32(kRF);
    cpu.set_eflags((cpu.eflags() & ~mask) | (value & mask));
}

// The flags that IRET may change at this CPL.
u32 flags_mask(unsigned cpl, unsigned iopl, unsigned size) {
    u32 mask = kPlainFlags;
    if (size > 2) mask |= kAC | kID | kRF;
    if (cpl <= iopl) mask |= kIF;
    if (cpl == 0) mask |= kIOPL | (size > 2 ? u32(kVIF | kVIP) : 0);
    return mask;
}

// RIP, CS and RFLAGS, and what follows them. Of the slot of CS only 16 bits have to be there.
bool read_frame(Cpu& cpu, const Stack& stack, unsigned size, unsigned count, u64* frame) {
    if (read_stack(cpu, stack, 0, size, count, frame)) return true;
    if (count != 3 || cpu.exit != ir::Exit::Fault || cpu.fault.vector != stack.fault) return false;
    cpu.exit = ir::Exit::None;
    return read_stack(cpu, stack, 2 * size, size, 1, frame + 2) &&
           read_stack(cpu, stack, size, 2, 1, frame + 1) && read_stack(cpu, stack, 0, size, 1, frame);
}

bool return_in_real_mode(Cpu& cpu, unsigned size) {
    Stack stack = current_stack(cpu);
    u64 frame[3];
    if (!read_frame(cpu, stack, size, 3, frame)) return false;
    if (!return_real(cpu, stack, frame[0], u16(frame[1]), 3 * size)) return false;
    merge_flags(cpu, u32(frame[2]), flags_mask(0, 3, size) & ~u32(kVIF | kVIP));
    return true;
}

bool return_in_v86(Cpu& cpu, unsigned size) {
    const bool virtual_if = cpu.iopl() < 3 && (cpu.cr4 & kCr4VME) && size == 2;
    if (cpu.iopl() < 3 && !virtual_if) return fail(cpu, kGP, 0);
    Stack stack = current_stack(cpu);
    u64 frame[3];
    if (!read_frame(cpu, stack, size, 3, frame)) return false;
    const u32 flags = u32(frame[2]);
    u32 mask = kPlainFlags | (size > 2 ? u32(kAC | kID | kRF) : 0);
    if (virtual_if) {
        if ((flags & kTF) || ((flags & kIF) && (cpu.system_flags & kVIP))) return fail(cpu, kGP, 0);
    } else {
        mask |= kIF;
    }
    if (!return_real(cpu, stack, frame[0], u16(frame[1]), 3 * size)) return false;
    merge_flags(cpu, flags, mask);
    if (virtual_if) merge_flags(cpu, flags & kIF ? u32(kVIF) : 0, kVIF);
    return true;
}

bool return_to_v86(Cpu& cpu, const u64* frame) {
    Stack stack = current_stack(cpu);
    u64 rest[6]; // ESP SS ES DS FS GS
    if (!read_stack(cpu, stack, 12, 4, 6, rest)) return false;
    if ((frame[0] & 0xffffffff) > 0xffff) return fail(cpu, kGP, 0);
    merge_flags(cpu, u32(frame[2]), ~u32{0});
    constexpr ir::Seg order[] = {ir::Seg::SS, ir::Seg::ES, ir::Seg::DS, ir::Seg::FS, ir::Seg::GS};
    for (unsigned i = 0; i < 5; ++i)
        load_real_segment(cpu, order[i], u16(rest[i + 1]));
    load_real_segment(cpu, ir::Seg::CS, u16(frame[1]));
    cpu.gpr[4] = rest[0];
    cpu.rip = frame[0] & 0xffff;
    set_cpl(cpu, 3);
    return true;
}

bool return_from_task(Cpu& cpu, u64 next_rip) {
    u16 link = 0;
    if (!read_system(cpu, cpu.tr.base, link)) return false;
    if (is_null(link)) return fail(cpu, kTS, 0);
    return task_switch(cpu, link, TaskSwitch::Return, next_rip);
}

} // namespace

bool interrupt_return(Cpu& cpu, unsigned size, u64 next_rip) {
    cpu.nmi_blocked = false;
    if (cpu.nmi_pending) request_poll(cpu);
    if (cpu.real_mode()) return return_in_real_mode(cpu, size);
    if (cpu.v86()) return return_in_v86(cpu, size);
    if (cpu.system_flags & kNT) {
        if (cpu.long_mode()) return fail(cpu, kGP, 0);
        return return_from_task(cpu, next_rip);
    }

    Stack stack = current_stack(cpu);
    const bool from_64 = cpu.code64();
    u64 frame[5]; // RIP CS RFLAGS, and RSP SS always in 64-bit mode
    if (!read_frame(cpu, stack, size, from_64 ? 5 : 3, frame)) return false;
    const u64 rip = frame[0];
    const u16 selector = u16(frame[1]);
    const u32 flags = u32(frame[2]);
    if (!cpu.long_mode() && size == 4 && (flags & kVM) && cpu.cpl == 0) return return_to_v86(cpu, frame);

    Descriptor code;
    if (!read_return_target(cpu, selector, code)) return false;
    const unsigned level = rpl(selector);

    const u32 mask = flags_mask(cpu.cpl, cpu.iopl(), size); // by the CPL before the return
    if (level > cpu.cpl || from_64) {
        if (!from_64 && !read_stack(cpu, stack, 3 * size, size, 2, frame + 3)) return false;
        if (!return_to_outer(cpu, code, rip, frame[3], u16(frame[4]), 0)) return false;
    } else {
        if (!return_to_same(cpu, code, rip)) return false;
        stack.pointer += 3 * size;
        set_stack_pointer(cpu, stack);
    }
    merge_flags(cpu, flags, mask);
    return true;
}

} // namespace dragoman::x86
