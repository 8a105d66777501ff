// Links, indirect jumps, polls, calls, exact state at exits, and the ways to memory, each by a block made for
// it.
#include "ir/vec.h"
#include "machine.h"

#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

using namespace ir;

Block block_at(u64 pc, u32 instructions = 1) {
    Block b;
    b.pc = b.linear_pc = pc;
    b.guest_instructions = instructions;
    b.guest_bytes = 4 * instructions;
    return b;
}

// reg += n; jump to target
Block adding(u64 pc, unsigned reg, i64 n, u64 target) {
    Block b = block_at(pc);
    Builder builder(b);
    builder.insn(0);
    builder.alu(Op::Add, 8, Ref::gpr(reg), Ref::gpr(reg), Ref::imm(), n);
    builder.jump(target);
    return b;
}

const backend::LinkSite& site_to(const Machine::Code& code, u64 target) {
    for (const backend::LinkSite& site : code.compiled.links)
        if (site.target == target) return site;
    ADD_FAILURE() << "no link site to " << target;
    static const backend::LinkSite none{};
    return none;
}

TEST(Links, LeadToTheStubThenToTheBlockThenBack) {
    Machine m;
    const Block first = adding(0x1000, 0, 1, 0x1800), second = adding(0x1800, 3, 10, 0x2000);
    const auto a = m.compile(first), b = m.compile(second);
    ASSERT_EQ(a.compiled.links.size(), 1u);
    const backend::LinkSite& site = site_to(a, 0x1800);

    m.ctx().budget = 100;
    m.backend->run(m.ctx(), a.start());
    EXPECT_EQ(m.ctx().exit, Exit::Lookup);
    EXPECT_EQ(m.ctx().rip, 0x1800u);
    EXPECT_EQ(m.ctx().host_return, reinterpret_cast<u64>(a.entry) + site.return_offset);
    EXPECT_EQ(m.ctx().budget, 99);

    m.backend->link(a.entry, site, b.entry, b.compiled);
    m.backend->run(m.ctx(), a.start());
    EXPECT_EQ(m.ctx().rip, 0x2000u);
    EXPECT_EQ(m.ctx().gpr[0], 2u);
    EXPECT_EQ(m.ctx().gpr[3], 10u);
    EXPECT_EQ(m.ctx().budget, 97);

    m.backend->unlink(a.entry, site);
    m.backend->run(m.ctx(), a.start());
    EXPECT_EQ(m.ctx().rip, 0x1800u);
    EXPECT_EQ(m.ctx().gpr[3], 10u);
}

// The flags that one block leaves are those that the next one finds, linked or not.
TEST(Links, CarryTheFlags) {
    Machine m;
    Block first = block_at(0x1000);
    Builder f(first);
    f.insn(0);
    f.alu(Op::Cmp, 8, {}, kRax, kRbx);
    f.load(8, kRdx, {.base = kRsi}); // makes the code save them
    f.jump(0x1800);
    Block second = block_at(0x1800);
    Builder s(second);
    s.insn(0);
    s.add({.op = Op::GetFlags, .size = 8, .d = kRcx});
    s.jump(0x2000);
    const auto a = m.compile(first), b = m.compile(second);
    for (const bool linked : {false, true}) {
        if (linked) m.backend->link(a.entry, site_to(a, 0x1800), b.entry, b.compiled);
        for (const auto& [left, right, want] : {std::tuple{u64{1}, u64{1}, Flags(kZF | kPF)},
                                                {u64{0}, u64{1}, Flags(kCF | kPF | kAF | kSF)},
                                                {u64{1} << 63, u64{1}, Flags(kOF | kPF | kAF)},
                                                {u64{3}, u64{1}, Flags(0)}}) {
            m.ctx().gpr[0] = left, m.ctx().gpr[3] = right;
            m.backend->run(m.ctx(), a.start());
            EXPECT_EQ(m.ctx().flags, want);
            if (!linked) m.backend->run(m.ctx(), b.start());
            EXPECT_EQ(m.ctx().gpr[1], want) << (linked ? "linked" : "by the run loop");
        }
    }
}

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
                m.jump_cache[jump_cache_index(pc)] = {
                    .pc = pc, .key = m.ctx().key, .host = code->entry + code->compiled.saved_entry};
            for (u8& byte : m.ctx().vec[1])
                byte = 0x10;
            m.ctx().mxcsr = 0x7f80;
            m.backend->run(m.ctx(), user.start());
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
            m.backend->run(ctx, code.start());
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

