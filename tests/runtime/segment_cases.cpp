#include "segment_cases.h"

#include "segment_fpu.h"

#include "frontend/x86/cpu.h"
#include "frontend/x86/instruction.h"
#include "frontend/x86/listing.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace dragoman::test {

namespace {

using N = NativeSegments;

enum Reg : unsigned { Eax, Ecx, Edx, Ebx, Esp, Ebp, Esi, Edi };
enum Sreg : unsigned { Es, Cs, Ss, Ds, Fs, Gs };

bool chance(std::mt19937_64& random, unsigned one_in) {
    return random() % one_in == 0;
}

u32 last_byte(const LdtEntry& e) {
    return e.in_pages ? e.limit << 12 | 0xfff : e.limit;
}

u32 random_limit(std::mt19937_64& random, bool& in_pages) {
    in_pages = chance(random, 4);
    if (in_pages) return chance(random, 2) ? 0xfffff : u32(random() % 20);
    switch (random() % 5) {
    case 0: return 0xffff;
    case 1: return u32(random() % 0x20000);
    case 2: return u32(N::part_bytes - 1 - random() % 64);
    case 3: return u32(N::part_bytes + N::far_part - 1 - random() % 0x40);
    default: return u32(0x800 + random() % 0x1800);
    }
}

u32 random_base(std::mt19937_64& random, u32 area) {
    switch (random() % 4) {
    case 0: return area;
    case 1: return area + u32(random() % 0x800);
    case 2: return area + u32(random() % 0x80) * 16;
    default: return chance(random, 2) ? area + N::far_part - u32(random() % 0x100) : area;
    }
}

LdtEntry random_entry(std::mt19937_64& random, bool code) {
    LdtEntry e;
    e.code = code;
    e.base = random_base(random, code ? N::code_area : N::data_area);
    e.limit = random_limit(random, e.in_pages);
    if (!code && e.in_pages && e.limit == 0xfffff && chance(random, 2)) e.base = 0; // flat
    e.expand_down = chance(random, 3);
    e.second = !chance(random, 4);
    e.big = chance(random, 2);
    e.available = chance(random, 2);
    return e;
}

// What random_bytes chooses from, beside all one-byte opcodes.
constexpr u8 kTwoByte[] = {0x00, 0x00, 0x00, 0x02, 0x02, 0x03, 0x03, 0x06, 0x08, 0x0b, 0x20, 0x22, 0x40,
                           0x45, 0x4c, 0x84, 0x85, 0x8f, 0x94, 0x9d, 0xa0, 0xa1, 0xa3, 0xa4, 0xa5, 0xa8,
                           0xa9, 0xab, 0xac, 0xad, 0xaf, 0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7,
                           0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf, 0xc0, 0xc1, 0xc7, 0xc8, 0xb2, 0xb4, 0xb5};
// Two-byte opcodes of MMX, SSE and the instructions that save their state.
constexpr u8 kVector[] = {0x10, 0x11, 0x28, 0x29, 0x58, 0x6f, 0x77, 0x7f, 0xae, 0xae, 0xae, 0xd6, 0xf7};
// Opcodes that are about segments, stacks and transfers: chosen more often.
constexpr u8 kSegmentOpcodes[] = {0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x60, 0x61, 0x62, 0x63,
                                  0x8c, 0x8e, 0x8e, 0x8e, 0x8f, 0x9a, 0x9c, 0x9d, 0xa4, 0xa5, 0xc2,
                                  0xc3, 0xc4, 0xc5, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf,
                                  0xe8, 0xea, 0xff, 0xff, 0xff, 0x50, 0x58, 0x68, 0x6a};

bool allowed(const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands) {
    static const auto table = [] {
        std::array<bool, ZYDIS_MNEMONIC_MAX_VALUE + 1> set{};
#define INSN(mnemonic, ...) set[ZYDIS_MNEMONIC_##mnemonic] = true;
#include "frontend/x86/instructions_integer.inc"
#include "frontend/x86/instructions_x87.inc"
#undef INSN
        for (const auto m : {ZYDIS_MNEMONIC_LAR,        ZYDIS_MNEMONIC_LSL,     ZYDIS_MNEMONIC_VERR,
                             ZYDIS_MNEMONIC_VERW,       ZYDIS_MNEMONIC_ARPL,    ZYDIS_MNEMONIC_LDS,
                             ZYDIS_MNEMONIC_LES,        ZYDIS_MNEMONIC_LSS,     ZYDIS_MNEMONIC_LFS,
                             ZYDIS_MNEMONIC_LGS,        ZYDIS_MNEMONIC_CLI,     ZYDIS_MNEMONIC_STI,
                             ZYDIS_MNEMONIC_PUSHF,      ZYDIS_MNEMONIC_PUSHFD,  ZYDIS_MNEMONIC_POPF,
                             ZYDIS_MNEMONIC_POPFD,      ZYDIS_MNEMONIC_IN,      ZYDIS_MNEMONIC_OUT,
                             ZYDIS_MNEMONIC_INSB,       ZYDIS_MNEMONIC_INSW,    ZYDIS_MNEMONIC_INSD,
                             ZYDIS_MNEMONIC_OUTSB,      ZYDIS_MNEMONIC_OUTSW,   ZYDIS_MNEMONIC_OUTSD,
                             ZYDIS_MNEMONIC_INT,        ZYDIS_MNEMONIC_INT3,    ZYDIS_MNEMONIC_INTO,
                             ZYDIS_MNEMONIC_IRET,       ZYDIS_MNEMONIC_IRETD,   ZYDIS_MNEMONIC_HLT,
                             ZYDIS_MNEMONIC_CLTS,       ZYDIS_MNEMONIC_INVD,    ZYDIS_MNEMONIC_FXSAVE,
                             ZYDIS_MNEMONIC_FXRSTOR,    ZYDIS_MNEMONIC_LDMXCSR, ZYDIS_MNEMONIC_STMXCSR,
                             ZYDIS_MNEMONIC_MOVUPS,     ZYDIS_MNEMONIC_MOVAPS,  ZYDIS_MNEMONIC_ADDPS,
                             ZYDIS_MNEMONIC_ADDSS,      ZYDIS_MNEMONIC_MOVQ,    ZYDIS_MNEMONIC_MASKMOVQ,
                             ZYDIS_MNEMONIC_MASKMOVDQU, ZYDIS_MNEMONIC_EMMS})
            set[m] = true;
        return set;
    }();
    if (!table[insn.mnemonic]) return false;
    const bool narrow = insn.operand_width == 16;
    switch (insn.mnemonic) { // a system call, or a result that the manual leaves undefined
    case ZYDIS_MNEMONIC_INT: return operands[0].imm.value.u != 0x80;
    case ZYDIS_MNEMONIC_BSWAP:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD: return !narrow;
    default: return true;
    }
}

} // namespace

