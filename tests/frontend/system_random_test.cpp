// Hostile guests: random tables and random system instructions. Nothing may crash, hang or leave an
// impossible state.
#include "system_machine.h"

#include <random>

namespace dragoman::test {
namespace {

// Opcodes that reach the system side, operands to be filled in at random.
constexpr u8 kOpcodes[][3] = {
    {0xcc},       {0xcd},       {0xce},       {0xcf},       {0xca},       {0xcb},       {0x9a},
    {0xea},       {0xff},       {0x8e},       {0x8c},       {0x07},       {0x17},       {0x1f},
    {0x9c},       {0x9d},       {0xfa},       {0xfb},       {0xec},       {0xef},       {0x6d},
    {0x6e},       {0xf3, 0x6d}, {0xf3, 0x6f}, {0xc4},       {0xc5},       {0x63},       {0x0f, 0x00},
    {0x0f, 0x01}, {0x0f, 0x02}, {0x0f, 0x03}, {0x0f, 0x05}, {0x0f, 0x06}, {0x0f, 0x07}, {0x0f, 0x20},
    {0x0f, 0x21}, {0x0f, 0x22}, {0x0f, 0x23}, {0x0f, 0x30}, {0x0f, 0x32}, {0x0f, 0x34}, {0x0f, 0x35},
    {0x0f, 0xa1}, {0x0f, 0xa9}, {0x0f, 0xb2}, {0x0f, 0xb4}, {0x0f, 0xa2}, {0x0f, 0xae}, {0x48, 0xcf},
    {0x66, 0xcf}, {0xf1},
};

class Random {
  public:
    explicit Random(u64 seed) : engine_(seed) {}
    u64 below(u64 n) { return engine_() % n; }
    u64 bits64() { return engine_(); }

  private:
    std::mt19937_64 engine_;
};

void scramble(SystemMachine& m, Random& r) {
    // Descriptors: a valid one with a bit or two changed, or a gate to somewhere plausible.
    for (u16 at = 8; at < 0x100; at += 8) {
        if (r.below(3) == 0) m.put<u64>(kGdt + at, m.get<u64>(kGdt + at) ^ u64{1} << r.below(64));
        if (r.below(8) == 0)
            m.put<u64>(kGdt + at, SystemMachine::gate(unsigned(r.below(16)), u16(r.below(0x100)), kHandler,
                                                      unsigned(r.below(4)), unsigned(r.below(32))));
    }
    for (unsigned v = 0; v < 256; ++v) {
        constexpr unsigned types[] = {5, 6, 7, 14, 15, 14, 15, 14};
        const u16 selector = r.below(8) ? kCode0 : u16(r.below(0x100));
        m.put<u64>(kIdt + v * 8, SystemMachine::gate(types[r.below(8)], selector, u32(kCode + r.below(0x800)),
                                                     unsigned(r.below(4))));
    }
    for (unsigned i = 0; i < 0x68; i += 2)
        if (r.below(2)) m.put<u16>(kTss2 + i, u16(r.below(0x10000)));
    u64 at = kCode;
    while (at < kCode + 0x1000) {
        const auto& opcode = kOpcodes[r.below(std::size(kOpcodes))];
        for (const u8 byte : opcode)
            if (byte) m.put(at++, byte);
        const u64 operands = r.below(4);
        for (u64 i = 0; i < operands; ++i)
            m.put(at++, u8(r.below(256)));
    }
    for (unsigned i = 0; i < 8; ++i)
        m.cpu.gpr[i] = r.below(4) ? r.below(0x100) : r.bits64() & 0xfffff;
    m.cpu.gpr[4] = kStack3 - r.below(64);
    for (u64 i = 0; i < 64; ++i)
        m.put<u32>(kStack3 - 128 + i * 4, u32(r.below(3) ? r.below(0x100) : r.bits64()));
}

TEST(SystemRandom, HostileTablesAndInstructions) {
    for (u64 seed = 1; seed <= 400; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        SystemMachine m;
        m.log.set_output(std::tmpfile());
        Random r(seed);
        switch (seed % 5) {
        case 0: m.flat(); break;
        case 1: m.flat_user(); break;
        case 2: m.long64(); break;
        case 3: m.v86(unsigned(r.below(4))); break;
        case 4: m.long64_user(); break;
        }
        scramble(m, r);
        if (m.cpu.v86()) m.cpu.rip = 0;
        for (unsigned step = 0; step < 60; ++step) {
            const ir::Exit exit = m.run(1);
            ASSERT_LE(m.cpu.cpl, 3);
            ASSERT_EQ(m.cpu.view, u8(access_view(m.cpu)));
            if (m.cpu.v86()) {
                ASSERT_EQ(m.cpu.cpl, 3);
            }
            if (m.cpu.real_mode()) {
                ASSERT_FALSE(m.cpu.long_mode());
            }
            ASSERT_EQ(m.cpu.system_flags & (ir::kAllFlags | kIF | kDF), 0u);
            ASSERT_LE(m.cpu.chain_length, 3);
            if (exit == ir::Exit::Shutdown) break;
            m.cpu.halted = false;
        }
        std::fclose(m.log.output());
    }
}

} // namespace
} // namespace dragoman::test
