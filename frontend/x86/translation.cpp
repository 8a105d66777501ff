#include "frontend/x86/translation.h"

#include "base/bits.h"
#include "frontend/x86/exception.h"

#include <bit>

namespace dragoman::x86 {

namespace {

using ir::Ref;
using ir::Seg;

Seg seg_of(ZydisRegister reg) {
    switch (reg) {
    case ZYDIS_REGISTER_ES: return Seg::ES;
    case ZYDIS_REGISTER_CS: return Seg::CS;
    case ZYDIS_REGISTER_SS: return Seg::SS;
    case ZYDIS_REGISTER_FS: return Seg::FS;
    case ZYDIS_REGISTER_GS: return Seg::GS;
    default: return Seg::DS;
    }
}

// What must be aligned of an access of that many bytes (SDM vol. 3, table 6-7).
unsigned natural_alignment(unsigned size) {
    switch (size) {
    case 2:
    case 4:
    case 8: return size;
    case 10: return 8;
    default: return 1;
    }
}

constexpr u64 kHasError = 1 << 8;

// imm: vector | kHasError | error code << 32
u64 raise_helper(ir::Context& ctx, u64, u64, u64 imm) {
    const auto vector = Vector(imm & 0xff);
    if (imm & kHasError)
        raise(ctx, vector, u32(imm >> 32));
    else
        raise(ctx, vector);
    return 0;
}
constexpr ir::Helper raise_info{"raise", raise_helper};

} // namespace

ir::Ref Translation::gpr(ZydisRegister reg) {
    if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15) return Ref::gpr(reg - ZYDIS_REGISTER_RAX);
    if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D) return Ref::gpr(reg - ZYDIS_REGISTER_EAX);
    if (reg >= ZYDIS_REGISTER_AX && reg <= ZYDIS_REGISTER_R15W) return Ref::gpr(reg - ZYDIS_REGISTER_AX);
    if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
        return Ref::gpr(reg - ZYDIS_REGISTER_SPL + 4);
    DRAGOMAN_ASSERT(reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BH);
    return Ref::gpr((reg - ZYDIS_REGISTER_AL) & 3); // AH CH DH BH: the register that holds them
}

bool Translation::is_high_byte(ZydisRegister reg) {
    return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

ir::Address Translation::effective(const Instruction& insn, unsigned n) {
    const ZydisDecodedOperandMem& mem = insn.operands[n].mem;
    ir::Address a{.size = u8(insn.address_size()), .disp = mem.disp.value};
    // Zydis 4.0 takes a SIB byte that says "no base, disp32" for R13D when it comes with REX.B and address
    // size 32.
    const auto& raw = insn.zydis.raw;
    if (mem.base == ZYDIS_REGISTER_R13D && raw.sib.base == 5 && raw.modrm.mod == 0 && raw.modrm.rm == 4)
        a.disp = raw.disp.value;
    else if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP)
        a.disp = i64(u64(a.disp) + insn.next_rip), a.from_pc = true;
    else if (mem.base != ZYDIS_REGISTER_NONE)
        a.base = gpr(mem.base);
    if (mem.index != ZYDIS_REGISTER_NONE) {
        a.index = gpr(mem.index);
        a.scale = u8(std::countr_zero(unsigned(mem.scale)));
    }
    if (a.size < 8) a.disp = sign_extend(u64(a.disp), a.size);
    return a;
}

void Translation::check_alignment(const ir::Address& a, unsigned align) {
    if (align > 1) ir.add({.op = ir::Op::CheckAc, .mem = a, .imm = i64(align) - 1});
}

ir::Address Translation::in_segment(ir::Address a, ir::Seg seg, unsigned size, ir::Access access,
                                    unsigned align) {
    if (mode.long64()) {
        a.linear_size = 8;
        a.seg = seg >= Seg::FS ? seg : Seg::None; // SDM vol. 1, 3.4.2.1
    } else {
        a.linear_size = 4;
        if (seg != Seg::None && !mode.is_flat(seg)) {
            a.seg = seg;
            const Ref linear = ir.temp();
            ir.add({.op = ir::Op::SegAddr, .size = u8(size), .d = linear, .mem = a, .imm = i64(access)});
            a = {.base = linear};
        }
    }
    if (mode.alignment_check) check_alignment(a, align ? align : natural_alignment(size));
    return a;
}

ir::Address Translation::address(const Instruction& insn, unsigned n, unsigned size, ir::Access access,
                                 i64 offset, unsigned align) {
    ir::Address a = effective(insn, n);
    const i64 disp = i64(u64(a.disp) + u64(offset));
    if (a.size < 8) {
        a.disp = sign_extend(u64(disp), a.size);
    } else if (disp == i32(disp) || (a.base.is_none() && a.index.is_none())) {
        a.disp = disp;
    } else {
        const Ref t = ir.temp();
        ir.lea(8, t, a);
        a = {.base = t, .disp = offset};
    }
    return in_segment(a, seg_of(insn.operands[n].mem.segment), size, access, align);
}

