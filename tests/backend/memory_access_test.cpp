// The ways to memory, and the exact state where one of them fails.
#include "machine.h"

#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

using namespace ir;

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
        m.run(code.start());
        EXPECT_EQ(m.memory->acquires, 1u) << m.list(code);
        EXPECT_EQ(m.memory->commits, 0u);
        EXPECT_EQ(m.ctx().gpr[0], value);
        EXPECT_EQ(std::memcmp(m.memory->byte(0x2120), &value, 8), 0);
    }
    m.ctx().gpr[6] = 0xffff'8000'0000'2ffc - 8; // the load crosses into the next page, the store does not
    m.run(code.start());
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
            m.run(code.start());
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
        m.run(code.start());
        EXPECT_EQ(m.ctx().flags, Flags(kOF | kSF | kAF)) << "of 0x7f + 1; no bit was set\n" << m.list(code);
    }
}

// An op that makes flags, a load that may want them, and an op that makes others.
Block load_behind(Op op, u8 size, Ref left, Ref right, i64 imm) {
    Block b = block_at(0x1000, 3);
    Builder l(b);
    l.insn(0);
    l.alu(op, size, op == Op::Cmp || op == Op::Test ? Ref{} : left, left, right, imm);
    l.insn(4);
    l.load(8, kRax, {.base = kRsi});
    l.insn(8);
    l.alu(Op::Add, 8, kRax, kRax, kRbx);
    l.exit_to(0x100c);
    return b;
}

