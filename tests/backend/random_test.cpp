// Random blocks, run by the interpreter and as generated code from the same state: every register, flag and
// byte of memory must agree, at ordinary ends and at faults in the middle. DRAGOMAN_SEED and DRAGOMAN_ROUNDS
// choose another run.
#include "machine.h"
#include "vex_random.h"

#include "ir/vec.h"
#include "ir/vex.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

namespace dragoman::test {
namespace {

using namespace ir;

constexpr u64 kFirst = 0x40'0000, kSecond = 0x40'0800, kThird = 0x40'1000; // the first two are in one page
constexpr u32 kNumber = 7;                                                 // of the third's page

// A helper that looks at state and changes it, and now and then leaves.
u64 meddle(Context& ctx, u64 a, u64 b, u64 imm) {
    ctx.gpr[imm & 15] += a ^ ctx.rip;
    ctx.gpr[10] ^= ctx.flags & kCF;
    ctx.flags ^= u32(b) & kAllFlags;
    ctx.vec[imm & 7][3] ^= 0x55;
    if ((a & 15) == 3) {
        ctx.fault = {.vector = 13};
        ctx.exit = Exit::Fault;
    } else if ((a & 15) == 5) {
        ctx.rip = 0x1234;
        ctx.exit = Exit::Halt;
    }
    return a + b;
}
constexpr Helper kMeddle{"meddle", meddle, kAllFlags, kAllFlags};

// The rows of VEX and EVEX instructions without general registers, which have a test of their own.
const std::vector<u16>& vex_rows() {
    static const std::vector<u16> rows = [] {
        const auto general = [](VexOperand k) {
            return k == VexOperand::Reg32 || k == VexOperand::Reg64 || k == VexOperand::RegSized;
        };
        std::vector<u16> found;
        for (u16 row = 0; row < vex_op_count(); ++row) {
            const VexOp& op = vex_op(row);
            if (host_has(op) && std::none_of(op.operands, op.operands + 4, general)) found.push_back(row);
        }
        return found;
    }();
    return rows;
}

class Generator {
  public:
    // Blocks often go on at `successor`.
    Generator(u64 seed, u64 successor) : rng_(seed), successor_(successor) {}

    u64 bits(unsigned n) { return rng_() & ((n == 64 ? 0 : u64{1} << n) - 1); }
    unsigned below(unsigned n) { return unsigned(rng_() % n); }
    bool chance(unsigned percent) { return below(100) < percent; }

    // A value of the kind that finds bugs.
    u64 value() {
        switch (below(6)) {
        case 0: return bits(3);
        case 1: return ~bits(3);
        case 2: return u64{1} << below(64);
        case 3: return (u64{1} << below(64)) - 1;
        case 4: return 0xffff'8000'0000'0000 + bits(17);
        default: return rng_();
        }
    }

    Block block(u64 pc) {
        Block b;
        b.pc = pc;
        b.linear_pc = b.pc;
        b.vector_bytes = host_vector_bytes();
        Builder builder(b);
        const unsigned instructions = 1 + below(8);
        for (unsigned i = 0; i < instructions; ++i) {
            builder.insn(4 * i);
            instruction_ = i;
            temps_ = 0;
            const unsigned ops = 1 + below(4);
            for (unsigned k = 0; k < ops; ++k)
                op(builder);
            if (i + 1 < instructions && chance(20))
                builder.add({.op = Op::BranchOut,
                             .cond = Cond(below(16)),
                             .imm = i64(b.pc + (1 + below(2)) * 0x800), // forward: nobody polls
                             .imm2 = i64(b.pc + 4 * (i + 1))});
            else if (i + 1 < instructions && chance(20)) { // mostly where it should go
                const Ref target = Ref::temp(below(kTemps));
                builder.mov_imm(8, target, i64(b.pc + (chance(80) ? 4 * (i + 1) : 0x123000)));
                builder.add({.op = Op::JumpOut, .a = target, .imm = i64(b.pc + 4 * (i + 1))});
            }
        }
        b.guest_instructions = instructions;
        b.guest_bytes = 4 * instructions;
        end(builder);
        liveness(b);
        return b;
    }

