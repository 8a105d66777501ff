// What comes first where several things happen at one instruction boundary (SDM vol. 3, table 6-2), and I/O
// instructions that an SMI handler lets begin again (SDM vol. 3, 34.12).
#include "vcpu_machine.h"

namespace dragoman::test {
namespace {

class Events : public ::testing::TestWithParam<Way> {
  protected:
    static constexpr u64 kSmi = 0x38000, kArea = 0x30000, kHandlers = 0x9000, kCount = 0x5000,
                         kOrder = 0x5010;
    static constexpr u8 kSmiMark = 0x5a;

    Events() : m(GetParam()), cpu(m.cpu()) {
        // 64 bytes apart: the handlers of vectors 0 to 32 write their vector behind those that ran before.
        for (unsigned v = 0; v <= 32; ++v) {
            m.real_vector(u8(v), u16(kHandlers + v * 64));
            note(kHandlers + v * 64, u8(v), 0xcf); // IRET
        }
        m.put<u16>(kSmi + note(kSmi, kSmiMark, 0x0f) - kSmi, 0xaa0f); // RSM
        m.platform.line = &cpu.interrupt_line;
    }
    // push ax, bx; mov bx, [kCount]; mov byte [bx + kOrder], mark; inc word [kCount]; pop bx, ax; then `end`,
    // at the address returned. CS overrides nothing: DS has base 0 in both.
    u64 note(u64 at, u8 mark, int end) {
        at = m.code(at, {0x53, 0x8b, 0x1e, kCount & 0xff, kCount >> 8, 0xc6, 0x87, kOrder & 0xff, kOrder >> 8,
                         mark, 0xff, 0x06, kCount & 0xff, kCount >> 8, 0x5b});
        m.code(at, {end});
        return at;
    }
    std::vector<unsigned> order() {
        std::vector<unsigned> marks;
        for (u64 n = 0; n < m.get<u16>(kCount); ++n)
            marks.push_back(m.get<u8>(kOrder + n));
        return marks;
    }
    // From 7c00h, with code that was written behind the processor's back.
    void begin(u32 flags) {
        m.vcpu->cache().invalidate_all();
        m.vcpu->cache().clear_jump_cache();
        m.put<u16>(kCount, 0);
        cpu.rip = 0x7c00;
        cpu.halted = false;
        cpu.dr[6] = 0xffff0ff0;
        cpu.set_eflags(2 | flags);
    }
    void raise(bool smi, bool nmi, bool intr) {
        cpu.smi_pending |= smi;
        cpu.nmi_pending |= nmi;
        if (intr) cpu.interrupt_line = 1;
        m.vcpu->kick();
    }

