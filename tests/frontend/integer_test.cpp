// General-purpose instructions against the host's processor.
#include "differential.h"

#include "ir/interpreter.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace dragoman::test {
namespace {

u64 setting(const char* name, u64 otherwise) {
    const char* value = std::getenv(name);
    return value ? std::strtoull(value, nullptr, 0) : otherwise;
}

void interpret(x86::Cpu& cpu, ir::Block& block) {
    ir::interpret(cpu, block);
}

TEST(Integer, AgreesWithTheHost) {
    Native native;
    if (!native.available()) GTEST_SKIP() << "the fixed areas of the native runner are taken";
    Machine machine(interpret);
    const u64 seed = setting("DRAGOMAN_SEED", std::random_device{}());
    const u64 cases = setting("DRAGOMAN_CASES", 100'000);
    std::mt19937_64 random(seed);
    unsigned failures = 0;
    for (u64 n = 0; n < cases && failures < 5; n++) {
        const Case c = random_case(random);
        const std::string difference = compare(machine, native, c);
        if (difference.empty()) continue;
        failures++;
        ADD_FAILURE() << "DRAGOMAN_SEED=" << seed << " case " << n << "\n" << difference;
    }
}

} // namespace
} // namespace dragoman::test