  private:
    unsigned size() { return 1u << below(4); }
    unsigned size48() { return 4u << below(2); }
    unsigned size24() { return 2u << below(3); }
    Ref gpr() { return Ref::gpr(below(16)); }
    Ref reg() { // to read
        if (temps_ && chance(35)) {
            for (;;) {
                const unsigned t = below(kTemps);
                if (temps_ >> t & 1) return Ref::temp(t);
            }
        }
        return gpr();
    }
    Ref dest() {
        if (!chance(30)) return gpr();
        const unsigned t = below(6);
        pending_ = t + 1;
        return Ref::temp(t);
    }
    void defined() {
        if (pending_) temps_ |= 1u << (pending_ - 1);
        pending_ = 0;
    }
    Ref reg_or_imm() { return chance(30) ? Ref::imm() : reg(); }
    i64 imm() { return i64(value()); }
    // The destination is often the first source, as it is on x86.
    Ref same_or(Ref d, bool was_defined) { return chance(70) && was_defined ? d : reg(); }

    // Sometimes beside an earlier one: such accesses share a TLB check.
    Address address() {
        if (near_.base.is_gpr() && chance(40)) {
            near_.disp += i64(below(96)) - 48;
            return near_;
        }
        Address m;
        m.size = chance(60) ? 8 : chance(60) ? 4 : 2;
        m.linear_size = m.size == 8 ? 8 : 4;
        if (chance(90)) m.base = reg();
        if (chance(30)) m.index = reg(), m.scale = u8(below(4));
        m.disp = chance(50) ? i64(i8(rng_())) : i64(i32(rng_()));
        if (m.base.is_none() && m.index.is_none() && chance(50)) m.disp = imm();
        if (m.size == 8 && chance(5)) m.disp = imm();
        if (chance(20)) m.seg = Seg(below(6));
        if (!m.base.is_temp() && !m.index.is_temp() && m.disp == i32(m.disp)) near_ = m;
        return m;
    }

    // A count above the operand size gives an undefined result, and differs from one execution to the next.
    void defined_count(Inst& i) {
        if (i.size == 2) i.c = Ref::imm(), i.imm = i64(bits(4));
    }

