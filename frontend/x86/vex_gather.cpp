// Gathers and scatters: VPGATHERDD, VPSCATTERDD and their kin (SDM vol. 2). Every element is an access of its
// own and may fault; those before it are then done and their mask is cleared, so that the instruction goes on
// where it was when it is run again.
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
    unsigned data, mask, index; // registers: vector, vector or opmask, vector
    unsigned scale;             // log2
    unsigned element_bytes, index_bytes, elements;
    unsigned address_bytes;
    ir::Seg seg;

    u64 pack() const {
        return data | mask << 5 | index << 10 | scale << 15 | element_bytes << 17 | index_bytes << 21 |
               elements << 25 | u64{address_bytes} << 32 | u64{u8(seg)} << 40;
    }
    static Gather unpack(u64 v) {
        return {.data = unsigned(v & 31),
                .mask = unsigned(v >> 5 & 31),
                .index = unsigned(v >> 10 & 31),
                .scale = unsigned(v >> 15 & 3),
                .element_bytes = unsigned(v >> 17 & 15),
                .index_bytes = unsigned(v >> 21 & 15),
                .elements = unsigned(v >> 25 & 31),
                .address_bytes = unsigned(v >> 32 & 15),
                .seg = ir::Seg(v >> 40 & 7)};
    }
    unsigned data_bytes() const { return elements * element_bytes; }
};

// The linear address of an element; raises what its segment forbids.
bool element_address(Cpu& cpu, const Gather& g, u64 base, unsigned n, ir::Access access, u64& linear) {
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
    if (segment_allows(seg, offset, offset + g.element_bytes - 1, access)) return true;
    raise(cpu, g.seg == ir::Seg::SS ? kSS : kGP, 0);
    return false;
}

// One element from memory into the register. False: faulted.
bool load_element(Cpu& cpu, const Gather& g, u64 base, unsigned n) {
    u64 linear, value;
    if (!element_address(cpu, g, base, n, ir::Access::Read, linear) ||
        !read_memory(cpu, linear, &value, g.element_bytes, softmmu::View(cpu.view)))
        return false;
    std::memcpy(cpu.vec[g.data] + n * g.element_bytes, &value, g.element_bytes);
    return true;
}
bool store_element(Cpu& cpu, const Gather& g, u64 base, unsigned n) {
    u64 linear;
    return element_address(cpu, g, base, n, ir::Access::Write, linear) &&
           write_memory(cpu, linear, cpu.vec[g.data] + n * g.element_bytes, g.element_bytes,
                        softmmu::View(cpu.view));
}

void clear_behind(u8 (&vector)[64], unsigned bytes) {
    std::memset(vector + bytes, 0, sizeof vector - bytes);
}

// With a mask of signs in a vector register (VEX).
u64 gather(ir::Context& ctx, u64 base, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const Gather g = Gather::unpack(imm);
    auto &data = cpu.vec[g.data], &mask = cpu.vec[g.mask];
    // Processors spread the signs over the whole mask before, and clear what lies behind the vector with the
    // first element.
    const unsigned length = g.elements * std::max(g.element_bytes, g.index_bytes);
    for (unsigned at = 0; at < length; at += g.element_bytes)
        std::memset(mask + at, mask[at + g.element_bytes - 1] & 0x80 ? 0xff : 0, g.element_bytes);
    clear_behind(mask, length);
    for (unsigned n = 0; n < g.elements; ++n) {
        const unsigned at = n * g.element_bytes;
        if (!mask[at]) continue;
        if (!load_element(cpu, g, base, n)) return 0;
        clear_behind(data, length);
        std::memset(mask + at, 0, g.element_bytes);
    }
    clear_behind(data, g.data_bytes()); // half a vector where the indices are wider
    clear_behind(mask, 0);
    return 0;
}

// With a mask in an opmask register (EVEX).
template <bool stores> u64 by_opmask(ir::Context& ctx, u64 base, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const Gather g = Gather::unpack(imm);
    u64& mask = cpu.opmask[g.mask];
    const unsigned length = g.elements * std::max(g.element_bytes, g.index_bytes);
    for (unsigned n = 0; n < g.elements; ++n) {
        if (!(mask >> n & 1)) continue;
        if (!(stores ? store_element : load_element)(cpu, g, base, n)) return 0;
        if (!stores) clear_behind(cpu.vec[g.data], length);
        mask &= ~(u64{1} << n);
    }
    mask = 0;
    if (!stores) clear_behind(cpu.vec[g.data], g.data_bytes());
    return 0;
}

constexpr ir::Helper gather_info{"gather", gather},
    gather_by_opmask_info{"gather_by_opmask", by_opmask<false>}, scatter_info{"scatter", by_opmask<true>};

bool has_wide_indices(ZydisMnemonic m) {
    switch (m) {
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPSCATTERQD:
    case ZYDIS_MNEMONIC_VPSCATTERQQ:
    case ZYDIS_MNEMONIC_VSCATTERQPS:
    case ZYDIS_MNEMONIC_VSCATTERQPD: return true;
    default: return false;
    }
}

} // namespace

bool VGATHER(Translation& t, const Instruction& insn) {
    if (!has_vex_features(t.model, insn) || insn.address_size() == 2) return t.raise(kUD);
    const bool evex = insn.zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
    // VEX: data, memory, mask. EVEX: data, mask, memory or, to scatter, memory, mask, data.
    const bool stores = is_memory(insn, 0);
    const unsigned data = stores ? 2 : 0, memory = stores ? 0 : evex ? 2 : 1, mask = evex ? 1 : 2;
    const unsigned element_bytes = (evex ? insn.zydis.raw.evex.W : insn.zydis.raw.vex.W) ? 8 : 4,
                   index_bytes = has_wide_indices(insn.mnemonic()) ? 8 : 4;
    const ZydisDecodedOperandMem& mem = insn.operands[memory].mem;
    const unsigned index = unsigned(ZydisRegisterGetId(mem.index));
    Instruction without = insn; // the address without its vector part
    without.operands[memory].mem.index = ZYDIS_REGISTER_NONE;
    ir::Address address = Translation::effective(without, memory);
    address.size = 8; // cut when the index is added
    const Ref base = t.ir.temp();
    t.ir.lea(8, base, address);
    const Gather g{.data = vector_register(insn, data).index(),
                   .mask = vector_register(insn, mask).index(),
                   .index = index,
                   .scale = unsigned(std::countr_zero(unsigned(mem.scale ? mem.scale : 1))),
                   .element_bytes = element_bytes,
                   .index_bytes = index_bytes,
                   .elements = insn.zydis.avx.vector_length / 8u / std::max(element_bytes, index_bytes),
                   .address_bytes = insn.address_size(),
                   .seg = Translation::segment(insn, memory)};
    t.ir.call(stores ? scatter_info
              : evex ? gather_by_opmask_info
                     : gather_info,
              {}, base, {}, i64(g.pack()));
    return true;
}

} // namespace dragoman::x86
