// Vector instructions: the table, the mm forms against the host's MMX, and what surrounds them (MXCSR,
// alignment, GPRs).
#include "ir/vec.h"

#include "ir_test_support.h"

#include <bit>
#include <random>

namespace dragoman::ir {
namespace {

using test::Machine;

struct Lanes {
    u64 lo, hi;
    bool operator==(const Lanes&) const = default;
};
Lanes xmm(const Context& ctx, unsigned n) {
    Lanes v;
    std::memcpy(&v, ctx.vec[n], 16);
    return v;
}
void set_xmm(Context& ctx, unsigned n, u64 lo, u64 hi = 0) {
    const Lanes v{lo, hi};
    std::memcpy(ctx.vec[n], &v, 16);
}
u64 mm(const Context& ctx, unsigned n) {
    u64 v;
    std::memcpy(&v, ctx.fpu.st[(n - ctx.fpu.top) & 7], 8);
    return v;
}
u64 bits(double d) {
    return std::bit_cast<u64>(d);
}
u32 bits(float f) {
    return std::bit_cast<u32>(f);
}

TEST(VecTable, EveryMnemonicIsFound) {
    for (u16 n = 0; n < vec_op_count(); ++n)
        EXPECT_EQ(find_vec_op(vec_op(n).mnemonic), n) << vec_op(n).mnemonic;
    EXPECT_EQ(find_vec_op(""), -1);
    EXPECT_EQ(find_vec_op("addp"), -1);
    EXPECT_EQ(find_vec_op("zzz"), -1);
}

#if defined(__x86_64__)
// The host's own mm form, for the rows that are Native.
using HostMmx = u64 (*)(u64 d, u64 s);
struct HostRow {
    const char* mnemonic;
    HostMmx fn;
};
#define HOST_Native_None(name)
#define HOST_Native_Same(name) HOST(name)
#define HOST_Native_Own(name)  HOST(name)
#define HOST_Imm_None(name)
#define HOST_Imm_Own(name)
#define HOST_Custom_None(name)
#define HOST_Custom_Same(name)
#define HOST_Custom_Own(name)
#define HOST(name)                                                                                           \
    {#name, [](u64 d, u64 s) {                                                                               \
         u64 r;                                                                                              \
         asm("movq %1, %%mm0\n\tmovq %2, %%mm1\n\t" #name " %%mm1, %%mm0\n\tmovq %%mm0, %0\n\temms"          \
             : "=r"(r)                                                                                       \
             : "r"(d), "r"(s)                                                                                \
             : "mm0", "mm1", "st");                                                                          \
         return r;                                                                                           \
     }},
const HostRow host_rows[] = {
#define VEC(name, bytes, attributes, kind, mmx) HOST_##kind##_##mmx(name)
#include "ir/vec_ops.inc"
#undef VEC
};

TEST(VecMmx, AgreesWithTheHost) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    for (const HostRow& row : host_rows) {
        Inst inst{.op = Op::Vec, .d = Ref::mm(1), .a = Ref::mm(2)};
        inst.vec = u16(find_vec_op(row.mnemonic));
        for (int i = 0; i < 500; ++i) {
            Machine m;
            m.ctx.fpu.top = u8(random() & 7);
            u64 d = random(), s = random();
            if (i & 1) s = random() & 0x3f;
            std::memcpy(m.ctx.fpu.st[(1 - m.ctx.fpu.top) & 7], &d, 8);
            std::memcpy(m.ctx.fpu.st[(2 - m.ctx.fpu.top) & 7], &s, 8);
            ASSERT_TRUE(execute(m.ctx, inst));
            ASSERT_EQ(mm(m.ctx, 1), row.fn(d, s)) << row.mnemonic << std::hex << ' ' << d << ' ' << s;
            ASSERT_EQ(mm(m.ctx, 2), s) << "the source changed";
            ASSERT_EQ(m.ctx.fpu.top, 0);
            ASSERT_EQ(m.ctx.fpu.tag, 0xff);
            ASSERT_EQ(m.ctx.fpu.st[1][8], 0xff);
            ASSERT_EQ(m.ctx.fpu.st[1][9], 0xff);
        }
    }
}
#endif

TEST(VecMmx, FormsWithAnImmediate) {
    Machine m;
    m.ctx.gpr[0] = 0x1234;
    m.memory.put(0x100, 8, 0x8877665544332211);
    m.ctx.gpr[3] = 0x100;
    m.run(R"(
0000  vload.8 mm1, [rbx]
      vec.pshufw mm2, mm1, 0x1b
      vec.movq mm3, mm1
      vec.palignr mm3, mm2, 3
      vec.pinsrw mm1, eax, 7
      vec.pextrw.4 ecx, mm1, 0xff
      vec.pmovmskb.4 edx, mm1
      vec.movq2dq xmm1, mm2
      vstore.8 [rbx + 8], mm3
0003  jump 0x10
)");
    EXPECT_EQ(m.ctx.exit, Exit::Lookup);
    EXPECT_EQ(mm(m.ctx, 2), 0x2211443366558877u);
    EXPECT_EQ(m.memory.get(0x108, 8), 0x3322112211443366u);
    EXPECT_EQ(mm(m.ctx, 1), 0x1234665544332211u);
    EXPECT_EQ(m.ctx.gpr[1], 0x1234u);
    EXPECT_EQ(m.ctx.gpr[2], 0u);
    EXPECT_EQ(xmm(m.ctx, 1), (Lanes{0x2211443366558877, 0}));
}