    void op(Builder& b) {
        static constexpr Op binary[] = {Op::Add, Op::Or, Op::Adc, Op::Sbb, Op::And, Op::Sub, Op::Xor};
        static constexpr Op unary[] = {Op::Inc, Op::Dec, Op::Neg, Op::Not};
        static constexpr Op shifts[] = {Op::Shl, Op::Shr, Op::Sar, Op::Rol, Op::Ror, Op::Rcl, Op::Rcr};
        static constexpr Op bit_ops[] = {Op::Bt, Op::Bts, Op::Btr, Op::Btc};
        Inst i{};
        i.size = u8(size());
        i.imm = imm();
        Ref d = dest();
        const bool known = d.is_gpr() || (temps_ >> d.index() & 1);
        switch (below(32)) {
        case 29: bits_op(i, d, known); break;
        case 30:
            i.op = Op::Mulx, i.size = u8(size48()), i.a = reg(), i.c = gpr(), i.d = d;
            if (chance(10)) i.d = i.c, pending_ = 0;
            break;
        case 0:
        case 1:
        case 2:
        case 3:
            i.op = binary[below(7)];
            i.d = d, i.a = same_or(d, known), i.b = reg_or_imm();
            if (near_.base.is_gpr() && chance(15)) { // a pointer moves on
                i.op = chance(50) ? Op::Add : Op::Sub;
                i.d = i.a = near_.base, i.b = Ref::imm(), i.imm = i64(below(64)), i.size = 8, pending_ = 0;
            }
            break;
        case 4: i.op = chance(50) ? Op::Cmp : Op::Test, i.a = reg(), i.b = reg_or_imm(), pending_ = 0; break;
        case 5: i.op = unary[below(4)], i.d = d, i.a = same_or(d, known); break;
        case 6:
        case 7:
            i.op = shifts[below(7)];
            i.d = d, i.a = same_or(d, known), i.b = reg_or_imm();
            if (chance(50)) i.imm = i64(bits(6));
            if (chance(30)) i.imm = 1;
            break;
        case 8:
            i.op = chance(50) ? Op::Shld : Op::Shrd;
            i.size = u8(size24()), i.d = d, i.a = same_or(d, known), i.b = reg(), i.c = reg_or_imm();
            defined_count(i);
            break;
        case 9:
            i.op = bit_ops[below(4)], i.size = u8(size24());
            i.a = same_or(d, known), i.b = reg_or_imm();
            if (i.op != Op::Bt)
                i.d = d;
            else
                pending_ = 0;
            break;
        case 10:
            i.op = chance(50) ? Op::Bsf : Op::Bsr, i.size = u8(size24());
            i.d = d, i.a = same_or(d, known), i.b = reg();
            break;
        case 11: {
            static constexpr Op counts[] = {Op::Popcnt, Op::Tzcnt, Op::Lzcnt};
            i.op = counts[below(3)], i.size = u8(size24()), i.d = d, i.a = reg();
            break;
        }
        case 12: i.op = Op::Crc32, i.d = d, i.a = same_or(d, known), i.b = reg(); break;
        case 13:
            i.op = Op::Imul, i.size = u8(size24()), i.d = d, i.a = same_or(d, known), i.b = reg_or_imm();
            break;
        case 14: i.op = chance(50) ? Op::MulWide : Op::ImulWide, i.a = reg(), pending_ = 0; break;
        case 15:
            pending_ = 0;
            if (chance(70)) { // make the division possible
                Inst wide{.op = Op::Mov,
                          .size = 8,
                          .d = kRdx,
                          .a = Ref::imm(),
                          .imm = i64(chance(50) ? 0 : value())};
                b.add(wide);
            }
            i.op = chance(50) ? Op::DivWide : Op::IdivWide, i.a = reg();
            break;
        case 16: i.op = Op::Mov, i.d = d, i.a = reg_or_imm(); break;
        case 17:
            i.op = chance(50) ? Op::Zext : Op::Sext, i.size = u8(1u << below(3));
            i.size2 = u8(i.size << (1 + below(i.size == 1 ? 3 : i.size == 2 ? 2 : 1)));
            i.d = d, i.a = reg();
            break;
        case 18:
            if (chance(50))
                i.op = Op::ExtHi, i.size = 1, i.d = d, i.a = reg();
            else
                i.op = Op::InsHi, i.size = 1, i.d = gpr(), i.a = reg_or_imm(), pending_ = 0;
            break;
        case 19:
            i.op = Op::Lea, i.size = u8(size24()), i.d = d, i.mem = address(), i.mem.seg = Seg::None;
            break;
        case 20: i.op = Op::Bswap, i.size = u8(size24()), i.d = d, i.a = same_or(d, known); break;
        case 21: i.op = Op::Load, i.d = d, i.mem = address(); break;
        case 22:
            i.op = chance(50) ? Op::LoadZx : Op::LoadSx, i.size = u8(1u << below(3));
            i.size2 = u8(i.size << (1 + below(i.size == 1 ? 3 : i.size == 2 ? 2 : 1)));
            i.d = d, i.mem = address();
            break;
        case 23: i.op = Op::Store, i.a = reg_or_imm(), i.mem = address(), pending_ = 0; break;
        case 24:
        case 25: rmw(i, d); break;
        case 26:
            i.cond = Cond(below(16));
            if (chance(50) && known)
                i.op = Op::Cmov, i.d = d, i.a = reg();
            else
                i.op = Op::Setcc, i.size = 1, i.d = d;
            break;
        case 27:
            pending_ = 0;
            switch (below(5)) {
            case 0: i.op = Op::Cmc; break;
            case 1: i.op = Op::Clc; break;
            case 2: i.op = Op::Stc; break;
            case 3: i.op = Op::GetFlags, i.d = gpr(), i.size = u8(size24()); break;
            default:
                i.op = Op::SetFlags, i.a = reg_or_imm(), i.imm2 = imm();
                i.imm = chance(50) ? i64(kAllFlags) : i64(value());
            }
            break;
        case 28:
            pending_ = 0;
            i.size = u8(4u << below(3));
            i.mem = address();
            if (chance(50))
                i.op = Op::VLoad, i.d = Ref::xmm(below(16));
            else
                i.op = Op::VStore, i.a = Ref::xmm(below(16));
            break;
        default:
            if (chance(30)) {
                state(b, i, d);
            } else if (chance(60)) {
                !vex_rows().empty() && chance(50) ? vex(i) : vec(i, d);
            } else if (chance(50)) {
                i.op = Op::SegAddr, i.d = d, i.mem = address(), i.mem.seg = Seg(below(6));
                if (i.mem.size == 8) i.mem.size = 4, i.mem.linear_size = 4;
                i.imm = i64(below(3));
            } else {
                pending_ = 0;
                i.op = below(2) ? Op::CheckAlign : Op::CheckAc, i.mem = address(),
                i.imm = (1 << below(5)) - 1;
            }
        }
        b.add(i);
        defined();
        // Undefined flags that the host leaves differently in other forms of an instruction: nothing to
        // compare.
        const Op alu = i.op == Op::Rmw ? i.sub : i.op;
        const Ref count = i.op == Op::Rmw ? i.a : i.b;
        const bool rotates = alu >= Op::Rol && alu <= Op::Rcr && count.is_imm() && (i.imm & 63) != 1;
        if (i.op == Op::DivWide || i.op == Op::IdivWide || rotates)
            b.add({.op = Op::Test, .a = kRax, .b = kRax});
    }

