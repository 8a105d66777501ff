#include "runtime/expression.h"

#include <cctype>
#include <charconv>
#include <optional>

namespace dragoman::runtime {

namespace {

constexpr unsigned kMaxDepth = 64; // of parentheses and signs

struct Operator {
    std::string_view text;
    unsigned precedence;
    std::optional<u64> (*apply)(u64 a, u64 b); // nothing: division by zero
};

using Value = std::optional<u64>;
constexpr Operator operators[] = {
    {"<<", 4, [](u64 a, u64 b) { return Value(b < 64 ? a << b : 0); }},
    {">>", 4, [](u64 a, u64 b) { return Value(b < 64 ? a >> b : 0); }},
    {"|", 1, [](u64 a, u64 b) { return Value(a | b); }},
    {"^", 2, [](u64 a, u64 b) { return Value(a ^ b); }},
    {"&", 3, [](u64 a, u64 b) { return Value(a & b); }},
    {"+", 5, [](u64 a, u64 b) { return Value(a + b); }},
    {"-", 5, [](u64 a, u64 b) { return Value(a - b); }},
    {"*", 6, [](u64 a, u64 b) { return Value(a * b); }},
    {"/", 6, [](u64 a, u64 b) { return b ? Value(a / b) : Value(); }},
    {"%", 6, [](u64 a, u64 b) { return b ? Value(a % b) : Value(); }},
};

class Parser {
  public:
    Parser(std::string_view text, const std::function<bool(std::string_view, u64&)>& lookup)
        : text_(text), lookup_(lookup) {}

    Result<u64> whole() {
        const u64 value = binary(0, 0);
        skip();
        if (error_.empty() && at_ != text_.size()) expect("an operator");
        if (!error_.empty()) return Error{error_};
        return value;
    }

  private:
    void skip() {
        while (at_ < text_.size() && text_[at_] == ' ')
            ++at_;
    }
    void expect(const char* what) {
        if (!error_.empty()) return;
        const std::string_view rest = text_.substr(at_, 20);
        error_ = "'" + std::string(text_) + "': expected " + what +
                 (rest.empty() ? " at the end" : " at '" + std::string(rest) + "'");
    }
    u64 binary(unsigned precedence, unsigned depth) {
        u64 left = primary(depth);
        for (;;) {
            skip();
            const Operator* found = nullptr;
            for (const Operator& o : operators)
                if (text_.substr(at_, o.text.size()) == o.text) {
                    found = &o;
                    break;
                }
            if (!error_.empty() || !found || found->precedence <= precedence) return left;
            at_ += found->text.size();
            const Value value = found->apply(left, binary(found->precedence, depth));
            if (!value) expect("a divisor that is not 0");
            left = value.value_or(0);
        }
    }
    u64 primary(unsigned depth) {
        skip();
        if (depth > kMaxDepth) expect("a simpler expression");
        if (!error_.empty()) return 0;
        const char c = at_ < text_.size() ? text_[at_] : '\0';
        if (c == '(' || c == '-' || c == '+' || c == '~') {
            ++at_;
            if (c == '(') {
                const u64 value = binary(0, depth + 1);
                skip();
                if (at_ < text_.size() && text_[at_] == ')')
                    ++at_;
                else
                    expect("')'");
                return value;
            }
            const u64 value = primary(depth + 1);
            return c == '-' ? u64{0} - value : c == '~' ? ~value : value;
        }
        if (c == '$') return reg();
        return number();
    }
    u64 reg() {
        std::size_t end = at_ + 1;
        while (end < text_.size() && (std::isalnum(u8(text_[end])) || text_[end] == '_'))
            ++end;
        u64 value = 0;
        if (!lookup_(text_.substr(at_ + 1, end - at_ - 1), value))
            expect("a register such as $rax or $pc");
        else
            at_ = end;
        return value;
    }
    u64 number() {
        int base = 10;
        std::size_t start = at_;
        if (text_.substr(at_, 2) == "0x" || text_.substr(at_, 2) == "0X") {
            base = 16;
            start += 2;
        } else if (text_.substr(at_, 1) == "0") {
            base = 8;
        }
        u64 value = 0;
        const auto [end, code] =
            std::from_chars(text_.data() + start, text_.data() + text_.size(), value, base);
        if (code != std::errc{})
            expect("a number of 64 bits, $REGISTER or '('");
        else
            at_ = std::size_t(end - text_.data());
        return value;
    }

    std::string_view text_;
    const std::function<bool(std::string_view, u64&)>& lookup_;
    std::size_t at_ = 0;
    std::string error_;
};

} // namespace

Result<u64> evaluate(const std::string& text, const std::function<bool(std::string_view, u64&)>& lookup) {
    return Parser(text, lookup).whole();
}

} // namespace dragoman::runtime
