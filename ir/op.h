// The op table as C++: the enum and one OpInfo per row of ops.inc.
#pragma once

#include "ir/flags.h"

#include <string_view>

namespace dragoman::ir {

enum class Op : u8 {
#define OP(name, ...) name,
#include "ir/ops.inc"
#undef OP
    Count
};

// Which fields of Inst an op uses.
enum class Form : u8 {
    None,
    D,      // d
    A,      // a
    DA,     // d, a
    AB,     // a, b
    DAB,    // d, a, b
    DABC,   // d, a, b, c
    DCA,    // d, c, a: two results
    DM,     // d, mem
    MA,     // mem, a (Rmw: also d, c)
    D_Mem,  // d, mem with segment, imm
    D_Imm,  // d, imm
    A_Imm,  // a, imm
    Imm,    // imm
    Branch, // cond or a, imm, imm2
    Rmw,    // not an op of its own
    ImmSize, // imm
    Vec,    // d, a, mem, imm: see ir/vec.h
    Vex,    // d, a, b, c, mem, imm: see ir/vex.h
    X87,    // a or mem, imm, helper
    Call,   // d, a, b, imm, helper
};

enum Effect : u8 {
    kTouchesMemory = 1, // may fault
    kMayFault = 2,      // may fault otherwise
    kEndsBlock = 4,     // last op of a block
    kTouchesState = 8,  // reads or writes Context beyond its operands
    kKeep = 16,         // never dead
    kFlagsMaybe = 32    // some of the flags in `writes` may keep their old value
};

struct OpInfo {
    std::string_view name;
    Form form;
    Flags writes; // kBySub: those of Inst::sub or of the helper
    Flags reads;  // kByCond: those of Inst::cond
    u8 effects;
};

inline constexpr Flags kBySub = 1u << 31;
inline constexpr Flags kByCond = 1u << 30;

namespace op_table { // what the columns of ops.inc are called there
inline constexpr Flags kNoCarry = kAllFlags & ~kCF, Sub = kBySub, Cc = kByCond;
inline constexpr u8 Mem = kTouchesMemory, Fault = kMayFault, End = kEndsBlock, State = kTouchesState, Keep = kKeep,
                    FlagsMaybe = kFlagsMaybe;
inline constexpr OpInfo rows[] = {
#define OP(name, form, writes, reads, effects) {#name, Form::form, writes, reads, effects},
#include "ir/ops.inc"
#undef OP
};
} // namespace op_table

constexpr const OpInfo& info(Op op) {
    return op_table::rows[static_cast<u8>(op)];
}

// Flags of `writes` that some processors keep, AMD's for these ops, where the manual leaves them undefined.
// They are what the host's instruction makes of kSettled, so that nothing depends on what was there before
// (of an instruction: ir/passes/passes.h).
inline constexpr Flags kSettled = kZF | kPF; // as after a comparison of equals
constexpr Flags flags_settled(Op op) {
    switch (op) {
    case Op::Imul:
    case Op::MulWide:
    case Op::ImulWide: return kSF | kZF | kAF | kPF;
    case Op::DivWide:
    case Op::IdivWide: return kAllFlags;
    case Op::Tzcnt:
    case Op::Lzcnt: return kOF | kSF | kAF | kPF;
    default: return 0;
    }
}

} // namespace dragoman::ir
