// libFuzzer: a guest of arbitrary bytes. The first byte chooses the mode, the next eight make registers and
// handlers, the rest is the guest's code; each block runs interpreted and generated, and both must agree.
#include "../runtime/hostile_guest.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const dragoman::u8* data, std::size_t size) {
    using namespace dragoman;
    if (size < 10) return 0;
    u64 seed;
    std::memcpy(&seed, data + 1, sizeof seed);
    constexpr u64 moment = 200'000; // ns
    test::Way verified{.name = "Verified", .verify = true};
    std::FILE* const log = std::tmpfile();
    const auto reason = test::run_hostile_guest(verified, data[0], {data + 9, size - 9}, seed, moment, log);
    if (reason == runtime::StopReason::Difference) {
        std::rewind(log);
        for (int c; (c = std::fgetc(log)) != EOF;)
            std::fputc(c, stderr);
        std::abort();
    }
    std::fclose(log);
    return 0;
}
