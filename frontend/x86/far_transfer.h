// Transfers between code segments, privilege levels and tasks. Each returns false when a fault was raised;
// then the state is that before the instruction (or, where the manual says so, that at the first instruction
// of the new task).
#pragma once

#include "frontend/x86/descriptor.h"
#include "frontend/x86/system_memory.h"

namespace dragoman::x86 {

// `size`: operand size in bytes; `next_rip`: of the instruction after.
bool far_jump(Cpu& cpu, u16 selector, u64 offset, unsigned size, u64 next_rip);
bool far_call(Cpu& cpu, u16 selector, u64 offset, unsigned size, u64 next_rip);
bool far_return(Cpu& cpu, unsigned size, u16 release);
bool interrupt_return(Cpu& cpu, unsigned size, u64 next_rip);

// What transfers of all kinds have in common. Each raises and returns false where the manual says so.
//
// The code segment a call, interrupt or trap gate leads to: code, not more privileged than its user can have
// it, 64-bit code in long mode, present.
bool read_gate_target(Cpu& cpu, u16 selector, Descriptor& code);
// The code segment of a return frame, to the level of its RPL.
bool read_return_target(Cpu& cpu, u16 selector, Descriptor& code);
// Real and virtual-8086 mode: to CS:IP of a return frame of `bytes` bytes, which is popped.
bool return_real(Cpu& cpu, Stack& stack, u64 rip, u16 selector, u64 bytes);
// The stack of an inner level as the TSS has it, and its segment (in long mode a null one).
struct InnerStack {
    Stack stack;
    Descriptor descriptor;
    ir::Segment segment;
};
bool open_inner_stack(Cpu& cpu, unsigned level, unsigned ist, InnerStack& inner);
bool mark_accessed(Cpu& cpu, InnerStack& inner);

// The last step of RET and IRET, to the code segment already checked: with a new stack, or with the present
// one (whose pointer the caller moves).
bool return_to_outer(Cpu& cpu, Descriptor& code, u64 rip, u64 rsp, u16 ss, u16 release);
bool return_to_same(Cpu& cpu, Descriptor& code, u64 rip);

bool syscall(Cpu& cpu, u64 next_rip);
bool sysret(Cpu& cpu, unsigned size);
bool sysenter(Cpu& cpu);
bool sysexit(Cpu& cpu, unsigned size);

enum class TaskSwitch : u8 { Jump, Call, Return, Gate /* exception or interrupt */ };
// `selector` names a TSS; its descriptor has passed the checks of the way it was reached, except for type and
// presence.
bool task_switch(Cpu& cpu, u16 selector, TaskSwitch how, u64 next_rip, bool has_error = false, u32 error = 0);

// Stack pointers that the TSS holds for an inner level (SDM vol. 3, 8.2, 8.7).
bool inner_stack(Cpu& cpu, unsigned level, u16& ss, u64& sp);         // 16- and 32-bit TSS
bool inner_stack64(Cpu& cpu, unsigned level, unsigned ist, u64& rsp); // `ist` 0: RSP0..2
// RIP cut to what the mode of CS can hold.
u64 instruction_pointer_mask(const Cpu& cpu);

} // namespace dragoman::x86
