// Vectors, time, calls and what else is seen of a block from outside, each by a block made for it.
#include "ir/vec.h"
#include "machine.h"

#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

using namespace ir;

// Adds 1 to each byte of XMM0; imm: Context::vectors_lazy from now on.
u64 change_vectors(Context& ctx, u64, u64, u64 imm) {
    EXPECT_EQ(ctx.vectors_here, 1u);
    for (unsigned i = 0; i < 16; ++i)
        ++ctx.vec[0][i];
    ctx.vectors_lazy = u32(imm);
    return 0;
}
constexpr Helper kChangeVectors{"change_vectors", change_vectors};

// A system call and the return from it: three blocks, of which the first and the last count on the vectors,
// and the one between them may find them in Context, and leaves them there unless it computes with them.
TEST(Vectors, StayInContextUntilABlockAsks) {
    for (const bool lazy : {true, false})
        for (const bool asks : {false, true}) {
            Machine m({.lazy_vectors = lazy});
            const auto add_xmm0 = [](Builder& b) {
                b.add({.op = Op::Vec, .size = 16, .d = Ref::xmm(0), .a = Ref::xmm(1)});
                b.block().insts.back().vec = u16(find_vec_op("paddb"));
            };
            const auto make = [&](u64 pc, bool kernel, bool adds, u64 lazy_after, u64 next) {
                Block b = block_at(pc, 2);
                b.vectors_lazy = kernel;
                Builder builder(b);
                builder.insn(0);
                if (adds) add_xmm0(builder);
                builder.call(kChangeVectors, {}, {}, {}, kernel && !adds);
                if (adds) add_xmm0(builder);
                builder.insn(4);
                builder.call(kChangeVectors, {}, {}, {}, i64(lazy_after));
                builder.mov_imm(8, Ref::temp(0), i64(next));
                builder.jump_ind(Ref::temp(0));
                return m.compile(b);
            };
            const auto user = make(0x1000, false, true, 1, 0x2000),
                       kernel = make(0x2000, true, asks, 0, 0x3000),
                       back = make(0x3000, false, true, 0, 0x4000);
            for (const auto& [pc, code] : {std::pair{u64{0x2000}, &kernel}, {u64{0x3000}, &back}})
                m.remember(pc, m.ctx().key, *code);
            for (u8& byte : m.ctx().vec[1])
                byte = 0x10;
            m.ctx().mxcsr = 0x7f80;
            m.run(user.start());
            EXPECT_EQ(m.ctx().rip, 0x4000u);
            EXPECT_EQ(m.ctx().vec[0][7], (asks ? 0x60 : 0x40) + 6) << m.list(kernel);
            EXPECT_EQ(m.ctx().vec[1][7], 0x10);
            EXPECT_EQ(m.ctx().vectors_here, 1u);
            EXPECT_EQ(m.ctx().mxcsr, 0x7f80u);
        }
}

// The op lies between two looks at the host's counter, and leaves everything else alone.
TEST(Time, IsThatOfTheContext) {
    for (const bool bmi2 : {true, false}) {
        Machine m({.use_bmi2 = bmi2});
        Block b = block_at(0x1000);
        Builder builder(b);
        builder.insn(0);
        builder.alu(Op::Cmp, 8, {}, kRax, kRbx);
        builder.add({.op = Op::TimeStamp, .d = Ref::gpr(12)});
        builder.jump(0x2000);
        const auto code = m.compile(b);
        Context& ctx = m.ctx();
        for (unsigned r = 0; r < kGprs; ++r)
            ctx.gpr[r] = 0x1111 * r;
        u64 last = 0;
        for (const TimeLine line : {TimeLine{0, 77}, TimeLine{u64{3} << 61, ~u64{0}}, TimeLine{1234567, 5}}) {
            ctx.time = line;
            const u64 before = line.at(host_counter());
            m.run(code);
            const u64 after = line.at(host_counter());
            EXPECT_LE(ctx.gpr[12] - before, after - before) << m.list(code);
            EXPECT_NE(ctx.gpr[12], last);
            last = ctx.gpr[12];
            for (unsigned r = 0; r < kGprs; ++r)
                EXPECT_TRUE(r == 12 || ctx.gpr[r] == 0x1111u * r) << r;
            EXPECT_EQ(ctx.flags, Flags(kCF | kSF | kAF)) << "of 0 - 0x3333";
            m.interpret(b);
            EXPECT_LE(ctx.gpr[12] - before, line.at(host_counter()) - before);
        }
    }
}

