// MMX, SSE and x87 instructions against the host's processor.
#include "host_processor.h"
#include "vector_differential.h"

#include "ir/interpreter.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

namespace dragoman::test {
namespace {

u64 setting(const char* name, u64 otherwise) {
    const char* value = std::getenv(name);
    return value ? std::strtoull(value, nullptr, 0) : otherwise;
}

void run_cases(VectorGroup group, u64 cases) {
    Native native;
    if (!native.available()) GTEST_SKIP() << "the fixed areas of the native runner are taken";
    Machine machine([](x86::Cpu& cpu, ir::Block& block) { ir::interpret(cpu, block); });
    if (group == VectorGroup::Evex) machine.set_paged_mode64();
    const u64 seed = setting("DRAGOMAN_SEED", std::random_device{}());
    cases = setting("DRAGOMAN_CASES", cases);
    std::mt19937_64 random(seed);
    std::map<ZydisMnemonic, u64> met;
    unsigned failures = 0;
    for (u64 n = 0; n < cases && failures < 40; n++) {
        ZydisMnemonic mnemonic{};
        const VectorCase c = random_vector_case(random, group, [&](ZydisMnemonic m) {
            mnemonic = m;
            return true;
        });
        met[mnemonic]++;
        const std::string difference = compare_vector(machine, native, c);
        if (difference.empty()) continue;
        failures++;
        ADD_FAILURE() << "DRAGOMAN_SEED=" << seed << " case " << n << "\n" << difference;
    }
    if (cases < 50'000 || failures) return;
    for (const ZydisMnemonic m : vector_mnemonics(group))
        EXPECT_TRUE(met[m]) << ZydisMnemonicGetString(m) << " was never met, DRAGOMAN_SEED=" << seed;
}

TEST(Vector, AgreesWithTheHost) {
    run_cases(VectorGroup::Vector, 100'000);
}

TEST(Vex, AgreesWithTheHost) {
    if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "the host has no AVX2";
    run_cases(VectorGroup::Vex, 40'000);
}

TEST(Evex, AgreesWithTheHost) {
    if (!host_has_avx512()) GTEST_SKIP() << "the host has no AVX-512";
    run_cases(VectorGroup::Evex, 30'000);
}

std::vector<u8> random_vex(std::mt19937_64& random) {
    if (random() % 2) return {0xc4, u8(0xe0 | (1 + random() % 3)), u8(random())};
    return {0xc5, u8(random())};
}
// Of maps 1 to 3, with no reserved bit but now and then.
std::vector<u8> random_evex(std::mt19937_64& random) {
    const u64 r = random();
    return {0x62, u8((r & 0xf0) | (r >> 8 & 0x80 ? r >> 16 & 0xf : 1 + (r >> 16) % 3)),
            u8((r >> 24 & 0xfb) | (r >> 8 & 0x70 ? 4 : 0)), u8(r >> 32)};
}

// What the decoder refuses (prefixes before it, reserved bits, vvvv, L, W, opcodes) is #UD for the host, too.
void undefined_encodings(std::vector<u8> (*prefix)(std::mt19937_64&)) {
    if (host_is_amd())
        GTEST_SKIP() << "AMD's processors do not look at some bits that Intel's manual reserves";
    Native native;
    if (!native.available()) GTEST_SKIP() << "the fixed areas of the native runner are taken";
    Machine machine([](x86::Cpu& cpu, ir::Block& block) { ir::interpret(cpu, block); });
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    const u64 seed = setting("DRAGOMAN_SEED", std::random_device{}());
    std::mt19937_64 random(seed);
    unsigned undefined = 0, failures = 0;
    for (unsigned n = 0; n < 20'000 && failures < 10; ++n) {
        std::vector<u8> code;
        static constexpr u8 prefixes[] = {0x66, 0xf2, 0xf3, 0xf0, 0x48};
        if (random() % 8 == 0) code.push_back(prefixes[random() % std::size(prefixes)]);
        const std::vector<u8> vex = prefix(random);
        code.insert(code.end(), vex.begin(), vex.end());
        code.push_back(u8(random()));
        code.push_back(random() % 2 ? u8(random() | 0xc0) : u8((random() & 0x38) | 7));
        while (code.size() < 15)
            code.push_back(0xcc);
        ZydisDecodedInstruction insn;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &insn, operands)))
            continue;
        ++undefined;
        UserState state;
        state.rip = Native::code_base + 0x8000;
        state.gpr[4] = Native::data_base + 0x1000;
        state.gpr[7] = Native::data_base + 0x800;
        machine.cpu().rip = state.rip;
        machine.cpu().cr4 |= x86::kCr4OSXSAVE;
        machine.cpu().xcr0 = x86::kX87State | x86::kSseState | x86::kAvxState | x86::kAvx512States;
        const ir::Exit exit = machine.run(code);
        EXPECT_TRUE(exit == ir::Exit::Fault && machine.cpu().fault.vector == x86::kUD);
        const NativeResult host = native.run(code, state);
        if (host.faulted && host.vector == x86::kUD) continue;
        ++failures;
        std::string hex;
        for (const u8 byte : code) {
            char two[3];
            std::snprintf(two, sizeof two, "%02x", byte);
            hex += two;
        }
        ADD_FAILURE() << "DRAGOMAN_SEED=" << seed << " case " << n << ": the host knows " << hex;
    }
    EXPECT_GT(undefined, 1000u);
}

TEST(Vex, UndefinedEncodingsAgreeWithTheHost) {
    if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "the host has no AVX2";
    undefined_encodings(random_vex);
}
TEST(Evex, UndefinedEncodingsAgreeWithTheHost) {
    if (!host_has_avx512()) GTEST_SKIP() << "the host has no AVX-512";
    undefined_encodings(random_evex);
}

TEST(X87, AgreesWithTheHost) {
    run_cases(VectorGroup::X87, 100'000);
}

TEST(VectorState, AgreesWithTheHost) {
    run_cases(VectorGroup::State, 20'000);
}

} // namespace
} // namespace dragoman::test
