// Every row of ir/vex_ops.inc and evex_ops.inc: from registers, also the same one twice, and from memory
// (aligned or not, hit or miss, with elements masked off), generated code against the interpreter; and what
// of it is emitted.
#include "machine.h"
#include "vex_random.h"

#include "ir/parse.h"
#include "ir/verify.h"
#include "ir/vex.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

namespace dragoman::test {
namespace {

using namespace ir;

u64 base_seed() {
    static const u64 seed = std::getenv("DRAGOMAN_SEED")
                                ? std::strtoull(std::getenv("DRAGOMAN_SEED"), nullptr, 0)
                                : std::random_device{}() & 0xffffff;
    return seed;
}

// The assembler does not know these forms.
bool by_interpreter_anyway(const Inst& i, const VexOp& op) {
    return (i.broadcast && op.row.starts_with("vgf2p8affine")) ||
           (i.rounding != Rounding::Mxcsr && op.row.starts_with("vreduce"));
}

// A block of one random instruction of the row.
Block random_block(u16 row, unsigned length, bool memory, std::mt19937_64& rng) {
    const VexOp& op = vex_op(row);
    Block b;
    b.pc = 0x1000;
    b.guest_instructions = 1;
    b.vector_bytes = host_vector_bytes();
    b.simd_unmasked = rng() % 8 == 0;
    Inst i{.op = Op::Vex, .size = u8(length), .size2 = u8(rng() % 2 ? 8 : 4)};
    i.vec = row;
    i.imm = op.has_imm() ? i64(rng() & 0xff) : 0;
    Ref* const refs[] = {&i.d, &i.a, &i.b, &i.c};
    const unsigned registers = op.evex ? 32 : 16;
    const unsigned same = unsigned(rng() % registers);
    for (unsigned n = 0; n < 4; ++n) {
        const unsigned number = rng() % 4 ? unsigned(rng() % registers) : same;
        switch (memory && n == (op.stores() ? 0u : 2u) ? VexOperand::Memory : op.operands[n]) {
        case VexOperand::None:
        case VexOperand::Imm: break;
        case VexOperand::Memory:
            i.from_memory = true;
            i.mem = {.base = kRsi, .disp = length == 64 ? 0x40 : 0x10};
            if (rng() % 4 == 0) i.mem.index = kRdi; // 0
            break;
        case VexOperand::Vector:
        case VexOperand::Half:
        case VexOperand::Xmm: *refs[n] = Ref::xmm(number); break;
        case VexOperand::Opmask: *refs[n] = Ref::opmask(number % 8); break;
        default: *refs[n] = Ref::gpr(number % 16);
        }
    }
    decorate(i, rng);
    Builder builder(b);
    builder.insn(0);
    builder.add(i);
    builder.exit_to(0x1004);
    return b;
}

void randomize(Machine& m, u64 seed) {
    std::mt19937_64 values(seed);
    Context& c = m.ctx();
    for (u64& r : c.gpr)
        r = values();
    for (auto& v : c.vec) {
        std::memset(v, 0, sizeof v);
        for (unsigned k = 0; k < host_vector_bytes(); k += 4) { // often numbers
            const float f = float(i32(values())) / 65536;
            const u32 bits = seed % 2 ? u32(values()) : std::bit_cast<u32>(f);
            std::memcpy(v + k, &bits, 4);
        }
    }
    for (u64& mask : c.opmask)
        mask = values() & (values() % 3 ? values() : ~u64{0});
    m.memory->ram.fill(0);
    for (const unsigned at : {0x3000, 0x4fc0, 0x9fc0, 0xb000})
        for (unsigned k = 0; k < 0x80; ++k)
            *m.memory->byte(at + k) = u8(values());
    // Aligned, misaligned, across pages, never cached, absent.
    static constexpr u64 places[] = {0x3000, 0x3000, 0x3010, 0x3003, 0x4ff0 - 0x14, 0x9ff0 - 0x10, 0xd000};
    c.gpr[6] = places[seed % std::size(places)];
    c.gpr[7] = 0;
    c.flags = Flags(values()) & kAllFlags;
    c.mxcsr = 0x1f80 | u32(values() & 0x6000);
    c.vector_bytes = host_vector_bytes();
    c.exit = Exit::None;
    c.fault = {};
    c.budget = 10;
}

std::string differences(Machine& reference, Machine& machine) {
    const Context &want = reference.ctx(), &have = machine.ctx();
    std::string what;
    if (want.exit != have.exit) what += " exit";
    if (want.exit == Exit::Fault && want.fault.vector != have.fault.vector) what += " vector";
    if (want.exit == Exit::Fault && want.fault.address != have.fault.address) what += " address";
    if (want.rip != have.rip) what += " rip";
    if (want.flags != have.flags) what += " flags";
    if (want.mxcsr != have.mxcsr) what += " mxcsr";
    if (want.budget != have.budget) what += " budget";
    if (std::memcmp(want.gpr, have.gpr, sizeof want.gpr)) what += " gpr";
    if (std::memcmp(want.vec, have.vec, sizeof want.vec)) what += " vector";
    if (std::memcmp(want.opmask, have.opmask, sizeof want.opmask)) what += " opmask";
    if (reference.memory->ram != machine.memory->ram) what += " memory";
    return what;
}

class VexRow : public testing::TestWithParam<unsigned> {};

TEST_P(VexRow, CodeAgreesWithTheInterpreter) {
    const u16 row = u16(GetParam());
    const VexOp& op = vex_op(row);
    if (!host_has(op)) GTEST_SKIP() << "the host has not the instruction";
    static Machine reference, machine;
    const u64 start = machine.next;
    const bool only_memory = op.stores() || op.operands[2] == VexOperand::Memory;
    for (const unsigned length : {16u, 32u, 64u})
        for (const bool memory : {false, true}) {
            if (!op.exists(length)) continue;
            if (memory ? !op.memory : only_memory) continue;
            for (u64 seed = base_seed(); seed < base_seed() + 14; ++seed) {
                std::mt19937_64 rng(seed);
                const Block b = random_block(row, length, memory, rng);
                for (const std::string& problem : verify(b))
                    FAIL() << problem << "\n" << print(b);
                Result<Block> parsed = parse(print(b));
                ASSERT_TRUE(parsed) << parsed.error().message << "\n" << print(b);
                ASSERT_EQ(print(parsed.value()), print(b));
                randomize(reference, seed);
                randomize(machine, seed);
                machine.next = start;
                const auto code = machine.compile(b);
                reference.interpret(b);
                machine.run(b, code);
                const std::string what = differences(reference, machine);
                ASSERT_TRUE(what.empty()) << "DRAGOMAN_SEED=" << seed << ": different:" << what << "\n"
                                          << print(b) << machine.list(code);
                if (b.simd_unmasked || by_interpreter_anyway(b.insts[1], op)) continue;
                const bool by_interpreter = vex_spares_memory(b.insts[1]) || op.aligned ||
                                            (op.stores() && !b.insts[1].mask.is_none()) ||
                                            (op.stores() && op.numeric); // those are kept for it out of line
                ASSERT_EQ(code.compiled.kept.empty(), !(memory && by_interpreter)) << print(b);
            }
        }
}

INSTANTIATE_TEST_SUITE_P(All, VexRow, testing::Range(0u, unsigned(vex_op_count())),
                         [](const auto& row) { return std::string(vex_op(u16(row.param)).row); });

TEST(Vex, ClearUpper) {
    if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "the host has no AVX2";
    Machine reference, machine;
    for (const u8 registers : {8, 16})
        for (const i64 from : {0, 16}) {
            Block b;
            b.guest_instructions = 1;
            b.vector_bytes = host_vector_bytes();
            Builder builder(b);
            builder.insn(0);
            builder.add({.op = Op::ClearUpper, .size = registers, .imm = from});
            builder.exit_to(4);
            randomize(reference, 3);
            randomize(machine, 3);
            reference.interpret(b);
            machine.run(b, machine.compile(b));
            EXPECT_EQ(differences(reference, machine), "") << print(b);
            EXPECT_EQ(reference.ctx().vec[registers - 1][16], 0);
            const bool others_kept = (reference.ctx().vec[8][20] | reference.ctx().vec[9][20]) != 0;
            EXPECT_EQ(others_kept, registers == 8);
        }
}

// What the instruction reads and writes survives a call into C++ and back.
TEST(Vex, UpperHalvesLiveThroughCalls) {
    if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "the host has no AVX2";
    static const Helper dirty{
        "dirty", [](Context&, u64, u64, u64) -> u64 {
            asm volatile("pxor %%xmm3, %%xmm3\npxor %%xmm15, %%xmm15" ::: "xmm3", "xmm15");
            return 0;
        }};
    Machine machine;
    Block b;
    b.guest_instructions = 1;
    b.vector_bytes = host_vector_bytes();
    Builder builder(b);
    builder.insn(0);
    Inst move{.op = Op::Vex, .size = host_vector_bytes(), .d = Ref::xmm(15), .b = Ref::xmm(3)};
    move.vec = u16(find_vex_op(host_vector_bytes() == 64 ? "vmovaps_e" : "vmovaps"));
    builder.add(move);
    builder.call(dirty);
    builder.exit_to(4);
    randomize(machine, 5);
    const Context before = machine.ctx();
    machine.run(b, machine.compile(b));
    EXPECT_EQ(std::memcmp(machine.ctx().vec[15], before.vec[3], 64), 0);
    EXPECT_EQ(std::memcmp(machine.ctx().vec[3], before.vec[3], 64), 0);
    EXPECT_EQ(std::memcmp(machine.ctx().vec[8], before.vec[8], 64), 0);
}

} // namespace
} // namespace dragoman::test