// The page's number decides, and Memory::may_enter where it is not known.
TEST(Links, IntoAnotherPageAskForItsNumber) {
    for (const bool user : {false, true}) {
        Machine m;
        Block second = adding(0x2000, 3, 10, 0x3000);
        second.code_pages[0] = 77;
        second.user = user;
        const auto a = m.compile(adding(0x1000, 0, 1, 0x2000)), b = m.compile(second);
        const backend::LinkSite& site = site_to(a, 0x2000);
        EXPECT_TRUE(site.far);
        m.ctx().flags = kCF | kOF;
        m.backend->run(m.ctx(), a.start());
        EXPECT_EQ(m.ctx().rip, 0x2000u);
        EXPECT_EQ(m.ctx().exit, Exit::Lookup);
        EXPECT_EQ(m.ctx().host_return, reinterpret_cast<u64>(a.entry) + site.return_offset);

        m.backend->link(a.entry, site, b.entry, b.compiled);
        m.ctx().budget = 100;
        const auto entered = [&] {
            m.ctx().gpr[0] = m.ctx().gpr[3] = 0;
            m.ctx().flags = kCF | kOF;
            m.backend->run(m.ctx(), a.start());
            EXPECT_EQ(m.ctx().exit, Exit::Lookup);
            EXPECT_EQ(m.ctx().rip, m.ctx().gpr[3] ? 0x3000u : 0x2000u);
            EXPECT_EQ(m.ctx().flags, m.ctx().gpr[3] ? Flags(kPF) : Flags(0)) << "of the last addition";
            return m.ctx().gpr[3] == 10;
        };
        auto& numbers = const_cast<softmmu::TlbTables&>(m.vcpu->tlb.tables()).code_numbers;
        u32& number = numbers[user][softmmu::CodePages::slot(0x2000)];
        EXPECT_FALSE(entered());
        EXPECT_EQ(m.ctx().budget, 99) << "nothing of the second has run";
        EXPECT_EQ(m.ctx().host_return, 0u);
        number = 77;
        EXPECT_TRUE(entered());
        number = 78;
        EXPECT_FALSE(entered());
        m.memory->may_be_entered = 77;
        EXPECT_TRUE(entered());
        numbers[!user][softmmu::CodePages::slot(0x2000)] = 77;
        m.memory->may_be_entered = 0;
        EXPECT_FALSE(entered()) << "the other's table says nothing";
        m.backend->unlink(a.entry, site);
        number = 77;
        EXPECT_FALSE(entered());
    }
}

TEST(Links, FromTheFlagsOfAConditionIntoAnotherPage) {
    for (const i64 n : {1, -1}) {
        Machine m;
        Block first = block_at(0x1000), second = block_at(0x2000);
        Builder f(first), s(second);
        f.insn(0);
        f.alu(Op::Sub, 8, kRax, kRax, Ref::imm(), n);
        f.branch(Cond::B, 0x2000, 0x3000);
        s.insn(0);
        s.alu(Op::Adc, 8, Ref::gpr(3), Ref::gpr(3), Ref::imm(), 0);
        s.jump(0x4000);
        second.code_pages[0] = 5;
        const auto a = m.compile(first), b = m.compile(second);
        const_cast<softmmu::TlbTables&>(m.vcpu->tlb.tables())
            .code_numbers[0][softmmu::CodePages::slot(0x2000)] = 5;
        m.backend->link(a.entry, site_to(a, 0x2000), b.entry, b.compiled);
        m.ctx().gpr[0] = 0; // 0 - 1 and 0 - -1 both borrow
        m.backend->run(m.ctx(), a.start());
        EXPECT_EQ(m.ctx().rip, 0x4000u);
        EXPECT_EQ(m.ctx().gpr[3], 1u) << "the carry came along";
        m.ctx().gpr[0] = u64(n);
        m.backend->run(m.ctx(), a.start());
        EXPECT_EQ(m.ctx().rip, 0x3000u);
    }
}

