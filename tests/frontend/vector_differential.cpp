#include "vector_differential.h"

#include "frontend/x86/instruction.h"
#include "frontend/x86/listing.h"
#include "frontend/x86/mode.h"
#include "frontend/x86/x87_ops.h"
#include "ir/vex.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstring>

namespace dragoman::test {

using namespace x86;

namespace {

using Random = std::mt19937_64;

u64 below(Random& random, u64 n) {
    return random() % n;
}

// ---- operands
u32 special_float(Random& random) {
    static constexpr u32 values[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 1,          0x807fffff,
                                     0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345,
                                     0x7f800001, 0xffa00000, 0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000};
    switch (below(random, 4)) {
    case 0: return u32(random());
    case 1: return std::bit_cast<u32>(float(i64(below(random, 4000)) - 2000) / 8);
    default: return values[below(random, std::size(values))];
    }
}
u64 special_double(Random& random) {
    static constexpr u64 values[] = {0,
                                     0x8000000000000000,
                                     0x3ff0000000000000,
                                     0xbff0000000000000,
                                     1,
                                     0x800fffffffffffff,
                                     0x0010000000000000,
                                     0x7fefffffffffffff,
                                     0x7ff0000000000000,
                                     0xfff0000000000000,
                                     0x7ff8000000000000,
                                     0xfff8123456789abc,
                                     0x7ff0000000000001,
                                     0x41dfffffffe00000,
                                     0xc1e0000000000000,
                                     0x43e0000000000000,
                                     0x3fe0000000000000,
                                     0x36a0000000000000};
    switch (below(random, 4)) {
    case 0: return random();
    case 1: return std::bit_cast<u64>(double(i64(below(random, 4000)) - 2000) / 8);
    default: return values[below(random, std::size(values))];
    }
}
void fill_vector(Random& random, u8* to) {
    const u64 kind = below(random, 8);
    for (unsigned n = 0; n < 16; n += 4) {
        const u32 v = kind < 3 ? special_float(random) : u32(random());
        std::memcpy(to + n, &v, 4);
    }
    for (unsigned n = 0; n < 16; n += 8) {
        const u64 v = special_double(random);
        if (kind >= 3 && kind < 6) std::memcpy(to + n, &v, 8);
    }
    if (kind == 6) // small numbers, also as shift counts, and text
        for (unsigned n = 0; n < 16; ++n)
            to[n] = u8(below(random, 4) ? 0 : below(random, 70));
    if (kind == 7)
        for (unsigned n = 0; n < 16; ++n)
            to[n] = below(random, 3) ? u8(random()) : below(random, 2) ? 0xff : 0x80;
}
// The 80-bit format, also what no instruction makes: unnormals, pseudo-infinities.
void fill_x87(Random& random, u8* to) {
    // Where a conversion, a rounding or a function has its limits; each also with its neighbours.
    static constexpr struct {
        u16 exponent;
        u64 mantissa;
    } limits[] = {
        {0x3fff, u64{1} << 63},              // 1
        {0x3fff, u64{3} << 62},              // 1.5
        {0x3ffe, u64{1} << 63},              // 0.5
        {0x3ffe, 0xb504f333f9de6484},        // sqrt(2) / 2
        {0x4000, 0xc90fdaa22168c235},        // pi
        {0x3ffe, 0xc90fdaa22168c235},        // pi / 4
        {0x400d, 0xffff'0000'0000'0000},     // 2^15 - 0.5
        {0x401d, 0xffff'ffff'0000'0000},     // 2^31 - 0.5
        {0x403d, ~u64{0}},                   // 2^63 - 0.5
        {0x403e, u64{1} << 63},              // 2^63
        {0x403a, 0xde0b'6b3a'7640'0000 - 1}, // what 18 decimal digits hold: 10^18
        {0x407e, ~u64{0}},                   // the greatest single
        {0x43fe, ~u64{0}},                   // and double
        {0x3f81, u64{1} << 63},              // the least normal single
        {0x3c01, u64{1} << 63},              // and double
        {0x3f69, u64{1} << 63},              // half the least denormal
        {0x3bcc, u64{1} << 63},
        {0x7ffe, ~u64{0}},
        {1, u64{1} << 63},
        {0, u64{1} << 63}, // a pseudo-denormal
        {0, ~u64{0} >> 1},
    };
    u64 mantissa;
    u16 exponent;
    switch (below(random, 10)) {
    case 0:
        mantissa = random();
        exponent = u16(random());
        break;
    case 8:
    case 9: {
        const auto& limit = limits[below(random, std::size(limits))];
        mantissa = limit.mantissa + below(random, 3) - 1;
        exponent = limit.exponent;
        break;
    }
    case 1:
        mantissa = u64{1} << 63;
        exponent = 0x7fff;
        break;
    case 2:
        mantissa = random() | u64{1} << 63;
        exponent = 0x7fff;
        break;
    case 3:
        mantissa = random() >> below(random, 64);
        exponent = 0;
        break;
    case 4:
        mantissa = 0;
        exponent = 0;
        break;
    case 5:
        mantissa = random() | u64{1} << 63;
        exponent = u16(below(random, 2) ? below(random, 80) : 0x7fff - below(random, 80));
        break;
    default:
        mantissa = (below(random, 2) ? random() : random() << below(random, 64)) | u64{1} << 63;
        exponent = u16(0x3fff + below(random, 140) - 70);
        break;
    }
    exponent = u16((exponent & 0x7fff) | (below(random, 2) << 15));
    std::memcpy(to, &mantissa, 8);
    std::memcpy(to + 8, &exponent, 2);
}

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
    u64 rnd(u64 n) { return below(random_, n); }
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
        fx.opcode = u16(random_() & 0x7ff);
        fx.ip = random_() & 0x0000ffff0000ffff;
        fx.dp = random_() & 0x0000ffff0000ffff;
    }
    // A save area at RDI, with a header behind it, and the components asked for in EDX:EAX.
    void place_area(VectorCase& c) {
        UserState& s = c.plain.before;
        s.gpr[7] =
            Native::data_base + 0x400 + 64 * rnd(20) + (rnd(8) ? 0 : 16 * rnd(4)) + (rnd(8) ? 0 : rnd(16));
        // x87, SSE, AVX and AVX-512; the host may have others.
        const auto states = [this] {
            static const u64 basic = __builtin_cpu_supports("avx2") ? 8 : 4;
            return rnd(basic) | (host_has_avx512() && rnd(2) ? rnd(8) << 5 : 0);
        };
        s.gpr[0] = states();
        s.gpr[2] = 0;
        FxArea area;
        fill_state(area);
        if (rnd(8) == 0) area.mxcsr |= 1u << (16 + rnd(16));
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

// ---- between the area and the guest's state
void load(Cpu& cpu, const FxArea& fx, const VectorRegisters& vectors) {
    cpu.mxcsr = fx.mxcsr;
    std::memset(cpu.vec, 0, sizeof cpu.vec);
    for (unsigned i = 0; i < (host_has_avx512() ? 32 : 16); ++i)
        std::memcpy(cpu.vec[i], vectors.vec[i], host_has_avx512() ? 64 : 32);
    std::memcpy(cpu.opmask, vectors.opmask, sizeof cpu.opmask);
    cpu.fpu = {};
    cpu.fpu.control = fx.control;
    cpu.fpu.tag = fx.tag;
    cpu.fpu.opcode = fx.opcode;
    cpu.fpu.ip = fx.ip;
    cpu.fpu.dp = fx.dp;
    for (unsigned i = 0; i < 8; ++i)
        std::memcpy(cpu.fpu.st[i], fx.st[i], 10);
    set_status_word(cpu.fpu, fx.status);
}
FxArea stored(const Cpu& cpu) {
    FxArea fx;
    fx.mxcsr = cpu.mxcsr;
    for (unsigned i = 0; i < 16; ++i)
        std::memcpy(fx.xmm[i], cpu.vec[i], 16);
    fx.control = cpu.fpu.control;
    fx.status = status_word(cpu.fpu);
    fx.tag = cpu.fpu.tag;
    fx.opcode = cpu.fpu.opcode;
    fx.ip = cpu.fpu.ip;
    fx.dp = cpu.fpu.dp;
    for (unsigned i = 0; i < 8; ++i)
        std::memcpy(fx.st[i], cpu.fpu.st[i], 10);
    return fx;
}

class Report {
  public:
    void line(const char* name, unsigned number, const u8* before, const u8* host, const u8* ours,
              unsigned bytes) {
        if (!std::memcmp(host, ours, bytes)) {
            if (!std::memcmp(before, ours, bytes) && bytes > 8) return;
        } else {
            differs = true;
        }
        char head[32];
        std::snprintf(head, sizeof head, "  %s%u", name, number);
        text += head;
        for (const u8* v : {before, host, ours}) {
            text += v == before ? "  before " : v == host ? "  host " : "  ours ";
            for (unsigned n = bytes; n-- > 0;) {
                char hex[4];
                std::snprintf(hex, sizeof hex, "%02x", v[n]);
                text += hex;
            }
        }
        text += std::memcmp(host, ours, bytes) ? "  <--\n" : "\n";
    }
    template <class T> void value(const char* name, unsigned number, T before, T host, T ours) {
        line(name, number, reinterpret_cast<const u8*>(&before), reinterpret_cast<const u8*>(&host),
             reinterpret_cast<const u8*>(&ours), sizeof(T));
    }

    std::string text;
    bool differs = false;
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

std::string compare_vector(Machine& machine, Native& native, const VectorCase& c) {
    UserState host = c.plain.before;
    FxArea host_fx = c.fx;
    host.fx = reinterpret_cast<u8*>(&host_fx);
    VectorRegisters host_vectors = c.vectors;
    static const bool host_has_avx = __builtin_cpu_supports("avx");
    if (host_has_avx) host.vectors = &host_vectors;
    std::memcpy(native.data(), c.plain.data.data(), c.plain.data.size());
    const NativeResult result = native.run(c.plain.code, host);

    Cpu& cpu = machine.cpu();
    u8* guest_data = machine.ram() + Native::data_base;
    std::memcpy(guest_data, c.plain.data.data(), c.plain.data.size());
    std::memcpy(cpu.gpr, c.plain.before.gpr, sizeof cpu.gpr);
    cpu.rip = c.plain.before.rip;
    cpu.flags = ir::Flags(c.plain.before.flags) & ir::kAllFlags;
    cpu.direction_flag = 0;
    load(cpu, c.fx, c.vectors);
    cpu.cr4 |= kCr4OSXSAVE;
    cpu.xcr0 = kX87State | kSseState | kAvxState | (host_has_avx512() ? u64{kAvx512States} : 0);
    update_key(cpu);
    const ir::Exit exit = machine.run(c.plain.code);
    FxArea our_fx = stored(cpu);
    // How much of a compacted area is loaded before its MXCSR is found to be wrong is the processor's own
    // affair.
    const bool midway =
        c.stops_midway && result.faulted && exit == ir::Exit::Fault && result.vector == cpu.fault.vector;
    if (midway) our_fx = host_fx;
    // With an unmasked overflow or underflow PE tells of a result with any exponent, which nobody computes
    // here.
    constexpr u32 overflow_underflow = 0x18, precision = 0x20;
    if (result.vector == kXM && (host_fx.mxcsr & ~(host_fx.mxcsr >> 7) & overflow_underflow))
        our_fx.mxcsr = (our_fx.mxcsr & ~precision) | (host_fx.mxcsr & precision);
    // Those of several steps stop at the first that raises.
    if (result.vector == kXM && (c.plain.text.find("dpp") != std::string::npos)) our_fx.mxcsr = host_fx.mxcsr;

    Report r;
    const unsigned host_end = result.faulted ? result.vector : ~0u;
    const unsigned our_end = exit == ir::Exit::Fault ? cpu.fault.vector : ~0u;
    r.value("end", 0, ~0u, host_end, our_end);
    r.value("rip", 0, c.plain.before.rip, host.rip, cpu.rip);
    r.value("flags", 0, u32(c.plain.before.flags & ir::kAllFlags), u32(host.flags & ir::kAllFlags),
            u32(cpu.flags & ir::kAllFlags));
    for (unsigned i = 0; i < 16; ++i)
        if (host.gpr[i] != cpu.gpr[i] || host.gpr[i] != c.plain.before.gpr[i])
            r.value("gpr", i, c.plain.before.gpr[i], host.gpr[i], cpu.gpr[i]);
    r.value("mxcsr", 0, c.fx.mxcsr, host_fx.mxcsr, our_fx.mxcsr);
    r.value("fcw", 0, c.fx.control, host_fx.control, our_fx.control);
    r.value("fsw", 0, c.fx.status, host_fx.status, our_fx.status);
    r.value("ftw", 0, c.fx.tag, host_fx.tag, our_fx.tag);
    r.value("fop", 0, c.fx.opcode, host_fx.opcode, our_fx.opcode);
    r.value("fip", 0, c.fx.ip, host_fx.ip, our_fx.ip);
    r.value("fdp", 0, c.fx.dp, host_fx.dp, our_fx.dp);
    for (unsigned i = 0; i < 8; ++i)
        r.line("st", i, c.fx.st[i], host_fx.st[i], our_fx.st[i], 10);
    for (unsigned i = 0; i < 16; ++i)
        r.line("xmm", i, c.fx.xmm[i], host_fx.xmm[i], our_fx.xmm[i], 16);
    for (unsigned i = 0; i < 16 && !midway; ++i)
        r.line("ymm high", i, c.vectors.vec[i] + 16, host_vectors.vec[i] + 16, cpu.vec[i] + 16, 16);
    for (unsigned i = 0; i < 32 && host_has_avx512() && !midway; ++i) {
        const unsigned from = i < 16 ? 32 : 0;
        r.line(i < 16 ? "zmm high" : "zmm", i, c.vectors.vec[i] + from, host_vectors.vec[i] + from,
               cpu.vec[i] + from, 64 - from);
    }
    for (unsigned i = 0; i < 8 && host_has_avx512() && !midway; ++i)
        if (host_vectors.opmask[i] != cpu.opmask[i] || cpu.opmask[i] != c.vectors.opmask[i] ||
            c.plain.text.find('k') != std::string::npos)
            r.value("k", i, c.vectors.opmask[i], host_vectors.opmask[i], cpu.opmask[i]);
    const u64 at = (c.plain.before.gpr[7] - Native::data_base) & ~u64{15};
    for (unsigned n = 0; n < 9 && at + 16 * n < Native::data_bytes; ++n)
        r.line("memory", n, &c.plain.data[at + 16 * n], native.data() + at + 16 * n, guest_data + at + 16 * n,
               16);
    if (!r.differs && std::memcmp(native.data(), guest_data, c.plain.data.size())) {
        r.differs = true;
        r.text += "  memory elsewhere\n";
    }
    return r.differs ? c.plain.text + "\n" + r.text : "";
}

} // namespace dragoman::test
