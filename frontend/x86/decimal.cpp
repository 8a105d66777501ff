// Decimal arithmetic (SDM vol. 1, 5.1.3), by the pseudo-code of vol. 2.
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"

#include "frontend/x86/exception.h"

#include <bit>

namespace dragoman::x86 {

namespace {

using ir::Flags;

Flags flags_of_byte(u8 v) {
    Flags flags = 0;
    if (v == 0) flags |= ir::kZF;
    if (v & 0x80) flags |= ir::kSF;
    if (std::popcount(v) % 2 == 0) flags |= ir::kPF;
    return flags;
}

u8 al(const ir::Context& ctx) {
    return u8(ctx.gpr[0]);
}
u8 ah(const ir::Context& ctx) {
    return u8(ctx.gpr[0] >> 8);
}
void set_ax(ir::Context& ctx, unsigned high, unsigned low) {
    ctx.gpr[0] = (ctx.gpr[0] & ~u64{0xffff}) | u64(high & 0xff) << 8 | (low & 0xff);
}

// DAA (imm = 1) and DAS (imm = -1)
u64 adjust_packed(ir::Context& ctx, u64, u64, u64 imm) {
    const int sign = int(i64(imm));
    const u8 old = al(ctx);
    const bool old_carry = ctx.flags & ir::kCF;
    int value = old;
    Flags flags = 0;
    if ((old & 15) > 9 || (ctx.flags & ir::kAF)) {
        value += sign * 6;
        // DAS: a borrow out of the low digit's adjustment stays (SDM vol. 2, DAS).
        if (old_carry || (sign < 0 && value < 0)) flags |= ir::kCF;
        flags |= ir::kAF;
    }
    if (old > 0x99 || old_carry) {
        value += sign * 0x60;
        flags |= ir::kCF;
    }
    set_ax(ctx, ah(ctx), unsigned(value));
    ctx.flags = flags | flags_of_byte(u8(value));
    return 0;
}

// AAA (imm = 1) and AAS (imm = -1)
u64 adjust_unpacked(ir::Context& ctx, u64, u64, u64 imm) {
    const int sign = int(i64(imm));
    Flags flags = 0;
    unsigned ax = unsigned(ctx.gpr[0]) & 0xffff;
    if ((al(ctx) & 15) > 9 || (ctx.flags & ir::kAF)) {
        ax += unsigned(sign * 0x106);
        flags = ir::kAF | ir::kCF;
    }
    set_ax(ctx, ax >> 8, ax & 15);
    ctx.flags = flags | flags_of_byte(al(ctx));
    return 0;
}

u64 aam(ir::Context& ctx, u64, u64, u64 imm) {
    if (imm == 0) {
        raise(ctx, kDE);
        return 0;
    }
    const unsigned value = al(ctx);
    set_ax(ctx, value / unsigned(imm), value % unsigned(imm));
    ctx.flags = flags_of_byte(al(ctx));
    return 0;
}

u64 aad(ir::Context& ctx, u64, u64, u64 imm) {
    set_ax(ctx, 0, al(ctx) + ah(ctx) * unsigned(imm));
    ctx.flags = flags_of_byte(al(ctx));
    return 0;
}

constexpr ir::Helper adjust_packed_info{"adjust_packed", adjust_packed, ir::kAllFlags, ir::kCF | ir::kAF};
constexpr ir::Helper adjust_unpacked_info{"adjust_unpacked", adjust_unpacked, ir::kAllFlags, ir::kAF};
// When AAM divides by 0 the flags stay: what wrote them is still needed.
constexpr ir::Helper aam_info{"aam", aam, ir::kAllFlags, ir::kAllFlags};
constexpr ir::Helper aad_info{"aad", aad, ir::kAllFlags};

bool call(Translation& t, const ir::Helper& helper, i64 imm) {
    t.ir.call(helper, {}, {}, {}, imm);
    return true;
}

} // namespace

bool DAA(Translation& t, const Instruction&) {
    return call(t, adjust_packed_info, 1);
}
bool DAS(Translation& t, const Instruction&) {
    return call(t, adjust_packed_info, -1);
}
bool AAA(Translation& t, const Instruction&) {
    return call(t, adjust_unpacked_info, 1);
}
bool AAS(Translation& t, const Instruction&) {
    return call(t, adjust_unpacked_info, -1);
}
bool AAM(Translation& t, const Instruction& insn) {
    return call(t, aam_info, i64(insn.operands[0].imm.value.u & 0xff));
}
bool AAD(Translation& t, const Instruction& insn) {
    return call(t, aad_info, i64(insn.operands[0].imm.value.u & 0xff));
}

} // namespace dragoman::x86
