// What control registers, modes and page faults make of VEX instructions, by the manual.
#include "system_machine.h"

#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

constexpr std::initializer_list<int> kVaddps = {0xc5, 0xf4, 0x58, 0xc2}; // vaddps ymm0, ymm1, ymm2
constexpr std::initializer_list<int> kGather = {0xc4, 0xe2, 0x69,
                                                0x90, 0x04, 0x0e}; // vpgatherdd xmm0, [esi+xmm1], xmm2
constexpr std::initializer_list<int> kMaskedLoad = {0xc4, 0xe2, 0x71, 0x2c,
                                                    0x06}; // vmaskmovps xmm0, xmm1, [esi]
constexpr std::initializer_list<int> kMaskedStore = {0xc4, 0xe2, 0x71, 0x2e,
                                                     0x06}; // vmaskmovps [esi], xmm1, xmm0
constexpr u64 kAvx = kX87State | kSseState | kAvxState;

class VexModes : public ::testing::Test {
  protected:
    VexModes() : cpu(m.cpu) {
        if (!m.model.has(Feature::Avx2)) return;
        m.flat();
        enable();
    }
    void SetUp() override {
        if (!m.model.has(Feature::Avx2)) GTEST_SKIP() << "the host has no AVX2";
    }
    void enable() {
        cpu.cr4 |= kCr4OSFXSR | kCr4OSXSAVE;
        cpu.xcr0 = kAvx;
    }
    // Runs one instruction and a HLT behind it; the vector of the exception, or -1.
    int vector_of(std::initializer_list<int> code) {
        const u64 at = cpu.seg[1].base + cpu.rip;
        m.code(at, code);
        m.put(at + code.size(), u8{0xf4});
        const u64 rip = cpu.rip;
        const ir::Exit exit = m.run(1, false);
        if (exit == ir::Exit::Fault) return cpu.fault.vector;
        cpu.rip = rip;
        return -1;
    }
    template <class T> T lane(unsigned reg, unsigned n) {
        T v;
        std::memcpy(&v, cpu.vec[reg] + n * sizeof v, sizeof v);
        return v;
    }
    void lanes(unsigned reg, std::initializer_list<u32> values) {
        std::memset(cpu.vec[reg], 0, sizeof cpu.vec[reg]);
        unsigned n = 0;
        for (const u32 v : values)
            std::memcpy(cpu.vec[reg] + 4 * n++, &v, 4);
    }

    SystemMachine m;
    Cpu& cpu;
};

// SDM vol. 2, 2.4 (exception conditions of AVX instructions).
TEST_F(VexModes, WhatEnablesThem) {
    EXPECT_EQ(vector_of(kVaddps), -1);
    cpu.xcr0 = kX87State | kSseState;
    EXPECT_EQ(vector_of(kVaddps), kUD);
    cpu.xcr0 = kAvx;
    cpu.cr4 &= ~u64{kCr4OSXSAVE};
    EXPECT_EQ(vector_of(kVaddps), kUD);
    enable();
    cpu.cr0 |= kCr0TS;
    EXPECT_EQ(vector_of(kVaddps), kNM);
    cpu.cr0 &= ~u64{kCr0TS};
    cpu.cr0 |= kCr0EM; // says nothing about them, nor does OSFXSR
    cpu.cr4 &= ~u64{kCr4OSFXSR};
    EXPECT_EQ(vector_of(kVaddps), -1);
}

TEST_F(VexModes, UndefinedInRealAndVirtual8086Mode) {
    m.v86(3);
    enable();
    EXPECT_EQ(vector_of(kVaddps), kUD);
    SystemMachine real;
    real.cpu.cr4 |= kCr4OSXSAVE;
    real.cpu.xcr0 = kAvx;
    real.cpu.seg[1].base = kCode;
    real.cpu.rip = 0;
    real.code(kCode, kVaddps);
    EXPECT_EQ(real.run(1, false), ir::Exit::Fault);
    EXPECT_EQ(real.cpu.fault.vector, kUD);
}

// SDM vol. 2, 2.3.2 to 2.3.6 and 2.3.11.
TEST_F(VexModes, PrefixesAndReservedFields) {
    m.long64();
    enable();
    cpu.rip = kCode;
    for (const int prefix : {0x66, 0xf2, 0xf3, 0xf0, 0x48})
        EXPECT_EQ(vector_of({prefix, 0xc5, 0xf4, 0x58, 0xc2}), kUD) << std::hex << prefix;
    EXPECT_EQ(vector_of({0x2e, 0xc5, 0xf4, 0x58, 0xc2}), -1);        // a segment's is no matter
    EXPECT_EQ(vector_of({0xc5, 0xf4, 0x51, 0xc2}), kUD);             // vsqrtps with VEX.vvvv
    EXPECT_EQ(vector_of({0xc5, 0xfc, 0x51, 0xc2}), -1);              // without
    EXPECT_EQ(vector_of({0xc4, 0xe3, 0x71, 0x18, 0xc2, 0x00}), kUD); // vinsertf128 with VEX.L 0
    EXPECT_EQ(vector_of({0xc4, 0xe3, 0xf5, 0x18, 0xc2, 0x00}), kUD); // with VEX.W 1
    EXPECT_EQ(vector_of({0xc4, 0xe2, 0x71, 0x90, 0x04, 0x0e}), kUD); // a gather whose mask is its index
}

// AMD's XOP encoding begins like POP: BEXTR with an immediate, LWPINS.
TEST_F(VexModes, NoXop) {
    m.long64();
    enable();
    cpu.rip = kCode;
    EXPECT_EQ(vector_of({0x8f, 0xea, 0x78, 0x10, 0xc1, 0x01, 0x02, 0, 0}), kUD);
    EXPECT_EQ(vector_of({0x8f, 0xea, 0x78, 0x12, 0xc1, 0x01, 0x02, 0, 0}), kUD);
}