ir::Address Translation::address(ir::Seg seg, ir::Ref base, i64 disp, unsigned address_size, unsigned size,
                                 ir::Access access, unsigned align) {
    return in_segment({.base = base, .size = u8(address_size), .disp = disp}, seg, size, access, align);
}

ir::Ref Translation::linear(const ir::Address& a) {
    const Ref t = ir.temp();
    ir::Address offset = a;
    offset.seg = Seg::None;
    ir.lea(a.size, t, offset);
    if (a.size == 2) ir.extend(ir::Op::Zext, 2, 8, t, t);
    if (a.seg != Seg::None) {
        const Ref base = ir.temp();
        ir.load_state(8, base,
                      u32(offsetof(ir::Context, seg) + unsigned(a.seg) * sizeof(ir::Segment) +
                          offsetof(ir::Segment, base)));
        ir.lea(8, t, {.base = t, .index = base});
    }
    return t;
}

ir::Seg Translation::segment(const Instruction& insn, unsigned n) {
    return seg_of(insn.operands[n].mem.segment);
}

ir::Ref Translation::read(const Instruction& insn, unsigned n, unsigned size, i64& imm) {
    const ZydisDecodedOperand& op = insn.operands[n];
    switch (op.type) {
    case ZYDIS_OPERAND_TYPE_IMMEDIATE: imm = op.imm.value.s; return Ref::imm();
    case ZYDIS_OPERAND_TYPE_MEMORY: {
        const ir::Address a = address(insn, n, size, ir::Access::Read);
        const Ref t = ir.temp();
        ir.load(size, t, a);
        return t;
    }
    default: {
        const Ref reg = gpr(op.reg.value);
        if (!is_high_byte(op.reg.value)) return reg;
        const Ref t = ir.temp();
        ir.unary(ir::Op::ExtHi, 1, t, reg);
        return t;
    }
    }
}

ir::Ref Translation::read_reg(const Instruction& insn, unsigned n, unsigned size) {
    i64 imm = 0;
    const Ref value = read(insn, n, size, imm);
    if (!value.is_imm()) return value;
    const Ref t = ir.temp();
    ir.mov_imm(size, t, imm);
    return t;
}

void Translation::write(const Instruction& insn, unsigned n, unsigned size, ir::Ref value, i64 imm) {
    const ZydisDecodedOperand& op = insn.operands[n];
    if (op.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        const ir::Address a = address(insn, n, size, ir::Access::Write);
        ir.store(size, a, value, imm);
        return;
    }
    const Ref reg = gpr(op.reg.value);
    if (is_high_byte(op.reg.value)) {
        if (value.is_imm()) {
            value = ir.temp();
            ir.mov_imm(1, value, imm);
        }
        ir.unary(ir::Op::InsHi, 1, reg, value);
    } else if (value.is_imm()) {
        ir.mov_imm(size, reg, imm);
    } else {
        ir.mov(size, reg, value);
    }
}

void Translation::push(unsigned size, ir::Ref value, i64 imm) {
    const ir::Address a = address(Seg::SS, ir::kRsp, -i64(size), stack_size(), size, ir::Access::Write);
    ir.store(size, a, value, imm);
    adjust_stack(-i64(size));
}

ir::Ref Translation::pop_value(unsigned size, i64 offset) {
    return pop_to(ir.temp(), size, offset);
}

ir::Ref Translation::pop_to(ir::Ref to, unsigned size, i64 offset) {
    const ir::Address a = address(Seg::SS, ir::kRsp, offset, stack_size(), size, ir::Access::Read);
    ir.load(size, to, a);
    return to;
}

void Translation::adjust_stack(i64 bytes) {
    ir.add_noflags(stack_size(), ir::kRsp, ir::kRsp, bytes);
}

u64 Translation::cut_rip(u64 rip, unsigned operand_size) const {
    return rip & size_mask(operand_size);
}

bool Translation::raise(Vector vector) {
    ir.call(raise_info, {}, {}, {}, i64(vector));
    ir.exit_here();
    return false;
}

bool Translation::raise(Vector vector, u32 error) {
    ir.call(raise_info, {}, {}, {}, i64(vector | kHasError | u64{error} << 32));
    ir.exit_here();
    return false;
}

bool Translation::call_and_exit(const Instruction& insn, const ir::Helper& helper, ir::Ref a, ir::Ref b,
                                i64 imm) {
    ir.call(helper, {}, a, b, imm);
    ir.exit_to(insn.next_rip);
    return false;
}

} // namespace dragoman::x86
