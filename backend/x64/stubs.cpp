#include "backend/x64/stubs.h"

#include "ir/context.h"
#include "ir/memory.h"
#include "softmmu/physical_map.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

namespace dragoman::backend {

using namespace asmjit;
using ir::Context;
using ir::Exit;

namespace {

constexpr u32 kMxcsrFlags = 0x3f, kMxcsrMasks = 0x1f80;
constexpr u32 kX87Control = 0x37f; // what C++ code runs with

#define FIELD(name, bytes)     in_context(offsetof(Context, name), bytes)
#define FPU_FIELD(name, bytes) in_context(offsetof(Context, fpu) + offsetof(ir::Fpu, name), bytes)

u8* acquire_memory(Context* ctx, u64 linear, u32 size, u32 access) {
    return ctx->memory->acquire(*ctx, linear, size, ir::Access(access));
}
void warm_memory(Context* ctx, u64 linear) {
    ctx->memory->warm(*ctx, linear);
}
void commit_memory(Context* ctx) {
    ctx->memory->commit(*ctx);
}

class StubWriter {
  public:
    StubWriter(x86::Assembler& assembler, unsigned vector_bytes, const Options& options)
        : a(assembler), vector_bytes_(vector_bytes), options_(options) {}

    void enter() {
        for (unsigned r : {host::rbx, host::rbp, host::r12, host::r13, host::r14, host::r15})
            a.push(gp(r, 8));
        a.sub(x86::rsp, frame::bytes);
        a.mov(stack(frame::context), x86::rdi);
        a.mov(stack(frame::argument), x86::rsi);
        a.stmxcsr(FIELD(host_mxcsr, 4));
        load_mxcsr(0);
        load_flags();
        load_registers();
        a.cmp(x86::al, 0x81); // OF = AL
        a.sahf();
        a.jmp(stack(frame::argument));
    }

