// Each pass by text in and text out.
#include "ir/passes.h"

#include "ir/passes/passes.h"
#include "ir_test_support.h"

namespace dragoman::ir {
namespace {

using test::block_of;

// The same text as print() would lay it out.
std::string normal(std::string_view text) {
    return print(block_of(text));
}

void expect_pass(void (*pass)(Block&), std::string_view before, std::string_view after) {
    Block block = block_of(before);
    pass(block);
    EXPECT_EQ(print(block), normal(after));
    for (const std::string& p : verify(block))
        ADD_FAILURE() << p;
}

TEST(DeadFlags, AWriterBeforeAnotherDies) {
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, 1
0003  sub.4 ecx, ecx, edx
0005  jump 0x10
)",
                R"(
0000  add.4 eax, eax, 1   !-
0003  sub.4 ecx, ecx, edx
0005  jump 0x10
)");
}

TEST(DeadFlags, ALoadBetweenKeepsThem) {
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, 1
0003  load.4 ebx, [rsi]
0005  sub.4 ecx, ecx, edx
0007  jump 0x10
)",
                R"(
0000  add.4 eax, eax, 1
0003  load.4 ebx, [rsi]
0005  sub.4 ecx, ecx, edx
0007  jump 0x10
)");
}

TEST(DeadFlags, ReadersKeepWhatTheyRead) {
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, 1
0003  adc.4 edx, edx, 0
0006  cmp.4 eax, 5
0009  setcc.z cl
000c  test.4 eax, eax
000e  branch.z 0x10, 0x20
)",
                R"(
0000  add.4 eax, eax, 1   !c
0003  adc.4 edx, edx, 0   !-
0006  cmp.4 eax, 5        !z
0009  setcc.z cl
000c  test.4 eax, eax
000e  branch.z 0x10, 0x20
)");
}

TEST(DeadFlags, IncPassesTheCarryThrough) {
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, ecx
0003  inc.4 edx, edx
0005  jump 0x10
)",
                R"(
0000  add.4 eax, eax, ecx  !c
0003  inc.4 edx, edx
0005  jump 0x10
)");
}

TEST(DeadFlags, AShiftByARegisterMayKeepThem) {
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, ecx
0003  shl.4 edx, edx, ecx
0005  jump 0x10
)",
                R"(
0000  add.4 eax, eax, ecx
0003  shl.4 edx, edx, ecx
0005  jump 0x10
)");
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, ecx
0003  shl.4 edx, edx, 1
0005  jump 0x10
)",
                R"(
0000  add.4 eax, eax, ecx !-
0003  shl.4 edx, edx, 1
0005  jump 0x10
)");
}

TEST(DeadFlags, AShiftByAConstantKeepsNone) {
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, ecx
0003  shr.4 edx, edx, 7
0005  shld.8 ebx, ebx, ecx, 3
0007  jump 0x10
)",
                R"(
0000  add.4 eax, eax, ecx !-
0003  shr.4 edx, edx, 7 !-
0005  shld.8 ebx, ebx, ecx, 3
0007  jump 0x10
)");
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, ecx
0003  shr.4 edx, edx, 32
0005  jump 0x10
)",
                R"(
0000  add.4 eax, eax, ecx
0003  shr.4 edx, edx, 32
0005  jump 0x10
)");
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, ecx
0003  rol.4 edx, edx, 7
0005  jump 0x10
)",
                R"(
0000  add.4 eax, eax, ecx !pazso
0003  rol.4 edx, edx, 7
0005  jump 0x10
)");
}

TEST(DeadFlags, CallsSeeThem) {
    expect_pass(dead_flags, R"(
0000  add.4 eax, eax, ecx
0003  call mix(rax)
0005  sub.4 eax, eax, 1
0008  jump 0x10
)",
                R"(
0000  add.4 eax, eax, ecx
0003  call mix(rax)
0005  sub.4 eax, eax, 1
0008  jump 0x10
)");
}

