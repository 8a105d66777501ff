// Guests of random bytes, in every mode: none may crash or hang the emulator, and the interpreter and
// generated code make the same of each.
#include "hostile_guest.h"

#include <cstdlib>

namespace dragoman::test {
namespace {

u64 setting(const char* name, u64 otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

// Bytes at random are mostly #UD: two of three are opcodes, prefixes and ModRM bytes that lead somewhere.
std::vector<u8> random_code(std::mt19937_64& random) {
    static constexpr u8 common[] = {0x01, 0x03, 0x0f, 0x0f, 0x0f, 0x29, 0x31, 0x39, 0x48, 0x50, 0x58,
                                    0x66, 0x67, 0x74, 0x75, 0x81, 0x83, 0x85, 0x87, 0x89, 0x8b, 0x8d,
                                    0x90, 0x9c, 0x9d, 0xa4, 0xab, 0xb8, 0xc1, 0xc3, 0xc7, 0xd3, 0xd8,
                                    0xdd, 0xe8, 0xeb, 0xf0, 0xf2, 0xf3, 0xf7, 0xff};
    std::vector<u8> code(1024);
    for (u8& byte : code)
        byte = random() % 3 ? common[random() % std::size(common)] : u8(random());
    return code;
}

class RandomGuest : public ::testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(Ways, RandomGuest, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

// DRAGOMAN_SEED=... DRAGOMAN_CASES=1 runs one again.
TEST_P(RandomGuest, NeitherCrashesNorHangsNorDiffers) {
    constexpr u64 kMoment = 500'000; // ns
    const u64 first = setting("DRAGOMAN_SEED", std::random_device{}() & 0xfffffff),
              cases = setting("DRAGOMAN_CASES", 98);
    std::printf("seed %llu\n", static_cast<unsigned long long>(first));
    for (u64 seed = first; seed < first + cases; ++seed) {
        std::mt19937_64 random(seed);
        const std::vector<u8> code = random_code(random);
        std::FILE* const log = std::tmpfile();
        const auto reason = run_hostile_guest(GetParam(), unsigned(seed), code, random(), kMoment, log);
        std::string said;
        if (reason == runtime::StopReason::Difference) {
            std::rewind(log);
            char line[512];
            while (std::fgets(line, sizeof line, log) && said.size() < 8000)
                said += line;
        }
        std::fclose(log);
        ASSERT_NE(reason, runtime::StopReason::Difference)
            << "DRAGOMAN_SEED=" << seed << " (" << kGuestModes[seed % std::size(kGuestModes)] << ")\n"
            << said;
    }
}

} // namespace
} // namespace dragoman::test
