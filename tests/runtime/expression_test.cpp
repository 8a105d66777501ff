#include "runtime/expression.h"

#include <gtest/gtest.h>

namespace dragoman::runtime {
namespace {

Result<u64> value(const std::string& text) {
    return evaluate(text, [](std::string_view name, u64& v) {
        v = 0x1000;
        return name == "rax";
    });
}

TEST(Expression, Values) {
    const std::pair<const char*, u64> rows[] = {
        {"0", 0},         {"42", 42},          {"0x2A", 42},    {"052", 42},
        {" 1 + 2*3 ", 7}, {"(1+2)*3", 9},      {"10-2-3", 5},   {"100/7%5", 4},
        {"1<<4|1", 17},   {"0xff&0x0f^1", 14}, {"-1", ~u64{0}}, {"~0", ~u64{0}},
        {"- -3", 3},      {"$rax+8", 0x1008},  {"1<<64", 0},    {"0xffffffffffffffff", ~u64{0}},
    };
    for (const auto& [text, expected] : rows) {
        auto v = value(text);
        ASSERT_TRUE(v) << text << ": " << v.error().message;
        EXPECT_EQ(*v, expected) << text;
    }
}

TEST(Expression, MistakesAreOneLineThatSaysWhere) {
    const std::string deep = std::string(10000, '(') + "1";
    for (const std::string text : {"", "1+", "(1", "1)", "x", "0x", "1 2", "$foo", "1/0", "1%(2-2)", "099",
                                   "0x10000000000000000", deep.c_str()}) {
        const auto v = value(text);
        ASSERT_FALSE(v) << text;
        EXPECT_NE(v.error().message.find("expected"), std::string::npos) << v.error().message;
        EXPECT_EQ(v.error().message.find('\n'), std::string::npos) << v.error().message;
    }
}

} // namespace
} // namespace dragoman::runtime