    void bits_op(Inst& i, Ref d, bool known) {
        static constexpr Op ops[] = {Op::Andn, Op::Bextr, Op::Bzhi, Op::Blsi, Op::Blsmsk, Op::Blsr, Op::Pdep,
                                     Op::Pext, Op::Rorx,  Op::Sarx, Op::Shlx, Op::Shrx,   Op::Adcx, Op::Adox};
        i.op = ops[below(std::size(ops))];
        i.size = u8(size48()), i.d = d, i.a = same_or(d, known);
        if (info(i.op).form == Form::DAB) i.b = reg();
        if (i.op == Op::Rorx) i.b = Ref::imm(), i.imm = i64(bits(6));
    }

    void state(Builder& b, Inst& i, Ref d) {
        const u64 offsets[] = {offsetof(Context, seg) + sizeof(Segment) * below(6),
                               offsetof(Context, key),
                               offsetof(Context, gpr) + 8 * below(16),
                               offsetof(Context, vec) + 64 * below(16),
                               offsetof(Context, interrupt_line),
                               offsetof(Context, budget)};
        switch (below(5)) {
        case 4: i.op = Op::TimeStamp, i.size = 8, i.d = d; break; // time stands still
        case 0: i.op = Op::LoadState, i.d = d, i.imm = i64(offsets[below(5)]); break;
        case 1:
            pending_ = 0;
            i.op = Op::StoreState, i.a = reg_or_imm(), i.imm2 = imm(), i.imm = i64(offsets[2 + below(3)]);
            if (i.imm == i64(offsetof(Context, interrupt_line))) i.size = 1;
            break;
        case 2: i.op = Op::PollIntr, i.imm = i64(b.block().pc + 4 * (instruction_ + 1)), pending_ = 0; break;
        default: i.op = Op::Call, i.size = 8, i.helper = &kMeddle, i.d = d, i.a = reg(), i.b = reg_or_imm();
        }
    }

