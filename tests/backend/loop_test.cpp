// Blocks that jump to their own start, with checks made ahead for several rounds: random bodies over pages of
// all kinds, run round by round by the interpreter and as generated code. DRAGOMAN_SEED and DRAGOMAN_ROUNDS
// choose another run.
#include "machine.h"

#include "ir/vec.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <cstdlib>
#include <random>

namespace dragoman::test {
namespace {

using namespace ir;

constexpr u64 kPc = 0x40'0000, kElse = 0x40'0100, kOut = 0x40'0200;

struct Pointer { // a register that moves by as much in each round
    Ref ref;
    i64 step;
};

class LoopGenerator {
  public:
    explicit LoopGenerator(u64 seed) : rng_(seed) {}

    unsigned below(unsigned n) { return unsigned(rng_() % n); }
    bool chance(unsigned percent) { return below(100) < percent; }

    Block block(unsigned mode_bits) {
        width_ = mode_bits / 8;
        static constexpr i64 steps[] = {1, 2, 3, 4, 8, 16, 16, 24, 32, 48, 100, 256, 1000, 2048, 4096};
        const unsigned pointers = 1 + below(3);
        const i64 alike = chance(40) ? steps[below(std::size(steps))] : 0;
        static constexpr u8 registers[] = {6, 7, 3, 5, 8, 12}; // the last is in memory
        for (unsigned n = 0; n < pointers; ++n) {
            const i64 step = chance(15) ? 0 : alike ? alike : steps[below(std::size(steps))];
            pointers_.push_back(
                {Ref::gpr(registers[below(2) * 3 + n]), chance(alike ? 3 : 30) ? -step : step});
        }
        Block b;
        b.pc = b.linear_pc = kPc;
        b.mode_bits = u8(mode_bits);
        b.vector_bytes = 16;
        Builder builder(b);
        const unsigned instructions = 1 + below(chance(15) ? 16 : 6);
        unsigned n = 0;
        for (unsigned i = 0; i < instructions; ++i) {
            builder.insn(i32(4 * n++));
            access(builder);
            if (chance(30)) builder.alu(Op::Xor, 4, data(), data(), data());
            if (chance(15))
                builder.add({.op = Op::BranchOut,
                             .cond = Cond(below(16)),
                             .imm = i64(kOut),
                             .imm2 = i64(kPc + 4 * n)});
            if (chance(25) && !pointers_.empty()) move(builder, pointers_[below(unsigned(pointers_.size()))]);
        }
        const bool by_pointer = pointers_[0].step > 0 && chance(30);
        for (const Pointer& p : pointers_)
            if (by_pointer || chance(90)) builder.insn(i32(4 * n++)), move(builder, p);
        builder.insn(i32(4 * n++));
        if (by_pointer)
            builder.add(
                {.op = Op::Cmp, .size = u8(width_), .a = pointers_[0].ref, .b = Ref::imm(), .imm = 0x18000});
        else
            builder.alu(Op::Sub, counter_ = chance(50) ? width_ : 4, kRcx, kRcx, Ref::imm(), 1);
        builder.insn(i32(4 * n++));
        builder.branch(by_pointer ? Cond::B : Cond::NZ, kPc, kElse);
        b.guest_instructions = n;
        b.guest_bytes = 4 * n;
        for (Inst& inst : b.insts)
            inst.live = flags_written(inst);
        return b;
    }

    // Mostly near the ends of pages.
    void randomize(Machine& m, u64 seed) {
        LoopGenerator g(seed ^ 0xfeed);
        Context& c = m.ctx();
        for (u64& r : c.gpr)
            r = g.below(0x10000);
        for (const Pointer& p : pointers_) {
            const u64 page = 0x10000 + g.below(16) * 0x1000;
            u64 at = page + (g.chance(50) ? g.below(0x1000) : g.below(64) * 16);
            if (g.chance(3)) at -= 0x10000;
            c.gpr[p.ref.index()] = width_ == 4 ? u32(at) : at;
        }
        c.gpr[9] = g.below(4) * 8; // an index that stays
        c.gpr[1] = 1 + g.below(g.chance(30) ? 2000 : 40);
        if (width_ == 8 && counter_ == 4) c.gpr[1] |= u64{g.below(3)} << 32; // only its lower half counts
        c.vector_bytes = 16;
        for (auto& v : c.vec)
            for (u8& byte : v)
                byte = u8(g.below(256));
        c.flags = Flags(g.below(0x1000)) & kAllFlags;
        c.budget = 1'000'000;
        c.poll = g.chance(25);
        c.mxcsr = 0x1f80;
        c.exit = Exit::None;
        c.fault = {};
        for (u8& byte : m.memory->ram)
            byte = u8(g.below(256));
    }

