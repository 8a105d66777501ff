// Random instructions of a group of VectorGroup, with the state they start from.
#include "host_processor.h"
#include "vector_differential.h"
#include "vector_operands.h"

#include "frontend/x86/instruction.h"
#include "frontend/x86/listing.h"
#include "ir/vex.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace dragoman::test {

using namespace x86;

namespace {

using Random = std::mt19937_64;

constexpr u32 kMisalignedMask = 1 << 17; // MXCSR.MM, of AMD's processors alone

bool moves_state(ZydisMnemonic m) {
    switch (m) {
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64: return true;
    default: return false;
    }
}

// Without those of opmask registers.
bool has_vex_form(ZydisMnemonic m) {
    const std::string_view name = ZydisMnemonicGetString(m);
    for (u16 row = 0; row < ir::vex_op_count(); ++row)
        if (const ir::VexOp& op = ir::vex_op(row); op.mnemonic == name && !op.evex && !op.names_opmask())
            return true;
    return name.find("gather") != name.npos;
}

const std::array<bool, ZYDIS_MNEMONIC_MAX_VALUE + 1>& group_table(VectorGroup group) {
    static const auto vectors = [] {
        std::array<bool, ZYDIS_MNEMONIC_MAX_VALUE + 1> set{};
#define INSN(mnemonic, ...) set[ZYDIS_MNEMONIC_##mnemonic] = true;
#include "frontend/x86/instructions_vector.inc"
#undef INSN
        for (unsigned m = 0; m < set.size(); ++m)
            if (moves_state(ZydisMnemonic(m))) set[m] = false;
        for (const auto m : {ZYDIS_MNEMONIC_XSAVES, ZYDIS_MNEMONIC_XSAVES64, ZYDIS_MNEMONIC_XRSTORS,
                             ZYDIS_MNEMONIC_XRSTORS64})
            set[m] = false; // only for ring 0
        return set;
    }();
    static const auto x87 = [] {
        std::array<bool, ZYDIS_MNEMONIC_MAX_VALUE + 1> set{};
#define INSN(mnemonic, ...) set[ZYDIS_MNEMONIC_##mnemonic] = true;
#include "frontend/x86/instructions_x87.inc"
#undef INSN
        return set;
    }();
    static const auto state = [] {
        std::array<bool, ZYDIS_MNEMONIC_MAX_VALUE + 1> set{};
        for (unsigned m = 0; m < set.size(); ++m)
            set[m] = moves_state(ZydisMnemonic(m));
        return set;
    }();
    static const auto all = [] {
        std::array<bool, ZYDIS_MNEMONIC_MAX_VALUE + 1> set{};
#define INSN(mnemonic, ...) set[ZYDIS_MNEMONIC_##mnemonic] = true;
#include "frontend/x86/instructions_vex.inc"
#undef INSN
        return set;
    }();
    static const auto evex = [] {
        std::array<bool, ZYDIS_MNEMONIC_MAX_VALUE + 1> set{};
        for (u16 row = 0; row < ir::vex_op_count(); ++row) {
            const ir::VexOp& op = ir::vex_op(row);
            if (!op.evex && !op.names_opmask()) continue;
            for (unsigned m = 0; m < set.size(); ++m)
                if (op.mnemonic == ZydisMnemonicGetString(ZydisMnemonic(m))) set[m] = true;
        }
        for (unsigned m = 0; m < set.size(); ++m) {
            const std::string_view name = ZydisMnemonicGetString(ZydisMnemonic(m));
            if (all[m] && (name.find("gather") != name.npos || name.find("scatter") != name.npos))
                set[m] = true;
        }
        return set;
    }();
    static const auto vex = [] {
        auto set = all;
        for (unsigned m = 0; m < set.size(); ++m)
            if (evex[m] && !has_vex_form(ZydisMnemonic(m))) set[m] = false;
        return set;
    }();
    switch (group) {
    case VectorGroup::X87: return x87;
    case VectorGroup::State: return state;
    case VectorGroup::Vex: return vex;
    case VectorGroup::Evex: return evex;
    default: return vectors;
    }
}

class VectorMaker {
  public:
    VectorMaker(Random& random, VectorGroup group) : random_(random), group_(group) {
        ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    }