TEST(VecMmx, ReadsOnlyItsBytesFromMemory) {
    Machine m;
    m.ctx.gpr[3] = 0x101; // not aligned: allowed for mm
    m.memory.put(0x101, 8, 0x0101010101010101);
    m.run("0000 vec.paddb mm0, [rbx]\n vec.punpcklbw mm0, [rbx]\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.exit, Exit::Lookup);
    EXPECT_EQ(mm(m.ctx, 0), 0x0101010101010101u);
    Inst inst{.op = Op::Vec, .from_memory = true, .d = Ref::mm(0)};
    inst.vec = u16(find_vec_op("punpcklbw"));
    EXPECT_EQ(vec_source_bytes(inst), 4u);
    inst.d = Ref::xmm(0);
    EXPECT_EQ(vec_source_bytes(inst), 16u);
    inst.vec = u16(find_vec_op("cvtsi2sd"));
    inst.size = 8;
    EXPECT_EQ(vec_source_bytes(inst), 8u);
    inst.size = 4;
    EXPECT_EQ(vec_source_bytes(inst), 4u);
}

TEST(Vec, Moves) {
    Machine m;
    set_xmm(m.ctx, 0, 1, 2);
    set_xmm(m.ctx, 1, 0x1111111122222222, 4);
    set_xmm(m.ctx, 2, 5, 6);
    m.ctx.gpr[3] = 0x108;
    m.ctx.gpr[0] = 0xffffffff80000001;
    m.memory.put(0x108, 8, 77);
    m.run(R"(
0000  vec.movss xmm0, xmm1
      vec.movhlps xmm1, xmm2
      vec.movhps xmm2, [rbx]
      vec.movd xmm3, eax
      vec.movq xmm4, rax
      vec.movq.8 rcx, xmm4
      vec.movd.4 edx, xmm4
      vec.movmskpd.4 esi, xmm4
0003  jump 0x10
)");
    EXPECT_EQ(xmm(m.ctx, 0), (Lanes{0x22222222, 2}));
    EXPECT_EQ(xmm(m.ctx, 1), (Lanes{6, 4}));
    EXPECT_EQ(xmm(m.ctx, 2), (Lanes{5, 77}));
    EXPECT_EQ(xmm(m.ctx, 3), (Lanes{0x80000001, 0}));
    EXPECT_EQ(xmm(m.ctx, 4), (Lanes{0xffffffff80000001, 0}));
    EXPECT_EQ(m.ctx.gpr[1], 0xffffffff80000001u);
    EXPECT_EQ(m.ctx.gpr[2], 0x80000001u);
    EXPECT_EQ(m.ctx.gpr[6], 1u);
}

TEST(Vec, Immediates) {
    Machine m;
    set_xmm(m.ctx, 1, 0x0706050403020100, 0x0f0e0d0c0b0a0908);
    set_xmm(m.ctx, 5, 0x00000000ffffffff, 0);
    m.memory.put(0x100, 4, 0x12345678);
    m.ctx.gpr[3] = 0x100;
    m.run(R"(
0000  vec.pshufd xmm0, xmm1, 0x1b
      vec.movdqa xmm2, xmm1
      vec.psrldq xmm2, 3
      vec.movdqa xmm3, xmm1
      vec.palignr xmm3, xmm1, 0x14
      vec.movdqa xmm4, xmm1
      vec.psllw xmm4, 8
      vec.insertps xmm5, [rbx], 0xd8
0003  jump 0x10
)");
    EXPECT_EQ(xmm(m.ctx, 0), (Lanes{0x0b0a09080f0e0d0c, 0x0302010007060504}));
    EXPECT_EQ(xmm(m.ctx, 2), (Lanes{0x0a09080706050403, 0x0000000f0e0d0c0b}));
    EXPECT_EQ(xmm(m.ctx, 3), (Lanes{0x0b0a090807060504, 0x000000000f0e0d0c}));
    EXPECT_EQ(xmm(m.ctx, 4), (Lanes{0x0600040002000000, 0x0e000c000a000800}));
    EXPECT_EQ(xmm(m.ctx, 5), (Lanes{0x12345678ffffffff, 0}))
        << "memory has one element only; imm8[3] clears lane 3";
}

TEST(Vec, TheFirstOfTwoNansWins) {
    Machine m;
    const u64 a = 0x7ff8000000000aaa, b = 0x7ff8000000000bbb;
    set_xmm(m.ctx, 0, a);
    set_xmm(m.ctx, 1, b);
    m.run("0000 vec.addsd xmm0, xmm1\n vec.mulpd xmm1, xmm0\n0003 jump 0x10\n");
    EXPECT_EQ(xmm(m.ctx, 0).lo, a);
    EXPECT_EQ(xmm(m.ctx, 1).lo, b);
}

TEST(Vec, RoundsAsMxcsrSays) {
    Machine m;
    set_xmm(m.ctx, 0, bits(1.0));
    set_xmm(m.ctx, 1, bits(3.0));
    m.ctx.mxcsr = 0x1f80 | 2 << 13; // up
    m.run("0000 vec.movapd xmm2, xmm0\n vec.divsd xmm2, xmm1\n vec.cvtsd2si.4 eax, xmm2\n0003 jump 0x10\n");
    EXPECT_EQ(xmm(m.ctx, 2).lo, bits(1.0 / 3.0) + 1);
    EXPECT_EQ(m.ctx.gpr[0], 1u);
    EXPECT_EQ(m.ctx.mxcsr & 0x3f, 0x20u) << "inexact";
}

TEST(Vec, AnUnmaskedExceptionIsRaised) {
    Machine m;
    set_xmm(m.ctx, 0, bits(1.0f));
    m.ctx.mxcsr = 0x1f80 & ~(4u << 7); // #Z unmasked
    m.ctx.flags = kCF;
    m.run("0000 vec.divss xmm0, xmm1\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.exit, Exit::Fault);
    EXPECT_EQ(m.ctx.fault.vector, 19);
    EXPECT_EQ(m.ctx.mxcsr & 0x3f, 4u);
    EXPECT_EQ(xmm(m.ctx, 0).lo, bits(1.0f)) << "the destination changed";
}

TEST(Vec, MemoryMustBeAligned) {
    Machine m;
    m.ctx.gpr[3] = 0x108;
    m.run("0000 vec.addps xmm0, [rbx]\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.exit, Exit::Fault);
    EXPECT_EQ(m.ctx.fault.vector, 13);
    m.run("0000 vec.addsd xmm0, [rbx]\n vec.lddqu xmm1, [rbx]\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.exit, Exit::Lookup);
}

TEST(Vec, ComparisonsSetFlags) {
    Machine m;
    set_xmm(m.ctx, 0, bits(1.0));
    set_xmm(m.ctx, 1, bits(2.0));
    set_xmm(m.ctx, 2, 0x7ff8000000000000);
    m.ctx.flags = kAllFlags;
    m.run("0000 vec.ucomisd xmm0, xmm1\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.flags, Flags{kCF});
    m.run("0000 vec.ucomisd xmm0, xmm2\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.flags, Flags{kZF | kPF | kCF});
    m.run("0000 vec.ptest xmm0, xmm0\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.flags, Flags{kCF});
    EXPECT_EQ(xmm(m.ctx, 0).lo, bits(1.0));
}

TEST(Vec, StringInstructions) {
    Machine m;
    std::memcpy(m.ctx.vec[0], "lo\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    std::memcpy(m.ctx.vec[1], "hello, world!!!", 16);
    m.ctx.gpr[1] = ~u64{0};
    m.run("0000 vec.pcmpistri xmm0, xmm1, 0xc\n0003 jump 0x10\n"); // equal ordered: where is "lo"?
    EXPECT_EQ(m.ctx.gpr[1], 3u);
    EXPECT_TRUE(m.ctx.flags & kCF);
    EXPECT_TRUE(m.ctx.flags & kZF) << "the source has a null";
    m.ctx.gpr[0] = 1;
    m.ctx.gpr[2] = 0xffffffff00000002; // two elements, by EDX
    m.run("0000 vec.pcmpestri.4 xmm0, xmm1, 0xc\n0003 jump 0x10\n");
    EXPECT_EQ(m.ctx.gpr[1], 16u);
    EXPECT_FALSE(m.ctx.flags & kCF);
    m.run("0000 vec.pcmpistrm xmm0, xmm1, 0x4c\n0003 jump 0x10\n");
    EXPECT_EQ(xmm(m.ctx, 0), (Lanes{0x00000000ff000000, 0}));
}

TEST(Vec, ConversionsWithMmx) {
    Machine m;
    set_xmm(m.ctx, 0, u64{bits(2.5f)} << 32 | bits(-1.0f), 0x7fc000007fc00000);
    set_xmm(m.ctx, 1, 0, 42);
    m.run("0000 vec.cvttps2pi mm0, xmm0\n vec.cvtpi2ps xmm1, mm0\n vec.cvtpi2pd xmm2, mm0\n0003 jump 0x10\n");
    EXPECT_EQ(mm(m.ctx, 0), 0x00000002ffffffffu);
    EXPECT_EQ(xmm(m.ctx, 1), (Lanes{u64{bits(2.0f)} << 32 | bits(-1.0f), 42}));
    EXPECT_EQ(xmm(m.ctx, 2), (Lanes{bits(-1.0), bits(2.0)}));
    EXPECT_EQ(m.ctx.mxcsr & 0x3f, 0x20u) << "2.5 is inexact; the NaNs in the upper half are not looked at";
}

} // namespace
} // namespace dragoman::ir
