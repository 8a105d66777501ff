// What control registers, modes, page faults and device memory make of EVEX and opmask instructions, by the
// manual.
#include "system_machine.h"

#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

using Code = std::initializer_list<int>;
constexpr Code kAdd = {0x62, 0xf1, 0x74, 0x48, 0x58, 0xc2};           // vaddps zmm0, zmm1, zmm2
constexpr Code kAddShort = {0x62, 0xf1, 0x74, 0x09, 0x58, 0xc2};      // vaddps xmm0{k1}, xmm1, xmm2
constexpr Code kKmov = {0xc5, 0xf8, 0x90, 0xca};                      // kmovw k1, k2
constexpr Code kLoad = {0x62, 0xf1, 0x7c, 0x49, 0x10, 0x06};          // vmovups zmm0{k1}, [esi]
constexpr Code kStore = {0x62, 0xf1, 0x7c, 0x49, 0x11, 0x06};         // vmovups [esi]{k1}, zmm0
constexpr Code kBroadcast = {0x62, 0xf1, 0x74, 0x59, 0x58, 0x06};     // vaddps zmm0{k1}, zmm1, [esi]{1to16}
constexpr Code kCompress = {0x62, 0xf2, 0x7d, 0x49, 0x8b, 0x06};      // vpcompressd [esi]{k1}, zmm0
constexpr Code kExpand = {0x62, 0xf2, 0x7d, 0x49, 0x89, 0x06};        // vpexpandd zmm0{k1}, [esi]
constexpr Code kShuffle = {0x62, 0xf1, 0x7d, 0x49, 0x70, 0x06, 0x1b}; // vpshufd zmm0{k1}, [esi], 1bh
constexpr Code kScatter = {0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x04, 0x0e}; // vpscatterdd [esi+zmm1]{k1}, zmm0
constexpr Code kDisp8 = {0x62, 0xf1, 0x7c, 0x48, 0x10, 0x46, 0xff};   // vmovups zmm0, [esi-40h]
constexpr u64 kAll = kX87State | kSseState | kAvxState | kAvx512States;

class EvexModes : public ::testing::Test {
  protected:
    EvexModes() : cpu(m.cpu) {
        m.flat();
        enable();
    }
    void SetUp() override {
        if (!m.model.has(Feature::Avx512bw) || !m.model.has(Feature::Avx512vl))
            GTEST_SKIP() << "the host has no AVX-512";
    }
    void enable() {
        cpu.cr4 |= kCr4OSFXSR | kCr4OSXSAVE;
        cpu.xcr0 = kAll;
    }
    // Runs one instruction and a HLT behind it; the vector of the exception, or -1.
    int vector_of(Code code) {
        const u64 at = cpu.seg[1].base + cpu.rip;
        m.code(at, code);
        m.put(at + code.size(), u8{0xf4});
        const u64 rip = cpu.rip;
        const ir::Exit exit = m.run(1, false);
        if (exit == ir::Exit::Fault) return cpu.fault.vector;
        cpu.rip = rip;
        return -1;
    }
    // Two pages of which the second is absent; ESI leads `before` bytes before its beginning.
    void page_ends_after(u32 before) {
        m.paging32();
        m.unmap32(0x51000);
        cpu.gpr[6] = 0x51000 - before;
    }
    void fill(unsigned reg, u32 first) {
        for (u32 n = 0; n < 16; ++n)
            set(reg, n, first + n);
    }
    void set(unsigned reg, unsigned n, u32 v) { std::memcpy(cpu.vec[reg] + 4 * n, &v, 4); }
    u32 lane(unsigned reg, unsigned n) {
        u32 v;
        std::memcpy(&v, cpu.vec[reg] + 4 * n, 4);
        return v;
    }

    SystemMachine m;
    Cpu& cpu;
};

// SDM vol. 1, 15.2 to 15.4; vol. 2, 2.8 (exception conditions).
TEST_F(EvexModes, WhatEnablesThem) {
    for (const Code& code : {kAdd, kAddShort, kKmov}) {
        enable();
        EXPECT_EQ(vector_of(code), -1);
        for (const u64 missing : {kOpmaskState, kZmmHighState, kHighZmmState, kAvxState, kSseState}) {
            cpu.xcr0 = kAll & ~missing;
            EXPECT_EQ(vector_of(code), kUD) << missing;
        }
        cpu.xcr0 = kAll;
        cpu.cr4 &= ~u64{kCr4OSXSAVE};
        EXPECT_EQ(vector_of(code), kUD);
        enable();
        cpu.cr0 |= kCr0TS;
        EXPECT_EQ(vector_of(code), kNM);
        cpu.cr0 &= ~u64{kCr0TS};
        cpu.cr0 |= kCr0EM; // says nothing about them
        EXPECT_EQ(vector_of(code), -1);
        cpu.cr0 &= ~u64{kCr0EM};
    }
}

