#include "forms.h"

#include <array>
#include <unordered_set>

namespace dragoman::test {

namespace {

// One for each width of code, with what the translator leaves out: encodings that no model offers.
const ZydisDecoder& decoder(unsigned bits) {
    static const std::array<ZydisDecoder, 3> all = [] {
        std::array<ZydisDecoder, 3> made;
        ZydisDecoderInit(&made[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
        ZydisDecoderInit(&made[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
        ZydisDecoderInit(&made[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        for (ZydisDecoder& d : made)
            for (const auto mode : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
                                    ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_CLDEMOTE})
                ZydisDecoderEnableMode(&d, mode, ZYAN_FALSE);
        return made;
    }();
    return all[bits == 64 ? 2 : bits / 32];
}

constexpr u8 kTail[] = {5, 0, 0, 0, 0, 0, 0, 0, 0, 0}; // an immediate, a displacement

class Finder {
  public:
    explicit Finder(unsigned bits) : bits_(bits) {}

    std::vector<Form> all() {
        legacy();
        vex();
        evex();
        return std::move(forms_);
    }

  private:
    // ModRM with a register in r/m, the likeliest first: register 1 with 3, and all others, which are
    // instructions of their own in some groups.
    static const std::vector<u8>& registers() {
        static const std::vector<u8> list = [] {
            std::vector<u8> made;
            for (const unsigned rm : {3, 2, 0, 1, 4, 5, 6, 7})
                for (const unsigned reg : {1, 0, 2, 3, 4, 5, 6, 7})
                    made.push_back(u8(0xc0 | reg << 3 | rm));
            return made;
        }();
        return list;
    }
    u8 memory(unsigned reg, bool short_address) const { return u8(reg << 3 | (short_address ? 4 : 6)); }

    // Not opcodes of one byte: prefixes, and what begins VEX and EVEX.
    static bool is_prefix(unsigned byte, bool of64) {
        switch (byte) {
        case 0x0f:
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0x66:
        case 0x67:
        case 0xf0:
        case 0xf2:
        case 0xf3: return true;
        case 0x62:
        case 0xc4:
        case 0xc5: return of64;
        default: return of64 && byte >= 0x40 && byte < 0x50;
        }
    }
    void legacy() {
        for (const std::vector<u8>& map : {std::vector<u8>{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}})
            for (unsigned opcode = 0; opcode < 256; ++opcode)
                for (const unsigned rex : {0, 0x48})
                    for (const unsigned prefix : {0, 0x66, 0xf2, 0xf3}) {
                        if (rex && bits_ != 64) continue;
                        if (map.empty() && is_prefix(opcode, bits_ == 64)) continue;
                        if (map.size() == 1 && (opcode == 0x38 || opcode == 0x3a)) continue; // two more maps
                        std::vector<u8> code;
                        if (prefix) code.push_back(u8(prefix));
                        if (rex) code.push_back(u8(rex));
                        code.insert(code.end(), map.begin(), map.end());
                        code.push_back(u8(opcode));
                        const bool vex = map.empty() && is_prefix(opcode, true); // with a register in ModRM
                        for (const u8 modrm : vex ? std::vector<u8>{} : registers())
                            add(code, modrm);
                        for (unsigned reg = 0; reg < 8; ++reg)
                            add(code, memory(reg ^ 1, bits_ == 16));
                    }
    }
    // VEX and EVEX: registers 1, 3 and 2 (its field holds the complement), or no second source; the memory
    // operand has 32-bit addresses in 16-bit code, as those of gathers must.
    void vex() {
        for (unsigned map = 1; map <= 3; ++map)
            for (unsigned byte2 = 0; byte2 < 256; ++byte2) {
                const unsigned source = byte2 >> 3 & 15;
                if (source != 0xd && source != 15) continue;
                for (unsigned opcode = 0; opcode < 256; ++opcode)
                    modrms({0xc4, u8(0xe0 | map), u8(byte2), u8(opcode)});
            }
    }
    void evex() {
        for (unsigned map = 1; map <= 3; ++map)
            for (const unsigned source : {0xd, 15})
                for (unsigned w_pp = 0; w_pp < 8; ++w_pp)
                    for (unsigned opcode = 0; opcode < 256; ++opcode)
                        for (unsigned length_b = 0; length_b < 8; ++length_b)
                            for (const unsigned mask : {0, 1})
                                modrms(
                                    {0x62, u8(0xf0 | map), u8((w_pp & 4) << 5 | source << 3 | 4 | (w_pp & 3)),
                                     u8((length_b & 6) << 4 | (length_b & 1) << 4 | 8 | mask), u8(opcode)});
    }
    void modrms(const std::vector<u8>& code) {
        for (unsigned reg = 0; reg < 8; ++reg) {
            add(code, u8(0xc0 | (reg ^ 1) << 3 | 3));
            std::vector<u8> wide = code;
            if (bits_ == 16) wide.insert(wide.begin(), 0x67);
            add(wide, memory(reg ^ 1, false));
            add(wide, u8((reg ^ 1) << 3 | 4), 0x3e); // [esi + xmm7]
        }
    }

    void add(const std::vector<u8>& opcode, u8 modrm, int sib = -1) {
        Form& f = found_;
        f.code = opcode;
        f.code.push_back(modrm);
        if (sib >= 0) f.code.push_back(u8(sib));
        f.code.insert(f.code.end(), std::begin(kTail), std::end(kTail));
        if (!decode(bits_, f.code, f)) return;
        f.code.resize(f.insn.length);
        if (!seen_.insert(key()).second) return;
        f.bits = bits_;
        forms_.push_back(f);
    }
    std::string key() const {
        const auto& i = found_.insn;
        return found_.name() + char('0' + i.encoding) + char('0' + i.opcode_map) + char(i.opcode) +
               char('0' + i.avx.broadcast.mode) + char('0' + i.avx.has_sae) +
               char('0' + (i.avx.mask.mode > ZYDIS_MASK_MODE_DISABLED));
    }

    unsigned bits_;
    Form found_;
    std::vector<Form> forms_;
    std::unordered_set<std::string> seen_;
};

} // namespace

const char* operand_kind(const ZydisDecodedOperand& op) {
    switch (op.type) {
    case ZYDIS_OPERAND_TYPE_MEMORY: return "m";
    case ZYDIS_OPERAND_TYPE_IMMEDIATE: return "i";
    case ZYDIS_OPERAND_TYPE_POINTER: return "far";
    default: break;
    }
    switch (ZydisRegisterGetClass(op.reg.value)) {
    case ZYDIS_REGCLASS_XMM: return "x";
    case ZYDIS_REGCLASS_YMM: return "y";
    case ZYDIS_REGCLASS_ZMM: return "z";
    case ZYDIS_REGCLASS_MASK: return "k";
    case ZYDIS_REGCLASS_MMX: return "mm";
    case ZYDIS_REGCLASS_X87: return "st";
    case ZYDIS_REGCLASS_SEGMENT: return "s";
    case ZYDIS_REGCLASS_CONTROL: return "cr";
    case ZYDIS_REGCLASS_DEBUG: return "dr";
    default: return "r";
    }
}

std::string Form::name() const {
    std::string text = ZydisMnemonicGetString(insn.mnemonic);
    for (unsigned n = 0; n < insn.operand_count_visible; ++n)
        text += (n ? "," : " ") + std::string(operand_kind(operands[n])) + std::to_string(operands[n].size);
    return text;
}

const ZydisDecodedOperand* Form::memory() const {
    for (unsigned n = 0; n < insn.operand_count; ++n)
        if (operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            (operands[n].mem.type == ZYDIS_MEMOP_TYPE_MEM || operands[n].mem.type == ZYDIS_MEMOP_TYPE_VSIB))
            return &operands[n];
    return nullptr;
}

std::vector<u8> Form::at(Place place) const {
    if (!(insn.attributes & ZYDIS_ATTRIB_HAS_MODRM) || insn.raw.modrm.mod == 3) return {};
    if (place == Place::Data) return code;
    const bool short_address = insn.address_width == 16, sib = insn.attributes & ZYDIS_ATTRIB_HAS_SIB;
    std::vector<u8> moved = code;
    const std::size_t modrm = insn.raw.modrm.offset, after = modrm + (sib ? 2 : 1);
    moved[modrm] = u8(0x40 | insn.raw.modrm.reg << 3 |
                      (sib             ? 4
                       : short_address ? 6
                                       : 5)); // with an 8-bit displacement
    if (sib) moved[modrm + 1] = u8((moved[modrm + 1] & 0xf8) | 5);
    moved.insert(moved.begin() + i64(after), u8{0});
    return moved;
}

bool decode(unsigned bits, const std::vector<u8>& code, Form& form) {
    if (!ZYAN_SUCCESS(
            ZydisDecoderDecodeFull(&decoder(bits), code.data(), code.size(), &form.insn, form.operands)))
        return false;
    form.row =
        form.insn.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP ? nullptr : x86::find_instruction(form.insn);
    return form.row != nullptr;
}

const std::vector<Form>& all_forms(unsigned bits) {
    static std::array<std::vector<Form>, 3> found;
    std::vector<Form>& forms = found[bits == 64 ? 2 : bits / 32];
    if (forms.empty()) forms = Finder(bits).all();
    return forms;
}

} // namespace dragoman::test
