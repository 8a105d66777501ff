// General-purpose instructions in 16- and 32-bit code, from the manual's pseudo-code.
#include "differential.h"

#include "ir/interpreter.h"
#include "ir/verify.h"

#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>
#include <random>
#include <vector>

namespace dragoman::test {
namespace {

using namespace x86;

class LegacyModes : public ::testing::Test {
  protected:
    ir::Exit run(std::initializer_list<u8> code, unsigned instructions = 1) {
        const std::vector<u8> bytes(code);
        cpu.rip = 0x1000;
        return machine.run(bytes, instructions);
    }
    u64 get(u64 address, unsigned size) {
        u64 value = 0;
        std::memcpy(&value, machine.ram() + address, size);
        return value;
    }
    void put(u64 address, u64 value, unsigned size) { std::memcpy(machine.ram() + address, &value, size); }

    Machine machine{[](Cpu& c, ir::Block& block) {
        for (const std::string& problem : ir::verify(block))
            ADD_FAILURE() << problem << "\n" << ir::print(block);
        ir::interpret(c, block);
    }};
    Cpu& cpu = machine.cpu();
};

TEST_F(LegacyModes, DecimalAdjustAfterAddition) {
    machine.set_mode(32);
    const struct {
        u8 al;
        ir::Flags before;
        u8 result;
        bool carry, adjust;
    } cases[] = {{0x79 + 0x35, 0, 0x14, true, true}, {0x42, 0, 0x42, false, false},
                 {0x9a, 0, 0x00, true, true},        {0x0f, 0, 0x15, false, true},
                 {0x10, ir::kAF, 0x16, false, true}, {0x20, ir::kCF, 0x80, true, false}};
    for (const auto& c : cases) {
        cpu.gpr[0] = c.al;
        cpu.flags = c.before;
        run({0x27});
        EXPECT_EQ(cpu.gpr[0], c.result) << "DAA of " << unsigned(c.al);
        EXPECT_EQ(bool(cpu.flags & ir::kCF), c.carry) << "DAA of " << unsigned(c.al);
        EXPECT_EQ(bool(cpu.flags & ir::kAF), c.adjust) << "DAA of " << unsigned(c.al);
    }
}

TEST_F(LegacyModes, DecimalAdjustAfterSubtraction) {
    machine.set_mode(32);
    cpu.gpr[0] = 0x35 - 0x47 + 0x100; // EEH, as SUB leaves it: CF and AF set (SDM vol. 2, DAS)
    cpu.flags = ir::kCF | ir::kAF;
    run({0x2f});
    EXPECT_EQ(cpu.gpr[0], 0x88u);
    EXPECT_EQ(cpu.flags & (ir::kCF | ir::kAF), ir::kCF | ir::kAF);
}

TEST_F(LegacyModes, UnpackedDecimal) {
    machine.set_mode(32);
    cpu.gpr[0] = 0x0a;
    cpu.flags = 0;
    run({0x37}); // AAA
    EXPECT_EQ(cpu.gpr[0], 0x100u);
    EXPECT_TRUE(cpu.flags & ir::kCF);
    cpu.gpr[0] = 0x1ff;
    cpu.flags = ir::kAF;
    run({0x3f}); // AAS
    EXPECT_EQ(cpu.gpr[0], 0x009u);
    cpu.gpr[0] = 63;
    run({0xd4, 10}); // AAM
    EXPECT_EQ(cpu.gpr[0], 0x603u);
    run({0xd5, 10}); // AAD
    EXPECT_EQ(cpu.gpr[0], 63u);
    EXPECT_EQ(run({0xd4, 0}), ir::Exit::Fault);
    EXPECT_EQ(cpu.fault.vector, kDE);
}

TEST_F(LegacyModes, RealModeAddsTheSegmentBase) {
    machine.set_mode(16);
    cpu.seg[3].base = 0x20000;
    cpu.gpr[3] = 0xfff0; // BX
    put(0x20010 + 0x10, 0, 2);
    put(0x20000 + 0x0030, 0x1234, 2);
    EXPECT_NE(run({0x8b, 0x47, 0x40}), ir::Exit::Fault); // mov ax, [bx+40h]: the offset wraps at 64 KiB
    EXPECT_EQ(cpu.gpr[0] & 0xffff, 0x1234u);
    cpu.gpr[3] = 0xffff;
    EXPECT_EQ(run({0x8b, 0x07}), ir::Exit::Fault); // a word at FFFFH lies beyond the limit
    EXPECT_EQ(cpu.fault.vector, kGP);
    cpu.gpr[5] = 0xffff;
    EXPECT_EQ(run({0x8b, 0x46, 0x00}), ir::Exit::Fault); // [bp]: SS
    EXPECT_EQ(cpu.fault.vector, kSS);
}

TEST_F(LegacyModes, StackWrapsAtSixteenBits) {
    machine.set_mode(16);
    cpu.seg[2].base = 0x30000;
    cpu.gpr[4] = 0xabcd0000;
    cpu.gpr[0] = 0x5678;
    run({0x50}); // push ax
    EXPECT_EQ(cpu.gpr[4], 0xabcdfffeu);
    EXPECT_EQ(get(0x3fffe, 2), 0x5678u);
    run({0x5b}); // pop bx
    EXPECT_EQ(cpu.gpr[4], 0xabcd0000u);
    EXPECT_EQ(cpu.gpr[3] & 0xffff, 0x5678u);
    cpu.gpr[4] = 0x1;
    EXPECT_EQ(run({0x50}), ir::Exit::Fault); // a word at FFFFH
    EXPECT_EQ(cpu.fault.vector, kSS);
    EXPECT_EQ(cpu.gpr[4], 1u);
}

TEST_F(LegacyModes, PushAllPopAll) {
    machine.set_mode(32);
    for (unsigned i = 0; i < 8; i++)
        cpu.gpr[i] = 0x11111111u * (i + 1);
    cpu.gpr[4] = 0x8000;
    run({0x60});
    EXPECT_EQ(cpu.gpr[4], 0x8000u - 32);
    for (unsigned i = 0; i < 8; i++)
        EXPECT_EQ(get(0x8000 - 4 * (i + 1), 4), i == 4 ? 0x8000u : 0x11111111u * (i + 1)) << i;
    for (unsigned i = 0; i < 8; i++)
        if (i != 4) cpu.gpr[i] = 0;
    run({0x61});
    for (unsigned i = 0; i < 8; i++)
        EXPECT_EQ(cpu.gpr[i], i == 4 ? 0x8000u : 0x11111111u * (i + 1)) << i;
}

TEST_F(LegacyModes, EnterNests) {
    machine.set_mode(32);
    cpu.gpr[4] = 0x8000;
    cpu.gpr[5] = 0x9000;
    put(0x8ffc, 0xaaaa, 4);
    put(0x8ff8, 0xbbbb, 4);
    run({0xc8, 0x10, 0x00, 0x03}); // enter 16, 3
    EXPECT_EQ(cpu.gpr[5], 0x7ffcu);
    EXPECT_EQ(get(0x7ffc, 4), 0x9000u);
    EXPECT_EQ(get(0x7ff8, 4), 0xaaaau);
    EXPECT_EQ(get(0x7ff4, 4), 0xbbbbu);
    EXPECT_EQ(get(0x7ff0, 4), 0x7ffcu);
    EXPECT_EQ(cpu.gpr[4], 0x7ff0u - 16);
    run({0xc9}); // leave
    EXPECT_EQ(cpu.gpr[4], 0x8000u);
    EXPECT_EQ(cpu.gpr[5], 0x9000u);
}

TEST_F(LegacyModes, BranchesCutTheInstructionPointer) {
    machine.set_mode(16);
    run({0xe9, 0x00, 0xf0}); // jmp -1000h
    EXPECT_EQ(cpu.rip, 0x0003u);
    cpu.gpr[4] = 0x8000;
    run({0xe8, 0x10, 0x00});
    EXPECT_EQ(cpu.rip, 0x1013u);
    EXPECT_EQ(get(0x7ffe, 2), 0x1003u);
    machine.set_mode(32);
    cpu.gpr[4] = 0x8000;
    put(0x8000, 0xffff4321, 4);
    run({0x66, 0xc3}); // ret with a 16-bit operand size
    EXPECT_EQ(cpu.rip, 0x4321u);
    EXPECT_EQ(cpu.gpr[4], 0x8002u);
    cpu.gpr[1] = 0xffff0001; // loop with a 16-bit count
    run({0x67, 0xe2, 0x10});
    EXPECT_EQ(cpu.rip, 0x1003u);
    EXPECT_EQ(cpu.gpr[1], 0xffff0000u);
    run({0x67, 0xe3, 0x10}); // jcxz
    EXPECT_EQ(cpu.rip, 0x1013u);
}

TEST_F(LegacyModes, Bound) {
    machine.set_mode(32);
    cpu.gpr[3] = 0x8000;
    put(0x8000, u64(u32(-5)) | u64{7} << 32, 8);
    for (int index : {-5, 0, 7}) {
        cpu.gpr[0] = u32(index);
        EXPECT_NE(run({0x62, 0x03}), ir::Exit::Fault) << index;
    }
    for (int index : {-6, 8}) {
        cpu.gpr[0] = u32(index);
        EXPECT_EQ(run({0x62, 0x03}), ir::Exit::Fault) << index;
        EXPECT_EQ(cpu.fault.vector, kBR);
    }
}

TEST_F(LegacyModes, StringsUseTheirSegments) {
    machine.set_mode(16);
    cpu.seg[0].base = 0x40000; // ES
    cpu.seg[3].base = 0x20000; // DS
    cpu.gpr[6] = 0x100;
    cpu.gpr[7] = 0x200;
    cpu.gpr[1] = 0xabcd0004;
    put(0x20100, 0x1122334455667788, 8);
    run({0xf3, 0xa5}); // rep movsw
    EXPECT_EQ(get(0x40200, 8), 0x1122334455667788u);
    EXPECT_EQ(cpu.gpr[1], 0xabcd0000u);
    EXPECT_EQ(cpu.gpr[6], 0x108u);
    EXPECT_EQ(cpu.gpr[7], 0x208u);
    // Beyond the limit: what was done before stays done.
    cpu.gpr[7] = 0xfffc;
    cpu.gpr[1] = 4;
    cpu.gpr[0] = 0x77;
    EXPECT_NE(run({0xf3, 0xaa}), ir::Exit::Fault); // ends at FFFFH, DI wraps
    EXPECT_EQ(cpu.gpr[7], 0u);
    cpu.gpr[7] = 0xfffd;
    cpu.gpr[1] = 4;
    EXPECT_EQ(run({0xf3, 0xab}), ir::Exit::Fault); // the second word at FFFFH
    EXPECT_EQ(cpu.fault.vector, kGP);
    EXPECT_EQ(cpu.gpr[7], 0xffffu);
    EXPECT_EQ(cpu.gpr[1], 3u);
    EXPECT_EQ(cpu.rip, 0x1000u);
}

// However the copy is done, it ends as if it had been done unit by unit.
TEST_F(LegacyModes, RepeatedMovesOverlapUnitByUnit) {
    machine.set_mode(32);
    constexpr u64 base = 0x10000, bytes = 0x8000;
    const u64 seed = std::random_device{}();
    std::mt19937_64 random(seed);
    const auto below = [&](u64 n) { return random() % n; };
    for (unsigned round = 0; round < 300; ++round) {
        for (u64 at = base; at < base + bytes; at += 8)
            put(at, random(), 8);
        std::vector<u8> want(machine.ram() + base, machine.ram() + base + bytes);
        const unsigned size = 1u << below(3);
        const bool down = below(3) == 0;
        const u64 count = below(2) ? below(40) : below(2500), span = count * size;
        const u64 near = below(2) ? below(80) : below(3000); // between the two
        const u64 low = 0x1000 + below(0x1000), from = low + (below(2) ? near : 0),
                  to = 2 * low + near - from;
        const u64 first = down && count ? span - size : 0;
        for (u64 n = 0; n < count; ++n) {
            const u64 at = down ? first - n * size : n * size;
            std::memcpy(&want[to + at], std::vector<u8>(&want[from + at], &want[from + at] + size).data(),
                        size);
        }
        cpu.direction_flag = down;
        cpu.gpr[6] = base + from + first;
        cpu.gpr[7] = base + to + first;
        cpu.gpr[1] = count;
        do {
            if (size == 2)
                run({0x66, 0xf3, 0xa5});
            else
                run({0xf3, u8(size == 1 ? 0xa4 : 0xa5)});
        } while (cpu.gpr[1]);
        ASSERT_EQ(std::memcmp(want.data(), machine.ram() + base, bytes), 0)
            << "seed " << seed << " round " << round << ": " << count << " of " << size << " from " << from
            << " to " << to << (down ? " downwards" : "");
        const u64 moved = down ? u64{0} - span : span;
        ASSERT_EQ(cpu.gpr[6], u32(base + from + first + moved));
        ASSERT_EQ(cpu.gpr[7], u32(base + to + first + moved));
    }
    cpu.direction_flag = 0;
}

TEST_F(LegacyModes, LongRepeatGoesThroughManyPages) {
    machine.set_mode(32);
    cpu.gpr[7] = 0x10003;
    cpu.gpr[1] = 50000;
    cpu.gpr[0] = 0x5a;
    for (unsigned entries = 0; cpu.gpr[1] && entries < 100; entries++)
        run({0xf3, 0xaa});
    EXPECT_EQ(cpu.gpr[7], 0x10003u + 50000);
    for (u64 at = 0x10003; at < 0x10003 + 50000; at++)
        ASSERT_EQ(get(at, 1), 0x5au) << at;
    EXPECT_EQ(get(0x10002, 1), 0u);
    EXPECT_EQ(get(0x10003 + 50000, 1), 0u);
    cpu.poll = 1; // an event: out after a piece, at the instruction itself
    cpu.gpr[1] = 50000;
    EXPECT_EQ(run({0xf3, 0xaa}), ir::Exit::Event);
    EXPECT_EQ(cpu.rip, 0x1000u);
    EXPECT_LT(cpu.gpr[1], 50000u);
    EXPECT_GT(cpu.gpr[1], 0u);
    cpu.poll = 0;
}

} // namespace
} // namespace dragoman::test
