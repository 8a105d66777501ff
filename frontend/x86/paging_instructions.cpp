// Instructions about translations of addresses: INVLPG, INVPCID, protection keys; and caches, which there are
// not.
#include "frontend/x86/system_helpers.h"

#include "frontend/x86/system_memory.h"

namespace dragoman::x86 {

using ir::Ref;

namespace {

// The page of the instruction itself may be another one now, so both end the block. imm: the rip behind it
u64 invlpg_helper(ir::Context& ctx, u64 a, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    cpu.mmu->invlpg(a);
    return continue_at(cpu, imm);
}
constexpr ir::Helper invlpg_info{"invlpg", invlpg_helper};

// a: linear address of the descriptor, b: type (SDM vol. 2, INVPCID)
u64 invpcid_helper(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    enum : u64 { Address, Context, AllWithGlobal, All };
    Cpu& cpu = cpu_of(ctx);
    u64 descriptor[2]; // PCID in bits 11:0, linear address
    if (!read_memory(cpu, a, descriptor, sizeof descriptor, softmmu::View(cpu.view))) return 0;
    const bool pcid_fits = cpu.cr4 & kCr4PCIDE ? descriptor[0] <= 0xfff : descriptor[0] == 0;
    if (b > All || descriptor[0] >> 12 || (b <= Context && !pcid_fits) ||
        (b == Address && !canonical_base(cpu, descriptor[1]))) {
        raise(ctx, kGP, 0);
        return 0;
    }
    const u16 pcid = u16(descriptor[0]);
    switch (b) {
    case Address: cpu.mmu->invalidate_page(pcid, descriptor[1]); break;
    case Context: cpu.mmu->invalidate_space(pcid); break;
    default: cpu.mmu->flush(b == All); break;
    }
    return continue_at(cpu, imm);
}
constexpr ir::Helper invpcid_info{"invpcid", invpcid_helper};

} // namespace

bool INVPCID(Translation& t, const Instruction& insn) {
    if (refused_above_ring0(t)) return false;
    const Ref descriptor = t.linear(t.address(insn, 1, 16, ir::Access::Read));
    return call_with_next_rip(t, insn, invpcid_info, descriptor,
                              t.read_reg(insn, 0, t.mode.long64() ? 8 : 4));
}

bool INVLPG(Translation& t, const Instruction& insn) {
    if (refused_above_ring0(t)) return false;
    return call_with_next_rip(t, insn, invlpg_info, t.linear(t.address(insn, 0, 1, ir::Access::Read)));
}

// INVD, WBINVD: there is no cache to write back.
bool WBINVD(Translation& t, const Instruction&) {
    return !refused_above_ring0(t);
}

// ---- protection keys (SDM vol. 2, RDPKRU, WRPKRU)
namespace {

bool keys_refused(Cpu& cpu, bool write) {
    if (!(cpu.cr4 & kCr4PKE)) {
        raise(cpu, kUD);
        return true;
    }
    if (u32(cpu.gpr[1]) == 0 && !(write && u32(cpu.gpr[2]))) return false;
    raise(cpu, kGP, 0);
    return true;
}
u64 rdpkru_helper(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    if (keys_refused(cpu, false)) return 0;
    cpu.gpr[0] = cpu.pkru;
    cpu.gpr[2] = 0;
    return 0;
}
u64 wrpkru_helper(ir::Context& ctx, u64, u64, u64) {
    Cpu& cpu = cpu_of(ctx);
    if (!keys_refused(cpu, true)) write_protection_keys(cpu, u32(cpu.gpr[0]), cpu.pkrs);
    return 0;
}
constexpr ir::Helper rdpkru_info{"rdpkru", rdpkru_helper}, wrpkru_info{"wrpkru", wrpkru_helper};

} // namespace

bool RDPKRU(Translation& t, const Instruction&) {
    t.ir.call(rdpkru_info);
    return true;
}
bool WRPKRU(Translation& t, const Instruction&) {
    t.ir.call(wrpkru_info);
    return true;
}

} // namespace dragoman::x86