TEST(Links, IntoAnotherPageMayGoThroughTheJumpCache) {
    Machine m({.far_links = false});
    const auto a = m.compile(adding(0x1000, 0, 1, 0x2000)), b = m.compile(adding(0x2000, 3, 10, 0x3000));
    EXPECT_TRUE(a.compiled.links.empty());
    m.backend->run(m.ctx(), a.start());
    EXPECT_EQ(m.ctx().rip, 0x2000u);
    EXPECT_EQ(m.ctx().exit, Exit::Lookup);
    m.jump_cache[jump_cache_index(0x2000)] = {
        .pc = 0x2000, .key = m.ctx().key, .host = b.entry + b.compiled.saved_entry};
    m.ctx().flags = kCF | kOF;
    m.backend->run(m.ctx(), a.start());
    EXPECT_EQ(m.ctx().rip, 0x3000u);
    EXPECT_EQ(m.ctx().gpr[3], 10u);
    m.ctx().key = 2; // another mode
    m.backend->run(m.ctx(), a.start());
    EXPECT_EQ(m.ctx().rip, 0x2000u);
}

// Two targets that have one place in the first level: what is found in the second level moves there.
TEST(Links, TheSecondLevelOfTheJumpCacheTakesTurns) {
    Machine m;
    const u64 targets[] = {0x2000, 0x2000 + (u64{1} << Context::jump_cache_bits)};
    for (const u64 target : targets) {
        const auto to = m.compile(adding(target, 3, i32(target), 0x3000));
        m.jump_cache[jump_cache_second_index(target)] = {
            .pc = target, .key = m.ctx().key, .host = to.entry + to.compiled.saved_entry};
    }
    EXPECT_EQ(jump_cache_index(targets[0]), jump_cache_index(targets[1]));
    for (const u64 target : {targets[0], targets[1], targets[0]}) {
        Block b = block_at(0x1000);
        Builder j(b);
        j.insn(0);
        j.jump_ind(kRax);
        const auto from = m.compile(b);
        m.ctx().gpr[0] = target;
        m.ctx().gpr[3] = 0;
        m.ctx().flags = kCF | kOF;
        m.backend->run(m.ctx(), from.start());
        EXPECT_EQ(m.ctx().rip, 0x3000u);
        EXPECT_EQ(m.ctx().gpr[3], target);
        const Context::JumpCacheEntry& first = m.jump_cache[jump_cache_index(target)];
        EXPECT_EQ(first.pc, target);
        EXPECT_EQ(first.host, m.jump_cache[jump_cache_second_index(target)].host);
        ++m.ctx().key; // another mode
        m.backend->run(m.ctx(), from.start());
        EXPECT_EQ(m.ctx().rip, target) << "neither level knows it";
        --m.ctx().key;
    }
}

// while (--rcx) rax += 2, as one linked block.
Block loop(u64 pc) {
    Block b = block_at(pc, 3);
    Builder l(b);
    l.insn(0);
    l.alu(Op::Add, 8, kRax, kRax, Ref::imm(), 2);
    l.insn(4);
    l.unary(Op::Dec, 8, kRcx, kRcx);
    l.insn(8);
    l.branch(Cond::NZ, pc, pc + 10);
    return b;
}

TEST(Polls, EndALoopOnRequest) {
    Machine m;
    const Block b = loop(0x1000);
    const auto code = m.compile(b);
    m.backend->link(code.entry, site_to(code, 0x1000), code.entry, code.compiled);
    m.ctx().gpr[1] = 1000;
    m.ctx().budget = 1'000'000;
    m.backend->run(m.ctx(), code.start());
    EXPECT_EQ(m.ctx().gpr[0], 2000u);
    EXPECT_EQ(m.ctx().exit, Exit::Lookup);
    EXPECT_EQ(m.ctx().rip, 0x100au);
    EXPECT_EQ(m.ctx().budget, 1'000'000 - 3000);

    m.ctx().gpr[1] = 1000, m.ctx().gpr[0] = 0;
    m.ctx().poll = 1;
    m.backend->run(m.ctx(), code.start());
    EXPECT_EQ(m.ctx().exit, Exit::Event);
    EXPECT_EQ(m.ctx().rip, 0x1000u);
    EXPECT_EQ(m.ctx().gpr[0], 2u);
    EXPECT_EQ(m.ctx().host_return, 0u);
}

