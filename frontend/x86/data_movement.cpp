// Data transfer instructions (SDM vol. 1, 5.1.1) except those of the stack and the exchanges that compare.
#include "frontend/x86/exception.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"
#include "frontend/x86/translate_system.h"

#include <algorithm>

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

bool MOV(Translation& t, const Instruction& insn) {
    if (names_system_register(insn)) return mov_system(t, insn);
    const unsigned size = operand_bytes(insn, 0);
    if (is_memory(insn, 1) && !is_high_byte(insn, 0)) {
        const ir::Address a = t.address(insn, 1, size, ir::Access::Read);
        t.ir.load(size, Translation::gpr(insn.operands[0].reg.value), a);
        return true;
    }
    i64 imm = 0;
    const Ref value = t.read(insn, 1, size, imm);
    t.write(insn, 0, size, value, imm);
    return true;
}

namespace {

bool extend(Translation& t, const Instruction& insn, Op with_register, Op with_memory) {
    // MOVSXD without REX.W, and with an operand-size prefix, is a plain move (SDM vol. 2, MOVSX).
    const unsigned to = operand_bytes(insn, 0), from = std::min(operand_bytes(insn, 1), to);
    const Ref d = Translation::gpr(insn.operands[0].reg.value);
    if (is_memory(insn, 1)) {
        const ir::Address a = t.address(insn, 1, from, ir::Access::Read);
        if (from == to)
            t.ir.load(from, d, a);
        else
            t.ir.load_extend(with_memory, from, to, d, a);
        return true;
    }
    const Ref source = t.read_reg(insn, 1, from);
    if (from == to)
        t.ir.mov(from, d, source);
    else
        t.ir.extend(with_register, from, to, d, source);
    return true;
}

} // namespace

bool MOVZX(Translation& t, const Instruction& insn) {
    return extend(t, insn, Op::Zext, Op::LoadZx);
}
bool MOVSX(Translation& t, const Instruction& insn) {
    return extend(t, insn, Op::Sext, Op::LoadSx);
}

bool MOVNTI(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    const ir::Address a = t.address(insn, 0, size, ir::Access::Write);
    t.ir.store(size, a, Translation::gpr(insn.operands[1].reg.value));
    return true;
}

namespace {

// a: source, b: destination; in one piece.
u64 move_64_bytes(ir::Context& ctx, u64 a, u64 b, u64) {
    Cpu& cpu = static_cast<Cpu&>(ctx);
    u8 bytes[64];
    if (b & 63)
        raise(cpu, kGP, 0);
    else if (read_memory(cpu, a, bytes, sizeof bytes, softmmu::View(cpu.view)))
        write_memory(cpu, b, bytes, sizeof bytes, softmmu::View(cpu.view));
    return 0;
}
constexpr ir::Helper move_64_bytes_info{"move_64_bytes", move_64_bytes};

} // namespace

bool MOVDIR64B(Translation& t, const Instruction& insn) {
    const Ref to = Translation::gpr(insn.operands[0].reg.value);
    const Ref source = t.linear(t.address(insn, 1, 64, ir::Access::Read));
    const Ref destination =
        t.linear(t.address(ir::Seg::ES, to, 0, insn.address_size(), 64, ir::Access::Write));
    t.ir.call(move_64_bytes_info, {}, source, destination);
    return true;
}

bool XLAT(Translation& t, const Instruction& insn) {
    const Ref index = t.ir.temp();
    t.ir.extend(Op::Zext, 1, 8, index, ir::kRax);
    const ir::Address table{.base = ir::kRbx, .index = index, .size = u8(insn.address_size())};
    const ir::Address a = t.in_segment(table, Translation::segment(insn, 0), 1, ir::Access::Read);
    t.ir.load(1, ir::kRax, a);
    return true;
}

bool LEA(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref d = Translation::gpr(insn.operands[0].reg.value);
    const ir::Address a = Translation::effective(insn, 1);
    if (a.base.is_none() && a.index.is_none()) {
        const i64 disp = a.size == 8 ? a.disp : i64(u64(a.disp) & (a.size == 4 ? 0xffffffff : 0xffff));
        const bool whole = size == 8 && a.size == 8;
        t.ir.mov_imm(size, d, disp).from_pc = a.from_pc && whole;
        t.ir.block().pinned |= a.from_pc && !whole;
    } else {
        t.ir.lea(size, d, a);
    }
    return true;
}

