// Vector instructions as IR: x86 shapes by their mnemonic, each with a C++ reference meaning. One row of
// vec_ops.inc per mnemonic; `Inst::vec` is the row's number.
//
// An instruction has a destination d and a source a (each an XMM or MMX register, or a GPR where the manual
// says r32/r64), or with `from_memory` the source is [mem] of vec_source_bytes(); imm is the imm8, if the row
// has one. d is also the first source where the manual says so. A shift by a constant (PSLLW xmm, imm8) has a
// = Ref::imm(). Stores are VStore, plain loads VLoad. Where MMX registers are named the processor's state
// becomes that of MMX (TOP 0, all tags valid).
//
// Not here: MASKMOVQ and MASKMOVDQU, which store to where RDI points.
#pragma once

#include "ir/inst.h"

#include <string_view>

namespace dragoman::ir {

// The value of any operand of a Vec: low 8 bytes for MMX and GPRs.
struct alignas(16) Vec128 {
    u8 bytes[16];
};

// `d` holds the destination's old value and receives the new one; `size` is Inst::size, which matters where
// the instruction has a r32 and a r64 form (4 or 8; PCMPESTRx: of RAX and RDX). Runs under the guest's MXCSR.
// Flags are written to ctx.flags.
using VecFn = void (*)(Context& ctx, Vec128& d, const Vec128& s, u8 imm, u8 size);

struct VecOp {
    std::string_view mnemonic; // lower case, as in the manual; also asmjit's name
    u8 source_bytes;           // what a memory source reads in the xmm form: 1, 2, 4, 8 or 16
    bool has_imm;
    bool aligned; // a memory source of the xmm form must be aligned to 16 bytes; the op checks it (#GP)
    bool implicit_registers; // reads or writes RAX, RCX or RDX without naming them: no direct emission
    bool numeric;            // may set MXCSR's exception flags, and raise #XM where they are not masked
    bool writes_d;           // false: d is only read (COMISS, PTEST, PCMPISTRI ...)
    bool sized;              // a memory source is as wide as Inst::size (CVTSI2SD)
    u8 mmx_source_bytes;     // of the mm form
    Flags flags;             // written (COMISS, PTEST, PCMPISTRI ...)
    VecFn fn;                // the meaning
    VecFn mmx; // that of the form whose vector operands are all MMX registers; null: there is none
};

const VecOp& vec_op(u16 index);
u16 vec_op_count();
// The row of a mnemonic, or -1.
int find_vec_op(std::string_view mnemonic);

// What this Vec reads from memory, in bytes.
unsigned vec_source_bytes(const Inst& inst);

} // namespace dragoman::ir
