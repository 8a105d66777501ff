// x87 state, and the helpers of all instructions that compute (SDM vol. 1, 8.3).
#include "frontend/x86/x87_ops.h"

#include "frontend/x86/cpuid.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/system_helpers.h"
#include "frontend/x86/x87_host.h"
#include "ir/memory.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace dragoman::x86 {

void update_summary(ir::Fpu& fpu) {
    constexpr u16 summary = kX87Summary | kX87Busy;
    const bool pending = fpu.status & ~fpu.control & kX87Exceptions;
    fpu.status = u16(pending ? fpu.status | summary : fpu.status & ~summary);
}

void set_status_word(ir::Fpu& fpu, u16 word) {
    fpu.top = word >> 11 & 7;
    fpu.status = u16(word & ~kX87Top);
    update_summary(fpu);
}

void set_control_word(ir::Fpu& fpu, u16 word) {
    fpu.control = control_word(word);
    update_summary(fpu);
}

u16 full_tag_word(const ir::Fpu& fpu) {
    u16 full = 0;
    for (unsigned n = 0; n < 8; ++n) {
        unsigned tag = 3; // empty
        if (fpu.tag >> n & 1) {
            u16 exponent;
            u64 mantissa;
            const u8* st = fpu.st[(n - fpu.top) & 7];
            std::memcpy(&mantissa, st, 8);
            std::memcpy(&exponent, st + 8, 2);
            exponent &= 0x7fff;
            const bool integer_bit = mantissa >> 63;
            tag = exponent == 0 && mantissa == 0                        ? 1 // zero
                  : exponent == 0 || exponent == 0x7fff || !integer_bit ? 2 // special
                                                                        : 0;
        }
        full |= u16(tag << (2 * n));
    }
    return full;
}

u8 abridged_tag_word(u16 full) {
    u8 tag = 0;
    for (unsigned n = 0; n < 8; ++n)
        if ((full >> (2 * n) & 3) != 3) tag |= u8(1 << n);
    return tag;
}

void initialize(ir::Fpu& fpu) {
    // Registers keep their physical places: what was ST(i) is relative to the old TOP.
    u8* st = fpu.st[0];
    std::rotate(st, st + ((8 - fpu.top) & 7) * sizeof fpu.st[0], st + sizeof fpu.st);
    fpu.control = 0x37f;
    fpu.status = 0;
    fpu.top = 0;
    fpu.tag = 0;
    fpu.opcode = 0;
    fpu.ip = fpu.dp = 0;
    fpu.cs = fpu.ds = 0;
}

void enter_mmx(ir::Fpu& fpu) {
    u8* st = fpu.st[0];
    std::rotate(st, st + ((8 - fpu.top) & 7) * sizeof fpu.st[0], st + sizeof fpu.st);
    fpu.top = 0;
    fpu.tag = 0xff;
}

void update_ferr(const Cpu& cpu) {
    if (!(cpu.fpu.status & kX87Summary) && cpu.platform) cpu.platform->fpu_error(false);
}

u16 kept_selector(const Cpu& cpu, u16 selector) {
    return cpu.model->has(Feature::ZeroFcsFds) ? 0 : selector;
}

