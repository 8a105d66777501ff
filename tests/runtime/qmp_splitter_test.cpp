// Where JSON texts end in a stream.
#include "runtime/qmp.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>

namespace dragoman::runtime {
namespace {

std::vector<std::string> split(const std::string& stream) {
    JsonSplitter splitter;
    std::vector<std::string> texts;
    for (const char c : stream)
        if (auto text = splitter.take(u8(c))) texts.push_back(*text);
    return texts;
}

TEST(JsonSplitter, Ends) {
    using Texts = std::vector<std::string>;
    EXPECT_EQ(split(R"( {"a":1}{"b":[{}]} [] 12 x)"), (Texts{R"({"a":1})", R"({"b":[{}]})", "[]", "12"}));
    EXPECT_EQ(split(R"({"a":"}\"]\\"}{})"), (Texts{R"({"a":"}\"]\\"})", "{}"}));
    EXPECT_EQ(split("}{}"), (Texts{"}", "{}"}));
    EXPECT_EQ(split("{\"a\n\": 1}"), (Texts{"{\"a\n\": 1}"}));
    EXPECT_EQ(split(std::string(70, '[') + "]]]]\n{}"), (Texts{std::string(65, '['), "{}"})) << "too deep";
    EXPECT_EQ(split("\"" + std::string(2 << 20, 'x') + "\n{}").size(), 2u) << "too long";
}

TEST(JsonSplitter, ValidTextsComeWhole) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const std::function<nlohmann::json(unsigned)> make = [&](unsigned depth) -> nlohmann::json {
        static const std::string letters = "a\"\\{}[]:, \n";
        std::string text;
        for (unsigned n = unsigned(random() % 6); n; --n)
            text += letters[random() % letters.size()];
        switch (depth ? random() % 4 : 3) {
        case 0: return nlohmann::json::array({make(depth - 1), make(depth - 1)});
        case 1: return nlohmann::json{{text, make(depth - 1)}, {"k", make(depth - 1)}};
        case 2: return random() % 1000;
        default: return text;
        }
    };
    for (unsigned round = 0; round < 500; ++round) {
        std::vector<std::string> wanted;
        std::string stream;
        for (unsigned n = 0; n < 5; ++n) {
            wanted.push_back(nlohmann::json{{"x", make(4)}}.dump(random() % 2 ? 2 : -1));
            stream += wanted.back() + std::string(random() % 3, ' ');
        }
        ASSERT_EQ(split(stream), wanted);
    }
}

} // namespace
} // namespace dragoman::runtime
