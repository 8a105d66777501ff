// Entering and leaving generated code, and calls of C++ functions; and the making of all stubs.
#include "backend/x64/stub_writer.h"

#include <algorithm>
#include <cstring>

namespace dragoman::backend {

using namespace asmjit;
using ir::Context;
using ir::Exit;
using ir::JumpCache;

void StubWriter::enter() {
    for (unsigned r : {host::rbx, host::rbp, host::r12, host::r13, host::r14, host::r15})
        a.push(gp(r, 8));
    a.sub(x86::rsp, frame::bytes);
    a.mov(stack(frame::context), x86::rdi);
    a.mov(stack(frame::argument), x86::rsi);
    a.mov(stack(frame::to_commit), 0);
    a.mov(stack(frame::page_mask), imm((softmmu::kTlbEntries - 1) << softmmu::kPageBits));
    a.mov(stack(frame::off_page), imm(-i64(softmmu::kPageSize)));
    a.mov(x86::ptr(x86::rsp, frame::jump_mask, 4),
          imm((1 << (JumpCache::bits + kJumpBits)) - (1 << kJumpBits)));
    a.stmxcsr(FIELD(host_mxcsr, 4));
    load_vectors(0);
    load_flags();
    load_registers(0);
    a.cmp(x86::al, 0x81); // OF = AL
    a.sahf();
    a.jmp(stack(frame::argument));
}

// In a stub that was called with something in RCX, which goes to R12. RDI and RSI are the function's first
// arguments then: Context, and what R14 held.
void StubWriter::to_cpp() {
    spill_registers(8);
    a.mov(x86::r12, x86::rcx);
    spill_flags();
    a.mov(x86::rax, x86::ptr(x86::rsp));
    a.mov(FIELD(host_return, 8), x86::rax);
    spill_vectors(8);
    a.mov(x86::rdi, stack(8 + frame::context));
    a.mov(x86::rsi, x86::r14);
}

void StubWriter::from_cpp() {
    a.cmp(FIELD(exit, 4), 0);
    a.jne(leave_called_);
    load_vectors(8);
    load_flags();
    load_registers(8);
    a.ret();
}

void StubWriter::call() {
    to_cpp();
    a.mov(x86::rax, x86::ptr(x86::r12, offsetof(CallRecord, rip)));
    a.mov(FIELD(rip, 8), x86::rax);
    a.mov(x86::rdx, stack(8 + frame::argument));
    a.mov(x86::rcx, x86::ptr(x86::r12, offsetof(CallRecord, imm)));
    a.sub(x86::rsp, 8);
    a.call(x86::ptr(x86::r12, offsetof(CallRecord, fn)));
    a.add(x86::rsp, 8);
    a.mov(x86::r14, x86::rax);
    from_cpp();
}

namespace {

void ask_may_enter(Context& ctx, unsigned part) {
    if (ctx.memory->may_enter(ctx, part)) return;
    ctx.host_return = 0; // nothing of the block has run
    ctx.exit = Exit::Lookup;
}

} // namespace

void StubWriter::may_enter(unsigned part) {
    to_cpp();
    a.mov(x86::esi, part);
    call_cpp(reinterpret_cast<const void*>(ask_may_enter), 8);
    from_cpp();
}

void StubWriter::exit_link() {
    a.lahf();
    a.seto(x86::al);
    exit_link_saved();
}

void StubWriter::exit_link_saved() {
    a.pop(x86::r14);
    a.mov(FIELD(host_return, 8), x86::r14);
    a.mov(FIELD(exit, 4), imm(int(Exit::Lookup)));
    leave_live();
}

// As Emitter::emit_JumpInd, for many sites in one place.
void StubWriter::look_up() {
    const Label miss = a.newLabel();
    a.lea(x86::rsp, x86::ptr(x86::rsp, 8)); // nobody returns
    a.mov(x86::r14, x86::rcx);
    jump_entry(x86::r14, FIELD(jump_table, 8));
    a.cmp(x86::rcx, x86::ptr(x86::r14, offsetof(JumpCache::Entry, pc), 8));
    a.jne(miss);
    a.jmp(x86::ptr(x86::r14, offsetof(JumpCache::Entry, host), 8));
    a.bind(miss);
    exit_lookup();
}

// `rip` becomes where its entry is in the table.
void StubWriter::jump_entry(const x86::Gp& rip, const Mem& table) {
    a.and_(rip.r32(), (1 << JumpCache::bits) - 1);
    a.shl(rip.r32(), kJumpBits);
    a.add(rip, table);
}

// Moves the entry to the mode's table, if it has one, for the next time. Or a poll was asked for.
void StubWriter::jump_missed() {
    using Entry = JumpCache::SecondEntry;
    static_assert(sizeof(Entry) == 1 << 5);
    const Label miss = a.newLabel(), event = a.newLabel(), found = a.newLabel();
    a.mov(x86::rcx, x86::r13);
    const auto second = [&](size_t field) {
        return x86::ptr(x86::r14, i32(offsetof(JumpCache, second) + field), 8);
    };
    a.mov(x86::r14, FIELD(jumps, 8));
    a.cmp(x86::r14, FIELD(jump_table, 8));
    a.jne(event);
    a.mov(x86::r14, x86::rcx);
    a.shr(x86::r14, JumpCache::second_bits);
    a.xor_(x86::r14d, x86::ecx);
    a.and_(x86::r14d, (1 << JumpCache::second_bits) - 1);
    a.shl(x86::r14d, 5);
    a.add(x86::r14, FIELD(jump_cache, 8));
    a.cmp(x86::rcx, second(offsetof(Entry, pc)));
    a.jne(miss);
    a.mov(x86::r13, FIELD(key, 8));
    a.cmp(x86::r13, second(offsetof(Entry, key)));
    a.jne(miss);
    a.mov(x86::r14, second(offsetof(Entry, host)));
    a.mov(x86::r13, FIELD(jump_cache, 8));
    a.add(x86::r13, i32(offsetof(JumpCache, unkeyed)));
    a.cmp(x86::r13, FIELD(jumps, 8));
    a.je(found);
    a.mov(x86::r13, x86::rcx);
    jump_entry(x86::r13, FIELD(jumps, 8));
    a.mov(x86::ptr(x86::r13, offsetof(JumpCache::Entry, pc), 8), x86::rcx);
    a.mov(x86::ptr(x86::r13, offsetof(JumpCache::Entry, host), 8), x86::r14);
    a.bind(found);
    a.lea(x86::rsp, stack(8)); // nobody returns
    a.jmp(x86::r14);
    a.bind(miss);
    exit_jump();
    a.bind(event);
    exit_side(); // the run loop must know which block branched: take_back_branch
}

void StubWriter::exit_lookup() {
    a.mov(FIELD(host_return, 8), 0);
    exit_with(Exit::Lookup);
}

void StubWriter::exit_jump() {
    a.pop(x86::r14);
    a.mov(FIELD(host_return, 8), x86::r14);
    exit_with(Exit::Lookup);
}

void StubWriter::exit_event() {
    a.mov(FIELD(host_return, 8), 0);
    exit_with(Exit::Event);
}

void StubWriter::exit_side() {
    a.pop(x86::r14);
    a.mov(FIELD(host_return, 8), x86::r14);
    exit_with(Exit::Event);
}

void StubWriter::exit_here() {
    const Label set = a.newLabel();
    a.mov(FIELD(host_return, 8), 0);
    a.cmp(FIELD(exit, 4), 0);
    a.jne(set);
    a.mov(FIELD(exit, 4), imm(int(Exit::Lookup)));
    a.bind(set);
    leave_live();
}

void StubWriter::exit_with(Exit why) {
    a.mov(FIELD(rip, 8), x86::rcx);
    a.mov(FIELD(exit, 4), imm(int(why)));
    leave_live();
}

void StubWriter::leave_live() {
    spill_registers(0);
    spill_flags();
    spill_vectors(0);
    a.jmp(leave_spilled_);
}

void StubWriter::begin() {
    for (Label& label : acquire_)
        label = a.newLabel();
    warm_ = a.newLabel();
    put_x87_back_ = a.newLabel();
    load_x87_ = a.newLabel();
    leave_called_ = a.newLabel();
    leave_spilled_ = a.newLabel();
}

// The common tail: Context is at rest, MXCSR is the host's.
void StubWriter::end() {
    a.bind(leave_called_);
    a.add(x86::rsp, 8); // the return address
    a.bind(leave_spilled_);
    a.add(x86::rsp, frame::bytes);
    for (unsigned r : {host::r15, host::r14, host::r13, host::r12, host::rbp, host::rbx})
        a.pop(gp(r, 8));
    a.ret();
}

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
                    for (unsigned size = 0; size < Stubs::sizes; ++size) {
                        const u8* const find = stubs.find_size[view][i][size] = here();
                        w.find_size(stubs.find[view][i], 1u << size);
                        stubs.find_beyond_tag[view][i][size] = here();
                        w.find_beyond_tag(find, view, ir::Access(i));
                        stubs.reach[view][i][size] = here();
                        w.reach(find, view, ir::Access(i), 1u << size);
                    }
                }
        }
        constexpr unsigned eight = 3;
        if (options.window_base)
            for (unsigned view = 0; view < softmmu::kViews; ++view) {
                stubs.reach_push[view] = here();
                w.reach_stack(stubs.reach[view][u8(ir::Access::Write)][eight], -8);
                stubs.reach_pop[view] = here();
                w.reach_stack(stubs.reach[view][u8(ir::Access::Read)][eight], 0);
            }
        stubs.commit = here(), w.commit();
        stubs.commit_if_needed = here(), w.commit_if_needed(stubs.commit);
        stubs.commit_push = here(), w.commit_push(stubs.commit_if_needed);
        stubs.call = here(), w.call();
        if (options.window_base)
            for (unsigned view = 0; view < softmmu::kViews; ++view)
                for (const bool wide : {false, true})
                    for (const auto kind : {ir::Bulk::Move, ir::Bulk::Fill})
                        for (unsigned size = 0; size < 4; ++size)
                            stubs.bulk[view][wide][kind][size] = here(),
                            w.bulk(stubs.call, view, wide, {kind, u8(1u << size)});
        for (unsigned part = 0; part < 2; ++part) {
            stubs.may_enter[part] = here(), w.may_enter(part);
        }
        stubs.jump_missed = here(), w.jump_missed();
        stubs.exit_link = here(), w.exit_link();
        stubs.exit_link_saved = here(), w.exit_link_saved();
        stubs.look_up = here(), w.look_up();
        stubs.exit_jump = here(), w.exit_jump();
        stubs.exit_event = here(), w.exit_event();
        stubs.exit_side = here(), w.exit_side();
        stubs.exit_here = here(), w.exit_here();
        stubs.take_x87 = here(), w.take_x87();
        stubs.load_x87 = here(), w.load_x87();
        stubs.take_vectors = here(), w.take_vectors();
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