namespace {

// A waiting instruction met a pending exception. Without CR0.NE FERR# tells the PC, and the processor stands
// still before the instruction until it is interrupted, unless IGNNE# is asserted (SDM vol. 1, 8.7.2).
u64 report(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    if (cpu.cr0 & kCr0NE) {
        raise(cpu, kMF);
    } else {
        cpu.platform->fpu_error(true);
        if (cpu.platform->fpu_errors_ignored()) return 0;
        halt(cpu);
        cpu.exit = ir::Exit::Halt;
    }
    return 0;
}
constexpr ir::Helper report_info{"x87_report", report};

// Where the last instruction was, its opcode and its operand (SDM vol. 1, 8.1.8 and 8.1.9). From the Pentium
// 4 on the opcode is that of the last one which raised an unmasked exception, and CPUID tells whether so is
// the operand.
void note(const Cpu& cpu, ir::Fpu& fpu, const X87Call& call, bool raised, std::optional<u64> linear) {
    const CpuModel& model = *cpu.model;
    fpu.ip = cpu.rip;
    fpu.cs = kept_selector(cpu, cpu.seg[1].selector);
    if (raised || !model.has(Feature::LongMode)) fpu.opcode = call.opcode;
    if (!linear || !(raised || !model.has(Feature::FdpExceptionOnly))) return;
    const ir::Segment& seg = cpu.seg[call.segment];
    fpu.dp = cpu.code64() ? *linear : u32(*linear - seg.base);
    fpu.ds = kept_selector(cpu, seg.selector);
}

// Did an instruction raise an unmasked exception? With one that waits already all count as masked.
bool raised(const ir::Fpu& before, const ir::Fpu& after) {
    return !(before.status & kX87Summary) && (after.status & kX87Summary);
}

// Takes over the state after an instruction; leaves the block if it has left an exception that waits.
void finish(Cpu& cpu, const ir::Fpu& after, const X87Call& call) {
    const bool pending_before = cpu.fpu.status & kX87Summary;
    cpu.fpu = after;
    if (bool(after.status & kX87Summary) == pending_before) return;
    cpu.rip = (cpu.rip + call.length) & instruction_pointer_mask(cpu);
    cpu.exit = ir::Exit::Event;
}

// Runs an instruction that stores nothing; `linear` is where its operand was. Returns the flags after it.
ir::Flags run(Cpu& cpu, const X87Call& call, void* operand, std::optional<u64> linear = {}) {
    ir::Flags flags = cpu.flags;
    if (run_fast(cpu.fpu, call.opcode, operand, flags)) {
        note(cpu, cpu.fpu, call, false, linear);
        return flags;
    }
    ir::Fpu fpu = cpu.fpu;
    flags = run_on_host(fpu, call.opcode, operand, flags);
    note(cpu, fpu, call, raised(cpu.fpu, fpu), linear);
    finish(cpu, fpu, call);
    return flags;
}

u64 register_form(ir::Context& ctx, u64, u64, u64 imm) {
    run(cpu_of(ctx), X87Call::unpack(imm), nullptr);
    return 0;
}

u64 compare(ir::Context& ctx, u64, u64, u64 imm) {
    ctx.flags = run(cpu_of(ctx), X87Call::unpack(imm), nullptr);
    return 0;
}

u64 load_form(ir::Context& ctx, u64 linear, u64, u64 imm) {
    const X87Call call = X87Call::unpack(imm);
    const u8* host = ctx.memory->acquire(ctx, linear, call.operand, ir::Access::Read);
    if (!host) return 0;
    alignas(16) u8 operand[16];
    std::memcpy(operand, host, call.operand);
    run(cpu_of(ctx), call, operand, linear);
    return 0;
}

bool store_result(ir::Context& ctx, u64 linear, const u8* operand, u32 bytes) {
    u8* host = ctx.memory->acquire(ctx, linear, bytes, ir::Access::Write);
    if (!host) return false;
    std::memcpy(host, operand, bytes);
    ctx.memory->commit(ctx);
    return true;
}

// Unmasked exceptions other than of precision keep a result from being stored (SDM vol. 1, 8.5).
bool stores(const ir::Fpu& before, const ir::Fpu& after) {
    constexpr u16 no_store = kX87Exceptions & ~0x20;
    const bool ignored = before.status & kX87Summary; // all count as masked then
    return ignored || !(after.status & ~after.control & no_store);
}

// Where some exception is unmasked: the result need not be stored.
void store_unmasked(Cpu& cpu, u64 linear, const X87Call& call) {
    alignas(16) u8 operand[16];
    ir::Fpu fpu = cpu.fpu;
    run_on_host(fpu, call.opcode, operand, 0);
    if (stores(cpu.fpu, fpu) && !store_result(cpu, linear, operand, call.operand)) return;
    note(cpu, fpu, call, raised(cpu.fpu, fpu), linear);
    finish(cpu, fpu, call);
}

u64 store_raises(ir::Context& ctx, u64 offset, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (!(~cpu.fpu.control & kX87Exceptions)) return 0;
    const X87Call call = X87Call::unpack(imm);
    alignas(16) u8 operand[16];
    ir::Fpu fpu = cpu.fpu;
    run_on_host(fpu, call.opcode, operand, 0);
    if (stores(cpu.fpu, fpu)) return 0;
    note(cpu, fpu, call, true, offset + cpu.seg[call.segment].base);
    finish(cpu, fpu, call);
    return 0;
}

u64 store_form(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const X87Call call = X87Call::unpack(imm);
    if (~cpu.fpu.control & kX87Exceptions) return store_unmasked(cpu, linear, call), 0;
    u8* host = ctx.memory->acquire(ctx, linear, call.operand, ir::Access::Write);
    if (!host) return 0;
    alignas(16) u8 operand[16];
    ir::Flags flags = 0;
    if (!run_fast(cpu.fpu, call.opcode, operand, flags)) run_on_host(cpu.fpu, call.opcode, operand, 0);
    std::memcpy(host, operand, call.operand);
    ctx.memory->commit(ctx);
    note(cpu, cpu.fpu, call, false, linear);
    return 0;
}

} // namespace

constexpr ir::Flags kCompareFlags = ir::kAllFlags;
const ir::Helper x87_register_form{"x87", register_form};
const ir::Helper x87_compare{"x87_compare", compare, kCompareFlags, kCompareFlags};
const ir::Helper x87_conditional_move{"x87_fcmov", register_form, 0, ir::kCF | ir::kZF | ir::kPF};
const ir::Helper x87_load_form{"x87_load", load_form};
const ir::Helper x87_store_form{"x87_store", store_form};
const ir::Helper x87_store_raises{"x87_store_raises", store_raises};

void wait_x87(Translation& t) {
    if (t.mode.fpu_pending) t.ir.call(report_info);
}

} // namespace dragoman::x86