// CBW, CWDE, CDQE
bool CBW(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operand_size();
    t.ir.extend(Op::Sext, size / 2, size, ir::kRax, ir::kRax);
    return true;
}

// CWD, CDQ, CQO: no flag may change, so the sign is spread by extension and byte reversal and not by a shift.
bool CWD(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operand_size();
    const Ref sign = t.ir.temp();
    if (size < 8) {
        t.ir.extend(Op::Sext, size, 8, sign, ir::kRax);
        t.ir.unary(Op::Bswap, 8, sign, sign); // the lowest four bytes are copies of the sign
        t.ir.mov(size, ir::kRdx, sign);
        return true;
    }
    t.ir.unary(Op::Bswap, 8, sign, ir::kRax); // the top byte of RAX comes lowest,
    t.ir.extend(Op::Sext, 1, 8, sign, sign);  // its sign fills the bytes above,
    t.ir.unary(Op::Bswap, 8, sign, sign);     // of which one comes lowest
    t.ir.extend(Op::Sext, 1, 8, ir::kRdx, sign);
    return true;
}

bool BSWAP(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref d = Translation::gpr(insn.operands[0].reg.value);
    if (size == 2) // undefined; processors give 0
        t.ir.mov_imm(2, d, 0);
    else
        t.ir.unary(Op::Bswap, size, d, d);
    return true;
}

bool MOVBE(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    if (is_memory(insn, 1)) {
        const Ref d = Translation::gpr(insn.operands[0].reg.value);
        t.ir.load(size, d, t.address(insn, 1, size, ir::Access::Read));
        t.ir.unary(Op::Bswap, size, d, d);
        return true;
    }
    const Ref swapped = t.ir.temp();
    t.ir.unary(Op::Bswap, size, swapped, Translation::gpr(insn.operands[1].reg.value));
    t.write(insn, 0, size, swapped);
    return true;
}

bool CMOVcc(Translation& t, const Instruction& insn) {
    const unsigned size = operand_bytes(insn, 0);
    const Ref source = t.read_reg(insn, 1, size); // loaded whatever the condition is
    t.ir.add({.op = Op::Cmov,
              .size = u8(size),
              .cond = condition(insn),
              .d = Translation::gpr(insn.operands[0].reg.value),
              .a = source});
    return true;
}

bool LAHF(Translation& t, const Instruction& insn) {
    if (t.mode.long64() && !t.model.has(Feature::LahfLm)) return t.raise(kUD);
    (void)insn;
    const Ref flags = t.ir.temp();
    t.ir.unary(Op::GetFlags, 8, flags, {});
    t.ir.add_noflags(8, flags, flags, 2); // bit 1 reads as one (SDM vol. 1, figure 3-8)
    t.ir.unary(Op::InsHi, 1, ir::kRax, flags);
    return true;
}

bool SAHF(Translation& t, const Instruction& insn) {
    if (t.mode.long64() && !t.model.has(Feature::LahfLm)) return t.raise(kUD);
    (void)insn;
    const Ref flags = t.ir.temp();
    t.ir.unary(Op::ExtHi, 1, flags, ir::kRax);
    t.ir.unary(Op::SetFlags, 8, {}, flags, i64(ir::kAllFlags & ~ir::kOF));
    return true;
}

// AL = CF ? FFH : 0; not in the manual, but in every processor that has no 64-bit mode active.
bool SALC(Translation& t, const Instruction&) {
    const Ref value = t.ir.temp(), ones = t.ir.temp();
    t.ir.mov_imm(4, value, 0);
    t.ir.mov_imm(4, ones, 0xff);
    t.ir.add({.op = Op::Cmov, .size = 4, .cond = ir::Cond::B, .d = value, .a = ones});
    t.ir.mov(1, ir::kRax, value);
    return true;
}

} // namespace dragoman::x86
