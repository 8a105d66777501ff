// One IR instruction and what it is made of. The IR is a register machine, not SSA: guest registers are operands, so that
// an x86 host can emit most instructions as themselves.
#pragma once

#include "base/types.h"
#include "ir/context.h"
#include "ir/op.h"

namespace dragoman::ir {

// An operand: a guest register, a temporary of the current guest instruction, a vector register, or the immediate.
// A write of 1 or 2 bytes to a GPR keeps its other bytes; every other write zero-extends (SDM vol. 1, 3.4.1.1).
// Temporaries are dead at the next Insn.
class Ref {
  public:
    constexpr Ref() = default;
    static constexpr Ref gpr(unsigned n) { return Ref(u8(n)); }
    static constexpr Ref temp(unsigned n) { return Ref(u8(16 + n)); }
    static constexpr Ref xmm(unsigned n) { return Ref(u8(32 + n)); }
    static constexpr Ref mm(unsigned n) { return Ref(u8(64 + n)); }     // the MMX register of that number
    static constexpr Ref opmask(unsigned n) { return Ref(u8(72 + n)); } // K0..7
    static constexpr Ref imm() { return Ref(0xfe); }                // Inst::imm
    static constexpr Ref none() { return Ref(0xff); }

    constexpr bool is_gpr() const { return id_ < 16; }
    constexpr bool is_temp() const { return id_ >= 16 && id_ < 32; }
    constexpr bool is_xmm() const { return id_ >= 32 && id_ < 64; }
    constexpr bool is_mm() const { return id_ >= 64 && id_ < 72; }
    constexpr bool is_opmask() const { return id_ >= 72 && id_ < 80; }
    constexpr bool is_imm() const { return id_ == 0xfe; }
    constexpr bool is_none() const { return id_ == 0xff; }
    constexpr bool is_reg() const { return id_ < 32; } // GPR or temporary
    constexpr unsigned index() const { return id_ < 32 ? id_ & 15 : id_ < 64 ? id_ & 31 : id_ & 7; }
    constexpr u8 id() const { return id_; } // 0..31 for GPRs and temporaries: a dense index
    friend constexpr bool operator==(Ref a, Ref b) = default;

  private:
    explicit constexpr Ref(u8 id) : id_(id) {}
    u8 id_ = 0xff;
};

inline constexpr Ref kRax = Ref::gpr(0), kRcx = Ref::gpr(1), kRdx = Ref::gpr(2), kRbx = Ref::gpr(3),
                     kRsp = Ref::gpr(4), kRbp = Ref::gpr(5), kRsi = Ref::gpr(6), kRdi = Ref::gpr(7);

// effective = (base + (index << scale) + disp) cut to `size` bytes;
// linear = (effective + base of seg, if there is one) cut to `linear_size` bytes.
struct Address {
    Ref base, index;
    u8 scale = 0;       // log2
    u8 size = 8;        // address size: 2, 4 or 8 bytes
    u8 linear_size = 8; // 8 in 64-bit mode, 4 elsewhere
    Seg seg = Seg::None;
    bool from_pc = false; // disp moves with the block (Inst::from_pc); there is neither base nor index
    i64 disp = 0; // for size 8: fits 32 bits signed, unless there is neither base nor index
};

// What a helper does, if generated code may do it too where all bytes can be accessed in place: RCX units, of
// RSI's bytes to RDI (Move) or of RAX to RDI (Fill), while Context::direction_flag is clear. The three are as
// wide as the code's mode, 64 or 32 bits, and are left as by REP MOVS and REP STOS; flags and the other
// registers stay.
struct Bulk {
    enum Kind : u8 { None, Move, Fill };
    Kind kind = None;
    u8 size = 0; // bytes of a unit: 1, 2, 4, 8
};

// A C++ function called from translated code. It may read and write all of Context; `a` and `b` are the values of the
// operands. Context::rip is the rip of the guest instruction, all registers and flags are in place. When it returns with
// Context::exit other than None the block is left with Context::rip as the helper set it.
struct Helper {
    const char* name;
    u64 (*fn)(Context& ctx, u64 a, u64 b, u64 imm);
    Flags writes = 0; // arithmetic flags that it replaces in Context::flags
    Flags reads = 0;  // those that it looks at
    Bulk bulk = {};
};

// How an EVEX instruction rounds: as MXCSR says; or with all exceptions suppressed, as MXCSR says or by itself
// (SDM vol. 1, 15.6.3 and 15.6.4).
enum class Rounding : u8 { Mxcsr, Suppress, Nearest, Down, Up, Zero };

struct Inst {
    Op op = Op::Insn;
    u8 size = 8;       // bytes: 1, 2, 4, 8 (16, 32 or 64 for vectors)
    u8 size2 = 8;      // destination bytes of Zext, Sext, LoadZx, LoadSx; of a general register in a Vex
    Op sub = Op::Count; // of Rmw
    Cond cond = Cond::O;
    bool lock = false;        // of Rmw
    bool from_memory = false; // of Vec, Vex and X87
    // Of a Vex with an EVEX encoding: elements that are masked off become 0 (else they keep what d holds); the memory
    // operand is one element for all.
    bool zeroing = false, broadcast = false;
    // imm is an address that lies as far from the block's pc wherever the block lies. Where ops name a rip of their own
    // (jumps, branches, polls) it is always so.
    bool from_pc = false;
    Rounding rounding = Rounding::Mxcsr;
    Ref mask; // the write mask: an opmask register, or none
    Ref d, a, b, c;
    Flags live = kAllFlags; // flags written that somebody may see: the dead-flags pass clears the others
    Address mem;
    i64 imm = 0, imm2 = 0;
    union {
        const Helper* helper = nullptr; // of Call and X87
        u16 vec;                        // of Vec and Vex: index into the table of ir/vec.h, ir/vex.h
    };
};

namespace by_inst { // where the op's row does not tell
Flags flags_written(const Inst& inst);
Flags flags_read(const Inst& inst);
bool may_leave(const Inst& inst);
} // namespace by_inst

// Flags defined by this instruction (before liveness), and those it reads.
inline Flags flags_written(const Inst& inst) {
    const Flags writes = info(inst.op).writes;
    return writes != kBySub ? writes : by_inst::flags_written(inst);
}
inline Flags flags_read(const Inst& inst) {
    const Flags reads = info(inst.op).reads;
    if (reads == kByCond) return flags_read(inst.cond);
    return reads != kBySub ? reads : by_inst::flags_read(inst);
}
// May this instruction leave the block before its end (fault, exit of a helper, poll)?
inline bool may_leave(const Inst& inst) {
    const OpInfo& op = info(inst.op);
    return (op.effects & (kTouchesMemory | kMayFault)) || ((op.effects & kKeep) && by_inst::may_leave(inst));
}

} // namespace dragoman::ir
