// Far JMP, CALL and RET, INT, IRET and the fast system calls as instructions; the work is in far_transfer.h
// and exception.h.
#include "frontend/x86/system_helpers.h"

namespace dragoman::x86 {

using ir::Ref;

namespace {

constexpr ir::Flags kAll = ir::kAllFlags;

// After a task switch a fault, or the trap of the TSS's T flag, is the new task's and not this instruction's:
// it is delivered on the spot, so that whoever runs the block sees an instruction that ended well.
void settle_task(Cpu& cpu, u16 old_task) {
    if (cpu.exit == ir::Exit::Fault && cpu.tr.selector != old_task) deliver_fault(cpu);
    cpu.irrevocable = false;
}

// a: selector, b: offset
u64 far_jump_helper(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const u16 task = cpu.tr.selector;
    far_jump(cpu, u16(a), b, size_in(imm), next_rip_in(cpu, imm));
    settle_task(cpu, task);
    return continue_at_rip(cpu);
}
u64 far_call_helper(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const u16 task = cpu.tr.selector;
    far_call(cpu, u16(a), b, size_in(imm), next_rip_in(cpu, imm));
    settle_task(cpu, task);
    return continue_at_rip(cpu);
}
// imm: size | bytes to release << 8
u64 far_return_helper(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    far_return(cpu, size_in(imm), u16(imm >> 8));
    return continue_at_rip(cpu);
}
u64 iret_helper(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const u16 task = cpu.tr.selector;
    interrupt_return(cpu, size_in(imm), next_rip_in(cpu, imm));
    settle_task(cpu, task);
    return continue_at_rip(cpu);
}
// Task switches load and store EFLAGS.
constexpr ir::Helper far_jump_info{"far_jump", far_jump_helper, kAll, kAll},
    far_call_info{"far_call", far_call_helper, kAll, kAll},
    far_return_info{"far_return", far_return_helper, 0, kAll}, iret_info{"iret", iret_helper, kAll, kAll};

// Direct (ptr16:32) or through memory (m16:64).
bool far_transfer(Translation& t, const Instruction& insn, const ir::Helper& helper) {
    const unsigned size = insn.operand_size();
    const ZydisDecodedOperand& op = insn.operands[0];
    const Ref selector = t.ir.temp(), offset = t.ir.temp();
    if (op.type == ZYDIS_OPERAND_TYPE_POINTER) {
        t.ir.mov_imm(8, selector, op.ptr.segment);
        t.ir.mov_imm(8, offset, i64(u64{op.ptr.offset}));
    } else {
        t.ir.load(size, offset, t.address(insn, 0, size, ir::Access::Read));
        t.ir.load(2, selector, t.address(insn, 0, 2, ir::Access::Read, size));
    }
    return call_and_leave(t, helper, selector, offset, size_and_length(size, insn));
}

} // namespace

bool is_far(const Instruction& insn) {
    return insn.zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}
bool far_jump(Translation& t, const Instruction& insn) {
    return far_transfer(t, insn, far_jump_info);
}
bool far_call(Translation& t, const Instruction& insn) {
    return far_transfer(t, insn, far_call_info);
}

namespace {

// Zydis 4.0 overlooks the operand-size prefix of RETF imm16.
unsigned far_return_size(const Translation& t, const Instruction& insn) {
    const auto& raw = insn.zydis.raw;
    if (t.mode.long64() && raw.rex.W) return 8;
    bool prefix = false;
    for (unsigned i = 0; i < raw.prefix_count; ++i)
        prefix |= raw.prefixes[i].value == 0x66;
    return (t.mode.code_bits == 16) != prefix ? 2 : 4;
}

} // namespace

bool far_return(Translation& t, const Instruction& insn) {
    u64 release = 0;
    for (unsigned n = 0; n < insn.zydis.operand_count_visible; ++n)
        if (insn.operands[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            release = insn.operands[n].imm.value.u & 0xffff;
    return call_and_leave(t, far_return_info, {}, {}, i64(far_return_size(t, insn) | release << 8));
}

bool IRET(Translation& t, const Instruction& insn) {
    return call_and_leave(t, iret_info, {}, {}, size_and_length(insn.operand_size(), insn));
}

// ---- INT
// -----------------------------------------------------------------------------------------------------------
namespace {

// a: vector, imm: rip of the next instruction
u64 int_helper(ir::Context& ctx, u64 a, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const u16 task = cpu.tr.selector;
    interrupt_n(cpu, u8(a), imm);
    settle_task(cpu, task);
    return continue_at_rip(cpu);
}
u64 int1_helper(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const u16 task = cpu.tr.selector;
    software_interrupt(cpu, kDB, imm, EventKind::Icebp);
    settle_task(cpu, task);
    return continue_at_rip(cpu);
}
u64 int3_helper(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const u16 task = cpu.tr.selector;
    software_interrupt(cpu, kBP, imm, EventKind::Software);
    settle_task(cpu, task);
    return continue_at_rip(cpu);
}
u64 into_helper(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const u16 task = cpu.tr.selector;
    if (cpu.flags & ir::kOF)
        software_interrupt(cpu, kVectorOF, imm, EventKind::Software);
    else
        cpu.rip = imm;
    settle_task(cpu, task);
    return continue_at_rip(cpu);
}
constexpr ir::Helper int_info{"int", int_helper, kAll, kAll}, int1_info{"int1", int1_helper, kAll, kAll},
    int3_info{"int3", int3_helper, kAll, kAll}, into_info{"into", into_helper, kAll, kAll};

} // namespace

bool INT(Translation& t, const Instruction& insn) {
    const Ref vector = t.ir.temp();
    t.ir.mov_imm(8, vector, i64(insn.operands[0].imm.value.u & 0xff));
    return call_with_next_rip(t, insn, int_info, vector);
}
bool INT1(Translation& t, const Instruction& insn) {
    return call_with_next_rip(t, insn, int1_info);
}
bool INT3(Translation& t, const Instruction& insn) {
    return call_with_next_rip(t, insn, int3_info);
}
bool INTO(Translation& t, const Instruction& insn) {
    return call_with_next_rip(t, insn, into_info);
}

// ---- fast system calls
// ---------------------------------------------------------------------------------------------
namespace {

u64 syscall_helper(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    syscall(cpu, imm);
    return continue_at_rip(cpu);
}
u64 sysret_helper(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    sysret(cpu, unsigned(imm));
    return continue_at_rip(cpu);
}
u64 sysenter_helper(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    sysenter(cpu);
    return continue_at_rip(cpu);
}
u64 sysexit_helper(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    sysexit(cpu, unsigned(imm));
    return continue_at_rip(cpu);
}
constexpr ir::Helper syscall_info{"syscall", syscall_helper, kAll, kAll},
    sysret_info{"sysret", sysret_helper, kAll, kAll}, sysenter_info{"sysenter", sysenter_helper, 0, kAll},
    sysexit_info{"sysexit", sysexit_helper, 0, kAll};

bool has_rex_w(const Instruction& insn) {
    return insn.zydis.attributes & ZYDIS_ATTRIB_HAS_REX && insn.zydis.raw.rex.W;
}

} // namespace

// Outside 64-bit mode #UD on Intel's processors (SDM vol. 2, SYSCALL).
bool SYSCALL(Translation& t, const Instruction& insn) {
    if (!t.mode.long64() && !t.model.has(Feature::LegacySyscall)) return t.raise(kUD);
    return call_with_next_rip(t, insn, syscall_info);
}
bool SYSRET(Translation& t, const Instruction& insn) {
    if (!t.mode.long64() && !t.model.has(Feature::LegacySyscall)) return t.raise(kUD);
    return call_and_leave(t, sysret_info, {}, {}, has_rex_w(insn) ? 8 : 4);
}
bool SYSENTER(Translation& t, const Instruction&) {
    return call_and_leave(t, sysenter_info);
}
bool SYSEXIT(Translation& t, const Instruction& insn) {
    return call_and_leave(t, sysexit_info, {}, {}, has_rex_w(insn) ? 8 : 4);
}

} // namespace dragoman::x86