TEST_F(EvexModes, UndefinedInVirtual8086Mode) {
    m.v86(3);
    enable();
    EXPECT_EQ(vector_of(kAdd), kUD);
    EXPECT_EQ(vector_of(kKmov), kUD);
}

// SDM vol. 2, 2.7.11.
TEST_F(EvexModes, PrefixesAndReservedFields) {
    m.long64();
    enable();
    cpu.rip = kCode;
    for (const int prefix : {0x66, 0xf2, 0xf3, 0xf0, 0x48})
        EXPECT_EQ(vector_of({prefix, 0x62, 0xf1, 0x74, 0x48, 0x58, 0xc2}), kUD) << std::hex << prefix;
    EXPECT_EQ(vector_of({0x62, 0xf9, 0x74, 0x48, 0x58, 0xc2}), kUD);       // P0[3]
    EXPECT_EQ(vector_of({0x62, 0xf0, 0x74, 0x48, 0x58, 0xc2}), kUD);       // map 0
    EXPECT_EQ(vector_of({0x62, 0xf1, 0x70, 0x48, 0x58, 0xc2}), kUD);       // P1[2]
    EXPECT_EQ(vector_of({0x62, 0xf1, 0x74, 0xc8, 0x58, 0xc2}), kUD);       // z without a mask
    EXPECT_EQ(vector_of({0x62, 0xf1, 0x74, 0x68, 0x58, 0xc2}), kUD);       // L'L = 11
    EXPECT_EQ(vector_of({0x62, 0xf1, 0x74, 0x78, 0x58, 0xc2}), -1);        // but {rz-sae}
    EXPECT_EQ(vector_of({0x62, 0xf1, 0xf4, 0x48, 0x58, 0xc2}), kUD);       // W of another type
    EXPECT_EQ(vector_of({0x62, 0xf1, 0x74, 0x48, 0x51, 0xc2}), kUD);       // vsqrtps with EVEX.vvvv
    EXPECT_EQ(vector_of({0x62, 0xf1, 0x7c, 0x40, 0x51, 0xc2}), kUD);       // with V'
    EXPECT_EQ(vector_of({0x62, 0xf1, 0x7c, 0xc9, 0x11, 0x06}), kUD);       // a store that zeroes
    EXPECT_EQ(vector_of({0x62, 0xf1, 0x7c, 0x58, 0x10, 0x06}), kUD);       // vmovups with a broadcast
    EXPECT_EQ(vector_of({0x62, 0xf2, 0x7d, 0x48, 0x90, 0x04, 0x0e}), kUD); // a gather without a mask
    EXPECT_EQ(vector_of({0x62, 0xf2, 0x7d, 0x49, 0x90, 0x0c, 0x0e}), kUD); // whose index is its destination
}

TEST_F(EvexModes, TheModelDecides) {
    const auto vector_for = [&](const char* model, Code code) {
        SystemMachine other(model);
        other.flat();
        other.cpu.cr4 |= kCr4OSFXSR | kCr4OSXSAVE;
        other.cpu.xcr0 = kAll;
        other.code(kCode, code);
        other.put(kCode + code.size(), u8{0xf4});
        other.cpu.rip = kCode;
        return other.run(1, false) == ir::Exit::Fault ? int(other.cpu.fault.vector) : -1;
    };
    EXPECT_EQ(vector_for("max,-avx512vl", kAdd), -1);
    EXPECT_EQ(vector_for("max,-avx512vl", kAddShort), kUD);
    EXPECT_EQ(vector_for("max,-avx512f", kAdd), kUD);
    EXPECT_EQ(vector_for("max,-avx512f", kKmov), kUD);
    const Code kmovq = {0xc4, 0xe1, 0xf8, 0x90, 0xca}; // kmovq k1, k2
    EXPECT_EQ(vector_for("max,-avx512bw", kKmov), -1);
    EXPECT_EQ(vector_for("max,-avx512bw", kmovq), kUD);
}

