// Vector accesses to memory of every kind: RAM, two pages that do not lie side by side, a device, both, and a
// page that is not there. What an instruction does to RAM within a page is what it must do everywhere (that
// it is right there is for tests/frontend/vector_test.cpp, which asks the host).
#include "vcpu_machine.h"

#include "base/bits.h"

#include <bit>
#include <cstdlib>
#include <random>

namespace dragoman::test {
namespace {

struct Instruction {
    const char* text;
    std::initializer_list<int> bytes;
};
constexpr Instruction kInstructions[] = {
    {"vmovdqu32 zmm1{k1}, [rax]", {0x62, 0xf1, 0x7e, 0x49, 0x6f, 0x08}},
    {"vmovdqu8 zmm1{k1}{z}, [rax]", {0x62, 0xf1, 0x7f, 0xc9, 0x6f, 0x08}},
    {"vmovdqu8 [rax]{k1}, zmm1", {0x62, 0xf1, 0x7f, 0x49, 0x7f, 0x08}},
    {"vmovdqu32 [rax]{k1}, zmm1", {0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x08}},
    {"vmovdqu64 [rax]{k1}, ymm1", {0x62, 0xf1, 0xfe, 0x29, 0x7f, 0x08}},
    {"vmovups zmm1, [rax]", {0x62, 0xf1, 0x7c, 0x48, 0x10, 0x08}},
    {"vmovups [rax], zmm1", {0x62, 0xf1, 0x7c, 0x48, 0x11, 0x08}},
    {"vaddps zmm1{k1}, zmm2, [rax]", {0x62, 0xf1, 0x6c, 0x49, 0x58, 0x08}},
    {"vaddps zmm1{k1}, zmm2, dword ptr [rax]{1to16}", {0x62, 0xf1, 0x6c, 0x59, 0x58, 0x08}},
    {"vpaddq ymm1{k1}{z}, ymm2, qword ptr [rax]{1to4}", {0x62, 0xf1, 0xed, 0xb9, 0xd4, 0x08}},
    {"vmovss xmm1{k1}{z}, dword ptr [rax]", {0x62, 0xf1, 0x7e, 0x89, 0x10, 0x08}},
    {"vmovsd qword ptr [rax]{k1}, xmm1", {0x62, 0xf1, 0xff, 0x09, 0x11, 0x08}},
    {"vbroadcastf64x4 zmm1{k1}, [rax]", {0x62, 0xf2, 0xfd, 0x49, 0x1b, 0x08}},
    {"vextracti32x4 [rax]{k1}, zmm1, 3", {0x62, 0xf3, 0x7d, 0x49, 0x39, 0x08, 0x03}},
    {"vpmovdb [rax]{k1}, zmm1", {0x62, 0xf2, 0x7e, 0x49, 0x31, 0x08}},
    {"vpmovqd [rax]{k1}, zmm1", {0x62, 0xf2, 0x7e, 0x49, 0x35, 0x08}},
    {"vcvtps2ph [rax]{k1}, zmm1, 0", {0x62, 0xf3, 0x7d, 0x49, 0x1d, 0x08, 0x00}},
    {"vpcompressd [rax]{k1}, zmm1", {0x62, 0xf2, 0x7d, 0x49, 0x8b, 0x08}},
    {"vpcompressq [rax]{k1}, zmm1", {0x62, 0xf2, 0xfd, 0x49, 0x8b, 0x08}},
    {"vcompressps [rax]{k1}, ymm1", {0x62, 0xf2, 0x7d, 0x29, 0x8a, 0x08}},
    {"vpcompressb [rax]{k1}, zmm1", {0x62, 0xf2, 0x7d, 0x49, 0x63, 0x08}},
    {"vpexpandd zmm1{k1}{z}, [rax]", {0x62, 0xf2, 0x7d, 0xc9, 0x89, 0x08}},
    {"vexpandpd zmm1{k1}, [rax]", {0x62, 0xf2, 0xfd, 0x49, 0x88, 0x08}},
    {"vpexpandw zmm1{k1}{z}, [rax]", {0x62, 0xf2, 0xfd, 0xc9, 0x62, 0x08}},
    {"vpgatherdd zmm1{k1}, [rax+zmm3*4]", {0x62, 0xf2, 0x7d, 0x49, 0x90, 0x0c, 0x98}},
    {"vpgatherqq zmm1{k1}, [rax+zmm4*8]", {0x62, 0xf2, 0xfd, 0x49, 0x91, 0x0c, 0xe0}},
    {"vgatherdpd ymm1{k1}, [rax+xmm3*4]", {0x62, 0xf2, 0xfd, 0x29, 0x92, 0x0c, 0x98}},
    {"vpscatterdd [rax+zmm3*4]{k1}, zmm1", {0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x0c, 0x98}},
    {"vscatterqpd [rax+zmm4*8]{k1}, zmm1", {0x62, 0xf2, 0xfd, 0x49, 0xa3, 0x0c, 0xe0}},
    {"vpternlogd zmm1{k1}, zmm2, [rax], 0x96", {0x62, 0xf3, 0x6d, 0x49, 0x25, 0x08, 0x96}},
    {"vpcmpud k2{k1}, zmm2, [rax], 1", {0x62, 0xf3, 0x6d, 0x49, 0x1e, 0x10, 0x01}},
    {"kmovq k2, [rax]", {0xc4, 0xe1, 0xf8, 0x90, 0x10}},
    {"kmovd [rax], k1", {0xc4, 0xe1, 0xf9, 0x91, 0x08}},
    {"vpmaskmovd ymm1, ymm5, [rax]", {0xc4, 0xe2, 0x55, 0x8c, 0x08}},
    {"vpmaskmovq [rax], ymm5, ymm1", {0xc4, 0xe2, 0xd5, 0x8e, 0x08}},
    {"vpgatherdd ymm1, [rax+ymm3*4], ymm5", {0xc4, 0xe2, 0x55, 0x90, 0x0c, 0x98}}};

constexpr u64 kLinear = u64{1} << 39, kPage = 0x1000, kDevice = 0x200000000, kRam[2] = {0x24000, 0x21000};
constexpr u64 kBefore = 32, kWindow = 320; // bytes in front of the operand, and all that are looked at
constexpr u64 kHandlers = 0x9000;

// Pages 0 and 1 are RAM (in the other order), 2 is a device, 3 is not there.
class Memory final : public IoHandler {
  public:
    u64 read(u64 offset, unsigned size) override {
        u64 value = 0;
        std::memcpy(&value, device + offset, size);
        return value;
    }
    void write(u64 offset, unsigned size, u64 value) override {
        std::memcpy(device + offset, &value, size);
        written += size;
    }
    u8 device[kPage] = {};
    u64 written = 0;
};

class VectorMemory : public ::testing::TestWithParam<Way> {
  protected:
    VectorMemory() : m(GetParam()) {
        m.map->map_io(kDevice, kPage, memory, 0);
        m.long64();
        const u64 t = VcpuMachine::kTables;
        m.put<u64>(t + 8, (t + 0x2000) | 7);
        m.put<u64>(t + 0x2000, (t + 0x3000) | 7);
        m.put<u64>(t + 0x3000, (t + 0x4000) | 7);
        const u64 pages[] = {kRam[0] | 7, kRam[1] | 7, kDevice | 7, 0};
        for (unsigned n = 0; n < 4; ++n)
            m.put<u64>(t + 0x4000 + n * 8, pages[n]);
        for (unsigned v = 0; v < 32; ++v) {
            const u64 at = kHandlers + v * 16;
            m.put<u64>(VcpuMachine::kIdt + v * 16, (at & 0xffff) | 8 << 16 | u64{0x8e} << 40);
            m.put<u64>(VcpuMachine::kIdt + v * 16 + 8, 0);
            m.code(at, {0xf4});
        }
        x86::Cpu& c = m.cpu();
        EXPECT_TRUE(x86::write_cr4(c, c.cr4 | x86::kCr4OSFXSR | x86::kCr4OSXMMEXCPT | x86::kCr4OSXSAVE));
        c.xcr0 = x86::state_components(*c.model) & ~u64{x86::kPkruState};
    }
    u8* byte(u64 linear) {
        const u64 page = (linear - kLinear) / kPage, at = linear % kPage;
        return page == 2 ? memory.device + at : page < 2 ? m.map->ram() + kRam[page] + at : nullptr;
    }
    // `elsewhere`: linear address of the operand. What the registers and the bytes around it become.
    struct After {
        unsigned vector = 0; // of the exception; 0: none
        u8 vec[32][64];
        u64 opmask[8];
        u8 bytes[kWindow];
    };
    After run(const Instruction& insn, u64 linear, u64 seed, bool shifted) {
        std::mt19937_64 random(seed);
        x86::Cpu& c = m.cpu();
        for (auto& v : c.vec)
            for (unsigned at = 0; at < 64; at += 4) { // no denormals, infinities or NaNs
                const u32 value = 0x3f800000 + u32(random() % 0x1000000);
                std::memcpy(v + at, &value, 4);
            }
        for (u64& k : c.opmask)
            k = random();
        if (shifted) c.opmask[1] &= 0xff;         // the first elements only
        for (unsigned at = 0; at < 64; at += 4) { // indices, and masks of AVX2
            const u32 index = u32(random() % 32), mask = u32(random());
            std::memcpy(c.vec[3] + at, &index, 4);
            std::memcpy(c.vec[5] + at, &mask, 4);
        }
        for (unsigned at = 0; at < 64; at += 8) {
            const u64 index = random() % 24;
            std::memcpy(c.vec[4] + at, &index, 8);
        }
        for (u64 at = 0; at < kWindow; ++at)
            if (u8* to = byte(linear - kBefore + at)) *to = u8(at % 4 == 3 ? 0x40 : random());
        std::memcpy(before.vec, c.vec, sizeof before.vec);
        m.code(m.code(VcpuMachine::kCode, insn.bytes), {0xf4});
        m.vcpu->cache().invalidate_all();
        c.rip = VcpuMachine::kCode;
        c.gpr[0] = linear;
        c.gpr[4] = VcpuMachine::kStack;
        c.halted = false;
        memory.written = 0;
        m.run();

        After after;
        if (c.rip > kHandlers && c.rip <= kHandlers + 512)
            after.vector = unsigned(c.rip - 1 - kHandlers) / 16;
        std::memcpy(after.vec, c.vec, sizeof after.vec);
        std::memcpy(after.opmask, c.opmask, sizeof after.opmask);
        for (u64 at = 0; at < kWindow; ++at) {
            const u8* from = byte(linear - kBefore + at);
            after.bytes[at] = from ? *from : 0;
        }
        return after;
    }
    bool offered() {
        return m.cpu().model->has(x86::Feature::Avx512bw) && m.cpu().model->has(x86::Feature::Avx512vbmi2);
    }
    Memory memory;
    VcpuMachine m;
    After before;
};

INSTANTIATE_TEST_SUITE_P(Ways, VectorMemory, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(VectorMemory, IsTheSameEverywhere) {
    if (!offered()) GTEST_SKIP() << "the host has no AVX-512";
    struct Place {
        const char* name;
        u64 linear;
    };
    constexpr Place places[] = {{"two pages", kLinear + kPage - 20},
                                {"two pages, an element across", kLinear + kPage - 6},
                                {"RAM and a device", kLinear + 2 * kPage - 18},
                                {"a device", kLinear + 2 * kPage + 0x103}};
    for (const Instruction& insn : kInstructions)
        for (u64 seed = 1; seed <= 4; ++seed) {
            const After ram = run(insn, kLinear + 0x100, seed, false);
            ASSERT_EQ(ram.vector, 0u) << insn.text;
            for (const Place& place : places) {
                const After there = run(insn, place.linear, seed, false);
                const std::string what =
                    std::string(insn.text) + " at " + place.name + ", seed " + std::to_string(seed);
                EXPECT_EQ(there.vector, 0u) << what;
                EXPECT_EQ(std::memcmp(ram.vec, there.vec, sizeof ram.vec), 0) << what << ": registers";
                EXPECT_EQ(std::memcmp(ram.opmask, there.opmask, sizeof ram.opmask), 0) << what << ": opmasks";
                EXPECT_EQ(std::memcmp(ram.bytes, there.bytes, sizeof ram.bytes), 0) << what << ": memory";
            }
        }
}

// A store leaves bytes alone that are masked out, also on a device, which would notice.
TEST_P(VectorMemory, MaskedStoresTouchNothingElse) {
    if (!offered()) GTEST_SKIP() << "the host has no AVX-512";
    struct Store {
        const char* text;
        unsigned element, count;
    };
    constexpr Store stores[] = {{"vmovdqu8 [rax]{k1}, zmm1", 1, 64},
                                {"vmovdqu32 [rax]{k1}, zmm1", 4, 16},
                                {"vpmovdb [rax]{k1}, zmm1", 1, 16},
                                {"vpcompressd [rax]{k1}, zmm1", 4, 16},
                                {"vpcompressb [rax]{k1}, zmm1", 1, 64}};
    for (const Store& store : stores)
        for (const Instruction& insn : kInstructions) {
            if (std::strcmp(insn.text, store.text)) continue;
            for (u64 seed = 1; seed <= 4; ++seed) {
                run(insn, kLinear + 2 * kPage + 0x100, seed, false);
                const u64 mask = m.cpu().opmask[1] & low_mask(store.count);
                EXPECT_EQ(memory.written, unsigned(std::popcount(mask)) * store.element) << store.text;
            }
        }
}

// A page that is not there matters only to elements that are not masked out (SDM vol. 1, 15.6.4 and vol. 2).
TEST_P(VectorMemory, FaultsOnlyForWhatIsNotMaskedOut) {
    if (!offered()) GTEST_SKIP() << "the host has no AVX-512";
    constexpr u64 edge = kLinear + 3 * kPage;
    for (const char* text :
         {"vmovdqu32 zmm1{k1}, [rax]", "vmovdqu32 [rax]{k1}, zmm1", "vmovdqu8 [rax]{k1}, zmm1",
          "vaddps zmm1{k1}, zmm2, [rax]", "vpcompressd [rax]{k1}, zmm1", "vpexpandd zmm1{k1}{z}, [rax]"})
        for (const Instruction& insn : kInstructions) {
            if (std::strcmp(insn.text, text)) continue;
            EXPECT_EQ(run(insn, edge - 32, 3, true).vector, 0u)
                << text << ": the first eight elements at most";
            const After fault = run(insn, edge - 16, 2, false);
            ASSERT_EQ(fault.vector, unsigned(x86::kPF)) << text;
            EXPECT_EQ(m.cpu().cr2, edge) << text;
            EXPECT_EQ(std::memcmp(fault.vec, before.vec, sizeof before.vec), 0) << text;
        }
}

} // namespace
} // namespace dragoman::test
