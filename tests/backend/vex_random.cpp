#include "vex_random.h"

#include <asmjit/x86.h>

namespace dragoman::test {

using namespace ir;

u8 host_vector_bytes() {
    return __builtin_cpu_supports("avx512bw") ? 64 : __builtin_cpu_supports("avx2") ? 32 : 16;
}

bool host_has(const VexOp& op) {
    namespace x86 = asmjit::x86;
    if (host_vector_bytes() < (op.evex || op.names_opmask() ? 64 : 32)) return false;
    asmjit::Operand operands[4];
    unsigned count = 0;
    for (const VexOperand kind : op.operands) {
        switch (kind) {
        case VexOperand::None: continue;
        case VexOperand::Vector: operands[count] = op.zmm ? x86::Vec(x86::zmm1) : x86::Vec(x86::xmm1); break;
        case VexOperand::Half: operands[count] = op.zmm ? x86::Vec(x86::ymm1) : x86::Vec(x86::xmm1); break;
        case VexOperand::Xmm: operands[count] = x86::xmm1; break;
        case VexOperand::Opmask: operands[count] = x86::k1; break;
        case VexOperand::Memory: operands[count] = x86::ptr(x86::rax); break;
        case VexOperand::Imm: operands[count] = asmjit::imm(0); break;
        default: operands[count] = x86::eax;
        }
        ++count;
    }
    const auto id =
        asmjit::InstAPI::stringToInstId(asmjit::Arch::kX64, op.mnemonic.data(), op.mnemonic.size());
    asmjit::CpuFeatures needed;
    asmjit::InstAPI::queryFeatures(asmjit::Arch::kX64, asmjit::BaseInst(id), operands, count, &needed);
    return asmjit::CpuInfo::host().features().hasAll(needed);
}

u8 random_length(const VexOp& op, std::mt19937_64& random) {
    for (;;)
        if (const u8 length = u8(16u << random() % 3); op.exists(length)) return length;
}

void decorate(Inst& i, std::mt19937_64& random) {
    const VexOp& op = vex_op(i.vec);
    if (op.element && random() % 3) {
        i.mask = Ref::opmask(1 + random() % 7);
        i.zeroing = i.d.is_xmm() && random() % 2;
    }
    i.broadcast = op.broadcast && i.from_memory && random() % 2;
    const bool only_whole = op.xmm && op.zmm && i.size != 64; // L'L is the rounding mode
    if (i.from_memory || only_whole || random() % 2) return;
    if (op.rounding == VexRounding::Suppress) i.rounding = Rounding::Suppress;
    const bool exact = op.row.find("si2sd") != op.row.npos && i.size2 == 4;
    if (op.rounding == VexRounding::Any && !exact)
        i.rounding = Rounding(u8(Rounding::Nearest) + random() % 4);
}

} // namespace dragoman::test
