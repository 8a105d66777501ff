// A line typed at a terminal: echo, erasing, and the lines before it.
#pragma once

#include "base/types.h"

#include <optional>
#include <string>
#include <vector>

namespace dragoman::runtime {

// Takes typed bytes one by one. Backspace and Delete erase a character, Ctrl-W a word, Ctrl-U the line; the
// arrow keys up and down (also Ctrl-P, Ctrl-N) walk through earlier lines. CR, LF or both end the line.
class LineEditor {
  public:
    static constexpr std::size_t kMaxLine = 1024; // bytes; more are not taken
    static constexpr std::size_t kMaxHistory = 64;

    // Appends what the terminal shall show to `echo`. The line, once it is complete.
    std::optional<std::string> take(u8 byte, std::string& echo);

  private:
    void erase(std::size_t count, std::string& echo);
    void replace(const std::string& line, std::string& echo);
    void walk(int direction, std::string& echo);
    std::string finish();

    std::string line_;
    std::vector<std::string> history_;
    std::size_t place_ = 0; // in the history; its size: the line being typed
    std::string typed_;     // that line, while another one is shown
    enum class Escape : u8 { None, Started, Bracket } escape_ = Escape::None;
    bool after_cr_ = false;
};

} // namespace dragoman::runtime
