#include "runtime/line_editor.h"

#include <gtest/gtest.h>

namespace dragoman::runtime {
namespace {

struct Typed {
    std::vector<std::string> lines;
    std::string echo;
};

Typed type(LineEditor& editor, std::string_view bytes) {
    Typed t;
    for (const char c : bytes)
        if (const auto line = editor.take(u8(c), t.echo)) t.lines.push_back(*line);
    return t;
}

TEST(LineEditor, EachLineEndCounts) {
    LineEditor editor;
    EXPECT_EQ(type(editor, "a\rb\nc\r\nd\r\n").lines, (std::vector<std::string>{"a", "b", "c", "d"}));
    EXPECT_EQ(type(editor, "\r\r").lines, (std::vector<std::string>{"", ""}));
}

TEST(LineEditor, Erases) {
    LineEditor editor;
    EXPECT_EQ(type(editor, "infx\bo\x7f\x7f"
                           "fo\r")
                  .lines,
              std::vector<std::string>{"info"});
    EXPECT_EQ(type(editor, "garbage\x15quit\r").lines, std::vector<std::string>{"quit"});
    EXPECT_EQ(type(editor, "info mem  \x17tlb\r").lines, std::vector<std::string>{"info tlb"});
    EXPECT_EQ(type(editor, "word\x17q\r").lines, std::vector<std::string>{"q"});
    EXPECT_EQ(type(editor, "\b\x15\x17\r").lines, std::vector<std::string>{""});
    EXPECT_EQ(type(editor, "ab\b\r").echo, "ab\b \b\n");
}

TEST(LineEditor, History) {
    LineEditor editor;
    type(editor, "one\rtwo\r\r");
    EXPECT_EQ(type(editor, "\x1b[A\r").lines, std::vector<std::string>{"two"});
    EXPECT_EQ(type(editor, "\x1b[A\x1b[A\x1b[A\r").lines, std::vector<std::string>{"one"});
    EXPECT_EQ(type(editor, "half\x1b[A\x1b[B\r").lines, std::vector<std::string>{"half"});
    EXPECT_EQ(type(editor, "\x10\x0e\x0ex\r").lines, std::vector<std::string>{"x"}) << "Ctrl-P, Ctrl-N";
    for (int i = 0; i < 500; ++i)
        type(editor, std::to_string(i) + "\r");
    std::string up;
    for (int i = 0; i < 1000; ++i)
        up += "\x1b[A";
    EXPECT_EQ(type(editor, up + "\r").lines, std::vector<std::string>{"436"}) << "64 lines are kept";
}

TEST(LineEditor, BoundedAndDeafToControlSequences) {
    LineEditor editor;
    EXPECT_EQ(type(editor, std::string(5000, 'a') + "\r").lines[0].size(), LineEditor::kMaxLine);
    EXPECT_EQ(type(editor, "a\x1b[1;5Cb\x1b[3~c\x1bOHd\x01\x02\r").lines, std::vector<std::string>{"abcd"});
}

} // namespace
} // namespace dragoman::runtime
