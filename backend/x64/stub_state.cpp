// The guest's state between the host's registers and Context.
#include "backend/x64/stub_writer.h"

namespace dragoman::backend {

using namespace asmjit;
using ir::Context;
using ir::Exit;

namespace {

constexpr u32 kMxcsrFlags = 0x3f, kMxcsrMasks = 0x1f80;
constexpr u32 kX87Control = 0x37f; // what C++ code runs with

x86::Mem vector(unsigned i, unsigned bytes) {
    return in_context(i64(offsetof(Context, vec) + sizeof(Context::vec[0]) * i), bytes);
}

} // namespace

void StubWriter::spill_registers(int depth) {
    const u8* const of_guest = options_.uncounted ? host::uncounted : host::counted;
    const x86::Gp through = gp(of_guest[ir::kRcx.index()], 8); // spilled before those in the frame
    for (unsigned i = 0; i < 16; ++i) {
        const x86::Mem field = in_context(i64(offsetof(Context, gpr) + 8 * i), 8);
        if (of_guest[i] == host::memory) {
            a.mov(through, in_frame(i, 8, depth));
            a.mov(field, through);
        } else {
            a.mov(field, gp(of_guest[i], 8));
        }
    }
    if (!options_.uncounted) a.mov(FIELD(budget, 8), x86::r15);
    const Label here = a.newLabel();
    a.cmp(FIELD(x87_here, 4), 0);
    a.jne(here);
    a.call(put_x87_back_);
    a.bind(here);
}

void StubWriter::load_registers(int depth) {
    const u8* const of_guest = options_.uncounted ? host::uncounted : host::counted;
    const x86::Gp through = gp(of_guest[ir::kRcx.index()], 8); // loaded after them
    for (unsigned i = 16; i-- > 0;) {
        const x86::Mem field = in_context(i64(offsetof(Context, gpr) + 8 * i), 8);
        if (of_guest[i] == host::memory) {
            a.mov(through, field);
            a.mov(in_frame(i, 8, depth), through);
        } else {
            a.mov(gp(of_guest[i], 8), field);
        }
    }
    if (!options_.uncounted) a.mov(x86::r15, FIELD(budget, 8));
}

// The code of a kernel runs for thousands of instructions without a vector among them, but calls C++ often.
// So vectors stay in Context after a call, with the host's MXCSR, until a block asks for them.
void StubWriter::spill_vectors(int depth) {
    const Label there = a.newLabel();
    a.cmp(FIELD(vectors_here, 4), 0);
    a.jne(there);
    for (unsigned i = 0; i < 16; ++i)
        switch (vector_bytes_) {
        case 64: a.vmovaps(vector(i, 64), x86::zmm(i)); break;
        case 32: a.vmovaps(vector(i, 32), x86::ymm(i)); break;
        default: a.movaps(vector(i, 16), x86::xmm(i));
        }
    if (vector_bytes_ > 16) a.vzeroupper(); // C++ code is made of SSE instructions: slow behind upper halves
    to_host_mxcsr(depth);
    a.mov(FIELD(vectors_here, 4), 1);
    a.bind(there);
}

void StubWriter::load_vectors(int depth) {
    const Label later = a.newLabel();
    if (options_.lazy_vectors) {
        a.cmp(FIELD(vectors_lazy, 4), 0);
        a.jne(later);
    }
    load_all_vectors(depth);
    a.bind(later);
}

// Loading whole registers would leave the host with upper halves in use, even where they are zero; an SSE
// instruction behind that takes 350 cycles on processors that then put them aside (Intel's optimization
// manual, "Mixing AVX code with SSE code"). So the uppers are loaded only if the guest has any.
void StubWriter::load_all_vectors(int depth) {
    load_mxcsr(depth);
    const Label wide = a.newLabel(), done = a.newLabel();
    if (vector_bytes_ == 16) {
        for (unsigned i = 0; i < 16; ++i)
            a.movaps(x86::xmm(i), vector(i, 16));
    } else {
        test_uppers();
        a.jnz(wide);
        for (unsigned i = 0; i < 16; ++i)
            a.vmovaps(x86::xmm(i), vector(i, 16));
        a.jmp(done);
        a.bind(wide);
        for (unsigned i = 0; i < 16; ++i)
            if (vector_bytes_ == 32)
                a.vmovaps(x86::ymm(i), vector(i, 32));
            else
                a.vmovaps(x86::zmm(i), vector(i, 64));
    }
    a.bind(done);
    a.mov(FIELD(vectors_here, 4), 0);
}

void StubWriter::test_uppers() {
    if (vector_bytes_ == 32) {
        a.mov(x86::rcx, vector(0, 8).cloneAdjusted(16));
        for (unsigned i = 0; i < 16; ++i)
            for (unsigned at : {16, 24})
                if (i || at > 16) a.or_(x86::rcx, vector(i, 8).cloneAdjusted(at));
        return;
    }
    // Those beyond 15 are free, and writing them is not using upper halves.
    a.vmovdqa64(x86::zmm16, vector(0, 64));
    a.vmovdqa64(x86::zmm17, vector(1, 64));
    for (unsigned i = 2; i < 16; ++i)
        a.vporq(x86::zmm(16 + i % 2), x86::zmm(16 + i % 2), vector(i, 64));
    a.vporq(x86::zmm16, x86::zmm16, x86::zmm17);
    a.vptestmq(x86::k1, x86::zmm16, x86::zmm16);
    a.kmovw(x86::ecx, x86::k1);
    a.test(x86::ecx, 0xfc);
}

void StubWriter::take_vectors() {
    a.pushfq();
    a.mov(FIELD(vectors_lazy, 4), 0); // the rest of the block counts on them
    load_all_vectors(16);
    a.popfq();
    a.ret();
}

void StubWriter::spill_flags() {
    a.movzx(x86::ecx, x86::ah);
    a.and_(x86::ecx, ir::kCF | ir::kPF | ir::kAF | ir::kZF | ir::kSF);
    a.and_(x86::eax, 1);
    a.shl(x86::eax, 11);
    a.or_(x86::eax, x86::ecx);
    a.mov(FIELD(flags, 4), x86::eax);
}

void StubWriter::load_flags() {
    a.mov(x86::eax, FIELD(flags, 4));
    a.mov(x86::ecx, x86::eax);
    a.shr(x86::ecx, 11);
    a.and_(x86::ecx, 1);
    a.mov(x86::ah, x86::al);
    a.mov(x86::al, x86::cl);
}

// Generated code runs with the guest's rounding and denormal controls and with all exceptions masked; the
// flags that it raises are merged into the guest's MXCSR. LDMXCSR is slow where it changes a flag, so the
// host goes on with the guest's flags, and only control bits are changed.
void StubWriter::to_host_mxcsr(int depth) {
    const x86::Mem slot = x86::ptr(x86::rsp, depth + frame::mxcsr, 4);
    const Label same = a.newLabel();
    a.stmxcsr(slot);
    a.mov(x86::ecx, slot);
    a.and_(x86::ecx, kMxcsrFlags);
    a.or_(FIELD(mxcsr, 4), x86::ecx);
    a.mov(x86::ecx, FIELD(host_mxcsr, 4));
    a.xor_(x86::ecx, slot);
    a.and_(x86::ecx, ~kMxcsrFlags);
    a.jz(same);
    a.xor_(slot, x86::ecx);
    a.ldmxcsr(slot);
    a.bind(same);
}

void StubWriter::load_mxcsr(int depth) {
    const x86::Mem slot = x86::ptr(x86::rsp, depth + frame::mxcsr, 4);
    const Label same = a.newLabel();
    a.mov(x86::ecx, FIELD(mxcsr, 4));
    a.or_(x86::ecx, kMxcsrMasks);
    a.stmxcsr(slot);
    a.cmp(x86::ecx, slot);
    a.je(same);
    a.mov(slot, x86::ecx);
    a.ldmxcsr(slot);
    a.bind(same);
}

void StubWriter::x87_component() {
    a.mov(x86::eax, 1);
    a.xor_(x86::edx, x86::edx);
}

// The guest's x87 state to Context, and the host's as C++ code expects it. All guest registers are in
// Context.
void StubWriter::put_x87_back() {
    const Label empty = a.newLabel(), done = a.newLabel();
    a.bind(put_x87_back_);
    a.mov(x86::rbx, x86::rax);
    x87_component();
    a.xsave(FPU_FIELD(control, 0));
    a.mov(x86::rax, x86::rbx);
    a.movzx(x86::ebx, FPU_FIELD(status, 2));
    a.mov(x86::edx, x86::ebx);
    a.shr(x86::edx, 11);
    a.and_(x86::edx, 7);
    a.mov(FPU_FIELD(top, 1), x86::dl);
    a.and_(x86::ebx, ~0x3800);
    a.mov(FPU_FIELD(status, 2), x86::bx);
    a.mov(FIELD(x87_here, 4), 1);
    a.cmp(FPU_FIELD(tag, 1), 0);
    a.je(empty);
    a.fninit();
    a.ret();
    a.bind(empty); // FNINIT is slow
    a.cmp(FPU_FIELD(control, 2), kX87Control);
    a.je(done);
    a.fninit();
    a.bind(done);
    a.ret();
}

void StubWriter::take_x87() {
    const Label traps = a.newLabel();
    a.pushfq();
    a.movzx(x86::ecx, FPU_FIELD(control, 2));
    a.not_(x86::ecx);
    a.test(x86::ecx, 0x3f);
    a.jnz(traps);
    a.test(FPU_FIELD(status, 1), 0x80);
    a.jnz(traps);
    a.popfq();
    a.jmp(load_x87_);
    a.bind(traps);
    a.popfq();
    a.pop(x86::r14);
    a.mov(FIELD(host_return, 8), x86::r14);
    a.mov(FIELD(exit, 4), imm(int(Exit::Restart)));
    leave_live();
}

void StubWriter::load_x87() {
    const Label there = a.newLabel();
    a.bind(load_x87_);
    a.pushfq();
    a.cmp(FIELD(x87_here, 4), 0);
    a.je(there);
    a.push(x86::rax);
    a.push(x86::rdx);
    a.movzx(x86::ecx, FPU_FIELD(top, 1));
    a.shl(x86::ecx, 11);
    a.or_(FPU_FIELD(status, 2), x86::cx);
    a.mov(FPU_FIELD(host_components, 8), 1);
    x87_component();
    a.xrstor(FPU_FIELD(control, 0));
    a.mov(FIELD(x87_here, 4), 0);
    a.pop(x86::rdx);
    a.pop(x86::rax);
    a.bind(there);
    a.popfq();
    a.ret();
}

} // namespace dragoman::backend