// SDM vol. 1, 14.1.1 and 11.5.2: what comes up in different elements is flagged together, a tiny result too
// that is exact.
TEST_F(VexModes, UnmaskedTinyHalfBesideAnOverflow) {
    constexpr u32 overflow = 8, underflow = 16, precision = 32;
    lanes(0, {0x4f000000, 0x33800000, 0, 0}); // 2^31, 2^-24: too much, and the least that a half can be
    cpu.mxcsr = 0x1f80 & ~((overflow | underflow) << 7);
    EXPECT_EQ(vector_of({0xc4, 0xe3, 0x79, 0x1d, 0xc1, 0x00}), kXM); // vcvtps2ph xmm1, xmm0, 0
    EXPECT_EQ(cpu.mxcsr & 0x3f, overflow | underflow | precision);
    lanes(0, {0x3f800000, 0x33800000, 0, 0});
    cpu.mxcsr = 0x1f80 & ~(overflow << 7);
    EXPECT_EQ(vector_of({0xc4, 0xe3, 0x79, 0x1d, 0xc1, 0x00}), -1);
    EXPECT_EQ(cpu.mxcsr & 0x3f, 0u);
}

TEST_F(VexModes, TheModelDecides) {
    SystemMachine old("max,-avx2");
    old.flat();
    old.cpu.cr4 |= kCr4OSFXSR | kCr4OSXSAVE;
    old.cpu.xcr0 = kAvx;
    old.code(kCode, {0xc5, 0xf1, 0xfc, 0xc2, 0xf4}); // vpaddb xmm0, xmm1, xmm2
    old.cpu.rip = kCode;
    EXPECT_NE(old.run(1, false), ir::Exit::Fault);
    old.code(kCode, {0xc5, 0xf5, 0xfc, 0xc2, 0xf4}); // with YMM registers: AVX2
    old.cpu.rip = kCode;
    EXPECT_EQ(old.run(1, false), ir::Exit::Fault);
    EXPECT_EQ(old.cpu.fault.vector, kUD);
}

// SDM vol. 2, VPGATHERDD: the elements before the one that faults are done.
TEST_F(VexModes, GatherGoesOnAfterAPageFault) {
    m.paging32();
    m.unmap32(0x51000);
    for (u32 n = 0; n < 4; ++n)
        m.put(0x50000 + 4 * n, 0x100 + n);
    m.put(0x51000, u32{0x777});
    lanes(0, {1, 2, 3, 4});
    lanes(1, {0, 4, 0x1000, 8});
    lanes(2, {0x80000000, 0xffffffff, 0x80000000, 0x80000000});
    cpu.gpr[6] = 0x50000;
    EXPECT_EQ(vector_of(kGather), kPF);
    EXPECT_EQ(cpu.fault.address, 0x51000u);
    EXPECT_EQ(lane<u32>(0, 0), 0x100u);
    EXPECT_EQ(lane<u32>(0, 1), 0x101u);
    EXPECT_EQ(lane<u32>(0, 2), 3u);
    EXPECT_EQ(lane<u64>(2, 0), 0u);
    EXPECT_EQ(lane<u64>(2, 1), ~u64{0});
    m.paging32();
    m.mmu->flush(true);
    EXPECT_EQ(vector_of(kGather), -1);
    EXPECT_EQ(lane<u32>(0, 2), 0x777u);
    EXPECT_EQ(lane<u32>(0, 3), 0x102u);
    EXPECT_EQ(lane<u64>(2, 1), 0u);
}

// SDM vol. 2, VMASKMOV: elements that are masked off do not fault; a store that faults stores nothing.
TEST_F(VexModes, MaskedElementsDoNotFault) {
    m.paging32();
    m.unmap32(0x51000);
    m.put(0x50ff8, u64{0x2222222211111111});
    cpu.gpr[6] = 0x50ff8;
    lanes(0, {9, 9, 9, 9});
    lanes(1, {0x80000000, 0x80000000, 0, 0});
    EXPECT_EQ(vector_of(kMaskedLoad), -1);
    EXPECT_EQ(lane<u64>(0, 0), 0x2222222211111111u);
    EXPECT_EQ(lane<u64>(0, 1), 0u);
    lanes(1, {0x80000000, 0, 0x80000000, 0});
    EXPECT_EQ(vector_of(kMaskedLoad), kPF);
    EXPECT_EQ(lane<u64>(0, 0), 0x2222222211111111u);
    EXPECT_EQ(cpu.fault.address, 0x51000u);

    lanes(0, {5, 6, 7, 8});
    EXPECT_EQ(vector_of(kMaskedStore), kPF);
    EXPECT_EQ(m.get<u32>(0x50ff8), 0x11111111u);
    lanes(1, {0, 0x80000000, 0, 0});
    EXPECT_EQ(vector_of(kMaskedStore), -1);
    EXPECT_EQ(m.get<u64>(0x50ff8), 0x0000000611111111u);
}

// SDM vol. 2, XSETBV.
TEST_F(VexModes, Xsetbv) {
    cpu.gpr[1] = cpu.gpr[2] = 0;
    const auto set = [&](u64 value) {
        cpu.gpr[0] = value;
        return vector_of({0x0f, 0x01, 0xd1});
    };
    EXPECT_EQ(set(7), -1);
    EXPECT_EQ(set(5), kGP);
    EXPECT_EQ(set(4), kGP);
    EXPECT_EQ(cpu.xcr0, 7u);
    EXPECT_EQ(set(3), -1);
    EXPECT_EQ(cpu.xcr0, 3u);
}

} // namespace
} // namespace dragoman::test