    void rmw(Inst& i, Ref d) {
        static constexpr Op subs[] = {Op::Add, Op::Or,  Op::Adc,  Op::Sbb,  Op::And,    Op::Sub,  Op::Xor,
                                      Op::Inc, Op::Dec, Op::Neg,  Op::Not,  Op::Shl,    Op::Shr,  Op::Sar,
                                      Op::Rol, Op::Ror, Op::Rcl,  Op::Rcr,  Op::Shld,   Op::Shrd, Op::Bts,
                                      Op::Btr, Op::Btc, Op::Xadd, Op::Xchg, Op::Cmpxchg};
        i.op = Op::Rmw;
        i.sub = subs[below(std::size(subs))];
        i.mem = address();
        i.a = reg_or_imm();
        const bool shifts_by_count = i.sub >= Op::Shl && i.sub <= Op::Rcr;
        i.lock = chance(30) && !shifts_by_count && i.sub != Op::Shld && i.sub != Op::Shrd;
        if (i.sub == Op::Inc || i.sub == Op::Dec || i.sub == Op::Neg || i.sub == Op::Not) i.a = Ref::none();
        if (i.sub == Op::Shld || i.sub == Op::Shrd)
            i.a = reg(), i.c = reg_or_imm(), i.size = u8(size24()), defined_count(i);
        if (i.sub == Op::Bts || i.sub == Op::Btr || i.sub == Op::Btc) i.size = u8(size24());
        if (i.sub == Op::Xadd || i.sub == Op::Xchg)
            i.d = d, i.a = reg();
        else
            pending_ = 0;
        if (i.sub == Op::Cmpxchg) i.a = reg();
    }

    void vec(Inst& i, Ref d) {
        i.op = Op::Vec;
        i.vec = u16(below(vec_op_count()));
        const std::string_view name = vec_op(i.vec).mnemonic;
        // Rows with general or MMX registers have tests of their own; here both operands are XMM registers.
        const bool general =
            name.starts_with("cvt") || name.starts_with("pextr") || name.starts_with("pinsr") ||
            name.starts_with("movmsk") || name.starts_with("pmovmsk") || name.starts_with("mov") ||
            name.starts_with("maskmov") || name.starts_with("extractps") || name.starts_with("p");
        static_cast<void>(d);
        pending_ = 0;
        i.size = 8;
        if (name == "lddqu" || name == "emms") i.vec = u16(find_vec_op("addps"));
        i.d = Ref::xmm(below(16)), i.a = Ref::xmm(below(16));
        if (general && !name.starts_with("padd") && !name.starts_with("psub") && !name.starts_with("pcmp"))
            i.op = Op::VLoad, i.size = 16, i.mem = address(), i.a = Ref::none(), i.vec = 0;
        else if (chance(40))
            i.from_memory = true, i.a = Ref::none(), i.mem = address();
    }

    void vex(Inst& i) {
        const u16 row = vex_rows()[below(vex_rows().size())];
        const VexOp& op = vex_op(row);
        pending_ = 0;
        i = {.op = Op::Vex, .size = random_length(op, rng_)};
        i.vec = row;
        i.imm = op.has_imm() ? i64(below(256)) : 0;
        Ref* const refs[] = {&i.d, &i.a, &i.b, &i.c};
        for (unsigned n = 0; n < 4; ++n) {
            const VexOperand kind = op.operands[n];
            if (kind == VexOperand::Memory || (n == 2 && !op.stores() && op.memory && chance(40)))
                i.from_memory = true, i.mem = address();
            else if (kind == VexOperand::Opmask)
                *refs[n] = Ref::opmask(below(8));
            else if (kind != VexOperand::None && kind != VexOperand::Imm)
                *refs[n] = Ref::xmm(below(op.evex ? 32 : 16));
        }
        decorate(i, rng_);
    }

    void end(Builder& b) {
        const u64 near = kFirst + below(3) * 0x800; // the last is in another page
        switch (below(6)) {
        case 0: b.jump(near); break;
        case 1:
        case 2: b.branch(Cond(below(16)), near, successor_); break;
        case 3: b.branch_nz(size(), reg(), near, successor_); break;
        case 4: b.jump_ind(reg()); break;
        default: b.exit_to(near == successor_ ? kFirst : near); // not by a link
        }
    }

    // What a dead-flags pass does, written once more.
    static void liveness(Block& b) {
        Flags needed = kAllFlags;
        for (size_t n = b.insts.size(); n-- > 0;) {
            Inst& i = b.insts[n];
            i.live = flags_written(i) & needed;
            if (!(info(i.op).effects & kFlagsMaybe)) needed &= ~flags_written(i);
            needed |= flags_read(i);
            if (may_leave(i)) needed = kAllFlags;
        }
    }