TEST(Polls, EndALoopWhenTheBudgetIsUsedUp) {
    for (const bool bmi2 : {true, false}) {
        Machine m({.count_exact = true, .use_bmi2 = bmi2});
        const Block b = loop(0x1000);
        const auto code = m.compile(b);
        m.backend->link(code.entry, site_to(code, 0x1000), code.entry, code.compiled);
        for (const i64 budget : {i64{30}, i64{299}, i64{1} << 62}) {
            m.ctx().gpr[1] = 1000, m.ctx().gpr[0] = 0;
            m.ctx().budget = budget;
            m.backend->run(m.ctx(), code.start());
            const u64 rounds = budget > 3000 ? 1000 : u64(budget) / 3 + 1;
            EXPECT_EQ(m.ctx().gpr[0], 2 * rounds);
            EXPECT_EQ(m.ctx().exit, rounds == 1000 ? Exit::Lookup : Exit::Event);
        }
    }
}

TEST(Polls, InTheMiddleOfABlockForInterrupts) {
    Machine m;
    Block b = block_at(0x1000, 3);
    Builder p(b);
    p.insn(0);
    p.alu(Op::Add, 8, kRax, kRax, Ref::imm(), 1);
    p.insn(4);
    p.alu(Op::Cmp, 8, {}, kRax, Ref::imm(), 1);
    p.add({.op = Op::PollIntr, .imm = 0x1008});
    p.insn(8);
    p.alu(Op::Add, 8, kRax, kRax, Ref::imm(), 100);
    p.exit_to(0x100c);
    const auto code = m.compile(b);
    struct Case {
        u32 poll;
        u8 line, enabled;
        bool leaves;
    };
    for (const Case c :
         {Case{0, 0, 0, false}, {0, 1, 0, false}, {0, 0, 1, false}, {0, 1, 1, true}, {1, 0, 0, true}}) {
        m.ctx().gpr[0] = 0;
        m.ctx().poll = c.poll, m.ctx().interrupt_line = c.line, m.ctx().interrupt_flag = c.enabled;
        m.ctx().budget = 10;
        m.run(b, code);
        EXPECT_EQ(m.ctx().exit, c.leaves ? Exit::Event : Exit::Lookup);
        EXPECT_EQ(m.ctx().rip, c.leaves ? 0x1008u : 0x100cu);
        EXPECT_EQ(m.ctx().gpr[0], c.leaves ? 1u : 101u);
        EXPECT_EQ(m.ctx().budget, c.leaves ? 8 : 7);
        if (c.leaves) {
            EXPECT_EQ(m.ctx().flags, Flags(kZF | kPF));
        }
    }
}

TEST(IndirectJump, GoesThroughTheCache) {
    Machine m;
    Block b = block_at(0x1000);
    Builder j(b);
    j.insn(0);
    j.jump_ind(kRax);
    const auto from = m.compile(b);
    const u64 target = 0xffff'8000'1234'5678;
    const auto to = m.compile(adding(target, 3, 7, 0x3000));
    m.ctx().gpr[0] = target;
    m.backend->run(m.ctx(), from.start());
    EXPECT_EQ(m.ctx().exit, Exit::Lookup);
    EXPECT_EQ(m.ctx().rip, target);

    Context::JumpCacheEntry& entry = m.jump_cache[jump_cache_index(target)];
    m.ctx().key = 1;
    entry = {.pc = target, .key = m.ctx().key, .host = to.entry + to.compiled.saved_entry};
    m.ctx().flags = kCF | kOF;
    m.backend->run(m.ctx(), from.start());
    EXPECT_EQ(m.ctx().rip, 0x3000u);
    EXPECT_EQ(m.ctx().gpr[3], 7u);

    m.ctx().key = 2; // another mode
    m.backend->run(m.ctx(), from.start());
    EXPECT_EQ(m.ctx().rip, target);
    EXPECT_EQ(m.ctx().flags, Flags(0)) << "of the addition";
}

