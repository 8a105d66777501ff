// What control registers, modes and waiting exceptions make of MMX, SSE and x87 instructions, and the formats
// of the x87 environment: by the manual, where the host's processor cannot be asked.
#include "differential.h"

#include "frontend/x86/platform.h"
#include "frontend/x86/system_registers.h"
#include "frontend/x86/x87_ops.h"
#include "ir/interpreter.h"

#include <gtest/gtest.h>

#include <cstring>

namespace dragoman::test {
namespace {

using namespace x86;

constexpr u64 kCode = 0x1000, kData = 0x8000;
constexpr int kNone = -1;

void interpret(Cpu& cpu, ir::Block& block) {
    ir::interpret(cpu, block);
}

// Records FERR#, and gives IGNNE#.
class FakePlatform final : public Platform {
  public:
    u32 port_in(u16, unsigned) override { return 0; }
    void port_out(u16, unsigned, u32) override {}
    u64 time_stamp() override { return 0; }
    u64 tsc_hz() override { return 1; }
    bool random(u64&) override { return false; }
    u8 apic_tpr() override { return 0; }
    void set_apic_tpr(u8) override {}
    void system_management(bool) override {}
    bool apic_read_msr(u32, u64&) override { return false; }
    bool apic_write_msr(u32, u64) override { return false; }
    u8 apic_id() override { return 0; }
    int acknowledge_interrupt() override { return -1; }
    void fpu_error(bool level) override { ferr = level; }
    bool fpu_errors_ignored() override { return ignne; }

    bool ferr = false, ignne = false;
};

class VectorModes : public ::testing::Test {
  protected:
    VectorModes() : machine(interpret), cpu(machine.cpu()) {
        cpu.platform = &platform;
        initialize(cpu.fpu);
    }

    // Runs one instruction; the vector of the exception it raises, or kNone.
    int vector_of(std::vector<u8> code) {
        cpu.rip = kCode;
        cpu.gpr[7] = kData;
        const ir::Exit exit = machine.run(code);
        return exit == ir::Exit::Fault ? int(cpu.fault.vector) : kNone;
    }
    template <class T> T at(u64 address) {
        T v;
        std::memcpy(&v, machine.ram() + address, sizeof v);
        return v;
    }
    template <class T> void put(u64 address, T v) { std::memcpy(machine.ram() + address, &v, sizeof v); }

    // The state after a division of 1 by 0 at 0x1234 with an operand at 0x5678.
    void divided_by_zero(u16 unmasked) {
        ir::Fpu& f = cpu.fpu;
        f = {};
        initialize(f);
        f.control = u16(0x37f & ~unmasked);
        f.status = 4; // ZE
        f.top = 6;
        f.tag = 0xc0;
        const long double one = 1, zero = 0;
        std::memcpy(f.st[0], &one, 10);
        std::memcpy(f.st[1], &zero, 10);
        f.opcode = 0x0f9;
        f.ip = 0x12345;
        f.dp = 0x56789;
        f.cs = 0x1b;
        f.ds = 0x23;
        update_summary(f);
    }