TEST(ConstantPropagation, ConstantsBecomeImmediates) {
    expect_pass(constant_propagation, R"(
0000  mov.4 ecx, 0x10
0005  add.4 eax, eax, ecx
0007  add.8 rbx, rcx, rbx
000a  store.4 [rsi], ecx
000c  load.1 dl, [rdi + rcx*4 + 4]
0010  jump 0x20
)",
                R"(
0000  mov.4 ecx, 0x10
0005  add.4 eax, eax, 0x10
0007  add.8 rbx, rbx, 0x10
000a  store.4 [rsi], 0x10
000c  load.1 dl, [rdi + 0x44]
0010  jump 0x20
)");
}

TEST(ConstantPropagation, WideConstantsStayInRegisters) {
    expect_pass(constant_propagation, R"(
0000  mov.8 rcx, 0x123456789abcdef0
000a  add.8 rax, rax, rcx
000d  mov.8 rdx, rcx
0010  load.8 rbx, [rcx]
0013  load.8 rbx, [rcx + rax]
0016  jump 0x20
)",
                R"(
0000  mov.8 rcx, 0x123456789abcdef0
000a  add.8 rax, rax, rcx
000d  mov.8 rdx, 0x123456789abcdef0
0010  load.8 rbx, [0x123456789abcdef0]
0013  load.8 rbx, [rcx + rax]
0016  jump 0x20
)");
}

TEST(ConstantPropagation, FoldsOnlyWhenFlagsAreDead) {
    expect_pass(constant_propagation, R"(
0000  mov.4 ecx, 0x10
0005  add.4 edx, ecx, 3  !-
0007  add.4 ecx, ecx, 3
0009  mov.1 bl, cl
000b  jump 0x20
)",
                R"(
0000  mov.4 ecx, 0x10
0005  mov.4 edx, 0x13
0007  add.4 ecx, ecx, 3
0009  mov.1 bl, 0x13
000b  jump 0x20
)");
}

TEST(ConstantPropagation, PartialWritesMerge) {
    expect_pass(constant_propagation, R"(
0000  mov.4 eax, 0x11223344
0005  mov.1 al, 0x55
0007  store.4 [rsi], eax
0009  inshi rax, cl
000b  store.4 [rsi], eax
000d  jump 0x20
)",
                R"(
0000  mov.4 eax, 0x11223344
0005  mov.1 al, 0x55
0007  store.4 [rsi], 0x11223355
0009  inshi rax, cl
000b  store.4 [rsi], eax
000d  jump 0x20
)");
}

TEST(ConstantPropagation, CopiesOfTemporaries) {
    expect_pass(constant_propagation, R"(
0000  mov.8 t0, rax
      mov.4 t1, ecx
      add.8 rbx, rbx, t0
      add.4 rdx, rdx, t1
      mov.8 rax, rsi
      mov.8 rdi, t0
      mov.8 r8, t1
0005  jump 0x20
)",
                R"(
0000  mov.8 t0, rax
      mov.4 t1, ecx
      add.8 rbx, rbx, rax
      add.4 rdx, rdx, ecx
      mov.8 rax, rsi
      mov.8 rdi, t0
      mov.8 r8, t1
0005  jump 0x20
)");
}

TEST(ConstantPropagation, HelpersForgetRegisters) {
    expect_pass(constant_propagation, R"(
0000  mov.4 ecx, 1
0005  call mix()
0007  mov.4 eax, ecx
0009  jump 0x20
)",
                R"(
0000  mov.4 ecx, 1
0005  call mix()
0007  mov.4 eax, ecx
0009  jump 0x20
)");
}

TEST(ConstantPropagation, KnownJumps) {
    expect_pass(constant_propagation, R"(
0000  xor.4 eax, eax, eax
0002  branchnz.4 eax, 0x10, 0x20
)",
                R"(
0000  xor.4 eax, eax, eax
0002  jump 0x20
)");
    expect_pass(constant_propagation, R"(
0000  mov.4 eax, 0x1234
0002  jumpind rax
)",
                R"(