// Where it would find its target, and where not. Nothing that was asked for may be lost, and the cache must
// be used again when it has been seen to.
TEST(IndirectJump, IsLeftWhenAPollIsAskedFor) {
    for (const bool lookup : {true, false}) {
        Machine m({.inline_lookup = lookup});
        Block b = block_at(0x1000);
        Builder j(b);
        j.insn(0);
        j.jump_ind(kRax);
        const auto from = m.compile(b);
        const u64 target = 0x2000;
        const auto to = m.compile(adding(target, 3, 7, 0x3000));
        const auto run = [&] {
            m.ctx().gpr[0] = target;
            m.ctx().flags = kCF;
            m.backend->run(m.ctx(), from.start());
            return m.ctx().exit;
        };
        const u64 found = lookup ? 0x3000 : target;
        for (const u64 index : {jump_cache_index(target), jump_cache_second_index(target)}) {
            std::fill(m.jump_cache.begin(), m.jump_cache.end(), Context::JumpCacheEntry{});
            m.jump_cache[index] = {.pc = target, .key = 1, .host = to.entry + to.compiled.saved_entry};
            ask_for_poll(m.ctx());
            EXPECT_EQ(run(), Exit::Event);
            EXPECT_EQ(m.ctx().rip, target);
            EXPECT_EQ(m.ctx().flags, kCF);
            EXPECT_EQ(run(), Exit::Event) << "until it is taken back";
            EXPECT_TRUE(poll_asked_for(m.ctx()));
            take_back_poll(m.ctx());
            EXPECT_FALSE(poll_asked_for(m.ctx()));
            EXPECT_EQ(run(), Exit::Lookup);
            EXPECT_EQ(m.ctx().rip, found);
        }
    }
}

// One thread asks while the other takes back: whatever of it is left counts as asked for.
TEST(IndirectJump, SeesHalfARequest) {
    Machine m;
    ask_for_poll(m.ctx());
    m.ctx().poll = 0;
    EXPECT_TRUE(poll_asked_for(m.ctx()));
    take_back_poll(m.ctx());
    EXPECT_EQ(m.ctx().jump_cache, m.ctx().jumps);
}

// A block that knows its key compares with a constant, if that fits.
TEST(IndirectJump, IsForOneKeyWhetherTheBlockKnowsItOrNot) {
    Machine m;
    const u64 target = 0x2000;
    const auto to = m.compile(adding(target, 3, 7, 0x3000));
    for (const u64 key : {u64{1}, u64{0x7fffffff}, u64{0xffffffff}, u64{3} << 32 | 1})
        for (const bool known : {true, false}) {
            Block b = block_at(0x1000);
            b.key = known ? key : 0;
            Builder j(b);
            j.insn(0);
            j.jump_ind(kRax);
            const auto from = m.compile(b);
            for (const u64 found_under : {key, key ^ 2, key ^ u64{1} << 32}) {
                m.jump_cache[jump_cache_index(target)] = {
                    .pc = target, .key = found_under, .host = to.entry + to.compiled.saved_entry};
                m.ctx().key = key;
                m.ctx().gpr[0] = target;
                m.backend->run(m.ctx(), from.start());
                EXPECT_EQ(m.ctx().rip, found_under == key ? 0x3000 : target) << m.list(from);
            }
        }
}

// ---- calls

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
    m.backend->run(m.ctx(), code.start());
    EXPECT_EQ(m.ctx().exit, Exit::Halt);
    EXPECT_EQ(m.ctx().rip, 0x1234u);
    EXPECT_EQ(m.ctx().gpr[0], 1u);
    const backend::SidePoint* point = Machine::point_of(code, m.ctx().host_return);
    ASSERT_TRUE(point);
    EXPECT_EQ(point->guest_offset, 4u);
    EXPECT_EQ(point->instruction_index, 1u);
}

// ---- memory

TEST(MemoryAccess, MissesOnceThenHits) {
    Machine m;
    Block b = block_at(0x1000);
    Builder l(b);
    l.insn(0);
    l.load(8, kRax, {.base = kRsi, .disp = 8});
    l.store(8, {.base = kRsi, .index = kRbx, .scale = 3}, kRax);
    l.exit_to(0x1004);
    const auto code = m.compile(b);
    const u64 value = 0x1122'3344'5566'7788;
    std::memcpy(m.memory->byte(0x2108), &value, 8);
    m.ctx().gpr[6] = 0x2100, m.ctx().gpr[3] = 4;
    for (u64 round = 0; round < 3; ++round) {
        m.backend->run(m.ctx(), code.start());
        EXPECT_EQ(m.memory->acquires, 1u) << m.list(code);
        EXPECT_EQ(m.memory->commits, 0u);
        EXPECT_EQ(m.ctx().gpr[0], value);
        EXPECT_EQ(std::memcmp(m.memory->byte(0x2120), &value, 8), 0);
    }
    m.ctx().gpr[6] = 0xffff'8000'0000'2ffc - 8; // the load crosses into the next page, the store does not
    m.backend->run(m.ctx(), code.start());
    EXPECT_EQ(m.memory->acquires, 3u);
    EXPECT_EQ(m.memory->commits, 1u) << "whoever acquires for writing commits";
}