    Machine machine;
    Cpu& cpu;
    FakePlatform platform;
};

const std::vector<u8> kFadd = {0xd8, 0xc1}, kFwait = {0x9b}, kAddps = {0x0f, 0x58, 0xc1},
                      kPaddb = {0x0f, 0xfc, 0xc1}, kPaddbXmm = {0x66, 0x0f, 0xfc, 0xc1},
                      kFxsave = {0x0f, 0xae, 0x07}, kFninit = {0xdb, 0xe3}, kLdmxcsr = {0x0f, 0xae, 0x17},
                      kEmms = {0x0f, 0x77}, kCrc32 = {0xf2, 0x0f, 0x38, 0xf0, 0xc1},
                      kXsave = {0x0f, 0xae, 0x27};

// SDM vol. 3, 2.5 and tables 12-1 and 13-1.
TEST_F(VectorModes, ControlRegisters) {
    struct {
        const char* name;
        std::vector<u8> code;
        int plain, em, ts, no_fxsr;
    } rows[] = {
        {"fadd", kFadd, kNone, kNM, kNM, kNone},        {"fninit", kFninit, kNone, kNM, kNM, kNone},
        {"addps", kAddps, kNone, kUD, kNM, kUD},        {"paddb mm", kPaddb, kNone, kUD, kNM, kNone},
        {"paddb xmm", kPaddbXmm, kNone, kUD, kNM, kUD}, {"fxsave", kFxsave, kNone, kNM, kNM, kNone},
        {"ldmxcsr", kLdmxcsr, kNone, kUD, kNM, kUD},    {"emms", kEmms, kNone, kUD, kNM, kNone},
        {"crc32", kCrc32, kNone, kNone, kNone, kNone},  {"xsave", kXsave, kUD, kUD, kUD, kUD},
    };
    put(kData, u32{0x1f80});
    for (const auto& r : rows) {
        machine.set_mode64();
        EXPECT_EQ(vector_of(r.code), r.plain) << r.name;
        cpu.cr0 |= kCr0EM;
        EXPECT_EQ(vector_of(r.code), r.em) << r.name << " with CR0.EM";
        machine.set_mode64();
        cpu.cr0 |= kCr0TS;
        EXPECT_EQ(vector_of(r.code), r.ts) << r.name << " with CR0.TS";
        machine.set_mode64();
        cpu.cr4 &= ~u64{kCr4OSFXSR};
        EXPECT_EQ(vector_of(r.code), r.no_fxsr) << r.name << " without CR4.OSFXSR";
    }
    machine.set_mode64();
    cpu.cr4 |= kCr4OSXSAVE;
    EXPECT_EQ(vector_of(kXsave), kNone);
    cpu.cr0 |= kCr0TS;
    EXPECT_EQ(vector_of(kXsave), kNM);
}

TEST_F(VectorModes, WaitTrapsByMpAndTs) {
    machine.set_mode64();
    EXPECT_EQ(vector_of(kFwait), kNone);
    cpu.cr0 |= kCr0TS;
    EXPECT_EQ(vector_of(kFwait), kNone);
    cpu.cr0 |= kCr0MP;
    EXPECT_EQ(vector_of(kFwait), kNM);
}

TEST_F(VectorModes, LoadsOfReservedMxcsrBitsFault) {
    machine.set_mode64();
    put(kData, u32{0x11f80});
    cpu.mxcsr = 0x1f80;
    EXPECT_EQ(vector_of(kLdmxcsr), kGP);
    EXPECT_EQ(cpu.mxcsr, 0x1f80u);
}

// SDM vol. 1, 8.7: with CR0.NE an exception that waits is #MF of the next waiting instruction.
TEST_F(VectorModes, NativeReport) {
    machine.set_mode64();
    for (const auto& code : {kFadd, kFwait, kPaddb, kEmms}) {
        divided_by_zero(4);
        EXPECT_EQ(vector_of(code), kMF);
        EXPECT_EQ(cpu.rip, kCode);
        EXPECT_EQ(cpu.fpu.top, 6); // nothing has happened
    }
    for (const auto& code : {kFninit, kFxsave, kAddps, kPaddbXmm}) {
        divided_by_zero(4);
        EXPECT_EQ(vector_of(code), kNone);
    }
    divided_by_zero(0);
    EXPECT_EQ(vector_of(kFadd), kNone);
    EXPECT_FALSE(platform.ferr);
}

// Without CR0.NE it is FERR#, which the PC makes an interrupt of.
TEST_F(VectorModes, ReportByTheInterruptController) {
    machine.set_mode(32);
    cpu.cr0 &= ~u64{kCr0NE};
    divided_by_zero(4);
    cpu.rip = kCode;
    EXPECT_EQ(machine.run(kFadd), ir::Exit::Halt); // it stands still before the instruction
    EXPECT_EQ(cpu.rip, kCode);
    EXPECT_TRUE(cpu.halted);
    EXPECT_TRUE(platform.ferr);

    // With IGNNE# the instruction is done, its exceptions as good as masked.
    wake(cpu);
    platform.ignne = true;
    EXPECT_EQ(vector_of(kFadd), kNone);
    EXPECT_EQ(cpu.rip, kCode + 2);
    long double sum = 0;
    std::memcpy(&sum, cpu.fpu.st[0], 10);
    EXPECT_EQ(sum, 1);
    EXPECT_TRUE(cpu.fpu.status & kX87Summary);

    EXPECT_EQ(vector_of({0xdb, 0xe2}), kNone); // FNCLEX
    EXPECT_FALSE(platform.ferr);
}

// A block that unmasks an exception which waits must report it before its next instruction.
TEST_F(VectorModes, UnmaskedInTheMiddleOfABlock) {
    machine.set_mode64();
    divided_by_zero(0);
    put(kData, u16{0x37b});
    cpu.rip = kCode;
    cpu.gpr[7] = kData;
    const std::vector<u8> code = {0xd9, 0x2f /* FLDCW [RDI] */, 0xd9, 0xe8 /* FLD1 */};
    EXPECT_EQ(machine.run(code, 2), ir::Exit::Event); // the block is left behind FLDCW
    EXPECT_EQ(cpu.rip, kCode + 2);
    EXPECT_EQ(machine.run(std::vector<u8>(code.begin() + 2, code.end())), ir::Exit::Fault);
    EXPECT_EQ(cpu.fault.vector, kMF);
    EXPECT_EQ(cpu.rip, kCode + 2);
}

TEST_F(VectorModes, SimdUnmaskedInTheMiddleOfABlock) {
    machine.set_mode64();
    put(kData, u32{0x1d80}); // ZM clear
    cpu.mxcsr = 0x1f80;
    const float ones[4] = {1, 1, 1, 1};
    std::memcpy(cpu.vec[0], ones, 16);
    std::memset(cpu.vec[1], 0, 16);
    cpu.rip = kCode;
    cpu.gpr[7] = kData;
    const std::vector<u8> code = {0x0f, 0xae, 0x17 /* LDMXCSR [RDI] */,
                                  0x0f, 0x5e, 0xc1 /* DIVPS XMM0, XMM1 */};
    EXPECT_EQ(machine.run(code, 2), ir::Exit::Event); // the block is left behind LDMXCSR
    EXPECT_EQ(cpu.rip, kCode + 3);
    EXPECT_EQ(machine.run(std::vector<u8>(code.begin() + 3, code.end())), ir::Exit::Fault);
    EXPECT_EQ(cpu.fault.vector, kXM);
    EXPECT_EQ(cpu.rip, kCode + 3);
    EXPECT_EQ(std::memcmp(cpu.vec[0], ones, 16), 0);
    EXPECT_EQ(cpu.mxcsr, 0x1d84u);
}

// SDM vol. 1, figures 8-9 to 8-12.
TEST_F(VectorModes, EnvironmentFormats) {
    const std::vector<u8> store16 = {0x66, 0xd9, 0x30},
                          store32 = {0xd9, 0x30};                             // FNSTENV [EAX], in 32-bit code
    const std::vector<u8> load16 = {0x66, 0xd9, 0x20}, load32 = {0xd9, 0x20}; // FLDENV
    cpu.gpr[0] = kData;
    const CpuModel* const usual = cpu.model;
    const CpuModel model = *make_model("max,-zero-fcs-fds");
    cpu.model = &model;
    const auto same_after_load = [&](const std::vector<u8>& load, bool selectors, bool opcode) {
        cpu.fpu.ip = cpu.fpu.dp = 0;
        cpu.fpu.cs = cpu.fpu.ds = cpu.fpu.opcode = 0;
        cpu.fpu.control = 0x37f;
        cpu.fpu.status = 0;
        cpu.fpu.tag = 0;
        EXPECT_EQ(vector_of(load), kNone);
        EXPECT_EQ(cpu.fpu.tag, 0xc0);
        EXPECT_EQ(cpu.fpu.top, 6);
        EXPECT_EQ(cpu.fpu.status & 0xff, 0x84);
        EXPECT_EQ(cpu.fpu.control, 0x37b);
        EXPECT_EQ(cpu.fpu.opcode, opcode ? 0xf9 : 0);
        EXPECT_EQ(cpu.fpu.cs, selectors ? 0x1b : 0);
        EXPECT_EQ(cpu.fpu.ds, selectors ? 0x23 : 0);
    };

    machine.set_mode(32);
    divided_by_zero(4);
    EXPECT_EQ(vector_of(store32), kNone);
    EXPECT_EQ(at<u32>(kData), 0xffff037bu);
    EXPECT_EQ(at<u32>(kData + 4), 0xffffb084u); // B, TOP 6, ES, ZE
    EXPECT_EQ(at<u32>(kData + 8), 0xffff4fffu); // register 6 valid, 7 zero
    EXPECT_EQ(at<u32>(kData + 12), 0x12345u);
    EXPECT_EQ(at<u32>(kData + 16), 0x00f9001bu);
    EXPECT_EQ(at<u32>(kData + 20), 0x56789u);
    EXPECT_EQ(at<u32>(kData + 24), 0xffff0023u);
    EXPECT_EQ(cpu.fpu.control, 0x37f); // all masked now
    EXPECT_FALSE(cpu.fpu.status & kX87Summary);
    same_after_load(load32, true, true);
    EXPECT_EQ(cpu.fpu.ip, 0x12345u);
    EXPECT_EQ(cpu.fpu.dp, 0x56789u);

    divided_by_zero(4);
    EXPECT_EQ(vector_of(store16), kNone);
    EXPECT_EQ(at<u16>(kData + 6), 0x2345);
    EXPECT_EQ(at<u16>(kData + 8), 0x1b);
    EXPECT_EQ(at<u16>(kData + 10), 0x6789);
    EXPECT_EQ(at<u16>(kData + 12), 0x23);
    same_after_load(load16, true, false);

    machine.set_mode(16); // the prefix now makes it the 32-bit format
    divided_by_zero(4);
    cpu.fpu.cs = cpu.fpu.ds = 0;
    const std::vector<u8> store_real16 = {0xd9, 0x35}, store_real32 = {0x66, 0xd9, 0x35}; // [DI]
    EXPECT_EQ(vector_of(store_real16), kNone);
    EXPECT_EQ(at<u16>(kData + 6), 0x2345);
    EXPECT_EQ(at<u16>(kData + 8), 0x10f9);
    EXPECT_EQ(at<u16>(kData + 10), 0x6789);
    EXPECT_EQ(at<u16>(kData + 12), 0x5000);
    divided_by_zero(4);
    cpu.fpu.cs = cpu.fpu.ds = 0;
    EXPECT_EQ(vector_of(store_real32), kNone);
    EXPECT_EQ(at<u32>(kData + 12), 0xffff2345u);
    EXPECT_EQ(at<u32>(kData + 16), 0x000010f9u);
    EXPECT_EQ(at<u32>(kData + 20), 0xffff6789u);
    EXPECT_EQ(at<u32>(kData + 24), 0x00005000u);
    same_after_load({0x66, 0xd9, 0x25}, false, true);
    EXPECT_EQ(cpu.fpu.ip, 0x12345u);
    EXPECT_EQ(cpu.fpu.dp, 0x56789u);

    machine.set_mode(32);
    divided_by_zero(4);
    EXPECT_EQ(vector_of(store32), kNone);
    cpu.model = usual; // this one keeps no selectors
    same_after_load(load32, false, true);
}

// The last instruction's address, opcode and operand (SDM vol. 1, 8.1.8 and 8.1.9); control instructions
// leave them. What is kept of them depends on the processor, and on whether the instruction raised an
// unmasked exception.
TEST_F(VectorModes, Pointers) {
    const struct {
        const char* model;
        bool opcode, operand, selectors; // without an exception
    } rows[] = {{"pentium3", true, true, true},
                {"Nehalem", false, true, true},
                {"Haswell", false, true, false},
                {"Skylake-Server", false, false, false}};
    const CpuModel* const usual = cpu.model;
    for (const auto& row : rows) {
        const CpuModel model = *make_model(row.model);
        cpu.model = &model;
        for (const bool raises : {false, true}) {
            SCOPED_TRACE(std::string(row.model) + (raises ? ", unmasked" : ""));
            machine.set_mode(32);
            cpu.seg[1].selector = 0x1b;
            cpu.seg[3].selector = 0x23;
            initialize(cpu.fpu);
            if (raises) set_control_word(cpu.fpu, 0x37d);
            put(kData, raises ? u64{1} : u64{0});      // a denormal number, or 0
            EXPECT_EQ(vector_of({0xdd, 0x07}), kNone); // FLD m64
            EXPECT_EQ(bool(cpu.fpu.status & kX87Summary), raises);
            EXPECT_EQ(cpu.fpu.ip, kCode);
            EXPECT_EQ(cpu.fpu.cs, row.selectors ? cpu.seg[1].selector : 0);
            EXPECT_EQ(cpu.fpu.opcode, row.opcode || raises ? 0x507 : 0);
            EXPECT_EQ(cpu.fpu.dp, row.operand || raises ? kData : 0);
            EXPECT_EQ(cpu.fpu.ds, row.selectors ? cpu.seg[3].selector : 0);
            cpu.rip = kCode + 0x100;
            EXPECT_EQ(machine.run(std::vector<u8>{0xd9, 0x3f}), ir::Exit::Lookup); // FNSTCW
            EXPECT_EQ(cpu.fpu.ip, kCode);
        }
        cpu.model = usual;
    }
}

// Segments that are not flat: the last byte of an operand counts (SDM vol. 3, 5.3).
TEST_F(VectorModes, SegmentLimits) {
    struct {
        const char* name;
        std::vector<u8> code; // on [DI]
        u64 last;             // the highest offset at which the operand fits
        u64 step;             // to the next one that is aligned as the instruction wants it
    } rows[] = {
        {"movups load", {0x0f, 0x10, 0x05}, 0xfff0, 1},
        {"movups store", {0x0f, 0x11, 0x05}, 0xfff0, 1},
        {"addss", {0xf3, 0x0f, 0x58, 0x05}, 0xfffc, 1},
        {"movq mm", {0x0f, 0x6f, 0x05}, 0xfff8, 1},
        {"fld m80", {0xdb, 0x2d}, 0xfff6, 1},
        {"fstp m64", {0xdd, 0x1d}, 0xfff8, 1},
        {"fxsave", {0x0f, 0xae, 0x05}, 0xfe00, 16},
        {"fxrstor", {0x0f, 0xae, 0x0d}, 0xfe00, 16},
        {"fnsave", {0x66, 0xdd, 0x35}, 0x10000 - 108, 1},
        {"frstor", {0x66, 0xdd, 0x25}, 0x10000 - 108, 1},
        {"fnstenv", {0xd9, 0x35}, 0x10000 - 14, 1},
        {"ldmxcsr", {0x0f, 0xae, 0x15}, 0xfffc, 1},
        {"maskmovq", {0x0f, 0xf7, 0xc1}, 0xfff8, 1},
        {"movhps store", {0x0f, 0x17, 0x05}, 0xfff8, 1},
    };
    machine.set_mode(16);
    for (const auto& r : rows) {
        std::memset(machine.ram() + 0xf000, 0, 0x1000);
        initialize(cpu.fpu);
        cpu.rip = kCode;
        cpu.gpr[7] = r.last;
        EXPECT_NE(machine.run(r.code), ir::Exit::Fault) << r.name;
        cpu.rip = kCode;
        cpu.gpr[7] = r.last + r.step;
        EXPECT_EQ(machine.run(r.code), ir::Exit::Fault) << r.name;
        EXPECT_EQ(cpu.fault.vector, kGP) << r.name;
    }
}

// A page fault leaves the x87 stack as it was: the store is what commits.
TEST_F(VectorModes, FaultingAccessesChangeNothing) {
    machine.set_mode64();
    for (const std::vector<u8>& code :
         {std::vector<u8>{0xdd, 0x1f}, {0xdd, 0x07}, {0xdb, 0x3f}, {0xdf, 0x3f}, {0xdd, 0x37}}) {
        divided_by_zero(0);
        const ir::Fpu before = cpu.fpu;
        cpu.rip = kCode;
        cpu.gpr[7] = 0x0000900000000000; // not canonical
        EXPECT_EQ(machine.run(code), ir::Exit::Fault);
        EXPECT_EQ(cpu.fault.vector, kGP);
        EXPECT_EQ(cpu.fpu.top, before.top);
        EXPECT_EQ(cpu.fpu.tag, before.tag);
        EXPECT_EQ(cpu.fpu.status, before.status);
        EXPECT_EQ(std::memcmp(cpu.fpu.st, before.st, sizeof before.st), 0);
    }
}

} // namespace
} // namespace dragoman::test
