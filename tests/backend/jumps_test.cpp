// Links, indirect jumps and polls, each by a block made for it.
#include "machine.h"

#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

using namespace ir;

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
    m.run(a.start());
    EXPECT_EQ(m.ctx().exit, Exit::Lookup);
    EXPECT_EQ(m.ctx().rip, 0x1800u);
    EXPECT_EQ(m.ctx().host_return, reinterpret_cast<u64>(a.entry) + site.return_offset);
    EXPECT_EQ(m.ctx().budget, 99);

    m.backend->link(a.entry, site, b.entry, b.compiled);
    m.run(a.start());
    EXPECT_EQ(m.ctx().rip, 0x2000u);
    EXPECT_EQ(m.ctx().gpr[0], 2u);
    EXPECT_EQ(m.ctx().gpr[3], 10u);
    EXPECT_EQ(m.ctx().budget, 97);

    m.backend->unlink(a.entry, site);
    m.run(a.start());
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
            m.run(a.start());
            EXPECT_EQ(m.ctx().flags, want);
            if (!linked) m.run(b.start());
            EXPECT_EQ(m.ctx().gpr[1], want) << (linked ? "linked" : "by the run loop");
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
        m.run(a.start());
        EXPECT_EQ(m.ctx().rip, 0x2000u);
        EXPECT_EQ(m.ctx().exit, Exit::Lookup);
        EXPECT_EQ(m.ctx().host_return, reinterpret_cast<u64>(a.entry) + site.return_offset);

        m.backend->link(a.entry, site, b.entry, b.compiled);
        m.ctx().budget = 100;
        const auto entered = [&] {
            m.ctx().gpr[0] = m.ctx().gpr[3] = 0;
            m.ctx().flags = kCF | kOF;
            m.run(a.start());
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
        m.may_be_entered = 77;
        EXPECT_TRUE(entered());
        numbers[!user][softmmu::CodePages::slot(0x2000)] = 77;
        m.may_be_entered = 0;
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
        m.run(a.start());
        EXPECT_EQ(m.ctx().rip, 0x4000u);
        EXPECT_EQ(m.ctx().gpr[3], 1u) << "the carry came along";
        m.ctx().gpr[0] = u64(n);
        m.run(a.start());
        EXPECT_EQ(m.ctx().rip, 0x3000u);
    }
}

// One that begins in the page of the jump asks all the same, whatever the jump has done with the flags.
TEST(Links, IntoABlockOfTwoPagesAskForBoth) {
    for (const bool save : {false, true}) {
        Machine m;
        Block first = block_at(0x1000), second = block_at(0x1ffe, 2);
        Builder f(first), s(second);
        f.insn(0);
        f.alu(Op::Sub, 8, kRax, kRax, Ref::imm(), 1);
        if (save) f.load(8, kRdx, {.base = kRsi});
        f.jump(0x1ffe);
        s.insn(0);
        s.alu(Op::Adc, 8, kRbx, kRbx, Ref::imm(), 0);
        s.jump(0x4000);
        second.code_pages[0] = 5, second.code_pages[1] = 6;
        const auto a = m.compile(first), b = m.compile(second);
        EXPECT_FALSE(site_to(a, 0x1ffe).far);
        m.backend->link(a.entry, site_to(a, 0x1ffe), b.entry, b.compiled);
        auto& numbers = const_cast<softmmu::TlbTables&>(m.vcpu->tlb.tables()).code_numbers[0];
        const auto entered = [&] {
            m.ctx().gpr[0] = m.ctx().gpr[3] = 0; // 0 - 1 borrows
            m.run(a);
            EXPECT_EQ(m.ctx().exit, Exit::Lookup);
            EXPECT_EQ(m.ctx().rip, m.ctx().gpr[3] ? 0x4000u : 0x1ffeu);
            return m.ctx().gpr[3] == 1;
        };
        for (const u32 one : {5, 7})
            for (const u32 other : {6, 7}) {
                numbers[softmmu::CodePages::slot(0x1000)] = one;
                numbers[softmmu::CodePages::slot(0x2000)] = other;
                EXPECT_EQ(entered(), one == 5 && other == 6) << one << " " << other << m.list(b);
            }
        m.may_be_entered = 6;
        numbers[softmmu::CodePages::slot(0x1000)] = 5;
        EXPECT_TRUE(entered()) << m.list(b);
    }
}

TEST(Links, IntoAnotherPageMayGoThroughTheJumpCache) {
    Machine m({.far_links = false});
    const auto a = m.compile(adding(0x1000, 0, 1, 0x2000)), b = m.compile(adding(0x2000, 3, 10, 0x3000));
    EXPECT_TRUE(a.compiled.links.empty());
    m.run(a.start());
    EXPECT_EQ(m.ctx().rip, 0x2000u);
    EXPECT_EQ(m.ctx().exit, Exit::Lookup);
    m.remember(0x2000, m.ctx().key, b);
    m.ctx().flags = kCF | kOF;
    m.run(a.start());
    EXPECT_EQ(m.ctx().rip, 0x3000u);
    EXPECT_EQ(m.ctx().gpr[3], 10u);
    use_key(m.ctx(), 2); // another mode
    m.run(a.start());
    EXPECT_EQ(m.ctx().rip, 0x2000u);
}