// Two addresses of a block may be as far apart as addresses can be; those on both sides of 0 are close
// together.
TEST(MemoryAccess, SharesNoCheckAcrossTheAddressSpace) {
    constexpr u64 kHalf = u64{1} << 63;
    const std::pair<u64, u64> pairs[] = {
        {kHalf - 16, kHalf + 32}, {kHalf + 16, 0},       {kHalf - 8, 0},
        {0, kHalf + 8},           {~u64{7}, 0},          {0, ~u64{7}},
        {8, kHalf - 8},           {~u64{7}, kHalf - 16}, {kHalf + 8, kHalf - 8},
        {kHalf - 8, kHalf}};
    Machine m;
    for (const auto& [first, second] : pairs) {
        Block b = block_at(0x1000);
        Builder l(b);
        l.insn(0);
        l.load(8, kRax, {.disp = i64(first)});
        l.load(8, kRbx, {.disp = i64(second)});
        l.exit_to(0x1004);
        const auto code = m.compile(b);
        std::memcpy(m.memory->byte(first), &first, 8);
        std::memcpy(m.memory->byte(second), &second, 8);
        for (unsigned round = 0; round < 2; ++round) {
            m.backend->run(m.ctx(), code.start());
            EXPECT_EQ(m.ctx().gpr[0], first) << m.list(code);
            EXPECT_EQ(m.ctx().gpr[3], second) << m.list(code);
        }
    }
}

// The second access has no check of its own, so the flags are still in EFLAGS when its bit number is cut.
TEST(MemoryAccess, SharedChecksKeepTheFlagsOfABitOperation) {
    Machine m;
    Block b = block_at(0x1000);
    Builder l(b);
    l.insn(0);
    l.alu(Op::Add, 1, kRax, kRax, Ref::imm(), 1);
    l.rmw(Op::Btr, 4, {.base = kRsi}, kRbx, 0, false);
    l.rmw(Op::Btr, 8, {.base = kRsi, .disp = 8}, kRbx, 0, false);
    l.exit_to(0x1004);
    const auto code = m.compile(b);
    m.ctx().gpr[6] = 0x2100, m.ctx().gpr[3] = 1;
    for (unsigned round = 0; round < 2; ++round) {
        m.ctx().gpr[0] = 0x7f;
        m.backend->run(m.ctx(), code.start());
        EXPECT_EQ(m.ctx().flags, Flags(kOF | kSF | kAF)) << "of 0x7f + 1; no bit was set\n" << m.list(code);
    }
}

// The flags of a comparison are not saved before an access: where it faults they are there all the same.
TEST(MemoryAccess, FaultsWithTheFlagsOfAComparison) {
    for (const bool window : {false, true}) {
        Machine m({.uncounted = true}, window);
        Block b = block_at(0x1000, 3);
        Builder l(b);
        l.insn(0);
        l.alu(Op::Cmp, 8, {}, kRbx, Ref::imm(), 5);
        l.insn(4);
        l.load(8, kRax, {.base = kRsi});
        l.insn(8);
        l.alu(Op::Add, 8, kRax, kRax, kRbx);
        l.exit_to(0x100c);
        const auto code = m.compile(b);
        EXPECT_LT(m.list(code).find("add r10"), m.list(code).find("lahf")) << "saved before the load";
        m.ctx().gpr[3] = 3;
        for (const u64 page : {0x2000, 0x9000}) { // RAM, reached twice; a device's memory
            m.ctx().gpr[6] = page;
            m.ctx().flags = 0;
            m.run(b, code);
            EXPECT_EQ(m.ctx().flags, Flags(kPF)) << "of 0 + 3";
        }
        m.ctx().gpr[6] = 0xd000;
        m.run(b, code);
        EXPECT_EQ(m.ctx().exit, Exit::Fault);
        EXPECT_EQ(m.ctx().flags, Flags(kCF | kSF | kAF)) << "of 3 - 5\n" << m.list(code);
    }
}

