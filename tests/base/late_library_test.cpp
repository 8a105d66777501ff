#include "base/late_library.h"

#include <cmath>
#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

TEST(LateLibrary, FindsFunctions) {
    LateLibrary library("libm.so.6");
    double (*cosine)(double) = library.function("cos");
    ASSERT_EQ(library.missing(), "");
    EXPECT_EQ(cosine(0), 1);
}

TEST(LateLibrary, SaysWhatIsMissing) {
    LateLibrary none("libthere-is-none.so.9");
    EXPECT_NE(none.missing().find("libthere-is-none.so.9"), std::string::npos) << none.missing();
    void (*nothing)() = none.function("cos");
    EXPECT_EQ(nothing, nullptr);

    LateLibrary library("libm.so.6");
    void (*never)() = library.function("there_is_no_such_function");
    EXPECT_EQ(never, nullptr);
    library.function("cos");
    EXPECT_NE(library.missing().find("there_is_no_such_function"), std::string::npos) << library.missing();
}

} // namespace
} // namespace dragoman::test
