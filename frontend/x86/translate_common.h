// Small things that several translate files share.
#pragma once

#include "frontend/x86/translation.h"

namespace dragoman::x86 {

inline bool is_memory(const Instruction& insn, unsigned n) {
    return insn.operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY;
}
inline bool is_immediate(const Instruction& insn, unsigned n) {
    return insn.operands[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}
// Bytes of operand n.
inline unsigned operand_bytes(const Instruction& insn, unsigned n) {
    return insn.operands[n].size / 8u;
}
inline bool is_high_byte(const Instruction& insn, unsigned n) {
    return insn.operands[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           Translation::is_high_byte(insn.operands[n].reg.value);
}

// The condition of Jcc, SETcc and CMOVcc: the low four bits of the opcode (SDM vol. 1, appendix B).
inline ir::Cond condition(const Instruction& insn) {
    return ir::Cond(insn.zydis.opcode & 15);
}

// Operand 0 as the destination of a register-form operation: the GPR itself, or for AH CH DH BH a temporary
// that holds its value and that `finish` puts back.
class Destination {
  public:
    Destination(Translation& t, const Instruction& insn, unsigned n = 0)
        : t_(t), gpr_(Translation::gpr(insn.operands[n].reg.value)), value_(gpr_) {
        if (is_high_byte(insn, n)) {
            value_ = t.ir.temp();
            t.ir.unary(ir::Op::ExtHi, 1, value_, gpr_);
        }
    }
    ir::Ref ref() const { return value_; }
    void finish() {
        if (value_ != gpr_) t_.ir.unary(ir::Op::InsHi, 1, gpr_, value_);
    }

  private:
    Translation& t_;
    ir::Ref gpr_, value_;
};

// dst = dst op src, dst a register or memory (ADD, AND ...).
bool binary(Translation& t, const Instruction& insn, ir::Op op);
// dst = op dst (INC, NOT ...).
bool unary(Translation& t, const Instruction& insn, ir::Op op);
// Flags from a comparison, nothing stored (CMP, TEST).
bool compare(Translation& t, const Instruction& insn, ir::Op op);

} // namespace dragoman::x86
