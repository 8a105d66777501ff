// Guest bytes to an Instruction: the common instructions by a table of our own, all others by Zydis.
#pragma once

#include "frontend/x86/instruction.h"

namespace dragoman::x86 {

constexpr unsigned kMaxLength = 15; // bytes of an instruction (SDM vol. 2, 2.3.11)

class Decoder {
  public:
    explicit Decoder(unsigned code_bits); // 16, 32 or 64

    // The instruction in `count` bytes (more than 15 are as good as 15), but for its rip, next_rip and bytes.
    // ZYDIS_STATUS_NO_MORE_DATA where it has more bytes than those.
    ZyanStatus decode(const u8* bytes, u64 count, Instruction& insn) const {
        return decode_common(bytes, count, insn) ? ZYAN_STATUS_SUCCESS : decode_any(bytes, count, insn);
    }

    // False: not one of the common instructions, or not all of it; `insn` is anything then.
    // Of Zydis's records it fills what is read of such instructions, as Zydis does: of the instruction
    // length, mnemonic, encoding, opcode map, opcode, widths, the number of visible operands, category,
    // instruction set and kind of branch, and no attribute, of which only those of the prefixes LOCK, REP and
    // REPNE are read; of the visible operands type, size (always 16 bytes for XMM registers), register,
    // immediate, and of the address segment, base, index, scale and displacement. Others keep what they had.
    bool decode_common(const u8* bytes, u64 count, Instruction& insn) const;
    ZyanStatus decode_any(const u8* bytes, u64 count, Instruction& insn) const;

  private:
    const unsigned bits_;
    ZydisDecoder zydis_;
};

} // namespace dragoman::x86