// The flags of a comparison are not saved before an access: where it faults they are there all the same.
TEST(MemoryAccess, FaultsWithTheFlagsOfAComparison) {
    for (const bool window : {false, true}) {
        Machine m({.uncounted = true}, window);
        const Block b = load_behind(Op::Cmp, 8, kRbx, Ref::imm(), 5);
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
            const Block b = load_behind(op, size, left, right, 0x7f);
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

// Nor are those of shifts by a constant: what was shifted is still in another register, or has been put away.
TEST(MemoryAccess, FaultsWithTheFlagsOfShifts) {
    struct Way {
        const char* what;
        Ref to, from;
        bool moved; // from there to the register that is shifted, by an instruction of its own
    };
    const Ref in_memory = Ref::gpr(13);
    const Way ways[] = {{"in place", kRbx, kRbx, false},
                        {"in place, in memory", in_memory, in_memory, false},
                        {"to another register", kRdx, kRbx, false},
                        {"from memory to another register", kRdx, in_memory, false},
                        {"moved there before", kRdx, kRbx, true},
                        {"moved there from memory", kRdx, in_memory, true}};
    constexpr u64 kValues[] = {0, 1, 0x7f, 0xc0000081, 0x7fffffffffffff81};
    Machine m({.uncounted = true}, true), reference;
    const auto try_shift = [&](const Way& way, Op op, u8 size, i64 by) {
        Block b = block_at(0x1000, 4);
        Builder l(b);
        l.insn(0);
        if (way.moved) l.mov(8, way.to, way.from);
        l.insn(4);
        l.alu(op, size, way.to, way.moved ? way.to : way.from, Ref::imm(), by);
        l.insn(8);
        l.load(8, kRax, {.base = kRbp});
        l.load(8, kRcx, {.base = kRsi});
        l.insn(12);
        l.alu(Op::Add, 8, kRax, kRax, kRcx);
        l.exit_to(0x1010);
        const auto code = m.compile(b);
        const bool saves = way.to == in_memory; // to put it away would take as many instructions
        EXPECT_EQ(m.list(code).find(" ja ") < m.list(code).find("lahf"), !saves)
            << "saved before the load\n"
            << m.list(code);
        for (const u64 value : kValues) {
            for (Machine* machine : {&m, &reference}) {
                machine->ctx().gpr[3] = machine->ctx().gpr[13] = value;
                machine->ctx().gpr[2] = ~u64{0};
                machine->ctx().gpr[5] = 0x9000; // a device's memory: the slow way first
                machine->ctx().gpr[6] = 0xd000;
                machine->ctx().flags = 0;
            }
            m.run(b, code);
            reference.interpret(b);
            ASSERT_EQ(m.ctx().exit, Exit::Fault);
            ASSERT_EQ(m.ctx().flags, reference.ctx().flags) << way.what << "\n"
                                                            << ir::print(b) << m.list(code);
            ASSERT_TRUE(std::equal(m.ctx().gpr, m.ctx().gpr + 16, reference.ctx().gpr))
                << way.what << "\n"
                << ir::print(b) << m.list(code);
        }
    };
    for (const Way& way : ways)
        for (const Op op : {Op::Shl, Op::Shr, Op::Sar})
            for (const u8 size : {1, 2, 4, 8})
                for (const i64 by : {1, 5, 8, 31})
                    try_shift(way, op, size, by);
}

// The carry of a long sum stays in EFLAGS from one access to the next, wherever these lead.
TEST(MemoryAccess, LeavesACarryInEflags) {
    const auto sum = [](u8 size) {
        Block b = block_at(0x1000, 4);
        Builder l(b);
        l.insn(0);
        l.alu(Op::Adc, 8, kRbx, kRbx, kRcx);
        l.insn(4);
        l.load(size, kRax, {.base = kRsi, .index = kRbp});
        l.alu(Op::Adc, size, kRdx, kRdx, kRax);
        l.insn(8);
        l.store(size, {.base = kRdi}, kRdx);
        l.insn(12);
        l.alu(Op::Adc, 8, kRbx, kRbx, Ref::imm(), 0);
        l.exit_to(0x1010);
        return b;
    };
    constexpr u64 kPage = 4096, window = FlatMemory::kInWindow, fault = 0xd000;
    for (const bool keep : {true, false}) {
        Machine m({.uncounted = true, .keep_eflags = keep}, true), reference;
        for (const u8 size : {1, 2, 4, 8}) {
            const Block b = sum(size);
            const auto code = m.compile(b);
            const std::string listing = m.list(code);
            if (listing.find("pext") != std::string::npos) {
                EXPECT_EQ(listing.find("jrcxz") != std::string::npos, keep) << listing;
            }
            const u64 ends[] = {window + kPage - size, window + kPage - size + 1, 0x2100, 0x9000, fault};
            for (const u64 from : ends)
                for (const u64 to : ends)
                    for (unsigned round = 0; round < 2; ++round) {
                        for (Machine* machine : {&m, &reference}) {
                            u64* const gpr = machine->ctx().gpr;
                            gpr[3] = ~u64{0} - round, gpr[1] = 2, gpr[2] = 0x7f; // RBX RCX RDX
                            gpr[6] = from - 5, gpr[5] = 5, gpr[7] = to;          // RSI RBP RDI
                            machine->ctx().flags = 0;
                            machine->ctx().exit = Exit::None;
                            machine->memory->ram.fill(u8(0xff - round));
                        }
                        m.run(b, code);
                        reference.interpret(b);
                        EXPECT_EQ(m.ctx().exit, reference.ctx().exit) << std::hex << from << " to " << to;
                        EXPECT_EQ(m.ctx().flags, reference.ctx().flags)
                            << std::hex << from << " to " << to << "\n"
                            << listing;
                        for (unsigned r = 0; r < 16; ++r)
                            EXPECT_EQ(m.ctx().gpr[r], reference.ctx().gpr[r])
                                << std::hex << from << " to " << to << ", register " << r;
                        EXPECT_EQ(m.memory->ram, reference.memory->ram) << std::hex << from << " to " << to;
                    }
        }
    }
}

// The stack pointer moves once for them, and is right wherever one of them does not come to its end.
TEST(MemoryAccess, PushesAndPopsArePreciseWhereTheyFault) {
    for (const bool late : {true, false}) {
        Machine m({.uncounted = true, .late_stack = late}, true), reference;
        Block b = block_at(0x1000, 8);
        Builder l(b);
        const auto move = [&](i64 bytes) { l.add_noflags(8, kRsp, kRsp, bytes); };
        i64 at = 0;
        const auto push = [&](Ref value) {
            l.insn(at++);
            l.store(8, {.base = kRsp, .disp = -8}, value, 0x55);
            move(-8);
        };
        const auto pop = [&](Ref to) {
            l.insn(at++);
            l.load(8, to, {.base = kRsp});
            move(8);
        };
        push(kRbx), push(Ref::gpr(13)), push(Ref::imm()), push(kRsp);
        l.insn(at++);
        l.mov(8, kRbp, kRsp); // sees it
        pop(kRax), pop(Ref::gpr(14)), pop(kRsp);
        l.exit_to(0x1000 + u64(at));
        const auto code = m.compile(b);
        // In one page; over the end of the one before it: RAM, a device's memory, read-only, and no memory.
        for (const u64 rsp :
             {0x18000, 0x18800, 0x13010, 0x1a010, 0x1b008, 0x1d018, 0x1d010, 0x1e008, 0x1e010})
            for (unsigned again = 0; again < 2; ++again) {
                for (Machine* machine : {&m, &reference}) {
                    for (unsigned r = 0; r < 16; ++r)
                        machine->ctx().gpr[r] = 0x1111 * r;
                    machine->ctx().gpr[4] = rsp;
                    machine->ctx().exit = Exit::None;
                    machine->memory->ram.fill(0x33);
                }
                m.run(b, code);
                reference.interpret(b);
                EXPECT_EQ(m.ctx().exit, reference.ctx().exit) << std::hex << rsp;
                if (reference.ctx().exit == Exit::Fault) {
                    EXPECT_EQ(m.ctx().rip, reference.ctx().rip);
                }
                EXPECT_TRUE(std::equal(m.ctx().gpr, m.ctx().gpr + 16, reference.ctx().gpr))
                    << std::hex << rsp << "\n"
                    << m.list(code);
                EXPECT_EQ(m.memory->ram, reference.memory->ram) << std::hex << rsp;
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

TEST(MemoryAccess, StoresOnAPageWithoutItsCodeSoonTakeAWriteTag) {
    Machine m({.uncounted = true}, true);
    Block b = block_at(0x1000);
    Builder l(b);
    l.insn(0);
    l.store(8, {.base = kRdi}, kRax);
    l.exit_to(0x1004);
    const auto code = m.compile(b);
    m.ctx().gpr[7] = 0x7f0012342080;
    m.run(code.start());
    ASSERT_EQ(m.memory->acquires, 1u);

    auto& tlb = m.vcpu->tlb;
    auto& tables = const_cast<softmmu::TlbTables&>(tlb.tables());
    const u64 page = 0x7f0012342000, index = softmmu::tlb_index(page);
    u64 lines = 1 << 3;
    tlb.allow_writes(softmmu::View(m.ctx().view), page, &lines);
    tables.heat[index] = 40;
    const auto store = [&](u64 value) {
        m.ctx().gpr[0] = value;
        m.run(code.start());
        u64 there;
        std::memcpy(&there, m.memory->byte(0x2080), 8);
        EXPECT_EQ(there, value);
        return m.memory->acquires - 1;
    };
    EXPECT_EQ(store(1), 0u) << "beside its code";
    EXPECT_EQ(tables.heat[index], 40u);
    lines = 0;
    EXPECT_EQ(store(2), 0u);
    EXPECT_EQ(store(3), 0u);
    EXPECT_EQ(tables.heat[index], 8u);
    EXPECT_EQ(store(4), 1u) << "no code for long: acquire fills the write tag";
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

} // namespace
} // namespace dragoman::test
