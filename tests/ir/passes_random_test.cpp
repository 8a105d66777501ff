// All passes together on random blocks: what the interpreter makes of a block must not change.
#include "ir/passes.h"

#include "base/bits.h"
#include "ir/builder.h"
#include "ir_test_support.h"

#include <random>

namespace dragoman::ir {
namespace {

class Random {
  public:
    explicit Random(u64 seed) : random_(seed) {}
    u64 operator()() { return random_(); }
    u64 below(u64 n) { return random_() % n; }
    bool one_in(u64 n) { return below(n) == 0; }

  private:
    std::mt19937_64 random_;
};

class RandomBlock {
  public:
    explicit RandomBlock(Random& r) : r_(r) {}

    Block make() {
        Block block;
        block.pc = 0x1000;
        Builder b(block);
        const u64 n = 1 + r_.below(10);
        for (u64 i = 0; i < n; ++i) {
            b.insn(u32(i * 4));
            temps_ = 0;
            for (u64 ops = 1 + r_.below(4); ops; --ops)
                op(b);
            ++block.guest_instructions;
        }
        end(b);
        return block;
    }

  private:
    Ref gpr() { return Ref::gpr(unsigned(r_.below(6))); }
    Ref source() { return temps_ && r_.one_in(2) ? Ref::temp(unsigned(r_.below(temps_))) : gpr(); }
    Ref destination() { // call it after the sources are chosen
        if (r_.one_in(2) || temps_ == 8) return gpr();
        return Ref::temp(temps_++);
    }
    i64 imm() {
        switch (r_.below(3)) {
        case 0: return i64(r_.below(4));
        case 1: return i32(r_());
        default: return i8(r_());
        }
    }
    unsigned size() { return 1u << r_.below(4); }
    unsigned word() { return 2u << r_.below(3); }
    Address address() {
        Address m;
        if (!r_.one_in(4)) m.base = source();
        if (r_.one_in(2)) m.index = source(), m.scale = u8(r_.below(4));
        m.size = u8(word());
        m.disp = m.size == 2 ? i64(i16(r_())) : i64(i32(r_()));
        if (r_.one_in(4)) m.seg = Seg::FS;
        return m;
    }
    static i64 fit(i64 v, unsigned size) { return sign_extend(u64(v), size < 4 ? size : 4); }

