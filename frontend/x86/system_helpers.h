// What the translate functions of the system instructions share.
#pragma once

#include "frontend/x86/descriptor.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/far_transfer.h"
#include "frontend/x86/system_registers.h"
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_system.h"

namespace dragoman::x86 {

inline Cpu& cpu_of(ir::Context& ctx) {
    return static_cast<Cpu&>(ctx);
}

// Offsets for LoadState and StoreState. Context is Cpu's first base, so they count from it.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
namespace at {
inline constexpr u32 system_flags = offsetof(Cpu, system_flags), cr0 = offsetof(Cpu, cr0),
                     cr2 = offsetof(Cpu, cr2), cr3 = offsetof(Cpu, cr3), cr4 = offsetof(Cpu, cr4),
                     gdtr = offsetof(Cpu, gdtr), idtr = offsetof(Cpu, idtr), ldtr = offsetof(Cpu, ldtr),
                     tr = offsetof(Cpu, tr), kernel_gs_base = offsetof(Cpu, kernel_gs_base),
                     tsc_aux = offsetof(Cpu, tsc_aux);
constexpr u32 segment(unsigned n) {
    return u32(offsetof(Cpu, seg) + n * sizeof(ir::Segment));
}
inline constexpr u32 base = offsetof(ir::Segment, base), selector = offsetof(ir::Segment, selector);
inline constexpr u32 table_base = offsetof(DescriptorTable, base),
                     table_limit = offsetof(DescriptorTable, limit);
} // namespace at
#pragma GCC diagnostic pop

// The immediate of helpers that need the operand size and the rip of the next instruction.
inline i64 size_and_length(unsigned size, const Instruction& insn) {
    return i64(size | insn.length() << 8);
}
inline unsigned size_in(u64 imm) {
    return imm & 0xff;
}
inline u64 next_rip_in(const Cpu& cpu, u64 imm) {
    return (cpu.rip + (imm >> 8 & 0xff)) & instruction_pointer_mask(cpu);
}

// Leaves the block at `next_rip` if what it was translated for no longer holds.
inline void leave_if_mode_changed(Cpu& cpu, u64 next_rip) {
    if (cpu.exit != ir::Exit::None || pack(current_mode(cpu)) == u32(cpu.key)) return;
    cpu.rip = next_rip;
    cpu.exit = ir::Exit::Event;
}

// For instructions that only CPL 0 may run. True: #GP(0) was emitted, the block is over.
inline bool refused_above_ring0(Translation& t) {
    if (t.mode.cpl == 0) return false;
    t.raise(kGP, 0);
    return true;
}

// What helpers return whose block ends by call_and_leave: rip, with the block key brought up to date, so that
// the indirect jump finds the block of the new mode without the run loop. Where the run loop has to look (one
// instruction at a time, vector registers of another width), leaves to it.
inline u64 continue_at_rip(Cpu& cpu) {
    if (cpu.exit != ir::Exit::None) return 0;
    const u8 vector_bytes = cpu.vector_bytes;
    update_key(cpu);
    const bool debugging = (cpu.system_flags & (kTF | kRF)) || cpu.debug_hits || cpu.debug_traps;
    if (debugging || cpu.interrupt_shadow || cpu.vector_bytes != vector_bytes) cpu.exit = ir::Exit::Event;
    return cpu.rip;
}

// The same for instructions that can fail, and then leave rip as it is.
inline u64 continue_at(Cpu& cpu, u64 next_rip) {
    if (cpu.exit == ir::Exit::None) cpu.rip = next_rip;
    return continue_at_rip(cpu);
}

// Calls a helper that sets rip and possibly the mode, and goes on there.
inline bool call_and_leave(Translation& t, const ir::Helper& helper, ir::Ref a = {}, ir::Ref b = {},
                           i64 imm = 0) {
    const ir::Ref target = t.ir.temp();
    t.ir.call(helper, target, a, b, imm);
    t.ir.jump_ind(target);
    return false;
}
// The same for helpers that are told the rip behind the instruction.
inline bool call_with_next_rip(Translation& t, const Instruction& insn, const ir::Helper& helper,
                               ir::Ref a = {}, ir::Ref b = {}) {
    const ir::Ref target = t.ir.temp();
    t.ir.call(helper, target, a, b, i64(insn.next_rip)).from_pc = true;
    t.ir.jump_ind(target);
    return false;
}

} // namespace dragoman::x86
