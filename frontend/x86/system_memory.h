// Memory accesses that the processor makes on its own account: descriptor tables, TSS, stack frames.
// False: the access cannot be done; Context::exit says why (Fault or Restart).
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

// Implicit supervisor access (SDM vol. 3, 4.6.1): SMAP applies whatever EFLAGS.AC is.
inline softmmu::View system_view(const Cpu& cpu) {
    return cpu.cr4 & kCr4SMAP ? softmmu::View::SupervisorSmap : softmmu::View::Supervisor;
}
// Explicit access by a program at `cpl`.
inline softmmu::View view_at(const Cpu& cpu, unsigned cpl) {
    if (cpl == 3) return softmmu::View::User;
    return cpu.system_flags & kAC ? softmmu::View::Supervisor : system_view(cpu);
}

// Are misaligned accesses of the program refused (#AC; SDM vol. 3, 6.15)?
inline bool alignment_checked(const Cpu& cpu) {
    return cpu.cpl == 3 && (cpu.cr0 & kCr0AM) && (cpu.system_flags & kAC);
}

// Where the byte at `linear` is in the host's memory, and with it the rest of its page, if the TLB of that
// view leads there: then it may be touched without asking anybody. Null: by read_memory and write_memory.
inline u8* resident(const Cpu& cpu, u64 linear, bool write, softmmu::View view) {
    const softmmu::TlbEntry& entry = cpu.mmu->tlb().find(view, linear);
    const bool there = (write ? entry.write_tag : entry.read_tag) == linear - linear % softmmu::kPageSize;
    return there ? reinterpret_cast<u8*>(linear + entry.addend) : nullptr;
}

// At most 64 bytes each.
bool read_memory(Cpu& cpu, u64 linear, void* to, u32 size, softmmu::View view);
bool write_memory(Cpu& cpu, u64 linear, const void* from, u32 size, softmmu::View view);
// Raises what a write would raise; changes nothing. Any size.
bool check_write(Cpu& cpu, u64 linear, u64 size, softmmu::View view);
bool check_read(Cpu& cpu, u64 linear, u64 size, softmmu::View view);

template <class T> bool read_system(Cpu& cpu, u64 linear, T& value) {
    return read_memory(cpu, linear, &value, sizeof value, system_view(cpu));
}
template <class T> bool write_system(Cpu& cpu, u64 linear, T value) {
    return write_memory(cpu, linear, &value, sizeof value, system_view(cpu));
}

// A stack that is, or is about to be, in use.
struct Stack {
    ir::Segment segment;
    u64 pointer = 0;
    unsigned bits = 16; // width of the pointer
    softmmu::View view = softmmu::View::Supervisor;
    Vector fault = kSS; // of a limit violation, and its error code
    u16 error = 0;

    u64 mask() const { return bits == 64 ? ~u64{0} : bits == 32 ? 0xffffffff : 0xffff; }
};
Stack current_stack(const Cpu& cpu);
// RSP with the part that a pointer of `bits` leaves alone.
void set_stack_pointer(Cpu& cpu, const Stack& stack);

// Values in the order of their pushes, all of one size: written together or not at all.
class Frame {
  public:
    explicit Frame(unsigned size) : size_(size) {}
    void push(u64 value) { values_[count_++] = value; }
    // Is there room for it in the stack's segment? Raises the stack's fault if not.
    bool fits(Cpu& cpu, const Stack& stack) const;
    // Writes below stack.pointer and moves it.
    bool write(Cpu& cpu, Stack& stack) const;

  private:
    unsigned size_, count_ = 0;
    u64 values_[40];
};

// Reads `count` values of `size` bytes at stack.pointer + offset, the first one lowest; the pointer stays.
bool read_stack(Cpu& cpu, const Stack& stack, u64 offset, unsigned size, unsigned count, u64* values);

} // namespace dragoman::x86
