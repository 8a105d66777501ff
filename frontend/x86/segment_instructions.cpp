// MOV, PUSH and POP of segment registers, far pointers, descriptor table registers, and the instructions that
// look at descriptors (SDM vol. 2; vol. 3, 2.8 and 5.10).
#include "frontend/x86/system_helpers.h"

#include "base/bits.h"
#include "frontend/x86/system_memory.h"
#include "ir/memory.h"

namespace dragoman::x86 {

using ir::Ref;

namespace {

bool is_segment_register(ZydisRegister r) {
    return r >= ZYDIS_REGISTER_ES && r <= ZYDIS_REGISTER_GS;
}
unsigned segment_number(ZydisRegister r) {
    return unsigned(r - ZYDIS_REGISTER_ES);
}

u64 load_segment_helper(ir::Context& ctx, u64 a, u64, u64 imm) {
    load_segment(cpu_of(ctx), ir::Seg(imm), u16(a));
    return 0;
}
constexpr ir::Helper load_segment_info{"load_segment", load_segment_helper};

u64 after_segment_load(ir::Context& ctx, u64, u64, u64 imm) {
    leave_if_mode_changed(cpu_of(ctx), imm);
    return 0;
}
constexpr ir::Helper after_segment_load_info{"after_segment_load", after_segment_load};

// When SS changes the mode, the shadow has to outlive the block.
u64 after_stack_segment_load(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    leave_if_mode_changed(cpu, imm);
    if (cpu.exit != ir::Exit::None) cpu.interrupt_shadow = kShadowMovSs;
    return 0;
}
constexpr ir::Helper after_stack_segment_load_info{"after_stack_segment_load", after_stack_segment_load};

// Code that took a segment for one with a base and a limit stays right whatever is loaded; code that took it
// for a flat one, or whose stack width may change, has to look.
bool finish_segment_load(Translation& t, const Instruction& insn, unsigned seg) {
    const Mode& m = t.mode;
    if (seg == unsigned(ir::Seg::SS)) {
        t.shadow_next(kShadowMovSs);
        if (!m.long64() && (m.protected_mode || m.flat[seg])) // in real mode only the base changes
            t.ir.call(after_stack_segment_load_info, {}, {}, {}, i64(insn.next_rip));
        return true;
    }
    const bool was_flat = seg < 4 ? m.flat[seg] : m.fs_gs_flat[seg - 4];
    if (!m.long64() && was_flat) t.ir.call(after_segment_load_info, {}, {}, {}, i64(insn.next_rip));
    return true;
}

bool load_from(Translation& t, const Instruction& insn, unsigned seg, Ref selector) {
    t.ir.call(load_segment_info, {}, selector, {}, i64(seg));
    return finish_segment_load(t, insn, seg);
}

} // namespace

bool names_system_register(const Instruction& insn) {
    for (unsigned n = 0; n < insn.zydis.operand_count_visible; ++n) {
        const ZydisDecodedOperand& op = insn.operands[n];
        if (op.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
        const ZydisRegister r = op.reg.value;
        if (is_segment_register(r) || (r >= ZYDIS_REGISTER_CR0 && r <= ZYDIS_REGISTER_CR15) ||
            (r >= ZYDIS_REGISTER_DR0 && r <= ZYDIS_REGISTER_DR15))
            return true;
    }
    return false;
}

bool mov_segment(Translation& t, const Instruction& insn) {
    const ZydisDecodedOperand& to = insn.operands[0];
    if (to.type == ZYDIS_OPERAND_TYPE_REGISTER && is_segment_register(to.reg.value)) {
        const unsigned seg = segment_number(to.reg.value);
        if (seg == unsigned(ir::Seg::CS)) return t.raise(kUD);
        return load_from(t, insn, seg, t.read_reg(insn, 1, 2));
    }
    const unsigned seg = segment_number(insn.operands[1].reg.value);
    const Ref value = t.ir.temp();
    t.ir.load_state(2, value, at::segment(seg) + at::selector);
    // A register takes the selector zero-extended to the operand size, memory 16 bits always.
    t.write(insn, 0, to.type == ZYDIS_OPERAND_TYPE_MEMORY ? 2 : to.size / 8u, value);
    return true;
}

bool push_segment(Translation& t, const Instruction& insn) {
    const Ref value = t.ir.temp();
    t.ir.load_state(2, value, at::segment(segment_number(insn.operands[0].reg.value)) + at::selector);
    // Whatever the operand size, 16 bits are written, as recent processors do (SDM vol. 2, PUSH).
    const unsigned size = insn.operand_size();
    t.ir.store(2, t.address(ir::Seg::SS, ir::kRsp, -i64(size), t.stack_size(), 2, ir::Access::Write), value);
    t.adjust_stack(-i64(size));
    return true;
}

bool pop_segment(Translation& t, const Instruction& insn) {
    const unsigned seg = segment_number(insn.operands[0].reg.value);
    const Ref value = t.pop_value(2); // whatever the operand size
    t.ir.call(load_segment_info, {}, value, {}, i64(seg));
    t.adjust_stack(insn.operand_size());
    return finish_segment_load(t, insn, seg);
}

namespace {

bool load_far_pointer(Translation& t, const Instruction& insn, ir::Seg seg) {
    const unsigned size = insn.operands[0].size / 8u;
    const Ref offset = t.ir.temp(), selector = t.ir.temp();
    t.ir.load(size, offset, t.address(insn, 1, size, ir::Access::Read));
    t.ir.load(2, selector, t.address(insn, 1, 2, ir::Access::Read, size));
    t.ir.call(load_segment_info, {}, selector, {}, i64(seg));
    t.write(insn, 0, size, offset);
    return finish_segment_load(t, insn, unsigned(seg));
}

} // namespace

bool LDS(Translation& t, const Instruction& insn) {
    return load_far_pointer(t, insn, ir::Seg::DS);
}
bool LES(Translation& t, const Instruction& insn) {
    return load_far_pointer(t, insn, ir::Seg::ES);
}
bool LFS(Translation& t, const Instruction& insn) {
    return load_far_pointer(t, insn, ir::Seg::FS);
}
bool LGS(Translation& t, const Instruction& insn) {
    return load_far_pointer(t, insn, ir::Seg::GS);
}
bool LSS(Translation& t, const Instruction& insn) {
    return load_far_pointer(t, insn, ir::Seg::SS);
}

// ---- descriptor table registers
// ----------------------------------------------------------------------------------
namespace {

// imm: bit 0 IDTR instead of GDTR, bit 1 the base has 24 bits (16-bit operand size)
u64 load_table(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (cpu.code64() && !canonical_base(cpu, b)) {
        raise(ctx, kGP, 0);
        return 0;
    }
    (imm & 1 ? cpu.idtr : cpu.gdtr) = {.base = imm & 2 ? b & 0xffffff : b, .limit = u16(a)};
    return 0;
}
constexpr ir::Helper load_table_info{"load_table", load_table};

// CR4.UMIP: SGDT SIDT SLDT SMSW STR raise #GP(0) above CPL 0.
u64 check_umip(ir::Context& ctx, u64, u64, u64) {
    if (cpu_of(ctx).cr4 & kCr4UMIP) raise(ctx, kGP, 0);
    return 0;
}
constexpr ir::Helper check_umip_info{"check_umip", check_umip};

void emit_umip_check(Translation& t) {
    if (t.mode.cpl != 0 && t.model.has(Feature::Umip)) t.ir.call(check_umip_info);
}

bool load_table_from(Translation& t, const Instruction& insn, bool idt) {
    if (refused_above_ring0(t)) return false;
    const bool wide = t.mode.long64();
    const Ref limit = t.ir.temp(), base = t.ir.temp();
    t.ir.load(2, limit, t.address(insn, 0, 2, ir::Access::Read));
    t.ir.load(wide ? 8 : 4, base, t.address(insn, 0, wide ? 8 : 4, ir::Access::Read, 2));
    const bool base24 = !wide && insn.operand_size() == 2;
    t.ir.call(load_table_info, {}, limit, base, idt | base24 << 1);
    return true;
}

bool store_table(Translation& t, const Instruction& insn, u32 table) {
    emit_umip_check(t);
    const bool wide = t.mode.long64();
    const Ref limit = t.ir.temp(), base = t.ir.temp();
    t.ir.load_state(2, limit, table + at::table_limit);
    t.ir.load_state(wide ? 8 : 4, base, table + at::table_base);
    t.ir.store(2, t.address(insn, 0, 2, ir::Access::Write), limit);
    t.ir.store(wide ? 8 : 4, t.address(insn, 0, wide ? 8 : 4, ir::Access::Write, 2), base);
    if (!wide && insn.operand_size() == 2) // 24 bits of base and a 0 byte
        t.ir.store(1, t.address(insn, 0, 1, ir::Access::Write, 5), Ref::imm(), 0);
    return true;
}

u64 lldt_helper(ir::Context& ctx, u64 a, u64, u64) {
    load_ldtr(cpu_of(ctx), u16(a));
    return 0;
}
u64 ltr_helper(ir::Context& ctx, u64 a, u64, u64) {
    load_tr(cpu_of(ctx), u16(a));
    return 0;
}
constexpr ir::Helper lldt_info{"lldt", lldt_helper};
constexpr ir::Helper ltr_info{"ltr", ltr_helper};

bool store_selector(Translation& t, const Instruction& insn, u32 segment) {
    emit_umip_check(t);
    const Ref value = t.ir.temp();
    t.ir.load_state(2, value, segment + at::selector);
    const ZydisDecodedOperand& to = insn.operands[0];
    t.write(insn, 0, to.type == ZYDIS_OPERAND_TYPE_MEMORY ? 2 : to.size / 8u, value);
    return true;
}

} // namespace

bool LGDT(Translation& t, const Instruction& insn) {
    return load_table_from(t, insn, false);
}
bool LIDT(Translation& t, const Instruction& insn) {
    return load_table_from(t, insn, true);
}
bool SGDT(Translation& t, const Instruction& insn) {
    return store_table(t, insn, at::gdtr);
}
bool SIDT(Translation& t, const Instruction& insn) {
    return store_table(t, insn, at::idtr);
}
bool SLDT(Translation& t, const Instruction& insn) {
    return store_selector(t, insn, at::ldtr);
}
bool STR(Translation& t, const Instruction& insn) {
    return store_selector(t, insn, at::tr);
}

bool LLDT(Translation& t, const Instruction& insn) {
    if (refused_above_ring0(t)) return false;
    t.ir.call(lldt_info, {}, t.read_reg(insn, 0, 2));
    return true;
}
bool LTR(Translation& t, const Instruction& insn) {
    if (refused_above_ring0(t)) return false;
    t.ir.call(ltr_info, {}, t.read_reg(insn, 0, 2));
    return true;
}

// ---- looking at descriptors: ZF says whether it may be seen
// ------------------------------------------------------
namespace {

enum class Look : u8 { Lar, Lsl, Verr, Verw };

// Which system types LAR and LSL accept (SDM vol. 2, tables of LAR and LSL), by bit; outside and inside long
// mode.
constexpr u16 kLarTypes[2] = {1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 0xb | 1 << 0xc,
                              1 << 2 | 1 << 9 | 1 << 0xb | 1 << 0xc};
constexpr u16 kLslTypes[2] = {1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 0xb, 1 << 2 | 1 << 9 | 1 << 0xb};

// Is there a descriptor to look at? Sets Context::exit only for a page fault.
bool find_descriptor(Cpu& cpu, u16 selector, Descriptor& d) {
    if (is_null(selector)) return false;
    const bool local = selector & 4;
    if (local && !(cpu.ldtr.attributes & kSegP)) return false;
    const u32 limit = local ? cpu.ldtr.limit : cpu.gdtr.limit;
    if ((selector & 0xfff8u) + 7 > limit) return false;
    return read_descriptor(cpu, selector, d, kGP);
}

bool visible(const Cpu& cpu, const Descriptor& d, Look look) {
    if (!d.is_segment()) {
        if (look == Look::Verr || look == Look::Verw) return false;
        const u16 types = (look == Look::Lar ? kLarTypes : kLslTypes)[cpu.long_mode()];
        if (!bit(types, d.type())) return false;
    }
    if (look == Look::Verr && !d.readable()) return false;
    if (look == Look::Verw && !d.writable()) return false;
    if (d.is_code() && d.conforming()) return true;
    return cpu.cpl <= d.dpl() && rpl(d.selector) <= d.dpl();
}

// a: selector, b: the destination's old value, imm: Look. Returns its new value.
u64 look_helper(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const Look look = Look(imm);
    Descriptor d;
    const bool found = find_descriptor(cpu, u16(a), d);
    if (cpu.exit != ir::Exit::None) return b;
    const bool ok = found && visible(cpu, d, look);
    cpu.flags = ok ? cpu.flags | ir::kZF : cpu.flags & ~ir::kZF;
    if (!ok) return b;
    return look == Look::Lar ? (d.low >> 32) & 0x00ffff00 : look == Look::Lsl ? d.limit() : b;
}
constexpr ir::Helper look_info{"look_at_descriptor", look_helper, ir::kZF, ir::kAllFlags};

bool look_into_register(Translation& t, const Instruction& insn, Look look) {
    const unsigned size = insn.operands[0].size / 8u;
    const Ref selector = t.read_reg(insn, 1, 2);
    const Ref to = Translation::gpr(insn.operands[0].reg.value);
    const Ref value = t.ir.temp();
    t.ir.call(look_info, value, selector, to, i64(look));
    t.ir.mov(size, to, value);
    return true;
}

bool verify(Translation& t, const Instruction& insn, Look look) {
    t.ir.call(look_info, t.ir.temp(), t.read_reg(insn, 0, 2), {}, i64(look));
    return true;
}

// The RPL of `to` raised to that of `from`; ZF says whether it was.
u16 adjust(ir::Context& ctx, u16 to, u16 from) {
    const bool lower = rpl(to) < rpl(from);
    ctx.flags = lower ? ctx.flags | ir::kZF : ctx.flags & ~ir::kZF;
    return lower ? with_rpl(to, rpl(from)) : to;
}
u64 arpl_register(ir::Context& ctx, u64 a, u64 b, u64) {
    return adjust(ctx, u16(a), u16(b));
}
u64 arpl_memory(ir::Context& ctx, u64 a, u64 b, u64) {
    u8* host = ctx.memory->acquire(ctx, a, 2, ir::Access::Read);
    if (!host) return 0;
    const u16 old = u16(host[0] | host[1] << 8);
    if (rpl(old) >= rpl(u16(b))) { // nothing is written
        ctx.flags &= ~ir::kZF;
        return 0;
    }
    host = ctx.memory->acquire(ctx, a, 2, ir::Access::ReadWrite);
    if (!host) return 0;
    const u16 value = adjust(ctx, old, u16(b));
    host[0] = u8(value);
    host[1] = u8(value >> 8);
    ctx.memory->commit(ctx);
    return 0;
}
constexpr ir::Helper arpl_register_info{"arpl", arpl_register, ir::kZF, ir::kAllFlags};
constexpr ir::Helper arpl_memory_info{"arpl", arpl_memory, ir::kZF, ir::kAllFlags};

} // namespace

bool LAR(Translation& t, const Instruction& insn) {
    return look_into_register(t, insn, Look::Lar);
}
bool LSL(Translation& t, const Instruction& insn) {
    return look_into_register(t, insn, Look::Lsl);
}
bool VERR(Translation& t, const Instruction& insn) {
    return verify(t, insn, Look::Verr);
}
bool VERW(Translation& t, const Instruction& insn) {
    return verify(t, insn, Look::Verw);
}

bool ARPL(Translation& t, const Instruction& insn) {
    const Ref from = Translation::gpr(insn.operands[1].reg.value);
    if (insn.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
        const Ref linear = t.linear(t.address(insn, 0, 2, ir::Access::ReadWrite));
        t.ir.call(arpl_memory_info, {}, linear, from);
        return true;
    }
    const Ref to = Translation::gpr(insn.operands[0].reg.value);
    const Ref value = t.ir.temp();
    t.ir.call(arpl_register_info, value, to, from);
    t.ir.mov(2, to, value);
    return true;
}

} // namespace dragoman::x86
