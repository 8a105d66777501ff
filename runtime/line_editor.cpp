#include "runtime/line_editor.h"

#include <algorithm>
#include <utility>

namespace dragoman::runtime {

namespace {

constexpr u8 control(char letter) {
    return u8(letter - '@');
}
constexpr u8 kEsc = 0x1b, kDelete = 0x7f;

} // namespace

void LineEditor::erase(std::size_t count, std::string& echo) {
    for (; count && !line_.empty(); --count) {
        line_.pop_back();
        echo += "\b \b";
    }
}

void LineEditor::replace(const std::string& line, std::string& echo) {
    erase(line_.size(), echo);
    line_ = line;
    echo += line;
}

void LineEditor::walk(int direction, std::string& echo) {
    if (direction < 0 ? place_ == 0 : place_ == history_.size()) return;
    if (place_ == history_.size()) typed_ = line_;
    place_ = std::size_t(std::ptrdiff_t(place_) + direction);
    replace(place_ == history_.size() ? typed_ : history_[place_], echo);
}

std::string LineEditor::finish() {
    std::string line = std::exchange(line_, {});
    if (!line.empty() && (history_.empty() || history_.back() != line)) {
        if (history_.size() == kMaxHistory) history_.erase(history_.begin());
        history_.push_back(line);
    }
    place_ = history_.size();
    return line;
}

std::optional<std::string> LineEditor::take(u8 byte, std::string& echo) {
    const bool second_half = std::exchange(after_cr_, byte == '\r') && byte == '\n';
    if (second_half) return std::nullopt;
    if (escape_ == Escape::Started) {
        escape_ = byte == '[' || byte == 'O' ? Escape::Bracket : Escape::None;
        return std::nullopt;
    }
    if (escape_ == Escape::Bracket) {
        if (byte >= 0x40) escape_ = Escape::None; // the final byte of the sequence
        if (byte == 'A') walk(-1, echo);
        if (byte == 'B') walk(1, echo);
        return std::nullopt;
    }
    switch (byte) {
    case '\r':
    case '\n': echo += '\n'; return finish();
    case '\b':
    case kDelete: erase(1, echo); break;
    case control('U'): erase(line_.size(), echo); break;
    case control('W'): {
        const std::size_t end = line_.find_last_not_of(' ');
        const std::size_t space = end == std::string::npos ? end : line_.rfind(' ', end);
        erase(line_.size() - (space == std::string::npos ? 0 : space + 1), echo);
        break;
    }
    case control('P'): walk(-1, echo); break;
    case control('N'): walk(1, echo); break;
    case kEsc: escape_ = Escape::Started; break;
    default:
        if (byte >= ' ' && line_.size() < kMaxLine) {
            line_ += char(byte);
            echo += char(byte);
        }
    }
    return std::nullopt;
}

} // namespace dragoman::runtime
