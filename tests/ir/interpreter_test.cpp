// The interpreter: register rules, memory protocol, faults, and how blocks are left.
#include "ir_test_support.h"

namespace dragoman::ir {
namespace {

using test::block_of;
using test::Machine;

TEST(Interpreter, WritesOfOneAndTwoBytesKeepTheRest) {
    Machine m;
    m.ctx.gpr[0] = m.ctx.gpr[1] = m.ctx.gpr[2] = m.ctx.gpr[3] = 0x1122334455667788;
    m.run(R"(
0000  mov.1 al, 0xaa
      mov.2 cx, 0xbbbb
      mov.4 edx, 0x1
      inshi rbx, al
      exthi t0, rbx
      mov.8 rsi, t0
0005  jump 0x10
)");
    EXPECT_EQ(m.ctx.gpr[0], 0x11223344556677aau);
    EXPECT_EQ(m.ctx.gpr[1], 0x112233445566bbbbu);
    EXPECT_EQ(m.ctx.gpr[2], 1u);
    EXPECT_EQ(m.ctx.gpr[3], 0x112233445566aa88u);
    EXPECT_EQ(m.ctx.gpr[6], 0xaau);
}

TEST(Interpreter, CmovOfFourBytesZeroExtendsEitherWay) {
    Machine m;
    m.ctx.gpr[0] = m.ctx.gpr[1] = m.ctx.gpr[2] = ~u64{0};
    m.run(R"(
0000  clc
      cmov.b.4 eax, esi
      cmov.b.8 rcx, rsi
      cmov.nb.4 edx, esi
0005  jump 0x10
)");
    EXPECT_EQ(m.ctx.gpr[0], 0xffffffffu);
    EXPECT_EQ(m.ctx.gpr[1], ~u64{0});
    EXPECT_EQ(m.ctx.gpr[2], 0u);
}

TEST(Interpreter, ScanOfZeroKeepsAllOfTheDestination) {
    Machine m;
    m.ctx.gpr[0] = m.ctx.gpr[1] = m.ctx.gpr[2] = 0x1122334455667788;
    m.run(R"(
0000  bsf.4 eax, eax, esi
      setcc.z dil
      bsr.2 cx, cx, si
      mov.4 esi, 0x100
      bsf.4 edx, edx, esi
0005  jump 0x10
)");
    EXPECT_EQ(m.ctx.gpr[0], 0x1122334455667788u);
    EXPECT_EQ(m.ctx.gpr[1], 0x1122334455667788u);
    EXPECT_EQ(m.ctx.gpr[2], 8u);
    EXPECT_EQ(m.ctx.gpr[7], 1u);
}

TEST(Interpreter, Addresses) {
    Machine m;
    m.ctx.gpr[3] = 0xffff;
    m.ctx.gpr[6] = 0x10;
    m.ctx.seg[u8(Seg::FS)].base = 0x100;
    m.memory.put(0x10f + 0x10, 4, 0x12345678);
    m.run(R"(
block mode=16
0000  lea.2 ax, [bx + si]
      lea.4 ecx, [ebx + esi*4 + 2]/a4
      load.4 edx, fs:[bx + si + 0x10]
0005  jump 0x10
)");
    EXPECT_EQ(m.ctx.gpr[0], 0xfu);
    EXPECT_EQ(m.ctx.gpr[1], 0x10041u);
    EXPECT_EQ(m.ctx.gpr[2], 0x12345678u);
}

TEST(Interpreter, ReadModifyWriteGoesThroughOneAcquire) {
    for (const bool bounce : {false, true})
        for (const char* lock : {"", "lock "}) {
            Machine m;
            m.memory.bounces = [&](u64) { return bounce; };
            m.memory.put(0x101, 4, 41);
            m.ctx.gpr[0] = 1;
            m.ctx.gpr[3] = 0x101;
            m.run("0000 " + std::string(lock) + R"(rmw.add.4 [rbx], eax
0003  )" + lock + R"(rmw.xadd.4 ecx, [rbx], eax
0005  )" + lock + R"(rmw.xchg.1 dl, [rbx], al
0007  jump 0x10
)");
            EXPECT_EQ(m.memory.get(0x101, 4), 1u);
            EXPECT_EQ(m.ctx.gpr[1], 42u);
            EXPECT_EQ(m.ctx.gpr[2], 43u);
            EXPECT_EQ(m.memory.acquired[u8(Access::ReadWrite)], 3);
            EXPECT_EQ(m.memory.acquired[u8(Access::Read)], 0);
            EXPECT_EQ(m.memory.open, 0);
        }
}

TEST(Interpreter, CmpxchgWritesEitherWay) {
    for (const char* lock : {"", "lock "}) {
        Machine m;
        m.memory.bounces = [](u64) { return true; };
        m.memory.put(0x100, 4, 7);
        m.ctx.gpr[0] = 0xffffffff00000007;
        m.ctx.gpr[1] = 9;
        m.ctx.gpr[3] = 0x100;
        const std::string text = "0000 " + std::string(lock) + "rmw.cmpxchg.4 [rbx], ecx\n0003 jump 0x10\n";
        m.run(text);
        EXPECT_EQ(m.memory.get(0x100, 4), 9u);
        EXPECT_TRUE(m.ctx.flags & kZF);
        EXPECT_EQ(m.ctx.gpr[0], 0xffffffff00000007u);
        m.run(text);
        EXPECT_EQ(m.memory.get(0x100, 4), 9u);
        EXPECT_FALSE(m.ctx.flags & kZF);
        EXPECT_TRUE(m.ctx.flags & kCF) << "7 - 9 borrows";
        EXPECT_EQ(m.ctx.gpr[0], 9u) << "zero-extended";
        EXPECT_EQ(m.memory.open, 0);
    }
}

TEST(Interpreter, AFaultChangesNothing) {
    Machine m;
    m.memory.faults = [](u64 linear, Access access) { return linear == 0x500 && access != Access::Read; };
    m.ctx.gpr[0] = 5;
    m.ctx.gpr[3] = 0x500;
    m.ctx.flags = kZF;
    Context before = m.ctx;
    m.run(R"(
block pc=0x1000 instructions=3
0000  mov.4 ecx, 1
0005  rmw.add.4 [rbx], eax
0007  jump 0x10
)");
    EXPECT_EQ(m.ctx.exit, Exit::Fault);
    EXPECT_EQ(m.ctx.rip, 0x1005u);
    EXPECT_EQ(m.ctx.fault.vector, 14);
    EXPECT_EQ(m.ctx.fault.address, 0x500u);
    EXPECT_EQ(m.ctx.flags, Flags{kZF});
    EXPECT_EQ(m.ctx.interpreted_instruction, 1u);
    EXPECT_EQ(m.ctx.budget, before.budget - 3);
    EXPECT_EQ(m.ctx.interpreted_block, nullptr);
}

TEST(Interpreter, DivideError) {
    Machine m;
    m.ctx.gpr[0] = 7;
    m.run("0000 divwide.4 ecx\n0002 jump 0x10\n");
    EXPECT_EQ(m.ctx.exit, Exit::Fault);
    EXPECT_EQ(m.ctx.fault.vector, 0);
    EXPECT_FALSE(m.ctx.fault.has_error);
    EXPECT_EQ(m.ctx.gpr[0], 7u);
    m.ctx.gpr[1] = 2;
    m.run("0000 divwide.1 cl\n0002 jump 0x10\n");
    EXPECT_EQ(m.ctx.exit, Exit::Lookup);
    EXPECT_EQ(m.ctx.gpr[0], 0x103u);
}

// ---- segments (SDM vol. 3, 5.3)

struct SegmentCase {
    const char* what;
    u16 attributes;
    u32 limit;
    u64 offset;
    unsigned size;
    const char* access;
    bool ok;
};
constexpr u16 data_rw = 0x93, data_r = 0x91, down16 = 0x97, down32 = 0x4097, code_x = 0x99, code_r = 0x9b;
constexpr SegmentCase segment_cases[] = {
    {"last byte inside", data_rw, 0xffff, 0xfffc, 4, "read", true},
    {"one byte outside", data_rw, 0xffff, 0xfffd, 4, "read", false},
    {"no wrap at the end", data_rw, 0xffffffff, 0xffffffff, 2, "read", false},
    {"all of 4 GiB", data_rw, 0xffffffff, 0xffffffff, 1, "write", true},
    {"read-only: read", data_r, 0xffff, 0, 4, "read", true},
    {"read-only: write", data_r, 0xffff, 0, 4, "write", false},
    {"read-only: read and write", data_r, 0xffff, 0, 4, "readwrite", false},
    {"code: write", code_r, 0xffff, 0, 4, "write", false},
    {"readable code", code_r, 0xffff, 0, 4, "read", true},
    {"execute-only code", code_x, 0xffff, 0, 4, "read", false},
    {"expand-down: at the limit", down16, 0x0fff, 0x0fff, 1, "read", false},
    {"expand-down: above it", down16, 0x0fff, 0x1000, 1, "read", true},
    {"expand-down: behind 64 KiB", down16, 0x0fff, 0xffff, 2, "read", false},
    {"expand-down, B = 1: behind 64 KiB", down32, 0x0fff, 0xffff, 2, "read", true},
    {"null selector", 0, 0, 0, 1, "read", false},
};

TEST(Interpreter, SegmentChecks) {
    for (const SegmentCase& c : segment_cases)
        for (const char* seg : {"ds", "ss"}) {
            Machine m;
            m.ctx.gpr[3] = c.offset;
            Segment& s = m.ctx.seg[u8(seg[0] == 'd' ? Seg::DS : Seg::SS)];
            s = {.base = 0xfffff000, .limit = c.limit, .selector = 8, .attributes = c.attributes};
            m.run("block mode=32\n0000 segaddr." + std::to_string(c.size) + " t0, " + seg + ":[ebx], " +
                  c.access + "\n mov.8 rax, t0\n0003 jump 0x10\n");
            EXPECT_EQ(m.ctx.exit == Exit::Lookup, c.ok) << c.what;
            if (c.ok) {
                EXPECT_EQ(m.ctx.gpr[0], (c.offset + 0xfffff000) & 0xffffffff) << c.what;
            } else {
                EXPECT_EQ(m.ctx.fault.vector, seg[0] == 'd' ? 13 : 12) << c.what;
                EXPECT_TRUE(m.ctx.fault.has_error);
                EXPECT_EQ(m.ctx.fault.error, 0u);
            }
        }
}

TEST(Interpreter, CheckAlign) {
    Machine m;
    m.ctx.gpr[3] = 0x108;
    m.run("0000 checkalign [rbx], 7\n checkalign [rbx + 8], 0xf\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.exit, Exit::Lookup);
    m.run("0000 checkalign [rbx], 0xf\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.exit, Exit::Fault);
    EXPECT_EQ(m.ctx.fault.vector, 13);
}

// ---- leaving

TEST(Interpreter, PollsAtBackwardAndIndirectJumps) {
    struct {
        const char* text;
        u64 rip;
        bool polls;
    } const cases[] = {
        {"block pc=0x1000\n0000 nop\n0001 jump 0x1000\n", 0x1000, true},
        {"block pc=0x1000\n0000 nop\n0001 jump 0x1001\n", 0x1001, true},
        {"block pc=0x1000\n0000 nop\n0001 jump 0x1002\n", 0x1002, false},
        {"block pc=0x1000\n0000 stc\n0001 branch.b 0x1000, 0x1003\n", 0x1000, true},
        {"block pc=0x1000\n0000 clc\n0001 branch.b 0x1000, 0x1003\n", 0x1003, false},
        {"block pc=0x1000\n0000 mov.4 eax, 0x2000\n0001 jumpind rax\n", 0x2000, true},
        {"block pc=0x1000\n0000 mov.4 eax, 1\n0001 branchnz.1 al, 0x1000, 0x2000\n", 0x1000, true},
        {"block pc=0x1000\n0000 nop\n0001 exitto 0x1000\n", 0x1000, false},
    };
    for (const auto& c : cases)
        for (int why = 0; why < 3; ++why) {
            Machine m;
            m.ctx.poll = why == 1;
            m.ctx.budget = why == 2 ? 1 : 1000;
            m.run(c.text);
            EXPECT_EQ(m.ctx.rip, c.rip) << c.text;
            EXPECT_EQ(m.ctx.exit, why && c.polls ? Exit::Event : Exit::Lookup) << c.text;
            EXPECT_EQ(m.ctx.interpreted_instruction, 1u);
        }
}

TEST(Interpreter, PollIntr) {
    const char* text =
        "block pc=0x1000\n0000 storestate.1 interrupt_flag, 1\n pollintr 0x1001\n0001 jump 0x1002\n";
    for (const bool line : {false, true}) {
        Machine m;
        m.ctx.interrupt_line = line;
        m.run(text);
        EXPECT_EQ(m.ctx.interrupt_flag, 1);
        EXPECT_EQ(m.ctx.exit, line ? Exit::Event : Exit::Lookup);
        EXPECT_EQ(m.ctx.rip, line ? 0x1001u : 0x1002u);
    }
}

// A 16-bit block runs on past 0xffff: its segment's limit decides whether it may, not a wrap.
TEST(Interpreter, RipWrapsAt32BitsOutsideLongMode) {
    struct {
        const char* header;
        u64 rip;
    } const cases[] = {
        {"block pc=0xfffe mode=16\n", 0x10001},
        {"block pc=0xfffffffe mode=16\n", 1},
        {"block pc=0xfffffffe mode=32\n", 1},
        {"block pc=0xfffffffe mode=64\n", 0x1'0000'0001},
    };
    for (const auto& c : cases) {
        Machine m;
        m.memory.faults = [](u64, Access) { return true; };
        m.run(std::string(c.header) + "0000 nop\n0003 load.1 al, [rbx]\n0004 jump 0x10\n");
        EXPECT_EQ(m.ctx.exit, Exit::Fault) << c.header;
        EXPECT_EQ(m.ctx.rip, c.rip) << c.header;
    }
}

TEST(Interpreter, AHelperMayLeave) {
    Machine m;
    m.run("0000 call halt(imm=0x77)\n mov.4 eax, 1\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.exit, Exit::Halt);
    EXPECT_EQ(m.ctx.rip, 0x77u);
    EXPECT_EQ(m.ctx.gpr[0], 0u);
}

TEST(Interpreter, FlagsAsAValue) {
    Machine m;
    m.ctx.gpr[1] = kCF | kZF | 0xffff0000;
    m.ctx.flags = kSF | kZF;
    m.run("0000 setflags rcx, 0x1\n getflags.8 rax\n setflags 0x40, 0xc0\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.gpr[0], u64{kSF | kZF | kCF});
    EXPECT_EQ(m.ctx.flags, Flags{kZF | kCF});
}

TEST(Interpreter, ExecuteRunsOneOp) {
    Machine m;
    EXPECT_TRUE(execute(m.ctx, {.op = Op::Mov, .size = 4, .d = kRax, .a = Ref::imm(), .imm = 3}));
    EXPECT_EQ(m.ctx.gpr[0], 3u);
    m.ctx.rip = 0x1234;
    EXPECT_FALSE(execute(m.ctx, {.op = Op::DivWide, .size = 4, .a = kRcx}));
    EXPECT_EQ(m.ctx.exit, Exit::Fault);
    EXPECT_EQ(m.ctx.rip, 0x1234u);
}

} // namespace
} // namespace dragoman::ir
