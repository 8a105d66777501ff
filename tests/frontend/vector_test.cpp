// MMX, SSE and x87 instructions against the host's processor.
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
    run_cases(VectorGroup::Vex, 100'000);
}

TEST(X87, AgreesWithTheHost) {
    run_cases(VectorGroup::X87, 100'000);
}

TEST(VectorState, AgreesWithTheHost) {
    run_cases(VectorGroup::State, 20'000);
}

} // namespace
} // namespace dragoman::test
