// The way of an access that generated code could not do by itself.
#include "backend/x64/stub_writer.h"

#include "ir/memory.h"
#include "softmmu/physical_map.h"

namespace dragoman::backend {

using namespace asmjit;
using ir::Context;

namespace {

// In accesses that found no window tag (softmmu::TlbTables::heat).
constexpr int kStoreWithoutCode = 16;

u8* acquire_memory(Context* ctx, u64 linear, u32 size, u32 access) {
    return ctx->memory->acquire(*ctx, linear, size, ir::Access(access));
}
void warm_memory(Context* ctx, u64 linear) {
    ctx->memory->warm(*ctx, linear);
}
void commit_memory(Context* ctx) {
    ctx->memory->commit(*ctx);
}

} // namespace

// `pad`: what makes RSP a multiple of 16.
void StubWriter::call_cpp(const void* fn, int pad) {
    a.sub(x86::rsp, pad);
    a.mov(x86::rax, imm(reinterpret_cast<u64>(fn)));
    a.call(x86::rax);
    a.add(x86::rsp, pad);
}

// The TLB entry of R14, as Emitter::check looks it up without a window, or among the victims.
void StubWriter::find(unsigned view, ir::Access access, bool only) {
    using softmmu::TlbEntry, softmmu::TlbTables;
    static_assert(sizeof(TlbEntry) == 1 << 5);
    const Label again = a.newLabel(), missing = a.newLabel(), hot = a.newLabel(), neither = a.newLabel();
    const size_t tag =
        access == ir::Access::Read ? offsetof(TlbEntry, read_tag) : offsetof(TlbEntry, write_tag);
    // RCX: index * 32. Returns the pointer, unless the entry is that of another page.
    const auto look = [&](u64 entries, u64 heat, const Label& not_there) {
        const auto entry = [&](size_t field) {
            return indexed(options_.tlb_offset + i64(entries + field), 8);
        };
        a.sub(x86::r14, entry(tag));
        a.cmp(x86::r14, softmmu::kPageSize - 1);
        a.ja(not_there);
        a.add(x86::r14, stack(0));
        a.cmp(x86::r14, softmmu::kPageSize);
        a.ja(not_there);
        a.mov(x86::r14, stack(16 + frame::argument));
        a.add(x86::r14, entry(offsetof(TlbEntry, addend)));
        a.sub(x86::r14, options_.window_start());
        a.shr(x86::ecx, 5 - 2);
        a.sub(indexed(options_.tlb_offset + i64(heat), 4), 1);
        a.jc(hot);
        a.lea(x86::rsp, stack(8));
        a.ret();
    };
    a.bind(again);
    a.mov(stack(8 + frame::argument), x86::r14);
    a.push(x86::rcx);
    a.mov(x86::ecx, x86::r14d);
    a.shr(x86::ecx, softmmu::kPageBits - 5);
    a.and_(x86::ecx, (softmmu::kTlbEntries - 1) << 5);
    look(TlbTables::entries_of(view), TlbTables::heat_at, missing);
    a.bind(hot);
    a.mov(x86::r14, stack(16 + frame::argument));
    a.call(warm_);
    a.pop(x86::rcx);
    a.jmp(again);
    a.bind(missing);
    const Label no_victim = a.newLabel();
    a.mov(x86::r14, stack(16 + frame::argument));
    a.mov(x86::rcx, x86::r14); // softmmu::victim_index
    a.shr(x86::rcx, softmmu::kTlbBits);
    a.xor_(x86::rcx, x86::r14);
    a.shr(x86::ecx, softmmu::kPageBits - 5);
    a.and_(x86::ecx, (softmmu::kVictims - 1) << 5);
    look(TlbTables::victims_of(view), TlbTables::victim_heat_at, no_victim);
    a.bind(no_victim);
    if (access != ir::Access::Read) write_beside_code(view);
    // An access over two pages may be done in place where both lie in the window, one behind the other.
    const auto in_window = [&] {
        a.mov(x86::ecx, x86::r14d);
        a.shr(x86::ecx, softmmu::kPageBits - 3);
        a.and_(x86::ecx, (softmmu::kTlbEntries - 1) << 3);
        a.mov(x86::rcx, window_tag(view, access));
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

void StubWriter::jump_to(const u8* stub) {
    a.jmp(imm(reinterpret_cast<u64>(stub)));
}

void StubWriter::find_size(const u8* find, unsigned size) {
    a.mov(x86::ecx, size);
    jump_to(find);
}

void StubWriter::find_beyond_tag(const u8* find_size, unsigned view, ir::Access access) {
    a.add(x86::r14, backend::window_tag(options_, view, access, tag_scale(options_)));
    jump_to(find_size);
}

// As Emitter::tlb_check does it in line.
void StubWriter::reach(const u8* find_size, unsigned view, ir::Access access, unsigned size) {
    const Label missing = a.newLabel();
    a.mov(x86::ecx, x86::r14d);
    a.shr(x86::ecx, softmmu::kPageBits - 3);
    a.and_(x86::ecx, (softmmu::kTlbEntries - 1) << 3);
    a.mov(x86::rcx, window_tag(view, access));
    a.sub(x86::rcx, x86::r14);
    a.cmp(x86::rcx, i32(size) - i32(softmmu::kPageSize + 1));
    a.jb(missing);
    a.mov(x86::r14d, x86::r14d);
    a.ret();
    a.bind(missing);
    jump_to(find_size);
}

// `offset` from RSP.
void StubWriter::reach_stack(const u8* reach, int offset) {
    a.lea(x86::r14, x86::ptr(guest_rsp(), offset));
    jump_to(reach);
}

// In find, for R14 and the size on the stack: returns the pointer if the page holds code, but not there.
void StubWriter::write_beside_code(unsigned view) {
    using softmmu::TlbEntry, softmmu::TlbTables;
    using Beside = TlbTables::Beside;
    static_assert(sizeof(Beside) == 1 << 4);
    const i64 beside = options_.tlb_offset + i64(TlbTables::beside_of(view));
    const Label not_so = a.newLabel(), cold = a.newLabel(), go_on = a.newLabel();
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
    a.jz(cold);
    a.bind(go_on);
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
    a.add(
        x86::r14,
        indexed(options_.tlb_offset + i64(TlbTables::entries_of(view)) + i64(offsetof(TlbEntry, addend)), 8));
    a.sub(x86::r14, options_.window_start());
    a.lea(x86::rsp, stack(8));
    a.clc();
    a.ret();
    // No code any more. Where the page is about to get some again, as one that a program makes its code in, a
    // write tag would soon be taken back; so acquire fills it only after some such stores.
    const Mem heat = indexed(options_.tlb_offset + i64(TlbTables::heat_at), 4, 2);
    a.bind(cold);
    a.mov(x86::ecx, x86::ptr(x86::rsp, 16 + frame::argument, 4));
    a.shr(x86::ecx, softmmu::kPageBits);
    a.and_(x86::ecx, softmmu::kTlbEntries - 1);
    a.cmp(heat, kStoreWithoutCode);
    a.jb(not_so);
    a.sub(heat, kStoreWithoutCode);
    a.xor_(x86::ecx, x86::ecx);
    a.jmp(go_on);
    a.bind(not_so);
}

// Called by find. Everything as before but RCX and EFLAGS.
void StubWriter::warm() {
    const int depth = 40; // find's return address and RCX, ours, RAX, x87_here
    const Label done = a.newLabel();
    a.bind(warm_);
    a.push(x86::rax);
    a.mov(x86::ecx, FIELD(x87_here, 4));
    a.push(x86::rcx);
    spill_registers(depth);
    spill_vectors(depth);
    a.mov(x86::rdi, stack(depth + frame::context));
    a.mov(x86::rsi, x86::r14);
    call_cpp(reinterpret_cast<const void*>(warm_memory), 8);
    load_vectors(depth);
    load_registers(depth);
    a.pop(x86::rcx);
    a.test(x86::ecx, x86::ecx);
    a.jnz(done);
    a.call(load_x87_);
    a.bind(done);
    a.pop(x86::rax);
    a.ret();
}

void StubWriter::acquire(ir::Access access) {
    a.bind(acquire_[unsigned(access)]);
    spill_registers(8);
    a.mov(x86::edx, x86::ecx);
    a.mov(x86::r12, x86::rax); // kept by the callee
    spill_flags();
    a.mov(x86::rax, x86::ptr(x86::rsp));
    a.mov(FIELD(host_return, 8), x86::rax);
    spill_vectors(8);
    a.mov(x86::rdi, stack(8 + frame::context));
    a.mov(x86::rsi, x86::r14);
    a.mov(x86::ecx, imm(int(access)));
    call_cpp(reinterpret_cast<const void*>(acquire_memory), 8);
    a.test(x86::rax, x86::rax);
    a.jz(leave_called_);
    a.lea(x86::r14, x86::ptr(x86::rax, -options_.window_start()));
    if (access != ir::Access::Read) a.mov(x86::ptr(x86::rsp, 8 + frame::to_commit, 4), 1);
    load_vectors(8);
    a.mov(x86::rax, x86::r12);
    load_registers(8);
    a.ret();
}

void StubWriter::commit_if_needed(const u8* commit) {
    const Label needed = a.newLabel();
    a.cmp(x86::ptr(x86::rsp, 8 + frame::to_commit, 4), 0);
    a.jne(needed);
    a.ret();
    a.bind(needed);
    jump_to(commit);
}

void StubWriter::commit_push(const u8* commit_if_needed) {
    a.lea(guest_rsp(), x86::ptr(guest_rsp(), -8));
    jump_to(commit_if_needed);
}

void StubWriter::commit() {
    const Label done = a.newLabel();
    a.pushfq();
    const Mem to_commit = x86::ptr(x86::rsp, 16 + frame::to_commit, 4);
    a.cmp(to_commit, 0);
    a.je(done);
    a.mov(to_commit, 0);
    a.push(x86::rax);
    spill_registers(24);
    spill_vectors(24);
    a.mov(x86::rdi, stack(24 + frame::context));
    call_cpp(reinterpret_cast<const void*>(commit_memory), 8);
    load_vectors(24);
    load_registers(24);
    a.pop(x86::rax);
    a.bind(done);
    a.popfq();
    a.ret();
}

} // namespace dragoman::backend