  private:
    Ref data() { // 0, 2, or one in memory
        static constexpr u8 registers[] = {0, 2, 11};
        return Ref::gpr(registers[below(width_ == 8 ? 3 : 2)]);
    }
    void move(Builder& b, const Pointer& p) {
        if (!p.step) return;
        switch (below(3)) {
        case 0: b.alu(Op::Add, width_, p.ref, p.ref, Ref::imm(), p.step); break;
        case 1: b.alu(Op::Sub, width_, p.ref, p.ref, Ref::imm(), -p.step); break;
        default:
            b.add({.op = Op::Lea,
                   .size = u8(width_),
                   .d = p.ref,
                   .mem = {.base = p.ref, .size = u8(width_), .linear_size = u8(width_), .disp = p.step}});
        }
    }
    Address address() {
        Address m{.size = u8(width_), .linear_size = u8(width_), .disp = i64(below(64)) - 16};
        const Pointer& p = pointers_[below(unsigned(pointers_.size()))];
        switch (below(8)) {
        case 0: m.disp = 0x13ff0 + i64(below(24)); break;
        case 1: m.base = Ref::gpr(9), m.index = p.ref, m.scale = u8(below(2)); break;
        case 2: m.base = data(), m.disp = 0x10000; break; // moves as it likes
        case 3: m.base = p.ref, m.index = Ref::gpr(9); break;
        default: m.base = p.ref;
        }
        return m;
    }
    void access(Builder& b) {
        const unsigned size = 1u << below(width_ == 8 ? 4 : 3);
        switch (below(9)) {
        case 0:
        case 1: b.load(size, data(), address()); break;
        case 2: b.load_extend(Op::LoadZx, 2, 4, data(), address()); break;
        case 3:
        case 4: b.store(size, address(), data()); break;
        case 5: b.rmw(Op::Add, size, address(), data(), 0, chance(20)); break;
        case 6: b.add({.op = Op::VLoad, .size = 16, .d = Ref::xmm(below(4)), .mem = address()}); break;
        case 7: b.add({.op = Op::VStore, .size = 16, .a = Ref::xmm(below(4)), .mem = address()}); break;
        default: {
            Address m = address();
            m.disp &= -16;
            b.add({.op = Op::CheckAlign, .mem = m, .imm = 15});
            b.add({.op = Op::VStore, .size = 16, .a = Ref::xmm(below(4)), .mem = m});
        }
        }
    }

