// Exceptions and interrupts on their way to the guest's handler (SDM vol. 3, ch. 6; 20.1.4 and 20.3 for real
// and virtual-8086 mode).
#include "frontend/x86/exception.h"

#include "base/bits.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/far_transfer.h"
#include "frontend/x86/stack_reference.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/system_registers.h"

namespace dragoman::x86 {

namespace {

struct Event {
    u8 vector = 0;
    EventKind kind = EventKind::Exception;
    bool has_error = false;
    u32 error = 0;
    u64 return_rip = 0;
    bool fault = false; // EFLAGS.RF is set in the image
};

bool fail(Cpu& cpu, Vector vector, u32 error) {
    raise(cpu, vector, error);
    return false;
}

u32 idt_error(u8 vector) {
    return u32{vector} * 8 + 2;
}

// RF: SDM vol. 3, 18.3.1.1.
u32 saved_flags(const Cpu& cpu, const Event& e) {
    return cpu.eflags() | (e.fault || cpu.mid_repeat ? u32(kRF) : 0);
}

// IF is cleared by interrupt gates only; the view follows from the new CPL (EFLAGS.AC stays).
void enter_handler(Cpu& cpu, bool interrupt_gate) {
    cpu.system_flags &= ~u32(kTF | kNT | kRF | kVM);
    if (interrupt_gate) cpu.interrupt_flag = 0;
    cpu.view = u8(access_view(cpu));
}

// The interrupt vector table of real mode; in virtual-8086 mode the one at linear address 0 (VME).
bool deliver_real(Cpu& cpu, const Event& e) {
    const u64 at = u64{e.vector} * 4;
    const bool vme = cpu.v86();
    if (!vme && at + 3 > cpu.idtr.limit) return fail(cpu, kGP, idt_error(e.vector));
    u32 handler = 0;
    if (!read_memory(cpu, (vme ? 0 : cpu.idtr.base) + at, &handler, 4, view_at(cpu, cpu.cpl))) return false;

    u32 flags = saved_flags(cpu, e);
    const bool virtual_if = vme && cpu.iopl() < 3; // the program's IF is VIF then
    if (virtual_if) flags = (flags & ~u32(kIF)) | kIOPL | (flags & kVIF ? u32(kIF) : 0);
    Stack stack = current_stack(cpu);
    Frame frame(2);
    frame.push(flags);
    frame.push(cpu.seg[1].selector);
    frame.push(e.return_rip);
    if (!frame.write(cpu, stack)) return false;

    set_stack_pointer(cpu, stack);
    load_real_segment(cpu, ir::Seg::CS, u16(handler >> 16));
    cpu.rip = handler & 0xffff;
    if (virtual_if)
        cpu.system_flags &= ~u32(kVIF);
    else
        cpu.interrupt_flag = 0;
    cpu.system_flags &= ~u32(kTF | kRF);
    if (!vme) cpu.system_flags &= ~u32(kAC);
    cpu.view = u8(access_view(cpu));
    return true;
}

// The CPL at which a handler in this code segment runs.
unsigned handler_level(const Cpu& cpu, const Descriptor& code) {
    return code.conforming() ? cpu.cpl : code.dpl();
}

bool deliver_long(Cpu& cpu, const Event& e) {
    const u64 at = u64{e.vector} * 16;
    if (at + 15 > cpu.idtr.limit) return fail(cpu, kGP, idt_error(e.vector));
    u64 raw[2];
    if (!read_memory(cpu, cpu.idtr.base + at, raw, 16, system_view(cpu))) return false;
    const Descriptor gate{.low = raw[0], .high = raw[1]};
    if (gate.is_segment() || (gate.type() != kInterruptGate32 && gate.type() != kTrapGate32))
        return fail(cpu, kGP, idt_error(e.vector));
    if (e.kind == EventKind::Software && gate.dpl() < cpu.cpl) return fail(cpu, kGP, idt_error(e.vector));
    if (!gate.present()) return fail(cpu, kNP, idt_error(e.vector));

    Descriptor code;
    if (!read_gate_target(cpu, gate.gate_selector(), code)) return false;
    const unsigned level = handler_level(cpu, code);
    const bool changes = level < cpu.cpl;
    InnerStack inner;
    Stack& stack = inner.stack;
    if (changes || gate.gate_ist()) {
        if (!open_inner_stack(cpu, level, gate.gate_ist(), inner)) return false;
    } else {
        stack.bits = 64;
        stack.view = view_at(cpu, level);
        stack.pointer = cpu.gpr[4] & (cpu.code64() ? ~u64{0} : current_stack(cpu).mask());
    }
    stack.pointer &= ~u64{15};

    Frame frame(8);
    frame.push(cpu.seg[2].selector);
    frame.push(cpu.gpr[4]);
    frame.push(saved_flags(cpu, e));
    frame.push(cpu.seg[1].selector);
    frame.push(e.return_rip);
    if (e.has_error) frame.push(e.error);
    if (!frame.fits(cpu, stack)) return false;
    if (!canonical(cpu, gate.gate_offset64())) return fail(cpu, kGP, 0);
    if (!set_accessed(cpu, code) || !frame.write(cpu, stack)) return false;

    cpu.gpr[4] = stack.pointer;
    if (changes) cpu.seg[2] = inner.segment;
    cpu.seg[1] = code.segment(with_rpl(gate.gate_selector(), level));
    cpu.cpl = u8(level);
    cpu.rip = gate.gate_offset64();
    enter_handler(cpu, gate.type() == kInterruptGate32);
    return true;
}

bool deliver_by_task_gate(Cpu& cpu, const Event& e, u16 selector) {
    if (selector & 4) return fail(cpu, kGP, selector & 0xfffc);
    Descriptor tss;
    if (!read_descriptor(cpu, selector, tss, kGP)) return false;
    if (tss.is_segment() || (tss.type() != kTss16 && tss.type() != kTss32))
        return fail(cpu, kGP, selector & 0xfffc);
    if (!tss.present()) return fail(cpu, kNP, selector & 0xfffc);
    const u32 before = cpu.system_flags;
    const u16 old_task = cpu.tr.selector;
    if (e.fault || cpu.mid_repeat) cpu.system_flags |= kRF; // goes into the old task's image
    if (task_switch(cpu, selector, TaskSwitch::Gate, e.return_rip, e.has_error, e.error)) return true;
    if (cpu.tr.selector == old_task) cpu.system_flags = before; // a fault before the switch changes nothing
    return false;
}

bool deliver_protected(Cpu& cpu, const Event& e) {
    const u64 at = u64{e.vector} * 8;
    if (at + 7 > cpu.idtr.limit) return fail(cpu, kGP, idt_error(e.vector));
    Descriptor gate;
    if (!read_system(cpu, cpu.idtr.base + at, gate.low)) return false;
    const unsigned type = gate.type();
    const bool known = type == kTaskGate || type == kInterruptGate16 || type == kTrapGate16 ||
                       type == kInterruptGate32 || type == kTrapGate32;
    if (gate.is_segment() || !known) return fail(cpu, kGP, idt_error(e.vector));
    if (e.kind == EventKind::Software && gate.dpl() < cpu.cpl) return fail(cpu, kGP, idt_error(e.vector));
    if (!gate.present()) return fail(cpu, kNP, idt_error(e.vector));
    if (type == kTaskGate) return deliver_by_task_gate(cpu, e, gate.gate_selector());

    const unsigned size = type & 8 ? 4 : 2;
    const u16 selector = gate.gate_selector();
    Descriptor code;
    if (!read_gate_target(cpu, selector, code)) return false;
    const unsigned level = handler_level(cpu, code);
    const bool v86 = cpu.v86();
    if (v86 && level != 0) return fail(cpu, kGP, selector & 0xfffc);

    const bool changes = level < cpu.cpl;
    InnerStack inner;
    Stack& stack = inner.stack;
    if (!changes)
        stack = current_stack(cpu);
    else if (!open_inner_stack(cpu, level, 0, inner))
        return false;
    const u64 target = gate.gate_offset() & size_mask(size);

    Frame frame(size);
    if (v86)
        for (const unsigned i : {5u, 4u, 3u, 0u})
            frame.push(cpu.seg[i].selector);
    if (changes) {
        frame.push(cpu.seg[2].selector);
        frame.push(cpu.gpr[4]);
    }
    frame.push(saved_flags(cpu, e));
    frame.push(cpu.seg[1].selector);
    frame.push(e.return_rip);
    if (e.has_error) frame.push(e.error);
    if (!frame.fits(cpu, stack)) return false;
    if (target > code.limit()) return fail(cpu, kGP, 0);
    if (changes && !mark_accessed(cpu, inner)) return false;
    if (!set_accessed(cpu, code) || !frame.write(cpu, stack)) return false;

    if (changes) cpu.seg[2] = inner.segment;
    set_stack_pointer(cpu, stack);
    if (v86)
        for (const unsigned i : {0u, 3u, 4u, 5u})
            cpu.seg[i] = null_segment(0);
    cpu.seg[1] = code.segment(with_rpl(selector, level));
    cpu.cpl = u8(level);
    cpu.rip = target;
    enter_handler(cpu, !(type & 1));
    return true;
}

bool deliver(Cpu& cpu, Event e) {
    if (cpu.log && cpu.log->enabled(LogItem::Int))
        cpu.log->print(LogItem::Int, "%s %u error %x at %04x:%llx cpl %u cr2 %llx\n",
                       e.kind == EventKind::Exception ? "exception" : "interrupt", e.vector, e.error,
                       cpu.seg[1].selector, static_cast<unsigned long long>(e.return_rip), cpu.cpl,
                       static_cast<unsigned long long>(cpu.cr2));
    bool ok;
    if (cpu.real_mode())
        ok = deliver_real(cpu, e);
    else if (cpu.long_mode())
        ok = deliver_long(cpu, e);
    else
        ok = deliver_protected(cpu, e);
    if (!ok && cpu.exit == ir::Exit::Fault && e.kind != EventKind::Software) {
        // EXT: the fault comes from an event external to the program (SDM vol. 3, 6.13).
        const u8 v = cpu.fault.vector;
        if (v == kTS || v == kNP || v == kSS || v == kGP) cpu.fault.error |= 1;
    }
    return ok;
}

// SDM vol. 3, table 6-4.
bool contributory(u8 v) {
    return v == kDE || (v >= kTS && v <= kGP);
}
bool doubles(u8 first, u8 second) {
    if (contributory(first)) return contributory(second);
    return first == kPF && (contributory(second) || second == kPF);
}

bool is_fault_class(const ir::Fault& f) {
    const u8 v = f.vector;
    if (v == kDB) return f.address & kDr6BD; // and not an instruction breakpoint, for RF
    return v != kBP && v != kVectorOF && v != kDoubleFault && v != kMC;
}

void enter_debug_handler(Cpu& cpu) {
    cpu.dr[7] &= ~u64{kDr7GD};
    cpu.debugctl &= ~u64{kDebugCtlBTF};
}

void note(Cpu& cpu, const ir::Fault& f) {
    if (cpu.chain_length < 3)
        cpu.chain[cpu.chain_length++] = {.vector = f.vector,
                                         .has_error = f.has_error,
                                         .error = f.error,
                                         .rip = cpu.rip,
                                         .cr2 = f.vector == kPF ? f.address : cpu.cr2};
}

void shut_down(Cpu& cpu, const char* why) {
    cpu.shutdown_why = why;
    cpu.exit = ir::Exit::Shutdown;
}

} // namespace

void raise(ir::Context& ctx, Vector vector) {
    ctx.fault = {.vector = vector};
    ctx.exit = ir::Exit::Fault;
}

void raise(ir::Context& ctx, Vector vector, u32 error) {
    ctx.fault = {.vector = vector, .has_error = true, .error = error};
    ctx.exit = ir::Exit::Fault;
}

void raise_not_canonical(ir::Context& ctx, u64 linear) {
    raise(ctx, kGP, 0);
    ctx.fault.address = linear;
}

void raise_page_fault(ir::Context& ctx, const softmmu::PageFault& fault) {
    ctx.fault = {.vector = kPF, .has_error = true, .error = fault.error, .address = fault.address};
    ctx.exit = ir::Exit::Fault;
}

void deliver_fault(Cpu& cpu) {
    cpu.chain_length = 0;
    // Each turn either delivers, or moves on to a graver fault; benign ones that follow one another are
    // bounded too.
    for (unsigned turn = 0; turn < 8; ++turn) {
        // SIMD exceptions that the system does not know are an undefined opcode (SDM vol. 3, 2.5,
        // OSXMMEXCPT).
        if (cpu.fault.vector == kXM && !(cpu.cr4 & kCr4OSXMMEXCPT)) cpu.fault.vector = kUD;
        if (cpu.fault.vector == kGP && cpu.fault.address && stack_reference(cpu, cpu.fault.address))
            cpu.fault.vector = kSS;
        const ir::Fault f = cpu.fault;
        note(cpu, f);
        if (f.vector == kPF) cpu.cr2 = f.address;
        if (f.vector == kDB) {
            constexpr u32 reasons = kDr6B | kDr6BD | kDr6BS | kDr6BT;
            cpu.dr[6] = (cpu.dr[6] & ~u64{kDr6B}) | (f.address & reasons);
            enter_debug_handler(cpu);
        }
        cpu.exit = ir::Exit::None;
        if (deliver(cpu, {.vector = f.vector,
                          .has_error = f.has_error,
                          .error = f.error,
                          .return_rip = cpu.rip,
                          .fault = is_fault_class(f)}))
            return;
        if (cpu.exit != ir::Exit::Fault) return shut_down(cpu, "exception frame overlaps running code");
        if (f.vector == kDoubleFault) {
            note(cpu, cpu.fault);
            return shut_down(cpu, "exception while delivering a double fault");
        }
        if (doubles(f.vector, cpu.fault.vector)) {
            note(cpu, cpu.fault);
            if (cpu.fault.vector == kPF) cpu.cr2 = cpu.fault.address;
            raise(cpu, kDoubleFault, 0);
        }
    }
    shut_down(cpu, "exceptions without end while delivering an exception");
}

void deliver_interrupt(Cpu& cpu, u8 vector, EventKind kind) {
    wake(cpu);
    cpu.monitor.armed = false;
    cpu.interrupt_shadow = 0;
    if (kind == EventKind::Nmi) {
        cpu.nmi_pending = false;
        cpu.nmi_blocked = true; // until IRET
    }
    cpu.exit = ir::Exit::None;
    if (deliver(cpu, {.vector = vector, .kind = kind, .return_rip = cpu.rip})) return;
    if (cpu.exit != ir::Exit::Fault) return shut_down(cpu, "interrupt frame overlaps running code");
    deliver_fault(cpu); // interrupts are benign: the fault is handled on its own
}

// No single step follows: the handler begins with TF clear, and TF is looked at again after IRET.
void software_interrupt(Cpu& cpu, u8 vector, u64 next_rip, EventKind kind) {
    cpu.stepping = false;
    if (kind == EventKind::Icebp) enter_debug_handler(cpu);
    deliver(cpu, {.vector = vector, .kind = kind, .return_rip = next_rip});
}

void interrupt_n(Cpu& cpu, u8 vector, u64 next_rip) {
    const Event e{.vector = vector, .kind = EventKind::Software, .return_rip = next_rip};
    cpu.stepping = false;
    if (cpu.v86()) { // SDM vol. 3, table 20-2
        bool redirected = false;
        if (cpu.cr4 & kCr4VME) {
            // The software interrupt redirection bitmap: the 32 bytes below the I/O permission bitmap.
            u16 io_map = 0;
            u8 map = 0;
            const bool in_tss = cpu.tr.limit >= 0x67;
            if (in_tss && !read_system(cpu, cpu.tr.base + 0x66, io_map)) return;
            const u64 at = u64{io_map} - 32 + vector / 8;
            if (!in_tss || io_map < 32 || at > cpu.tr.limit) return raise(cpu, kGP, 0);
            if (!read_system(cpu, cpu.tr.base + at, map)) return;
            redirected = !bit(map, vector % 8);
        }
        if (redirected) {
            deliver_real(cpu, e);
            return;
        }
        if (cpu.iopl() < 3) return raise(cpu, kGP, 0);
    }
    deliver(cpu, e);
}

} // namespace dragoman::x86
