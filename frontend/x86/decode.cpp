#include "frontend/x86/decode.h"

#include "frontend/x86/opcodes.h"

#include <cstring>
#include <iterator>

namespace dragoman::x86 {

namespace {

using namespace opcodes;

// What the operands are made of.
struct Parts {
    const u8* next; // byte
    unsigned bits;  // of addresses
    unsigned rex = 0, opcode = 0, modrm = 0;
    ZydisRegister segment = ZYDIS_REGISTER_NONE; // named by a prefix that counts

    unsigned mod() const { return modrm >> 6; }
    unsigned reg() const { return (modrm >> 3 & 7) | (rex & 4) << 1; }
    unsigned with_b(unsigned low) const { return (low & 7) | (rex & 1) << 3; }
    unsigned number(Kind kind) const {
        switch (kind) {
        case kZ: return with_b(opcode);
        case kA: return 0;
        case kC: return 1;
        default: return reg();
        }
    }
    template <class T> T take() {
        T value;
        std::memcpy(&value, next, sizeof value);
        next += sizeof value;
        return value;
    }
    i64 take_signed(unsigned width) {
        switch (width) {
        case 8: return take<i8>();
        case 16: return take<i16>();
        case 32: return take<i32>();
        default: return take<i64>();
        }
    }
};

ZydisRegister general(unsigned width, unsigned number, bool rex) {
    if (width == 8)
        return ZydisRegister((rex && number >= 4 ? ZYDIS_REGISTER_SPL - 4 : ZYDIS_REGISTER_AL) + number);
    constexpr ZydisRegister first[] = {ZYDIS_REGISTER_AX, ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_RAX};
    return ZydisRegister(first[width >> 5] + number);
}

// ModRM's address (SDM vol. 2, tables 2-2 and 2-3).
void decode_address(Parts& parts, ZydisDecodedOperandMem& mem) {
    const auto address_register = [&](unsigned n) { return general(parts.bits, n, false); };
    unsigned base = parts.modrm & 7;
    mem.index = ZYDIS_REGISTER_NONE;
    mem.scale = 0;
    const bool has_sib = base == 4;
    if (has_sib) {
        const u8 sib = *parts.next++;
        const unsigned index = (sib >> 3 & 7) | (parts.rex & 2) << 2;
        if (index != 4) {
            mem.index = address_register(index);
            mem.scale = u8(1 << (sib >> 6));
        }
        base = sib & 7;
    }
    bool stack = false;
    if (base == 5 && parts.mod() == 0) {
        mem.base = !has_sib && parts.bits == 64 ? ZYDIS_REGISTER_RIP : ZYDIS_REGISTER_NONE;
        mem.disp.value = parts.take<i32>();
    } else {
        base = parts.with_b(base);
        mem.base = address_register(base);
        stack = base == 4 || base == 5;
        mem.disp.value = parts.mod() == 0 ? 0 : parts.mod() == 1 ? parts.take<i8>() : parts.take<i32>();
    }
    mem.segment = parts.segment != ZYDIS_REGISTER_NONE ? parts.segment
                  : stack                              ? ZYDIS_REGISTER_SS
                                                       : ZYDIS_REGISTER_DS;
}

// False: the operand may not be that.
bool decode_operand(Parts& parts, u8 letters, unsigned size, ZydisDecodedOperand& operand) {
    const Kind kind = kind_of(letters);
    const unsigned width = kBits[letters & 7][size];
    operand.size = u16(width);
    if (kind <= kV || (kind <= kM && parts.mod() == 3)) {
        const unsigned number = kind <= kV ? parts.number(kind) : parts.with_b(parts.modrm);
        operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
        if (kind == kV || kind == kW) {
            operand.reg.value = ZydisRegister(ZYDIS_REGISTER_XMM0 + number);
            operand.size = 128;
        } else {
            operand.reg.value = general(width, number, parts.rex);
        }
        return kind != kM;
    }
    if (kind <= kM) {
        operand.type = ZYDIS_OPERAND_TYPE_MEMORY;
        if (kind == kM) { // LEA, of which an address in no segment is asked
            operand.size = u16(parts.bits);
            parts.segment = ZYDIS_REGISTER_NONE;
        }
        decode_address(parts, operand.mem);
        return true;
    }
    operand.type = ZYDIS_OPERAND_TYPE_IMMEDIATE;
    if (kind == kI)
        operand.imm.value.s = parts.take_signed(width);
    else
        operand.imm.value.u = kind == kOne ? 1 : width == 8 ? parts.take<u8>() : parts.take<u16>();
    return true;
}

} // namespace

bool Decoder::decode_common(const u8* bytes, u64 count, Instruction& insn) const {
    if (bits_ == 16) return false;
    // No more than one prefix of a kind: so the longest of the table's instructions has 14 bytes.
    u8 padded[kMaxLength];
    if (count < kMaxLength) {
        std::memset(padded, 0, sizeof padded);
        bytes = static_cast<const u8*>(std::memcpy(padded, bytes, count));
    }
    const bool long64 = bits_ == 64;
    Parts parts{.next = bytes, .bits = bits_};

    unsigned map = With0, segment = 0;
    const Row* row = &table.rows[OneByte][*parts.next];
    for (; row->flags & (kSegment | kSelects); row = &table.rows[OneByte][*++parts.next]) {
        unsigned& place = row->flags & kSegment ? segment : map;
        if (place != (row->flags & kSegment ? 0u : unsigned{With0})) return false;
        place = row->mnemonic;
    }
    // In 64-bit mode the others mean nothing (SDM vol. 1, 3.4.2.1).
    if (!long64 || segment >= ZYDIS_REGISTER_FS) parts.segment = ZydisRegister(segment);
    if (long64 && (*parts.next & 0xf0) == 0x40) {
        parts.rex = *parts.next++;
        row = &table.rows[OneByte][*parts.next];
    }
    const bool two_bytes = *parts.next == 0x0f;
    if (two_bytes)
        row = &table.rows[map][*++parts.next];
    else if (map > With66)
        return false;
    parts.opcode = *parts.next++;

    if (row->flags & kModRm) parts.modrm = *parts.next++;
    const bool narrow = map == With66 && !(row->flags & kMandatory);
    unsigned size = parts.rex & 8 ? 2 : narrow ? 0 : 1;
    if (row->flags & kGroup)
        row = &table.rows[Members][row->mnemonic + (parts.modrm >> 3 & 7)];
    else if (row->flags & kBySize)
        row = &table.rows[Members][row->mnemonic + size];
    const unsigned refused = kSegment | kSelects | (long64 ? kNot64 : kOnly64) | (map == With66 ? kNo66 : 0) |
                             (parts.rex & 1 ? kNoRexB : 0);
    if (!row->mnemonic || row->flags & refused) return false;
    if (long64 && (row->flags & kForce64 || (row->flags & kDefault64 && size == 1))) size = 2;

    unsigned n = 0;
    for (; n < std::size(row->operand) && row->operand[n]; ++n)
        if (!decode_operand(parts, row->operand[n], size, insn.operands[n])) return false;

    const u64 length = u64(parts.next - bytes);
    if (length > count) return false;
    ZydisDecodedInstruction& z = insn.zydis;
    z.length = u8(length);
    z.mnemonic = ZydisMnemonic(row->mnemonic);
    z.encoding = ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    z.opcode_map = two_bytes ? ZYDIS_OPCODE_MAP_0F : ZYDIS_OPCODE_MAP_DEFAULT;
    z.opcode = u8(parts.opcode);
    z.operand_width = u8(row->flags & kByteWide ? 8 : 16 << size);
    z.address_width = u8(bits_);
    z.operand_count = z.operand_count_visible = u8(n);
    z.attributes = 0;
    z.meta.category = ZydisInstructionCategory(row->category);
    z.meta.isa_set = ZydisISASet(row->isa);
    // Near branches are those whose operand size 64-bit mode fixes.
    z.meta.branch_type = !(row->flags & kForce64) ? ZYDIS_BRANCH_TYPE_NONE
                         : row->operand[0] == Ib  ? ZYDIS_BRANCH_TYPE_SHORT
                                                  : ZYDIS_BRANCH_TYPE_NEAR;
    return true;
}

// ---- Zydis

namespace {

// May its translate function want operands that the instruction's text does not name (XLAT's memory, say)?
// Those of the commonest kinds do not; decoding them takes its time.
bool asks_for_hidden(ZydisInstructionCategory category) {
    switch (category) {
    case ZYDIS_CATEGORY_BINARY:
    case ZYDIS_CATEGORY_LOGICAL:
    case ZYDIS_CATEGORY_SHIFT:
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP: return false;
    default: return true;
    }
}

} // namespace

Decoder::Decoder(unsigned code_bits) : bits_(code_bits) {
    static constexpr struct {
        ZydisMachineMode mode;
        ZydisStackWidth stack;
    } sizes[3] = {{ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
                  {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
                  {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64}};
    // Encodings that are something else without the feature, or that would do the same: NOP, WBINVD.
    static constexpr ZydisDecoderMode absent[] = {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
                                                  ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_CLDEMOTE};
    const auto& size = sizes[code_bits / 32];
    ZydisDecoderInit(&zydis_, size.mode, size.stack);
    for (const auto mode : absent)
        ZydisDecoderEnableMode(&zydis_, mode, ZYAN_FALSE);
}

ZyanStatus Decoder::decode_any(const u8* bytes, u64 count, Instruction& insn) const {
    ZydisDecoderContext context;
    const ZyanStatus status = ZydisDecoderDecodeInstruction(&zydis_, &context, bytes, count, &insn.zydis);
    if (!ZYAN_SUCCESS(status)) return status;
    return ZydisDecoderDecodeOperands(&zydis_, &context, &insn.zydis, insn.operands,
                                      asks_for_hidden(insn.zydis.meta.category)
                                          ? insn.zydis.operand_count
                                          : insn.zydis.operand_count_visible);
}

} // namespace dragoman::x86