// SDM vol. 1, 15.6.1: fault suppression.
TEST_F(EvexModes, MaskedElementsDoNotFault) {
    page_ends_after(8);
    m.put(0x50ff8, u64{0x2222222211111111});
    fill(0, 100);
    cpu.opmask[1] = 3;
    EXPECT_EQ(vector_of(kLoad), -1);
    EXPECT_EQ(lane(0, 0), 0x11111111u);
    EXPECT_EQ(lane(0, 1), 0x22222222u);
    EXPECT_EQ(lane(0, 2), 102u);
    cpu.opmask[1] = 0x8001;
    EXPECT_EQ(vector_of(kLoad), kPF);
    EXPECT_EQ(cpu.fault.address, 0x51000u + 13 * 4);
    EXPECT_EQ(lane(0, 15), 115u);

    EXPECT_EQ(vector_of(kStore), kPF) << "a store that faults stores nothing";
    EXPECT_EQ(m.get<u32>(0x50ff8), 0x11111111u);
    cpu.opmask[1] = 2;
    EXPECT_EQ(vector_of(kStore), -1);
    EXPECT_EQ(m.get<u64>(0x50ff8), u64{0x22222222} << 32 | 0x11111111u);

    cpu.gpr[6] = 0x51000;
    cpu.opmask[1] = 0;
    for (const Code& code : {kLoad, kStore, kBroadcast, kCompress, kExpand, kScatter})
        EXPECT_EQ(vector_of(code), -1) << "nothing is touched";
    EXPECT_EQ(vector_of(kShuffle), kPF) << "class E4NF: the whole operand";
    cpu.opmask[1] = 0x100;
    for (const Code& code : {kLoad, kStore, kBroadcast, kCompress, kExpand})
        EXPECT_EQ(vector_of(code), kPF);
}

// SDM vol. 2, VPCOMPRESSD, VPEXPANDD: only as much memory as there are elements.
TEST_F(EvexModes, CompressedElementsAreSideBySide) {
    page_ends_after(8);
    m.put(0x50ff0, u64{0x7777777777777777});
    fill(0, 100);
    cpu.opmask[1] = 0x8010;
    EXPECT_EQ(vector_of(kCompress), -1);
    EXPECT_EQ(m.get<u64>(0x50ff8), u64{115} << 32 | 104);
    EXPECT_EQ(m.get<u64>(0x50ff0), 0x7777777777777777u);
    fill(0, 200);
    EXPECT_EQ(vector_of(kExpand), -1);
    EXPECT_EQ(lane(0, 4), 104u);
    EXPECT_EQ(lane(0, 5), 205u);
    EXPECT_EQ(lane(0, 15), 115u);
    cpu.opmask[1] = 0x8011;
    EXPECT_EQ(vector_of(kCompress), kPF);
    EXPECT_EQ(cpu.fault.address, 0x51000u);
    EXPECT_EQ(m.get<u64>(0x50ff8), u64{115} << 32 | 104) << "nothing was stored";
}

// SDM vol. 2, VPSCATTERDD: the elements before the one that faults are done.
TEST_F(EvexModes, ScatterGoesOnAfterAPageFault) {
    page_ends_after(0x1000);
    fill(0, 100);
    for (unsigned n = 0; n < 16; ++n)
        set(1, n, 4 * n);
    set(1, 2, 0x1000);
    cpu.opmask[1] = 0x000f;
    EXPECT_EQ(vector_of(kScatter), kPF);
    EXPECT_EQ(cpu.fault.address, 0x51000u);
    EXPECT_EQ(cpu.opmask[1], 0x000cu);
    EXPECT_EQ(m.get<u64>(0x50000), u64{101} << 32 | 100);
    EXPECT_EQ(m.get<u64>(0x50008), 0u);
    m.paging32();
    m.mmu->flush(true);
    EXPECT_EQ(vector_of(kScatter), -1);
    EXPECT_EQ(cpu.opmask[1], 0u);
    EXPECT_EQ(m.get<u32>(0x51000), 102u);
    EXPECT_EQ(m.get<u32>(0x5000c), 103u);
    EXPECT_EQ(m.get<u32>(0x50010), 0u);
}

TEST_F(EvexModes, DisplacementsAreCompressed) { // SDM vol. 2, 2.7.5
    cpu.gpr[6] = 0x50040;
    m.put(0x50000, u32{0x1234});
    EXPECT_EQ(vector_of(kDisp8), -1);
    EXPECT_EQ(lane(0, 0), 0x1234u);
}

// SDM vol. 2, XSETBV.
TEST_F(EvexModes, Xsetbv) {
    cpu.gpr[1] = cpu.gpr[2] = 0;
    const auto set_xcr0 = [&](u64 value) {
        cpu.gpr[0] = value;
        return vector_of({0x0f, 0x01, 0xd1});
    };
    EXPECT_EQ(set_xcr0(0xe7), -1);
    EXPECT_EQ(cpu.xcr0, 0xe7u);
    for (const u64 value : {0xe3, 0xe1, 0x67, 0xa7, 0xc7, 0x27})
        EXPECT_EQ(set_xcr0(value), kGP) << std::hex << value;
    EXPECT_EQ(cpu.xcr0, 0xe7u);
    EXPECT_EQ(set_xcr0(7), -1);
}

} // namespace
} // namespace dragoman::test