    void op(Builder& b) {
        static constexpr Op dab[] = {Op::Add, Op::Or,  Op::Adc, Op::Sbb, Op::And, Op::Sub, Op::Xor,
                                     Op::Shl, Op::Shr, Op::Sar, Op::Rol, Op::Ror, Op::Rcl, Op::Rcr};
        static constexpr Op da[] = {Op::Inc, Op::Dec, Op::Neg, Op::Not};
        static constexpr Op word_ops[] = {Op::Imul, Op::Bts, Op::Btr, Op::Btc, Op::Bsf, Op::Bsr};
        const unsigned s = size(), w = word();
        const Ref x = source(), y = source();
        switch (r_.below(23)) {
        case 0:
        case 1:
        case 2: {
            const bool i = r_.one_in(2);
            b.alu(dab[r_.below(std::size(dab))], s, destination(), x, i ? Ref::imm() : y,
                  i ? fit(imm(), s) : 0);
            break;
        }
        case 3: b.unary(da[r_.below(std::size(da))], s, destination(), x); break;
        case 4: b.alu(word_ops[r_.below(std::size(word_ops))], w, destination(), x, y); break;
        case 5: b.add({.op = r_.one_in(2) ? Op::Cmp : Op::Test, .size = u8(s), .a = x, .b = y}); break;
        case 6: b.mov(s, destination(), x); break;
        case 7:
        case 8: b.mov_imm(s, destination(), fit(imm(), s)); break;
        case 9:
            b.extend(r_.one_in(2) ? Op::Zext : Op::Sext, s, unsigned(std::max<u64>(s, w)), destination(), x);
            break;
        case 10:
            b.add({.op = r_.one_in(2) ? Op::ExtHi : Op::Bswap, .size = u8(w), .d = destination(), .a = x});
            break;
        case 11: {
            const Address m = address();
            b.lea(w, destination(), m);
            break;
        }
        case 12: {
            const Address m = address();
            b.load(s, destination(), m);
            break;
        }
        case 13: {
            const Address m = address();
            const bool i = r_.one_in(2);
            b.store(s, m, i ? Ref::imm() : x, i ? fit(imm(), s) : 0);
            break;
        }
        case 14: {
            const Address m = address();
            b.rmw(dab[r_.below(std::size(dab))], s, m, x, 0, r_.one_in(2));
            break;
        }
        case 15: {
            const Address m = address();
            b.rmw(r_.one_in(2) ? Op::Cmpxchg : Op::Xadd, s, m, x, 0, r_.one_in(2));
            if (b.block().insts.back().sub == Op::Xadd) b.block().insts.back().d = destination();
            break;
        }
        case 16: b.add({.op = Op::Setcc, .size = 1, .cond = Cond(r_.below(16)), .d = destination()}); break;
        case 17:
            b.add({.op = Op::Cmov, .size = u8(w), .cond = Cond(r_.below(16)), .d = gpr(), .a = x});
            break;
        case 21: b.add({.op = Op::TimeStamp, .d = destination()}); break; // time stands still
        case 18: b.add({.op = Op::GetFlags, .d = destination()}); break;
        case 19: b.add({.op = Op::SetFlags, .a = x, .imm = i64(r_() & kAllFlags)}); break;
        case 20: b.call(test::mix, r_.one_in(2) ? gpr() : Ref::none(), x, y, imm()); break;
        default:
            static constexpr Op wide[] = {Op::MulWide, Op::ImulWide, Op::DivWide, Op::IdivWide, Op::InsHi,
                                          Op::Cmc,     Op::Clc,      Op::Stc,     Op::Popcnt,   Op::Crc32,
                                          Op::Tzcnt,   Op::Lzcnt,    Op::Blsr,    Op::Andn,     Op::Pext,
                                          Op::Shlx,    Op::Adcx,     Op::Adox,    Op::Mulx};
            switch (const Op o = wide[r_.below(std::size(wide))]; o) {
            case Op::InsHi: b.add({.op = o, .d = gpr(), .a = x}); break;
            case Op::Cmc:
            case Op::Clc:
            case Op::Stc: b.add({.op = o}); break;
            case Op::Popcnt:
            case Op::Tzcnt:
            case Op::Lzcnt: b.unary(o, w, destination(), x); break;
            case Op::Blsr: b.unary(o, s < 8 ? 4 : 8, destination(), x); break;
            case Op::Andn:
            case Op::Pext:
            case Op::Shlx:
            case Op::Adcx:
            case Op::Adox: b.alu(o, s < 8 ? 4 : 8, destination(), x, y); break;
            case Op::Mulx: {
                const Ref low = destination();
                b.add({.op = o, .size = u8(s < 8 ? 4 : 8), .d = destination(), .a = x, .c = low});
                break;
            }
            case Op::Crc32: b.alu(o, s, destination(), x, y); break;
            default: b.add({.op = o, .size = u8(s), .a = x});
            }
        }
    }
    void end(Builder& b) {
        switch (r_.below(4)) {
        case 0: b.jump(0x2000); break;
        case 1: b.branch(Cond(r_.below(16)), 0x1000, 0x2000); break;
        case 2: b.branch_nz(size(), source(), 0x1000, 0x2000); break;
        default: b.jump_ind(source());
        }
    }