// Two targets that have one place in the mode's table: what is found in the second level moves there.
TEST(Links, TheSecondLevelOfTheJumpCacheTakesTurns) {
    Machine m;
    const u64 targets[] = {0x2000, 0x2000 + (u64{1} << JumpCache::bits)};
    for (const u64 target : targets)
        m.remember(target, m.ctx().key, m.compile(adding(target, 3, i32(target), 0x3000)));
    ASSERT_EQ(JumpCache::index(targets[0]), JumpCache::index(targets[1]));
    ASSERT_NE(JumpCache::second_index(targets[0]), JumpCache::second_index(targets[1]));
    for (const u64 target : {targets[0], targets[1], targets[0]}) {
        Block b = block_at(0x1000);
        Builder j(b);
        j.insn(0);
        j.jump_ind(kRax);
        const auto from = m.compile(b);
        m.ctx().gpr[0] = target;
        m.ctx().gpr[3] = 0;
        m.ctx().flags = kCF | kOF;
        m.run(from.start());
        EXPECT_EQ(m.ctx().rip, 0x3000u);
        EXPECT_EQ(m.ctx().gpr[3], target);
        const JumpCache::Entry& first = m.ctx().jumps[JumpCache::index(target)];
        EXPECT_EQ(first.pc, target);
        EXPECT_EQ(first.host, m.jumps[0].second[JumpCache::second_index(target)].host);
        use_key(m.ctx(), 2); // another mode
        m.run(from.start());
        EXPECT_EQ(m.ctx().rip, target) << "neither level knows it";
        use_key(m.ctx(), 1);
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
    m.run(code.start());
    EXPECT_EQ(m.ctx().gpr[0], 2000u);
    EXPECT_EQ(m.ctx().exit, Exit::Lookup);
    EXPECT_EQ(m.ctx().rip, 0x100au);
    EXPECT_EQ(m.ctx().budget, 1'000'000 - 3000);

    m.ctx().gpr[1] = 1000, m.ctx().gpr[0] = 0;
    m.ctx().poll = 1;
    m.run(code.start());
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
            m.run(code.start());
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
    m.run(from.start());
    EXPECT_EQ(m.ctx().exit, Exit::Lookup);
    EXPECT_EQ(m.ctx().rip, target);

    m.remember(target, 1, to);
    m.ctx().flags = kCF | kOF;
    m.run(from.start());
    EXPECT_EQ(m.ctx().rip, 0x3000u);
    EXPECT_EQ(m.ctx().gpr[3], 7u);

    use_key(m.ctx(), 2); // another mode
    m.run(from.start());
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
            m.run(from.start());
            return m.ctx().exit;
        };
        const u64 found = lookup ? 0x3000 : target;
        for (const bool in_table : {true, false}) { // or in the second level only
            m.remember(target, 1, to);
            if (!in_table) m.ctx().jumps[JumpCache::index(target)] = {};
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
    EXPECT_EQ(m.ctx().jump_table, m.ctx().jumps);
}

TEST(IndirectJump, ARequestOutlivesAChangeOfMode) {
    Machine m;
    m.remember(0x2000, 2, m.compile(adding(0x2000, 3, 7, 0x3000)));
    ask_for_poll(m.ctx());
    m.ctx().poll = 0;
    use_key(m.ctx(), 2);
    EXPECT_TRUE(poll_asked_for(m.ctx()));
    take_back_poll(m.ctx());
    EXPECT_FALSE(poll_asked_for(m.ctx()));
    EXPECT_EQ(m.ctx().jump_table, m.jumps[0].table_of(2));
}

// More modes than there are tables: each finds its own targets alone, by the second level if need be.
TEST(IndirectJump, IsForOneMode) {
    for (const bool pext : {true, false}) {
        Machine m({.use_pext = pext});
        constexpr u64 target = 0x2000, modes = JumpCache::tables + 2;
        Block b = block_at(0x1000);
        Builder j(b);
        j.insn(0);
        j.jump_ind(kRax);
        const auto from = m.compile(b);
        std::vector<Machine::Code> to;
        for (u64 key = 1; key <= modes; ++key)
            to.push_back(m.compile(adding(target, 3, i64(key), 0x3000)));
        for (u64 key = 1; key <= modes; ++key) {
            m.remember(target, key, to[key - 1]);
            for (u64 in = 1; in <= modes; ++in) {
                use_key(m.ctx(), in);
                m.ctx().gpr[0] = target, m.ctx().gpr[3] = 0;
                m.run(from.start());
                const bool found = in == key || (in < key && in <= JumpCache::tables);
                EXPECT_EQ(m.ctx().rip, found ? 0x3000 : target) << in << "\n" << m.list(from);
                EXPECT_EQ(m.ctx().gpr[3], found ? in : 0);
            }
        }
    }
}

} // namespace
} // namespace dragoman::test
