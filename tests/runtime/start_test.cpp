// What every start pays for.
#include <gtest/gtest.h>

#include <link.h>
#include <string>
#include <vector>

namespace dragoman::runtime::test {
namespace {

// The libraries that the program itself asks the dynamic linker for (ELF gABI, "Dynamic Section": DT_NEEDED).
std::vector<std::string> needed() {
    const char* names = nullptr;
    for (const ElfW(Dyn)* d = _DYNAMIC; d->d_tag != DT_NULL; ++d)
        if (d->d_tag == DT_STRTAB) names = reinterpret_cast<const char*>(d->d_un.d_ptr);
    std::vector<std::string> libraries;
    for (const ElfW(Dyn)* d = _DYNAMIC; d->d_tag != DT_NULL; ++d)
        if (d->d_tag == DT_NEEDED) libraries.push_back(names + d->d_un.d_val);
    return libraries;
}

TEST(Start, LoadsNoLibraryThatFewRunsNeed) {
    const std::vector<std::string> libraries = needed();
    EXPECT_FALSE(libraries.empty());
    for (const std::string& library : libraries)
        for (const char* late : {"libSDL2", "libnbd", "libcapstone"})
            EXPECT_EQ(library.find(late), std::string::npos)
                << library << " is linked; base/late_library.h loads it for who needs it";
}

} // namespace
} // namespace dragoman::runtime::test