    // The TLB entry of R14, as Emitter::check looks it up without a window.
    void find(unsigned view, ir::Access access, bool only) {
        using softmmu::TlbEntry, softmmu::TlbTables;
        const i64 entries = options_.tlb_offset + i64(TlbTables::entries_of(view));
        const auto entry = [&](size_t field) { return indexed(entries + i64(field), 8); };
        const Label again = a.newLabel(), missing = a.newLabel(), hot = a.newLabel(), neither = a.newLabel();
        a.bind(again);
        a.mov(stack(8 + frame::argument), x86::r14);
        a.push(x86::rcx);
        a.mov(x86::ecx, x86::r14d);
        a.shr(x86::ecx, softmmu::kPageBits - 5);
        a.and_(x86::ecx, (softmmu::kTlbEntries - 1) << 5);
        static_assert(sizeof(TlbEntry) == 1 << 5);
        a.sub(x86::r14, entry(access == ir::Access::Read ? offsetof(TlbEntry, read_tag)
                                                         : offsetof(TlbEntry, write_tag)));
        a.cmp(x86::r14, softmmu::kPageSize - 1);
        a.ja(missing);
        a.add(x86::r14, stack(0));
        a.cmp(x86::r14, softmmu::kPageSize);
        a.ja(missing);
        a.mov(x86::r14, stack(16 + frame::argument));
        a.add(x86::r14, entry(offsetof(TlbEntry, addend)));
        a.sub(x86::r14, i32(options_.window_base));
        a.shr(x86::ecx, 5 - 2);
        a.sub(indexed(options_.tlb_offset + i64(TlbTables::heat_at), 4), 1);
        a.jc(hot);
        a.lea(x86::rsp, stack(8));
        a.ret();
        a.bind(hot);
        a.mov(x86::r14, stack(16 + frame::argument));
        a.call(warm_);
        a.pop(x86::rcx);
        a.jmp(again);
        a.bind(missing);
        if (access != ir::Access::Read) write_beside_code(view);
        // An access over two pages may be done in place where both lie in the window, one behind the other.
        const auto in_window = [&] {
            a.mov(x86::ecx, x86::r14d);
            a.shr(x86::ecx, softmmu::kPageBits - 3);
            a.and_(x86::ecx, (softmmu::kTlbEntries - 1) << 3);
            a.mov(x86::rcx, indexed(options_.tlb_offset +
                                        i64(TlbTables::window_tags_of(view, access != ir::Access::Read)),
                                    8));
            a.sub(x86::rcx, x86::r14);
            a.cmp(x86::rcx, -i32(softmmu::kPageSize));
            a.jb(neither);
        };
        a.mov(x86::r14, stack(16 + frame::argument));
        in_window();
        a.add(x86::r14, stack(0));
        a.dec(x86::r14);
        in_window();
        a.cmp(x86::r14d, 64); // the last byte's: less only behind the end of the window
        a.jb(neither);
        a.mov(x86::r14d, x86::ptr(x86::rsp, 16 + frame::argument, 4));
        a.lea(x86::rsp, stack(8)); // CF is clear
        a.ret();
        a.bind(neither);
        a.pop(x86::rcx);
        a.mov(x86::r14, stack(8 + frame::argument));
        if (!only) return (void)a.jmp(acquire_[unsigned(access)]);
        a.stc();
        a.ret();
    }
    // In find, for R14 and the size on the stack: returns the pointer if the page holds code, but not there.
    void write_beside_code(unsigned view) {
        using softmmu::TlbEntry, softmmu::TlbTables;
        using Beside = TlbTables::Beside;
        static_assert(sizeof(Beside) == 1 << 4);
        const i64 beside = options_.tlb_offset + i64(TlbTables::beside_of(view));
        const Label not_so = a.newLabel();
        a.mov(x86::r14, stack(16 + frame::argument));
        a.mov(x86::ecx, x86::r14d);
        a.shr(x86::ecx, softmmu::kPageBits - 4);
        a.and_(x86::ecx, (softmmu::kTlbEntries - 1) << 4);
        a.sub(x86::r14, indexed(beside + i64(offsetof(Beside, tag)), 8));
        a.cmp(x86::r14, softmmu::kPageSize - 1);
        a.ja(not_so);
        a.mov(x86::rcx, indexed(beside + i64(offsetof(Beside, lines)), 8));
        a.mov(x86::rcx, x86::ptr(x86::rcx, 0, 8));
        a.test(x86::rcx, x86::rcx);
        a.jz(not_so); // no code any more: acquire fills the write tag
        a.shr(x86::r14d, softmmu::PhysicalMap::code_line_bits);
        a.bt(x86::rcx, x86::r14);
        a.jc(not_so);
        a.mov(x86::r14d, x86::ptr(x86::rsp, 16 + frame::argument, 4));
        a.and_(x86::r14d, softmmu::kPageSize - 1);
        a.add(x86::r14d, x86::ptr(x86::rsp, 0, 4));
        a.dec(x86::r14d); // the last byte; an access is no longer than a line
        a.cmp(x86::r14d, softmmu::kPageSize - 1);
        a.ja(not_so);
        a.shr(x86::r14d, softmmu::PhysicalMap::code_line_bits);
        a.bt(x86::rcx, x86::r14);
        a.jc(not_so);
        a.mov(x86::r14, stack(16 + frame::argument));
        a.mov(x86::ecx, x86::r14d);
        a.shr(x86::ecx, softmmu::kPageBits - 5);
        a.and_(x86::ecx, (softmmu::kTlbEntries - 1) << 5);
        a.add(x86::r14, indexed(options_.tlb_offset + i64(TlbTables::entries_of(view)) +
                                    i64(offsetof(TlbEntry, addend)),
                                8));
        a.sub(x86::r14, i32(options_.window_base));
        a.lea(x86::rsp, stack(8));
        a.clc();
        a.ret();
        a.bind(not_so);
    }

    // Called by find. Everything as before but RCX and EFLAGS.
    void warm() {
        const int depth = 40; // find's return address and RCX, ours, RAX, x87_here
        const Label done = a.newLabel();
        a.bind(warm_);
        a.push(x86::rax);
        a.mov(x86::ecx, FIELD(x87_here, 4));
        a.push(x86::rcx);
        spill_registers();
        to_host_mxcsr(depth);
        a.mov(x86::rdi, stack(depth + frame::context));
        a.mov(x86::rsi, x86::r14);
        call_cpp(reinterpret_cast<const void*>(warm_memory), 8);
        load_mxcsr(depth);
        load_registers();
        a.pop(x86::rcx);
        a.test(x86::ecx, x86::ecx);
        a.jnz(done);
        a.call(load_x87_);
        a.bind(done);
        a.pop(x86::rax);
        a.ret();
    }

    void acquire(ir::Access access) {
        a.bind(acquire_[unsigned(access)]);
        spill_registers();
        a.mov(x86::edx, x86::ecx);
        a.mov(x86::r12, x86::rax); // kept by the callee
        spill_flags();
        a.mov(x86::rax, x86::ptr(x86::rsp));
        a.mov(FIELD(host_return, 8), x86::rax);
        to_host_mxcsr(8);
        a.mov(x86::rdi, stack(8 + frame::context));
        a.mov(x86::rsi, x86::r14);
        a.mov(x86::ecx, imm(int(access)));
        call_cpp(reinterpret_cast<const void*>(acquire_memory), 8);
        a.test(x86::rax, x86::rax);
        a.jz(leave_called_);
        a.lea(x86::r14, x86::ptr(x86::rax, -i32(options_.window_base)));
        load_mxcsr(8);
        a.mov(x86::rax, x86::r12);
        load_registers();
        a.stc(); // see Stubs::find
        a.ret();
    }