SegmentGroup random_group(std::mt19937_64& random) {
    SegmentGroup g;
    for (unsigned i = 0; i < SegmentGroup::descriptors; ++i) {
        const bool code = i < SegmentGroup::code_segments, stack = !code && i < 16;
        LdtEntry e = random_entry(random, code || (!stack && chance(random, 3)));
        if (stack) e.second = true;
        if (i >= 16) e.present = !chance(random, 5);
        if (e.code && e.present)
            e.expand_down = false; // Linux lets nobody have conforming code that is present
        g.ldt.push_back(e);
    }
    g.data.resize(2 * N::part_bytes);
    // Words that name the LDT or nothing when a selector is read from them, wherever it begins.
    for (std::size_t i = 0; i < g.data.size(); i += 2) {
        g.data[i] = u8(random() | 4);
        g.data[i + 1] = u8(chance(random, 3) ? random() : 0);
    }
    return g;
}

struct SegmentCases::Maker {
    ZydisDecoder decoder[2]; // 16, 32 bits
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    std::mt19937_64* random = nullptr;
    const SegmentGroup* group = nullptr;
    SegmentCase c;
    bool big = false; // code

    u64 rnd(u64 below) { return (*random)() % below; }
    bool one_in(unsigned n) { return rnd(n) == 0; }

    // The descriptor that a selector names; null: none that could be loaded.
    const LdtEntry* entry(u16 selector) const {
        if (!(selector & 4) || (selector >> 3) >= group->ldt.size()) return nullptr;
        return &group->ldt[selector >> 3];
    }