u64 spy(Context& ctx, u64 a, u64 b, u64 imm) {
    ctx.gpr[7] = ctx.rip;
    ctx.gpr[15] = ctx.flags;
    ctx.flags ^= kCF;
    return a * 10000 + b * 100 + imm;
}
constexpr Helper kSpy{"spy", spy, kCF, kCF};
u64 halt(Context& ctx, u64, u64, u64) {
    ctx.rip = 0x1234;
    ctx.exit = Exit::Halt;
    return 0;
}
constexpr Helper kHalt{"halt", halt};

TEST(Calls, PassOperandsAndState) {
    Machine m;
    Block b = block_at(0x1000, 2);
    Builder c(b);
    c.insn(0);
    c.alu(Op::Cmp, 8, {}, kRax, kRax);
    c.insn(4);
    const Ref t = c.temp(), u = c.temp();
    c.mov_imm(8, t, 5);
    c.mov_imm(8, u, 6);
    c.call(kSpy, u, t, kRdx, 3);
    c.alu(Op::Add, 8, kRax, t, u); // both survive
    c.exit_to(0x1008);
    const auto code = m.compile(b);
    m.ctx().gpr[2] = 4;
    m.run(b, code);
    EXPECT_EQ(m.ctx().gpr[0], 50403u + 5);
    EXPECT_EQ(m.ctx().gpr[7], 0x1004u) << "Context::rip in the helper";
    EXPECT_EQ(m.ctx().gpr[15], u64(kZF | kPF));

    const auto flags = [&](bool carry) {
        Block f = block_at(0x1000);
        Builder d(f);
        d.insn(0);
        d.add({.op = carry ? Op::Stc : Op::Clc});
        d.call(kSpy);
        d.add({.op = Op::Setcc, .size = 1, .cond = Cond::B, .d = kRbx});
        d.exit_to(0x1004);
        m.ctx().gpr[3] = 0;
        m.run(f, m.compile(f));
        return m.ctx().gpr[3];
    };
    EXPECT_EQ(flags(false), 1u);
    EXPECT_EQ(flags(true), 0u);
}

TEST(Calls, LeaveAtOnceWhenTheHelperSaysSo) {
    Machine m;
    Block b = block_at(0x1000, 2);
    Builder c(b);
    c.insn(0);
    c.alu(Op::Add, 8, kRax, kRax, Ref::imm(), 1);
    c.insn(4);
    c.call(kHalt);
    c.alu(Op::Add, 8, kRax, kRax, Ref::imm(), 100);
    c.exit_to(0x1008);
    const auto code = m.compile(b);
    m.ctx().gpr[0] = 0;
    m.run(code.start());
    EXPECT_EQ(m.ctx().exit, Exit::Halt);
    EXPECT_EQ(m.ctx().rip, 0x1234u);
    EXPECT_EQ(m.ctx().gpr[0], 1u);
    const backend::SidePoint* point = Machine::point_of(code, m.ctx().host_return);
    ASSERT_TRUE(point);
    EXPECT_EQ(point->guest_offset, 4u);
    EXPECT_EQ(point->instruction_index, 1u);
}

// SSE runs with the guest's rounding, C++ with the host's, and the guest's flags accumulate.
TEST(Mxcsr, IsTheGuestsInCodeAndTheHostsOutside) {
    Machine m;
    Block b = block_at(0x1000);
    Builder s(b);
    s.insn(0);
    s.add({.op = Op::VLoad, .size = 16, .d = Ref::xmm(1), .mem = {.base = kRsi}});
    s.exit_to(0x1004);
    const auto code = m.compile(b);
    const u32 before = __builtin_ia32_stmxcsr();
    m.ctx().mxcsr = 0x7f80; // toward zero
    m.ctx().gpr[6] = 0x3000;
    for (unsigned i = 0; i < 16; ++i)
        *m.memory->byte(0x3000 + i) = u8(i);
    m.run(code.start());
    EXPECT_EQ(__builtin_ia32_stmxcsr() & ~0x3fu, before & ~0x3fu);
    EXPECT_EQ(m.ctx().mxcsr, 0x7f80u);
    EXPECT_EQ(m.ctx().vec[1][15], 15);
}

TEST(Listing, NamesInstructions) {
    Machine m;
    const auto code = m.compile(adding(0x1000, 2, 5, 0x2000));
    const std::string text = m.list(code);
    EXPECT_NE(text.find("add rdx, 5"), std::string::npos) << text;
    EXPECT_NE(m.backend->describe().find("sse4.2"), std::string::npos);
}

TEST(Room, TooSmallIsRefused) {
    Machine m;
    backend::Compiled out;
    EXPECT_FALSE(m.backend->compile(adding(0x1000, 2, 5, 0x2000), m.buffer->executable() + m.next, 8, out));
}

} // namespace
} // namespace dragoman::test