    void commit() {
        a.pushfq();
        a.push(x86::rax);
        spill_registers();
        to_host_mxcsr(24);
        a.mov(x86::rdi, stack(24 + frame::context));
        call_cpp(reinterpret_cast<const void*>(commit_memory), 8);
        load_mxcsr(24);
        load_registers();
        a.pop(x86::rax);
        a.popfq();
        a.ret();
    }

    void call() {
        spill_registers();
        a.mov(x86::r12, x86::rcx);
        spill_flags();
        a.mov(x86::rax, x86::ptr(x86::rsp));
        a.mov(FIELD(host_return, 8), x86::rax);
        a.mov(x86::rax, x86::ptr(x86::r12, offsetof(CallRecord, rip)));
        a.mov(FIELD(rip, 8), x86::rax);
        to_host_mxcsr(8);
        a.mov(x86::rdi, stack(8 + frame::context));
        a.mov(x86::rsi, x86::r14);
        a.mov(x86::rdx, stack(8 + frame::argument));
        a.mov(x86::rcx, x86::ptr(x86::r12, offsetof(CallRecord, imm)));
        a.sub(x86::rsp, 8);
        a.call(x86::ptr(x86::r12, offsetof(CallRecord, fn)));
        a.add(x86::rsp, 8);
        a.cmp(FIELD(exit, 4), 0);
        a.jne(leave_called_);
        a.mov(x86::r14, x86::rax);
        load_mxcsr(8);
        load_flags();
        load_registers();
        a.ret();
    }

    void exit_link() {
        a.lahf();
        a.seto(x86::al);
        a.pop(x86::r14);
        a.mov(FIELD(host_return, 8), x86::r14);
        exit_with(Exit::Lookup);
    }
    // As Emitter::emit_JumpInd, for many sites in one place.
    void look_up() {
        using Entry = Context::JumpCacheEntry;
        const Label miss = a.newLabel();
        a.lea(x86::rsp, x86::ptr(x86::rsp, 8)); // nobody returns
        a.lahf();
        a.seto(x86::al);
        a.mov(x86::r14, x86::rcx);
        a.and_(x86::r14d, (1 << Context::jump_cache_bits) - 1);
        a.shl(x86::r14d, 5);
        a.add(x86::r14, FIELD(jump_cache, 8));
        a.cmp(x86::rcx, x86::ptr(x86::r14, offsetof(Entry, pc), 8));
        a.jne(miss);
        a.mov(x86::r13, FIELD(key, 8));
        a.cmp(x86::r13, x86::ptr(x86::r14, offsetof(Entry, key), 8));
        a.jne(miss);
        a.jmp(x86::ptr(x86::r14, offsetof(Entry, host), 8));
        a.bind(miss);
        exit_lookup();
    }
    // Moves the entry to the first level, for the next time.
    void jump_missed(bool called) {
        using Entry = Context::JumpCacheEntry;
        static_assert(sizeof(Entry) == 1 << 5);
        const Label miss = a.newLabel();
        const auto second = [&](size_t field) {
            return x86::ptr(x86::r14, i32(Context::jump_cache_second * sizeof(Entry) + field), 8);
        };
        a.mov(x86::r14, x86::rcx);
        a.shr(x86::r14, Context::jump_cache_second_bits);
        a.xor_(x86::r14d, x86::ecx);
        a.and_(x86::r14d, (1 << Context::jump_cache_second_bits) - 1);
        a.shl(x86::r14d, 5);
        a.add(x86::r14, FIELD(jump_cache, 8));
        a.cmp(x86::rcx, second(offsetof(Entry, pc)));
        a.jne(miss);
        a.mov(x86::r13, FIELD(key, 8));
        a.cmp(x86::r13, second(offsetof(Entry, key)));
        a.jne(miss);
        a.mov(x86::r14, second(offsetof(Entry, host)));
        a.mov(x86::r13d, x86::ecx);
        a.and_(x86::r13d, (1 << Context::jump_cache_bits) - 1);
        a.shl(x86::r13d, 5);
        a.add(x86::r13, FIELD(jump_cache, 8));
        a.mov(x86::ptr(x86::r13, offsetof(Entry, pc), 8), x86::rcx);
        a.mov(x86::rcx, FIELD(key, 8));
        a.mov(x86::ptr(x86::r13, offsetof(Entry, key), 8), x86::rcx);
        a.mov(x86::ptr(x86::r13, offsetof(Entry, host), 8), x86::r14);
        if (called) a.lea(x86::rsp, stack(8)); // nobody returns
        a.jmp(x86::r14);
        a.bind(miss);
        if (called)
            exit_jump();
        else
            exit_lookup();
    }
    void exit_lookup() {
        a.mov(FIELD(host_return, 8), 0);
        exit_with(Exit::Lookup);
    }
    void exit_jump() {
        a.pop(x86::r14);
        a.mov(FIELD(host_return, 8), x86::r14);
        exit_with(Exit::Lookup);
    }
    void exit_event() {
        a.mov(FIELD(host_return, 8), 0);
        exit_with(Exit::Event);
    }
    void exit_side() {
        a.pop(x86::r14);
        a.mov(FIELD(host_return, 8), x86::r14);
        exit_with(Exit::Event);
    }
    void exit_here() {
        const Label set = a.newLabel();
        a.mov(FIELD(host_return, 8), 0);
        a.cmp(FIELD(exit, 4), 0);
        a.jne(set);
        a.mov(FIELD(exit, 4), imm(int(Exit::Lookup)));
        a.bind(set);
        leave_live();
    }

