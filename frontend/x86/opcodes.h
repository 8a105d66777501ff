// The common opcodes as a table (opcodes.inc), for the decoder.
#pragma once

#include "base/types.h"

#include <Zydis/Zydis.h>

namespace dragoman::x86::opcodes {

// ---- operands in the letters of SDM vol. 2, A.2

// Where an operand is. First come those in a register whose number is known before (Parts::number).
enum Kind : u8 {
    kNone,
    kG,   // general register: ModRM.reg
    kZ,   // general register: the opcode's low three bits
    kA,   // AL, AX, EAX or RAX
    kC,   // CL
    kV,   // XMM register: ModRM.reg
    kE,   // general register or memory: ModRM
    kW,   // XMM register or memory: ModRM
    kM,   // an address: ModRM
    kI,   // immediate, sign-extended
    kU,   // immediate, zero-extended
    kOne, // 1, without a byte of its own
};
enum Width : u8 { b, w, d, q, x, v, z, y };
inline constexpr u8 kBits[8][4] = {
    // by operand size 16, 32, 64
    {8, 8, 8},       {16, 16, 16}, {32, 32, 32}, {64, 64, 64}, // b w d q
    {128, 128, 128}, {16, 32, 64}, {16, 32, 32}, {32, 32, 64}, // x v z y
};

enum Operand : u8 {
    None = 0,
#define OPERAND(kind, width) kind##width = k##kind << 3 | width
    // clang-format off
    OPERAND(G, b), OPERAND(G, v), OPERAND(Z, b), OPERAND(Z, v), OPERAND(V, x),
    OPERAND(E, b), OPERAND(E, w), OPERAND(E, d), OPERAND(E, v), OPERAND(E, y),
    OPERAND(W, d), OPERAND(W, q), OPERAND(W, x), OPERAND(I, b), OPERAND(I, z), OPERAND(I, v),
// clang-format on
#undef OPERAND
    AL = kA << 3 | b,
    rAX = kA << 3 | v,
    CL = kC << 3 | b,
    M = kM << 3 | v,
    Ibu = kU << 3 | b, // not sign-extended: shift counts, numbers of bits
    Iwu = kU << 3 | w, // RET
    One = kOne << 3 | b,
};
constexpr Kind kind_of(u8 operand) {
    return Kind(operand >> 3);
}

// ---- the table

enum Flag : u16 {
    kModRm = 1,
    kGroup = 2,        // ModRM.reg chooses
    kBySize = 4,       // the operand size chooses
    kByteWide = 8,     // the operand size is a byte
    kDefault64 = 16,   // 64-bit mode: the operand size is 64, or 16 with a prefix 66
    kForce64 = 32,     // 64-bit mode: the operand size is 64
    kNot64 = 64,       // not in 64-bit mode
    kOnly64 = 128,     // only in 64-bit mode
    kNo66 = 256,       // not with a prefix 66
    kNoRexB = 512,     // not with REX.B
    kMandatory = 1024, // a prefix 66 is part of the opcode
    kSegment = 2048,   // a prefix: names a segment register
    kSelects = 4096,   // a prefix: selects the map of what is behind 0F
};

struct Row {
    // 0: left to Zydis. With kGroup or kBySize: the first of its rows in the map Members. Of a prefix: the
    // register or the map.
    u16 mnemonic;
    u16 flags;
    u8 category, isa, operand[3];
};

// Behind 0F a prefix that may be part of the opcode chooses the map; TwoByte stands for With0 and With66.
enum Map : u8 { OneByte, With0, With66, WithF3, WithF2, Members, TwoByte, Maps = TwoByte };
// clang-format off
enum Group : u8 {
    Group1, Group1A, Group2, Group3b, Group3v, Group4, Group5, Group8, Group11, Extend, Spread, MoveD, Groups
};
// clang-format on

struct Table {
    Row rows[Maps][256];
};

constexpr Table make_table() {
    Table t{};
    Row members[Groups][8] = {};
    unsigned used = 8; // of Members; not 0, which is left to Zydis
    const auto put = [&](Map map, unsigned opcode, Row row) {
        for (const u8 o : row.operand)
            if (kind_of(o) == kG || (kind_of(o) >= kV && kind_of(o) <= kM)) row.flags |= kModRm;
        const u8 first = row.operand[0];
        if (first && kind_of(first) < kI && (first & 7) == b) row.flags |= kByteWide;
        if (map == With66) row.flags |= kMandatory;
        if (map == TwoByte)
            t.rows[With66][opcode] = t.rows[With0][opcode] = row;
        else
            t.rows[map][opcode] = row;
    };
    const auto put_group = [&](Map map, unsigned opcode, Group group, Row row) {
        row.mnemonic = u16(used);
        put(map, opcode, row);
        for (Row member : members[group]) {
            member.isa |= row.isa;
            member.operand[0] = row.operand[0];
            member.operand[1] |= row.operand[1];
            put(Members, used++, member.mnemonic ? member : Row{});
        }
    };
#define ROW(mnemonic, category, isa, flags, ...)                                                             \
    Row {                                                                                                    \
        ZYDIS_MNEMONIC_##mnemonic, flags, ZYDIS_CATEGORY_##category, ZYDIS_ISA_SET_##isa, {                  \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
#define MEMBER(group, number, mnemonic, category, isa, second, flags)                                        \
    members[group][number] = ROW(mnemonic, category, isa, flags, None, second);
#define OPCODE(map, opcode, count, mnemonic, category, isa, first, second, third, flags)                     \
    for (unsigned n = 0; n < count; ++n)                                                                     \
        put(map, opcode + n, ROW(mnemonic, category, isa, flags, first, second, third));
#define GROUP(map, opcode, group, isa, first, second, flags)                                                 \
    put_group(map, opcode, group, ROW(INVALID, INVALID, isa, flags, first, second));
#define PREFIX(opcode, means, flag) t.rows[OneByte][opcode] = {means, flag, 0, 0, {}};
#include "frontend/x86/opcodes.inc"
#undef PREFIX
#undef GROUP
#undef OPCODE
#undef MEMBER
#undef ROW
    return t;
}

inline constexpr Table table = make_table();

} // namespace dragoman::x86::opcodes
