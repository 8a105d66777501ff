#include "frontend/x86/stack_reference.h"

#include "base/bits.h"

#include <Zydis/Zydis.h>

#include <algorithm>

namespace dragoman::x86 {

namespace {

using Operand = ZydisDecodedOperand;

bool is_stack(const Operand& op) {
    if (op.mem.segment == ZYDIS_REGISTER_FS || op.mem.segment == ZYDIS_REGISTER_GS) return false;
    const ZydisRegister base = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op.mem.base);
    return base == ZYDIS_REGISTER_RSP || base == ZYDIS_REGISTER_RBP;
}

u64 value(const Cpu& cpu, ZydisRegister reg) {
    const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    if (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15) return 0;
    return cpu.gpr[whole - ZYDIS_REGISTER_RAX];
}

u64 address(const Cpu& cpu, const Operand& op, unsigned address_bits) {
    u64 at = value(cpu, op.mem.base) + value(cpu, op.mem.index) * op.mem.scale + u64(op.mem.disp.value);
    at &= low_mask(address_bits);
    if (op.mem.segment == ZYDIS_REGISTER_FS) at += cpu.seg[unsigned(ir::Seg::FS)].base;
    if (op.mem.segment == ZYDIS_REGISTER_GS) at += cpu.seg[unsigned(ir::Seg::GS)].base;
    return at;
}

// The bytes at rip, at most 15.
unsigned fetch(Cpu& cpu, u8* bytes) {
    const auto view = cpu.cpl == 3 ? softmmu::View::User : softmmu::View::Supervisor;
    unsigned n = 0;
    while (n < 15) {
        const auto page = cpu.mmu->fetch(cpu.rip + n, view);
        if (!page.ok || !page.host) break;
        const unsigned here =
            unsigned(std::min<u64>(15 - n, softmmu::kPageSize - (cpu.rip + n) % softmmu::kPageSize));
        std::copy_n(page.host, here, bytes + n);
        n += here;
    }
    return n;
}

} // namespace

bool stack_reference(Cpu& cpu, u64 linear) {
    if (!cpu.code64()) return false;
    ZydisDecoder decoder;
    ZydisDecodedInstruction insn;
    Operand operands[ZYDIS_MAX_OPERAND_COUNT];
    u8 bytes[15];
    const unsigned n = fetch(cpu, bytes);
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, n, &insn, operands))) return false;
    bool stack = false;
    for (unsigned i = 0; i < insn.operand_count; ++i) {
        const Operand& op = operands[i];
        if (op.type != ZYDIS_OPERAND_TYPE_MEMORY ||
            (op.mem.type != ZYDIS_MEMOP_TYPE_MEM && op.mem.type != ZYDIS_MEMOP_TYPE_VSIB))
            continue;
        // An instruction may have both: POP to memory, for one.
        if (is_stack(op))
            stack = true;
        else if (linear - address(cpu, op, insn.address_width) < std::max(op.size / 8u, 1u))
            return false;
    }
    return stack;
}

} // namespace dragoman::x86
