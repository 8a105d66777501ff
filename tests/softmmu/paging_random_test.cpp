// Random page tables against a walk of their own (paging_scenario.h); the fuzzer plays the same.
#include "paging_scenario.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

namespace dragoman::test {
namespace {

TEST(PagingRandom, AgreesWithAWalkWrittenApart) {
    const char* given = std::getenv("DRAGOMAN_SEED");
    const u64 seed = given ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    PagingScenario scenario;
    std::mt19937_64 random(seed);
    for (unsigned n = 0; n < 1500; ++n) {
        std::vector<u8> bytes(4096);
        for (u8& byte : bytes)
            byte = u8(random());
        const std::string wrong = scenario.play(bytes);
        ASSERT_EQ(wrong, "") << "seed " << seed << " (DRAGOMAN_SEED), scenario " << n;
    }
}

} // namespace
} // namespace dragoman::test
