// Which guest registers are held in the register for temporaries, and over which instructions.
#include "backend/x64/held_registers.h"

#include "machine.h"

#include <gtest/gtest.h>

#include <string>

namespace dragoman::test {
namespace {

using namespace ir;
using backend::HeldRegisters;

constexpr Ref kR14 = Ref::gpr(14), kR15 = Ref::gpr(15);

// A block as the plan sees it, and the plan as text: for each instruction the register, with a + where it is
// fetched.
class Plan {
  public:
    Plan() : builder_(block_) {}
    Builder& next() {
        builder_.insn(at_++);
        return builder_;
    }
    std::string text(bool loads_are_operands = false) {
        HeldRegisters held;
        held.plan(
            block_, reg_set(kR14) | reg_set(kR15), [&](std::size_t) { return loads_are_operands; },
            [](std::size_t) { return RegSet{0}; });
        std::string s;
        for (i32 i = 0; i < at_; ++i) {
            const HeldRegisters::Hold hold = held.of(std::size_t(i));
            s += hold.id == HeldRegisters::none ? "-" : std::to_string(hold.id);
            if (hold.fetch) s += '+';
            s += ' ';
        }
        return s;
    }

  private:
    Block block_;
    Builder builder_;
    i32 at_ = 0;
};

TEST(HeldRegisters, FromTheFirstUseToTheLast) {
    Plan p;
    p.next().mov(8, kRax, kRdx);
    p.next().load(8, kRax, {.base = kR15});
    p.next().mov(8, kRbx, kRax);
    p.next().load(8, kRax, {.base = kR15, .disp = 8});
    p.next().mov(8, kRbx, kRax);
    EXPECT_EQ(p.text(), "- 15+ 15 15 - ");
}

TEST(HeldRegisters, AreNotFetchedWhereTheOldValueIsReplaced) {
    Plan p;
    p.next().load(8, kR15, {.base = kRdx});
    p.next().load(8, kRax, {.base = kR15});
    EXPECT_EQ(p.text(), "15 15 ");
    Plan zero; // XOR of a register with itself
    zero.next().alu(Op::Xor, 4, kR15, kR15, kR15);
    zero.next().alu(Op::Add, 4, kR15, kR15, kRdx);
    EXPECT_EQ(zero.text(), "15 15 ");
    Plan part; // the rest of the register matters
    part.next().load(1, kR15, {.base = kRdx});
    part.next().load(8, kRax, {.base = kR15});
    part.next().load(8, kRax, {.base = kR15, .disp = 8});
    EXPECT_EQ(part.text(), "15+ 15 15 ");
}

TEST(HeldRegisters, GiveWayToTemporaries) {
    Plan p;
    p.next().load(8, kRax, {.base = kR15});
    p.next().load(8, kRax, {.base = kR15, .disp = 8});
    Builder& b = p.next();
    b.load(8, Ref::temp(0), {.base = kRdx});
    b.alu(Op::Add, 8, kRax, kRax, Ref::temp(0));
    p.next().load(8, kRax, {.base = kR15});
    p.next().load(8, kRax, {.base = kR15, .disp = 8});
    EXPECT_EQ(p.text(), "15+ 15 - 15+ 15 ");
    EXPECT_EQ(p.text(true), "15+ 15 15 15 15 "); // it is in no register
}

// An addition in memory is one instruction; held, it would be two.
TEST(HeldRegisters, AreNotHeldForWhatIsAsShortInMemory) {
    Plan p;
    p.next().alu(Op::Add, 8, kR15, kR15, kRdx);
    p.next().mov(8, kR14, kRdx);
    p.next().load(8, kRax, {.base = kR14});
    EXPECT_EQ(p.text(), "- - - ");
}

TEST(HeldRegisters, TheOneThatGainsMost) {
    Plan p;
    for (i64 n = 0; n < 3; ++n) {
        p.next().load(8, kRax, {.base = kR14, .disp = 8 * n});
        if (n == 1) p.next().load(8, kRax, {.base = kR15});
    }
    p.next().load(8, kRax, {.base = kR15, .disp = 8});
    p.next().load(8, kRax, {.base = kR15, .disp = 16});
    EXPECT_EQ(p.text(), "14+ 14 14 14 15+ 15 ");
}

// The flags before the load are those of what R15 was, from which they are made again if it faults: not from
// the register that is to hold the new value.
TEST(HeldRegisters, FlagsComeFromTheOldValue) {
    Machine m({.uncounted = true}), reference;
    Block b = block_at(0x1000, 5);
    Builder builder(b);
    builder.insn(0);
    builder.add({.op = Op::Cmp, .size = 4, .a = kR15, .b = Ref::imm(), .imm = 5});
    builder.insn(1); // needs a temporary
    builder.mov(8, Ref::temp(0), kRdx);
    builder.mov(8, kRdx, kRcx);
    builder.mov(8, kRcx, Ref::temp(0));
    builder.insn(2);
    builder.load(8, kR15, {.base = kRsi});
    builder.insn(3);
    builder.alu(Op::Add, 8, kRax, kRax, kR15);
    builder.insn(4);
    builder.load(8, kRbx, {.base = kR15, .index = kR15});
    builder.exit_to(0x1005);
    const auto code = m.compile(b);
    for (Machine* machine : {&m, &reference}) {
        for (unsigned r = 0; r < 16; ++r)
            machine->ctx().gpr[r] = r;
        machine->ctx().gpr[2] = 5; // what the register for temporaries has then
        machine->ctx().gpr[6] = 0x1d000;
    }
    m.run(b, code);
    reference.interpret(b);
    EXPECT_EQ(m.ctx().exit, Exit::Fault);
    EXPECT_EQ(m.ctx().rip, 0x1002u);
    EXPECT_EQ(m.ctx().flags, reference.ctx().flags) << m.list(code);
}

} // namespace
} // namespace dragoman::test