// Nor are those of sums and logic, which are made again from what stands in registers.
TEST(MemoryAccess, FaultsWithTheFlagsOfSumsAndLogic) {
    constexpr u64 kValues[] = {0, 0x7f, 0x80000000, 0x7fffffffffffff81};
    const Ref in_memory = Ref::gpr(13);
    for (const bool window : {false, true}) {
        Machine m({.uncounted = true}, window), reference;
        const auto try_values = [&](Op op, u8 size, Ref left, Ref right) {
            Block b = block_at(0x1000, 3);
            Builder l(b);
            l.insn(0);
            const bool compares = op == Op::Cmp || op == Op::Test;
            l.alu(op, size, compares ? Ref{} : left, left, right, 0x7f);
            l.insn(4);
            l.load(8, kRax, {.base = kRsi});
            l.insn(8);
            l.alu(Op::Add, 8, kRax, kRax, kRdx);
            l.exit_to(0x100c);
            const auto code = m.compile(b);
            EXPECT_LT(m.list(code).find(" ja "), m.list(code).find("lahf")) << "saved before the load";
            for (const u64 value : kValues) {
                for (Machine* machine : {&m, &reference}) {
                    machine->ctx().gpr[3] = machine->ctx().gpr[13] = value;
                    machine->ctx().gpr[1] = machine->ctx().gpr[14] = 0x81;
                    machine->ctx().gpr[6] = 0xd000;
                    machine->ctx().flags = 0;
                }
                m.run(b, code);
                reference.interpret(b);
                ASSERT_EQ(m.ctx().exit, Exit::Fault);
                ASSERT_EQ(m.ctx().flags, reference.ctx().flags) << ir::print(b) << m.list(code);
                ASSERT_TRUE(std::equal(m.ctx().gpr, m.ctx().gpr + 16, reference.ctx().gpr))
                    << ir::print(b) << m.list(code);
            }
        };
        for (const Op op : {Op::Add, Op::Sub, Op::And, Op::Or, Op::Xor, Op::Cmp, Op::Test})
            for (const u8 size : {1, 2, 4, 8}) {
                for (const Ref right : {kRcx, in_memory, Ref::imm()})
                    try_values(op, size, kRbx, right);
                for (const Ref right : {kRcx, Ref::imm()})
                    try_values(op, size, in_memory, right);
            }
    }
}

TEST(MemoryAccess, PagesOfOneTlbIndexTakeTurnsWithoutCxx) {
    Machine m({.uncounted = true}, true);
    Block b = block_at(0x1000, 2);
    Builder l(b);
    l.insn(0);
    l.load(8, kRax, {.base = kRsi});
    l.insn(4);
    l.store(8, {.base = kRdi}, kRax);
    l.exit_to(0x1008);
    const auto code = m.compile(b);
    m.ctx().gpr[6] = 0x7f0012342000;
    m.ctx().gpr[7] = m.ctx().gpr[6] + (softmmu::kTlbEntries << softmmu::kPageBits) + 8;
    for (u64 round = 0; round < 100; ++round) {
        *m.memory->byte(0x2000) = u8(round);
        m.run(b, code);
        ASSERT_EQ(*m.memory->byte(0x2008), u8(round));
    }
    EXPECT_EQ(m.memory->acquires, 2u);
}

// What writes only a part of them finds the others where the way through a slow access leaves them too.
TEST(MemoryAccess, KeepsAPartOfTheFlagsOfAComparison) {
    Machine m;
    Block b = block_at(0x1000, 2);
    Builder l(b);
    l.insn(0);
    l.alu(Op::Cmp, 8, {}, kRbx, Ref::imm(), 5);
    l.insn(4);
    l.rmw(Op::Dec, 8, {.base = kRsi}, Ref::none(), 0, false).live = 0;
    l.alu(Op::Adc, 8, kRax, kRdi, Ref::imm(), 0);
    l.exit_to(0x1008);
    const auto code = m.compile(b);
    m.ctx().gpr[3] = 3, m.ctx().gpr[7] = 10;
    for (const u64 at : {0x2000, 0x2000, 0x9000, 0x2ffc}) { // a miss, a hit, a device's memory, two pages
        m.ctx().gpr[6] = at;
        m.run(b, code);
        EXPECT_EQ(m.ctx().gpr[0], 11u) << "10 and the carry of 3 - 5, at " << at << "\n" << m.list(code);
    }
}

