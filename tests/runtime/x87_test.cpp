// Random x87 programs: generated code, which keeps the guest's x87 state in the host's FPU over blocks,
// against the interpreter, which goes by one call for each instruction.
#include "vcpu_machine.h"

#include "ir/x87.h"

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace dragoman::test {
namespace {

constexpr u64 kData = 0x9000 - 96; // operands lie in two pages, and across
constexpr u32 kDataBytes = 160;
const Way kX87Ways[] = {
    {.name = "Interpreted", .interpret = true},
    {.name = "Generated"},
    {.name = "ByCalls", .inline_x87 = false},
    {.name = "PassesOff", .passes = ir::PassSwitches::none(), .share_checks = false},
    {.name = "Verified", .verify = true},
};

class Program {
  public:
    explicit Program(u32 seed) : random_(seed) {}

    // A loop of random instructions, with EBX as its counter and ESI leading to the data.
    std::vector<u8> make(unsigned instructions) {
        for (unsigned n = 0; n < instructions; ++n)
            instruction();
        put({0xff, 0xcb, 0x0f, 0x85}); // dec ebx; jnz to the start
        const u32 back = u32(-i32(code_.size() + 4));
        for (unsigned i = 0; i < 4; ++i)
            code_.push_back(u8(back >> (8 * i)));
        code_.push_back(0xf4); // hlt
        return code_;
    }

  private:
    u32 below(u32 n) { return std::uniform_int_distribution<u32>(0, n - 1)(random_); }
    void put(std::initializer_list<int> bytes) {
        for (const int b : bytes)
            code_.push_back(u8(b));
    }
    void memory(int op, int reg, u32 bytes) {
        const u32 disp = below(kDataBytes - bytes);
        put({op, 0x86 | reg << 3, int(disp), 0, 0, 0}); // [rsi + disp32]
    }

    void instruction() {
        switch (below(20)) {
        case 0: put({0x01, 0xc8 | int(below(2))}); break; // add eax or ecx, ecx
        case 1: put({0x0f, 0x90 | int(below(16)), 0x86, int(below(kDataBytes)), 0, 0, 0}); break; // setcc
        case 2: put({0x8b, 0x8e, int(below(kDataBytes - 4)), 0, 0, 0}); break; // mov ecx, [esi + n]
        case 3: put({0x70 | int(below(16)), 0x02, 0x01, 0xc1}); break;         // jcc over add ecx, eax
        case 4: put({0xdf, 0xe0}); break;                                      // fnstsw ax
        case 5: control(); break;
        case 6: put({0xd9, 0xe8 + int(below(7))}); break; // a constant
        case 7:
        case 8:
        case 9:
        case 10:
        case 11: memory_form(); break;
        default: register_form(); break;
        }
    }

    void control() {
        switch (below(8)) {
        case 0: put({0xdb, 0xe3}); break;   // fninit
        case 1: put({0xdb, 0xe2}); break;   // fnclex
        case 2: memory(0xd9, 7, 2); break;  // fnstcw
        case 3: memory(0xdd, 7, 2); break;  // fnstsw m16
        case 4: memory(0xd9, 6, 28); break; // fnstenv, which masks everything
        case 5:                             // push imm; fldcw: some unmask
            put({0x68, below(8) ? 0x3f | int(below(2)) << 6 : int(below(256)), int(below(16)), 0, 0, 0xd9,
                 0x2c, 0x24, 0x58});
            break;
        case 6:
            put({0xdd, 0xb6, 0, 2, 0, 0, 0xdd, 0xa6, 0, 2, 0, 0});
            break;                                           // fnsave, frstor, behind the data
        default: put({0x0f, 0xae, 0x86, 0, 4, 0, 0}); break; // fxsave
        }
    }

    void memory_form() {
        const int op = int(below(8)), reg = int(below(8));
        if ((op == 1 && (reg == 1 || reg >= 4)) || (op == 3 && (reg == 4 || reg == 6)) ||
            (op == 5 && reg >= 4))
            return instruction(); // none, or control
        memory(0xd8 + op, reg, 10);
    }

    void register_form() {
        const int op = int(below(8)), modrm = 0xc0 + int(below(64));
        const int reg = modrm >> 3 & 7;
        bool exists = false;
        switch (op) {
        case 1:
            exists = reg < 2 || modrm == 0xd0 || modrm == 0xe0 || modrm == 0xe1 || modrm == 0xe4 ||
                     modrm == 0xe5 || (modrm >= 0xe8 && modrm != 0xef);
            break;
        case 2: exists = reg < 4 || modrm == 0xe9; break;
        case 3: exists = reg < 4 || reg == 5 || reg == 6; break;
        case 5: exists = reg == 0 || (reg >= 2 && reg < 6); break;
        case 6: exists = reg < 2 || reg >= 4 || modrm == 0xd9; break;
        case 7: exists = reg == 5 || reg == 6; break;
        default: exists = true; break;
        }
        if (!exists) return instruction();
        put({0xd8 + op, modrm});
    }

    std::mt19937 random_;
    std::vector<u8> code_;
};

struct Outcome {
    ir::Fpu fpu;
    std::vector<u64> gpr;
    ir::Flags flags;
    std::vector<u8> data;
};

// Processors differ in what they note of the last instruction.
struct Processor {
    const char* model;
    unsigned bits;
};
constexpr Processor kProcessors[] = {
    {"pentium3,+sse2,+sse3", 32}, {"max,-zero-fcs-fds,-fdp-excptn-only", 64}, {"max", 64}};

Outcome run(const Way& way, const Processor& processor, const std::vector<u8>& code, u32 seed) {
    VcpuMachine m(way);
    m.model = *x86::make_model(processor.model);
    if (processor.bits == 64)
        m.long64();
    else
        m.protected32();
    EXPECT_TRUE(x86::write_cr4(m.cpu(), m.cpu().cr4 | x86::kCr4OSFXSR));
    m.cpu().fpu = {};
    m.cpu().fpu.control = 0x37f;
    std::copy(code.begin(), code.end(), m.map->ram() + VcpuMachine::kCode);
    std::mt19937 random(seed);
    for (u64 at = kData; at < kData + kDataBytes; at += 2) // a few well-formed numbers among the bytes
        m.put<u16>(at, random() & 3 ? u16(random()) : u16(0x3ff0));
    m.reg(3) = 4;
    m.reg(6) = kData;
    EXPECT_EQ(m.run(), runtime::StopReason::Requested);
    Outcome o{.fpu = m.cpu().fpu, .gpr = {}, .flags = m.cpu().flags, .data = {}};
    o.gpr.assign(std::begin(m.cpu().gpr), std::end(m.cpu().gpr));
    o.data.assign(m.map->ram() + kData, m.map->ram() + kData + 0x400 + 160); // up to the registers of FXSAVE
    return o;
}

std::string differences(const Outcome& want, const Outcome& have) {
    std::string text;
    const auto number = [&](const char* what, u64 a, u64 b) {
        char line[80];
        std::snprintf(line, sizeof line, "  %s: %llx, not %llx\n", what, (unsigned long long)b,
                      (unsigned long long)a);
        if (a != b) text += line;
    };
    for (unsigned i = 0; i < 8; ++i)
        if (std::memcmp(want.fpu.st[i], have.fpu.st[i], 10)) text += "  st" + std::to_string(i) + "\n";
    number("control", want.fpu.control, have.fpu.control);
    number("status", want.fpu.status, have.fpu.status);
    number("top", want.fpu.top, have.fpu.top);
    number("tags", want.fpu.tag, have.fpu.tag);
    number("opcode", want.fpu.opcode, have.fpu.opcode);
    number("ip", want.fpu.ip, have.fpu.ip);
    number("cs", want.fpu.cs, have.fpu.cs);
    number("dp", want.fpu.dp, have.fpu.dp);
    number("ds", want.fpu.ds, have.fpu.ds);
    number("flags", want.flags, have.flags);
    for (unsigned i = 0; i < 16; ++i)
        number("gpr", want.gpr[i], have.gpr[i]);
    for (unsigned i = 0; i < want.data.size(); ++i)
        number(("byte " + std::to_string(i)).c_str(), want.data[i], have.data[i]);
    return text;
}

TEST(X87Random, GeneratedCodeDoesWhatTheInterpreterDoes) {
    const char* const given = std::getenv("DRAGOMAN_SEED"); // runs one again
    const u32 first = given ? u32(std::stoul(given)) : std::random_device()();
    std::printf("first seed %u\n", first);
    for (u32 seed = first; seed < first + (given ? 1 : 40) && !::testing::Test::HasFailure(); ++seed)
        for (const Processor& processor : kProcessors) {
            const std::vector<u8> code = Program(seed).make(60);
            const Outcome want = run(kX87Ways[0], processor, code, seed);
            for (const Way& way : kX87Ways) {
                const std::string text = differences(want, run(way, processor, code, seed));
                std::string hex;
                char byte[4];
                for (const u8 b : code) {
                    std::snprintf(byte, sizeof byte, " %02x", b);
                    hex += byte;
                }
                EXPECT_EQ(text, "") << way.name << ", " << processor.model << ", seed " << seed << ", code"
                                    << hex;
            }
        }
}

} // namespace
} // namespace dragoman::test
