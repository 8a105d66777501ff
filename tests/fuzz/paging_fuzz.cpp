// libFuzzer: the scenarios of tests/softmmu/paging_scenario.h.
#include "../softmmu/paging_scenario.h"

#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const dragoman::u8* data, std::size_t size) {
    static dragoman::test::PagingScenario scenario; // the physical map is large
    const std::string wrong = scenario.play({data, size});
    if (wrong.empty()) return 0;
    std::fputs(wrong.c_str(), stderr);
    std::abort();
}
