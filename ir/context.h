// The state that IR ops work on: one per vCPU. Generated code addresses it through the GS segment base (GS:0
// is the first byte of Context), the interpreter through a reference. The frontend's CPU state derives from
// it.
//
// At rest (outside generated code) everything here is exact for the instruction boundary at `rip`.
#pragma once

#include "base/time_line.h"
#include "base/types.h"
#include "ir/flags.h"
#include "ir/jump_cache.h"

#include <atomic>
#include <cstddef>
#include <utility>

namespace dragoman::ir {

struct Context;
struct Block;

// Why the run loop got control back. `None` while code runs.
enum class Exit : u32 {
    None,
    Event,   // something to do at an instruction boundary: interrupt, timer, request (Context::poll was set)
    Lookup,  // ordinary end of a block whose successor is not linked: `rip` is set, find the next one
    Fault,   // an exception is recorded in Context::fault; the faulting instruction changed nothing
    Restart, // the instruction at `rip` must run again alone, in a block of its own (it writes the running
             // block)
    Halt,    // HLT: wait for an interrupt
    Shutdown // triple fault
};

// An exception on its way to the guest (SDM vol. 3, ch. 6).
struct Fault {
    u8 vector = 0;
    bool has_error = false;
    u32 error = 0;
    u64 address = 0; // CR2 for #PF, DR6 bits for #DB
};

// A segment register with its hidden part (SDM vol. 3, 3.4.3).
struct Segment {
    u64 base = 0;
    u32 limit = 0; // in bytes, after the granularity bit, inclusive
    u16 selector = 0;
    u16 attributes = 0; // descriptor bits 55:52 and 47:40: G D/B L AVL (15:12), P DPL S type (7:0)
};

enum class Seg : u8 { ES, CS, SS, DS, FS, GS, None };

// x87 state. st[i] is ST(i) (relative to TOP), in the 80-bit memory format in the first 10 bytes; MMn is the
// mantissa of the register whose physical number is n: st[(n - TOP) & 7]. Laid out as XSAVE does it for
// component 0 (SDM vol. 1, 13.4.1), so that generated code can move it to and from the host's FPU; what the
// host has to say about its own last instruction is kept apart from the guest's.
struct alignas(64) Fpu {
    u16 control, status; // status without its TOP field; TOP is in `top`
    u8 tag;              // abridged: bit n = physical register n is not empty (FXSAVE, SDM vol. 1, 10.5.1.1)
    u8 reserved;
    u16 host_opcode;
    u64 host_ip, host_dp;
    u32 host_mxcsr[2];
    u8 st[8][16];
    u8 host_vectors[304];
    u64 ip, dp;
    u16 opcode, cs, ds;
    u8 top;                             // physical number of ST(0)
    alignas(64) u64 host_components[8]; // XSTATE_BV and the rest of the XSAVE header
};
static_assert(offsetof(Fpu, st) == 32 && offsetof(Fpu, ip) == 464 && offsetof(Fpu, host_components) == 512);

inline constexpr unsigned kGprs = 16;
inline constexpr unsigned kTemps = 16;

struct alignas(64) Context {
    u64 gpr[kGprs] = {}; // RAX RCX RDX RBX RSP RBP RSI RDI R8..R15: the encoding's numbers
    u64 tmp[kTemps] = {};
    u64 rip = 0; // linear offset in CS, not an address: the linear address is seg[CS].base + rip
    Flags flags =
        0; // arithmetic flags only; the rest of EFLAGS is in the fields below and in the frontend's state

