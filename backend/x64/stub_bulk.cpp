// REP MOVS and REP STOS (ir::Bulk) by the host's own, where all pages lie in the host window one behind the
// other: neither the registers nor the vectors need to go anywhere.
#include "backend/x64/stub_writer.h"

#include "backend/x64/registers.h"

#include <bit>

namespace dragoman::backend {

using namespace asmjit;

namespace {

constexpr u64 kMost = 64 * KiB; // at once: events wait for the end
constexpr i32 kPage = softmmu::kPageSize;

} // namespace

// Goes on behind the call if each page of [`begin`, `begin` + R14] has its window tag, else to `missing`.
// RAX, RCX and R13 are lost.
void StubWriter::check_pages(const asmjit::x86::Gp& begin, unsigned view, ir::Access access,
                             const Label& missing) {
    constexpr u32 indices = (softmmu::kTlbEntries - 1) << 3;
    const Label next = a.newLabel(), good = a.newLabel();
    a.lea(x86::r13, x86::ptr(begin, x86::r14));
    a.or_(x86::r13, kPage - 1);
    a.sub(x86::r13, kPage); // as the tag is: one less than the page
    a.mov(x86::rax, begin);
    a.or_(x86::rax, kPage - 1);
    a.sub(x86::rax, kPage);
    a.mov(x86::ecx, begin.r32());
    a.shr(x86::ecx, softmmu::kPageBits - 3);
    a.and_(x86::ecx, indices);
    a.bind(next);
    a.cmp(x86::rax, window_tag(view, access));
    a.jne(missing);
    a.cmp(x86::rax, x86::r13);
    a.je(good);
    a.add(x86::rax, kPage);
    a.add(x86::ecx, 8);
    a.and_(x86::ecx, indices);
    a.jmp(next);
    a.bind(good);
}

// As `call`, which it leads to where it cannot do it, or not all of it.
void StubWriter::bulk(const u8* call, unsigned view, bool wide, ir::Bulk what) {
    const u8* const at = options_.uncounted ? host::uncounted : host::counted;
    const x86::Gp count = gp(at[ir::kRcx.index()], 8), value = gp(at[ir::kRax.index()], 8);
    const unsigned scale = unsigned(std::countr_zero(what.size));
    const bool moves = what.kind == ir::Bulk::Move;
    const Label next = a.newLabel(), missing = a.newLabel(), elsewhere = a.newLabel(), done = a.newLabel();
    if (!wide)
        for (const unsigned address : {host::rsi, host::rdi, count.id()})
            if (address != host::rsi || moves) a.mov(gp(address, 4), gp(address, 4));
    a.cmp(FIELD(direction_flag, 1), 0);
    a.jne(elsewhere);
    a.test(count, count);
    a.jz(elsewhere);
    // Where misaligned units are slow as such the helper does better, with bytes.
    if (scale && !options_.bulk_misaligned) {
        a.mov(x86::r13d, x86::edi);
        if (moves) a.or_(x86::r13d, x86::esi);
        a.test(x86::r13b, what.size - 1);
        a.jnz(elsewhere);
    }
    a.push(x86::rcx);
    a.push(x86::rax);
    a.bind(next);
    a.mov(x86::ecx, u32(kMost >> scale));
    a.cmp(count, x86::rcx);
    a.cmovb(x86::rcx, count);
    a.lea(x86::r14, x86::ptr(u64(i64(-1)), x86::rcx, scale));
    if (moves) check_pages(x86::rsi, view, ir::Access::Read, missing);
    check_pages(x86::rdi, view, ir::Access::Write, missing);
    a.lea(x86::rcx, x86::ptr(x86::r14, 1));
    if (scale) a.shr(x86::rcx, scale);
    a.sub(count, x86::rcx);
    // R13 and R14: from there to the linear address.
    a.mov(x86::r13, x86::rdi);
    a.lea(x86::edi, x86::ptr(x86::rdi, options_.window_start()));
    a.sub(x86::r13, x86::rdi);
    if (moves) {
        a.mov(x86::r14, x86::rsi);
        a.lea(x86::esi, x86::ptr(x86::rsi, options_.window_start()));
        a.sub(x86::r14, x86::rsi);
        a.rep().emit(x86::Inst::kIdMovs, a.ptr_zdi(0, what.size), a.ptr_zsi(0, what.size));
        a.add(x86::rsi, x86::r14);
    } else {
        a.mov(x86::rax, value);
        a.rep().emit(x86::Inst::kIdStos, a.ptr_zdi(0, what.size), gp(host::rax, what.size));
    }
    a.add(x86::rdi, x86::r13);
    a.test(count, count);
    a.jz(done);
    // Events get their turn in between: the helper does a page more, and leaves.
    a.cmp(FIELD(poll, 4), 0);
    a.je(next);
    a.bind(missing);
    a.pop(x86::rax);
    a.pop(x86::rcx);
    a.bind(elsewhere);
    jump_to(call);
    a.bind(done);
    a.pop(x86::rax);
    a.lea(x86::rsp, stack(8));
    a.ret();
}

} // namespace dragoman::backend