    Random& r_;
    unsigned temps_ = 0;
};

// As interpret(), but flags that the block says nobody looks at come out wrong on purpose.
void run_with_poison(Context& ctx, const Block& block) {
    ctx.exit = Exit::None;
    ctx.interpreted_block = &block;
    ctx.interpreted_instruction = ~u32{0};
    ctx.budget -= block.guest_instructions;
    for (const Inst& inst : block.insts) {
        if (inst.op == Op::Insn)
            for (u64& t : ctx.tmp)
                t = 0xdeaddeaddeaddead;
        if (!execute(ctx, inst)) break;
        ctx.flags ^= flags_written(inst) & ~inst.live;
    }
    ctx.interpreted_block = nullptr;
}

std::string describe(const Context& ctx) {
    std::string s;
    char line[128];
    for (unsigned n = 0; n < 8; ++n) {
        std::snprintf(line, sizeof line, "%s%016llx", n ? " " : "",
                      static_cast<unsigned long long>(ctx.gpr[n]));
        s += line;
    }
    std::snprintf(line, sizeof line,
                  "\nrip %llx flags %x exit %u fault %u at %llx, instruction %u budget %lld\n",
                  static_cast<unsigned long long>(ctx.rip), ctx.flags, unsigned(ctx.exit),
                  ctx.exit == Exit::Fault ? ctx.fault.vector : 0,
                  static_cast<unsigned long long>(ctx.exit == Exit::Fault ? ctx.fault.address : 0),
                  ctx.interpreted_instruction, static_cast<long long>(ctx.budget));
    return s + line;
}

void compare(u64 seed, PassSwitches switches) {
    Random r(seed);
    const Block before = RandomBlock(r).make();
    ASSERT_TRUE(verify(before).empty()) << verify(before).front() << "\n" << print(before);
    Block after = before;
    run_passes(after, switches);
    const std::vector<std::string> problems = verify(after);
    ASSERT_TRUE(problems.empty()) << problems.front() << "\n" << print(after);

    Context ctx[2];
    test::FakeMemory memory[2];
    for (unsigned n = 0; n < 16; ++n)
        ctx[0].gpr[n] = r.one_in(3) ? r.below(16) : r();
    ctx[0].flags = Flags(r()) & kAllFlags;
    ctx[0].budget = 1000;
    ctx[0].seg[u8(Seg::FS)].base = r();
    for (u8& byte : memory[0].ram)
        byte = u8(r());
    const u64 fault_salt = r(), bounce_salt = r();
    const u64 fault_rate = r.one_in(2) ? 6 : ~u64{0};
    memory[0].faults = [=](u64 a, Access k) {
        return (a ^ fault_salt ^ u64(k)) * 0x9e3779b97f4a7c15 % fault_rate == 0;
    };
    memory[0].bounces = [=](u64 a) { return ((a ^ bounce_salt) * 0x9e3779b97f4a7c15) >> 63; };
    memory[1] = memory[0];
    ctx[1] = ctx[0];
    ctx[0].memory = &memory[0];
    ctx[1].memory = &memory[1];
    const std::string start = describe(ctx[0]);
    interpret(ctx[0], before);
    run_with_poison(ctx[1], after);
    ASSERT_EQ(describe(ctx[0]), describe(ctx[1])) << "seed " << seed << "\nfrom\n"
                                                  << start << print(before) << "\n"
                                                  << print(after);
    ASSERT_EQ(memory[0].ram, memory[1].ram) << "seed " << seed << "\n"
                                            << print(before) << "\n"
                                            << print(after);

    const Result<Block> again = parse(print(after), test::find_helper);
    ASSERT_TRUE(again) << (again ? "" : again.error().message) << "\n" << print(after);
    ASSERT_EQ(print(again.value()), print(after)) << "the printed block does not parse back";
}

TEST(Passes, RandomBlocksKeepTheirMeaning) {
    const u64 seed = std::random_device{}();
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    for (u64 i = 0; i < 5000 && !testing::Test::HasFailure(); ++i) {
        compare(seed + i, {});
        compare(seed + i, {1u << (i % passes().size())});
        compare(seed + i, {~(1u << (i % passes().size()))});
    }
}

} // namespace
} // namespace dragoman::ir