    // The guest's x87 state to Context, and the host's as C++ code expects it. All guest registers are in
    // Context.
    void put_x87_back() {
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
    void take_x87() {
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
    void load_x87() {
        a.bind(load_x87_);
        a.pushfq();
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
        a.popfq();
        a.ret();
    }

    void begin() {
        for (Label& label : acquire_)
            label = a.newLabel();
        warm_ = a.newLabel();
        put_x87_back_ = a.newLabel();
        load_x87_ = a.newLabel();
        leave_called_ = a.newLabel();
        leave_spilled_ = a.newLabel();
    }
    // The common tail: Context is at rest, MXCSR is the host's.
    void end() {
        a.bind(leave_called_);
        a.add(x86::rsp, 8); // the return address
        a.bind(leave_spilled_);
        a.add(x86::rsp, frame::bytes);
        for (unsigned r : {host::r15, host::r14, host::r13, host::r12, host::rbp, host::rbx})
            a.pop(gp(r, 8));
        a.ret();
    }

  private:
    static x86::Mem indexed(i64 offset, unsigned bytes) {
        x86::Mem m = x86::ptr(x86::rcx, i32(offset), bytes);
        m.setSegment(x86::gs);
        return m;
    }
    x86::Mem stack(int offset) { return x86::ptr(x86::rsp, offset, 8); }

    void exit_with(Exit why) {
        a.mov(FIELD(rip, 8), x86::rcx);
        a.mov(FIELD(exit, 4), imm(int(why)));
        leave_live();
    }
    void leave_live() {
        spill_registers();
        spill_flags();
        to_host_mxcsr(0);
        a.jmp(leave_spilled_);
    }

    // `pad`: what makes RSP a multiple of 16.
    void call_cpp(const void* fn, int pad) {
        a.sub(x86::rsp, pad);
        a.mov(x86::rax, imm(reinterpret_cast<u64>(fn)));
        a.call(x86::rax);
        a.add(x86::rsp, pad);
    }

    void x87_component() { // what XSAVE is to move
        a.mov(x86::eax, 1);
        a.xor_(x86::edx, x86::edx);
    }
    // No other register touched, but EFLAGS.
    void spill_registers() {
        for (unsigned i = 0; i < 16; ++i)
            if (host::of_guest[i] != host::memory)
                a.mov(in_context(i64(offsetof(Context, gpr) + 8 * i), 8), gp(host::of_guest[i], 8));
        a.mov(FIELD(budget, 8), x86::r15);
        for (unsigned i = 0; i < 16; ++i)
            switch (vector_bytes_) {
            case 64: a.vmovaps(vector(i, 64), x86::zmm(i)); break;
            case 32: a.vmovaps(vector(i, 32), x86::ymm(i)); break;
            default: a.movaps(vector(i, 16), x86::xmm(i));
            }
        if (vector_bytes_ > 16)
            a.vzeroupper(); // C++ code is made of SSE instructions: slow behind upper halves
        const Label here = a.newLabel();
        a.cmp(FIELD(x87_here, 4), 0);
        a.jne(here);
        a.call(put_x87_back_);
        a.bind(here);
    }
    void load_registers() {
        for (unsigned i = 0; i < 16; ++i)
            if (host::of_guest[i] != host::memory)
                a.mov(gp(host::of_guest[i], 8), in_context(i64(offsetof(Context, gpr) + 8 * i), 8));
        a.mov(x86::r15, FIELD(budget, 8));
        for (unsigned i = 0; i < 16; ++i)
            switch (vector_bytes_) {
            case 64: a.vmovaps(x86::zmm(i), vector(i, 64)); break;
            case 32: a.vmovaps(x86::ymm(i), vector(i, 32)); break;
            default: a.movaps(x86::xmm(i), vector(i, 16));
            }
    }
    static x86::Mem vector(unsigned i, unsigned bytes) {
        return in_context(i64(offsetof(Context, vec) + sizeof(Context::vec[0]) * i), bytes);
    }
    // RAX to Context::flags; RAX and RCX are lost.
    void spill_flags() {
        a.movzx(x86::ecx, x86::ah);
        a.and_(x86::ecx, ir::kCF | ir::kPF | ir::kAF | ir::kZF | ir::kSF);
        a.and_(x86::eax, 1);
        a.shl(x86::eax, 11);
        a.or_(x86::eax, x86::ecx);
        a.mov(FIELD(flags, 4), x86::eax);
    }
    void load_flags() {
        a.mov(x86::eax, FIELD(flags, 4));
        a.mov(x86::ecx, x86::eax);
        a.shr(x86::ecx, 11);
        a.and_(x86::ecx, 1);
        a.mov(x86::ah, x86::al);
        a.mov(x86::al, x86::cl);
    }
    // Generated code runs with the guest's rounding and denormal controls and with all exceptions masked; the
    // flags that it raises are merged into the guest's MXCSR.
    // LDMXCSR is slow where it changes a flag, so the host goes on with the guest's flags, and only control
    // bits are changed.
    void to_host_mxcsr(int depth) {
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
    void load_mxcsr(int depth) {
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

    x86::Assembler& a;
    const unsigned vector_bytes_;
    const Options& options_;
    Label acquire_[3], warm_;
    Label leave_called_, leave_spilled_, put_x87_back_, load_x87_;
};

#undef FPU_FIELD
#undef FIELD

} // namespace

Result<StubSets> make_stubs(u8* writable, const u8* at, u64 room, unsigned vector_bytes,
                            const Options& options) {
    CodeHolder code;
    code.init(Environment(Arch::kX64), reinterpret_cast<u64>(at));
    x86::Assembler a(&code);
    const auto here = [&] {
        a.align(AlignMode::kCode, 16);
        return at + a.offset();
    };
    StubSets all;
    for (unsigned n = 0; n < 3; ++n) {
        Stubs& stubs = all.sets[n];
        StubWriter w(a, std::min(16u << n, vector_bytes), options);
        w.begin();
        stubs.enter = here(), w.enter();
        for (unsigned i = 0; i < 3; ++i)
            stubs.acquire[i] = here(), w.acquire(ir::Access(i));
        if (options.window_base) {
            here(), w.warm();
            for (unsigned view = 0; view < softmmu::kViews; ++view)
                for (unsigned i = 0; i < 3; ++i) {
                    stubs.find[view][i] = here(), w.find(view, ir::Access(i), false);
                    stubs.find_only[view][i] = here(), w.find(view, ir::Access(i), true);
                }
        }
        stubs.commit = here(), w.commit();
        stubs.call = here(), w.call();
        stubs.jump_missed = here(), w.jump_missed(false);
        stubs.jump_missed_called = here(), w.jump_missed(true);
        stubs.exit_link = here(), w.exit_link();
        stubs.look_up = here(), w.look_up();
        stubs.exit_lookup = here(), w.exit_lookup();
        stubs.exit_jump = here(), w.exit_jump();
        stubs.exit_event = here(), w.exit_event();
        stubs.exit_side = here(), w.exit_side();
        stubs.exit_here = here(), w.exit_here();
        stubs.take_x87 = here(), w.take_x87();
        stubs.load_x87 = here(), w.load_x87();
        here(), w.put_x87_back();
        w.end();
        here();
    }
    const asmjit::CodeBuffer& made = code.sectionById(0)->buffer();
    all.bytes = made.size();
    if (all.bytes > room) return Error{"code buffer: too small for the stubs"};
    DRAGOMAN_ASSERT(!code.hasUnresolvedLinks() && code.relocEntries().empty());
    std::memcpy(writable, made.data(), made.size());
    return all;
}

} // namespace dragoman::backend