    u32 random_value() {
        switch (rnd(5)) {
        case 0: return u32(rnd(4) - 2);
        case 1: return u32{1} << rnd(32);
        case 2: return u32(rnd(300));
        default: return u32((*random)());
        }
    }
    u16 random_selector() {
        switch (rnd(10)) {
        case 0: return u16(rnd(4));
        case 1: return u16(0x400 | (rnd(0xff00) & ~u64{4})); // beyond the GDT
        case 2: return u16(rnd(0x10000) | 4);
        default: return ldt_selector(unsigned(rnd(group->ldt.size())), unsigned(one_in(3) ? rnd(4) : 3));
        }
    }

    // An offset worth trying in this segment.
    u32 random_offset(const LdtEntry* e) {
        if (!e) return random_value();
        const u32 limit = last_byte(*e);
        switch (rnd(8)) {
        case 0: return limit - u32(rnd(12)) + 3;
        case 1: return u32(one_in(2) ? 0x10000 : 0) + 4 - u32(rnd(12));
        case 2: return N::data_area + N::far_part + u32(rnd(N::part_bytes)) - e->base;
        case 3: return N::data_area + N::part_bytes - u32(rnd(12)) - e->base;
        default: return N::data_area + 0x40 + u32(rnd(N::part_bytes - 0x80)) - e->base;
        }
    }
    // The same, to be used as an offset into code of the segment `selector`; never into the instruction
    // itself.
    u32 random_target(u16 selector) {
        const LdtEntry* e = entry(selector);
        const u32 base = e ? e->base : N::code_area, limit = e ? last_byte(*e) : 0xffff;
        for (;;) {
            u32 offset;
            switch (rnd(4)) {
            case 0: offset = limit - u32(rnd(3)) + 1; break;
            case 1: offset = N::code_area + N::far_part + 0x10 + u32(rnd(0x1000)) - base; break;
            default: offset = N::code_area + u32(rnd(N::part_bytes)) - base; break;
            }
            if (offset + base - c.code_linear + 16 > 40) return offset;
        }
    }

    void poke(u32 linear, u32 value, unsigned size) {
        for (unsigned i = 0; i < size; ++i, ++linear, value >>= 8) {
            const u32 near = linear - N::data_area, far = near - N::far_part;
            if (near < N::part_bytes)
                c.data[near] = u8(value);
            else if (far < N::part_bytes)
                c.data[N::part_bytes + far] = u8(value);
        }
    }

    std::vector<u8> random_bytes() {
        std::vector<u8> code;
        if (one_in(4)) code.push_back(0x66);
        if (one_in(5)) code.push_back(0x67);
        if (one_in(3)) code.push_back(std::array<u8, 6>{0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65}[rnd(6)]);
        if (one_in(8)) code.push_back(std::array<u8, 3>{0xf2, 0xf3, 0xf0}[rnd(3)]);
        switch (rnd(10)) {
        case 8: code.push_back(u8(0xd8 | rnd(8))); break;
        case 9: code.insert(code.end(), {0x0f, kVector[rnd(std::size(kVector))]}); break;
        case 0:
        case 1:
            code.push_back(0x0f);
            code.push_back(kTwoByte[rnd(std::size(kTwoByte))]);
            if (code.back() == 0) { // VERR, VERW
                code.push_back(u8(rnd(256)));
                code.back() = u8((code.back() & 0xc7) | (one_in(2) ? 0x20 : 0x28));
            }
            break;
        case 2:
        case 3:
        case 4: code.push_back(kSegmentOpcodes[rnd(std::size(kSegmentOpcodes))]); break;
        default: code.push_back(u8(rnd(256))); break;
        }
        while (code.size() < 16)
            code.push_back(rnd(6) ? u8((*random)()) : u8(one_in(2) ? 0 : 0xff));
        return code;
    }
    bool decode() {
        return ZYAN_SUCCESS(
            ZydisDecoderDecodeFull(&decoder[big], c.code.data(), c.code.size(), &insn, operands));
    }

