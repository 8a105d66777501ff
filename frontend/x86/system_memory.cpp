#include "frontend/x86/system_memory.h"

#include "base/bits.h"
#include "frontend/x86/descriptor.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/system_registers.h"

#include <algorithm>
#include <cstring>

namespace dragoman::x86 {

namespace {

constexpr u32 kMost = 64; // bytes of one acquire

u8* acquire(Cpu& cpu, u64 linear, u32 size, softmmu::AccessKind kind, softmmu::View view) {
    if (!cpu.long_mode()) {
        linear &= 0xffffffff;
    } else if (!canonical(cpu, linear) || !canonical(cpu, linear + size - 1)) {
        raise_not_canonical(cpu, linear);
        return nullptr;
    }
    const auto got = cpu.mmu->acquire(linear, size, kind, view);
    if (got.host) return got.host;
    if (got.restart)
        cpu.exit = ir::Exit::Restart;
    else
        raise_page_fault(cpu, got.fault);
    return nullptr;
}

bool probe(Cpu& cpu, u64 linear, u64 size, softmmu::AccessKind kind, softmmu::View view) {
    while (size) {
        const bool write = kind != softmmu::AccessKind::Read;
        const bool there = resident(cpu, linear, write, view);
        const u64 most = there ? softmmu::kPageSize - linear % softmmu::kPageSize : kMost;
        const u32 n = u32(std::min<u64>(size, most));
        if (!there && !acquire(cpu, linear, n, kind, view)) return false;
        if (!there && write) cpu.mmu->commit();
        linear += n;
        size -= n;
    }
    return true;
}

u64 stack_linear(const Stack& stack, u64 offset) {
    return stack.bits == 64 ? offset : u32(stack.segment.base + offset);
}

// Does a stack access of `size` bytes at `offset` stay in its segment?
bool inside(const Cpu& cpu, const Stack& stack, u64 offset, u64 size) {
    return stack.bits == 64 ? canonical(cpu, offset) && canonical(cpu, offset + size - 1)
                            : inside_limit(stack.segment, offset, size);
}
bool misaligned(const Cpu& cpu, const Stack& stack, u64 offset, unsigned size) {
    return stack.view == softmmu::View::User && alignment_checked(cpu) &&
           (stack_linear(stack, offset) & (size - 1));
}

// The access to one value, up to paging: raises the stack's fault, or #AC.
bool check_value(Cpu& cpu, const Stack& stack, u64 offset, unsigned size) {
    if (!inside(cpu, stack, offset, size)) {
        raise(cpu, stack.fault, stack.error);
        return false;
    }
    if (misaligned(cpu, stack, offset, size)) {
        raise(cpu, kVectorAC, 0);
        return false;
    }
    return true;
}

// Can `count` values at `low` be accessed as one piece? Only a page fault is possible then, and it is that of
// the value with the highest address: processors begin with it.
bool one_piece(const Cpu& cpu, const Stack& stack, u64 low, unsigned size, unsigned count) {
    const u64 total = u64{size} * count, linear = stack_linear(stack, low);
    return total <= kMost && low + total - 1 <= stack.mask() &&
           (linear ^ (linear + total - 1)) < softmmu::kPageSize && inside(cpu, stack, low, total) &&
           !misaligned(cpu, stack, low, size);
}
bool refused_piece(Cpu& cpu, unsigned size, unsigned count) {
    if (cpu.exit == ir::Exit::Fault && cpu.fault.vector == kPF) cpu.fault.address += u64{count - 1} * size;
    return false;
}

} // namespace

bool read_memory(Cpu& cpu, u64 linear, void* to, u32 size, softmmu::View view) {
    const u8* host = acquire(cpu, linear, size, softmmu::AccessKind::Read, view);
    if (!host) return false;
    std::memcpy(to, host, size);
    return true;
}

bool write_memory(Cpu& cpu, u64 linear, const void* from, u32 size, softmmu::View view) {
    u8* host = acquire(cpu, linear, size, softmmu::AccessKind::Write, view);
    if (!host) return false;
    std::memcpy(host, from, size);
    cpu.mmu->commit();
    return true;
}

bool check_write(Cpu& cpu, u64 linear, u64 size, softmmu::View view) {
    return probe(cpu, linear, size, softmmu::AccessKind::ReadWrite, view);
}

bool check_read(Cpu& cpu, u64 linear, u64 size, softmmu::View view) {
    return probe(cpu, linear, size, softmmu::AccessKind::Read, view);
}

Stack current_stack(const Cpu& cpu) {
    Stack s;
    s.segment = cpu.seg[2];
    s.bits = cpu.code64() ? 64 : cpu.seg[2].attributes & kSegDB ? 32 : 16;
    s.pointer = cpu.gpr[4] & s.mask();
    s.view = softmmu::View(access_view(cpu));
    return s;
}

void set_stack_pointer(Cpu& cpu, const Stack& stack) {
    cpu.gpr[4] = (stack.bits == 16 ? cpu.gpr[4] & ~u64{0xffff} : 0) | (stack.pointer & stack.mask());
}

bool Frame::fits(Cpu& cpu, const Stack& stack) const {
    for (u64 i = 1; i <= count_; ++i) {
        if (inside(cpu, stack, (stack.pointer - i * size_) & stack.mask(), size_)) continue;
        raise(cpu, stack.fault, stack.error);
        return false;
    }
    return true;
}

bool Frame::write(Cpu& cpu, Stack& stack) const {
    const u64 low = (stack.pointer - u64{count_} * size_) & stack.mask();
    if (one_piece(cpu, stack, low, size_, count_)) {
        u8 image[kMost];
        for (unsigned i = 0; i < count_; ++i)
            std::memcpy(image + (count_ - 1 - i) * size_, &values_[i], size_);
        if (!write_memory(cpu, stack_linear(stack, low), image, count_ * size_, stack.view))
            return refused_piece(cpu, size_, count_);
    } else {
        for (const bool writing : {false, true}) {
            for (unsigned i = 0; i < count_; ++i) {
                const u64 offset = (stack.pointer - u64{i + 1} * size_) & stack.mask();
                const u64 linear = stack_linear(stack, offset);
                if (writing ? !write_memory(cpu, linear, &values_[i], size_, stack.view)
                            : !check_value(cpu, stack, offset, size_) ||
                                  !check_write(cpu, linear, size_, stack.view))
                    return false;
            }
        }
    }
    stack.pointer = low;
    return true;
}

bool read_stack(Cpu& cpu, const Stack& stack, u64 offset, unsigned size, unsigned count, u64* values) {
    const u64 low = (stack.pointer + offset) & stack.mask();
    std::fill_n(values, count, 0);
    if (one_piece(cpu, stack, low, size, count)) {
        u8 image[kMost];
        if (!read_memory(cpu, stack_linear(stack, low), image, size * count, stack.view))
            return refused_piece(cpu, size, count);
        for (unsigned i = 0; i < count; ++i)
            std::memcpy(&values[i], image + i * size, size);
        return true;
    }
    for (unsigned i = count; i-- > 0;) {
        const u64 at = (low + u64{i} * size) & stack.mask();
        if (!check_value(cpu, stack, at, size)) return false;
        if (!read_memory(cpu, stack_linear(stack, at), &values[i], size, stack.view)) return false;
    }
    return true;
}

} // namespace dragoman::x86
