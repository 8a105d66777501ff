// What an x87 instruction is to IR: Inst::imm of Op::X87 and of calls of its helpers.
#pragma once

#include "base/types.h"

namespace dragoman::ir {

struct X87Call {
    u16 opcode;     // the 11 bits of FOP: low 3 bits of the first byte, the ModRM byte
    u8 length;      // bytes of the instruction
    u8 segment;     // ir::Seg of the memory operand
    u8 operand = 0; // bytes of the memory operand, or the size of an environment's format: 2 or 4
    u8 notes = 0;   // X87Notes: what Op::X87 is to record where nothing was raised
    constexpr i64 pack() const {
        return i64(opcode | length << 16 | segment << 20 | u64{operand} << 24 | u64{notes} << 32);
    }
    static constexpr X87Call unpack(u64 v) {
        return {.opcode = u16(v & 0x7ff),
                .length = u8(v >> 16 & 15),
                .segment = u8(v >> 20 & 7),
                .operand = u8(v >> 24 & 0xff),
                .notes = u8(v >> 32 & 0xff)};
    }
    constexpr unsigned reg() const { return opcode >> 3 & 7; }
    constexpr bool memory() const { return (opcode & 0xc0) != 0xc0; }
    // FST, FSTP, FIST, FISTP, FISTTP, FBSTP: the memory operand is written.
    constexpr bool stores() const {
        const unsigned op = opcode >> 8;
        if (!memory() || !(op & 1)) return false;
        if (reg() == 2 || reg() == 3) return true;
        if (reg() == 1) return op != 1;
        return (reg() == 7 && (op == 3 || op == 7)) || (reg() == 6 && op == 7);
    }
};

// Of the last instruction: its address always, the rest depending on the processor's model.
enum X87Notes : u8 {
    kX87NoteOpcode = 1,
    kX87NoteData = 2,      // the memory operand's address
    kX87NoteSelectors = 4, // of the code and, with the address, of the data; else 0
};

} // namespace dragoman::ir