    static bool is_sreg(const ZydisDecodedOperand& op) {
        return op.type == ZYDIS_OPERAND_TYPE_REGISTER && op.reg.value >= ZYDIS_REGISTER_ES &&
               op.reg.value <= ZYDIS_REGISTER_GS;
    }
    static std::optional<unsigned> number(ZydisRegister r) {
        if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_EDI) return unsigned(r - ZYDIS_REGISTER_EAX);
        if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_DI) return unsigned(r - ZYDIS_REGISTER_AX);
        return std::nullopt;
    }
    u64 offset_of(const ZydisDecodedOperand& op) const {
        u32 offset = u32(op.mem.disp.value);
        if (const auto n = number(op.mem.base)) offset += c.before.gpr[*n];
        if (const auto n = number(op.mem.index)) offset += c.before.gpr[*n] * op.mem.scale;
        return insn.address_width == 16 ? offset & 0xffff : offset;
    }
    const LdtEntry* segment_of(const ZydisDecodedOperand& op) const {
        const auto r = op.mem.segment;
        return r >= ZYDIS_REGISTER_ES && r <= ZYDIS_REGISTER_GS
                   ? entry(c.before.selector[r - ZYDIS_REGISTER_ES])
                   : nullptr;
    }

    void place_segments_and_registers() {
        SegmentState& s = c.before;
        for (u32& r : s.gpr)
            r = random_value();
        const unsigned cs = unsigned(rnd(SegmentGroup::code_segments));
        s.selector[Cs] = ldt_selector(cs);
        s.selector[Ss] =
            ldt_selector(SegmentGroup::code_segments + unsigned(rnd(SegmentGroup::stack_segments)));
        for (const unsigned i : {Es, Ds, Fs, Gs}) {
            s.selector[i] = u16(rnd(4));
            if (one_in(8)) continue;
            const u16 selector = ldt_selector(unsigned(rnd(group->ldt.size())), unsigned(rnd(4)));
            const LdtEntry& e = *entry(selector);
            if (e.present && (!e.code || e.second)) s.selector[i] = selector;
        }
        const LdtEntry& code = group->ldt[cs];
        big = code.big;
        // Where the instruction is: inside the limit and the area, sometimes at their end.
        const u32 limit = last_byte(code);
        u32 linear = N::code_area + 0x800 + u32(rnd(0x1000));
        if (one_in(6)) linear = code.base + limit - u32(rnd(8));
        if (one_in(8)) linear = N::code_area + N::far_part + u32(rnd(0x1000)) + 0x800;
        const auto inside = [](u32 at) {
            const u32 near = at - N::code_area, far = near - N::far_part;
            return near < N::part_bytes || far < N::part_bytes;
        };
        if (!inside(linear) || linear - code.base > limit)
            linear = std::max(code.base, u32(N::code_area)) + u32(rnd(0x100));
        if (!inside(linear) || linear - code.base > limit) linear = code.base;
        s.eip = linear - code.base;
        c.code_linear = linear;

        const LdtEntry* stack = entry(s.selector[Ss]);
        s.gpr[Esp] = random_offset(stack);
        if (one_in(2)) s.gpr[Esp] &= ~3u;
        if (!stack->big) s.gpr[Esp] = (s.gpr[Esp] & 0xffff) | u32((*random)()) << 16;
        s.eflags = 0x202 | (u32((*random)()) & ir::kAllFlags) | (one_in(4) ? x86::kDF : 0u) |
                   (one_in(4) ? u32(x86::kAC) : 0u) | (one_in(16) ? u32(x86::kNT) : 0u);
        random_fpu(*random, s.fx);
    }

    void place_memory(const ZydisDecodedOperand& op) {
        SegmentState& s = c.before;
        const auto& mem = op.mem;
        const LdtEntry* segment = segment_of(op);
        u32 offset = random_offset(segment);
        const bool bit_string = operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                                (insn.mnemonic == ZYDIS_MNEMONIC_BT || insn.mnemonic == ZYDIS_MNEMONIC_BTS ||
                                 insn.mnemonic == ZYDIS_MNEMONIC_BTR || insn.mnemonic == ZYDIS_MNEMONIC_BTC);
        if (bit_string && !one_in(4))
            if (const auto r = number(operands[1].reg.value); r && *r != Esp) s.gpr[*r] &= 0xff;
        const auto base = number(mem.base), index = number(mem.index);
        u32 sum = u32(mem.disp.value);
        if (index && *index != Esp) {
            s.gpr[*index] = u32(rnd(16));
            sum += s.gpr[*index] * mem.scale;
        }
        if (base && *base != Esp && (!index || *base != *index)) {
            s.gpr[*base] = offset - sum;
            if (insn.address_width == 16) s.gpr[*base] = (s.gpr[*base] & 0xffff) | u32((*random)()) << 16;
        } else if (!base && !index && insn.raw.disp.size) {
            std::memcpy(&c.code[insn.raw.disp.offset], &offset, insn.raw.disp.size / 8);
        }
        // What is there, if it is a selector or a target.
        const u32 at = (segment ? segment->base : 0) + (insn.address_width == 16 ? offset & 0xffff : offset);
        const unsigned size = insn.operand_width / 8;
        const u16 selector = random_selector();
        switch (insn.mnemonic) {
        case ZYDIS_MNEMONIC_MOV:
            if (is_sreg(operands[0])) poke(at, selector, 2);
            break;
        case ZYDIS_MNEMONIC_LAR:
        case ZYDIS_MNEMONIC_LSL:
        case ZYDIS_MNEMONIC_VERR:
        case ZYDIS_MNEMONIC_VERW: poke(at, selector, 2); break;
        case ZYDIS_MNEMONIC_LDS:
        case ZYDIS_MNEMONIC_LES:
        case ZYDIS_MNEMONIC_LSS:
        case ZYDIS_MNEMONIC_LFS:
        case ZYDIS_MNEMONIC_LGS: poke(at + size, selector, 2); break;
        case ZYDIS_MNEMONIC_JMP:
        case ZYDIS_MNEMONIC_CALL:
            if (insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
                poke(at, random_target(selector), size);
                poke(at + size, selector, 2);
            } else {
                poke(at, random_target(s.selector[Cs]), size);
            }
            break;
        default: break;
        }
    }

    void place_stack() {
        const SegmentState& s = c.before;
        const LdtEntry* stack = entry(s.selector[Ss]);
        const unsigned size = insn.operand_width / 8;
        const u32 top = stack->base + (stack->big ? s.gpr[Esp] : s.gpr[Esp] & 0xffff);
        const u16 selector = random_selector();
        const bool far = insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
                         insn.mnemonic == ZYDIS_MNEMONIC_IRET || insn.mnemonic == ZYDIS_MNEMONIC_IRETD;
        switch (insn.meta.category) {
        case ZYDIS_CATEGORY_RET:
            poke(top, random_target(far ? selector : s.selector[Cs]), size);
            if (far) poke(top + size, selector, 2);
            break;
        case ZYDIS_CATEGORY_POP:
            if (insn.operand_count && is_sreg(operands[0])) poke(top, selector, 2);
            break;
        default: break;
        }
    }

    // Immediates and registers that are selectors, targets, counts or addresses.
    bool place_operands() {
        SegmentState& s = c.before;
        if (insn.mnemonic == ZYDIS_MNEMONIC_LEAVE || insn.mnemonic == ZYDIS_MNEMONIC_ENTER)
            s.gpr[Ebp] = random_offset(entry(s.selector[Ss]));
        for (unsigned i = 0; i < 2; ++i) {
            const auto& raw = insn.raw.imm[i];
            if (!raw.size || !raw.is_relative) continue;
            i64 by = raw.size == 8 ? i64(rnd(256)) - 128
                                   : i64(random_target(s.selector[Cs])) - i64(s.eip) - insn.length;
            if (by < 0 && by >= -16) by = 0;
            std::memcpy(&c.code[raw.offset], &by, raw.size / 8);
        }
        if (operands[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
            const u16 selector = random_selector();
            const u32 offset = random_target(selector);
            const unsigned at = insn.raw.imm[0].offset, bytes = insn.operand_width / 8;
            std::memcpy(&c.code[at], &offset, bytes);
            std::memcpy(&c.code[at + bytes], &selector, 2);
        }
        const bool from_selector =
            insn.mnemonic == ZYDIS_MNEMONIC_LAR || insn.mnemonic == ZYDIS_MNEMONIC_LSL ||
            insn.mnemonic == ZYDIS_MNEMONIC_VERR || insn.mnemonic == ZYDIS_MNEMONIC_VERW ||
            (insn.mnemonic == ZYDIS_MNEMONIC_MOV && is_sreg(operands[0]));
        for (unsigned n = 0; n < insn.operand_count_visible; ++n) {
            const ZydisDecodedOperand& op = operands[n];
            if (op.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
            const auto r = number(op.reg.value);
            if (!r || *r == Esp) {
                if (from_selector && !is_sreg(op) && n == insn.operand_count_visible - 1u) return false;
                continue;
            }
            if (from_selector) s.gpr[*r] = (s.gpr[*r] & 0xffff0000) | random_selector();
            if (insn.meta.category == ZYDIS_CATEGORY_UNCOND_BR || insn.meta.category == ZYDIS_CATEGORY_CALL)
                s.gpr[*r] = random_target(s.selector[Cs]);
        }
        const bool branch_by_esp = insn.meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR &&
                                   operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                                   number(operands[0].reg.value) == Esp;
        if (branch_by_esp) return false;
        bool string = false;
        for (unsigned n = 0; n < insn.operand_count; ++n) {
            const ZydisDecodedOperand& op = operands[n];
            if (op.type != ZYDIS_OPERAND_TYPE_MEMORY || insn.mnemonic == ZYDIS_MNEMONIC_LEA) continue;
            const bool implied = op.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
            const auto base = number(op.mem.base);
            if (!implied) {
                place_memory(op);
            } else if (base && (*base == Esi || *base == Edi)) {
                s.gpr[*base] = random_offset(segment_of(op));
                string = true;
            } else if (base && *base == Ebx) {
                s.gpr[Ebx] = random_offset(segment_of(op)); // XLAT
            }
        }
        if (string) s.gpr[Ecx] = u32(rnd(6)) | (insn.address_width == 16 ? u32((*random)()) << 16 : 0);
        place_stack();
        return true;
    }

    bool make() {
        c = {};
        c.data = group->data;
        place_segments_and_registers();
        c.code = random_bytes();
        if (!decode() || !allowed(insn, operands)) return false;
        c.code.resize(insn.length);
        if (!place_operands()) return false;
        if (!decode() || insn.length != c.code.size()) return false;
        if (const x86::InstructionInfo* row = x86::find_instruction(insn))
            c.compare_flags = ~u32{row->undefined};
        c.mnemonic = ZydisMnemonicGetString(insn.mnemonic);
        for (unsigned n = 0; n < insn.operand_count; ++n) {
            const ZydisDecodedOperand& op = operands[n];
            const bool mmx = op.type == ZYDIS_OPERAND_TYPE_REGISTER && op.reg.value >= ZYDIS_REGISTER_MM0 &&
                             op.reg.value <= ZYDIS_REGISTER_MM7;
            if (mmx && !(op.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)) c.stores_mmx = true;
            if (op.type != ZYDIS_OPERAND_TYPE_MEMORY || insn.mnemonic == ZYDIS_MNEMONIC_LEA) continue;
            c.access_bytes = op.size / 8;
            // Its parts wrap one by one; across 4 GiB the manual lets all accesses do that (vol. 3, 5.3).
            const u64 room = insn.address_width == 16 ? 0x10000 : u64{1} << 32;
            if (c.access_bytes > (room == 0x10000 ? 8 : 1) && offset_of(op) + c.access_bytes > room)
                return false;
        }
        c.text = x86::list_guest(c.code, c.before.eip, big ? 32 : 16);
        return true;
    }
};

SegmentCases::SegmentCases() : maker_(std::make_unique<Maker>()) {
    ZydisDecoderInit(&maker_->decoder[0], ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&maker_->decoder[1], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
    for (ZydisDecoder& d : maker_->decoder)
        for (const auto mode : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET})
            ZydisDecoderEnableMode(&d, mode, ZYAN_FALSE);
}
SegmentCases::~SegmentCases() = default;

SegmentCase SegmentCases::next(std::mt19937_64& random, const SegmentGroup& group) {
    maker_->random = &random;
    maker_->group = &group;
    while (!maker_->make()) {
    }
    return maker_->c;
}

} // namespace dragoman::test