// Loaded for the next op alone, it is that op's operand: in the window, out of line, on a device and where it
// faults.
TEST(MemoryAccess, IsTheOperandOfTheOpThatItIsLoadedFor) {
    const Ref r10 = Ref::gpr(10), loaded = Ref::temp(0); // R10 is in memory
    unsigned fused = 0;
    for (const Op op :
         {Op::Add, Op::Or, Op::Adc, Op::Sbb, Op::And, Op::Sub, Op::Xor, Op::Imul, Op::Cmp, Op::Test})
        for (const u8 size : {1, 2, 4, 8})
            for (const Ref d : {kRbx, r10})
                for (const bool loaded_first : {false, true}) {
                    const bool compares = op == Op::Cmp || op == Op::Test;
                    if (loaded_first && !compares) continue;
                    Machine made({.uncounted = true}, true), expected({.uncounted = true}, true);
                    Block b = block_at(0x1000, 2);
                    Builder l(b);
                    l.insn(0);
                    l.load(size, loaded, {.base = kRsi});
                    l.alu(op, size, compares ? Ref::none() : d, loaded_first ? loaded : d,
                          loaded_first ? d : loaded);
                    l.insn(4);
                    l.add({.op = Op::Setcc, .size = 1, .cond = Cond::B, .d = kRdx});
                    l.exit_to(0x1008);
                    const auto code = made.compile(b);
                    fused += made.list(code).find("mov r13") == std::string::npos;
                    // Twice in the window, over two pages, a device, and what is not there.
                    for (const u64 at : {0x12008, 0x12008, 0x12ffd, 0x19010, 0x1d000}) {
                        for (Machine* m : {&made, &expected}) {
                            m->ctx().flags = kCF | kOF;
                            m->ctx().exit = Exit::None;
                            m->ctx().gpr[6] = at;
                            m->ctx().gpr[3] = m->ctx().gpr[10] = 0xfedc'ba98'7654'3201;
                            std::memset(m->memory->byte(at), 0x83, 8);
                        }
                        made.run(b, code);
                        expected.interpret(b);
                        const auto what = [&] { return print(b) + made.list(code); };
                        for (unsigned n : {2, 3, 10})
                            ASSERT_EQ(made.ctx().gpr[n], expected.ctx().gpr[n]) << n << " at " << at << "\n"
                                                                                << what();
                        ASSERT_EQ(made.ctx().flags, expected.ctx().flags) << at << "\n" << what();
                        ASSERT_EQ(made.ctx().exit, expected.ctx().exit) << at << "\n" << what();
                    }
                }
    EXPECT_GT(fused, 50u) << "blocks without a register for what they load";
}

TEST(MemoryAccess, IsPreciseWhereItFaults) {
    Machine m;
    Block b = block_at(0x1000, 3);
    Builder l(b);
    l.insn(0);
    l.alu(Op::Sub, 4, kRbx, kRbx, Ref::imm(), 1);
    l.insn(4);
    l.alu(Op::Add, 8, kRsi, kRsi, Ref::imm(), 16);
    l.insn(8);
    l.rmw(Op::Add, 4, {.base = kRsi}, kRbx, 0, true);
    l.alu(Op::Add, 8, kRsi, kRsi, Ref::imm(), 16);
    l.exit_to(0x100c);
    const auto code = m.compile(b);
    m.ctx().gpr[3] = 0, m.ctx().gpr[6] = 0xd000 - 16;
    m.ctx().budget = 50;
    m.run(b, code);
    EXPECT_EQ(m.ctx().exit, Exit::Fault);
    EXPECT_EQ(m.ctx().fault.vector, 14);
    EXPECT_EQ(m.ctx().fault.address, 0xd000u);
    EXPECT_EQ(m.ctx().fault.error, 2u);
    EXPECT_EQ(m.ctx().rip, 0x1008u);
    EXPECT_EQ(m.ctx().gpr[6], 0xd000u);
    EXPECT_EQ(m.ctx().gpr[3], 0xffff'ffffu);
    EXPECT_EQ(m.ctx().flags, Flags(kPF)) << "of 0xcff0 + 16";
    EXPECT_EQ(m.ctx().budget, 48) << "two instructions retired";
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
    m.backend->run(m.ctx(), code.start());
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