0000  mov.4 eax, 0x1234
0002  jump 0x1234
)");
}

TEST(DeadCode, OverwrittenBeforeAnyoneLooks) {
    expect_pass(dead_code, R"(
0000  mov.4 eax, 1
0005  mov.4 eax, 2
000a  mov.4 ecx, 1
000f  load.4 edx, [rsi]
0011  mov.4 ecx, 2
0016  jump 0x20
)",
                R"(
0000  nop
0005  mov.4 eax, 2
000a  mov.4 ecx, 1
000f  load.4 edx, [rsi]
0011  mov.4 ecx, 2
0016  jump 0x20
)");
}

TEST(DeadCode, TemporariesAndFlags) {
    expect_pass(dead_code, R"(
0000  mov.8 t0, rax
      add.8 t1, t0, 1   !-
      add.8 t2, t0, 1
0003  cmp.4 eax, 1      !-
0005  cmp.4 eax, 1
0007  load.4 t0, [rsi]
0009  mov.1 al, 1
000b  mov.1 al, 2
000d  mov.4 eax, eax
000f  mov.8 rax, rax
0012  jump 0x20
)",
                R"(
0000  mov.8 t0, rax
      add.8 t2, t0, 1
0003  nop
0005  cmp.4 eax, 1
0007  load.4 t0, [rsi]
0009  mov.1 al, 1
000b  mov.1 al, 2
000d  mov.4 eax, eax
000f  nop
0012  jump 0x20
)");
}

TEST(Facts, StateMayBeRegisters) {
    const Inst across{.op = Op::StoreState, .size = 4, .imm = 8 * 9 + 6}; // R9 and R10
    EXPECT_EQ(registers_written(across), RegSet{3} << 9);
    EXPECT_EQ(registers_read({.op = Op::LoadState, .size = 8, .d = kRax, .imm = 8 * 3}), RegSet{1} << 3);
    EXPECT_EQ(registers_written({.op = Op::StoreState, .size = 8, .imm = offsetof(Context, rip)}), RegSet{0});
}

TEST(Facts, RegistersWithoutAnUpperHalf) {
    const auto narrowed = [](Inst inst) {
        inst.d = Ref::gpr(9);
        return registers_narrowed(inst) == reg_set(inst.d);
    };
    EXPECT_TRUE(narrowed({.op = Op::Add, .size = 4}));
    EXPECT_FALSE(narrowed({.op = Op::Add, .size = 8}));
    EXPECT_FALSE(narrowed({.op = Op::Add, .size = 2}));
    EXPECT_TRUE(narrowed({.op = Op::Zext, .size = 1, .size2 = 8}));
    EXPECT_FALSE(narrowed({.op = Op::Zext, .size = 1, .size2 = 2}));
    EXPECT_TRUE(narrowed({.op = Op::Sext, .size = 1, .size2 = 4}));
    EXPECT_FALSE(narrowed({.op = Op::Sext, .size = 1, .size2 = 8}));
    EXPECT_FALSE(narrowed({.op = Op::Bsf, .size = 4})) << "of 0 it leaves all of d";
    EXPECT_TRUE(narrowed({.op = Op::Rmw, .size = 4, .sub = Op::Xadd}));
    EXPECT_FALSE(narrowed({.op = Op::Rmw, .size = 4, .sub = Op::Cmpxchg})) << "d is ignored";
}

TEST(Passes, SwitchesByName) {
    PassSwitches s;
    EXPECT_TRUE(s.set("dead-code", false));
    EXPECT_FALSE(s.set("no-such-pass", false));
    int dumps = 0;
    Block block = block_of("0000  jump 0x10\n");
    run_passes(block, s, [&](std::string_view name, const Block&) {
        EXPECT_NE(name, "dead-code");
        ++dumps;
    });
    EXPECT_EQ(dumps, int(passes().size()) - 1);
    run_passes(block, PassSwitches::none(), [&](std::string_view, const Block&) { ADD_FAILURE(); });
}

} // namespace
} // namespace dragoman::ir
