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
        raise(cpu, kGP, 0);
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
        const u32 n = u32(std::min<u64>(size, kMost));
        if (!acquire(cpu, linear, n, kind, view)) return false;
        if (kind != softmmu::AccessKind::Read) cpu.mmu->commit();
        linear += n;
        size -= n;
    }
    return true;
}

// Does a stack access of `size` bytes at `offset` stay in its segment? Raises the stack's fault if not.
bool inside_stack(Cpu& cpu, const Stack& stack, u64 offset, u64 size) {
    const bool ok = stack.bits == 64 ? canonical(cpu, offset) && canonical(cpu, offset + size - 1)
                                     : inside_limit(stack.segment, offset, size);
    if (!ok) raise(cpu, stack.fault, stack.error);
    return ok;
}

u64 stack_base(const Stack& stack) {
    return stack.bits == 64 ? 0 : stack.segment.base;
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

bool Frame::write(Cpu& cpu, Stack& stack) const {
    const u64 total = u64{count_} * size_;
    const u64 mask = stack.mask();
    const u64 low = (stack.pointer - total) & mask;
    const bool in_one_piece = low + total - 1 <= mask && low + total - 1 >= low;

    if (in_one_piece) {
        if (!inside_stack(cpu, stack, low, total)) return false;
        u8 image[sizeof values_];
        for (unsigned i = 0; i < count_; ++i)
            std::memcpy(image + (count_ - 1 - i) * size_, &values_[i], size_);
        const u64 linear = stack_base(stack) + low;
        if (total > kMost && !check_write(cpu, linear, total, stack.view)) return false;
        for (u64 at = 0; at < total; at += kMost) {
            const u32 n = u32(std::min<u64>(total - at, kMost));
            if (!write_memory(cpu, linear + at, image + at, n, stack.view)) return false;
        }
    } else { // wraps around the top of the segment
        for (const bool writing : {false, true}) {
            for (unsigned i = 0; i < count_; ++i) {
                const u64 offset = (stack.pointer - u64{i + 1} * size_) & mask;
                const u64 linear = stack_base(stack) + offset;
                if (!writing) {
                    if (!inside_stack(cpu, stack, offset, size_)) return false;
                    if (!check_write(cpu, linear, size_, stack.view)) return false;
                } else if (!write_memory(cpu, linear, &values_[i], size_, stack.view)) {
                    return false;
                }
            }
        }
    }
    stack.pointer = low;
    return true;
}

bool read_stack(Cpu& cpu, const Stack& stack, u64 offset, unsigned size, unsigned count, u64* values) {
    const u64 mask = stack.mask();
    const u64 low = (stack.pointer + offset) & mask;
    const u64 total = u64{size} * count;
    if (total <= kMost && low + total - 1 <= mask && low + total - 1 >= low) {
        if (!inside_stack(cpu, stack, low, total)) return false;
        u8 image[kMost];
        if (!read_memory(cpu, stack_base(stack) + low, image, u32(total), stack.view)) return false;
        for (unsigned i = 0; i < count; ++i) {
            values[i] = 0;
            std::memcpy(&values[i], image + i * size, size);
        }
        return true;
    }
    for (unsigned i = 0; i < count; ++i) {
        const u64 at = (low + u64{i} * size) & mask;
        values[i] = 0;
        if (!inside_stack(cpu, stack, at, size)) return false;
        if (!read_memory(cpu, stack_base(stack) + at, &values[i], size, stack.view)) return false;
    }
    return true;
}

} // namespace dragoman::x86
