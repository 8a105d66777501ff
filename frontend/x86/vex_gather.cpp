// Gathers: VPGATHERDD and its kin (SDM vol. 2). Every element is an access of its own and may fault; those
// before it are then loaded and their mask is cleared, so that the instruction goes on where it was when it
// is run again.
#include "frontend/x86/segment_check.h"
#include "frontend/x86/system_helpers.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/vector_common.h"
#include "frontend/x86/vex.h"

#include "base/bits.h"

#include <bit>
#include <cstring>

namespace dragoman::x86 {

using ir::Ref;

namespace {

struct Gather {
    unsigned d, mask, index; // vector registers
    unsigned scale;          // log2
    unsigned element_bytes, index_bytes, elements;
    unsigned address_bytes;
    ir::Seg seg;

    u64 pack() const {
        return d | mask << 4 | index << 8 | scale << 12 | element_bytes << 16 | index_bytes << 20 |
               elements << 24 | u64{address_bytes} << 32 | u64{u8(seg)} << 40;
    }
    static Gather unpack(u64 v) {
        return {.d = unsigned(v & 15),
                .mask = unsigned(v >> 4 & 15),
                .index = unsigned(v >> 8 & 15),
                .scale = unsigned(v >> 12 & 3),
                .element_bytes = unsigned(v >> 16 & 15),
                .index_bytes = unsigned(v >> 20 & 15),
                .elements = unsigned(v >> 24 & 15),
                .address_bytes = unsigned(v >> 32 & 15),
                .seg = ir::Seg(v >> 40 & 7)};
    }
};

// The linear address of an element; raises what its segment forbids.
bool element_address(Cpu& cpu, const Gather& g, u64 base, unsigned n, u64& linear) {
    u64 index = 0;
    std::memcpy(&index, cpu.vec[g.index] + n * g.index_bytes, g.index_bytes);
    const u64 offset =
        (base + (u64(sign_extend(index, g.index_bytes)) << g.scale)) & size_mask(g.address_bytes);
    const ir::Segment& seg = cpu.seg[u8(g.seg)];
    if (cpu.code64()) {
        linear = offset + (g.seg >= ir::Seg::FS ? seg.base : 0);
        return true;
    }
    linear = u32(offset + seg.base);
    if (segment_allows(seg, offset, offset + g.element_bytes - 1, ir::Access::Read)) return true;
    raise(cpu, g.seg == ir::Seg::SS ? kSS : kGP, 0);
    return false;
}

u64 gather(ir::Context& ctx, u64 base, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const Gather g = Gather::unpack(imm);
    u8 *const d = cpu.vec[g.d], *const mask = cpu.vec[g.mask];
    // Processors spread the signs over the whole mask before, and clear what lies behind the vector with the
    // first element.
    const unsigned length = g.elements * std::max(g.element_bytes, g.index_bytes);
    for (unsigned at = 0; at < length; at += g.element_bytes)
        std::memset(mask + at, mask[at + g.element_bytes - 1] & 0x80 ? 0xff : 0, g.element_bytes);
    std::memset(mask + length, 0, sizeof cpu.vec[0] - length);
    for (unsigned n = 0; n < g.elements; ++n) {
        const unsigned at = n * g.element_bytes;
        u64 linear, value;
        if (!mask[at]) continue;
        if (!element_address(cpu, g, base, n, linear) ||
            !read_memory(cpu, linear, &value, g.element_bytes, softmmu::View(cpu.view)))
            return 0;
        std::memcpy(d + at, &value, g.element_bytes);
        std::memset(d + length, 0, sizeof cpu.vec[0] - length);
        std::memset(mask + at, 0, g.element_bytes);
    }
    const unsigned bytes = g.elements * g.element_bytes; // half a vector where the indices are wider
    std::memset(d + bytes, 0, sizeof cpu.vec[0] - bytes);
    std::memset(mask, 0, sizeof cpu.vec[0]);
    return 0;
}
constexpr ir::Helper gather_info{"gather", gather};

} // namespace

bool VGATHER(Translation& t, const Instruction& insn) {
    if (!has_vex_features(t.model, insn) || insn.address_size() == 2) return t.raise(kUD);
    const ZydisMnemonic m = insn.mnemonic();
    const bool wide_index = m == ZYDIS_MNEMONIC_VPGATHERQD || m == ZYDIS_MNEMONIC_VPGATHERQQ ||
                            m == ZYDIS_MNEMONIC_VGATHERQPS || m == ZYDIS_MNEMONIC_VGATHERQPD;
    const unsigned element_bytes = insn.zydis.raw.vex.W ? 8 : 4, index_bytes = wide_index ? 8 : 4;
    const ZydisDecodedOperandMem& mem = insn.operands[1].mem;
    const unsigned index = unsigned(ZydisRegisterGetId(mem.index));
    Instruction without = insn; // the address without its vector part
    without.operands[1].mem.index = ZYDIS_REGISTER_NONE;
    ir::Address address = Translation::effective(without, 1);
    address.size = 8; // cut when the index is added
    const Ref base = t.ir.temp();
    t.ir.lea(8, base, address);
    const Gather g{.d = vector_register(insn, 0).index(),
                   .mask = vector_register(insn, 2).index(),
                   .index = index,
                   .scale = unsigned(std::countr_zero(unsigned(mem.scale ? mem.scale : 1))),
                   .element_bytes = element_bytes,
                   .index_bytes = index_bytes,
                   .elements = insn.zydis.avx.vector_length / 8u / std::max(element_bytes, index_bytes),
                   .address_bytes = insn.address_size(),
                   .seg = Translation::segment(insn, 1)};
    t.ir.call(gather_info, {}, base, {}, i64(g.pack()));
    return true;
}

} // namespace dragoman::x86
