// MMX and SSE data transfer (SDM vol. 1, 5.4.1, 5.5.1.1, 5.6.1.1).
#include "frontend/x86/guest_memory.h"
#include "frontend/x86/system_helpers.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/translate_common.h"
#include "frontend/x86/vector_common.h"
#include "frontend/x86/x87_ops.h"

namespace dragoman::x86 {

using ir::Op;
using ir::Ref;

namespace {

void vector_load(Translation& t, const Instruction& insn, unsigned size) {
    const ir::Address a = t.address(insn, 1, size, ir::Access::Read);
    t.ir.add({.op = Op::VLoad, .size = u8(size), .d = vector_register(insn, 0), .mem = a});
}

void vector_store(Translation& t, const Instruction& insn, unsigned size, bool aligned = false) {
    const ir::Address a = t.address(insn, 0, size, ir::Access::Write);
    if (aligned) t.ir.add({.op = Op::CheckAlign, .mem = a, .imm = 15});
    t.ir.add({.op = Op::VStore, .size = u8(size), .a = vector_register(insn, 1), .mem = a});
}

// imm: the registers of the data and of the mask, and whether they are MMX registers.
u64 masked_store(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const bool mmx = imm >> 8 & 1;
    const unsigned size = mmx ? 8 : 16;
    const auto source = [&](unsigned n) { return mmx ? cpu.fpu.st[(n - cpu.fpu.top) & 7] : cpu.vec[n]; };
    const u8 *data = source(imm & 15), *mask = source(imm >> 4 & 15);
    const auto view = softmmu::View(cpu.view);
    const auto chosen = [&](unsigned n) { return n < size && (mask[n] & 0x80); };
    // The address must be one even if no byte is stored; all are checked before the first is stored.
    if (!canonical(cpu.mmu->paging(), linear, size)) return raise_not_canonical(cpu, linear), 0;
    for (const bool store : {false, true})
        for (unsigned first = 0; first < size; ++first) {
            if (!chosen(first)) continue;
            unsigned end = first;
            while (chosen(end))
                ++end;
            const bool ok = store ? write_memory(cpu, linear + first, data + first, end - first, view)
                                  : check_write(cpu, linear + first, end - first, view);
            if (!ok) return 0;
            first = end;
        }
    if (mmx) enter_mmx(cpu.fpu);
    return 0;
}
constexpr ir::Helper masked_store_info{"masked_store", masked_store};

} // namespace

// Moves of 16 bytes. Those to memory that are not in the vector table are the aligned non-temporal ones.
bool MOV_VECTOR(Translation& t, const Instruction& insn) {
    if (!begin_vector(t, insn)) return false;
    const int row = vector_row(insn);
    const bool aligned = row < 0 || ir::vec_op(u16(row)).aligned;
    if (is_memory(insn, 0))
        vector_store(t, insn, 16, aligned);
    else if (is_memory(insn, 1) && !aligned)
        vector_load(t, insn, 16);
    else
        emit_vector(t, insn, 4);
    return true;
}

// MOVSS, MOVSD: a load clears the rest of the register.
bool MOV_SCALAR(Translation& t, const Instruction& insn) {
    if (!begin_vector(t, insn)) return false;
    const unsigned size = insn.mnemonic() == ZYDIS_MNEMONIC_MOVSS ? 4 : 8;
    if (is_memory(insn, 0))
        vector_store(t, insn, size);
    else if (is_memory(insn, 1))
        vector_load(t, insn, size);
    else
        emit_vector(t, insn, 4);
    return true;
}

// MOVLPS, MOVHPS and their PD twins: half of a register and memory.
bool MOV_HALF(Translation& t, const Instruction& insn) {
    if (!begin_vector(t, insn)) return false;
    if (!is_memory(insn, 0)) {
        emit_vector(t, insn, 4);
        return true;
    }
    const ZydisMnemonic m = insn.mnemonic();
    if (m == ZYDIS_MNEMONIC_MOVLPS || m == ZYDIS_MNEMONIC_MOVLPD) {
        vector_store(t, insn, 8);
        return true;
    }
    static const auto pextrq = u16(ir::find_vec_op("pextrq"));
    const Ref high = t.ir.temp();
    emit_vector(t, pextrq, {.size = 8, .d = high, .a = vector_register(insn, 1), .imm = 1});
    t.write(insn, 0, 8, high);
    return true;
}

// MOVD, MOVQ, MOVNTQ
bool MOVD(Translation& t, const Instruction& insn) {
    if (!begin_vector(t, insn)) return false;
    const unsigned size = insn.mnemonic() == ZYDIS_MNEMONIC_MOVD ? 4 : 8;
    if (is_memory(insn, 0))
        vector_store(t, insn, size);
    else if (is_memory(insn, 1))
        vector_load(t, insn, size);
    else
        emit_vector(t, insn, size);
    return true;
}

bool MASKMOV(Translation& t, const Instruction& insn) {
    if (!begin_vector(t, insn)) return false;
    const Ref data = vector_register(insn, 0), mask = vector_register(insn, 1);
    const unsigned size = data.is_mm() ? 8 : 16;
    const Ref linear = t.linear(t.address(insn, 2, size, ir::Access::Write, 0, 8));
    t.ir.call(masked_store_info, {}, linear, {},
              i64(data.index() | mask.index() << 4 | unsigned{data.is_mm()} << 8));
    return true;
}

} // namespace dragoman::x86