    std::mt19937_64 rng_;
    u64 successor_;
    Address near_;
    u32 temps_ = 0; // which temporaries have a value
    unsigned pending_ = 0;
    unsigned instruction_ = 0;
};

// `window`: registers often lead into the window.
void randomize(Machine& m, u64 seed, bool window) {
    Generator g(seed ^ 0x5eed, kSecond);
    ir::Context& c = m.ctx();
    for (u64& r : c.gpr)
        r = window && g.chance(60) ? FlatMemory::kInWindow + g.bits(16) : g.value();
    c.vector_bytes = host_vector_bytes();
    for (auto& v : c.vec)
        for (u8& byte : v)
            byte = u8(g.bits(8));
    for (u64& mask : c.opmask)
        mask = g.value();
    // Segment 0..5: some with a base, a small limit, of other types.
    for (unsigned i = 0; i < 6; ++i) {
        Generator s(seed + i, kSecond);
        c.seg[i] = {.base = s.chance(50) ? 0 : s.bits(20),
                    .limit = s.chance(50) ? 0xffffffff : u32(s.bits(20)),
                    .selector = 8,
                    .attributes = u16(s.chance(70) ? 0xc093 : 0xc000 | s.bits(8))};
    }
    c.seg[1].base = 0;
    c.flags = Flags(g.bits(12)) & kAllFlags;
    c.budget = 1000;
    ir::take_back_poll(c);
    if (g.chance(20)) ir::ask_for_poll(c);
    c.interrupt_line = g.chance(50), c.interrupt_flag = g.chance(50);
    ir::use_key(c, 1);
    c.mxcsr = 0x1f80;
    c.exit = Exit::None;
    c.fault = {};
    for (u64 at = 0; at < m.memory->ram.size(); at += 8) {
        const u64 v = g.bits(64);
        std::memcpy(&m.memory->ram[at], &v, 8);
    }
}

std::string differences(ir::Context& want, ir::Context& have) {
    std::string text;
    char line[200];
    const auto compare = [&](const char* name, u64 w, u64 h) {
        if (w == h) return;
        std::snprintf(line, sizeof line, "  %-8s interpreter %016llx  code %016llx\n", name,
                      (unsigned long long)w, (unsigned long long)h);
        text += line;
    };
    static const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                  "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    for (unsigned i = 0; i < 16; ++i)
        compare(names[i], want.gpr[i], have.gpr[i]);
    compare("rip", want.rip, have.rip);
    compare("flags", want.flags, have.flags);
    compare("exit", u64(want.exit), u64(have.exit));
    compare("budget", u64(want.budget), u64(have.budget));
    compare("mxcsr", want.mxcsr, have.mxcsr);
    if (want.exit == Exit::Fault) {
        compare("vector", want.fault.vector, have.fault.vector);
        compare("error", want.fault.error, have.fault.error);
        compare("address", want.fault.address, have.fault.address);
    }
    for (unsigned i = 0; i < 8; ++i)
        compare("opmask", want.opmask[i], have.opmask[i]);
    for (unsigned i = 0; i < 32; ++i)
        for (unsigned k = 0; k < 8; ++k) {
            u64 w, h;
            std::memcpy(&w, want.vec[i] + 8 * k, 8);
            std::memcpy(&h, have.vec[i] + 8 * k, 8);
            std::snprintf(line, sizeof line, "xmm%u.%u", i, k);
            const std::string name = line;
            compare(name.c_str(), w, h);
        }
    return text;
}

u64 from_environment(const char* name, u64 otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

enum Way { kPlain, kMoved, kWindow };

void run_random(backend::Options options, const char* what, Way way = kPlain) {
    const u64 first = from_environment("DRAGOMAN_SEED", std::random_device{}() & 0xffffff);
    const u64 rounds = from_environment("DRAGOMAN_ROUNDS", 5000);
    std::printf("DRAGOMAN_SEED=%llu DRAGOMAN_ROUNDS=%llu\n", static_cast<unsigned long long>(first),
                static_cast<unsigned long long>(rounds));
    options.loop_checks = false; // the reference runs one round; loop_test.cpp has the others
    const bool moved = way == kMoved, window = way == kWindow;
    Machine reference, machine(options, window), maker(options);
    machine.may_be_entered = kNumber;
    const u64 start = machine.next;
    const auto compile = [&](const Block& block) {
        if (!moved) return machine.compile(block);
        maker.next = start;
        return machine.compile_elsewhere(block, maker);
    };
    u64 faults = 0, chains = 0;
    for (u64 seed = first; seed < first + rounds; ++seed) {
        const u64 successor = seed / 4 % 2 ? kThird : kSecond;
        Generator generator(seed, successor);
        Block block = generator.block(kFirst), second = generator.block(successor);
        second.code_pages[0] = kNumber;
        block.view = second.view = u8(seed % 3);
        randomize(reference, seed, window);
        randomize(machine, seed, window);
        block.vectors_lazy = second.vectors_lazy = seed % 2;
        machine.ctx().vectors_lazy = seed % 2;
        reference.ctx().view = machine.ctx().view = block.view;
        if (seed % 16 == 0) machine.vcpu->tlb.flush(false);
        machine.next = start;
        const Machine::Code code = compile(block);
        const Machine::Code second_code = compile(second);
        bool linked = false;
        for (const backend::LinkSite& site : code.compiled.links)
            if (site.target == successor && seed % 4)
                machine.backend->link(code.entry, site, second_code.entry, second_code.compiled),
                    linked = true;
        reference.interpret(block);
        if (linked && reference.ctx().exit == Exit::Lookup && reference.ctx().rip == successor)
            reference.interpret(second), ++chains;
        machine.run(block, code, &second, &second_code);
        faults += reference.ctx().exit == Exit::Fault;
        if (options.uncounted) machine.ctx().budget = reference.ctx().budget;
        std::string text = differences(reference.ctx(), machine.ctx());
        if (reference.memory->ram != machine.memory->ram) text += "  memory differs\n";
        ASSERT_TRUE(text.empty()) << what << ": DRAGOMAN_SEED=" << seed << " DRAGOMAN_ROUNDS=1\n"
                                  << text << print(block) << machine.list(code)
                                  << (linked ? print(second) + machine.list(second_code) : "");
    }
    if (rounds < 1000) return; // some seeds again
    EXPECT_GT(faults, rounds / 50) << "too few faults to mean anything";
    EXPECT_LT(faults, rounds * 9 / 10);
    EXPECT_GT(chains, rounds / 50);
}

TEST(Random, AllOn) {
    run_random({}, "all on");
}
TEST(Random, CodeFromAnotherPlace) {
    run_random({}, "all on, code from another place", kMoved);
}
TEST(Random, AllOff) {
    run_random({.use_bmi2 = false,
                .inline_tlb = false,
                .inline_lookup = false,
                .far_links = false,
                .saved_flags = false,
                .compare_again = false,
                .early_polls = false,
                .share_checks = false,
                .hold_registers = false,
                .lazy_vectors = false},
               "all off");
}
TEST(Random, FlagsInEflagsAtEveryEnd) {
    run_random({.saved_flags = false, .early_polls = false}, "no saved flags, no early polls");
}
TEST(Random, Window) {
    run_random({}, "window", kWindow);
    run_random({.uncounted = true}, "window, uncounted", kWindow);
}
TEST(Random, WindowWithChecksThatUseEflags) {
    run_random({.keep_eflags = false}, "window, no EFLAGS kept", kWindow);
}
TEST(Random, NoSharedChecks) {
    run_random({.share_checks = false}, "no shared checks");
}
TEST(Random, NoBmi2) {
    run_random({.use_bmi2 = false}, "no BMI2");
}
TEST(Random, NoInlineTlb) {
    run_random({.inline_tlb = false}, "no inline TLB");
}
TEST(Random, NoInlineLookup) {
    run_random({.inline_lookup = false}, "no inline lookup");
}
TEST(Random, Uncounted) {
    run_random({.uncounted = true}, "uncounted");
}
TEST(Random, UncountedCodeFromAnotherPlace) {
    run_random({.uncounted = true}, "uncounted, code from another place", kMoved);
}
TEST(Random, CountExact) {
    run_random({.count_exact = true}, "exact count");
}
TEST(Random, CountExactNoBmi2) {
    run_random({.count_exact = true, .use_bmi2 = false}, "exact count, no BMI2");
}

} // namespace
} // namespace dragoman::test