    VcpuMachine m;
    x86::Cpu& cpu;
};

INSTANTIATE_TEST_SUITE_P(Ways, Events, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

// The handler of what comes later is entered from the first instruction of the one before, and so ends first:
// but for SMM, where all wait, and INTR, which waits for IF.
TEST_P(Events, SmiThenTrapThenNmiThenInterrupt) {
    constexpr unsigned trap = x86::kDB, nmi = x86::kNMI, smi = kSmiMark, intr = 32;
    const struct {
        bool smi, trap, nmi, intr;
        std::vector<unsigned> order;
    } cases[] = {
        {true, false, false, false, {smi}},
        {true, true, false, false, {smi, trap}},
        {true, true, true, true, {smi, nmi, trap, intr}},
        {false, true, true, true, {nmi, trap, intr}},
        {true, false, true, true, {smi, nmi, intr}},
        {false, true, false, true, {trap, intr}},
        {false, false, true, true, {nmi, intr}},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(testing::Message() << c.smi << c.trap << c.nmi << c.intr);
        // out 80h, al; hlt. The step of OUT alone is of interest: its handler clears TF in the image.
        m.code(0x7c00, {0xe6, 0x80, 0xf4});
        const u64 db = kHandlers + x86::kDB * 64;
        // push bp; mov bp, sp; and byte [bp + 7], 0feh; pop bp
        const u64 at = m.code(db, {0x55, 0x89, 0xe5, 0x80, 0x66, 0x07, 0xfe, 0x5d});
        note(at, trap, 0xcf);
        m.platform.on_out = [&](u16, unsigned, u32) { raise(c.smi, c.nmi, c.intr); };
        begin(x86::kIF | (c.trap ? u32{x86::kTF} : 0));
        m.run();
        EXPECT_EQ(order(), c.order);
        if (c.smi) {
            EXPECT_EQ(m.get<u64>(kArea + 0xff78), 0x7c02u); // RIP: not yet in the trap's handler
        }
        EXPECT_EQ(cpu.rip, 0x7c03u);
        EXPECT_FALSE(cpu.smm);
        if (c.trap) {
            EXPECT_EQ(cpu.dr[6] & 0xf00f, 0x4000u);
        }
    }
}

// A code breakpoint at the next instruction is looked at last: the interrupt's frame points to it.
TEST_P(Events, CodeBreakpointAfterInterrupt) {
    m.code(0x7c00, {0xe6, 0x80, 0x90, 0xf4}); // out 80h, al; nop; hlt
    m.platform.on_out = [&](u16, unsigned, u32) { raise(true, true, true); };
    cpu.dr[0] = 0x7c02;
    cpu.dr[7] = 0x402;
    x86::breakpoints_changed(cpu);
    cpu.set_eflags(2 | x86::kIF);
    m.code(kHandlers + x86::kDB * 64, {0xc7, 0x06, 0, 0x50, 9, 0, 0xf4}); // mov word [kCount], 9; hlt
    m.run();
    EXPECT_EQ(m.get<u8>(kOrder), kSmiMark);
    EXPECT_EQ(m.get<u8>(kOrder + 1), x86::kNMI);
    EXPECT_EQ(m.get<u8>(kOrder + 2), 32u);
    EXPECT_EQ(m.get<u16>(kCount), 9u);
}

// A chip that sleeps answers with an SMI; the handler wakes it and lets the instruction begin again.
TEST_P(Events, InputBeginsAgain) {
    const struct {
        const char* text;
        std::vector<int> code;
        u32 trap; // the I/O trap doubleword (APM vol. 2, 10.3.5)
    } cases[] = {{"in al, dx", {0xec}, 0x710013},
                 {"in eax, dx", {0x66, 0xed}, 0x710043},
                 {"in al, 71h", {0xe4, 0x71}, 0x710013},
                 {"insb", {0x6c}, 0x710017},
                 {"rep insb", {0xf3, 0x6c}, 0x71001f}};
    for (const auto& c : cases) {
        for (const bool stepped : {false, true}) {
            SCOPED_TRACE(testing::Message() << c.text << (stepped ? ", stepped" : ""));
            bool awake = false;
            unsigned reads = 0;
            m.platform.on_in = [&](u16 port, unsigned) -> u32 {
                EXPECT_EQ(port, 0x71);
                ++reads;
                if (awake) return 0x11223340 + reads;
                raise(true, false, false);
                return ~u32{0};
            };
            m.platform.on_out = [&](u16, unsigned, u32) { awake = true; };
            // In SMM DS has base 0: out 80h, al; mov eax, 3fec8h; mov byte [eax], 0ffh
            const u64 at = m.code(kSmi, {0x66, 0x50, 0xe6, 0x80, 0x66, 0xb8, 0xc8, 0xfe, 0x03, 0x00, 0x67,
                                         0xc6, 0x00, 0xff, 0x66, 0x58});
            m.put<u16>(note(at, kSmiMark, 0x0f), 0xaa0f);
            u64 end = 0x7c00;
            for (const int byte : c.code)
                m.put<u8>(end++, u8(byte));
            m.put<u8>(end, 0xf4);
            cpu.gpr[0] = 0;
            cpu.gpr[1] = 2;
            cpu.gpr[2] = 0x71;
            cpu.gpr[7] = 0x5800;
            m.put<u32>(0x5800, 0);
            begin(stepped ? u32{x86::kTF} : 0);
            const u64 db = kHandlers + x86::kDB * 64;
            note(m.code(db, {0x55, 0x89, 0xe5, 0x80, 0x66, 0x07, 0xfe, 0x5d}), x86::kDB, 0xcf);
            m.run();
            const bool string = c.trap & 4, repeated = c.trap & 8;
            EXPECT_EQ(m.get<u32>(kArea + 0xfec0), c.trap);
            EXPECT_EQ(reads, repeated ? 3u : 2u);
            EXPECT_EQ(cpu.rip, end + 1);
            EXPECT_EQ(cpu.gpr[1], repeated ? 0u : 2u);
            EXPECT_EQ(cpu.gpr[7], 0x5800u + (repeated ? 2 : string ? 1 : 0));
            EXPECT_EQ(string ? m.get<u8>(0x5800) : u8(cpu.gpr[0]), 0x42);
            if (c.trap >> 4 & 4) {
                EXPECT_EQ(cpu.gpr[0], 0x11223342u);
            }
            // One step for the instruction that was begun twice; of REP, one for its first element.
            EXPECT_EQ(order(), stepped ? (std::vector<unsigned>{kSmiMark, x86::kDB})
                                       : (std::vector<unsigned>{kSmiMark}));
        }
    }
}

} // namespace
} // namespace dragoman::test