    u32 poll = 0; // not 0: leave at the next poll. Also set by other threads: ask_for_poll()
    // What indirect jumps look into: `jumps`; or, so that they need not look at `poll`, JumpCache::none if
    // that is set. Also set by other threads.
    JumpCache::Entry* jump_table = nullptr;
    u8 interrupt_flag = 0; // EFLAGS.IF, the *virtual* interrupt flag: the host's is never touched
    u8 direction_flag = 0; // EFLAGS.DF
    u8 interrupt_line =
        0; // INTR is asserted by an interrupt controller (NMI and the like come through `poll`)
    u8 interrupt_shadow = 0; // after STI or MOV SS: no interrupt before the next instruction has ended
    u8 cpl = 0;
    u8 vector_bytes =
        16;      // how much of a vector register instructions can reach now: 16, 32 (AVX), 64 (AVX-512)
    u8 view = 0; // softmmu::View of data accesses now, follows CPL, CR4.SMAP and EFLAGS.AC
    Exit exit = Exit::None;
    Fault fault;

    // Counts down by the guest instructions retired. Lives in a host register inside generated code; goes
    // negative when the budget given by the run loop is used up, which ends the run at the next poll.
    i64 budget = 0;

    // The mode part of the block key. To be changed by use_key().
    u64 key = 0;

    // Host PC after the call from generated code into a helper or slow path that is in progress; 0 in the
    // interpreter.
    u64 host_return = 0;
    // The block the interpreter runs, with the index of the guest instruction in it; null in generated code.
    const Block* interpreted_block = nullptr;
    u32 interpreted_instruction = 0;

    u32 mxcsr = 0x1f80;
    u32 host_mxcsr = 0x1f80; // what C++ code runs with
    u32 x87_here = 1; // the x87 state is in `fpu`: always so outside of generated code, which may keep it in
                      // the host's FPU
    u32 vectors_here = 1; // the vector registers are in `vec`, and MXCSR is the host's: always so outside of generated code
    u32 vectors_lazy = 0; // generated code leaves them here until a block asks for them
    Segment seg[6];
    TimeLine time; // of the op TimeStamp

    JumpCache* jump_cache = nullptr;   // null: only the interpreter runs
    JumpCache::Entry* jumps = nullptr; // its table for `key`

    class Memory* memory = nullptr;

    // ZMM0..31; XMMn and YMMn are the low 16 and 32 bytes of vec[n]. Generated code keeps the low
    // `vector_bytes` bytes of the first 16 in host registers.
    alignas(64) u8 vec[32][64] = {};
    u64 opmask[8] = {}; // K0..7
    Fpu fpu{};
};

// From any thread: generated code is left at its next poll. What was asked for before that is seen by whoever
// takes it back after that. A request in between may leave `jump_table` behind without `poll`: that counts as
// well.
inline void ask_for_poll(Context& ctx) {
    std::atomic_ref(ctx.poll).store(1, std::memory_order_release);
    if (ctx.jump_cache)
        std::atomic_ref(ctx.jump_table).store(ctx.jump_cache->none, std::memory_order_release);
}
inline bool poll_asked_for(Context& ctx) {
    return std::atomic_ref(ctx.poll).load(std::memory_order_acquire) ||
           std::atomic_ref(ctx.jump_table).load(std::memory_order_acquire) != ctx.jumps;
}
// In the opposite order, so that of a request that comes meanwhile the last part stays.
inline void take_back_poll(Context& ctx) {
    std::atomic_ref(ctx.jump_table).exchange(ctx.jumps, std::memory_order_acq_rel);
    std::atomic_ref(ctx.poll).exchange(0, std::memory_order_acq_rel);
}

// The mode is `key` from now on, and indirect jumps look into its table; if a poll has been asked for that
// stays so.
inline void use_key(Context& ctx, u64 key) {
    ctx.key = key;
    JumpCache::Entry* const table = ctx.jump_cache ? ctx.jump_cache->table_of(key) : nullptr;
    if (table == ctx.jumps) return;
    JumpCache::Entry* before = std::exchange(ctx.jumps, table);
    std::atomic_ref(ctx.jump_table).compare_exchange_strong(before, table, std::memory_order_acq_rel);
}
inline void use_jump_cache(Context& ctx, JumpCache& cache) {
    ctx.jump_cache = &cache;
    ctx.jump_table = ctx.jumps = cache.table_of(ctx.key);
}

} // namespace dragoman::ir
