// Every row of ir/vec_ops.inc: from a register, from memory (aligned or not, hit or miss), with a general
// register where there is one, generated code against the interpreter.
#include "machine.h"

#include "ir/vec.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

namespace dragoman::test {
namespace {

using namespace ir;

enum class Operands { XmmXmm, XmmMem, XmmImm, GprXmm, XmmGpr, MmMm, MmMem, MmXmm, XmmMm };
constexpr const char* kNames[] = {"xmm, xmm", "xmm, mem", "xmm, imm", "gpr, xmm", "xmm, gpr",
                                  "mm, mm",   "mm, mem",  "mm, xmm",  "xmm, mm"};

// Which operands a row can have, by its mnemonic (SDM vol. 2).
std::vector<Operands> forms(const VecOp& op) {
    const std::string_view n = op.mnemonic;
    const auto is = [&](std::initializer_list<std::string_view> names) {
        for (std::string_view name : names)
            if (n == name) return true;
        return false;
    };
    if (is({"movmskps", "movmskpd", "pmovmskb", "pextrw", "pextrb", "pextrd", "pextrq", "extractps"}))
        return {Operands::GprXmm};
    if (is({"cvtsd2si", "cvttsd2si", "cvtss2si", "cvttss2si"})) return {Operands::GprXmm};
    if (is({"cvtsi2sd", "cvtsi2ss"})) return {Operands::XmmGpr, Operands::XmmMem};
    if (is({"pinsrb", "pinsrw", "pinsrd", "pinsrq"})) return {Operands::XmmGpr, Operands::XmmMem};
    if (is({"cvtpi2ps", "cvtpi2pd", "movq2dq"})) return {Operands::XmmMm};
    if (is({"cvtps2pi", "cvttps2pi", "cvtpd2pi", "cvttpd2pi", "movdq2q"})) return {Operands::MmXmm};
    if (is({"movd", "movq"})) return {Operands::XmmGpr, Operands::GprXmm};
    if (is({"movntdqa", "lddqu", "movlps", "movhps", "movlpd", "movhpd"})) return {Operands::XmmMem};
    if (is({"pshufw"})) return {Operands::MmMm, Operands::MmMem};
    if (is({"pslldq", "psrldq"})) return {Operands::XmmImm};
    if (is({"movss", "movsd", "movhlps", "movlhps", "maskmovdqu", "emms"})) return {Operands::XmmXmm};
    std::vector<Operands> all{Operands::XmmXmm, Operands::XmmMem};
    if (is({"psllw", "pslld", "psllq", "psrlw", "psrld", "psrlq", "psraw", "psrad"}))
        all.push_back(Operands::XmmImm);
    if (op.mmx) all.push_back(Operands::MmMm), all.push_back(Operands::MmMem);
    return all;
}

class VectorRow : public testing::TestWithParam<unsigned> {};

TEST_P(VectorRow, CodeAgreesWithTheInterpreter) {
    const u16 row = u16(GetParam());
    const VecOp& op = vec_op(row);
    static const u64 base_seed = std::getenv("DRAGOMAN_SEED")
                                     ? std::strtoull(std::getenv("DRAGOMAN_SEED"), nullptr, 0)
                                     : std::random_device{}() & 0xffffff;
    static Machine reference, machine;
    const u64 start = machine.next;
    for (const Operands form : forms(op))
        for (u64 seed = base_seed; seed < base_seed + 24; ++seed) {
            std::mt19937_64 rng(seed);
            Block b;
            b.pc = 0x1000;
            b.guest_instructions = 1;
            Builder builder(b);
            builder.insn(0);
            Inst i{.op = Op::Vec, .size = u8(rng() % 2 ? 8 : 4)};
            if (op.mnemonic == "movq" || op.mnemonic == "pextrq" || op.mnemonic == "pinsrq") i.size = 8;
            if (op.mnemonic == "pextrd" || op.mnemonic == "pinsrd") i.size = 4;
            i.vec = row;
            i.imm = i64(rng() & 0xff);
            i.d = Ref::xmm(unsigned(rng() % 16)), i.a = Ref::xmm(unsigned(rng() % 16));
            if (form == Operands::GprXmm) i.d = Ref::gpr(unsigned(rng() % 16));
            if (form == Operands::XmmGpr) i.a = Ref::gpr(unsigned(rng() % 16));
            if (form == Operands::MmMm || form == Operands::MmMem || form == Operands::MmXmm)
                i.d = Ref::mm(unsigned(rng() % 8));
            if (form == Operands::MmMm || form == Operands::XmmMm) i.a = Ref::mm(unsigned(rng() % 8));
            if (form == Operands::XmmImm) i.a = Ref::imm();
            if (form == Operands::XmmMem || form == Operands::MmMem) {
                i.from_memory = true, i.a = Ref::none();
                i.mem = {.base = kRsi, .disp = 0x10};
            }
            builder.add(i);
            builder.exit_to(0x1004);

            for (Machine* m : {&reference, &machine}) {
                std::mt19937_64 values(seed);
                for (u64& r : m->ctx().gpr)
                    r = values();
                for (auto& v : m->ctx().vec)
                    for (unsigned k = 0; k < 16; k += 4) { // often numbers
                        const float f = float(i32(values())) / 65536;
                        const u32 bits = seed % 2 ? u32(values()) : std::bit_cast<u32>(f);
                        std::memcpy(v + k, &bits, 4);
                    }
                for (u8& byte : m->memory->ram)
                    byte = 0;
                for (unsigned k = 0; k < 0x40; ++k)
                    *m->memory->byte(0x3000 + k) = *m->memory->byte(0xb000 + k) = u8(values());
                for (auto& st : m->ctx().fpu.st)
                    for (u8& byte : st)
                        byte = 0;
                for (auto& st : m->ctx().fpu.st)
                    for (unsigned k = 0; k < 8; ++k)
                        st[k] = u8(values());
                m->ctx().fpu.top = 0;
                // Aligned, misaligned, never cached, absent.
                static constexpr u64 places[] = {0x3000, 0x3000, 0x3008, 0x3003, 0x9ff0 - 0x10, 0xd000};
                m->ctx().gpr[6] = places[seed % std::size(places)];
                m->ctx().flags = Flags(values()) & kAllFlags;
                m->ctx().mxcsr = 0x1f80 | u32(values() & 0x6000);
                m->ctx().exit = Exit::None;
                m->ctx().budget = 10;
            }
            machine.next = start;
            const auto code = machine.compile(b);
            reference.interpret(b);
            machine.run(b, code);
            const Context &want = reference.ctx(), &have = machine.ctx();
            std::string what;
            if (want.exit != have.exit) what += " exit";
            if (want.exit == Exit::Fault && want.fault.vector != have.fault.vector) what += " vector";
            if (want.rip != have.rip) what += " rip";
            if (want.flags != have.flags) what += " flags";
            if (want.mxcsr != have.mxcsr) what += " mxcsr";
            if (want.budget != have.budget) what += " budget";
            if (std::memcmp(want.gpr, have.gpr, sizeof want.gpr)) what += " gpr";
            if (std::memcmp(want.vec, have.vec, sizeof want.vec)) what += " xmm";
            if (std::memcmp(want.fpu.st, have.fpu.st, sizeof want.fpu.st)) what += " st";
            if (reference.memory->ram != machine.memory->ram) what += " memory";
            ASSERT_TRUE(what.empty()) << "DRAGOMAN_SEED=" << seed << ": " << op.mnemonic << " "
                                      << kNames[int(form)] << ": different:" << what << "\n"
                                      << print(b) << machine.list(code);
        }
}

INSTANTIATE_TEST_SUITE_P(All, VectorRow, testing::Range(0u, unsigned(vec_op_count())),
                         [](const auto& row) { return std::string(vec_op(u16(row.param)).mnemonic); });

// How many rows are emitted as themselves: the ones that are not should be known.
TEST(Vectors, AreMostlyEmittedDirectly) {
    Machine m;
    unsigned direct = 0, rows = 0;
    for (unsigned row = 0; row < vec_op_count(); ++row) {
        const std::vector<Operands> all = forms(vec_op(u16(row)));
        if (all.front() != Operands::XmmXmm || vec_op(u16(row)).implicit_registers) continue;
        Block b;
        b.guest_instructions = 1;
        Builder builder(b);
        builder.insn(0);
        Inst i{.op = Op::Vec, .d = Ref::xmm(1), .a = Ref::xmm(2)};
        i.vec = u16(row);
        builder.add(i);
        builder.exit_here();
        ++rows;
        if (m.compile(b).compiled.kept.empty())
            ++direct;
        else
            std::printf("by the interpreter: %s\n", std::string(vec_op(u16(row)).mnemonic).c_str());
    }
    EXPECT_GT(direct, rows * 9 / 10);
}

} // namespace
} // namespace dragoman::test