    bool make(VectorCase& c, const std::function<bool(ZydisMnemonic)>& wanted) {
        std::vector<u8> code = group_ == VectorGroup::X87     ? x87_bytes()
                               : group_ == VectorGroup::State ? state_bytes()
                               : group_ == VectorGroup::Vex   ? vex_bytes()
                               : group_ == VectorGroup::Evex  ? (rnd(6) ? evex_bytes() : opmask_bytes())
                                                              : vector_bytes();
        if (!decode(code)) return false;
        if (group_ == VectorGroup::Vex && insn_.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) return false;
        if (group_ == VectorGroup::Evex && insn_.encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX &&
            insn_.meta.category != ZYDIS_CATEGORY_KMASK)
            return false;
        code.resize(insn_.length);
        if (!group_table(group_)[insn_.mnemonic] || (wanted && !wanted(insn_.mnemonic))) return false;
        if (group_ == VectorGroup::Vector && insn_.meta.category == ZYDIS_CATEGORY_STRINGOP) return false;
        if (insn_.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)) return false;
        if (!memory_in_place()) return false;
        c = {};
        c.plain.code = code;
        place(c);
        c.plain.text = list_guest(code, c.plain.before.rip, 64);
        return true;
    }

  private:
    u64 rnd(u64 n) { return random_() % n; }
    bool decode(const std::vector<u8>& code) {
        return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, code.data(), code.size(), &insn_, operands_));
    }
    bool memory_in_place() const {
        const i64 reach = group_ == VectorGroup::Evex ? 0x400 : 0;
        return std::all_of(operands_, operands_ + insn_.operand_count, [=](const ZydisDecodedOperand& op) {
            if (op.type != ZYDIS_OPERAND_TYPE_MEMORY) return true;
            const ZydisRegister base =
                ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op.mem.base);
            return (base == ZYDIS_REGISTER_RDI || base == ZYDIS_REGISTER_R15) && op.mem.disp.value <= reach &&
                   op.mem.disp.value >= -reach &&
                   (op.mem.index == ZYDIS_REGISTER_NONE || op.mem.type == ZYDIS_MEMOP_TYPE_VSIB);
        });
    }
    // A ModRM byte whose memory operand is [RDI] or, with REX.B, [R15].
    u8 modrm() { return u8(rnd(3) ? 0xc0 | random_() : (random_() & 0x38) | 7); }

    std::vector<u8> vector_bytes() {
        std::vector<u8> code;
        switch (rnd(8)) {
        case 0:
        case 1:
        case 2: code.push_back(0x66); break;
        case 3: code.push_back(0xf2); break;
        case 4: code.push_back(0xf3); break;
        default: break;
        }
        if (rnd(2)) code.push_back(u8(0x40 | rnd(16)));
        code.push_back(0x0f);
        const u64 map = rnd(4);
        if (map == 2) code.push_back(0x38);
        if (map == 3) code.push_back(0x3a);
        code.push_back(u8(random_()));
        code.push_back(modrm());
        code.push_back(u8(rnd(2) ? random_() : rnd(20)));
        while (code.size() < 15)
            code.push_back(u8(random_()));
        return code;
    }
    // Map, VEX.pp and opcode of the VEX instructions in the table.
    struct VexOpcode {
        u8 map, pp, opcode;
    };
    const std::vector<VexOpcode>& vex_opcodes() {
        static const std::vector<VexOpcode> all = [this] {
            std::vector<VexOpcode> found;
            for (unsigned n = 0; n < 3 * 4 * 256; ++n) {
                const VexOpcode v{u8(1 + n / 1024), u8(n / 256 % 4), u8(n)};
                // VEX.W, VEX.L, VEX.vvvv and the kinds of ModRM bytes
                for (unsigned rest = 0; rest < 8 * 17; ++rest) {
                    const u8 w_vvvv_l = u8((rest & 1) << 7 | (rest & 2 ? 0x78 : 0x30) | (rest & 4));
                    const unsigned kind = rest / 8;
                    const u8 modrm = u8(kind == 16 ? 0x04 : (kind & 7) << 3 | (kind & 8 ? 0xc7 : 0x07));
                    const std::vector<u8> code = {
                        0xc4, u8(0xe0 | v.map), u8(w_vvvv_l | v.pp), v.opcode, modrm, 0x0f, 0, 0, 0, 0};
                    if (!decode(code) || !group_table(VectorGroup::Vex)[insn_.mnemonic]) continue;
                    found.push_back(v);
                    break;
                }
            }
            return found;
        }();
        return all;
    }
    // Half of the instructions have no second source: VEX.vvvv is then 1111. A gather has a SIB byte with RDI
    // or R15.
    std::vector<u8> vex_bytes() {
        const VexOpcode v = vex_opcodes()[rnd(vex_opcodes().size())];
        const u8 low = u8((rnd(2) ? 0x78 : random_() & 0x78) | (random_() & 4) | v.pp);
        std::vector<u8> code;
        if (v.map != 1 || rnd(2))
            code = {0xc4, u8((random_() & 0xe0) | v.map), u8((rnd(2) ? 0 : 0x80) | low)};
        else
            code = {0xc5, u8((random_() & 0x80) | low)};
        code.push_back(v.opcode);
        const bool gather = v.map == 2 && v.opcode >= 0x90 && v.opcode <= 0x93;
        code.push_back(gather ? u8((random_() & 0x38) | 4) : modrm());
        if (gather) code.push_back(u8((random_() & 0xf8) | 7));
        while (code.size() < 15)
            code.push_back(u8(random_()));
        return code;
    }
    struct EvexOpcode {
        u8 map, pp, opcode, w, length;
    };
    const std::vector<EvexOpcode>& evex_opcodes() {
        static const std::vector<EvexOpcode> all = [this] {
            std::vector<EvexOpcode> found;
            for (unsigned n = 0; n < 3 * 4 * 256 * 2 * 3; ++n) {
                const EvexOpcode e{u8(1 + n / 6 / 1024), u8(n / 6 / 256 % 4), u8(n / 6), u8(n & 1),
                                   u8(n / 2 % 3)};
                for (unsigned kind = 0; kind < 18 * 2; ++kind) { // of ModRM bytes, and EVEX.vvvv
                    const unsigned rm = kind / 2;
                    const u8 modrm = u8(rm >= 16 ? 0x04 : (rm & 7) << 3 | (rm & 8 ? 0xc7 : 0x07));
                    const std::vector<u8> code = {0x62,
                                                  u8(0xf0 | e.map),
                                                  u8(e.w << 7 | (kind & 1 ? 0x78 : 0x30) | 4 | e.pp),
                                                  u8(e.length << 5 | 8 | (rm >= 16)),
                                                  e.opcode,
                                                  modrm,
                                                  0x0f,
                                                  0,
                                                  0,
                                                  0,
                                                  0};
                    if (!decode(code) || !group_table(VectorGroup::Evex)[insn_.mnemonic]) continue;
                    found.push_back(e);
                    break;
                }
            }
            return found;
        }();
        return all;
    }
    std::vector<u8> evex_bytes() {
        const EvexOpcode e = evex_opcodes()[rnd(evex_opcodes().size())];
        const bool gather =
            e.map == 2 && ((e.opcode >= 0x90 && e.opcode <= 0x93) || (e.opcode >= 0xa0 && e.opcode <= 0xa3));
        const u64 r = random_();
        const u8 mask = u8(rnd(3) ? 0 : 0x80) | u8(rnd(4) ? r & 7 : 0);
        const u8 broadcast_or_rounding = rnd(4) == 0 ? 0x10 : 0;
        const u8 length = broadcast_or_rounding && rnd(2) ? u8(r >> 8 & 0x60) : u8(e.length << 5);
        const bool no_vvvv = rnd(2);
        std::vector<u8> code = {
            0x62, u8((r >> 16 & 0xf0) | e.map), u8(e.w << 7 | (no_vvvv ? 0x78 : r >> 24 & 0x78) | 4 | e.pp),
            u8(mask | length | broadcast_or_rounding | (no_vvvv ? 8 : r >> 32 & 8)), e.opcode};
        if (gather) {
            code.push_back(u8((r >> 40 & 0x38) | 4));
            code.push_back(u8((r >> 48 & 0xf8) | 7));
        } else if (rnd(8) == 0) {
            code.insert(code.end(), {u8(0x47 | (r >> 40 & 0x38)), u8(r >> 48)}); // with disp8
        } else {
            code.push_back(modrm());
        }
        while (code.size() < 15)
            code.push_back(u8(random_()));
        return code;
    }
    std::vector<u8> opmask_bytes() {
        const u64 r = random_();
        const u8 low = u8((rnd(2) ? 0x78 : r & 0x78) | (r & 7)),
                 opcode = u8(rnd(2) ? 0x41 + rnd(11) : 0x90 + rnd(10));
        std::vector<u8> code;
        if (rnd(4) == 0) // KSHIFT
            code = {0xc4,
                    u8((r >> 8 & 0xe0) | 3),
                    u8((r & 0x80) | 0x79),
                    u8(0x30 + rnd(4)),
                    u8(0xc0 | r >> 16),
                    u8(rnd(70))};
        else if (rnd(2))
            code = {0xc4, u8((r >> 8 & 0xe0) | 1), u8((r & 0x80) | low), opcode, modrm()};
        else
            code = {0xc5, u8((r >> 8 & 0x80) | low), opcode, modrm()};
        while (code.size() < 15)
            code.push_back(u8(random_()));
        return code;
    }
    std::vector<u8> x87_bytes() {
        std::vector<u8> code;
        if (rnd(12) == 0) return {0x9b};
        if (rnd(12) == 0) code.push_back(0x66);
        if (rnd(12) == 0) code.push_back(u8(0x40 | rnd(16)));
        code.push_back(u8(0xd8 | rnd(8)));
        code.push_back(modrm());
        return code;
    }

    std::vector<u8> state_bytes() {
        std::vector<u8> code;
        if (rnd(2)) code.push_back(0x48);
        static constexpr u8 forms[][2] = {
            {0xae, 0x07}, {0xae, 0x0f}, {0xae, 0x27},  // FXSAVE, FXRSTOR, XSAVE [RDI]
            {0xae, 0x2f}, {0xae, 0x37}, {0xc7, 0x27}}; // XRSTOR, XSAVEOPT, XSAVEC [RDI]
        const auto& form = forms[rnd(std::size(forms))];
        code.insert(code.end(), {0x0f, form[0], form[1]});
        return code;
    }

    void fill_state(FxArea& fx) {
        for (auto& x : fx.xmm)
            fill_vector(random_, x);
        for (auto& x : fx.st)
            fill_x87(random_, x);
        fx.mxcsr = u32(random_() & 0xffff) | 0x1f80;
        if (rnd(6) == 0) fx.mxcsr = u32(random_() & 0xffff);
        fx.control = u16((random_() & 0x0f00) | 0x7f);
        if (rnd(6) == 0) fx.control = u16((random_() & 0x0f3f) | 0x40);
        fx.status = u16(random_() & 0x7f7f);
        if (rnd(16)) fx.status &= u16(~(~fx.control & 0x3f)); // else an exception waits
        if (fx.status & ~fx.control & 0x3f) fx.status |= 0x8080;
        fx.tag = rnd(3) ? 0xff : u8(random_());
        if (!host_tells_x87_pointers(fx.control, fx.status)) return;
        fx.opcode = u16(random_() & 0x7ff);
        fx.ip = random_() & 0x0000ffff0000ffff;
        fx.dp = random_() & 0x0000ffff0000ffff;
    }
    // A save area at RDI, with a header behind it, and the components asked for in EDX:EAX.
    void place_area(VectorCase& c) {
        UserState& s = c.plain.before;
        s.gpr[7] =
            Native::data_base + 0x400 + 64 * rnd(20) + (rnd(8) ? 0 : 16 * rnd(4)) + (rnd(8) ? 0 : rnd(16));
        // x87, SSE, AVX and AVX-512; the host may have others. AVX-512's lie elsewhere in AMD's areas.
        const auto states = [this] {
            static const u64 basic = __builtin_cpu_supports("avx2") ? 8 : 4;
            return rnd(basic) | (host_has_avx512() && !host_is_amd() && rnd(2) ? rnd(8) << 5 : 0);
        };
        s.gpr[0] = states();
        s.gpr[2] = 0;
        FxArea area;
        fill_state(area);
        if (rnd(8) == 0) area.mxcsr |= 1u << (16 + rnd(16));
        if (host_is_amd()) area.mxcsr &= ~kMisalignedMask;
        if (rnd(8) == 0) area.control = u16(random_()); // reserved bits, too
        u64 header[8] = {states()};
        if (rnd(3) == 0) { // compacted
            header[1] = u64{1} << 63 | (rnd(4) ? header[0] | states() : states());
            c.stops_midway = true;
        }
        if (rnd(10) == 0) header[1 + rnd(7)] |= 1; // reserved
        u8* at = &c.plain.data[s.gpr[7] - Native::data_base];
        std::memcpy(at, &area, sizeof area);
        std::memcpy(at + sizeof area, header, sizeof header);
        constexpr unsigned others = 2112; // what is kept of YMM and ZMM registers, and opmask registers
        for (unsigned n = 0; n < others; n += 16)
            fill_vector(random_, at + sizeof area + sizeof header + n);
    }

    void place(VectorCase& c) {
        UserState& s = c.plain.before;
        s.rip = Native::code_base + 0x8000;
        s.flags = 0x202 | (random_() & ir::kAllFlags);
        for (u64& r : s.gpr)
            r = rnd(2) ? random_() : rnd(40) - 20;
        s.gpr[4] = Native::data_base + 0x1000;
        u64 at = Native::data_base + 0x400 + 16 * rnd(16);
        if (rnd(6) == 0) at += rnd(16);
        if (rnd(6) == 0) at = Native::data_base + 0x1000 - 16 * rnd(2) - (rnd(2) ? 0 : rnd(16));
        s.gpr[7] = s.gpr[15] = at;
        c.plain.data.resize(Native::data_bytes);
        u8* bytes = &c.plain.data[at - Native::data_base];
        fill_vector(random_, bytes);
        for (unsigned n = 16; n < 128; n += 16)
            fill_vector(random_, bytes + n);
        if (group_ == VectorGroup::X87 && insn_.operand_count_visible && operands_[0].size == 80)
            fill_x87(random_, bytes);
        if (insn_.mnemonic == ZYDIS_MNEMONIC_FBLD && rnd(8)) // else not decimal: undefined
            for (unsigned n = 0; n < 10; ++n)
                bytes[n] = u8(rnd(10) | rnd(10) << 4);
        if (insn_.mnemonic == ZYDIS_MNEMONIC_LDMXCSR && rnd(8)) bytes[2] = bytes[3] = 0;
        if (insn_.mnemonic == ZYDIS_MNEMONIC_LDMXCSR && host_is_amd())
            bytes[2] &= u8(~(kMisalignedMask >> 16));

        fill_state(c.fx);
        for (auto& v : c.vectors.vec)
            for (unsigned n = 0; n < sizeof v; n += 16)
                fill_vector(random_, v + n);
        for (unsigned n = 0; n < 16; ++n)
            std::memcpy(c.vectors.vec[n], c.fx.xmm[n], 16);
        for (u64& mask : c.vectors.opmask)
            mask = random_mask();
        if (group_ == VectorGroup::State) place_area(c);
        if (group_ == VectorGroup::Vex || group_ == VectorGroup::Evex) place_vex(c);
    }
    u64 random_mask() {
        switch (rnd(8)) {
        case 0: return 0;
        case 1: return ~u64{0};
        case 2: return u64{1} << rnd(64);
        case 3: return random_() & random_() & random_();
        case 4: return random_() << rnd(64);
        case 5: return random_() >> rnd(64);
        default: return random_();
        }
    }

    // Masks and indices that lead into the data area, or to an address that is not canonical.
    void place_vex(VectorCase& c) {
        UserState& s = c.plain.before;
        if (rnd(40) == 0) s.gpr[7] = s.gpr[15] = u64{1} << (48 + rnd(15));
        const ZydisDecodedOperand* vsib = nullptr;
        for (const auto& op : operands_)
            if (op.type == ZYDIS_OPERAND_TYPE_MEMORY && op.mem.type == ZYDIS_MEMOP_TYPE_VSIB) vsib = &op;
        if (group_ == VectorGroup::Evex && rnd(4) == 0) { // where the data area ends
            const u64 at = Native::data_bytes - rnd(80);
            s.gpr[7] = s.gpr[15] = Native::data_base + at;
            for (u64 n = at & ~u64{15}; n < Native::data_bytes; n += 16)
                fill_vector(random_, &c.plain.data[n]);
        }
        if (!vsib) return;
        const bool wide = (insn_.opcode & 1) != 0;
        const unsigned index = unsigned(ZydisRegisterGetId(vsib->mem.index)), bytes = wide ? 8 : 4;
        for (unsigned n = 0; n < 64; n += bytes) {
            const i64 offset = wide && rnd(20) == 0 ? i64(u64{1} << (rnd(10) + 48)) : i64(rnd(128)) - 32;
            std::memcpy(c.vectors.vec[index] + n, &offset, bytes);
        }
        if (index < 16) std::memcpy(c.fx.xmm[index], c.vectors.vec[index], 16);
    }

    Random& random_;
    VectorGroup group_;
    ZydisDecoder decoder_;
    ZydisDecodedInstruction insn_;
    ZydisDecodedOperand operands_[ZYDIS_MAX_OPERAND_COUNT];
};

} // namespace

VectorCase random_vector_case(std::mt19937_64& random, VectorGroup group,
                              const std::function<bool(ZydisMnemonic)>& wanted) {
    VectorMaker maker(random, group);
    VectorCase c;
    while (!maker.make(c, wanted)) {
    }
    return c;
}

std::vector<ZydisMnemonic> vector_mnemonics(VectorGroup group) {
    std::vector<ZydisMnemonic> all;
    for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; ++m)
        if (group_table(group)[m]) all.push_back(ZydisMnemonic(m));
    return all;
}

} // namespace dragoman::test
