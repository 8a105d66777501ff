// General-purpose instructions against the host's processor.
#include "differential.h"

#include "ir/interpreter.h"
#include "ir/passes.h"
#include "ir/verify.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace dragoman::test {
namespace {

u64 setting(const char* name, u64 otherwise) {
    const char* value = std::getenv(name);
    return value ? std::strtoull(value, nullptr, 0) : otherwise;
}

void check(const ir::Block& block) {
    for (const std::string& problem : ir::verify(block))
        ADD_FAILURE() << problem << "\n" << ir::print(block);
}

void interpret(x86::Cpu& cpu, ir::Block& block) {
    check(block);
    ir::interpret(cpu, block);
}

void interpret_after_passes(x86::Cpu& cpu, ir::Block& block) {
    check(block);
    ir::run_passes(block);
    check(block);
    ir::interpret(cpu, block);
}

void compare_many(const Executor& executor, u64 cases, const std::function<Case(std::mt19937_64&)>& make) {
    Native native;
    if (!native.available()) GTEST_SKIP() << "the fixed areas of the native runner are taken";
    Machine machine(executor);
    const u64 seed = setting("DRAGOMAN_SEED", std::random_device{}());
    std::mt19937_64 random(seed);
    unsigned failures = 0;
    for (u64 n = 0; n < cases && failures < 5; n++) {
        const Case c = make(random);
        const std::string difference = compare(machine, native, c);
        if (difference.empty()) continue;
        failures++;
        ADD_FAILURE() << "DRAGOMAN_SEED=" << seed << " case " << n << "\n" << difference;
    }
}

u64 cases() {
    return setting("DRAGOMAN_CASES", 100'000);
}
Case one(std::mt19937_64& random) {
    return random_case(random);
}
Case several(std::mt19937_64& random) {
    return random_sequence(random, 2 + unsigned(random() % 8));
}

TEST(Integer, AgreesWithTheHost) {
    compare_many(interpret, cases(), one);
}
// Whatever the random ones did not meet.
TEST(Integer, EachInstructionAgreesWithTheHost) {
    const std::vector<ZydisMnemonic> all = integer_mnemonics();
    u64 n = 0;
    compare_many(interpret, all.size() * 3, [&](std::mt19937_64& random) {
        const ZydisMnemonic wanted = all[n++ % all.size()];
        return random_case(random, [&](ZydisMnemonic m) { return m == wanted; });
    });
}
TEST(Integer, AgreesWithTheHostAfterPasses) {
    compare_many(interpret_after_passes, cases() / 4, one);
}
TEST(Integer, SequencesAgreeWithTheHost) {
    compare_many(interpret, cases() / 8, several);
}
TEST(Integer, SequencesAgreeWithTheHostAfterPasses) {
    compare_many(interpret_after_passes, cases() / 8, several);
}

} // namespace
} // namespace dragoman::test
