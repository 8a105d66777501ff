// The roles of the host's registers in generated code, in one table (docs/host-code.md).
#pragma once

#include "base/types.h"
#include "ir/jump_cache.h"

#include <asmjit/x86.h>

namespace dragoman::backend {

namespace host {
inline constexpr unsigned rax = 0, rcx = 1, rdx = 2, rbx = 3, rsp = 4, rbp = 5, rsi = 6, rdi = 7, r8 = 8,
                          r9 = 9, r10 = 10, r11 = 11, r12 = 12, r13 = 13, r14 = 14, r15 = 15;
inline constexpr u8 memory = 0xff; // the guest register lives on the stack, at in_frame()

inline constexpr unsigned flags = rax;   // saved guest flags: AH = LAHF image, AL = OF
inline constexpr unsigned scratch = rcx; // TLB index, shift counts
inline constexpr unsigned address = r14; // effective address, host pointer, second scratch
inline constexpr unsigned temp = r13;    // the temporary of the guest instruction that is used most
inline constexpr unsigned budget = r15;  // Context::budget; where nobody counts, the guest's R12

// Where each guest register lives while generated code runs, where instructions are not counted
// (Options::uncounted) and where they are. XMM0-15 live in the host's own.
inline constexpr u8 uncounted[16] = {
    r10, r11, rdx,    rbx,    r12, rbp,    rsi,    rdi,   // RAX RCX RDX RBX RSP RBP RSI RDI
    r8,  r9,  memory, memory, r15, memory, memory, memory // R8..R15
};
inline constexpr u8 counted[16] = {r10, r11, rdx,    rbx,    r12,    rbp,    rsi,    rdi,
                                   r8,  r9,  memory, memory, memory, memory, memory, memory};
} // namespace host

// log2 of the bytes of an entry, as an index becomes an offset.
inline constexpr unsigned kJumpBits = 4;
static_assert(sizeof(ir::JumpCache::Entry) == 1u << kJumpBits);

// What run() keeps on the host stack; offsets from RSP in generated code.
namespace frame {
inline constexpr int page_mask = 0; // what PEXT takes of an address to make it a page's index in the TLB; the
                                    // operand without displacement is a byte less in each check
inline constexpr int argument = 8;  // second argument of a call; the entry while entering
inline constexpr int mxcsr = 16;    // to move MXCSR through
inline constexpr int jump_mask =
    20;                           // what PDEP makes of a RIP: the offset of its entry in a table of JumpCache
inline constexpr int addend = 24; // of accesses that share a TLB check (shared_checks.h)
inline constexpr int addends = 4;
inline constexpr int round = 56;    // SharedLoop::counter when the last round that is checked ahead is over
inline constexpr int shifted = 64;  // by the op whose flags are made again (Remake::ShiftCopy)
inline constexpr int off_page = 72; // what PEXT takes of an offset from a page: 0 where it lies in the page
inline constexpr int guest = 80;    // R10 to R15 of the guest as far as they have no host register: these
                                    // operands are four bytes shorter than Context's
inline constexpr int first_guest = 10, guests = 6;
inline constexpr int context = 128;   // Context*
inline constexpr int to_commit = 136; // not 0: the access in progress ends with Memory::commit
inline constexpr int bytes = 152;     // keeps RSP aligned to 16
} // namespace frame

// A general register by number and size in bytes.
inline asmjit::x86::Gp gp(unsigned number, unsigned bytes) {
    switch (bytes) {
    case 1: return asmjit::x86::gpb(number);
    case 2: return asmjit::x86::gpw(number);
    case 4: return asmjit::x86::gpd(number);
    default: return asmjit::x86::gpq(number);
    }
}

// Where a guest register is that has no host register. `depth`: of the stack over what run() keeps there.
inline asmjit::x86::Mem in_frame(unsigned guest, unsigned bytes, int depth = 0) {
    return asmjit::x86::ptr(asmjit::x86::rsp, depth + frame::guest + 8 * (int(guest) - frame::first_guest),
                            bytes);
}

// Memory at a byte offset from Context.
inline asmjit::x86::Mem in_context(i64 offset, unsigned bytes) {
    asmjit::x86::Mem m(u64(offset), bytes);
    m.setSegment(asmjit::x86::gs);
    m.setAddrType(asmjit::x86::Mem::AddrType::kAbs);
    return m;
}

// The same at RCX << `scale` behind it.
inline asmjit::x86::Mem indexed(i64 offset, unsigned bytes, unsigned scale = 0) {
    namespace x86 = asmjit::x86;
    x86::Mem m =
        scale ? x86::ptr(u64(offset), x86::rcx, scale, bytes) : x86::ptr(x86::rcx, i32(offset), bytes);
    m.setSegment(x86::gs);
    return m;
}

} // namespace dragoman::backend
