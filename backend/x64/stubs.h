// The code that all blocks share: entering and leaving generated code, and the ways into C++ and back.
#pragma once

#include "backend/x64/backend.h"
#include "backend/x64/registers.h"
#include "base/result.h"
#include "ir/memory.h"
#include "softmmu/tlb.h"

namespace dragoman::backend {

// What CallHelper finds beside the code: see Stubs::call.
struct CallRecord {
    const void* fn; // u64 (*)(Context&, u64 a, u64 b, u64 imm)
    u64 imm;
    u64 rip; // of the guest instruction
};
// A function of a CallRecord: the interpreter's meaning of the ir::Inst at `inst`.
u64 run_interpreter(ir::Context& ctx, u64, u64, u64 inst);

// The window tag of a page whose index in the TLB is RCX << `scale`.
inline asmjit::x86::Mem window_tag(const Options& options, unsigned view, ir::Access access, unsigned scale) {
    const bool write = access != ir::Access::Read;
    return indexed(options.tlb_offset + i64(softmmu::TlbTables::window_tags_of(view, write)), 8, scale);
}
// How generated code has the index in RCX; stubs have 8 times that.
inline unsigned tag_scale(const Options& options) {
    return options.use_pext ? 3 : 0;
}

// Addresses in the code buffer. "Saved" flags: in RAX, see registers.h.
struct Stubs {
    const u8* enter = nullptr; // void (*)(Context*, const u8* entry)

    // Called with the linear address in R14, the size in ECX, flags saved. Returns the host pointer in R14,
    // everything else as before but RCX and EFLAGS; or leaves. By ir::Access.
    const u8* acquire[3] = {};
    // The same with a host window: looks into the TLB first. What is returned in R14 is less by the window's
    // base. find_only does nothing else: CF set, and R14 lost, if the TLB does not lead there, else clear. By
    // softmmu::View and ir::Access.
    const u8* find[softmmu::kViews][3] = {};
    const u8* find_only[softmmu::kViews][3] = {};
    // find for the sizes 1, 2, 4 ... 64, which ECX need not say; and ways to it that code out of line is
    // shorter by: for R14 less by the window tag that RCX leads to; for code that has not asked the tag.
    static constexpr unsigned sizes = 7;
    const u8* find_size[softmmu::kViews][3][sizes] = {};
    const u8* find_beyond_tag[softmmu::kViews][3][sizes] = {};
    const u8* reach[softmmu::kViews][3][sizes] = {};
    // reach for eight bytes that 64-bit code pushes or pops, which R14 need not say.
    const u8* reach_push[softmmu::kViews] = {};
    const u8* reach_pop[softmmu::kViews] = {};
    // Called after a write through R14: ends what acquire began (frame::to_commit). Everything as before,
    // EFLAGS too.
    const u8* commit = nullptr;
    const u8* commit_if_needed = nullptr; // the same where EFLAGS may be lost: mostly there is nothing to do
    const u8* commit_push = nullptr;      // that, and RSP less by 8
    // Called with a in R14, b in frame::argument, a CallRecord* in RCX, flags saved. The result in R14, flags
    // saved, RCX and EFLAGS lost; or leaves.
    const u8* call = nullptr;
    // The same for helpers with an ir::Bulk, where there is a window. By softmmu::View, whether the code is
    // of 64 bits, Bulk::Kind and log2 of the unit's size.
    const u8* bulk[softmmu::kViews][2][3][4] = {};

    // Called where a block begins, with flags saved, by ir::Memory::may_enter's `part`. Returns if that
    // allows it, everything as before but RCX, R14 and EFLAGS; or leaves with Exit::Lookup.
    const u8* may_enter[2] = {};

    // Leaving with Exit::Lookup and rip as it was: the LinkSite tells it.
    const u8* exit_link = nullptr;       // called; flags in EFLAGS
    const u8* exit_link_saved = nullptr; // called; flags saved
    // Leaving; rip in RCX.
    const u8* exit_jump = nullptr;   // called; flags saved; Exit::Lookup
    const u8* look_up = nullptr;     // called; flags saved; asks the jump cache before it leaves
    const u8* jump_missed = nullptr; // the same, rip in R13; asks the second level of the jump cache
    const u8* exit_event = nullptr;  // jumped to; flags saved; Exit::Event
    const u8* exit_side = nullptr;   // called; flags saved; Exit::Event
    const u8* exit_here =
        nullptr; // jumped to; flags saved; Context::rip is set; Exit::Lookup if there is none
    // Called in the middle of a block: the guest's x87 state goes from Context to the host's FPU, where the
    // next acquire, commit, call or exit takes it back from. Only RCX is lost. take_x87, with flags saved,
    // leaves with Exit::Restart if an x87 instruction might trap; load_x87 is for after an access, and does
    // nothing if the state is still there.
    const u8* take_x87 = nullptr;
    const u8* load_x87 = nullptr;
    // Called at the beginning of a block while Context::vectors_here is set: brings the vector registers,
    // which stay from then on. Only RCX is lost.
    const u8* take_vectors = nullptr;
};

// One set for each Block::vector_bytes: 16, 32, 64.
struct StubSets {
    Stubs sets[3];
    u64 bytes = 0;
    const Stubs& of(unsigned vector_bytes) const { return sets[vector_bytes / 32]; }
};

// Writes the stubs to run at `at`. Nothing keeps more than `vector_bytes` bytes of a vector register.
Result<StubSets> make_stubs(u8* writable, const u8* at, u64 room, unsigned vector_bytes,
                            const Options& options);

} // namespace dragoman::backend