    std::mt19937_64 rng_;
    std::vector<Pointer> pointers_;
    unsigned width_ = 8, counter_ = 8; // bytes of an address and of the counter
};

std::string differences(Context& want, Context& have) {
    std::string text;
    const auto compare = [&](const std::string& name, u64 w, u64 h) {
        char line[200];
        std::snprintf(line, sizeof line, "  %-8s interpreter %016llx  code %016llx\n", name.c_str(),
                      (unsigned long long)w, (unsigned long long)h);
        if (w != h) text += line;
    };
    const auto kind = [](Exit exit) { return u64(exit == Exit::Event ? Exit::Lookup : exit); };
    for (unsigned i = 0; i < kGprs; ++i)
        compare("gpr" + std::to_string(i), want.gpr[i], have.gpr[i]);
    compare("rip", want.rip, have.rip);
    compare("flags", want.flags, have.flags);
    compare("exit", kind(want.exit), kind(have.exit));
    compare("budget", u64(want.budget), u64(have.budget));
    if (want.exit == Exit::Fault) compare("address", want.fault.address, have.fault.address);
    for (unsigned i = 0; i < 16; ++i)
        if (std::memcmp(want.vec[i], have.vec[i], 16) != 0)
            text += "  xmm" + std::to_string(i) + " differs\n";
    return text;
}

Machine::Code compile_loop(Machine& m, const Block& block) {
    Machine::Code code = m.compile(block);
    for (const backend::LinkSite& site : code.compiled.links)
        if (site.target == block.pc) m.backend->link(code.entry, site, code.entry, code.compiled);
    return code;
}

void run_loops(backend::Options options, bool window, unsigned mode_bits) {
    const char* const seed_text = std::getenv("DRAGOMAN_SEED");
    const char* const rounds_text = std::getenv("DRAGOMAN_ROUNDS");
    const u64 first = seed_text ? std::strtoull(seed_text, nullptr, 0) : std::random_device{}() & 0xffffff;
    const u64 cases = rounds_text ? std::strtoull(rounds_text, nullptr, 0) : 500;
    Machine reference, machine(options, window);
    const u64 start = machine.next;
    u64 faults = 0, long_runs = 0;
    for (u64 seed = first; seed < first + cases; ++seed) {
        LoopGenerator generator(seed);
        Block block = generator.block(mode_bits);
        block.view = u8(seed % 3);
        generator.randomize(reference, seed);
        generator.randomize(machine, seed);
        reference.ctx().view = machine.ctx().view = block.view;
        if (seed % 4 == 0) machine.vcpu->tlb.flush(false);
        machine.next = start;
        const Machine::Code code = compile_loop(machine, block);
        machine.run(block, code);
        // A fault in the first instruction of a round leaves the budget as the round before it did.
        const i64 stop = machine.ctx().budget - (machine.ctx().exit == Exit::Fault);
        u64 rounds = 0;
        const auto goes_on = [&] { // until as many rounds are over as the code has done
            if (reference.ctx().exit == Exit::Fault || reference.ctx().rip != kPc) return false;
            if (!options.uncounted) return reference.ctx().budget > stop;
            machine.ctx().budget = reference.ctx().budget;
            const bool registers = std::ranges::equal(reference.ctx().gpr, machine.ctx().gpr);
            return rounds < 1'000'000 && !(registers && differences(reference.ctx(), machine.ctx()).empty());
        };
        do {
            reference.interpret(block);
            ++rounds;
        } while (goes_on());
        if (options.uncounted) machine.ctx().budget = reference.ctx().budget;
        faults += machine.ctx().exit == Exit::Fault;
        long_runs += rounds > 100;
        std::string text = differences(reference.ctx(), machine.ctx());
        if (reference.memory->ram != machine.memory->ram) text += "  memory differs\n";
        ASSERT_TRUE(text.empty()) << "DRAGOMAN_SEED=" << seed << " DRAGOMAN_ROUNDS=1, after " << rounds
                                  << " rounds\n"
                                  << text << print(block) << machine.list(code);
    }
    if (cases < 500) return;
    EXPECT_GT(faults, cases / 50);
    EXPECT_GT(long_runs, cases / 50);
}

TEST(Loops, AgreeWithTheInterpreter) {
    run_loops({}, false, 64);
}
TEST(Loops, BehindAWindow) {
    run_loops({}, true, 64);
}
TEST(Loops, BehindAWindowIn32BitMode) {
    run_loops({}, true, 32);
}
TEST(Loops, BehindAWindowWithoutPext) {
    run_loops({.use_pext = false}, true, 64);
}
TEST(Loops, FlagsInEflagsAtEveryEnd) {
    run_loops({.use_bmi2 = false, .saved_flags = false}, true, 64);
}
TEST(Loops, Uncounted) {
    run_loops({.uncounted = true}, true, 64);
}
TEST(Loops, ChecksInEachRound) {
    run_loops({.loop_checks = false}, true, 64);
}

// load rax, [rsi]; store [rdi + 8], rax; add rsi, 8; add rdi, 8; sub rcx, 1; jnz
Block copy_loop() {
    Block b;
    b.pc = b.linear_pc = kPc;
    Builder builder(b);
    builder.insn(0), builder.load(8, kRax, {.base = kRsi});
    builder.insn(3), builder.store(8, {.base = kRdi, .disp = 8}, kRax);
    builder.insn(6), builder.alu(Op::Add, 8, kRsi, kRsi, Ref::imm(), 8).live = 0;
    builder.insn(9), builder.alu(Op::Add, 8, kRdi, kRdi, Ref::imm(), 8).live = 0;
    builder.insn(12), builder.alu(Op::Sub, 8, kRcx, kRcx, Ref::imm(), 1);
    builder.insn(15), builder.branch(Cond::NZ, kPc, kElse);
    b.guest_instructions = 6;
    b.guest_bytes = 17;
    return b;
}

// A poll waits until the first of the two pages ends, and no longer.
TEST(Loops, PauseWhereAPageEnds) {
    for (const bool window : {false, true})
        for (const bool ahead : {false, true}) {
            Machine m({.loop_checks = ahead}, window);
            const Block block = copy_loop();
            const Machine::Code code = compile_loop(m, block);
            Context& c = m.ctx();
            const auto begin = [&](u64 from, u64 to) {
                c.gpr[6] = from, c.gpr[7] = to, c.gpr[1] = 1000;
                c.budget = 1'000'000;
                c.poll = 1;
                m.run(block, code);
                return 1000 - c.gpr[1];
            };
            begin(0x12000, 0x14000);                               // fills the TLB
            EXPECT_EQ(begin(0x12000, 0x14000), ahead ? 511u : 1u); // the last store is over the end
            EXPECT_EQ(begin(0x12f00, 0x14000), ahead ? 32u : 1u);
            EXPECT_EQ(begin(0x12f04, 0x14000), ahead ? 31u : 1u);
            EXPECT_EQ(begin(0x12f01, 0x14000), ahead ? 31u : 1u); // the next one ends a byte behind the page
            EXPECT_EQ(begin(0x12000, 0x14f01), ahead ? 30u : 1u);
            EXPECT_EQ(begin(0x12ffc, 0x14000), 1u); // over two pages
            EXPECT_EQ(c.exit, Exit::Event);
            EXPECT_EQ(c.rip, kPc);
            EXPECT_EQ(c.budget, 1'000'000 - 6);
        }
}

// load rax, [rsi]; so many times not rax; load rdx, [rsi + 8]; add rsi, 8; sub rcx, 1; jnz
Block loop_with_two_loads(u32 apart) {
    Block b;
    b.pc = b.linear_pc = kPc;
    Builder builder(b);
    builder.insn(0), builder.load(8, kRax, {.base = kRsi});
    for (u32 n = 0; n < apart; ++n)
        builder.alu(Op::Xor, 8, kRax, kRax, Ref::imm(), -1).live = 0;
    builder.insn(3), builder.load(8, kRdx, {.base = kRsi, .disp = 8});
    builder.insn(6), builder.alu(Op::Add, 8, kRsi, kRsi, Ref::imm(), 8).live = 0;
    builder.insn(9), builder.alu(Op::Sub, 8, kRcx, kRcx, Ref::imm(), 1);
    builder.insn(12), builder.branch(Cond::NZ, kPc, kElse);
    b.guest_instructions = 5;
    b.guest_bytes = 14;
    return b;
}

// However far apart: the copy with a check for each is of all the loop anyway.
TEST(Loops, OneCheckForAllAccessesOffARegister) {
    const auto looks_at_tags = [](const Block& block) {
        Machine m({}, true);
        const std::string text = m.list(compile_loop(m, block));
        unsigned n = 0;
        for (size_t at = 0; (at = text.find("gs:[rcx", at)) != std::string::npos; ++at)
            ++n;
        return n;
    };
    const unsigned near = looks_at_tags(loop_with_two_loads(1));
    EXPECT_EQ(near, 3u) << "ahead, and one for each out of line";
    EXPECT_EQ(looks_at_tags(loop_with_two_loads(40)), near);
}

// load rax, [rsi]; sub ecx, 1; jnz: only the lower half of RCX tells the rounds.
TEST(Loops, PauseByACounterOf32Bits) {
    Block block;
    block.pc = block.linear_pc = kPc;
    Builder builder(block);
    builder.insn(0), builder.load(8, kRax, {.base = kRsi});
    builder.insn(3), builder.alu(Op::Sub, 4, kRcx, kRcx, Ref::imm(), 1);
    builder.insn(6), builder.branch(Cond::NZ, kPc, kElse);
    block.guest_instructions = 3;
    block.guest_bytes = 8;
    for (const u64 above : {u64{0}, u64{5} << 32}) {
        Machine m({}, true);
        const Machine::Code code = compile_loop(m, block);
        Context& c = m.ctx();
        const auto begin = [&](u64 count) {
            c.gpr[6] = 0x12000, c.gpr[1] = count;
            c.budget = 1'000'000;
            c.poll = 1;
            m.run(block, code);
        };
        begin(1); // fills the TLB
        begin(above + 3000);
        EXPECT_EQ(c.gpr[1], 3000u - 1024) << "the most rounds before a poll";
        EXPECT_EQ(c.exit, Exit::Event);
        begin(above + 1000);
        EXPECT_EQ(c.gpr[1], 0u);
        EXPECT_EQ(c.rip, kElse);
    }
}

} // namespace
} // namespace dragoman::test
