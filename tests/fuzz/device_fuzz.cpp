// libFuzzer: programs of port and register accesses, DMA memory, time, ends of disk requests, resets, saving
// and loading, for the storage chips and network cards. The first byte chooses the chip, or DRAGOMAN_FUZZ_DEVICE names it.
#include "device_rig.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const dragoman::u8* data, std::size_t size) {
    using namespace dragoman;
    if (size == 0) return 0;
    static const std::vector<std::string> names = test::rig_names();
    static const char* const wanted = std::getenv("DRAGOMAN_FUZZ_DEVICE");
    test::FuzzInput input({data + 1, size - 1});
    const auto rig = test::make_rig(wanted ? wanted : names[data[0] % names.size()]);
    if (!rig) {
        std::string all;
        for (const std::string& name : names)
            all += " " + name;
        std::fprintf(stderr, "DRAGOMAN_FUZZ_DEVICE=%s: expected one of%s\n", wanted, all.c_str());
        std::_Exit(1);
    }
    rig->play(input);
    return 0;
}
