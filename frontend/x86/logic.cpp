// Logical instructions (SDM vol. 1, 5.1.4).
#include "frontend/x86/translate.h"
#include "frontend/x86/translate_common.h"

namespace dragoman::x86 {

using ir::Op;

bool AND(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::And);
}
bool OR(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Or);
}
bool XOR(Translation& t, const Instruction& insn) {
    return binary(t, insn, Op::Xor);
}
bool NOT(Translation& t, const Instruction& insn) {
    return unary(t, insn, Op::Not);
}
bool TEST(Translation& t, const Instruction& insn) {
    return compare(t, insn, Op::Test);
}

} // namespace dragoman::x86
